/** Metadata heal: owner, mode, xattrs and times of the copies that missed a change of them. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import {
  type Iatt,
  isDir,
  isLnk,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_UID,
  timeLater,
} from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf } from '../common/mask.ts'
import { METADATA, NOTHING, PLUS_ONE } from './change-log.ts'
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
  readCopies,
  settle,
  underLock,
} from './heal-common.ts'
import { SET_TIMES } from './heal-data.ts'
import { isHealedXattr, sameXattrs } from './healed-xattrs.ts'
import type { Replicate } from './index.ts'
import { METADATA_START, rangeLockee } from './locks.ts'

export function healMetadata(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  decision?: Decision,
): Promise<HealResult> {
  afr.contendedHere(inode.gfid)
  const lockee = rangeLockee(afr.name, { loc: Loc.ofInode(inode) }, METADATA_START, 0n)
  return underLock(afr, frame, lockee, decision === undefined ? 'leave-to-others' : 'wait', () =>
    heal(afr, frame, inode, decision),
  )
}

async function heal(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  decision: Decision | undefined,
): Promise<HealResult> {
  const found = await readCopies(afr, frame, inode)
  if (found.errno !== 0) return found
  let { copies } = found
  const direction = findDirection(afr, copies, METADATA)
  const sources = rightful(afr, copies, direction, decision)
  if (sources === 0) {
    afr.log.error({ inode: inodePath(inode) }, 'metadata heal: split-brain')
    return { errno: E.IO }
  }
  const source = chooseSource(afr, sources)
  let sinks = afr.all & ~sources
  for (const brick of bricksOf(sources)) {
    if (!sameMetadata(copies[brick]!, copies[source]!)) sinks |= bit(brick)
  }
  if (sinks === 0 && direction.isClean) return { errno: 0 }
  if (sources === afr.all && sinks !== 0) {
    // Nobody knows of the difference: should this client die half-way, somebody does.
    const errno = await mark(afr, frame, inode, sinks)
    if (errno !== 0) return { errno }
    const again = await readCopies(afr, frame, inode)
    if (again.errno !== 0) return again
    copies = again.copies
  }
  let failed = 0
  for (const brick of bricksOf(sinks)) {
    const done = await copyTo(afr, frame, inode, brick, copies[source]!.stat, source)
    if (!done) failed |= bit(brick)
  }
  if (sinks !== 0) {
    afr.log.info({ inode: inodePath(inode), source, sinks, failed }, 'metadata heal ended')
  }
  return settle(afr, frame, inode, copies, { slots: [METADATA], failed })
}

function rightful(
  afr: Replicate,
  copies: Copies,
  { sources, witness }: Direction,
  decision: Decision | undefined,
): number {
  if (sources !== 0) {
    const witnessed = bricksOf(sources).find((brick) => witness[brick] !== 0)
    return witnessed === undefined ? sources : bit(witnessed)
  }
  if (copies.every((copy) => sameMetadata(copy, copies[0]!))) return bit(0)
  const chosen = decided(afr, copies, decision)
  if (chosen >= 0) return bit(chosen)
  if (copies.every((copy) => isDir(copy.stat) && sameButTimes(copy, copies[0]!))) {
    return bit(newest(copies))
  }
  const liked = favorite(afr, copies)
  if (liked >= 0) return bit(liked)
  return afr.options['metadata-splitbrain-forced-heal'] ? bit(0) : 0
}

const sameButTimes = (a: Copies[number], b: Copies[number]): boolean =>
  a.stat.uid === b.stat.uid &&
  a.stat.gid === b.stat.gid &&
  a.stat.mode === b.stat.mode &&
  sameXattrs(a.xdata, b.xdata, ['trusted.glusterfs.mdata'])

const sameMetadata = (a: Copies[number], b: Copies[number]): boolean =>
  a.stat.uid === b.stat.uid &&
  a.stat.gid === b.stat.gid &&
  a.stat.mode === b.stat.mode &&
  sameXattrs(a.xdata, b.xdata)

function newest(copies: Copies): number {
  let best = 0
  copies.forEach(({ stat }, brick) => {
    const known = copies[best]!.stat
    if (timeLater(stat.mtime, stat.mtimeNsec, known.mtime, known.mtimeNsec)) best = brick
  })
  return best
}

/** Blames the bricks in `sinks` on all. */
async function mark(afr: Replicate, frame: Frame, inode: Inode, sinks: number): Promise<Errno | 0> {
  const dict = afr.changes.xattrop(sinks, PLUS_ONE[METADATA]!, NOTHING)
  const loc = Loc.ofInode(inode)
  const marked = await eachBrick(afr, frame, afr.all, 'xattrop', () => ({
    loc,
    op: XATTROP_ADD_ARRAY,
    dict,
  }))
  return marked.good === afr.all ? 0 : E.NOTCONN
}

/** Gives one brick the attributes, xattrs and times of the source. */
async function copyTo(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  brick: number,
  stat: Iatt,
  source: number,
): Promise<boolean> {
  const loc = Loc.ofInode(inode)
  const child = afr.bricks[brick]!
  const all = { loc, name: undefined }
  const wanted = await frame.wind(afr.bricks[source]!, 'getxattr', all)
  const present = await frame.wind(child, 'getxattr', all)
  if (wanted.errno !== 0 || present.errno !== 0) return false
  // A symbolic link has no mode of its own to set.
  const valid = SET_ATTR_UID | SET_ATTR_GID | (isLnk(stat) ? 0 : SET_ATTR_MODE)
  if ((await frame.wind(child, 'setattr', { loc, stat, valid })).errno !== 0) return false
  for (const name of present.dict.entries.keys()) {
    if (!isHealedXattr(name) || wanted.dict.has(name)) continue
    const removed = await frame.wind(child, 'removexattr', { loc, name })
    if (removed.errno !== 0 && removed.errno !== E.NODATA) return false
  }
  const dict = new Dict()
  for (const name of wanted.dict.entries.keys()) {
    const value = wanted.dict.getBytes(name)
    if (!isHealedXattr(name) || value === undefined) continue
    if (present.dict.getBytes(name)?.equals(value) !== true) dict.setBytes(name, value)
  }
  if (dict.count > 0) {
    const set = await frame.wind(child, 'setxattr', { loc, dict, flags: 0 })
    if (set.errno !== 0) return false
  }
  const times = await frame.wind(child, 'setattr', { loc, stat, valid: SET_TIMES })
  return times.errno === 0
}

/** Is there anything for a metadata heal to do (afr_selfheal_unlocked_inspect)? */
export const hasMetadataChange = (afr: Replicate, copies: Copies): boolean =>
  !findDirection(afr, copies, METADATA).isClean ||
  copies.some(
    ({ stat }) =>
      stat.uid !== copies[0]!.stat.uid ||
      stat.gid !== copies[0]!.stat.gid ||
      stat.mode !== copies[0]!.stat.mode,
  )
