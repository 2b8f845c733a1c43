/** Metadata heal: owner, mode and xattrs of the bricks in the minority (ec_heal_metadata). */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Frame } from '../../../src/core/frame.ts'
import {
  type Iatt,
  isLnk,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_UID,
} from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count } from '../common/mask.ts'
import {
  type Adjust,
  adjustCounters,
  type HealResult,
  maskOf,
  onBricks,
  underLock,
} from './heal-common.ts'
import type { Disperse } from './index.ts'
import {
  readWords,
  requestCounters,
  WORD_METADATA,
  XATTR_DIRTY,
  XATTR_PREFIX,
  XATTR_VERSION,
} from './xattrs.ts'

/** One brick's metadata. */
interface Copy {
  stat: Iatt
  xattrs: Map<string, Buffer>
  version: bigint
  dirty: bigint
}

interface Group {
  mask: number
  copy: Copy
}

const XATTR_CREATE_OR_REPLACE = 0
/** Version and flags, then ctime, mtime and atime: seconds and nanoseconds of 8 bytes each. */
const XATTR_TIMES = 'trusted.glusterfs.mdata'
const TIMES_START = 9
const TIME_SIZE = 16
const TIMES_SIZE = TIMES_START + 3 * TIME_SIZE

export function healMetadata(ec: Disperse, frame: Frame, inode: Inode): Promise<HealResult> {
  return underLock(ec, frame, inode, { domain: ec.name, block: true }, async (held) => {
    const copies = await readCopies(ec, frame, inode, held)
    if (copies.size <= ec.geometry.dataCount) return { errno: E.NOTCONN }
    const { dataCount } = ec.geometry
    const source = sourceOf(copies, dataCount) ?? withLatestTimes(copies, dataCount)
    if (source === undefined) {
      ec.log.error({ inode: ec.describe(inode) }, 'no metadata is the same on enough bricks')
      return { errno: E.IO }
    }
    let healed = 0
    for (const [brick, copy] of copies) {
      if (sameMetadata(source.copy, copy)) healed |= bit(brick)
      else if (await copyMetadata(ec, frame, inode, brick, source.copy, copy)) healed |= bit(brick)
    }
    const bad = await settleCounters(ec, frame, inode, copies, source.mask, healed)
    return { errno: 0, good: healed & ~bad, bad: maskOf(copies.keys()) & ~(healed & ~bad) }
  })
}

async function readCopies(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  mask: number,
): Promise<Map<number, Copy>> {
  const loc = Loc.ofInode(inode)
  const found = await onBricks(ec, frame, mask, 'lookup', () => ({
    loc,
    xdata: requestCounters(new Dict()),
  }))
  const lists = await onBricks(ec, frame, maskOf(found.keys()), 'getxattr', () => ({
    loc,
    name: undefined,
  }))
  const copies = new Map<number, Copy>()
  for (const [brick, { dict }] of lists) {
    const { stat, xdata } = found.get(brick)!
    copies.set(brick, {
      stat,
      xattrs: healedXattrs(dict),
      version: readWords(xdata?.getBytes(XATTR_VERSION))[WORD_METADATA],
      dirty: readWords(xdata?.getBytes(XATTR_DIRTY))[WORD_METADATA],
    })
  }
  return copies
}

/** xattrs that are to be equal on all bricks. */
function healedXattrs(dict: Dict): Map<string, Buffer> {
  const xattrs = new Map<string, Buffer>()
  for (const key of dict.entries.keys()) {
    if (key.startsWith(XATTR_PREFIX) || key === 'security.selinux') continue
    if (/^trusted\.glusterfs\.(quota\.size|squota\.)/.test(key)) continue
    const value = dict.getBytes(key)
    if (value !== undefined) xattrs.set(key, value)
  }
  return xattrs
}

