/** Self-heal by this mount: what lookups, refreshes and virtual xattrs call. */
import { Dict } from '../../../src/core/dict.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { S_IFDIR, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { healCreds } from '../common/heal-queue.ts'
import { DATA, ENTRY } from './change-log.ts'
import { type Copies, findDirection, type HealResult, readCopies } from './heal-common.ts'
import { healData } from './heal-data.ts'
import { healEntries } from './heal-entry.ts'
import { hasMetadataChange, healMetadata as healAttributes } from './heal-metadata.ts'
import { healOneName } from './heal-name.ts'
import type { Replicate } from './index.ts'

export type { HealResult } from './heal-common.ts'

/** What of an object differs. */
export interface Damage {
  data: boolean
  metadata: boolean
  entries: boolean
}

/** Without a lock: what a change under way does may look like damage. */
export function damageOf(afr: Replicate, inode: Inode, copies: Copies): Damage {
  const sizes = new Set(
    copies
      .filter((_copy, brick) => (afr.arbiterMask & (1 << brick)) === 0)
      .map(({ stat }) => stat.size),
  )
  const isFile = inode.type === S_IFREG
  return {
    data: isFile && (sizes.size > 1 || !findDirection(afr, copies, DATA).isClean),
    metadata: hasMetadataChange(afr, copies),
    entries: inode.type === S_IFDIR && !findDirection(afr, copies, ENTRY).isClean,
  }
}

/** Background heal of an object: data, metadata, entries, as the mount's options allow. */
export async function healInode(afr: Replicate, frame: Frame, inode: Inode): Promise<HealResult> {
  const found = await readCopies(afr, frame, inode)
  if (found.errno !== 0) return found
  const { options } = afr
  const damage = damageOf(afr, inode, found.copies)
  let worst: HealResult = { errno: 0 }
  if (damage.data && options['data-self-heal']) {
    worst = await healData(afr, frame, inode)
  }
  if (damage.metadata && options['metadata-self-heal']) {
    const healed = await healAttributes(afr, frame, inode)
    if (healed.errno !== 0) worst = healed
  }
  if (damage.entries && options['entry-self-heal']) {
    const healed = await healEntries(afr, frame, inode)
    if (healed.errno !== 0) worst = healed
  }
  return worst
}

/**
 * Bricks disagree whether, or as what, (loc.parent, loc.name) exists: settled before the lookup is
 * answered. `gfidReq`: what to give an object without gfid. EIO fails the lookup, anything else
 * lets it go on with what the bricks say then.
 */
export function healName(
  afr: Replicate,
  frame: Frame,
  loc: Loc,
  gfidReq: Gfid | undefined,
): Promise<HealResult> {
  return healOneName(afr, frame.with(healCreds()), loc.parent!, loc.name!, { gfidReq })
}

/** Owners, mode or xattrs differ though nobody is blamed; runs before the lookup is answered. */
export function healMetadata(afr: Replicate, frame: Frame, inode: Inode): Promise<HealResult> {
  return healAttributes(afr, frame.with(healCreds()), inode)
}

/** `getfattr -n glusterfs.heal-info`: what `gluster volume heal VOL info` asks per object. */
export async function healInfo(afr: Replicate, frame: Frame, loc: Loc): Promise<Rep<'getxattr'>> {
  const found = await readCopies(afr, frame.with(healCreds()), loc.inode)
  if (found.errno !== 0) return found
  const damage = damageOf(afr, loc.inode, found.copies)
  const needsHeal = damage.data || damage.metadata || damage.entries
  const { data, metadata } = splitBrainOf(afr, loc.inode, found.copies)
  const status = data || metadata ? 'split-brain' : needsHeal ? 'heal' : 'no-heal'
  return { errno: 0, dict: new Dict().setStr('heal-info', status) }
}

/** Is every copy blamed by another? */
export function splitBrainOf(
  afr: Replicate,
  inode: Inode,
  copies: Copies,
): { data: boolean; metadata: boolean } {
  const { data, metadata } = afr.changes.judge(copies)
  return { data: inode.type === S_IFREG && data === 0, metadata: metadata === 0 }
}
