/** Calls and latencies of each translator. */
import { type FopName, fopNames, fopNumbers } from '../core/fop.ts'
import type { FopStats, Xlator } from '../core/xlator.ts'
import type { DumpSink } from './dump.ts'

const byNumber = fopNames.toSorted((a, b) => fopNumbers[a] - fopNumbers[b])

/** A fop as stock's dumps spell it. */
export function fopLabel(fop: FopName): string {
  if (fop === 'readv') return 'READ'
  return fop === 'writev' ? 'WRITE' : fop.toUpperCase()
}

/** Counters of every fop that ever came, in the order of the fop numbers. */
export function* fopStats(xl: Xlator): Generator<[FopName, FopStats]> {
  for (const fop of byNumber) {
    const stats = xl.stats.get(fop)
    if (stats !== undefined) yield [fop, stats]
  }
}

/** Nanoseconds, whole. */
export const nanoseconds = (ms: number): number => Math.round(ms * 1e6)

/**
 * Section `NAME.latency`: calls since it was shown last, and how long they took, in nanoseconds.
 * Where not all were timed, those that were speak for all; 0 = none was. Showing starts it anew, as
 * in stock.
 */
export function dumpLatency(xl: Xlator, sink: DumpSink): void {
  sink.section(`${xl.name}.latency`)
  for (const [fop, stats] of fopStats(xl)) {
    const count = stats.count - stats.countShown
    if (count > 0) {
      const average = stats.total / Math.max(1, stats.timed)
      const [total, min, max] = [average * count, stats.min, stats.max].map(nanoseconds)
      sink.pair(
        `${xl.name}.latency.${fopLabel(fop)}`,
        `AVG:${(average * 1e6).toFixed(6)} CNT:${count} TOTAL:${total} MIN:${min} MAX:${max}`,
      )
    }
    restart(stats)
  }
}

/** Begins a new span of counting; totals go on. */
export function restart(stats: FopStats): void {
  stats.countShown = stats.count
  stats.errorsShown = stats.errors
  stats.timed = 0
  stats.total = 0
  stats.min = 0
  stats.max = 0
}
