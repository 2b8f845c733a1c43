/** Computing layouts: new directories, repairs, and fix-layout with the least movement. */
import { E } from '../../../src/core/errno.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { ERR_NEEDS_RANGE, type Layout, type LayoutEntry, RANGE_MAX } from './layout.ts'

const MIB = 2 ** 20

export interface LayoutPolicy {
  /** How many subvolumes get a range (`directory-layout-spread`), `undefined` = all. */
  readonly spread: number | undefined
  /** Ranges in proportion to the bricks' sizes (`weighted-rebalance`). */
  readonly weighted: boolean
  /** Size of a subvolume in MiB chunks; 0 = unknown. */
  chunks(sub: Xlator): number
  decommissioned(sub: Xlator): boolean
}

/** Size in chunks of 1 MiB, rounded up, as every client computes it from statfs. */
export function chunksOf(blocks: number, bsize: number): number {
  if (blocks === 0) return 0
  const blocksPerChunk = Math.floor(MIB / bsize)
  return blocksPerChunk === 0 ? 0 : Math.ceil(blocks / blocksPerChunk)
}

function byName(layout: Layout): LayoutEntry[] {
  return [...layout.entries].sort((a, b) =>
    a.sub.name < b.sub.name ? -1 : a.sub.name > b.sub.name ? 1 : 0,
  )
}

/** Entries that may take files; full ones only when there is nothing else. In name order. */
function usableEntries(entries: readonly LayoutEntry[], policy: LayoutPolicy): LayoutEntry[] {
  const active = entries.filter((entry) => !policy.decommissioned(entry.sub))
  const usable = active.filter(({ err }) => err === 0 || err === ERR_NEEDS_RANGE || err === E.NOENT)
  return usable.length > 0 ? usable : active.filter(({ err }) => err === E.NOSPC)
}

/**
 * Gives every entry its range anew (dht_selfheal_layout_new_directory). `startHash` rotates the
 * order: entry number `startHash mod count` in name order begins at 0. Entries that cannot take
 * files end with 0-0. Usable entries are marked ERR_NEEDS_RANGE: they are to be written.
 */
export function computeLayout(
  layout: Layout,
  startHash: number,
  commitHash: number,
  policy: LayoutPolicy,
): void {
  const entries = byName(layout)
  const usable = usableEntries(entries, policy)
  for (const entry of entries) {
    entry.start = 0
    entry.stop = 0
    entry.commitHash = commitHash
    entry.type = 0
    if (entry.err === 0) entry.err = ERR_NEEDS_RANGE
  }
  layout.commitHash = commitHash
  if (usable.length === 0) return
  let left = usable.length
  if (policy.spread !== undefined && policy.spread <= usable.length) {
    left = Math.max(1, policy.spread)
  }
  const chunks = usable.slice(0, left).map((entry) => policy.chunks(entry.sub))
  const weighted = policy.weighted && chunks.every((count) => count > 0)
  const total = weighted ? chunks.reduce((sum, count) => sum + count, 0) : left
  const unit = RANGE_MAX / total
  const takes = new Set(usable)
  const first = startHash % entries.length
  let cursor = 0
  for (let i = 0; i < entries.length && left > 0; i++) {
    const entry = entries[(first + i) % entries.length]!
    if (!takes.has(entry)) continue
    // Stock keeps sizes in 32 bits; with `spread` set a heavy subvolume's size can wrap.
    const size = Math.trunc(unit * (weighted ? policy.chunks(entry.sub) : 1)) % (RANGE_MAX + 1)
    const stop = --left === 0 ? RANGE_MAX : cursor + size - 1
    if (cursor > RANGE_MAX || stop < cursor) continue
    entry.start = cursor
    entry.stop = Math.min(stop, RANGE_MAX)
    cursor += size
  }
}

function overlap(a: LayoutEntry, b: LayoutEntry): number {
  if (a.err > 0 || b.err > 0) return 0
  if (a.start === a.stop || b.start === b.stop) return 0
  const size = Math.min(a.stop, b.stop) - Math.max(a.start, b.start) + 1
  return Math.max(size, 0)
}

/**
 * Exchanges ranges of equal width between the new entries so that as much as possible of the hash
 * space stays where it was (dht_selfheal_layout_maximize_overlap).
 */
function maximizeOverlap(fresh: Layout, old: Layout, policy: LayoutPolicy): void {
  const entries = byName(fresh)
  const movable = entries.map(({ sub, err }) => err <= 0 && !policy.decommissioned(sub))
  const before = entries.map((entry) => old.of(entry.sub) ?? { ...entry, start: 0, stop: 0 })
  const table = entries.map((entry) => before.map((was) => overlap(entry, was)))
  for (let i = 0; i < entries.length; i++) {
    if (!movable[i]) continue
    let best = -1
    let bestGain = 0
    for (let j = i + 1; j < entries.length; j++) {
      if (!movable[j]) continue
      const gain = table[i]![j]! + table[j]![i]! - table[i]![i]! - table[j]![j]!
      if (gain > bestGain) {
        best = j
        bestGain = gain
      }
    }
    if (best < 0) continue
    swapRanges(entries[i]!, entries[best]!)
    const row = table[i]!
    table[i] = table[best]!
    table[best] = row
  }
}

function swapRanges(a: LayoutEntry, b: LayoutEntry): void {
  const { start, stop } = a
  a.start = b.start
  a.stop = b.stop
  b.start = start
  b.stop = stop
}

/**
 * The layout fix-layout wants for a directory that has `old`: computed anew, keeping the merged
 * commit hash, and moved as little as possible while all ranges are equal.
 */
export function fixedLayout(old: Layout, startHash: number, policy: LayoutPolicy): Layout {
  const fresh = old.clone()
  for (const entry of fresh.entries) if (entry.err === 0) entry.err = ERR_NEEDS_RANGE
  computeLayout(fresh, startHash, old.commitHash, policy)
  const chunks = fresh.entries.map((entry) => policy.chunks(entry.sub))
  const equal = !policy.weighted || chunks.every((count) => count === chunks[0])
  if (equal) maximizeOverlap(fresh, old, policy)
  return fresh.sort()
}

/** Widths differ by more than rounding: ranges were given by weight. */
export function isWeightedLayout(layout: Layout): boolean {
  let firstWidth = 0
  for (const { start, stop } of layout.entries) {
    const width = stop - start
    if (width === 0) continue
    if (firstWidth === 0) firstWidth = width
    else if (Math.abs(width - firstWidth) > layout.entries.length) return true
  }
  return false
}
