/**
 * Data heal: copies that missed writes get the blocks in which they differ, one after the other,
 * while clients go on writing to all (afr_selfheal_data).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Ok } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import {
  SET_ATTR_ATIME,
  SET_ATTR_CTIME,
  SET_ATTR_MTIME,
  timeLater,
} from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_RDWR } from '../../../src/core/open-flags.ts'
import { bit, bricksOf, count } from '../common/mask.ts'
import { DATA } from './change-log.ts'
import {
  type Copies,
  chooseSource,
  type Decision,
  type Direction,
  decided,
  eachBrick,
  favorite,
  findDirection,
  type HealResult,
  healDomain,
  readCopies,
  settle,
  underLock,
} from './heal-common.ts'
import type { Replicate } from './index.ts'
import { rangeLockee } from './locks.ts'

/** Bytes per block of a sparse file, and the unit of data-self-heal-window-size. */
const BLOCK_UNIT = 128 * 1024

export const SET_TIMES = SET_ATTR_ATIME | SET_ATTR_MTIME | SET_ATTR_CTIME

interface Plan {
  errno: 0
  copies: Copies
  source: number
  /** Bricks to be made equal to the source, the arbiter among them. */
  sinks: number
  /** Those of them that have its length. */
  cut: number
  /** Of the source, and of each copy before it was cut. */
  size: number
  sizes: number[]
  /** Of the set of connected bricks. */
  generation: number
}

type Failure = { errno: Errno }

export async function healData(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  decision?: Decision,
): Promise<HealResult> {
  const target = { loc: Loc.ofInode(inode) }
  const exclusive = rangeLockee(healDomain(afr), target, 0n, 0n)
  const whole = rangeLockee(afr.name, target, 0n, 0n)
  return underLock(
    afr,
    frame,
    exclusive,
    decision === undefined ? 'leave-to-others' : 'wait',
    async () => {
      afr.contendedHere(inode.gfid)
      const plan = await underLock(afr, frame, whole, 'wait', () =>
        prepare(afr, frame, inode, decision),
      )
      if (plan.errno !== 0) return plan
      const { source, size, sinks } = plan as Plan
      if (sinks === 0) return { errno: 0 }
      afr.log.info({ inode: inodePath(inode), source, size }, 'data heal begins')
      const copied = await copyBlocks(afr, frame, inode, plan as Plan)
      if (copied.errno !== 0) return copied
      const { healed } = copied
      afr.contendedHere(inode.gfid)
      return underLock(afr, frame, whole, 'wait', () =>
        finish(afr, frame, inode, plan as Plan, healed),
      )
    },
  )
}

/** Decides who is right and cuts the others to that length. Under the lock of the file. */
async function prepare(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  decision: Decision | undefined,
): Promise<Plan | Failure | HealResult> {
  const { generation } = afr
  const found = await readCopies(afr, frame, inode)
  if (found.errno !== 0) return found
  const { copies } = found
  const direction = findDirection(afr, copies, DATA)
  const sources = rightful(afr, copies, direction, decision)
  if (sources === 0) {
    afr.log.error({ inode: inodePath(inode) }, 'data heal: split-brain')
    return { errno: E.IO }
  }
  const sinks = afr.all & ~sources
  if (sinks === 0) {
    if (direction.isClean) return { errno: 0 }
    return settle(afr, frame, inode, copies, { slots: [DATA], failed: 0 })
  }
  const source = chooseSource(afr, sources & ~afr.arbiterMask)
  const { size } = copies[source]!.stat
  const sizes = copies.map(({ stat }) => stat.size)
  const fd = new Fd(inode, O_RDWR, 0)
  const cut = await eachBrick(afr, frame, sinks, 'ftruncate', () => ({ fd, offset: size }))
  if (cut.good === 0) return { errno: E.IO }
  return { errno: 0, copies, source, sinks, cut: cut.good, size, sizes, generation }
}

