/** The forms of a statistics dump, as stock writes them (io_stats_dump_global_to_logfp, …_json). */
import { fopNumbers } from '../../../src/core/fop.ts'
import { stampText } from '../../../src/observe/log-format.ts'
import type { CountedName, Counters, FopCount } from './counters.ts'

export interface OpenFds {
  open: number
  max: number
  /** When the maximum was reached, wall clock seconds and nanoseconds. */
  maxAt: { sec: number; nsec: number }
}

/** What is counted without being a fop has numbers among them all the same. */
const numbers: Readonly<Record<CountedName, number>> = {
  ...fopNumbers,
  forget: 41,
  release: 42,
  releasedir: 43,
}
const orderedFops = (Object.keys(numbers) as CountedName[]).sort((a, b) => numbers[a] - numbers[b])

/** Every name a JSON dump has, in order; those that are never counted here stay 0. */
const jsonFops: readonly (CountedName | 'null' | 'getspec' | 'compound')[] = [
  'null',
  ...orderedFops.filter((fop) => numbers[fop] <= 43),
  'getspec',
  ...orderedFops.filter((fop) => numbers[fop] > 43 && numbers[fop] <= 51),
  'compound',
  ...orderedFops.filter((fop) => numbers[fop] > 51),
]
const UPCALLS = [
  'null',
  'upcall',
  'ci_iatt',
  'ci_xattr',
  'ci_rename',
  'ci_unlink',
  'ci_forget',
  'lease_recall',
]
const QUEUES = ['LEAST', 'LOW', 'NORMAL', 'HIGH']

const wireName: Readonly<Record<string, string>> = { readv: 'read', writev: 'write' }
const nameOf = (fop: string): string => wireName[fop] ?? fop

const RULE = '------ ----- ----- ----- ----- ----- ----- -----  ----- ----- ----- -----'
const COLUMNS = 3

/** One set as text. `fds` is given for the cumulative set only. */
export function formatText(title: string, set: Counters, now: number, fds?: OpenFds): string {
  const lines = ['', `=== ${title} stats ===`]
  lines.push(`      Duration : ${seconds(set, now)} secs`)
  lines.push(`     BytesRead : ${set.bytesRead}`)
  lines.push(`  BytesWritten : ${set.bytesWritten}`, '')
  lines.push(...blockTable(set))
  lines.push('Fop           Call Count    Avg-Latency    Min-Latency    Max-Latency')
  lines.push('---           ----------    -----------    -----------    -----------')
  for (const fop of orderedFops) {
    const entry = set.fops.get(fop)
    if (entry !== undefined) lines.push(fopRow(fop, entry))
  }
  lines.push(RULE, '')
  if (fds !== undefined) {
    const at = fds.max === 0 ? 'N/A' : timeText(fds.maxAt)
    lines.push(`Current open fd's: ${fds.open} Max open fd's: ${fds.max} time ${at}`)
  }
  return `${lines.join('\n')}\n`
}

function blockTable(set: Counters): string[] {
  const used = set.reads.map((_, i) => i).filter((i) => set.reads[i]! + set.writes[i]! > 0)
  const lines: string[] = []
  for (let at = 0; at < used.length; at += COLUMNS) {
    const row = used.slice(at, at + COLUMNS)
    const cells = (head: string, cell: (i: number) => string): string =>
      head + row.map((i) => cell(i).padStart(18)).join('')
    lines.push(cells('Block Size   :', (i) => `${2 ** i}B+`))
    lines.push(cells('Read Count   :', (i) => String(set.reads[i])))
    lines.push(
      cells('Write Count  :', (i) => String(set.writes[i])),
      '',
    )
  }
  return lines
}

function fopRow(fop: CountedName, entry: FopCount): string {
  const name = nameOf(fop).toUpperCase().padEnd(13)
  const count = String(entry.count).padStart(11)
  if (entry.total === 0) return `${name}${count}${'0 us'.padStart(15).repeat(3)}`
  const micros = (value: number): string => `${value.toFixed(2)} us`.padStart(15)
  const average = micros(entry.total / entry.count)
  return `${name}${count}${average}${micros(entry.min)}${micros(entry.max)}`
}

