/**
 * Files that rebalance moves while they are used. Phase 1: the data is being copied, the source has
 * mode bits 03000 and a linkto xattr that names the destination: changes go to both. Phase 2: the
 * source has become a linkto, or is gone: the fop is done again where the data is now. Both are
 * seen in the attributes of a reply.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { isDir } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { isLinkto } from './attributes.ts'
import { DhtFd } from './context.ts'
import type { Distribute } from './index.ts'
import { linktoTarget } from './linkto.ts'
import { gfidLoc } from './locks.ts'
import { lookupXdata } from './lookup.ts'
import { asRoot } from './subvolumes.ts'

const O_CREAT = 0o100
const O_EXCL = 0o200
const O_TRUNC = 0o1000

/** Where to do the fop (again); `none`: the file is not being moved; or why that is unknown. */
export type Found = { to: Xlator } | { none: true } | { errno: Errno }

/** The fd is open on `sub` from now on. */
export function rememberOpen(dht: Distribute, fd: Fd, sub: Xlator): void {
  dht.fds.need(fd, () => new DhtFd()).opened.add(sub)
}

/** Opens the fd on `sub` too, as root: the caller was let in when it opened the file. */
export async function openOn(
  dht: Distribute,
  frame: Frame,
  fd: Fd,
  sub: Xlator,
): Promise<Errno | 0> {
  const flags = fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC)
  const rep = await asRoot(frame).wind(sub, 'open', { loc: gfidLoc(fd.inode), fd, flags })
  if (rep.errno !== 0) return rep.errno
  rememberOpen(dht, fd, sub)
  return 0
}

/** Opens every open fd of the inode on `sub`, `fd` among them even if it is not bound yet. */
async function openAllOn(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  sub: Xlator,
): Promise<Errno | 0> {
  const fds = new Set(inode.fds)
  if (fd !== undefined) fds.add(fd)
  for (const each of fds) {
    const opened = dht.fds.get(each)?.opened
    // An fd nobody has opened through us yet (open-behind) opens itself when it is needed.
    if (opened === undefined || opened.size === 0 || opened.has(sub)) continue
    const errno = await openOn(dht, frame, each, sub)
    if (errno !== 0 && each === fd) return errno
    if (errno !== 0) dht.log.warn({ sub: sub.name, errno }, 'an fd was not opened after migration')
  }
  return 0
}

/** The linkto xattr of the file on `from`: the subvolume it names, `none` when there is none. */
async function readLinkto(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  from: Xlator,
): Promise<Found> {
  const name = dht.keys.linkto
  const rep = await asRoot(frame).wind(from, 'getxattr', { loc: gfidLoc(inode), name })
  if (rep.errno !== 0) return rep.errno === E.NODATA ? { none: true } : { errno: rep.errno }
  const to = linktoTarget(dht, rep.dict)
  return to === undefined || to === from ? { none: true } : { to }
}

function isGone(errno: Errno): boolean {
  return errno === E.NOENT || errno === E.STALE
}

/** The subvolume that has the file's data now, by gfid. */
async function findData(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  gfid: Gfid,
): Promise<Xlator | undefined> {
  const loc = gfidLoc(inode)
  const xdata = lookupXdata(dht, undefined, false)
  const replies = await asRoot(frame).windAll(dht.children, 'lookup', () => ({ loc, xdata }))
  const isData = (rep: Rep<'lookup'>): boolean =>
    rep.errno === 0 &&
    rep.stat.gfid === gfid &&
    !isDir(rep.stat) &&
    !isLinkto(rep.stat, rep.xdata, dht.keys)
  const index = replies.findIndex(isData)
  return index < 0 ? undefined : dht.children[index]
}

/**
 * The reply says the data is no longer on `from` (dht_migration_complete_check_task): finds it,
 * remembers where, and opens the file's fds there. `gone`: the reply was an error, so there is no
 * linkto to ask for.
 */
export async function findMoved(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  from: Xlator,
  gone: boolean,
): Promise<Found> {
  if (!gone) {
    const linkto = await readLinkto(dht, frame, inode, from)
    if ('none' in linkto) return linkto
    if ('errno' in linkto && !isGone(linkto.errno)) return linkto
  }
  const to = await findData(dht, frame, inode, inode.gfid)
  if (to === undefined) return gone ? { none: true } : { errno: E.IO }
  if (to === from) return { none: true }
  dht.rememberFile(inode, inode.gfid, to)
  const errno = await openAllOn(dht, frame, inode, fd, to)
  return errno === 0 ? { to } : { errno }
}

/**
 * The reply says the file is being copied from `from` (dht_rebalance_inprogress_task): finds the
 * destination and opens the file's fds there. Remembered until the data has moved.
 */
export async function findCopy(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  from: Xlator,
): Promise<Found> {
  const state = dht.inodeState(inode)
  const known = state.migration
  if (known !== undefined && known.from === from && state.cached === from) {
    const errno = await openAllOn(dht, frame, inode, fd, known.to)
    return errno === 0 ? { to: known.to } : { errno }
  }
  const linkto = await readLinkto(dht, frame, inode, from)
  if ('errno' in linkto && isGone(linkto.errno)) {
    // It is complete by now, and may have ended without our change.
    return findMoved(dht, frame, inode, fd, from, true)
  }
  if (!('to' in linkto)) return linkto
  const { to } = linkto
  const loc = gfidLoc(inode)
  const xdata = lookupXdata(dht, undefined, false)
  const rep = await asRoot(frame).wind(to, 'lookup', { loc, xdata })
  if (rep.errno !== 0) return rep.errno === E.NOENT ? { none: true } : { errno: rep.errno }
  const errno = await openAllOn(dht, frame, inode, fd, to)
  if (errno !== 0) return { errno }
  state.migration = { from, to }
  return { to }
}
