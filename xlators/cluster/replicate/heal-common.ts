/** What all heals share: what the bricks say, who of them is right, locks, and the end. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { type FopName, type Ok, type Req, XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count, has } from '../common/mask.ts'
import { BAD_INODE, type Slot } from './change-log.ts'
import type { Replicate } from './index.ts'
import { type EntryLockee, type Lockee, lockAll, lockMost, unlockAll } from './locks.ts'
import { everywhere } from './open.ts'
import { favoriteCopy } from './split-brain.ts'

export interface HealResult {
  /** 0: nothing is left to heal; EIO: a split-brain; ENOTCONN: a brick is missing. */
  errno: Errno | 0
}

/** One object on every brick. */
export type Copies = readonly Ok<'lookup'>[]

/** How an administrator decides a split-brain (the `heal-op` of glfs-heal). */
export type Decision =
  | { by: 'bigger-file' }
  | { by: 'latest-mtime' }
  | { by: 'source'; brick: number }

/** Domain that keeps healers apart; clients do not use it. */
export const healDomain = (afr: Replicate): string => `${afr.name}:self-heal`

/** Runs `job` with `lockee` locked on every brick; without one of them nothing can be healed. */
export async function underLock<T extends HealResult>(
  afr: Replicate,
  frame: Frame,
  lockee: Lockee,
  how: 'wait' | 'leave-to-others',
  job: () => Promise<T>,
): Promise<T | { errno: Errno }> {
  if (afr.up !== afr.all) return { errno: E.NOTCONN }
  // Names that this mount keeps locked are given back.
  if ('directory' in lockee) afr.contendedHere((lockee as EntryLockee).gfid)
  const locks =
    how === 'wait'
      ? await lockAll(frame, afr.bricks, [lockee], afr.all)
      : await lockMost(frame, afr.bricks, lockee, afr.all)
  if (locks.errno !== 0) return { errno: locks.errno }
  try {
    return locks.locked === afr.all ? await job() : { errno: E.NOTCONN }
  } finally {
    await unlockAll(frame, afr.bricks, [lockee], locks.held)
  }
}

/** Every brick's copy of an object known by gfid. */
export async function readCopies(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
): Promise<{ errno: 0; copies: Copies } | { errno: Errno }> {
  if (afr.up !== afr.all) return { errno: E.NOTCONN }
  const req = { loc: Loc.ofInode(inode), xdata: afr.changes.requestRefresh() }
  const { replies } = await everywhere(afr, frame, 'lookup', req, afr.all)
  const copies: Ok<'lookup'>[] = []
  for (const reply of replies) {
    if (reply?.errno !== 0) return { errno: reply?.errno ?? E.NOTCONN }
    if (reply.xdata?.has(BAD_INODE)) return { errno: E.IO }
    const known = copies[0]
    if (known !== undefined && ((known.stat.mode ^ reply.stat.mode) & S_IFMT) !== 0) {
      return { errno: E.IO }
    }
    copies.push(reply)
  }
  return { errno: 0, copies }
}

/** Who is right about one slot (afr_selfheal_find_direction). Masks of bricks. */
export interface Direction {
  /** Nobody who may speak blames them; empty in a split-brain. */
  sources: number
  /** By brick: how much it began and did not finish, or blames itself for. */
  witness: number[]
  /** Nothing is on record at all. */
  isClean: boolean
}

export function findDirection(
  afr: Replicate,
  copies: readonly { xdata?: Dict | undefined }[],
  slot: Slot,
): Direction {
  const matrix = copies.map(({ xdata }) => afr.changes.blames(xdata, slot))
  const witness = copies.map(({ xdata }) => afr.changes.unfinished(xdata, slot))
  const accused = copies.map(() => 0)
  let isClean = witness.every((value) => value === 0)
  matrix.forEach((row, brick) => {
    if (row[brick] !== 0) {
      // Who blames itself is no witness against others.
      witness[brick]! += row[brick]!
      isClean = false
      return
    }
    row.forEach((value, other) => {
      if (value === 0) return
      accused[other]!++
      isClean = false
    })
  })
  let sources = maskWhere(accused, (times) => times === 0)
  if (sources === 0 && slot !== 2) {
    sources = maskWhere(accused, (times) => times < afr.quorum.needed)
  }
  return { sources, witness, isClean }
}

