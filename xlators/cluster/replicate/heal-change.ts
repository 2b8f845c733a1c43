/** Creating and removing names on single bricks, for heals. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID, parseGfid } from '../../../src/core/gfid.ts'
import { type Iatt, isDir, isLnk, S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count, has } from '../common/mask.ts'
import { markNew } from './entry.ts'
import { eachBrick } from './heal-common.ts'
import type { Replicate } from './index.ts'

const READLINK_SIZE = 4096
/** rmdir: with all that is in it. */
export const RMDIR_RECURSIVE = 1

/**
 * Creates an object of the others under a name that is missing. `present`: bricks that have it;
 * they are marked first, so that its content is healed whatever happens to this client. The new
 * copies are empty and belong to root; answers where they were made.
 */
export async function createName(
  afr: Replicate,
  frame: Frame,
  dir: Loc,
  name: string,
  stat: Iatt,
  present: number,
  missing: number,
): Promise<number> {
  const inode = afr.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT)
  const elsewhere = await eachBrick(afr, frame, missing, 'lookup', () => ({
    loc: new Loc(inode, undefined, undefined, stat.gfid),
  }))
  const fresh = missing & ~elsewhere.good
  if (fresh !== 0) await markNew(afr, frame, { inode, stat }, present, fresh)
  const loc = Loc.ofName(dir.inode, name, inode)
  const made = await make(afr, frame, loc, stat, { present, fresh, elsewhere: elsewhere.good })
  if (made !== 0) afr.heals.found(inode)
  return made
}

interface Where {
  present: number
  /** Bricks without the object. */
  fresh: number
  /** Bricks that have it under another name. */
  elsewhere: number
}

async function make(
  afr: Replicate,
  frame: Frame,
  loc: Loc,
  stat: Iatt,
  { present, fresh, elsewhere }: Where,
): Promise<number> {
  const { mode, rdev, gfid } = stat
  const xdata = new Dict().setGfid('gfid-req', gfid)
  if (isDir(stat)) {
    const back = await takeBack(afr, frame, loc, gfid, elsewhere)
    const bits = mode & 0o7777
    const made = await eachBrick(afr, frame, fresh, 'mkdir', () => ({
      loc,
      mode: bits,
      umask: 0,
      xdata,
    }))
    return made.good | back
  }
  if (isLnk(stat)) {
    const object = Loc.ofInode(loc.inode)
    const texts = await eachBrick(afr, frame, present, 'readlink', () => ({
      loc: object,
      size: READLINK_SIZE,
    }))
    const [text] = texts.replies.values()
    const linkpath = text?.path
    if (linkpath === undefined) return 0
    const linked = await eachBrick(afr, frame, elsewhere, 'link', () => ({
      oldloc: object,
      newloc: loc,
    }))
    const made = await eachBrick(afr, frame, fresh, 'symlink', () => ({
      loc,
      linkpath,
      umask: 0,
      xdata,
    }))
    await forget(afr, frame, gfid, linked.good)
    return linked.good | made.good
  }
  // The brick links a file that it has under another name.
  xdata.setInt('glusterfs-internal-fop', 1)
  const made = await eachBrick(afr, frame, fresh | elsewhere, 'mknod', () => ({
    loc,
    mode,
    rdev,
    umask: 0,
    xdata,
  }))
  await forget(afr, frame, gfid, made.good & elsewhere)
  return made.good
}

/** Files that were put aside and have a name again. */
async function forget(afr: Replicate, frame: Frame, gfid: Gfid, mask: number): Promise<void> {
  const names = anonymousNames(afr)
  if (names === undefined || mask === 0) return
  const aside = withGfid(afr, afr.graph.inodes.findOrNew(names.gfid, S_IFDIR), names.gfid)
  const loc = Loc.ofName(aside, gfidText(gfid), afr.graph.inodes.newInode())
  await eachBrick(afr, frame, mask, 'unlink', () => ({ loc, flags: 0 }))
}

/**
 * Removes a name on one brick. What other bricks still have under another name is only put aside
 * (the directory for anonymous inodes), so that it need not be copied again.
 */
