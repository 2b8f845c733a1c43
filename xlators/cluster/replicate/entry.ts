/** Fops that change names. */
import { Dict } from '../../../src/core/dict.ts'
import {
  type FopError,
  type FopName,
  type Ok,
  type Rep,
  type Req,
  XATTROP_ADD_ARRAY,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, isDir, isReg } from '../../../src/core/iatt.ts'
import { type Inode, isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bricksOf } from '../common/mask.ts'
import { addend } from './change-log.ts'
import { type Changed, changeEntry, type EntryChange } from './entry-transaction.ts'
import type { Replicate } from './index.ts'
import { type EntryLockee, entryLockee } from './locks.ts'

type ParentReply = { preparent: Iatt; postparent: Iatt }
type OneName = 'mknod' | 'mkdir' | 'unlink' | 'rmdir' | 'symlink' | 'create' | 'link'

const nameLock = (afr: Replicate, parent: Inode, name: string): EntryLockee =>
  entryLockee(afr.name, Loc.ofInode(parent), name)

const wholeLock = (afr: Replicate, directory: Inode): EntryLockee =>
  entryLockee(afr.name, Loc.ofInode(directory), undefined)

/** Its answer, and the bricks that did it or did it to another object. */
interface Named<K extends FopName> {
  rep: Rep<K>
  good: number
  foreign: number
}

/** A change of the one name `loc` says. */
async function oneName<K extends OneName>(
  afr: Replicate,
  frame: Frame,
  loc: Loc,
  inode: Inode | undefined,
  what: Pick<EntryChange<K>, 'fop' | 'req' | 'creates' | 'removes' | 'markNew'>,
  more: EntryLockee[] = [],
): Promise<Named<K>> {
  const parent = loc.parent!
  const name = loc.name!
  const outcome = await changeEntry(afr, frame, {
    ...what,
    lockees: [nameLock(afr, parent, name), ...more],
    directories: [{ parent, name }],
  })
  if (outcome.errno !== 0) return { rep: outcome as FopError, good: 0, foreign: 0 }
  const { good, foreign, replies } = outcome
  const told =
    replies[inode === undefined ? afr.spokesman(parent, good) : afr.spokesman(inode, good)]
  const rep = { ...(told as Ok<K>) }
  const ofParent = replies[afr.spokesman(parent, good)] as unknown as ParentReply
  const parents = rep as unknown as ParentReply
  parents.preparent = ofParent.preparent
  parents.postparent = ofParent.postparent
  return { rep, good, foreign }
}

/** Something new: the bricks that lack it are blamed on the object itself (afr_mark_new_entry). */
async function newName<K extends 'mknod' | 'mkdir' | 'create'>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Named<K>> {
  const { loc } = req
  const result = await oneName(afr, frame, loc, loc.inode, {
    fop,
    req,
    creates: true,
    markNew: (own, good, rep) => {
      const { stat } = rep as Ok<'mknod'>
      return markNew(afr, own, { inode: loc.inode, stat }, good, afr.all & ~good)
    },
  })
  // A file that was there before keeps its gfid, and what the bricks know of its copies.
  const asked = req.xdata?.getGfid('gfid-req')
  const { rep } = result
  if (rep.errno === 0 && (rep as Ok<'mknod'>).stat.gfid === asked) made(afr, loc.inode, result)
  return result
}

/** What has just been made is good on every brick that made it. */
function made(
  afr: Replicate,
  inode: Inode,
  { rep, good }: { rep: Rep<FopName>; good: number },
): void {
  if (rep.errno !== 0) return
  const copies = good & ~afr.arbiterMask
  const state = afr.state(inode)
  state.learned(afr.generation, state.doubts, copies, copies)
}

