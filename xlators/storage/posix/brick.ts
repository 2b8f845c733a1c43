/**
 * The brick directory: its root, `.glusterfs` and the handles in it.
 *
 *     .glusterfs/<g0>/<g1>/<gfid>   non-directory: a hard link of the entry
 *                                   directory: symlink ../../<p0>/<p1>/<pargfid>/<basename>
 *     .glusterfs/unlink/<gfid>      unlinked while open; goes with the last close
 *     .glusterfs/landfill/<any>     trees on their way out, removed by the janitor
 *
 * Directories are kept open, in a bounded table by gfid, and everything named is reached relative
 * to such a descriptor: it stays right when a parent is renamed, has no path limit, and no name
 * from the network is ever resolved against more than one directory. All calls of this file block
 * for microseconds; whatever reads and then changes an object does so within one tick, which is the
 * inode lock of this brick.
 */
import { close as closeAsync } from 'node:fs'
import { NEVER } from '../../../src/core/clock.ts'
import { FdContext } from '../../../src/core/context.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type Gfid, gfidText, gfidToBytes, parseGfid, ROOT_GFID } from '../../../src/core/gfid.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from '../../../src/core/iatt.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { RawEntry } from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, sameFile, statAt, statFs } from '../../../src/sys/stat.ts'
import { getXattr, setXattr, type Target, XATTR_CREATE } from '../../../src/sys/xattr.ts'
import { GFID_KEY, gfidOf } from './attributes.ts'
import type { options } from './options.ts'
import { VOLUME_ID_KEY } from './prepare.ts'

const OPEN_DIR = entry.O_DIRECTORY | entry.O_NOFOLLOW
const O_RDWR = 2

const ENOENT = -2
const EEXIST = -17
const ENOTDIR = -20
const ESTALE = -116

/** Directories kept open. */
const DIRS_MAX = 1024
/** Levels a directory's handles are followed up: more than PATH_MAX can name. */
const DEPTH_MAX = 4096
/** How long the free space counts as known. */
const SPACE_KNOWN_MS = 5000

/** What fops need of an open file or directory. */
export class OpenFile {
  readonly fd: number
  readonly gfid: Gfid
  readonly flags: number
  /** Directories: entries read but not handed out, and the cookie they start at. */
  pending: RawEntry[] = []
  position = 0n

  constructor(fd: number, gfid: Gfid, flags: number) {
    this.fd = fd
    this.gfid = gfid
    this.flags = flags
  }
}

/** A directory handle's target, `undefined` for any other symlink. */
const dirHandle = /^\.\.\/\.\.\/[0-9a-f]{2}\/[0-9a-f]{2}\/([0-9a-f-]{36})\/([^/]+)$/s

export class Brick {
  readonly xl: Xlator
  readonly path: string
  readonly files: FdContext<OpenFile>
  options: OptionValues<typeof options>
  rootFd = -1
  readonly #dirs = new Map<Gfid, number>()
  /** Open descriptors of clients by gfid. */
  readonly #opens = new Map<Gfid, number>()
  /** Files in `.glusterfs/unlink`. */
  readonly #unlinked = new Set<Gfid>()
  readonly #handleDirs = new Set<string>()
  /** The last write queued of a file; later ones wait for it. Gone when it is done. */
  readonly writes = new Map<Gfid, Promise<unknown>>()
  /** Something may lie in the landfill. */
  landfillUsed = true
  #full = false
  #spaceCheckedAt = NEVER

  constructor(xl: Xlator, path: string, values: OptionValues<typeof options>) {
    this.xl = xl
    this.path = path
    this.options = values
    this.files = new FdContext<OpenFile>(xl)
  }

  /** Opens the brick and lays out `.glusterfs`. Throws GlusterError saying what is wrong. */
  start(): void {
    entry.umask(0)
    const fd = entry.openAt(AT_FDCWD, this.path, entry.O_DIRECTORY)
    if (fd < 0) throw this.#refused(`cannot be opened`, -fd)
    this.rootFd = fd
    try {
      this.#checkVolumeId()
      this.#checkRootGfid()
      this.#layOut()
    } catch (error) {
      this.stop()
      throw error
    }
  }

  stop(): void {
    for (const fd of this.#dirs.values()) entry.close(fd)
    this.#dirs.clear()
    if (this.rootFd >= 0) entry.close(this.rootFd)
    this.rootFd = -1
  }

  #refused(why: string, errno?: number): GlusterError {
    return new GlusterError(
      'VOLFILE_INVALID',
      `brick ${this.path}: ${why}${errno === undefined ? '' : ` (errno ${errno})`}`,
    )
  }

