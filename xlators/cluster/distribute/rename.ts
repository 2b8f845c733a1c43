/** rename, of directories on all subvolumes and of files between them. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { F_WRLCK, type FopError, type Ok, type Rep, type Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, gfidToBytes, NULL_GFID } from '../../../src/core/gfid.ts'
import { isDir } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { hideMigration, isLinkto } from './attributes.ts'
import { learn } from './discover.ts'
import { cachedSub, isDirectory } from './file.ts'
import type { Distribute } from './index.ts'
import { CHANGELOG_RENAME, DONT_ACCOUNT, FORCE_REPLACE, INTERNAL_FOP } from './keys.ts'
import { createLinkto, healLinktoOwner, unlinkLinkto } from './linkto.ts'
import { gfidLoc, LockSet, MIGRATE_DOMAIN } from './locks.ts'
import { lookupAgain, lookupXdata } from './lookup.ts'
import { type Placed, placeName, showParents } from './parent.ts'
import { checkEmpty } from './remove.ts'
import { asRoot } from './subvolumes.ts'

type RenameRep = Rep<'rename'>

export async function rename(
  dht: Distribute,
  frame: Frame,
  req: Req<'rename'>,
): Promise<RenameRep> {
  const rep = await renameAsKnown(dht, frame, req)
  if (rep.errno !== E.NOENT && rep.errno !== E.STALE) return rep
  return (await learnAnew(dht, frame, req)) ? renameAsKnown(dht, frame, req) : rep
}

/**
 * Something was not where it is known to be: rebalance has moved the file, or a directory is not on
 * a new subvolume yet. Asks everywhere, and heals; false when it really is gone.
 */
async function learnAnew(dht: Distribute, frame: Frame, req: Req<'rename'>): Promise<boolean> {
  const { oldloc, newloc } = req
  for (const inode of new Set([oldloc.parent, newloc.parent, oldloc.inode])) {
    if (inode === undefined || (await learn(dht, frame, inode)).errno !== 0) return false
  }
  return true
}

async function renameAsKnown(
  dht: Distribute,
  frame: Frame,
  req: Req<'rename'>,
): Promise<RenameRep> {
  const from = await placeName(dht, frame, req.oldloc)
  if ('errno' in from) return from
  const to = await placeName(dht, frame, req.newloc)
  if ('errno' in to) return to
  return isDirectory(dht, req.oldloc.inode)
    ? renameDirectory(dht, frame, req, from, to)
    : renameFile(dht, frame, req, from, to)
}

/** With one subvolume only the changelog key is added. */
export function renameAlone(dht: Distribute, frame: Frame, req: Req<'rename'>) {
  const xdata = (req.xdata?.clone() ?? new Dict()).setBytes(CHANGELOG_RENAME, changelogOf(req))
  return frame.tail(dht.child, 'rename', { ...req, xdata })
}

/** Tells geo-replication that link and unlink are one rename (changelog_rename_info). */
function changelogOf({ oldloc, newloc }: Req<'rename'>): Buffer {
  const names = Buffer.from(`${oldloc.name}\0${newloc.name}\0`, 'latin1')
  const lengths = Buffer.alloc(8)
  lengths.writeInt32LE((oldloc.name?.length ?? 0) + 1, 0)
  lengths.writeInt32LE((newloc.name?.length ?? 0) + 1, 4)
  return Buffer.concat([gfidToBytes(oldloc.pargfid), gfidToBytes(newloc.pargfid), lengths, names])
}

/** Guards both names; every client takes the two in the same order. */
async function guardBoth(locks: LockSet, from: Placed, to: Placed) {
  const key = (placed: Placed): string => `${gfidText(placed.parent.gfid)}${placed.name}`
  const firstIsFrom =
    from.hashed === to.hashed ? key(from) < key(to) : from.hashed.name < to.hashed.name
  for (const placed of firstIsFrom ? [from, to] : [to, from]) {
    const guard = await locks.guardName(placed.hashed, placed.parent, placed.name)
    if (guard.errno !== 0) return guard
  }
  return { errno: 0 } as const
}

function show(dht: Distribute, req: Req<'rename'>, rep: Ok<'rename'>): Ok<'rename'> {
  const { oldloc, newloc } = req
  if (oldloc.parent !== undefined) {
    showParents(dht, oldloc.parent, rep.preoldparent, rep.postoldparent)
  }
  if (newloc.parent !== undefined) {
    showParents(dht, newloc.parent, rep.prenewparent, rep.postnewparent)
  }
  hideMigration(rep.stat)
  return rep
}