/** One set as a JSON object; `kind` is `aggr` (since the start) or `inter` (since the last). */
export function formatJson(
  volume: string,
  kind: 'aggr' | 'inter',
  set: Counters,
  now: number,
  fds: OpenFds,
): string {
  const prefix = `gluster.${volume}.${kind}`
  const span = Math.max(1, seconds(set, now))
  const pairs: [string, string][] = []
  const perSecond = (count: number): string => (count / span).toFixed(2)
  for (let i = 0; i < set.reads.length; i++) {
    const size = sizeText(i)
    if (kind === 'aggr') {
      pairs.push([`read_${size}`, String(set.reads[i])], [`write_${size}`, String(set.writes[i])])
    } else {
      pairs.push([`read_${size}_per_sec`, perSecond(set.reads[i]!)])
      pairs.push([`write_${size}_per_sec`, perSecond(set.writes[i]!)])
    }
  }
  if (kind === 'aggr') {
    pairs.push(['fds.open_count', String(fds.open)], ['fds.max_open_count', String(fds.max)])
  }
  pairs.push(...latencyPairs(kind, set, perSecond))
  for (const name of UPCALLS) {
    pairs.push(kind === 'aggr' ? [`fop.${name}.count`, '0'] : [`fop.${name}.per_sec`, '0.00'])
  }
  for (const name of QUEUES) pairs.push([`${name}.queue_size`, '0'])
  if (kind === 'aggr') {
    pairs.push(['uptime', String(seconds(set, now))])
    pairs.push(['bytes_read', String(set.bytesRead)], ['bytes_written', String(set.bytesWritten)])
  } else {
    pairs.push(['sample_interval_sec', seconds(set, now).toFixed(2)])
    pairs.push(['bytes_read_per_sec', perSecond(set.bytesRead)])
    pairs.push(['bytes_written_per_sec', perSecond(set.bytesWritten)])
  }
  return `{\n${pairs.map(([key, value]) => `"${prefix}.${key}": ${value}`).join(',\n')}\n}\n`
}

function latencyPairs(
  kind: 'aggr' | 'inter',
  set: Counters,
  perSecond: (count: number) => string,
): [string, string][] {
  const pairs: [string, string][] = []
  let calls = 0
  let weighted = 0
  let zerofills = 0
  const averages: number[] = []
  for (const fop of jsonFops) {
    const entry = set.fops.get(fop as CountedName) ?? { count: 0, total: 0, min: 0, max: 0 }
    const key = `fop.${nameOf(fop)}`
    const average = entry.count === 0 ? 0 : entry.total / entry.count
    if (kind === 'aggr') pairs.push([`${key}.count`, String(entry.count)])
    else pairs.push([`${key}.per_sec`, perSecond(entry.count)])
    pairs.push([`${key}.latency_ave_usec`, average.toFixed(2)])
    pairs.push([`${key}.latency_min_usec`, entry.min.toFixed(2)])
    pairs.push([`${key}.latency_max_usec`, entry.max.toFixed(2)])
    calls += entry.count
    weighted += entry.total
    if (fop === 'zerofill') zerofills = entry.total
    if (entry.count > 0) averages.push(average)
  }
  const mean = (total: number, count: number): string =>
    (count === 0 ? 0 : total / count).toFixed(4)
  const sum = averages.reduce((all, one) => all + one, 0)
  pairs.push(['fop.weighted_latency_ave_usec_nozerofill', mean(weighted - zerofills, calls)])
  pairs.push(['fop.weighted_latency_ave_usec', mean(weighted, calls)])
  pairs.push(['fop.weighted_fop_count', String(calls)])
  pairs.push(['fop.unweighted_latency_ave_usec', mean(sum, averages.length)])
  return pairs
}

function sizeText(exponent: number): string {
  if (exponent < 10) return `${2 ** exponent}b`
  if (exponent < 20) return `${2 ** (exponent - 10)}kb`
  return `${2 ** (exponent - 20)}mb`
}

function seconds(set: Counters, now: number): number {
  return Math.floor((now - set.begin) / 1000)
}

/** `2026-11-22 16:08:44.412175 +0000`. */
export function timeText({ sec, nsec }: { sec: number; nsec: number }): string {
  return stampText(sec, Math.floor(nsec / 1000), false)
}
