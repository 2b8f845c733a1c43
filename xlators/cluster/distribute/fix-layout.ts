/** fix-layout: a directory's ranges for the subvolumes there are now, moved as little as possible. */
import { E } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { fixedLayout, isWeightedLayout } from './compute-layout.ts'
import { conditionOf, viewOf } from './directory-lookup.ts'
import { writeRanges } from './heal.ts'
import type { Distribute } from './index.ts'
import type { Layout } from './layout.ts'
import { gfidLoc, LAYOUT_DOMAIN, LockSet } from './locks.ts'
import { lookupXdata } from './lookup.ts'
import { asRoot } from './subvolumes.ts'

export async function fixLayout(
  dht: Distribute,
  caller: Frame,
  loc: Loc,
): Promise<Rep<'setxattr'>> {
  if (!dht.states.allUp) return { errno: E.NOTCONN }
  const frame = asRoot(caller)
  const target = gfidLoc(loc.inode)
  await dht.space.ready()
  const locks = new LockSet(frame)
  try {
    const locked = await locks.inodelkAll(dht.children, target, LAYOUT_DOMAIN)
    if (locked.errno !== 0) return locked
    const xdata = lookupXdata(dht, undefined, loc.inode.isRoot)
    const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc: target, xdata }))
    const { layout: disk, stat, mds } = viewOf(dht, replies)
    const { unreachable } = conditionOf(disk, replies)
    if (unreachable) return { errno: E.NOTCONN }
    if (disk.entries.some(({ type }) => type === 1)) return { errno: 0 }
    const wanted = fixedLayout(disk, dht.directoryHash(loc.path, stat.gfid), dht.layoutPolicy)
    if (isSettled(dht, disk, wanted)) return { errno: 0 }
    await writeRanges(dht, frame, target, wanted, wanted.entries)
    dht.rememberDirectory(loc.inode, stat, wanted, loc.inode.isRoot ? dht.child : mds)
    const failed = wanted.entries.find((entry) => entry.err !== 0)
    return failed === undefined ? { errno: 0 } : { errno: E.IO }
  } finally {
    locks.release()
  }
}

/** The disk already has a layout of the wanted kind over all subvolumes that take files. */
function isSettled(dht: Distribute, disk: Layout, wanted: Layout): boolean {
  const { holes, overlaps } = disk.anomalies()
  if (holes > 0 || overlaps > 0 || disk.commitHash !== wanted.commitHash) return false
  const taking = disk.entries.filter(({ start, stop }) => start !== stop)
  if (taking.some(({ sub }) => dht.isDecommissioned(sub))) return false
  const active = dht.children.filter((sub) => !dht.isDecommissioned(sub)).length
  return taking.length === active && isWeightedLayout(disk) === isWeightedLayout(wanted)
}