// -- directories ---------------------------------------------------------------------------------

async function renameDirectory(
  dht: Distribute,
  frame: Frame,
  req: Req<'rename'>,
  from: Placed,
  to: Placed,
): Promise<RenameRep> {
  if (!dht.states.allUp) return { errno: E.NOTCONN }
  const locks = new LockSet(frame)
  try {
    const guard = await guardBoth(locks, from, to)
    if (guard.errno !== 0) return guard
    const { newloc } = req
    if (newloc.inode.gfid !== NULL_GFID && isDirectory(dht, newloc.inode)) {
      const errno = await checkEmpty(dht, frame, gfidLoc(newloc.inode))
      if (errno !== 0 && errno !== E.NOENT && errno !== E.STALE) return { errno }
    }
    const first = await frame.wind(to.hashed, 'rename', req)
    if (first.errno !== 0) return first
    const others = dht.children.filter((sub) => sub !== to.hashed)
    const replies = await frame.windAll(others, 'rename', () => req)
    const failure = replies.find((rep) => rep.errno !== 0)
    if (failure === undefined) return show(dht, req, first)
    const done = [to.hashed, ...others.filter((_, i) => replies[i]!.errno === 0)]
    const back = { oldloc: namedLike(req.newloc, req.oldloc), newloc: req.oldloc }
    const undone = await frame.windAll(done, 'rename', () => back)
    undone.forEach((rep, i) => {
      if (rep.errno === 0) return
      const where = { sub: done[i]!.name, path: req.oldloc.path, errno: rep.errno }
      dht.log.error(where, 'a failed rename of a directory could not be undone')
    })
    return failure
  } finally {
    locks.release()
  }
}

/** `loc`'s name, for the object of `object`. */
function namedLike(loc: Loc, object: Loc): Loc {
  return new Loc(object.inode, loc.parent, loc.name)
}

// -- files ---------------------------------------------------------------------------------------

/** A rename of a file under way. `src` and `dst` are the old and new name. */
interface FileRename {
  readonly dht: Distribute
  readonly frame: Frame
  readonly req: Req<'rename'>
  readonly gfid: Gfid
  readonly srcCached: Xlator
  readonly srcHashed: Xlator
  readonly dstHashed: Xlator
  /** `undefined` = the new name is free. */
  readonly dstCached: Xlator | undefined
  /** A linkto with the old name was made on dstHashed, to be renamed there. */
  madeLinkto: boolean
  /** The new name was made on srcCached. */
  madeLink: boolean
}

async function renameFile(
  dht: Distribute,
  frame: Frame,
  req: Req<'rename'>,
  from: Placed,
  to: Placed,
): Promise<RenameRep> {
  const { oldloc, newloc } = req
  const srcCached = await cachedSub(dht, frame, oldloc.inode)
  if (typeof srcCached === 'number') return { errno: srcCached }
  const locks = new LockSet(frame)
  try {
    const locked = await lockFiles(dht, locks, oldloc.inode, newloc.inode, srcCached)
    if (locked.errno !== 0) return locked
    const guard = await guardBoth(locks, from, to)
    if (guard.errno !== 0) return guard
    const dst = await lookBoth(dht, frame, req, srcCached)
    if ('errno' in dst) return dst
    if (dst.same !== undefined) return dst.same
    return await moveFile({
      dht,
      frame,
      req,
      gfid: oldloc.inode.gfid,
      srcCached,
      srcHashed: from.hashed,
      dstHashed: to.hashed,
      dstCached: dst.cached,
      madeLinkto: false,
      madeLink: false,
    })
  } finally {
    locks.release()
  }
}

/** Keeps rebalance from moving either file; a vanished destination is tolerated. */
async function lockFiles(
  dht: Distribute,
  locks: LockSet,
  src: Inode,
  dst: Inode,
  srcCached: Xlator,
) {
  const wanted: { sub: Xlator; inode: Inode; tolerated: Errno[] }[] = [
    { sub: srcCached, inode: src, tolerated: [] },
  ]
  const dstCached = dst.gfid === NULL_GFID ? undefined : dht.inodes.get(dst)?.cached
  if (dstCached !== undefined && dst.gfid !== src.gfid) {
    wanted.push({ sub: dstCached, inode: dst, tolerated: [E.NOENT, E.STALE, E.IO] })
  }
  const order = (a: (typeof wanted)[0]): string => `${a.sub.name}\0${gfidText(a.inode.gfid)}`
  wanted.sort((a, b) => (order(a) < order(b) ? -1 : 1))
  for (const { sub, inode, tolerated } of wanted) {
    const rep = await locks.inodelk(sub, gfidLoc(inode), MIGRATE_DOMAIN, F_WRLCK, tolerated)
    if (rep.errno !== 0) return rep
  }
  return { errno: 0 } as const
}