function sameMetadata(a: Copy, b: Copy, besides?: string): boolean {
  if (a.stat.gfid !== b.stat.gfid || a.stat.mode !== b.stat.mode) return false
  if (a.stat.uid !== b.stat.uid || a.stat.gid !== b.stat.gid) return false
  if (a.xattrs.size !== b.xattrs.size) return false
  for (const [key, value] of a.xattrs) {
    const other = b.xattrs.get(key)
    if (other === undefined || (key !== besides && !other.equals(value))) return false
  }
  return true
}

/** At most one group can be as large as K: K is more than half. */
function sourceOf(copies: ReadonlyMap<number, Copy>, dataCount: number): Group | undefined {
  const groups: Group[] = []
  for (const [brick, copy] of copies) {
    const group = groups.find((one) => sameMetadata(one.copy, copy))
    if (group === undefined) groups.push({ mask: bit(brick), copy })
    else group.mask |= bit(brick)
  }
  return groups.find((group) => count(group.mask) >= dataCount)
}

/**
 * Where too few agree because they have different times, and nothing else is different: all bricks
 * were killed in the midst of changes. Each time is the latest that any of them has; bricks raise
 * what they have to that.
 */
function withLatestTimes(copies: ReadonlyMap<number, Copy>, dataCount: number): Group | undefined {
  for (const copy of copies.values()) {
    const alike = [...copies].filter(([, other]) => sameMetadata(copy, other, XATTR_TIMES))
    const times = alike.flatMap(([, { xattrs }]) => xattrs.get(XATTR_TIMES) ?? [])
    if (alike.length < dataCount || times.some(({ length }) => length !== TIMES_SIZE)) continue
    const latest = Buffer.from(times[0]!)
    for (let at = TIMES_START; at < TIMES_SIZE; at += TIME_SIZE) {
      for (const one of times) {
        if (one.compare(latest, at, at + TIME_SIZE, at, at + TIME_SIZE) <= 0) continue
        one.copy(latest, at, at, at + TIME_SIZE)
      }
    }
    const xattrs = new Map(copy.xattrs).set(XATTR_TIMES, latest)
    return { mask: maskOf(alike.map(([brick]) => brick)), copy: { ...copy, xattrs } }
  }
  return undefined
}

async function copyMetadata(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  brick: number,
  source: Copy,
  sink: Copy,
): Promise<boolean> {
  const loc = Loc.ofInode(inode)
  const child = ec.children[brick]!
  // A symbolic link has no mode of its own to set.
  const valid = SET_ATTR_UID | SET_ATTR_GID | (isLnk(source.stat) ? 0 : SET_ATTR_MODE)
  const set = await frame.wind(child, 'setattr', { loc, stat: source.stat, valid })
  if (set.errno !== 0) return false
  for (const name of sink.xattrs.keys()) {
    if (source.xattrs.has(name)) continue
    const removed = await frame.wind(child, 'removexattr', { loc, name })
    if (removed.errno !== 0 && removed.errno !== E.NODATA) return false
  }
  const dict = new Dict()
  for (const [name, value] of source.xattrs) {
    if (sink.xattrs.get(name)?.equals(value) !== true) dict.setBytes(name, value)
  }
  if (dict.count === 0) return true
  const flags = XATTR_CREATE_OR_REPLACE
  return (await frame.wind(child, 'setxattr', { loc, dict, flags })).errno === 0
}

/** Healed bricks get the sources' version; marks go when every brick took part. */
async function settleCounters(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  copies: ReadonlyMap<number, Copy>,
  sources: number,
  healed: number,
): Promise<number> {
  let newest = 0n
  for (const brick of bricksOf(sources)) {
    const { version } = copies.get(brick)!
    if (version > newest) newest = version
  }
  const everywhere = count(healed) === ec.geometry.brickCount
  const adjust = new Map<number, Adjust>()
  for (const brick of bricksOf(healed)) {
    const { version, dirty } = copies.get(brick)!
    adjust.set(brick, {
      version: [0n, newest - version],
      dirty: [0n, everywhere ? -dirty : 0n],
    })
  }
  return adjustCounters(ec, frame, inode, adjust)
}
