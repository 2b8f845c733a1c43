/**
 * Healing a directory during lookup (dht_selfheal_directory): missing copies are made, attributes
 * made equal, ranges written so that the whole hash space is covered exactly once. Best effort: a
 * lookup succeeds whatever becomes of it. Not attempted while a subvolume is unreachable.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'
import {
  type Iatt,
  S_IFDIR,
  SET_ATTR_ATIME,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_MTIME,
  SET_ATTR_UID,
} from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { computeLayout } from './compute-layout.ts'
import { conditionOf, type DirectoryView, viewOf } from './directory-lookup.ts'
import type { Distribute } from './index.ts'
import {
  GFID_REQ,
  IATT_IN_XDATA,
  INTERNAL_FOP,
  isHealable,
  LIST_XATTR,
  SYNC_BACKEND_XATTRS,
} from './keys.ts'
import {
  COMMIT_HASH_NONE,
  ERR_NEEDS_RANGE,
  encodeRange,
  type Layout,
  type LayoutEntry,
} from './layout.ts'
import { freshLoc, LAYOUT_DOMAIN, LockSet } from './locks.ts'
import { lookupXdata } from './lookup.ts'
import { asRoot } from './subvolumes.ts'

export interface Healed {
  layout: Layout
  mds: Xlator | undefined
  /** The attributes all copies have now, when they were changed. */
  stat: Iatt | undefined
}

const ALL_ATTRIBUTES = SET_ATTR_MODE | SET_ATTR_UID | SET_ATTR_GID | SET_ATTR_ATIME | SET_ATTR_MTIME

export async function healDirectory(
  dht: Distribute,
  frame: Frame,
  loc: Loc,
  view: DirectoryView,
  replies: readonly Rep<'lookup'>[],
): Promise<Healed> {
  const root = asRoot(frame)
  const { gfid } = view.stat
  const anomalies = view.layout.anomalies()
  const healed: Healed = { layout: view.layout, mds: view.mds, stat: undefined }
  const missing = dht.children.filter((_, i) => isMissing(replies[i]!))
  const source = sourceAttributes(view, loc.inode.isRoot)
  if (missing.length > 0) {
    const made = await makeMissing(dht, root, loc, view, source, missing)
    if (!made) return healed
  }
  if (view.mds === undefined && !loc.inode.isRoot) {
    healed.mds = await plantMds(dht, root, loc, gfid)
  }
  if (view.differ || missing.length > 0) {
    const target = freshLoc(loc.inode, gfid, S_IFDIR)
    const req = { loc: target, stat: source, valid: ALL_ATTRIBUTES }
    await root.windAll(dht.children, 'setattr', () => req)
    healed.stat = source
  }
  const incomplete = anomalies.holes > 0 || anomalies.overlaps > 0 || anomalies.missing > 0
  if (incomplete) healed.layout = await healRanges(dht, root, loc, gfid, view.layout)
  return healed
}

function isMissing(rep: Rep<'lookup'>): boolean {
  return rep.errno === E.NOENT || rep.errno === E.STALE
}

/** What all copies should show: the mds subvolume's word, with the merged times. */
function sourceAttributes(view: DirectoryView, isRoot: boolean): Iatt {
  const stat = view.stat.clone()
  const source = (isRoot ? view.newestStat : view.mdsStat) ?? view.newestStat ?? view.stat
  stat.mode = source.mode
  stat.uid = source.uid
  stat.gid = source.gid
  return stat
}

/** False when the directory turned out to be gone, or could not be guarded. */
async function makeMissing(
  dht: Distribute,
  frame: Frame,
  loc: Loc,
  view: DirectoryView,
  source: Iatt,
  missing: readonly Xlator[],
): Promise<boolean> {
  const hashed = dht.hashedSub(loc.parent, loc.name)
  if (hashed === undefined || loc.parent === undefined || loc.name === undefined) return false
  const locks = new LockSet(frame)
  try {
    const guard = await locks.guardName(hashed, loc.parent, loc.name)
    if (guard.errno !== 0) return false
    const now = await frame.windAll(dht.children, 'lookup', (i) => {
      const xdata = lookupXdata(dht, undefined, false)
      if (dht.children[i] === view.mds) xdata.setInt(LIST_XATTR, 0)
      return { loc, xdata }
    })
    if (now.every(isMissing)) return false
    const xdata = new Dict().setGfid(GFID_REQ, view.stat.gfid)
    const mdsIndex = view.mds === undefined ? -1 : dht.children.indexOf(view.mds)
    const onMds = now[mdsIndex]
    if (onMds?.errno === 0) copyHealable(onMds.xdata, xdata)
    const still = missing.filter((sub) => isMissing(now[dht.children.indexOf(sub)]!))
    const req = { loc, mode: source.mode & 0o7777, umask: 0, xdata }
    const made = await frame.windAll(still, 'mkdir', () => req)
    made.forEach((rep, i) => {
      if (rep.errno === 0 || rep.errno === E.EXIST) return
      const where = { sub: still[i]!.name, path: loc.path, errno: rep.errno }
      dht.log.warn(where, 'a missing copy of the directory could not be made')
    })
    return true
  } finally {
    locks.release()
  }
}

function copyHealable(from: Dict | undefined, to: Dict): void {
  for (const key of from?.entries.keys() ?? []) {
    const value = isHealable(key) ? from?.getBytes(key) : undefined
    if (value !== undefined) to.setBytes(key, value)
  }
}

