/** unlink and rmdir. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { DirEntry, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { isLinkto } from './attributes.ts'
import { cachedSub } from './file.ts'
import type { Distribute } from './index.ts'
import { LINKTO_REQUEST_BYTES } from './keys.ts'
import { linktoTarget, unlinkLinkto } from './linkto.ts'
import { LockSet } from './locks.ts'
import { lookup, lookupXdata } from './lookup.ts'
import { type Placed, placeName, showParents } from './parent.ts'
import { asRoot } from './subvolumes.ts'

const O_DIRECTORY = 0o200000

/** The data first: a linkto left over is harmless, data without a name is not. */
export async function unlink(
  dht: Distribute,
  frame: Frame,
  req: Req<'unlink'>,
): Promise<Rep<'unlink'>> {
  const placed = await placeName(dht, frame, req.loc)
  const hashed = 'errno' in placed ? undefined : placed.hashed
  const cached = await cachedSub(dht, frame, req.loc.inode)
  if (typeof cached === 'number') return { errno: cached }
  const rep = await frame.wind(cached, 'unlink', req)
  if (rep.errno !== 0 && rep.errno !== E.NOENT) return rep
  let answer: Rep<'unlink'> = rep
  if (hashed !== undefined && hashed !== cached) {
    // A linkto may belong to another owner than the data; who may remove the data may remove it.
    const unlinker = rep.errno === 0 ? asRoot(frame) : frame
    const other = await unlinker.wind(hashed, 'unlink', req)
    if (other.errno !== 0 && other.errno !== E.NOENT && other.errno !== E.NOTCONN) return other
    if (answer.errno !== 0 && other.errno === 0) answer = other
  }
  if (answer.errno === 0 && req.loc.parent !== undefined) {
    showParents(dht, req.loc.parent, answer.preparent, answer.postparent)
  }
  return answer
}

export async function rmdir(
  dht: Distribute,
  frame: Frame,
  req: Req<'rmdir'>,
): Promise<Rep<'rmdir'>> {
  const { loc, flags } = req
  if (flags === 0) {
    const errno = await checkEmpty(dht, frame, loc)
    if (errno !== 0) return { errno }
  }
  const placed = await placeName(dht, frame, loc)
  if ('errno' in placed) return { errno: placed.errno === E.IO ? E.INVAL : placed.errno }
  const locks = new LockSet(frame)
  let removal: Removal
  try {
    const guard = await locks.guardName(placed.hashed, placed.parent, placed.name)
    if (guard.errno !== 0) return guard
    removal = await removeCopies(dht, frame, req, placed)
  } finally {
    locks.release()
  }
  if (removal.incomplete) await restore(dht, frame, loc)
  return removal.rep
}

interface Removal {
  rep: Rep<'rmdir'>
  /** Some copies are gone, others stay. */
  incomplete: boolean
}

/** The other copies in parallel, the hashed one last: while it exists the directory does. */
async function removeCopies(
  dht: Distribute,
  frame: Frame,
  req: Req<'rmdir'>,
  { hashed, parent }: Placed,
): Promise<Removal> {
  const others = dht.children.filter((sub) => sub !== hashed)
  const replies = await frame.windAll(others, 'rmdir', () => req)
  const removed = replies.some((rep) => rep.errno === 0)
  for (const rep of replies) {
    if (rep.errno === 0 || isGone(rep.errno)) continue
    return { rep, incomplete: removed && rep.errno !== E.ACCES }
  }
  const rep = await frame.wind(hashed, 'rmdir', req)
  if (rep.errno !== 0) {
    if (isGone(rep.errno)) return { rep: removed ? okOf(replies) : rep, incomplete: false }
    return { rep, incomplete: removed && rep.errno !== E.ACCES }
  }
  showParents(dht, parent, rep.preparent, rep.postparent)
  dht.inodes.delete(req.loc.inode)
  return { rep, incomplete: false }
}

function isGone(errno: Errno): boolean {
  return errno === E.NOENT || errno === E.STALE
}