/** Under the locks: the source must still be there; where is the destination now? */
async function lookBoth(
  dht: Distribute,
  frame: Frame,
  req: Req<'rename'>,
  srcCached: Xlator,
): Promise<FopError | { cached: Xlator | undefined; same?: RenameRep }> {
  const { oldloc, newloc } = req
  const xdata = lookupXdata(dht, undefined, false)
  const src = await frame.wind(srcCached, 'lookup', { loc: oldloc, xdata })
  if (src.errno !== 0) return src
  if (src.stat.gfid !== oldloc.inode.gfid || isLinkto(src.stat, src.xdata, dht.keys)) {
    return { errno: E.NOENT }
  }
  const probe = new Loc(newloc.inode.table.newInode(), newloc.parent, newloc.name)
  const dst = await lookupAgain(dht, frame, probe)
  if (dst.errno === E.NOENT) return { cached: undefined }
  if (dst.errno !== 0) return { errno: dst.errno }
  if (isDir(dst.stat)) return { errno: E.ISDIR }
  const cached = dht.inodes.get(probe.inode)?.cached
  if (dst.stat.gfid !== src.stat.gfid) return { cached }
  // Two names of one file: rename(2) does nothing.
  const { stat, postparent } = src
  const parents = { preoldparent: postparent, postoldparent: postparent }
  const { postparent: newparent } = dst
  const same = {
    errno: 0 as const,
    stat,
    ...parents,
    prenewparent: newparent,
    postnewparent: newparent,
  }
  return { cached, same }
}

/** The table of the specification, in three steps: prepare, rename where it counts, clean up. */
async function moveFile(move: FileRename): Promise<RenameRep> {
  const { dht, req, srcCached, dstHashed, dstCached } = move
  const target = srcCached === dstCached ? srcCached : dstHashed
  const prepared = await prepare(move)
  if (prepared.errno !== 0) {
    await cleanUp(move)
    return prepared
  }
  const rep = await renameAt(move, target)
  if (rep.errno !== 0) {
    await cleanUp(move)
    return rep
  }
  const removed = await removeOldNames(move, target)
  if (removed.errno !== 0) return removed
  dht.rememberFile(req.oldloc.inode, move.gfid, srcCached)
  if (dstHashed !== srcCached) {
    healLinktoOwner(dht, move.frame, dstHashed, req.oldloc, rep.stat)
  }
  return show(dht, req, await withDataStat(move, target, rep))
}

const OK = { errno: 0 } as const

/** Before the rename: the way free at the target, and the data under its new name at its place. */
async function prepare(move: FileRename): Promise<typeof OK | FopError> {
  const { dht, frame, req, gfid, srcCached, srcHashed, dstHashed, dstCached } = move
  const { oldloc, newloc } = req
  if (srcCached === dstCached) {
    if (dstHashed === dstCached) return OK
    const rep = await asRoot(frame).wind(dstHashed, 'unlink', {
      loc: newloc,
      flags: 0,
      xdata: internal(),
    })
    return rep.errno === 0 || rep.errno === E.NOENT ? OK : rep
  }
  if (srcCached === dstHashed) return OK
  if (dstHashed !== srcHashed) {
    const options = { replace: true }
    const rep = await createLinkto(dht, frame, dstHashed, srcCached, oldloc, gfid, options)
    if (rep.errno !== 0) return { errno: rep.errno }
    if (rep.stat.gfid !== gfid) return { errno: E.EXIST }
    move.madeLinkto = true
  }
  const xdata = internal().setStr(DONT_ACCOUNT, 'yes').setStr(FORCE_REPLACE, 'yes')
  const rep = await frame.wind(srcCached, 'link', { oldloc, newloc, xdata })
  if (rep.errno !== 0) return { errno: rep.errno }
  move.madeLink = true
  return OK
}

