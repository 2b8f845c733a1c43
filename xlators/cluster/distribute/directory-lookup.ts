/** The end of every directory lookup: merge what the subvolumes said, see what needs healing. */
import type { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Ok, Rep } from '../../../src/core/fop.ts'
import { Iatt, isDir, timeLater } from '../../../src/core/iatt.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { attributesDiffer, fixDirSize, mergeIatt, mergeXattrs } from './attributes.ts'
import { healDirectory, healXattrsLater } from './heal.ts'
import type { Distribute } from './index.ts'
import { Layout, needsHeal } from './layout.ts'
import type { LookupCall, LookupOk } from './lookup.ts'

/** What all subvolumes together say about a directory. */
export interface DirectoryView {
  layout: Layout
  /** Merged attributes. */
  stat: Iatt
  postparent: Iatt
  xdata: Dict | undefined
  /** Subvolume whose copy has the mds xattr. */
  mds: Xlator | undefined
  /** The mds subvolume's own attributes. */
  mdsStat: Iatt | undefined
  /** Attributes of the copy that has a range and changed last. */
  newestStat: Iatt | undefined
  /** Unfinished attribute changes (the mds xattr), negative = some. */
  mdsCount: number
  /** Copies have different modes or owners. */
  differ: boolean
}

/**
 * Merges the replies, given in the order of the subvolumes. A subvolume that is down keeps its
 * entry of `remembered`.
 */
export function viewOf(
  dht: Distribute,
  replies: readonly Rep<'lookup'>[],
  remembered?: Layout,
): DirectoryView {
  const layout = new Layout(dht.generation)
  const view: DirectoryView = {
    layout,
    stat: new Iatt(),
    postparent: new Iatt(),
    xdata: undefined,
    mds: undefined,
    mdsStat: undefined,
    newestStat: undefined,
    mdsCount: 0,
    differ: false,
  }
  let merged: Iatt | undefined
  let first: Iatt | undefined
  replies.forEach((rep, i) => {
    const sub = dht.children[i]!
    if (rep.errno !== 0 || !isDir(rep.stat)) {
      const known = rep.errno === E.NOTCONN ? remembered?.of(sub) : undefined
      if (known !== undefined && known.err <= 0) layout.entries.push({ ...known })
      else layout.merge(sub, rep.errno === 0 ? E.NOTDIR : rep.errno, undefined)
      return
    }
    const range = rep.xdata?.getBytes(dht.keys.layout)
    layout.merge(sub, 0, range)
    if (range !== undefined && isNewer(rep.stat, view.newestStat)) {
      view.newestStat = rep.stat.clone()
    }
    const mds = rep.xdata?.getBytes(dht.keys.mds)
    if (mds !== undefined && view.mds === undefined) {
      view.mds = sub
      view.mdsCount = mds.length >= 4 ? mds.readInt32BE(0) : 0
      view.mdsStat = rep.stat.clone()
    }
    if (first === undefined) first = rep.stat.clone()
    else {
      if (first.gfid !== rep.stat.gfid) {
        dht.log.warn({ sub: sub.name }, 'a directory has different gfids on its subvolumes')
      }
      if (attributesDiffer(first, rep.stat)) view.differ = true
    }
    merged = mergeIatt(merged, rep.stat)
    if (rep.postparent.flags !== 0) {
      const before = view.postparent.flags === 0 ? undefined : view.postparent
      view.postparent = mergeIatt(before, rep.postparent)
    }
    view.xdata = mergeXattrs(view.xdata, rep.xdata)
  })
  layout.sort()
  if (merged !== undefined) view.stat = merged
  return view
}

function isNewer(stat: Iatt, than: Iatt | undefined): boolean {
  if (than === undefined) return true
  return timeLater(stat.ctime, stat.ctimeNsec, than.ctime, than.ctimeNsec)
}

/** Remembers the directory, heals what is wrong with it and answers the merged view. */
export async function finishDirectory(
  call: LookupCall,
  replies: readonly Rep<'lookup'>[],
  remembered?: Layout,
): Promise<LookupOk> {
  const { dht, frame, loc } = call
  const isRoot = loc.inode.isRoot
  const view = viewOf(dht, replies, remembered)
  if (isRoot) dht.learnCommitHash(view.xdata)
  const { anomalies, unreachable } = conditionOf(view.layout, replies)
  const mdsMissing = !isRoot && view.mds === undefined
  // A copy of the root without range stays so until fix-layout: every lookup would meet it.
  if (isRoot && anomalies.holes === 0 && anomalies.overlaps === 0) anomalies.missing = 0
  if (!unreachable && (needsHeal(anomalies) || view.differ || mdsMissing)) {
    const healed = await healDirectory(dht, frame, loc, view, replies)
    view.layout = healed.layout
    view.mds ??= healed.mds
    if (healed.stat !== undefined) view.stat = healed.stat
  }
  dht.rememberDirectory(loc.inode, view.stat, view.layout, isRoot ? dht.child : view.mds)
  if (!unreachable && view.mdsCount < 0 && view.mds !== undefined) {
    healXattrsLater(dht, frame, loc.inode, view.stat.gfid, view.mds)
  }
  const answer: Ok<'lookup'> = {
    errno: 0,
    stat: view.stat,
    postparent: view.postparent.flags === 0 ? view.postparent : fixDirSize(view.postparent),
    xdata: view.xdata,
  }
  return answer
}

/** Is anything wrong, and could it be healed now? */
export function conditionOf(layout: Layout, replies: readonly Rep<'lookup'>[]) {
  const anomalies = layout.anomalies()
  const down = replies.some((rep) => rep.errno === E.NOTCONN)
  return { anomalies, unreachable: down || anomalies.down > 0 || anomalies.misc > 0 }
}