/** Records on the bricks in `good` that those in `missing` lack all of a new object. */
export async function markNew(
  afr: Replicate,
  own: Frame,
  { inode, stat }: { inode: Inode; stat: Iatt },
  good: number,
  missing: number,
): Promise<void> {
  const full = Number(afr.options['granular-entry-heal'])
  const value = isDir(stat) ? addend(full, 1, 1) : addend(Number(isReg(stat)), 1, 0)
  const dict = new Dict()
  for (const brick of bricksOf(missing)) dict.setBytes(afr.changes.pending[brick]!, value)
  const req = { loc: new Loc(inode, undefined, undefined, stat.gfid), op: XATTROP_ADD_ARRAY, dict }
  await Promise.all(bricksOf(good).map((brick) => own.wind(afr.bricks[brick]!, 'xattrop', req)))
}

export async function mknod(
  afr: Replicate,
  frame: Frame,
  req: Req<'mknod'>,
): Promise<Rep<'mknod'>> {
  return (await newName(afr, frame, 'mknod', req)).rep
}

export async function mkdir(
  afr: Replicate,
  frame: Frame,
  req: Req<'mkdir'>,
): Promise<Rep<'mkdir'>> {
  return (await newName(afr, frame, 'mkdir', req)).rep
}

export async function create(
  afr: Replicate,
  frame: Frame,
  req: Req<'create'>,
): Promise<Rep<'create'>> {
  const { rep, good, foreign } = await newName(afr, frame, 'create', req)
  if (rep.errno !== 0) return rep
  const state = afr.fdOpened(req.fd, good, foreign)
  const { gfid } = (rep as Ok<'create'>).stat
  const isNew = gfid === req.xdata?.getGfid('gfid-req')
  if (isNew && good === afr.all) afr.anticipation.created(req.fd, gfid, state)
  return rep
}

export async function symlink(
  afr: Replicate,
  frame: Frame,
  req: Req<'symlink'>,
): Promise<Rep<'symlink'>> {
  const { loc } = req
  const result = await oneName(afr, frame, loc, loc.inode, { fop: 'symlink', req, creates: true })
  made(afr, loc.inode, result)
  return result.rep
}

export async function link(afr: Replicate, frame: Frame, req: Req<'link'>): Promise<Rep<'link'>> {
  const what = { fop: 'link' as const, req }
  return (await oneName(afr, frame, req.newloc, req.oldloc.inode, what)).rep
}

export async function unlink(
  afr: Replicate,
  frame: Frame,
  req: Req<'unlink'>,
): Promise<Rep<'unlink'>> {
  return (await oneName(afr, frame, req.loc, undefined, { fop: 'unlink', req })).rep
}

export async function rmdir(
  afr: Replicate,
  frame: Frame,
  req: Req<'rmdir'>,
): Promise<Rep<'rmdir'>> {
  const { inode } = req.loc
  const what = { fop: 'rmdir' as const, req, removes: inode }
  return (await oneName(afr, frame, req.loc, undefined, what, [wholeLock(afr, inode)])).rep
}

export async function rename(
  afr: Replicate,
  frame: Frame,
  req: Req<'rename'>,
): Promise<Rep<'rename'>> {
  const { oldloc, newloc } = req
  const from = oldloc.parent!
  const to = newloc.parent!
  const lockees = [nameLock(afr, from, oldloc.name!), nameLock(afr, to, newloc.name!)]
  // A directory that is replaced must stay empty.
  const replaced = newloc.inode
  const removes = isDirInode(replaced) && replaced !== oldloc.inode ? replaced : undefined
  if (removes !== undefined) lockees.push(wholeLock(afr, removes))
  const directories: Changed[] = [{ parent: from, name: oldloc.name! }]
  directories.push({ parent: to, name: newloc.name! })
  const moves = oldloc.inode.gfid
  const what = { fop: 'rename' as const, lockees, directories, req, moves, removes }
  const outcome = await changeEntry(afr, frame, what)
  if (outcome.errno !== 0) return outcome
  const { good, replies } = outcome
  const said = (inode: Inode) => replies[afr.spokesman(inode, good)] as Ok<'rename'>
  const ofFrom = said(from)
  const ofTo = said(to)
  return {
    ...said(oldloc.inode),
    preoldparent: ofFrom.preoldparent,
    postoldparent: ofFrom.postoldparent,
    prenewparent: ofTo.prenewparent,
    postnewparent: ofTo.postnewparent,
  }
}
