/**
 * Data heal: fragments of bricks that missed writes are computed anew from the others, window by
 * window, while clients go on (ec_heal_data, ec_rebuild_data). Meanwhile bit 62 of a sink's version
 * tells clients to write to it but not to read from it.
 */

import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { XATTROP_ADD_ARRAY64 } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, SET_ATTR_ATIME, SET_ATTR_MTIME } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count } from '../common/mask.ts'
import { CHUNK_SIZE } from './codec/index.ts'
import {
  type Adjust,
  adjustCounters,
  type HealResult,
  healDomain,
  maskOf,
  onBricks,
  underLock,
} from './heal-common.ts'
import type { Disperse } from './index.ts'
import { anonymousFd } from './read.ts'
import {
  HEALING_BIT,
  isZero,
  readSizeOfSink,
  readWords,
  WORD_DATA,
  word,
  words,
  XATTR_DIRTY,
  XATTR_SIZE,
  XATTR_VERSION,
} from './xattrs.ts'

const WINDOW_UNIT = 128 * 1024

/** One brick's file. */
interface Copy {
  /** Data word. */
  version: bigint
  dirty: bigint
  /** Negative only where it is wrong. */
  size: number
  stat: Iatt
}

interface Plan {
  errno: 0
  copies: Map<number, Copy>
  sources: number
  sinks: number
  size: number
  version: bigint
}

type Failure = Extract<HealResult, { errno: Exclude<HealResult['errno'], 0> }>

export function healData(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  block: boolean,
): Promise<HealResult> {
  const fd = anonymousFd(inode)
  return underLock(ec, frame, inode, { domain: healDomain(ec), block }, async (held) => {
    const plan = await underLock(
      ec,
      frame,
      inode,
      { domain: ec.name, block: true },
      async (locked) => prepareSinks(ec, frame, inode, fd, held & locked),
    )
    if (plan.errno !== 0) return plan
    const everywhere = count(plan.sources | plan.sinks) === ec.geometry.brickCount
    const dirty = [...plan.copies.values()].some((copy) => copy.dirty !== 0n)
    if (plan.sinks === 0 && !(dirty && everywhere)) {
      return { errno: 0, good: plan.sources, bad: 0 }
    }
    const rebuilt = plan.sinks === 0 ? plan : await rebuild(ec, frame, inode, fd, plan)
    if (rebuilt.errno !== 0) return rebuilt
    return underLock(ec, frame, inode, { domain: ec.name, block: true }, async (locked) =>
      finish(ec, frame, inode, fd, plan, rebuilt.sinks & locked),
    )
  }) as Promise<HealResult>
}

async function readCopies(
  ec: Disperse,
  frame: Frame,
  fd: Fd,
  mask: number,
): Promise<Map<number, Copy>> {
  const zeros = new Dict()
    .setBytes(XATTR_VERSION, words(0, 0))
    .setBytes(XATTR_DIRTY, words(0, 0))
    .setBytes(XATTR_SIZE, word(0))
  const [counters, stats] = await Promise.all([
    onBricks(ec, frame, mask, 'fxattrop', () => ({ fd, op: XATTROP_ADD_ARRAY64, dict: zeros })),
    onBricks(ec, frame, mask, 'fstat', () => ({ fd })),
  ])
  const copies = new Map<number, Copy>()
  for (const [brick, { dict }] of counters) {
    const stat = stats.get(brick)?.stat
    const size = readSizeOfSink(dict.getBytes(XATTR_SIZE))
    if (stat === undefined || size === undefined) continue
    copies.set(brick, {
      version: readWords(dict.getBytes(XATTR_VERSION))[WORD_DATA],
      dirty: readWords(dict.getBytes(XATTR_DIRTY))[WORD_DATA],
      size,
      stat,
    })
  }
  return copies
}

/** The bricks that agree on version and size and whose files are as long as the size says. */
function sourcesOf(ec: Disperse, copies: ReadonlyMap<number, Copy>): number {
  const groups = new Map<string, number>()
  for (const [brick, { version, size, stat }] of copies) {
    if (
      size < 0 ||
      stat.size !== ec.geometry.fragmentLength(size) ||
      (version & HEALING_BIT) !== 0n
    )
      continue
    const key = `${version}/${size}`
    groups.set(key, (groups.get(key) ?? 0) | bit(brick))
  }
  for (const mask of groups.values()) if (count(mask) >= ec.geometry.dataCount) return mask
  return 0
}