/**
 * Does the plan hold, as far as clients are concerned that have to wait for the lock held now? The
 * source may have been away, for us or for another client, and what was written meanwhile is on the
 * others only. A brick that was away may also have forgotten what it was given and not told to
 * sync.
 */
async function isStillRight(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  { copies, source, generation }: Plan,
): Promise<boolean> {
  const found = await readCopies(afr, frame, inode)
  if (found.errno !== 0 || generation !== afr.generation) return false
  const { changes } = afr
  return found.copies.every(({ xdata }, brick) => {
    const before = copies[brick]!.xdata
    return (
      changes.blames(xdata, DATA)[source] === changes.blames(before, DATA)[source] &&
      changes.unfinished(xdata, DATA) === changes.unfinished(before, DATA)
    )
  })
}

/** The copies that are right; 0 in a split-brain nobody decided. The arbiter holds no data. */
function rightful(
  afr: Replicate,
  copies: Copies,
  { sources, witness }: Direction,
  decision: Decision | undefined,
): number {
  const holders = sources & ~afr.arbiterMask
  if (holders === 0) {
    // Nothing in them, nothing to choose.
    if (copies.every(({ stat }) => stat.size === 0)) return bit(0)
    const chosen = decided(afr, copies, decision)
    if (chosen >= 0) return bit(chosen)
    const liked = favorite(afr, copies)
    return liked >= 0 ? bit(liked) : 0
  }
  const bricks = bricksOf(holders)
  const { size } = copies[bricks[0]!]!.stat
  const sameSize = bricks.every((brick) => copies[brick]!.stat.size === size)
  const witnessed = bricks.some((brick) => witness[brick] !== 0)
  if (sameSize && !witnessed) return sources
  return bit(bricks.reduce((best, brick) => (better(copies, witness, brick, best) ? brick : best)))
}

/** Longer, else more of an unfinished write, else newer. */
function better(copies: Copies, witness: readonly number[], brick: number, best: number): boolean {
  const [a, b] = [copies[brick]!.stat, copies[best]!.stat]
  if (a.size !== b.size) return a.size > b.size
  if (witness[brick] !== witness[best]) return witness[brick]! > witness[best]!
  return timeLater(a.ctime, a.ctimeNsec, b.ctime, b.ctimeNsec)
}

/** Makes the sinks equal to the source, block by block; which of them are. EAGAIN: begin anew. */
async function copyBlocks(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  plan: Plan,
): Promise<{ errno: 0; healed: number } | Failure> {
  const { source, size, copies, sizes } = plan
  const { stat } = copies[source]!
  const isSparse = stat.blocks * 512 < stat.size
  const block = isSparse ? BLOCK_UNIT : BLOCK_UNIT * afr.options['data-self-heal-window-size']
  const fd = new Fd(inode, O_RDWR, 0)
  const algorithm = afr.options['data-self-heal-algorithm']
  // Nothing to compare with where all were empty.
  const full = algorithm === 'full' || (algorithm !== 'diff' && sizes.every((one) => one === 0))
  const arbiter = plan.cut & afr.arbiterMask
  let sinks = plan.cut & ~arbiter
  for (let offset = 0; offset < size && sinks !== 0; offset += block) {
    const target = { loc: Loc.ofInode(inode) }
    const lockee = rangeLockee(afr.name, target, BigInt(offset), BigInt(block))
    const range = { fd, offset, size: Math.min(block, size - offset), isSparse, full }
    // A lock kept by this mount covers the whole file.
    afr.contendedHere(inode.gfid)
    const step = await underLock(afr, frame, lockee, 'wait', async () =>
      (await isStillRight(afr, frame, inode, plan))
        ? { errno: 0 as const, healed: await copyBlock(afr, frame, plan, sinks, range) }
        : { errno: E.AGAIN },
    )
    if (!('healed' in step)) return step
    sinks &= step.healed
  }
  if (sinks !== 0 && afr.options['ensure-durability']) {
    sinks &= (await eachBrick(afr, frame, sinks, 'fsync', () => ({ fd, datasync: false }))).good
  }
  return { errno: 0, healed: sinks | arbiter }
}

