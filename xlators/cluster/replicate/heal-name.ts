/**
 * Name heal: one name of a directory made the same on all bricks (afr_selfheal_name, and each step
 * of afr_selfheal_entry).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID } from '../../../src/core/gfid.ts'
import { isReg, S_IFMT } from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count, has } from '../common/mask.ts'
import { ENTRY } from './change-log.ts'
import { createName, removeName } from './heal-change.ts'
import {
  type Decision,
  decided,
  findDirection,
  type HealResult,
  readCopies,
  underLock,
} from './heal-common.ts'
import type { Replicate } from './index.ts'
import { entryLockee } from './locks.ts'
import { everywhere } from './open.ts'
import { favoriteCopy } from './split-brain.ts'

export interface NameHow {
  /** What to give an object that has no gfid anywhere. */
  gfidReq?: Gfid | undefined
  decision?: Decision | undefined
}

/** `frame` acts as a healer with a lock owner of its own. */
export function healOneName(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  name: string,
  how: NameHow,
): Promise<HealResult> {
  const lockee = entryLockee(afr.name, Loc.ofInode(dir), name)
  return underLock(afr, frame, lockee, 'wait', async () => {
    const found = await readCopies(afr, frame, dir)
    if (found.errno !== 0) return found
    const { sources, isClean, witness } = findDirection(afr, found.copies, ENTRY)
    return settleName(afr, frame, { dir, name, sources, isClean, witness }, how)
  })
}

export interface Name {
  dir: Inode
  name: string
  /** Bricks that are right about the directory; 0: what any of them has is kept. */
  sources: number
  /** Nothing is on record of the directory. */
  isClean: boolean
  /** By brick: changes of the directory it began and did not finish; none when left out. */
  witness?: readonly number[]
}

type Found = Map<number, Ok<'lookup'>>

/** Under a lock that covers the name. */
export async function settleName(
  afr: Replicate,
  frame: Frame,
  at: Name,
  how: NameHow = {},
): Promise<HealResult> {
  const { dir, name, sources, isClean, witness } = at
  const census = await takeCensus(afr, frame, dir, name)
  if (census.errno !== 0) return census
  const { found, missing } = census
  if (found.size === 0) return { errno: 0 }
  const right = sources === 0 ? afr.all : sources
  let holders = [...found.keys()].filter((brick) => has(right, brick))
  if (holders.length === 0 && [...found.keys()].some((brick) => witness?.[brick])) {
    // Perhaps made there last, by a client that told its user and died before it said so here.
    holders = [...found.keys()]
  }
  if (holders.length === 0 || (await isWithoutContent(afr, frame, found))) {
    // Removed while the others were away.
    for (const [brick, reply] of found) {
      const errno = await removeName(afr, frame, dir, name, brick, reply)
      if (errno !== 0) return { errno }
    }
    return { errno: 0 }
  }
  const chosen = chooseObject(afr, found, holders, isClean, how)
  if (chosen === undefined) {
    afr.log.error(
      `'${inodePath(dir)}/${name}' is in split-brain (different objects on the bricks); see ` +
        `'gluster volume heal ${afr.graph.volfileId} info split-brain'`,
    )
    return { errno: E.IO }
  }
  return makeSame(afr, frame, at, { found, missing, ...chosen })
}

/**
 * Only the arbiter has the file, under whatever name: its removal was cut short, and there is no
 * content any more.
 */
async function isWithoutContent(afr: Replicate, frame: Frame, found: Found): Promise<boolean> {
  const [[brick, { stat }]] = [...found] as [[number, Ok<'lookup'>]]
  if (found.size > 1 || !has(afr.arbiterMask, brick) || !isReg(stat)) return false
  const inode = afr.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT)
  const req = { loc: new Loc(inode, undefined, undefined, stat.gfid) }
  const { replies } = await everywhere(afr, frame, 'lookup', req, afr.all & ~afr.arbiterMask)
  return replies.every((reply, other) => {
    const { errno } = reply ?? { errno: E.NOTCONN }
    return other === brick || errno === E.NOENT || errno === E.STALE
  })
}

async function takeCensus(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  name: string,
): Promise<{ errno: 0; found: Found; missing: number } | { errno: Errno }> {
  const loc = Loc.ofName(dir, name, afr.graph.inodes.newInode())
  const xdata = afr.changes.requestRefresh().setInt('gfidless-lookup', 1)
  const { replies } = await everywhere(afr, frame, 'lookup', { loc, xdata }, afr.all)
  const found: Found = new Map()
  let missing = 0
  for (const [brick, reply] of replies.entries()) {
    if (reply === undefined) return { errno: E.NOTCONN }
    if (reply.errno === 0) found.set(brick, reply)
    else if (reply.errno === E.NOENT || reply.errno === E.STALE) missing |= bit(brick)
    else return { errno: reply.errno }
  }
  return { errno: 0, found, missing }
}

