/**
 * Name heal: a name that some bricks of a directory lack is created there, one that only a minority
 * has is removed (ec_heal_name).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { isDir, isLnk, isReg, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count } from '../common/mask.ts'
import {
  adjustCounters,
  type HealResult,
  maskOf,
  onBricks,
  repliesOf,
  underLock,
} from './heal-common.ts'
import type { Disperse } from './index.ts'
import { configBytes, word, words, XATTR_CONFIG, XATTR_SIZE, XATTR_VERSION } from './xattrs.ts'

const READLINK_SIZE = 4096

/** What the bricks say of one name. */
interface Census {
  /** Bricks by the gfid they have. */
  found: Map<Gfid, { mask: number; reply: Ok<'lookup'> }>
  /** Bricks without the name. */
  missing: number
}

export async function healName(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  name: string,
): Promise<HealResult> {
  return underLock(ec, frame, parent, { domain: ec.name, block: true }, (held) =>
    healLocked(ec, frame, parent, name, held),
  )
}

async function takeCensus(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  name: string,
  held: number,
): Promise<Census> {
  const census: Census = { found: new Map(), missing: 0 }
  const replies = await repliesOf(ec, frame, held, 'lookup', () => ({
    loc: Loc.ofName(parent, name, ec.graph.inodes.newInode()),
  }))
  for (const [brick, reply] of replies) {
    if (reply.errno === E.NOENT) census.missing |= bit(brick)
    if (reply.errno !== 0) continue
    const known = census.found.get(reply.stat.gfid)
    if (known === undefined) census.found.set(reply.stat.gfid, { mask: bit(brick), reply })
    else known.mask |= bit(brick)
  }
  return census
}

async function healLocked(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  name: string,
  held: number,
): Promise<HealResult> {
  const { dataCount, redundancy } = ec.geometry
  const census = await takeCensus(ec, frame, parent, name, held)
  for (const [gfid, { mask, reply }] of census.found) {
    if (count(mask) >= dataCount) continue
    const elsewhere = maskOf(
      [...census.found]
        .filter(([other]) => other !== gfid)
        .flatMap(([, one]) => bricksOf(one.mask)),
    )
    // Bricks that cannot be asked could have it, so a minority among the others is not enough.
    if (count(census.missing | elsewhere) <= redundancy) continue
    // Enough bricks that do not have it have seen it go.
    const isTorn = count(census.missing | elsewhere) < dataCount
    if (isTorn && (await isWhole(ec, frame, reply, held))) continue
    const removed = await removeName(ec, frame, parent, name, reply, mask)
    if (removed !== 0) return { errno: removed }
    census.found.delete(gfid)
    census.missing |= mask
  }
  if (census.found.size > 1) {
    ec.log.error({ parent: ec.describe(parent), name }, 'bricks have different files of this name')
    return { errno: E.IO }
  }
  const [only] = census.found.values()
  // A brick that said neither, lost meanwhile, may lack it.
  const answered = census.missing | (only?.mask ?? 0)
  const silent = held & ~answered
  if (only === undefined || census.missing === 0) return { errno: 0, good: answered, bad: silent }
  // Fewer than it takes to be read, and a brick that is away may settle it: created here, each side
  // would have half of the bricks for ever.
  if (count(only.mask) < dataCount) {
    // A second name for a directory would be a second directory.
    const canLink = !isDir(only.reply.stat)
    if (!canLink || !(await isWhole(ec, frame, only.reply, held))) return { errno: E.NOTCONN }
  }
  const failed = await createMissing(ec, frame, parent, name, only.reply, only.mask, census.missing)
  // The new copy is empty and belongs to root: its own heal does the rest.
  const { stat } = only.reply
  if (failed === 0) ec.heals.known(ec.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT), false)
  return { errno: 0, good: answered & ~failed, bad: silent | failed }
}

/**
 * Do so many bricks have the object, under this name or another, that it can be read? A rename that
 * half of the bricks did leaves a minority under both names (ec_delete_stale_names).
 */
async function isWhole(
  ec: Disperse,
  frame: Frame,
  found: Ok<'lookup'>,
  held: number,
): Promise<boolean> {
  const { gfid, mode } = found.stat
  const inode = ec.graph.inodes.findOrNew(gfid, mode & S_IFMT)
  const loc = new Loc(inode, undefined, undefined, gfid)
  const replies = await repliesOf(ec, frame, held, 'lookup', () => ({ loc }))
  let gone = 0
  for (const { errno } of replies.values()) if (errno === E.NOENT || errno === E.STALE) gone++
  return gone <= ec.geometry.redundancy
}

