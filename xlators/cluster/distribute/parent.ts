/** The parent directory's part in fops that change names in it. */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { fixDirSize, raiseTimes } from './attributes.ts'
import { timesOf } from './context.ts'
import { learnDirectory } from './directory.ts'
import { viewOf } from './directory-lookup.ts'
import type { Distribute } from './index.ts'
import { PREOP_CHECK_FAILED, PREOP_PARENT_KEY } from './keys.ts'
import { encodeRange, type Layout } from './layout.ts'
import { gfidLoc } from './locks.ts'
import { lookupXdata } from './lookup.ts'

/** A name to be made or removed, and where it belongs. */
export interface Placed {
  readonly loc: Loc
  readonly parent: Inode
  readonly name: string
  readonly hashed: Xlator
  /** Chosen by the `name@dht:subvol` filter. */
  readonly forced: Xlator | undefined
}

/** Where the hash places `loc`'s name; EIO when its parent's layout has a hole there. */
export async function placeName(
  dht: Distribute,
  frame: Frame,
  given: Loc,
  filtered = false,
): Promise<Placed | { errno: Errno }> {
  const { parent } = given
  if (parent === undefined || given.name === undefined) return { errno: E.INVAL }
  const filter = filtered ? dht.subvolFilter(given.name) : undefined
  const name = filter?.name ?? given.name
  const errno = await learnDirectory(dht, frame, parent)
  if (errno !== 0) return { errno }
  const hashed = dht.hashedSub(parent, name)
  if (hashed === undefined) return { errno: E.IO }
  const loc = filter === undefined ? given : new Loc(given.inode, parent, name)
  return { loc, parent, name, hashed, forced: filter?.sub }
}

/** Adds the check that our idea of the parent's layout on `sub` is what its disk says. */
export function addPreopCheck(
  dht: Distribute,
  parent: Inode,
  sub: Xlator,
  given: Dict | undefined,
): Dict {
  const xdata = given?.clone() ?? new Dict()
  const entry = dht.inodes.get(parent)?.layout?.of(sub)
  if (entry === undefined || entry.err !== 0) return xdata
  xdata.setStr(PREOP_PARENT_KEY, dht.keys.layout)
  xdata.setBytes(dht.keys.layout, encodeRange(entry))
  return xdata
}

/** The brick found another layout on its disk. mkdir's reply may carry this without an errno. */
export function preopFailed(rep: { xdata?: Dict | undefined }): boolean {
  return rep.xdata?.has(PREOP_CHECK_FAILED) ?? false
}

/** Reads the parent's layout from all subvolumes again. */
export async function refreshLayout(
  dht: Distribute,
  frame: Frame,
  parent: Inode,
): Promise<Layout | undefined> {
  const loc = gfidLoc(parent)
  const xdata = lookupXdata(dht, undefined, parent.isRoot)
  const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc, xdata }))
  if (!replies.some((rep: Rep<'lookup'>) => rep.errno === 0)) return undefined
  const { layout, xdata: xattrs } = viewOf(dht, replies, dht.inodes.get(parent)?.layout)
  dht.inodeState(parent).layout = layout
  if (parent.isRoot) dht.learnCommitHash(xattrs)
  return layout
}

/** A layout seen to be that of the disk is believed for so long: rebalance needs longer to move a
 * file after it changed the layout. */
const LAYOUT_TRUST_MS = 5

/** Names absent in a directory one after the other, each so soon after the last: files are made. */
const ABSENCE_GAP_MS = 1000

/** A name was looked up in it a moment ago and absent. */
export function expectsAbsence(dht: Distribute, parent: Inode | undefined): boolean {
  const state = parent === undefined ? undefined : dht.inodes.get(parent)
  return state !== undefined && clock.now() - state.absentAt < ABSENCE_GAP_MS
}

export function sawAbsence(dht: Distribute, parent: Inode | undefined): void {
  const state = parent === undefined ? undefined : dht.inodes.get(parent)
  if (state !== undefined) state.absentAt = clock.now()
}

/**
 * Before a name counts as absent: is the layout that placed it still the disk's? Rebalance changes
 * layouts under its clients, and from then on moves files. One look at the parent's range on the
 * subvolume that answered, and at the commit hash of the root; what changed is read again.
 */
export async function isLayoutCurrent(
  dht: Distribute,
  frame: Frame,
  parent: Inode | undefined,
  hashed: Xlator,
): Promise<boolean> {
  const state = parent === undefined ? undefined : dht.inodes.get(parent)
  const known = state?.layout?.of(hashed)
  if (parent === undefined || state === undefined || known === undefined) return true
  const sent = clock.now()
  if (sent - state.verifiedAt < LAYOUT_TRUST_MS) return true
  const ask = (inode: Inode) => {
    const xdata = new Dict().setUint(dht.keys.layout, 16)
    if (inode.isRoot) xdata.setUint(dht.keys.commitHash, 4)
    return frame.wind(hashed, 'lookup', { loc: gfidLoc(inode), xdata })
  }
  const { root } = dht.graph.inodes
  const [mine, roots] = await Promise.all([ask(parent), parent.isRoot ? undefined : ask(root)])
  const commitHash = dht.volumeCommitHash
  const top = parent.isRoot ? mine : roots
  if (top?.errno === 0) dht.learnCommitHash(top.xdata)
  state.verifiedAt = sent
  if (mine.errno !== 0) return true
  const disk = mine.xdata?.getBytes(dht.keys.layout)
  const same = disk === undefined ? known.start === known.stop : disk.equals(encodeRange(known))
  if (!same) await refreshLayout(dht, frame, parent)
  return same && dht.volumeCommitHash === commitHash
}

/** A directory's pre- and post-operation attributes as one subvolume saw them. */
export function showParents(
  dht: Distribute,
  parent: Inode,
  preparent: Iatt,
  postparent: Iatt,
): void {
  if (postparent.flags === 0) return
  const state = dht.inodes.get(parent)
  if (state?.times !== undefined) raiseTimes(postparent, state.times)
  if (state !== undefined) state.times = timesOf(postparent)
  fixDirSize(preparent)
  fixDirSize(postparent)
}