export async function removeName(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  name: string,
  brick: number,
  { stat }: Ok<'lookup'>,
): Promise<Errno | 0> {
  const child = afr.bricks[brick]!
  const inode =
    stat.gfid === NULL_GFID
      ? afr.graph.inodes.newInode()
      : afr.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT)
  const loc = Loc.ofName(dir, name, inode)
  if (await isKept(afr, frame, stat)) {
    const anonymous = await anonymousDir(afr, frame, brick)
    if (anonymous !== undefined) {
      const newloc = Loc.ofName(anonymous, gfidText(stat.gfid), afr.graph.inodes.newInode())
      const moved = await frame.wind(child, 'rename', { oldloc: loc, newloc })
      if (moved.errno === 0) return 0
    }
  }
  const removed = isDir(stat)
    ? await frame.wind(child, 'rmdir', { loc, flags: RMDIR_RECURSIVE })
    : await frame.wind(child, 'unlink', { loc, flags: 0 })
  const { errno } = removed
  return errno === E.NOENT || errno === E.STALE ? 0 : errno
}

async function isKept(afr: Replicate, frame: Frame, stat: Iatt): Promise<boolean> {
  if (!afr.options['use-anonymous-inode'] || stat.gfid === NULL_GFID) return false
  if (isDir(stat)) return true
  // It has another name on this brick.
  if (stat.nlink > 1) return false
  const inode = afr.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT)
  const loc = new Loc(inode, undefined, undefined, stat.gfid)
  const { good } = await eachBrick(afr, frame, afr.all, 'lookup', () => ({ loc }))
  return afr.quorum.on ? afr.quorum.in(good) : count(good) > 1
}

/** Name and gfid of the directory in the root where unnamed objects wait. */
export function anonymousNames(afr: Replicate): { name: string; gfid: Gfid } | undefined {
  const volumeId = parseGfid(afr.options['volume-id'] ?? '')
  if (!afr.options['use-anonymous-inode'] || volumeId === undefined) return undefined
  const first = String.fromCharCode(volumeId.charCodeAt(0) ^ 1)
  const name = `.glusterfs-anonymous-inode-${gfidText(volumeId)}`
  return { name, gfid: `${first}${volumeId.slice(1)}` as Gfid }
}

/** That directory on one brick, made where it is missing. */
async function anonymousDir(
  afr: Replicate,
  frame: Frame,
  brick: number,
): Promise<Inode | undefined> {
  const names = anonymousNames(afr)
  if (names === undefined) return undefined
  const { gfid, name } = names
  const inode = afr.graph.inodes.findOrNew(gfid, S_IFDIR)
  const child = afr.bricks[brick]!
  const known = await frame.wind(child, 'lookup', {
    loc: new Loc(inode, undefined, undefined, gfid),
  })
  if (known.errno === 0) return withGfid(afr, inode, gfid)
  const loc = Loc.ofName(afr.graph.inodes.root, name, inode)
  const xdata = new Dict().setGfid('gfid-req', gfid)
  const made = await frame.wind(child, 'mkdir', { loc, mode: 0o755, umask: 0, xdata })
  return made.errno === 0 || made.errno === E.EXIST ? withGfid(afr, inode, gfid) : undefined
}

/** An inode that names `gfid` on the wire though nobody looked it up. */
export function withGfid(afr: Replicate, inode: Inode, gfid: Gfid): Inode {
  if (inode.gfid === gfid) return inode
  const named = afr.graph.inodes.newInode()
  named.gfid = gfid
  named.type = S_IFDIR
  return named
}

/** Directories that were put aside come back under their new name. */
async function takeBack(
  afr: Replicate,
  frame: Frame,
  newloc: Loc,
  gfid: Gfid,
  mask: number,
): Promise<number> {
  const names = anonymousNames(afr)
  if (names === undefined || mask === 0) return 0
  const waiting = withGfid(afr, afr.graph.inodes.findOrNew(names.gfid, S_IFDIR), names.gfid)
  const oldloc = Loc.ofName(waiting, gfidText(gfid), newloc.inode)
  const there = await eachBrick(afr, frame, mask, 'lookup', () => ({ loc: oldloc }))
  let back = 0
  for (const brick of bricksOf(there.good)) {
    if (there.replies.get(brick)!.stat.gfid !== gfid) continue
    const target = Loc.ofName(newloc.parent!, newloc.name!, afr.graph.inodes.newInode())
    const moved = await frame.wind(afr.bricks[brick]!, 'rename', { oldloc, newloc: target })
    if (moved.errno === 0 && has(mask, brick)) back |= bit(brick)
  }
  return back
}
