/** Fops on one file: they go to its cached subvolume, and after the file if rebalance moves it. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { FopName, MaybePromise, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import { type Inode, isDirInode } from '../../../src/core/inode.ts'
import { O_APPEND, O_RDWR } from '../../../src/core/open-flags.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { hasLinktoMode, hasMigratingMode, hideMigration, mayBeMigrating } from './attributes.ts'
import { learn } from './discover.ts'
import type { Distribute } from './index.ts'
import { IATT_IN_XDATA, PROTECT_WRITES } from './keys.ts'
import { findCopy, findMoved, openOn, rememberOpen } from './migration.ts'
import { asRoot } from './subvolumes.ts'

/** More than this is not copied for one append, bytes. */
const APPENDED_BYTES_MAX = 8 * 2 ** 20

/** What a fop does about a moving file. */
interface Conduct {
  /** Phase 1: the change is made on the destination too. */
  readonly both: boolean
  /** Phase 2: done again at the new place, on any sign of it or only when the file is missing. */
  readonly again: 'always' | 'missing' | 'never'
  /** The object's attributes after the fop, as the reply has them. */
  stat(rep: object): Iatt | undefined
}

const noStat = (): undefined => undefined
const poststat = (rep: object): Iatt => (rep as Ok<'writev'>).poststat
const stat1 = (rep: object): Iatt => (rep as Ok<'stat'>).stat
const xdataStat = (rep: object): Iatt | undefined =>
  (rep as { xdata?: Dict }).xdata?.getIatt(IATT_IN_XDATA)

const CHANGE: Conduct = { both: true, again: 'always', stat: poststat }
const XATTR: Conduct = { both: true, again: 'always', stat: xdataStat }
const ONLY_MISSING: Conduct = { both: false, again: 'missing', stat: noStat }
const ATTRIBUTES: Conduct = { both: false, again: 'always', stat: poststat }
const STAY: Conduct = { both: false, again: 'never', stat: noStat }

const conducts = {
  writev: CHANGE,
  truncate: CHANGE,
  ftruncate: CHANGE,
  fallocate: CHANGE,
  discard: CHANGE,
  zerofill: CHANGE,
  fsync: CHANGE,
  setxattr: XATTR,
  fsetxattr: XATTR,
  removexattr: XATTR,
  fremovexattr: XATTR,
  xattrop: XATTR,
  fxattrop: XATTR,
  getxattr: ONLY_MISSING,
  fgetxattr: ONLY_MISSING,
  readv: { both: false, again: 'always', stat: stat1 },
  stat: { both: false, again: 'always', stat: stat1 },
  fstat: { both: false, again: 'always', stat: stat1 },
  setattr: ATTRIBUTES,
  fsetattr: ATTRIBUTES,
  open: ONLY_MISSING,
  access: ONLY_MISSING,
  seek: ONLY_MISSING,
  rchecksum: ONLY_MISSING,
  readlink: { both: false, again: 'never', stat: stat1 },
  lease: STAY,
  getactivelk: STAY,
  setactivelk: STAY,
} satisfies Partial<Record<FopName, Conduct>>

export type FileFop = keyof typeof conducts

/** The subvolume of a file, asked for if DHT has not met the inode. */
export function cachedSub(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
): MaybePromise<Xlator | Errno> {
  return dht.inodes.get(inode)?.cached ?? learnCached(dht, frame, inode)
}

async function learnCached(dht: Distribute, frame: Frame, inode: Inode): Promise<Xlator | Errno> {
  const rep = await learn(dht, frame, inode)
  if (rep.errno !== 0) return rep.errno
  return dht.inodes.get(inode)?.cached ?? E.INVAL
}

/** A fop on a file, wherever it is. The first reply is the answer unless the file is moving. */
export async function fileFop<K extends FileFop>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
  fd?: Fd,
): Promise<Rep<K>> {
  const sub = dht.inodes.get(inode)?.cached ?? (await learnCached(dht, frame, inode))
  if (typeof sub === 'number') return { errno: sub }
  const rep = await frame.wind(sub, fop, req)
  const conduct: Conduct = conducts[fop]
  if (rep.errno === 0) {
    const stat = conduct.stat(rep)
    if (stat === undefined || !mayBeMigrating(stat)) return rep
  } else if (!mayHaveMoved(rep.errno)) return rep
  return followFile(dht, frame, fop, req, inode, fd, sub, rep)
}

