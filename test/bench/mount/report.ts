/** From costs to what is shown: a line per row with both clients and their ratio. */
import { type Cost, median } from './measure.ts'
import type { Row, Scale } from './rows.ts'

/** Of one row on one volume: the runs of both clients, round by round. */
export interface Runs {
  readonly stock: readonly Cost[]
  readonly ours: readonly Cost[]
}

export interface Summary {
  volume: string
  row: string
  unit: string
  /** Units per second, median over the rounds. */
  stock: number
  ours: number
  /** How many times as fast as stock, round by round. */
  ratio: { median: number; min: number; max: number }
  /** Seconds per run, median. */
  cpuSeconds: { stock: number; ours: number; ratio: number }
  /** Largest of all rounds. */
  peakRssMib: { stock: number; ours: number }
  /** Why the ratio is not to be trusted; empty when it is. */
  noise: string[]
}

/** Beyond this, largest to smallest ratio, a row says nothing. */
const RATIO_SPREAD_MAX = 1.5
/** Share of the machine others may take. */
const FOREIGN_SHARE_MAX = 0.1
/** CPU time is counted in hundredths of a second: less than this cannot be compared. */
const CPU_SECONDS_MIN = 0.05

export function summarise(volume: string, row: Row, scale: Scale, runs: Runs): Summary {
  const ratios = runs.stock.map((cost, i) => cost.ms / runs.ours[i]!.ms)
  const cpu = {
    stock: median(runs.stock.map((cost) => cost.cpuSeconds)),
    ours: median(runs.ours.map((cost) => cost.cpuSeconds)),
  }
  const perSecond = (costs: readonly Cost[]): number =>
    row.amount(scale) / (median(costs.map((cost) => cost.ms)) / 1000)
  const peak = (costs: readonly Cost[]): number => Math.max(...costs.map((c) => c.peakRssMib))
  const ratio = { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) }
  const foreign = median([...runs.stock, ...runs.ours].map((cost) => cost.foreignShare))
  const noise: string[] = []
  if (ratio.max > ratio.min * RATIO_SPREAD_MAX) noise.push('rounds differ')
  if (foreign > FOREIGN_SHARE_MAX) {
    noise.push(`others took ${Math.round(foreign * 100)} % of the machine`)
  }
  return {
    volume,
    row: row.name,
    unit: row.unit,
    stock: perSecond(runs.stock),
    ours: perSecond(runs.ours),
    ratio,
    cpuSeconds: {
      ...cpu,
      ratio: Math.max(cpu.ours, 0.01) / Math.max(cpu.stock, 0.01),
    },
    peakRssMib: { stock: peak(runs.stock), ours: peak(runs.ours) },
    noise,
  }
}

const HEADER = [
  ...['', 'stock', 'ours', '', 'ratio', 'min', 'max', 'CPU s', 'ours', 'times'],
  ...['peak MiB', 'ours'],
]
const WIDTHS = [26, 8, 8, -7, 6, 5, 5, 7, 5, 6, 9, 5]

function line(cells: readonly string[]): string {
  return cells
    .map((cell, i) => {
      const width = WIDTHS[i]!
      if (i === 0 || width < 0) return cell.padEnd(Math.abs(width))
      return cell.padStart(width)
    })
    .join(' ')
    .trimEnd()
}

const figure = (value: number): string =>
  value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0)

export function headLine(volume: string): string {
  return `\n# ${volume}\n${line(HEADER)}`
}

export function rowLine(summary: Summary): string {
  const { ratio, cpuSeconds: cpu, peakRssMib: peak } = summary
  const tooShort = Math.max(cpu.stock, cpu.ours) < CPU_SECONDS_MIN
  const text = line([
    summary.row,
    figure(summary.stock),
    figure(summary.ours),
    `${summary.unit}/s`,
    ...[ratio.median, ratio.min, ratio.max].map((value) => value.toFixed(2)),
    ...[cpu.stock, cpu.ours].map((value) => value.toFixed(2)),
    tooShort ? '-' : cpu.ratio.toFixed(2),
    ...[peak.stock, peak.ours].map((value) => value.toFixed(0)),
  ])
  return summary.noise.length === 0 ? text : `${text}  ! ${summary.noise.join(', ')}`
}

export function closing(summaries: readonly Summary[]): string {
  const noisy = summaries.filter((summary) => summary.noise.length > 0).length
  const slower = summaries.filter((summary) => summary.ratio.median < 1).length
  const dearer = summaries.filter((summary) => summary.cpuSeconds.ratio > 2).length
  const peak = Math.max(...summaries.map((summary) => summary.peakRssMib.ours))
  const lines = [
    `\n${summaries.length} rows: ${slower} slower than stock, ${dearer} with more than twice its CPU ` +
      `time; our peak memory ${peak.toFixed(0)} MiB`,
  ]
  if (noisy > 0) {
    lines.push(
      `WARNING: the machine was too busy for ${noisy} rows (marked !): their speeds mean little, ` +
        'their CPU times a little more. Run again when it is quiet.',
    )
  }
  return lines.join('\n')
}