async function removeName(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  name: string,
  found: Ok<'lookup'>,
  mask: number,
): Promise<Errno | 0> {
  const inode = ec.graph.inodes.findOrNew(found.stat.gfid, found.stat.mode & S_IFMT)
  const loc = Loc.ofName(parent, name, inode)
  // Flag 1: a directory goes with what is in it, to the brick's trash.
  const removed = isDir(found.stat)
    ? await repliesOf(ec, frame, mask, 'rmdir', () => ({ loc, flags: 1 }))
    : await repliesOf(ec, frame, mask, 'unlink', () => ({ loc, flags: 0 }))
  for (const { errno } of removed.values()) {
    if (errno !== 0 && errno !== E.NOENT && errno !== E.STALE) return errno
  }
  return 0
}

/** Creates the name on the bricks in `missing`; answers those where it failed. */
async function createMissing(
  ec: Disperse,
  frame: Frame,
  parent: Inode,
  name: string,
  found: Ok<'lookup'>,
  present: number,
  missing: number,
): Promise<number> {
  const { stat } = found
  const inode = ec.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT)
  // Should this client die now, the marks tell the self-heal daemon what is left to do. Only files
  // and directories have content whose heal takes a data mark off again.
  const dirty = [isReg(stat) || isDir(stat) ? 1n : 0n, 1n] as const
  const marks = new Map(
    bricksOf(present).map((brick) => [brick, { version: [0n, 0n] as const, dirty }]),
  )
  if ((await adjustCounters(ec, frame, inode, marks)) === present) return missing
  const loc = Loc.ofName(parent, name, inode)
  const xdata = new Dict().setGfid('gfid-req', stat.gfid).setInt('glusterfs-internal-fop', 1)
  const mode = stat.mode
  let created: Map<number, unknown>
  if (isDir(stat)) {
    created = await onBricks(ec, frame, missing, 'mkdir', () => ({
      loc,
      mode: mode & 0o7777,
      umask: 0,
      xdata,
    }))
    await addCounters(ec, frame, inode, maskOf(created.keys()), false)
  } else if (isLnk(stat)) {
    return missing & ~(await linkOrSymlink(ec, frame, loc, present, missing, xdata))
  } else {
    if ((mode & S_IFMT) === S_IFREG) xdata.setBytes(XATTR_CONFIG, configBytes(ec.geometry))
    const { rdev } = stat
    created = await onBricks(ec, frame, missing, 'mknod', () => ({
      loc,
      mode,
      rdev,
      umask: 0,
      xdata,
    }))
    if (isReg(stat)) await addCounters(ec, frame, inode, maskOf(created.keys()), true)
  }
  return missing & ~maskOf(created.keys())
}

const XATTR_CREATE = 1

/**
 * Zero counters, as an object is born with. Heals add to them only what differs from zero, and a
 * stock client takes a brick without the xattrs for damaged. Not part of the mknod: that may link a
 * file that has counters, which stay as they are (EEXIST).
 */
async function addCounters(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  mask: number,
  withSize: boolean,
): Promise<void> {
  const dict = new Dict().setBytes(XATTR_VERSION, words(0, 0))
  if (withSize) dict.setBytes(XATTR_SIZE, word(0))
  const loc = Loc.ofInode(inode)
  await onBricks(ec, frame, mask, 'setxattr', () => ({ loc, dict, flags: XATTR_CREATE }))
}

/** A brick that has the symbolic link under another name gets a hard link. */
async function linkOrSymlink(
  ec: Disperse,
  frame: Frame,
  loc: Loc,
  present: number,
  missing: number,
  xdata: Dict,
): Promise<number> {
  const texts = await onBricks(ec, frame, present, 'readlink', () => ({
    loc: Loc.ofInode(loc.inode),
    size: READLINK_SIZE,
  }))
  const [text] = texts.values()
  if (text === undefined) return 0
  const elsewhere = await onBricks(ec, frame, missing, 'lookup', () => ({
    loc: Loc.ofInode(loc.inode),
  }))
  const linked = await onBricks(ec, frame, maskOf(elsewhere.keys()), 'link', () => ({
    oldloc: Loc.ofInode(loc.inode),
    newloc: loc,
    xdata,
  }))
  const fresh = missing & ~maskOf(elsewhere.keys())
  const made = await onBricks(ec, frame, fresh, 'symlink', () => ({
    loc,
    linkpath: text.path,
    umask: 0,
    xdata,
  }))
  return maskOf(linked.keys()) | maskOf(made.keys())
}