/**
 * copy_file_range on one brick. If either file is being moved, the caller shall copy once more
 * through readv and writev, which know how to follow: XDEV says so, and copying twice is harmless.
 */
export async function copyWithin(
  frame: Frame,
  sub: Xlator,
  req: Req<'copy_file_range'>,
): Promise<Rep<'copy_file_range'>> {
  const rep = await frame.wind(sub, 'copy_file_range', req)
  if (rep.errno !== 0) return mayHaveMoved(rep.errno) ? { errno: E.XDEV } : rep
  const moving = mayBeMigrating(rep.stat) || mayBeMigrating(rep.poststat)
  return moving ? { errno: E.XDEV } : rep
}

function mayHaveMoved(errno: Errno): boolean {
  return errno === E.NOENT || errno === E.STALE || errno === E.BADF || errno === E.BADFD
}

async function followFile<K extends FileFop>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
  fd: Fd | undefined,
  sub: Xlator,
  first: Rep<K>,
): Promise<Rep<K>> {
  const conduct: Conduct = conducts[fop]
  let rep = first
  if (fd !== undefined && (rep.errno === E.BADF || rep.errno === E.BADFD)) {
    const errno = await openOn(dht, frame, fd, sub)
    if (errno !== 0 && errno !== E.NOENT && errno !== E.STALE) return rep
    if (errno === 0) rep = await frame.wind(sub, fop, req)
    else rep = { errno }
  }
  const stat = rep.errno === 0 ? conduct.stat(rep) : undefined
  const gone = rep.errno === E.NOENT || rep.errno === E.STALE
  if (gone || (stat !== undefined && hasLinktoMode(stat))) {
    if (conduct.again === 'never' || (conduct.again === 'missing' && !gone)) return rep
    const found = await findMoved(dht, frame, inode, fd, sub, gone)
    if ('none' in found) return rep
    if ('errno' in found) return { errno: found.errno }
    return hidden(conduct, await frame.wind(found.to, fop, req))
  }
  if (conduct.both && stat !== undefined && hasMigratingMode(stat)) {
    return alsoOnCopy(dht, frame, fop, req, inode, fd, sub, rep)
  }
  return hidden(conduct, rep)
}

/** Phase 1: the change has been made at the source; now at the destination. */
async function alsoOnCopy<K extends FileFop>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
  fd: Fd | undefined,
  from: Xlator,
  rep: Rep<K>,
): Promise<Rep<K>> {
  const conduct: Conduct = conducts[fop]
  const found = await findCopy(dht, frame, inode, fd, from)
  if ('none' in found) return hidden(conduct, rep)
  if ('errno' in found) return { errno: found.errno }
  const { to } = found
  const copied =
    fop === 'writev'
      ? ((await writeCopy(frame, req as Req<'writev'>, rep as Ok<'writev'>, from, to)) as Rep<K>)
      : await frame.wind(to, fop, req)
  // The destination is gone: the migration was given up, and the source is all there is.
  if (copied.errno === E.NOENT || copied.errno === E.STALE) return hidden(conduct, rep)
  if (copied.errno === 0) {
    const [source, copy] = [conduct.stat(rep), conduct.stat(copied)]
    if (source !== undefined && copy !== undefined) {
      copy.mode = (copy.mode & S_IFMT) | (source.mode & 0o7777)
    }
  }
  return hidden(conduct, copied)
}