/** The step that gives the name its new place: the data's, or the linkto that leads to it. */
async function renameAt(move: FileRename, target: Xlator): Promise<RenameRep> {
  const { dht, frame, req, gfid, srcCached, dstCached } = move
  if (target === srcCached) {
    const xdata = (req.xdata?.clone() ?? new Dict()).setBytes(CHANGELOG_RENAME, changelogOf(req))
    return frame.wind(target, 'rename', { ...req, xdata })
  }
  const xdata = (req.xdata?.clone() ?? new Dict())
    .setStr(INTERNAL_FOP, 'yes')
    .setStr(DONT_ACCOUNT, 'yes')
  const rep = await asRoot(frame).wind(target, 'rename', { ...req, xdata })
  if (rep.errno !== E.NOENT || target === dstCached) return rep
  // The old name had no linkto there after all: the new one gets its own.
  const options = { replace: true }
  const made = await createLinkto(dht, frame, target, srcCached, req.newloc, gfid, options)
  if (made.errno !== 0) return { errno: made.errno }
  if (made.stat.gfid !== gfid) return { errno: E.EXIST }
  const { stat, preparent, postparent } = made
  return {
    errno: 0,
    stat,
    preoldparent: preparent,
    postoldparent: postparent,
    prenewparent: preparent,
    postnewparent: postparent,
  }
}

/** After the rename: the old name goes from everywhere, and so does what had the new one. */
async function removeOldNames(move: FileRename, target: Xlator): Promise<typeof OK | FopError> {
  const { dht, frame, req, gfid, srcCached, srcHashed, dstHashed, dstCached } = move
  const { oldloc, newloc } = req
  const root = asRoot(frame)
  if (srcCached === dstCached && dstHashed !== dstCached) {
    await createLinkto(dht, frame, dstHashed, srcCached, newloc, gfid)
  }
  const jobs: Promise<Rep<'unlink'>>[] = []
  const remove = async (sub: Xlator, loc: Loc, xdata: Dict): Promise<Rep<'unlink'>> =>
    root.wind(sub, 'unlink', { loc, flags: 0, xdata })
  if (srcCached !== dstHashed && srcCached !== dstCached) {
    const xdata = internal().setBytes(CHANGELOG_RENAME, changelogOf(req))
    const rep = await remove(srcCached, oldloc, xdata.setStr(DONT_ACCOUNT, 'yes'))
    if (rep.errno !== 0 && rep.errno !== E.NOENT) return { errno: rep.errno }
  }
  if (srcHashed !== target && srcHashed !== srcCached) {
    jobs.push(remove(srcHashed, oldloc, internal().setStr(DONT_ACCOUNT, 'yes')))
  }
  if (dstCached !== undefined && dstCached !== dstHashed && dstCached !== srcCached) {
    jobs.push(remove(dstCached, newloc, internal()))
  }
  for (const rep of await Promise.all(jobs)) {
    if (rep.errno === 0 || rep.errno === E.NOENT) continue
    dht.log.warn({ path: oldloc.path, errno: rep.errno }, 'a name left by a rename was not removed')
  }
  return OK
}

/** The rename failed: takes back what was prepared. */
async function cleanUp(move: FileRename): Promise<void> {
  const { frame, req, srcCached, srcHashed, dstHashed, dstCached, dht } = move
  if (srcCached === dstCached) return
  if (move.madeLinkto && dstHashed !== srcHashed && dstHashed !== srcCached) {
    await unlinkLinkto(frame, dstHashed, req.oldloc)
  }
  if (!move.madeLink || srcCached === dstHashed) return
  const undo = { loc: req.newloc, flags: 0, xdata: internal() }
  const rep = await asRoot(frame).wind(srcCached, 'unlink', undo)
  if (rep.errno !== 0) {
    dht.log.warn({ path: req.newloc.path, errno: rep.errno }, 'a failed rename left its new name')
  }
}

/** Where only a linkto was renamed, its attributes are not the file's: the data has the last word. */
async function withDataStat(
  move: FileRename,
  target: Xlator,
  rep: Ok<'rename'>,
): Promise<Ok<'rename'>> {
  if (target === move.srcCached) return rep
  const req = { loc: gfidLoc(move.req.oldloc.inode) }
  const data = await move.frame.wind(move.srcCached, 'stat', req)
  return data.errno === 0 ? { ...rep, stat: data.stat } : rep
}

function internal(): Dict {
  return new Dict().setStr(INTERNAL_FOP, 'yes')
}