/** What is left of the directory is the pattern from which healing makes the other copies again. */
async function restore(dht: Distribute, frame: Frame, loc: Loc): Promise<void> {
  dht.inodes.delete(loc.inode)
  const rep = await lookup(dht, asRoot(frame), { loc })
  if (rep.errno === 0) return
  dht.log.warn({ path: loc.path, errno: rep.errno }, 'a half removed directory was not restored')
}

function okOf(replies: readonly Rep<'rmdir'>[]): Rep<'rmdir'> {
  return replies.find((rep): rep is Ok<'rmdir'> => rep.errno === 0) ?? { errno: E.NOENT }
}

/**
 * Is there anything but linktos? Those without data are removed on the way
 * (dht_rmdir_is_subvol_empty).
 */
export async function checkEmpty(dht: Distribute, frame: Frame, loc: Loc): Promise<Errno | 0> {
  const fd = new Fd(loc.inode, O_DIRECTORY, frame.creds.pid)
  try {
    const opened = await frame.windAll(dht.children, 'opendir', () => ({ loc, fd }))
    const subs: Xlator[] = []
    for (const [i, rep] of opened.entries()) {
      if (rep.errno === 0) subs.push(dht.children[i]!)
      else if (rep.errno !== E.NOENT && rep.errno !== E.STALE) return rep.errno
    }
    const errnos = await Promise.all(subs.map((sub) => emptyOfData(dht, frame, sub, fd, loc)))
    return errnos.find((errno) => errno !== 0) ?? 0
  } finally {
    fd.release()
  }
}

/** Batches of linktos cleared from one subvolume before giving up. */
const CLEAR_BATCHES_MAX = 100_000

async function emptyOfData(
  dht: Distribute,
  frame: Frame,
  sub: Xlator,
  fd: Fd,
  loc: Loc,
): Promise<Errno | 0> {
  const xdata = new Dict().setUint(dht.keys.linkto, LINKTO_REQUEST_BYTES)
  for (let batch = 0; batch < CLEAR_BATCHES_MAX; batch++) {
    const rep = await frame.wind(sub, 'readdirp', { fd, size: 4096, off: 0n, xdata })
    if (rep.errno !== 0) return rep.errno === E.NOENT ? 0 : rep.errno
    const entries = rep.entries.filter(({ name }) => name !== '.' && name !== '..')
    if (entries.length === 0) return 0
    if (!entries.every((entry) => isLinktoEntry(dht, entry))) return E.NOTEMPTY
    for (const entry of entries) {
      const errno = await clearLinkto(dht, frame, sub, loc, entry)
      if (errno !== 0) return errno
    }
  }
  return E.NOTEMPTY
}

function isLinktoEntry(dht: Distribute, { stat, xdata }: DirEntry): boolean {
  return stat !== undefined && isLinkto(stat, xdata, dht.keys)
}

/** Removes a linkto of a directory about to go, unless there is data behind it. */
async function clearLinkto(
  dht: Distribute,
  frame: Frame,
  sub: Xlator,
  dir: Loc,
  entry: DirEntry,
): Promise<Errno | 0> {
  const root = asRoot(frame)
  const loc = new Loc(dir.inode.table.newInode(), dir.inode, entry.name)
  const xdata = lookupXdata(dht, undefined, false)
  const target = linktoTarget(dht, entry.xdata)
  if (target !== undefined && target !== sub) {
    const data = await root.wind(target, 'lookup', { loc, xdata })
    if (data.errno === 0) return E.NOTEMPTY
    if (data.errno !== E.NOENT) return data.errno
  }
  const again = await root.wind(sub, 'lookup', { loc, xdata })
  if (again.errno !== 0) return again.errno === E.NOENT ? 0 : again.errno
  if (!isLinkto(again.stat, again.xdata, dht.keys)) return E.NOTEMPTY
  const rep = await unlinkLinkto(frame, sub, loc)
  return rep.errno === 0 || rep.errno === E.NOENT ? 0 : E.NOTEMPTY
}