function maskWhere<T>(values: readonly T[], test: (value: T) => boolean): number {
  let mask = 0
  values.forEach((value, brick) => {
    if (test(value)) mask |= bit(brick)
  })
  return mask
}

/** The brick reads come from: one on this host if it may be. */
export function chooseSource(afr: Replicate, sources: number): number {
  const { preferred } = afr.reads
  return preferred >= 0 && has(sources, preferred) ? preferred : bricksOf(sources)[0]!
}

/** The copy the administrator decided for, -1 when the decision does not say. */
export function decided(afr: Replicate, copies: Copies, decision: Decision | undefined): number {
  if (decision === undefined) return -1
  if (decision.by === 'source') return has(afr.arbiterMask, decision.brick) ? -1 : decision.brick
  const stats = copies.map(({ stat }) => stat)
  const measure = decision.by === 'bigger-file' ? sizeOf : mtimeOf
  let best = -1
  let tied = false
  stats.forEach((stat, brick) => {
    if (has(afr.arbiterMask, brick)) return
    const order = best < 0 ? 1 : measure(stat) - measure(stats[best]!)
    if (order > 0) best = brick
    tied = order > 0 ? false : tied || order === 0
  })
  return tied ? -1 : best
}

/** The copy a configured favorite-child-policy takes, -1 for none. */
export const favorite = (afr: Replicate, copies: Copies): number =>
  favoriteCopy(afr.options['favorite-child-policy'], copies, afr.arbiterMask)

const sizeOf = (stat: Iatt): number => stat.size
const mtimeOf = (stat: Iatt): number => stat.mtime + stat.mtimeNsec / 1e9

/** How the change log is left. */
export interface Settlement {
  /** Slots that were looked at; the first is the one healed. */
  slots: readonly Slot[]
  /** Bricks that could not be healed. */
  failed: number
  xdata?: Dict
}

/**
 * Takes back what was on record when the heal began; bricks that still lack something are blamed
 * by all (afr_selfheal_undo_pending). What came on record meanwhile stays.
 */
export async function settle(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  copies: readonly { xdata?: Dict | undefined }[],
  how: Settlement,
): Promise<HealResult> {
  const { changes } = afr
  const dicts = copies.map(({ xdata }, brick) => {
    const dict = new Dict()
    const values = changes.pending.map(() => Buffer.alloc(12))
    const dirty = Buffer.alloc(12)
    for (const slot of how.slots) {
      changes.blames(xdata, slot).forEach((value, other) => {
        const isMain = slot === how.slots[0]
        const change = has(how.failed, other) ? Number(isMain) : -value
        values[other]!.writeInt32BE(change | 0, 4 * slot)
      })
      const unfinished = changes.unfinished(xdata, slot)
      dirty.writeInt32BE(has(how.failed, brick) ? 0 : -unfinished | 0, 4 * slot)
    }
    changes.pending.forEach((key, other) => {
      dict.setBytes(key, values[other]!)
    })
    return dict.setBytes(changes.dirty, dirty)
  })
  const loc = Loc.ofInode(inode)
  const replies = await eachBrick(afr, frame, afr.all, 'xattrop', (brick) => ({
    loc,
    op: XATTROP_ADD_ARRAY,
    dict: dicts[brick]!,
    xdata: how.xdata,
  }))
  afr.doubt(inode)
  if (how.failed !== 0) return { errno: E.IO }
  return count(replies.good) === afr.bricks.length ? { errno: 0 } : { errno: E.NOTCONN }
}

/** One fop to each brick in `mask`, with a request of its own; which succeeded. */
export async function eachBrick<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  mask: number,
  fop: K,
  req: (brick: number) => Req<K>,
): Promise<{ good: number; replies: Map<number, Ok<K>> }> {
  const replies = new Map<number, Ok<K>>()
  let good = 0
  const asked = bricksOf(mask).map(async (brick) => {
    const reply = await frame.wind(afr.bricks[brick]!, fop, req(brick))
    if (reply.errno !== 0) return
    good |= bit(brick)
    replies.set(brick, reply as Ok<K>)
  })
  await Promise.all(asked)
  return { good, replies }
}
