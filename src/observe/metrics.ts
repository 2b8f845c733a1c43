/** SIGUSR2: counters as `key value` lines, for collectors (gf_monitor_metrics). */
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { clock } from '../core/clock.ts'
import type { FopName } from '../core/fop.ts'
import type { CallPool } from '../core/frame.ts'
import type { GraphContext, Xlator } from '../core/xlator.ts'
import type { DumpSink } from './dump.ts'
import { fopLabel, fopStats, nanoseconds } from './latency.ts'
import { stampText } from './log-format.ts'
import { dumpPrivate } from './statedump.ts'

export const METRICS_DIRECTORY = '/var/run/gluster/metrics'

export interface MetricsInput {
  readonly commandLine: string
  readonly mountPoint: string
  readonly pool: CallPool
  readonly graph: GraphContext | undefined
  readonly bridge: Xlator | undefined
}

/** Private counters that stock's metrics spell otherwise than its dumps. */
const renamed: Readonly<Record<string, string>> = {
  stat_hit_count: 'stat_cache_hit_count',
  stat_miss_count: 'stat_cache_miss_count',
  xattr_hit_count: 'xattr_cache_hit_count',
  xattr_miss_count: 'xattr_cache_miss_count',
  stat_invalidations_received: 'stat_cache_invalidations_received',
  xattr_invalidations_received: 'xattr_cache_invalidations_received',
}

/** What the last metrics file showed. */
type Shown = Map<FopName, { count: number; errors: number }>
const shownBefore = new WeakMap<Xlator, Shown>()

/** Writes `gmetrics.XXXXXX` (mode 0600). Returns its path; rejects with the system error. */
export async function writeMetrics(
  input: MetricsInput,
  directory = METRICS_DIRECTORY,
): Promise<string> {
  await mkdir(directory, { recursive: true })
  // A name nobody has, before there is anything to read in the directory itself.
  const scratch = await mkdtemp(`${directory}/.gmetrics.`)
  const name = `gmetrics.${scratch.slice(-6)}`
  try {
    await writeFile(`${scratch}/${name}`, metricsText(input), { mode: 0o600, encoding: 'latin1' })
    await rename(`${scratch}/${name}`, `${directory}/${name}`)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  return `${directory}/${name}`
}

export function metricsText(input: MetricsInput): string {
  const { pool, graph, bridge } = input
  const { sec } = clock.realtime()
  const lines = [
    `## ${input.commandLine.replaceAll('\n', ' ')}`,
    `### ${stampText(sec, 0, false).slice(0, 19)}`,
    '### BrickName: (null)',
    `### MountName: ${input.mountPoint.replaceAll('\n', ' ')}`,
    '### VolumeName: (null)',
    `total.stack.count ${pool.total}`,
    `total.stack.in-flight ${pool.count}`,
    'total.dict.max-pairs-per 0',
    'total.dict.pairs-used 0',
    'total.dict.used 0',
    'total.dict.average-pairs 0',
    '# -----',
    '# -----',
  ]
  for (const xl of graph?.xlators.toReversed() ?? []) lines.push(...metricsOf(xl))
  if (bridge !== undefined) lines.push(...metricsOf(bridge))
  return `${lines.join('\n')}\n\n# End of metrics\n`
}

function metricsOf(xl: Xlator): string[] {
  const before: Shown = shownBefore.get(xl) ?? new Map()
  const now: Shown = new Map()
  const lines: string[] = []
  const sum = { total: 0, interval: 0 }
  for (const [fop, stats] of fopStats(xl)) {
    const label = fopLabel(fop)
    const { count, errors } = stats
    now.set(fop, { count, errors })
    const last = before.get(fop)
    const added = count - (last?.count ?? 0)
    const failed = errors - (last?.errors ?? 0)
    sum.total += count
    sum.interval += added
    lines.push(`${xl.name}.total.${label}.count ${count}`)
    if (added > 0) lines.push(`${xl.name}.interval.${label}.count ${added}`)
    if (failed > 0) lines.push(`${xl.name}.interval.${label}.fail_count ${failed}`)
    if (stats.timed === 0) continue
    const at = `${xl.name}.interval.${label}`
    lines.push(`${at}.latency ${((stats.total * 1e6) / stats.timed).toFixed(6)}`)
    lines.push(`${at}.max ${nanoseconds(stats.max)}`)
    lines.push(`${at}.min ${nanoseconds(stats.min)}`)
  }
  shownBefore.set(xl, now)
  lines.push(`${xl.name}.total.fop-count ${sum.total}`)
  lines.push(`${xl.name}.interval.fop-count ${sum.interval}`)
  lines.push(...privateCounters(xl))
  return lines
}

/** Numbers of the translator's private sections. */
function privateCounters(xl: Xlator): string[] {
  const lines: string[] = []
  const sink: DumpSink = {
    section: () => undefined,
    pair: (key, value) => {
      if (!/^-?\d+(\.\d+)?$/.test(String(Number(value))) || value === '') return
      if (/[\s=]/.test(key)) return
      lines.push(`${xl.name}.${renamed[key] ?? key} ${Number(value)}`)
    },
  }
  dumpPrivate(xl, sink)
  return lines
}
