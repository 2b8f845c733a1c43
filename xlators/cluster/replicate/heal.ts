/**
 * Self-heal by this mount: the entry points that lookups, refreshes and virtual xattrs call. What
 * they do comes next; until then damage is left to the self-heal daemon.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import type { Replicate } from './index.ts'

export interface HealResult {
  /** 0: nothing is left to heal; EIO: a split-brain; ENOTCONN: a brick is missing. */
  errno: Errno | 0
}

/** Background heal of an object: data, metadata, entries, as the mount's options allow. */
export async function healInode(
  _afr: Replicate,
  _frame: Frame,
  _inode: Inode,
): Promise<HealResult> {
  return { errno: E.OPNOTSUPP }
}

/**
 * Bricks disagree whether, or as what, (loc.parent, loc.name) exists: settled before the lookup is
 * answered. `gfidReq`: what to give an object without gfid. EIO fails the lookup, anything else
 * lets it go on with what the bricks say then.
 */
export async function healName(
  _afr: Replicate,
  _frame: Frame,
  _loc: Loc,
  _gfidReq: Gfid | undefined,
): Promise<HealResult> {
  return { errno: E.OPNOTSUPP }
}

/** Owners, mode or xattrs differ though nobody is blamed; runs before the lookup is answered. */
export async function healMetadata(
  _afr: Replicate,
  _frame: Frame,
  _inode: Inode,
): Promise<HealResult> {
  return { errno: E.OPNOTSUPP }
}

/** `getfattr -n glusterfs.heal-info`: what `gluster volume heal VOL info` asks per object. */
export async function healInfo(
  _afr: Replicate,
  _frame: Frame,
  _loc: Loc,
): Promise<Rep<'getxattr'>> {
  return { errno: E.OPNOTSUPP }
}

/** `glusterfs.heal-sbrain`: what `gluster volume heal VOL split-brain …` asks per object. */
export async function healSplitBrain(
  _afr: Replicate,
  _frame: Frame,
  _req: Req<'getxattr'>,
): Promise<Rep<'getxattr'>> {
  return { errno: E.OPNOTSUPP }
}

/** `setfattr -n replica.split-brain-heal-finalize`: the copy on `source` is right. */
export async function finalizeSplitBrain(
  _afr: Replicate,
  _frame: Frame,
  _inode: Inode,
  _source: number,
): Promise<HealResult> {
  return { errno: E.IO }
}