/**
 * Cuts files that are longer than the size says. Stock clients leave such behind when they punch a
 * hole across the end of a file, the same on all bricks, and then cannot heal it.
 */
async function trimFragments(
  ec: Disperse,
  frame: Frame,
  fd: Fd,
  copies: ReadonlyMap<number, Copy>,
): Promise<void> {
  const lengthOf = (brick: number) => ec.geometry.fragmentLength(copies.get(brick)!.size)
  const long = [...copies.keys()].filter((brick) => {
    const { version, size, stat } = copies.get(brick)!
    return size >= 0 && (version & HEALING_BIT) === 0n && stat.size > lengthOf(brick)
  })
  const cut = await onBricks(ec, frame, maskOf(long), 'ftruncate', (brick) => ({
    fd,
    offset: lengthOf(brick),
  }))
  for (const brick of cut.keys()) copies.get(brick)!.stat.size = lengthOf(brick)
}

/**
 * Gives a file whose fragments are too short for its size the size that they have. A client left it
 * so that died between a truncate and storing the new size; stock clients do the same. Only where
 * every brick has answered and all agree on what was there before.
 */
async function settleShort(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  copies: ReadonlyMap<number, Copy>,
): Promise<void> {
  const { geometry } = ec
  const all = [...copies.values()]
  const { version, size } = all[0]!
  if (all.length < geometry.brickCount || (version & HEALING_BIT) !== 0n || size < 0) return
  if (all.some((copy) => copy.version !== version || copy.size !== size || copy.dirty === 0n)) {
    return
  }
  // The longest that as many bricks have as it takes to read it.
  const lengths = all.map(({ stat }) => stat.size).sort((a, b) => b - a)
  const length = lengths[geometry.dataCount - 1]!
  if (length >= geometry.fragmentLength(size)) return
  const settled = geometry.down(length * geometry.dataCount)
  const change: Adjust = { version: [0n, 0n], dirty: [0n, 0n], size: BigInt(settled - size) }
  const failed = await adjustCounters(
    ec,
    frame,
    inode,
    new Map([...copies.keys()].map((brick) => [brick, change])),
  )
  for (const [brick, copy] of copies) if ((failed & bit(brick)) === 0) copy.size = settled
}

/**
 * All bricks were killed when some, but too few, had stored the counters of a change that all of
 * them have made: the others get the same. Who missed a change before that has a still older
 * version. Only where every brick has answered, or those could be taken for the others.
 */
async function settleTorn(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  copies: ReadonlyMap<number, Copy>,
): Promise<void> {
  const { geometry } = ec
  const all = [...copies.values()]
  if (all.length < geometry.brickCount || sourcesOf(ec, copies) !== 0) return
  if (all.some(({ version, size }) => (version & HEALING_BIT) !== 0n || size < 0)) return
  const newest = all.reduce((max, { version }) => (version > max ? version : max), 0n)
  const older = all.filter(({ version }) => version < newest)
  const before = older.reduce((max, { version }) => (version > max ? version : max), -1n)
  const torn = [...copies].filter(([, { version }]) => version === newest || version === before)
  const isMarked = torn.every(([, copy]) => copy.version === newest || copy.dirty !== 0n)
  const behind = torn.filter(([, { version }]) => version === before)
  const quorum = geometry.dataCount
  if (behind.length >= quorum || torn.length - behind.length >= quorum) return
  if (!isMarked || torn.length < quorum) return
  // The size they stored, if the fragments are as long: it is no use where data is missing.
  const sizes = torn.map(([, copy]) => copy).sort((a, b) => Number(b.version - a.version))
  const fits = (size: number): boolean =>
    torn.filter(([, { stat }]) => stat.size >= geometry.fragmentLength(size)).length >= quorum
  const size = sizes.find((copy) => fits(copy.size))?.size
  if (size === undefined) return
  const adjust = new Map<number, Adjust>()
  for (const [brick, copy] of torn) {
    const version = [newest - copy.version, 0n] as const
    adjust.set(brick, { version, dirty: [0n, 0n], size: BigInt(size - copy.size) })
  }
  const failed = await adjustCounters(ec, frame, inode, adjust)
  for (const [brick, copy] of torn) {
    if ((failed & bit(brick)) !== 0) continue
    copy.version = newest
    copy.size = size
  }
}