/** A directory of old times has no mds xattr: the hashed subvolume becomes its keeper. */
async function plantMds(
  dht: Distribute,
  frame: Frame,
  loc: Loc,
  gfid: Gfid,
): Promise<Xlator | undefined> {
  const hashed = dht.hashedSub(loc.parent, loc.name)
  if (hashed === undefined) return undefined
  const dict = new Dict().setBytes(dht.keys.mds, Buffer.alloc(4))
  const xdata = new Dict().setStr(INTERNAL_FOP, 'yes')
  const target = freshLoc(loc.inode, gfid, S_IFDIR)
  const rep = await frame.wind(hashed, 'setxattr', { loc: target, dict, flags: 0, xdata })
  return rep.errno === 0 ? hashed : undefined
}

/** Writes ranges under the layout lock, if the disk then still needs it. */
async function healRanges(
  dht: Distribute,
  frame: Frame,
  loc: Loc,
  gfid: Gfid,
  seen: Layout,
): Promise<Layout> {
  const target = freshLoc(loc.inode, gfid, S_IFDIR)
  const locks = new LockSet(frame)
  try {
    const locked = await locks.inodelkAll(dht.children, target, LAYOUT_DOMAIN)
    if (locked.errno !== 0) return seen
    const xdata = lookupXdata(dht, undefined, loc.inode.isRoot)
    const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc: target, xdata }))
    const disk = viewOf(dht, replies).layout
    const { anomalies, unreachable } = conditionOf(disk, replies)
    if (unreachable || replies.some(isMissing)) return disk
    if (anomalies.holes === 0 && anomalies.overlaps === 0) {
      const bare = disk.entries.filter((entry) => entry.err === ERR_NEEDS_RANGE)
      if (!loc.inode.isRoot) await writeRanges(dht, frame, target, disk, bare)
      return disk
    }
    computeLayout(disk, dht.directoryHash(loc.path, gfid), COMMIT_HASH_NONE, dht.layoutPolicy)
    dht.log.info({ path: loc.path }, 'the layout had holes or overlaps; computed anew')
    await writeRanges(dht, frame, target, disk, disk.entries)
    return disk.sort()
  } finally {
    locks.release()
  }
}

/**
 * Writes `entries` of `layout` to their subvolumes; one without a range as 0-0 of type 0. What
 * could not be written keeps its errno and is healed by a later lookup.
 */
export async function writeRanges(
  dht: Distribute,
  frame: Frame,
  target: Loc,
  layout: Layout,
  entries: readonly LayoutEntry[],
): Promise<void> {
  const subs = entries.map((entry) => entry.sub)
  const xdata = new Dict().setStr(INTERNAL_FOP, 'yes').setInt(IATT_IN_XDATA, 1)
  const replies = await frame.windAll(subs, 'setxattr', (i) => ({
    loc: target,
    dict: new Dict().setBytes(dht.keys.layout, encodeRange(entries[i]!)),
    flags: 0,
    xdata,
  }))
  replies.forEach((rep, i) => {
    entries[i]!.err = rep.errno
    if (rep.errno === 0 || rep.errno === E.NOTCONN) return
    const where = { sub: subs[i]!.name, errno: rep.errno, gfid: gfidText(target.gfid) }
    dht.log.warn(where, 'a range of the layout could not be written')
  })
  layout.sort()
}

/** Directories whose xattrs are being healed; more at once are left to later lookups. */
const HEALING_MAX = 64

/**
 * The mds xattr is negative: some copy missed an attribute change. Copies the mds subvolume's
 * healable xattrs to the others and takes the debt off again; in the background.
 */
export function healXattrsLater(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  gfid: Gfid,
  mds: Xlator,
): void {
  if (dht.healing.has(gfid) || dht.healing.size >= HEALING_MAX) return
  dht.healing.add(gfid)
  const creds = asRoot(frame).creds
  void frame.stack.pool.background(dht, 'dht xattr heal', creds, async (job) => {
    try {
      await healXattrs(dht, job, freshLoc(inode, gfid, S_IFDIR), mds)
    } finally {
      dht.healing.delete(gfid)
    }
  })
}

async function healXattrs(dht: Distribute, frame: Frame, loc: Loc, mds: Xlator): Promise<void> {
  const all = await frame.wind(mds, 'getxattr', { loc, name: undefined })
  const count = await frame.wind(mds, 'getxattr', { loc, name: dht.keys.mds })
  if (all.errno !== 0 || count.errno !== 0) return
  const debt = count.dict.getBytes(dht.keys.mds)
  if (debt === undefined || debt.length !== 4 || debt.readInt32BE(0) >= 0) return
  const dict = new Dict()
  copyHealable(all.dict, dict)
  const others = dht.children.filter((sub) => sub !== mds)
  const xdata = new Dict().setInt(SYNC_BACKEND_XATTRS, 1)
  if (dict.count > 0) {
    const req = { loc, dict, flags: 0, xdata }
    const replies = await frame.windAll(others, 'setxattr', () => req)
    if (replies.some((rep) => rep.errno !== 0)) return
  }
  // Added, not set to zero: a change that failed meanwhile keeps its own debt.
  const credit = Buffer.alloc(4)
  credit.writeInt32BE(-debt.readInt32BE(0))
  const paid = new Dict().setBytes(dht.keys.mds, credit)
  await frame.wind(mds, 'xattrop', { loc, op: 0, dict: paid })
}
