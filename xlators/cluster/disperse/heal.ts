/** Self-heal of one inode: data or entries, then metadata (ec_heal_do). */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { type Rep, XATTROP_ADD_ARRAY64 } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { S_IFDIR, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit } from '../common/mask.ts'
import { type HealResult, maskOf, repliesOf, underLock } from './heal-common.ts'
import { healData } from './heal-data.ts'
import { healEntries } from './heal-entry.ts'
import { healMetadata } from './heal-metadata.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'
import {
  isZero,
  readSize,
  readWords,
  requestCounters,
  words,
  XATTR_DIRTY,
  XATTR_HEAL,
  XATTR_SIZE,
  XATTR_VERSION,
} from './xattrs.ts'

export interface HealOptions {
  /** Metadata only. */
  partial: boolean
  /** Wait for another healer; otherwise leave the inode to it. */
  block: boolean
}

export async function healInode(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  how: HealOptions,
): Promise<HealResult> {
  let good = (1 << ec.geometry.brickCount) - 1
  let bad = 0
  if (!how.partial) {
    const content =
      inode.type === S_IFREG
        ? await healData(ec, frame, inode, how.block)
        : inode.type === S_IFDIR
          ? await healEntries(ec, frame, inode, how.block)
          : undefined
    if (content !== undefined) {
      if (content.errno !== 0) return content
      good &= content.good
      bad |= content.bad
    }
  }
  const metadata = await healMetadata(ec, frame, inode)
  if (metadata.errno !== 0) return metadata
  bad |= metadata.bad
  good &= metadata.good
  return { errno: 0, good: good & ~bad, bad }
}

/**
 * A brick that died between noting a change in its index and marking the object has an index entry
 * that no heal would take away: asked to add nothing to marks that are zero, it does
 * (ec_heal_purge_stale_index).
 */
async function purgeStaleIndex(ec: Disperse, frame: Frame, inode: Inode): Promise<void> {
  const dict = new Dict().setBytes(XATTR_DIRTY, words(0, 0))
  const req = { loc: Loc.ofInode(inode), op: XATTROP_ADD_ARRAY64, dict }
  await repliesOf(ec, frame, maskOf(ec.children.keys()) & ec.up, 'xattrop', () => req)
}

/** `getfattr -n trusted.ec.heal`: heals at once and tells which bricks are equal now. */
export async function healOnDemand(ec: Disperse, frame: Frame, loc: Loc): Promise<Rep<'getxattr'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const own = frame.with(ec.heals.creds())
  const { inode, parent, name } = loc
  if (parent !== undefined && name !== undefined) {
    const named = await healName(ec, own, parent, name)
    if (named.errno !== 0) return named
  }
  const healed = await healInode(ec, own, inode, { partial: false, block: true })
  if (healed.errno !== 0) return healed
  if (healed.bad === 0) await purgeStaleIndex(ec, own, inode)
  const text = `Good: ${ec.maskText(healed.good)}, Bad: ${ec.maskText(healed.bad)}`
  return { errno: 0, dict: new Dict().setStr(XATTR_HEAL, text) }
}

/** Does the inode need a heal? Without the lock first: a change under way looks like damage. */
export async function healInfo(ec: Disperse, frame: Frame, inode: Inode): Promise<Rep<'getxattr'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const own = frame.with(ec.heals.creds())
  let clean = await isClean(ec, own, inode, ec.up)
  if (!clean) {
    const how = { domain: ec.name, block: true, minimum: ec.geometry.dataCount }
    const locked = await underLock(ec, own, inode, how, async (held) => ({
      errno: 0 as const,
      clean: await isClean(ec, own, inode, held),
    }))
    if (locked.errno !== 0) return locked
    clean = locked.clean
  }
  return { errno: 0, dict: new Dict().setStr('heal-info', clean ? 'no-heal' : 'heal') }
}

/** All bricks answer with equal counters, none dirty, and files of equal length. */
async function isClean(ec: Disperse, frame: Frame, inode: Inode, mask: number): Promise<boolean> {
  const replies = await repliesOf(ec, frame, mask, 'lookup', () => ({
    loc: Loc.ofInode(inode),
    xdata: requestCounters(new Dict()),
  }))
  const keys = new Set<string>()
  let found = 0
  for (const [brick, reply] of replies) {
    if (reply.errno !== 0) return false
    found |= bit(brick)
    const { xdata, stat } = reply
    const dirty = xdata?.getBytes(XATTR_DIRTY)
    if (dirty !== undefined && !isZero(dirty)) return false
    const version = readWords(xdata?.getBytes(XATTR_VERSION))
    const size = readSize(xdata?.getBytes(XATTR_SIZE))
    keys.add(`${version}/${size}/${inode.type === S_IFREG ? stat.size : ''}`)
  }
  const all = maskOf(ec.children.keys())
  return found === all && keys.size === 1
}