/**
 * Zeros behind the end of the file in its last stripe. A client that died while the file grew left
 * something there, which the next one that writes further on would make part of the file once the
 * marks are gone.
 */
async function clearTail(
  ec: Disperse,
  frame: Frame,
  fd: Fd,
  size: number,
  sources: number,
  stat: Iatt,
): Promise<Errno | 0> {
  const { dataCount, stripeSize } = ec.geometry
  const start = ec.geometry.down(size)
  if (start === size) return 0
  const used = bricksOf(sources).slice(0, dataCount)
  const at = { fd, offset: start / dataCount, size: CHUNK_SIZE, flags: 0 }
  const reads = await onBricks(ec, frame, maskOf(used), 'readv', () => at)
  if (used.some((brick) => reads.get(brick)?.size !== CHUNK_SIZE)) return E.IO
  const fragments = used.map((brick) => reads.get(brick)!.data)
  const stripe = Buffer.from(ec.codec.decode(used, fragments, CHUNK_SIZE, 0, stripeSize))
  if (isZero(stripe.subarray(size - start))) return 0
  stripe.fill(0, size - start)
  const targets = bricksOf(sources)
  const encoded = ec.codec.encode([stripe], stripeSize, targets)
  const written = await onBricks(ec, frame, sources, 'writev', (brick) => ({
    ...at,
    data: [encoded[targets.indexOf(brick)]!],
  }))
  const valid = SET_ATTR_ATIME | SET_ATTR_MTIME
  const loc = Loc.ofInode(fd.inode)
  await onBricks(ec, frame, sources, 'setattr', () => ({ loc, stat, valid }))
  const all = targets.every((brick) => written.get(brick)?.size === CHUNK_SIZE)
  return all ? 0 : E.IO
}

/** Decides who is healed from whom, and marks the sinks. Under the inode's lock. */
async function prepareSinks(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  fd: Fd,
  held: number,
): Promise<Plan | Failure> {
  const copies = await readCopies(ec, frame, fd, held)
  if (copies.size <= ec.geometry.dataCount) return { errno: E.NOTCONN }
  await settleTorn(ec, frame, inode, copies)
  await settleShort(ec, frame, inode, copies)
  await trimFragments(ec, frame, fd, copies)
  const sources = sourcesOf(ec, copies)
  if (sources === 0) {
    ec.log.error({ inode: ec.describe(inode) }, 'too few bricks agree on the data')
    return { errno: E.IO }
  }
  const sinks = maskOf(copies.keys()) & ~sources
  const { size, version, stat } = copies.get(bricksOf(sources)[0]!)!
  const plan: Plan = { errno: 0, copies, sources, sinks, size, version }
  if ([...copies.values()].some(({ dirty }) => dirty !== 0n)) {
    const errno = await clearTail(ec, frame, fd, size, sources, stat)
    if (errno !== 0) return { errno }
  }
  if (sinks === 0) return plan
  const marks = new Map<number, Adjust>()
  for (const brick of bricksOf(sinks)) {
    const copy = copies.get(brick)!
    if ((copy.version & HEALING_BIT) !== 0n) continue
    marks.set(brick, { version: [HEALING_BIT, 0n], dirty: [0n, 0n] })
    copy.version += HEALING_BIT
  }
  const unmarked = await adjustCounters(ec, frame, inode, marks)
  const offset = ec.geometry.fragmentLength(size)
  const cut = await onBricks(ec, frame, sinks & ~unmarked, 'ftruncate', () => ({ fd, offset }))
  plan.sinks = maskOf(cut.keys())
  return plan.sinks === 0 ? { errno: E.IO } : plan
}

/** Computes the sinks' fragments, taking the lock anew for every window. */
async function rebuild(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  fd: Fd,
  plan: Plan,
): Promise<Plan | Failure> {
  const { stripeSize } = ec.geometry
  const wanted = WINDOW_UNIT * ec.options['self-heal-window-size']
  const window = Math.max(stripeSize, ec.geometry.down(wanted))
  let { sinks } = plan
  for (let offset = 0; ; offset += window) {
    const step = await underLock(
      ec,
      frame,
      inode,
      { domain: ec.name, block: true },
      async (locked) =>
        rebuildWindow(ec, frame, fd, offset, window, plan.sources & locked, sinks & locked),
    )
    if (step.errno !== 0) return step
    if (step.end) return { ...plan, sinks }
    sinks &= step.written
    if (sinks === 0) return { errno: E.IO }
  }
}