  #checkVolumeId(): void {
    const wanted = this.options['volume-id']
    if (wanted === undefined) return
    const id = parseGfid(wanted)
    if (id === undefined) throw this.#refused(`volume-id '${wanted}' is not a UUID`)
    const found = getXattr(this.rootFd, VOLUME_ID_KEY)
    if (typeof found === 'number') {
      throw this.#refused(
        `has no ${VOLUME_ID_KEY}; it is not a brick, or its file system is not mounted`,
        -found,
      )
    }
    if (found.latin1Slice() !== id) throw this.#refused('belongs to another volume')
  }

  #checkRootGfid(): void {
    const gfid = gfidOf(this.rootFd)
    if (gfid === ROOT_GFID) return
    const rc = setXattr(this.rootFd, GFID_KEY, gfidToBytes(ROOT_GFID), XATTR_CREATE)
    if (rc === EEXIST) throw this.#refused('its root carries the gfid of something else')
    if (rc < 0) throw this.#refused('trusted.gfid cannot be set on its root', -rc)
  }

  #layOut(): void {
    const made = (name: string, mode: number): void => {
      const rc = entry.mkdirAt(this.rootFd, name, mode)
      if (rc < 0 && rc !== EEXIST) throw this.#refused(`${name} cannot be made`, -rc)
    }
    made('.glusterfs', 0o600)
    for (let i = 0; i < 256; i++) {
      made(`.glusterfs/${i.toString(16).padStart(2, '0')}`, 0o700)
    }
    made('.glusterfs/unlink', 0o600)
    made('.glusterfs/landfill', 0o755)
    made('.glusterfs/indices', 0o600)
    made('.glusterfs/changelogs', 0o600)
    made('.glusterfs/00/00', 0o700)
    const rc = entry.symlinkAt('../../..', this.rootFd, handleName(ROOT_GFID))
    if (rc < 0 && rc !== EEXIST) throw this.#refused('the root handle cannot be made', -rc)
    const { 'brick-uid': uid, 'brick-gid': gid } = this.options
    if (uid >= 0 || gid >= 0) entry.chownFd(this.rootFd, uid, gid)
  }

  // --- directories -------------------------------------------------------------------------------

  /** A descriptor of the directory, owned by this table; valid until control returns. */
  dir(gfid: Gfid): number {
    if (gfid === ROOT_GFID) return this.rootFd
    const known = this.#dirs.get(gfid)
    if (known !== undefined) {
      // Moved to the young end.
      this.#dirs.delete(gfid)
      this.#dirs.set(gfid, known)
      return known
    }
    return this.#openDir(gfid)
  }

  /** Follows handles up to a directory that is open (the root always is), then opens downwards. */
  #openDir(gfid: Gfid): number {
    const way: { gfid: Gfid; name: string }[] = []
    let at = gfid
    while (at !== ROOT_GFID && !this.#dirs.has(at)) {
      const link = entry.readlinkAt(this.rootFd, handleName(at))
      if (typeof link === 'number') return link === -22 ? ENOTDIR : link
      const match = dirHandle.exec(link)
      const parent = match === null ? undefined : parseGfid(match[1]!)
      if (match === null || parent === undefined) return ENOTDIR
      way.push({ gfid: at, name: match[2]! })
      if (way.length > DEPTH_MAX || match[2] === '..' || match[2] === '.') return ESTALE
      at = parent
    }
    let fd = at === ROOT_GFID ? this.rootFd : this.#dirs.get(at)!
    for (const step of way.reverse()) {
      fd = this.openDirAt(fd, step.name, step.gfid)
      if (fd < 0) return fd
    }
    return fd
  }

  /** Opens (parent, name), which must be the directory `gfid`, and keeps it. */
  openDirAt(parentFd: number, name: string, gfid: Gfid): number {
    const fd = entry.openAt(parentFd, name, OPEN_DIR)
    if (fd < 0) return fd
    if (gfidOf(fd) !== gfid) {
      entry.close(fd)
      return ESTALE
    }
    this.forgetDir(gfid)
    this.#dirs.set(gfid, fd)
    if (this.#dirs.size > DIRS_MAX) {
      const oldest = this.#dirs.keys().next().value
      if (oldest !== undefined && oldest !== gfid) this.forgetDir(oldest)
    }
    return fd
  }

  /** The directory is gone or elsewhere. */
  forgetDir(gfid: Gfid): void {
    const fd = this.#dirs.get(gfid)
    if (fd === undefined) return
    this.#dirs.delete(gfid)
    entry.close(fd)
  }

  // --- handles -----------------------------------------------------------------------------------

  /** Absolute path of an object's handle. */
  handle(gfid: Gfid): string {
    return `${this.path}/${handleName(gfid)}`
  }

  unlinkedPath(gfid: Gfid): string {
    return `${this.path}/.glusterfs/unlink/${gfidText(gfid)}`
  }

  isUnlinked(gfid: Gfid): boolean {
    return this.#unlinked.has(gfid)
  }

  /**
   * The object by gfid: a directory's descriptor or a non-directory's path. Negative errno: ENOENT
   * when there is none.
   */
  resolve(gfid: Gfid): Target {
    if (gfid === ROOT_GFID || this.#dirs.has(gfid)) return this.dir(gfid)
    const stat = statAt(this.rootFd, handleName(gfid))
    if (typeof stat === 'number') return stat
    if ((stat.mode & S_IFMT) !== S_IFLNK) return this.handle(gfid)
    // A directory's handle is a symlink of its own; a symlink's handle is a link of it, and the
    // symlink carries the gfid itself.
    const path = this.handle(gfid)
    if (gfidOf(path) === gfid) return path
    const fd = this.dir(gfid)
    return fd === ENOTDIR || fd === ESTALE ? ENOENT : fd
  }

  /** Enters the handle of the object at (parentFd, name). An old one of another object refuses. */
  addHandle(gfid: Gfid, parentFd: number, name: string, stat: Stat, pargfid: Gfid): number {
    const handle = handleName(gfid)
    this.#needHandleDir(gfid)
    if ((stat.mode & S_IFMT) === S_IFDIR) {
      const parent = gfidText(pargfid)
      const target = `../../${parent.slice(0, 2)}/${parent.slice(2, 4)}/${parent}/${name}`
      const rc = entry.symlinkAt(target, this.rootFd, handle)
      if (rc !== EEXIST) return rc
      const present = entry.readlinkAt(this.rootFd, handle)
      const isOfDir = typeof present !== 'number' && dirHandle.test(present)
      if (!isOfDir || gfidOf(this.handle(gfid)) === gfid) return EEXIST
      // The directory was elsewhere before, or its handle was left behind.
      entry.unlinkAt(this.rootFd, handle)
      return entry.symlinkAt(target, this.rootFd, handle)
    }
    const rc = entry.linkAt(parentFd, name, this.rootFd, handle)
    if (rc !== EEXIST) return rc
    const present = statAt(this.rootFd, handle)
    return typeof present !== 'number' && sameFile(present, stat) ? 0 : EEXIST
  }

  removeHandle(gfid: Gfid): number {
    return entry.unlinkAt(this.rootFd, handleName(gfid))
  }

  #needHandleDir(gfid: Gfid): void {
    const text = gfidText(gfid)
    const dir = `.glusterfs/${text.slice(0, 2)}/${text.slice(2, 4)}`
    if (this.#handleDirs.has(dir)) return
    entry.mkdirAt(this.rootFd, dir, 0o700)
    this.#handleDirs.add(dir)
  }

  // --- open files --------------------------------------------------------------------------------

  /** Files and directories that clients have open. */
  get openFiles(): number {
    return this.#opens.size
  }

  openCount(gfid: Gfid): number {
    return this.#opens.get(gfid) ?? 0
  }

  /** A client's descriptor is open from here until `closed`. */
  opened(fd: Fd, file: OpenFile): void {
    this.files.set(fd, file)
    this.#opens.set(file.gfid, this.openCount(file.gfid) + 1)
  }

  /** A client's descriptor goes. The last one of an unlinked file frees it, on the thread pool. */
  closed(file: OpenFile): void {
    const left = this.openCount(file.gfid) - 1
    if (left > 0) this.#opens.set(file.gfid, left)
    else {
      this.#opens.delete(file.gfid)
      if (this.#unlinked.delete(file.gfid)) {
        entry.unlinkAt(AT_FDCWD, this.unlinkedPath(file.gfid))
        closeAsync(file.fd)
        return
      }
    }
    entry.close(file.fd)
  }

  /** The last name of an open file goes: its handle waits in `unlink` for the last close. */
  keepUntilClosed(gfid: Gfid): number {
    const to = `.glusterfs/unlink/${gfidText(gfid)}`
    const rc = entry.renameAt(this.rootFd, handleName(gfid), this.rootFd, to)
    if (rc >= 0) this.#unlinked.add(gfid)
    return rc
  }

  /**
   * Opens an object for a fop without a descriptor of its own (anonymous fd); the caller closes.
   * Directories are opened for reading.
   */
  openAnonymous(gfid: Gfid): number {
    if (this.#unlinked.has(gfid)) {
      return entry.openAt(AT_FDCWD, this.unlinkedPath(gfid), O_RDWR | entry.O_NOFOLLOW)
    }
    const target = this.resolve(gfid)
    if (typeof target === 'number') {
      return target < 0 ? target : entry.openAt(target, '.', OPEN_DIR)
    }
    return entry.openAt(AT_FDCWD, target, O_RDWR | entry.O_NOFOLLOW | 0o4000)
  }

  // --- space -------------------------------------------------------------------------------------

  /** Bytes that clients cannot have, of a file system of `total` bytes. */
  reserved(total: number): number {
    const reserve = this.options.reserve
    return 'percent' in reserve ? Math.ceil((total * reserve.percent) / 100) : reserve.bytes
  }

  /** Only the reserve is left. Known for some seconds. */
  isFull(now: number): boolean {
    if (now - this.#spaceCheckedAt < SPACE_KNOWN_MS) return this.#full
    this.#spaceCheckedAt = now
    const fs = statFs(this.rootFd)
    if (typeof fs === 'number') return this.#full
    this.#full = fs.bavail * fs.frsize <= this.reserved(fs.blocks * fs.frsize)
    return this.#full
  }
}

/** A handle's path below the brick's root. */
export function handleName(gfid: Gfid): string {
  const text = gfidText(gfid)
  return `.glusterfs/${text.slice(0, 2)}/${text.slice(2, 4)}/${text}`
}
