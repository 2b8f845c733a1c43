/** The forms of a statistics dump, as stock writes them (io_stats_dump_global_to_logfp, …_json). */
import { type FopName, fopNumbers } from '../../../src/core/fop.ts'
import type { CountedName, Counters, FopCount } from './counters.ts'

export interface OpenFds {
  open: number
  max: number
  /** When the maximum was reached, wall clock seconds and nanoseconds. */
  maxAt: { sec: number; nsec: number }
}

/** In order of the fop numbers; the two without one come last. */
const orderedFops: readonly CountedName[] = [
  ...(Object.keys(fopNumbers) as FopName[]).sort((a, b) => fopNumbers[a] - fopNumbers[b]),
  'release',
  'releasedir',
]

const wireName: Partial<Record<CountedName, string>> = { readv: 'read', writev: 'write' }
const nameOf = (fop: CountedName): string => wireName[fop] ?? fop

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
    const at = timeText(fds.maxAt)
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
  let calls = 0
  let weighted = 0
  for (const fop of orderedFops) {
    const entry = set.fops.get(fop) ?? { count: 0, total: 0, min: 0, max: 0 }
    const key = `fop.${nameOf(fop)}`
    const average = entry.count === 0 ? 0 : entry.total / entry.count
    if (kind === 'aggr') pairs.push([`${key}.count`, String(entry.count)])
    else pairs.push([`${key}.per_sec`, perSecond(entry.count)])
    pairs.push([`${key}.latency_ave_usec`, average.toFixed(2)])
    pairs.push([`${key}.latency_min_usec`, entry.min.toFixed(2)])
    pairs.push([`${key}.latency_max_usec`, entry.max.toFixed(2)])
    calls += entry.count
    weighted += entry.total
  }
  pairs.push(['fop.weighted_latency_ave_usec', (calls === 0 ? 0 : weighted / calls).toFixed(4)])
  pairs.push(['fop.weighted_fop_count', String(calls)])
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
  const micros = String(Math.floor(nsec / 1000)).padStart(6, '0')
  const days = Math.floor(sec / 86400)
  const time = [Math.floor(sec / 3600) % 24, Math.floor(sec / 60) % 60, sec % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':')
  return `${dateText(days)} ${time}.${micros} +0000`
}

/**
 * Days since 1970-01-01 as `YYYY-MM-DD` (proleptic Gregorian, Howard Hinnant's civil_from_days).
 */
function dateText(days: number): string {
  const shifted = days + 719468
  const era = Math.floor(shifted / 146097)
  const dayOfEra = shifted - era * 146097
  const leap = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36524)
  const yearOfEra = Math.floor((dayOfEra - leap - Math.floor(dayOfEra / 146096)) / 365)
  const past = 365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100)
  const dayOfYear = dayOfEra - past
  const part = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * part + 2) / 5) + 1
  const month = part < 10 ? part + 3 : part - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`
}