async function rebuildWindow(
  ec: Disperse,
  frame: Frame,
  fd: Fd,
  offset: number,
  window: number,
  sources: number,
  sinks: number,
): Promise<{ errno: 0; end: boolean; written: number } | Failure> {
  const { dataCount, brickCount } = ec.geometry
  const at = offset / dataCount
  // Each healed file is read from other bricks, so that many heals share the load.
  const first = ec.firstBrick(fd.inode.gfid)
  const ring = [...bricksOf(sources)].sort(
    (a, b) => ((a - first + brickCount) % brickCount) - ((b - first + brickCount) % brickCount),
  )
  const used = ring.slice(0, dataCount).sort((a, b) => a - b)
  if (used.length < dataCount) return { errno: E.NOTCONN }
  const reads = await onBricks(ec, frame, maskOf(used), 'readv', () => ({
    fd,
    size: window / dataCount,
    offset: at,
    flags: 0,
  }))
  const { size } = reads.get(used[0]!) ?? { size: -1 }
  for (const brick of used) {
    const read = reads.get(brick)
    if (read === undefined || read.size !== size || size % CHUNK_SIZE !== 0) return { errno: E.IO }
  }
  if (size === 0) return { errno: 0, end: true, written: sinks }
  const fragments = used.map((brick) => reads.get(brick)!.data)
  const length = size * dataCount
  const data = ec.codec.decode(used, fragments, size, 0, length)
  const targets = bricksOf(sinks)
  const encoded = ec.codec.encode([data], length, targets)
  const written = await onBricks(ec, frame, sinks, 'writev', (brick) => ({
    fd,
    data: [encoded[targets.indexOf(brick)]!],
    size,
    offset: at,
    flags: 0,
  }))
  for (const [brick, reply] of written) if (reply.size !== size) written.delete(brick)
  return { errno: 0, end: false, written: maskOf(written.keys()) }
}

/**
 * Gives the sinks the sources' version and size. Sources that fell behind meanwhile have spoiled
 * what was computed from them: then the sinks stay marked for another heal.
 */
async function finish(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  fd: Fd,
  plan: Plan,
  sinks: number,
): Promise<HealResult> {
  const { brickCount } = ec.geometry
  const now = await readCopies(ec, frame, fd, plan.sources | sinks)
  const sources = bricksOf(plan.sources)
  const reference = now.get(sources[0]!)
  for (const brick of sources) {
    const copy = now.get(brick)
    const same = copy?.version === reference?.version && copy?.size === reference?.size
    if (copy === undefined || !same) return { errno: E.IO }
  }
  // Clients count a change on sinks, too: one that counted less has missed it.
  const changes = reference!.version - plan.version
  const missed = bricksOf(sinks).filter((brick) => {
    const before = plan.copies.get(brick)!
    return (now.get(brick)?.version ?? 0n) - before.version !== changes
  })
  sinks &= ~maskOf(missed)
  if (sinks === 0 && plan.sinks !== 0) return { errno: E.IO }
  const everywhere = count(plan.sources | sinks) === brickCount
  const { stat, version, size } = reference!
  const valid = SET_ATTR_ATIME | SET_ATTR_MTIME
  const loc = Loc.ofInode(inode)
  if (sinks !== 0) await onBricks(ec, frame, sinks, 'setattr', () => ({ loc, stat, valid }))
  const adjust = new Map<number, Adjust>()
  for (const brick of bricksOf(plan.sources | sinks)) {
    const copy = now.get(brick)
    if (copy === undefined) continue
    // Only what was marked before this heal began: marks of writers at work stay.
    const before = plan.copies.get(brick)!.dirty
    adjust.set(brick, {
      version: [version - copy.version, 0n],
      size: BigInt(size - copy.size),
      dirty: [everywhere ? -before : 0n, 0n],
    })
  }
  const failed = await adjustCounters(ec, frame, inode, adjust)
  const good = maskOf(adjust.keys()) & ~failed
  return { errno: 0, good, bad: maskOf(plan.copies.keys()) & ~good }
}
