/** Where a fop works: entries (parent and name) and objects (gfid, or fd) on the brick. */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopError } from '../../../src/core/fop.ts'
import { type Gfid, NULL_GFID, ROOT_GFID } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFDIR, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { close, O_DIRECTORY, O_NOATIME, O_NOFOLLOW, openAt } from '../../../src/sys/entry.ts'
import { errnoOf } from '../../../src/sys/libc.ts'
import type { Stat } from '../../../src/sys/stat.ts'
import type { Target } from '../../../src/sys/xattr.ts'
import { gfidOf, iattOf } from './attributes.ts'
import type { Brick } from './brick.ts'

const NAME_BYTES_MAX = 255
const O_NONBLOCK = 0o4000

/** A name in a directory that is open. Valid until control returns to the event loop. */
export interface Entry {
  errno: 0
  parentFd: number
  pargfid: Gfid
  name: string
  /** For the xattr calls, which know no directory descriptors. */
  target: string
}

/** The reply for a failed system call. */
export const fail = (result: number): FopError => ({ errno: errnoOf(result) })

/** The name's errno: what no directory can hold, or must not from outside. 0 = fine. */
function checkName(pargfid: Gfid, name: string): 0 | Errno {
  if (name.length > NAME_BYTES_MAX) return E.NAMETOOLONG
  if (name === '' || name === '..' || name === '.') return E.INVAL
  if (name.includes('/')) return E.PERM
  if (name.includes('\0')) return E.INVAL
  if (name === '.glusterfs' && pargfid === ROOT_GFID) return E.PERM
  return 0
}

/** The entry a loc names. ESTALE for an unknown parent, EPERM when it is no directory. */
export function entryOf(brick: Brick, loc: Loc): Entry | FopError {
  const pargfid = loc.pargfid
  const name = loc.name
  if (name === undefined || pargfid === NULL_GFID) return { errno: E.INVAL }
  const bad = checkName(pargfid, name)
  if (bad !== 0) return { errno: bad }
  const parentFd = brick.dir(pargfid)
  if (parentFd < 0) {
    const errno = errnoOf(parentFd)
    return { errno: errno === E.NOENT ? E.STALE : errno === E.NOTDIR ? E.PERM : errno }
  }
  return { errno: 0, parentFd, pargfid, name, target: `/proc/self/fd/${parentFd}/${name}` }
}

/**
 * A cheap way to the xattrs of an entry: a descriptor for what may be opened without side effects
 * (a third less than paths through /proc, and several xattrs are read of each), else the path.
 * `closeNamed` it.
 */
export function openNamed(parentFd: number, name: string, stat: Stat): Target {
  const type = stat.mode & S_IFMT
  if (type === S_IFREG || type === S_IFDIR) {
    const flags = O_NOFOLLOW | O_NOATIME | O_NONBLOCK | (type === S_IFDIR ? O_DIRECTORY : 0)
    const fd = openAt(parentFd, name, flags)
    if (fd >= 0) return fd
  }
  return `/proc/self/fd/${parentFd}/${name}`
}

export function closeNamed(target: Target): void {
  if (typeof target === 'number') close(target)
}

/** Attributes of the entry's directory. */
export const parentIatt = (at: Entry): Iatt | number => iattOf(at.parentFd, at.pargfid)

export interface Placed {
  errno: 0
  target: Target
  gfid: Gfid
}

/** The object a loc means: by gfid where known, else by name. ENOENT or ESTALE when gone. */
export function objectOf(brick: Brick, loc: Loc): Placed | FopError {
  if (loc.gfid !== NULL_GFID) {
    const target = brick.resolve(loc.gfid)
    if (typeof target === 'number' && target < 0) return fail(target)
    return { errno: 0, target, gfid: loc.gfid }
  }
  const at = entryOf(brick, loc)
  if (at.errno !== 0) return at
  const gfid = gfidOf(at.target)
  if (gfid === NULL_GFID) return { errno: E.NOENT }
  const target = brick.resolve(gfid)
  if (typeof target === 'number' && target < 0) return fail(target)
  return { errno: 0, target, gfid }
}

/** A descriptor to work with; `done` gives it back. */
export interface Opened {
  errno: 0
  fd: number
  gfid: Gfid
  flags: number
  done: () => void
}

/**
 * The descriptor behind a client's fd, or a temporary one for an anonymous fd. It stays open until
 * `done`, even if the client's fd is released meanwhile: a number that another file got would take
 * this fop's data.
 */
export function fileOf(brick: Brick, fd: Fd): Opened | FopError {
  const file = brick.files.get(fd)
  if (file !== undefined) {
    fd.hold()
    return { errno: 0, fd: file.fd, gfid: file.gfid, flags: file.flags, done: () => fd.drop() }
  }
  const gfid = fd.inode.gfid
  if (gfid === NULL_GFID) return { errno: E.BADF }
  const opened = brick.openAnonymous(gfid)
  if (opened < 0) return fail(opened)
  return { errno: 0, fd: opened, gfid, flags: fd.flags, done: () => close(opened) }
}