interface Range {
  fd: Fd
  offset: number
  size: number
  isSparse: boolean
  full: boolean
}

/** The sinks that have the block now. */
async function copyBlock(
  afr: Replicate,
  frame: Frame,
  plan: Plan,
  sinks: number,
  range: Range,
): Promise<number> {
  const { fd, offset, size } = range
  const wanted = range.full ? sinks : await differing(afr, frame, plan.source, sinks, range)
  if (wanted === 0) return sinks
  const child = afr.bricks[plan.source]!
  const read = await frame.wind(child, 'readv', { fd, size, offset, flags: 0 })
  if (read.errno !== 0) return 0
  // Cut by a client meanwhile, on the sinks as well.
  if (read.size === 0) return sinks
  const { data } = read
  const skips = range.isSparse && isZero(data)
  const targets = bricksOf(wanted).filter((brick) => !(skips && offset >= plan.sizes[brick]!))
  let written = sinks & ~wanted
  for (const brick of bricksOf(wanted)) if (!targets.includes(brick)) written |= bit(brick)
  const mask = targets.reduce((all, brick) => all | bit(brick), 0)
  const replies = await eachBrick(afr, frame, mask, 'writev', () => ({
    fd,
    data,
    size: read.size,
    offset,
    flags: 0,
  }))
  for (const [brick, reply] of replies.replies) if (reply.size === read.size) written |= bit(brick)
  return written
}

/** The sinks whose block is not the source's. A brick that cannot tell gets it. */
async function differing(
  afr: Replicate,
  frame: Frame,
  source: number,
  sinks: number,
  { fd, offset, size, isSparse }: Range,
): Promise<number> {
  const xdata = new Dict().setInt('check-zero-filled', 1)
  const sums = await eachBrick(afr, frame, sinks | bit(source), 'rchecksum', () => ({
    fd,
    offset,
    len: size,
    xdata,
  }))
  const right = sums.replies.get(source)
  if (right === undefined) return sinks
  // Equal zeros may be a hole where the source has blocks.
  const zeros = !isSparse && (right.xdata?.getNumber('buf-has-zeroes') ?? 0) !== 0
  let mask = 0
  for (const brick of bricksOf(sinks)) {
    const sum = sums.replies.get(brick)
    if (zeros || sum === undefined || !sameSum(sum, right)) mask |= bit(brick)
  }
  return mask
}

const sameSum = (a: Ok<'rchecksum'>, b: Ok<'rchecksum'>): boolean =>
  a.weak === b.weak && a.strong.equals(b.strong)

const ZEROS = Buffer.alloc(BLOCK_UNIT)

function isZero(data: readonly Buffer[]): boolean {
  return data.every((part) => {
    for (let at = 0; at < part.length; at += ZEROS.length) {
      const end = Math.min(part.length, at + ZEROS.length)
      if (part.compare(ZEROS, 0, end - at, at, end) !== 0) return false
    }
    return true
  })
}

/** Gives the healed copies the source's times and clears the record. Under the file's lock. */
async function finish(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  plan: Plan,
  healed: number,
): Promise<HealResult> {
  if (!(await isStillRight(afr, frame, inode, plan))) return { errno: E.AGAIN }
  const { source, copies } = plan
  const loc = Loc.ofInode(inode)
  const now = await frame.wind(afr.bricks[source]!, 'stat', { loc })
  if (now.errno !== 0) return { errno: now.errno }
  const { stat } = now
  const valid = SET_TIMES
  const timed = await eachBrick(afr, frame, healed, 'setattr', () => ({ loc, stat, valid }))
  const failed = plan.sinks & ~timed.good
  const done = await settle(afr, frame, inode, copies, { slots: [DATA], failed })
  const bricks = count(timed.good)
  afr.log.info({ inode: inodePath(inode), source, bricks, failed }, 'data heal ended')
  return done
}
