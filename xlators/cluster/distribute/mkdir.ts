/** mkdir: on the hashed subvolume first, which decides; then on the others; then the layout. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import { F_WRLCK } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFDIR } from '../../../src/core/iatt.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { mergeIatt } from './attributes.ts'
import { computeLayout } from './compute-layout.ts'
import { viewOf } from './directory-lookup.ts'
import { writeRanges } from './heal.ts'
import type { Distribute } from './index.ts'
import { GFID_REQ } from './keys.ts'
import { COMMIT_HASH_NONE, encodeRange, Layout, RANGE_MAX } from './layout.ts'
import { freshLoc, LAYOUT_DOMAIN, LockSet } from './locks.ts'
import { lookupXdata } from './lookup.ts'
import {
  addPreopCheck,
  type Placed,
  placeName,
  preopFailed,
  refreshLayout,
  sawAbsence,
  showParents,
} from './parent.ts'
import { asRoot } from './subvolumes.ts'

export async function mkdir(
  dht: Distribute,
  frame: Frame,
  req: Req<'mkdir'>,
): Promise<Rep<'mkdir'>> {
  const gfid = req.xdata?.getGfid(GFID_REQ)
  if (gfid === undefined) return { errno: E.PERM }
  dht.space.refreshSoon()
  const placed = await placeName(dht, frame, req.loc)
  if ('errno' in placed) return placed
  const made = await makeCopies(dht, frame, req, placed)
  if ('errno' in made) return made
  const { rep } = made
  await dht.space.ready()
  const layout = await layOut(dht, frame, req, gfid, made.hashed, made.layout)
  dht.rememberDirectory(req.loc.inode, rep.stat, layout, made.hashed)
  // Whoever makes a directory makes its files.
  sawAbsence(dht, req.loc.inode)
  showParents(dht, placed.parent, rep.preparent, rep.postparent)
  return rep
}

interface Made {
  rep: Ok<'mkdir'>
  /** Which copies exist; ranges not computed yet. */
  layout: Layout
  hashed: Xlator
}

/** Makes the directory on all subvolumes under the namespace guard. */
async function makeCopies(
  dht: Distribute,
  frame: Frame,
  req: Req<'mkdir'>,
  placed: Placed,
): Promise<Made | Extract<Rep<'mkdir'>, { errno: Errno }>> {
  const locks = new LockSet(frame)
  try {
    const first = await makeOnHashed(dht, frame, req, placed, locks)
    if ('errno' in first) return first
    const { hashed, rep } = first
    const others = dht.children.filter((sub) => sub !== hashed)
    const replies = await frame.windAll(others, 'mkdir', () => req)
    const layout = new Layout(dht.generation)
    let stat: Iatt | undefined
    for (const sub of dht.children) {
      const other = sub === hashed ? rep : replies[others.indexOf(sub)]!
      let errno = other.errno === E.EXIST ? 0 : other.errno
      // Not "to be made" but "could not be made": its parent is missing there.
      if (errno === E.NOENT) errno = E.STALE
      layout.merge(sub, errno, undefined)
      if (other.errno === 0) stat = mergeIatt(stat, other.stat)
    }
    return { rep: { ...rep, stat: stat ?? rep.stat }, layout, hashed }
  } finally {
    locks.release()
  }
}

async function makeOnHashed(
  dht: Distribute,
  frame: Frame,
  req: Req<'mkdir'>,
  placed: Placed,
  locks: LockSet,
): Promise<{ hashed: Xlator; rep: Ok<'mkdir'> } | Extract<Rep<'mkdir'>, { errno: Errno }>> {
  const { loc, parent, name } = placed
  let hashed = placed.hashed
  // One look at the disk is enough; a layout that keeps changing is somebody's rebalance.
  for (let attempt = 0; attempt < 3; attempt++) {
    const guard = await locks.guardName(hashed, parent, name)
    if (guard.errno !== 0) return guard
    const xdata = addPreopCheck(dht, parent, hashed, req.xdata)
    xdata.setBytes(dht.keys.mds, Buffer.alloc(4))
    const before = dht.inodes.get(parent)?.layout?.of(hashed)
    const rep = await frame.wind(hashed, 'mkdir', { ...req, loc, xdata })
    if (rep.errno === 0 && !preopFailed(rep)) return { hashed, rep }
    if (!preopFailed(rep)) return rep.errno === 0 ? { errno: E.IO } : rep
    locks.release()
    const layout = await refreshLayout(dht, frame, parent)
    const now = layout?.find(dht.hasher.hash(name))
    if (layout === undefined || now === undefined) return { errno: E.IO }
    const after = layout.of(hashed)
    const same =
      before !== undefined && after !== undefined && encodeRange(before).equals(encodeRange(after))
    if (now === hashed && same) return { errno: E.IO }
    hashed = now
  }
  return { errno: E.IO }
}

/** Gives the new directory its ranges, under its layout lock on the hashed subvolume. */
async function layOut(
  dht: Distribute,
  frame: Frame,
  req: Req<'mkdir'>,
  gfid: Gfid,
  hashed: Xlator,
  layout: Layout,
): Promise<Layout> {
  for (const entry of layout.entries) {
    if (entry.err <= 0 && dht.space.isFilled(entry.sub)) entry.err = E.NOSPC
  }
  const commitHash = dht.options['lookup-optimize'] ? dht.volumeCommitHash : COMMIT_HASH_NONE
  computeLayout(layout, dht.directoryHash(req.loc.path, gfid), commitHash, dht.layoutPolicy)
  layout.sort()
  const root = asRoot(frame)
  const target = freshLoc(req.loc.inode, gfid, S_IFDIR)
  const locks = new LockSet(root)
  try {
    const locked = await locks.inodelk(hashed, target, LAYOUT_DOMAIN, F_WRLCK)
    if (locked.errno !== 0) return layout
    const xdata = lookupXdata(dht, undefined, false)
    const replies = await root.windAll(dht.children, 'lookup', () => ({ loc: target, xdata }))
    const disk = viewOf(dht, replies).layout
    const { holes, overlaps } = disk.anomalies()
    // Another client's lookup met the bare directory and healed it first.
    if (holes === 0 && overlaps === 0) return disk
    await writeRanges(dht, root, target, layout, layout.entries)
    return layout
  } finally {
    locks.release()
  }
}

/** mkdir with one subvolume: its range goes with the request. */
export function mkdirAlone(dht: Distribute, frame: Frame, req: Req<'mkdir'>) {
  const xdata = req.xdata?.clone() ?? new Dict()
  const commitHash = dht.options['lookup-optimize'] ? dht.volumeCommitHash : COMMIT_HASH_NONE
  const range = encodeRange({ commitHash, type: 0, start: 0, stop: RANGE_MAX })
  xdata.setBytes(dht.keys.layout, range)
  return frame.tail(dht.child, 'mkdir', { ...req, xdata })
}