/** A write made at `from` is made at `to`, and there not undone by the copier. */
async function writeCopy(
  frame: Frame,
  req: Req<'writev'>,
  done: Ok<'writev'>,
  from: Xlator,
  to: Xlator,
): Promise<Rep<'writev'>> {
  const xdata = (req.xdata?.clone() ?? new Dict()).setUint(PROTECT_WRITES, 1)
  if ((req.fd.flags & O_APPEND) === 0) return frame.wind(to, 'writev', { ...req, xdata })
  const appended = await appendedBytes(frame, req, done, from)
  if (appended === undefined) return frame.wind(to, 'writev', { ...req, xdata })
  const { offset, size, data } = appended
  const fd = new Fd(req.fd.inode, O_RDWR, 0)
  const there = await asRoot(frame).wind(to, 'readv', { fd, offset, size, flags: 0 })
  if (there.errno !== 0) return there
  const copied = there.size === size && Buffer.concat(there.data).equals(Buffer.concat(data))
  if (copied) return done
  // The migration has ended without our bytes, and somebody else's are in their place.
  const taken = !hasLinktoMode(there.stat) && there.stat.size > offset
  if (taken) return frame.wind(to, 'writev', { ...req, xdata })
  const flags = req.flags & ~O_APPEND
  return asRoot(frame).wind(to, 'writev', { ...req, fd, flags, offset, size, data, xdata })
}

/**
 * What an append has put where. Appended once more, it would be there twice whenever the copier was
 * faster than we (stock does that). `undefined` when the source cannot be asked any more.
 */
async function appendedBytes(
  frame: Frame,
  req: Req<'writev'>,
  done: Ok<'writev'>,
  from: Xlator,
): Promise<Pick<Req<'writev'>, 'offset' | 'size' | 'data'> | undefined> {
  const offset = done.prestat.size
  const size = done.poststat.size - offset
  if (size === req.size) return { offset, size, data: req.data }
  // Others append at the same time: where ours begins is not told, so all of it is copied.
  if (size < req.size || size > APPENDED_BYTES_MAX) return undefined
  const fd = new Fd(req.fd.inode, O_RDWR, 0)
  const rep = await asRoot(frame).wind(from, 'readv', { fd, offset, size, flags: 0 })
  return rep.errno === 0 && rep.size === size ? { offset, size, data: rep.data } : undefined
}

/** The reply as users should see it. */
function hidden<K extends FileFop>(conduct: Conduct, rep: Rep<K>): Rep<K> {
  if (rep.errno !== 0) return rep
  const stat = conduct.stat(rep)
  if (stat !== undefined) hideMigration(stat)
  const { prestat } = rep as { prestat?: Iatt }
  if (prestat !== undefined) hideMigration(prestat)
  return rep
}

/** open: on the cached subvolume; remembered so that a migration can open it elsewhere. */
export async function open(dht: Distribute, frame: Frame, req: Req<'open'>): Promise<Rep<'open'>> {
  const rep = await fileFop(dht, frame, 'open', req, req.loc.inode, undefined)
  if (rep.errno !== 0) return rep
  const sub = dht.inodes.get(req.loc.inode)?.cached
  if (sub !== undefined) rememberOpen(dht, req.fd, sub)
  return rep
}

/** flush: also where a migration opened the fd; data that moved under it cannot be flushed here. */
export async function flush(
  dht: Distribute,
  frame: Frame,
  req: Req<'flush'>,
): Promise<Rep<'flush'>> {
  const { fd } = req
  const sub = await cachedSub(dht, frame, fd.inode)
  if (typeof sub === 'number') return { errno: sub }
  const rep = await frame.wind(sub, 'flush', req)
  if (rep.errno !== 0) return rep
  for (const other of dht.fds.get(fd)?.opened ?? []) {
    if (other === sub) continue
    const also = await frame.wind(other, 'flush', req)
    if (also.errno !== 0 && !mayHaveMoved(also.errno)) return also
  }
  return rep
}

/** lk: at the cached subvolume. A file that moved has left its locks behind: EREMOTE. */
export async function lk(dht: Distribute, frame: Frame, req: Req<'lk'>): Promise<Rep<'lk'>> {
  const { fd } = req
  const sub = await cachedSub(dht, frame, fd.inode)
  if (typeof sub === 'number') return { errno: sub }
  const rep = await frame.wind(sub, 'lk', req)
  if (rep.errno === E.BADF || rep.errno === E.BADFD) {
    const errno = await openOn(dht, frame, fd, sub)
    return errno === 0 ? frame.wind(sub, 'lk', req) : rep
  }
  return rep
}

/** The inode is a directory, as far as anybody knows. */
export function isDirectory(dht: Distribute, inode: Inode): boolean {
  return isDirInode(inode) || dht.inodes.get(inode)?.layout !== undefined
}