interface Chosen {
  gfid: Gfid
  /** A brick that has the right object. */
  brick: number
}

/** Which of the objects of one name is right; undefined in a split-brain nobody decided. */
function chooseObject(
  afr: Replicate,
  found: Found,
  holders: readonly number[],
  isClean: boolean,
  how: NameHow,
): Chosen | undefined {
  const objects = new Map<Gfid, number[]>()
  for (const brick of holders) {
    const { gfid } = found.get(brick)!.stat
    if (gfid !== NULL_GFID) objects.set(gfid, [...(objects.get(gfid) ?? []), brick])
  }
  if (objects.size === 0) {
    const { gfidReq } = how
    return gfidReq === undefined ? undefined : { gfid: gfidReq, brick: holders[0]! }
  }
  const [[gfid, bricks]] = objects as unknown as [[Gfid, number[]]]
  if (objects.size === 1) {
    const types = new Set(holders.map((brick) => found.get(brick)!.stat.mode & S_IFMT))
    return types.size === 1 ? { gfid, brick: bricks[0]! } : undefined
  }
  const brick = preferredObject(afr, found, objects, isClean, how.decision)
  return brick < 0 ? undefined : { gfid: found.get(brick)!.stat.gfid, brick }
}

function preferredObject(
  afr: Replicate,
  found: Found,
  objects: ReadonlyMap<Gfid, number[]>,
  isClean: boolean,
  decision: Decision | undefined,
): number {
  // All bricks must have a say.
  if (found.size !== afr.bricks.length) return -1
  const replies = afr.bricks.map((_brick, index) => found.get(index)!)
  const chosen = decided(afr, replies, decision)
  if (chosen >= 0) return chosen
  // Nobody missed anything: a rename over another file was cut short with its client. Had it been
  // acknowledged, most bricks would have done it.
  const configured = afr.options['favorite-child-policy']
  const policy = isClean && configured === 'none' ? 'majority' : configured
  if (policy !== 'majority') return favoriteCopy(policy, replies, afr.arbiterMask)
  for (const bricks of objects.values()) {
    if (2 * bricks.length > afr.bricks.length) {
      return bricks.find((brick) => !has(afr.arbiterMask, brick)) ?? -1
    }
  }
  return -1
}

/** Removes other objects, gives nameless ones their gfid, creates what is missing. */
async function makeSame(
  afr: Replicate,
  frame: Frame,
  { dir, name }: Name,
  what: { found: Found; missing: number } & Chosen,
): Promise<HealResult> {
  const { found, gfid, brick: source } = what
  const right = found.get(source)!
  const type = right.stat.mode & S_IFMT
  let { missing } = what
  let present = 0
  for (const [brick, reply] of found) {
    if (reply.stat.gfid === gfid && (reply.stat.mode & S_IFMT) === type) {
      present |= bit(brick)
    } else if (reply.stat.gfid === NULL_GFID && (reply.stat.mode & S_IFMT) === type) {
      const given = await giveGfid(afr, frame, dir, name, brick, gfid)
      if (given.errno !== 0) return { errno: given.errno }
      present |= bit(brick)
    } else {
      const errno = await removeName(afr, frame, dir, name, brick, reply)
      if (errno !== 0) return { errno }
      missing |= bit(brick)
    }
  }
  if (missing === 0) return { errno: 0 }
  const stat = right.stat.clone()
  stat.gfid = gfid
  const made = await createName(afr, frame, Loc.ofInode(dir), name, stat, present, missing)
  const where = { path: `${inodePath(dir)}/${name}`, gfid: gfidText(gfid) }
  afr.log.info({ ...where, missing: bricksOf(missing) }, 'name heal')
  return made === missing ? { errno: 0 } : { errno: count(made) === 0 ? E.IO : E.NOTCONN }
}

function giveGfid(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  name: string,
  brick: number,
  gfid: Gfid,
): Promise<Rep<'lookup'>> {
  const loc = Loc.ofName(dir, name, afr.graph.inodes.newInode())
  const xdata = new Dict().setGfid('gfid-req', gfid)
  return Promise.resolve(frame.wind(afr.bricks[brick]!, 'lookup', { loc, xdata }))
}
