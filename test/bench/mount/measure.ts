/** What a run cost: CPU time and peak memory of one process, and how busy the rest kept the machine. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { clock } from '../../../src/core/clock.ts'
import { sleep } from '../../lib/sandbox.ts'

/** USER_HZ: what /proc counts CPU time in. */
const TICKS_PER_SECOND = 100
/** After a run: work the client does behind its answers (flushes, releases) counts as well. */
const SETTLE_MS = 60

export interface Cost {
  /** What the workload says it took. */
  ms: number
  /** User and system time of the client. */
  cpuSeconds: number
  peakRssMib: number
  /** Share of the machine (0..1) that processes outside of this sandbox took meanwhile. */
  foreignShare: number
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // The process has ended.
    return ''
  }
}

/** User and system time of a process with all its threads, in ticks. */
function processTicks(pid: number | string): number {
  const stat = read(`/proc/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
}

/** CPU time of everything in this pid namespace, ended children of living parents included. */
function sandboxTicks(): number {
  let sum = 0
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = read(`/proc/${name}/stat`)
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    for (const i of [11, 12, 13, 14]) sum += Number(fields[i] ?? 0)
  }
  return sum
}

/** Ticks all CPUs spent on something, the kernel's work for interrupts left out. */
function machineTicks(): number {
  const [user, nice, system] = read('/proc/stat').split(/\s+/).slice(1, 4).map(Number)
  return user! + nice! + system!
}

function peakRssMib(pid: number): number {
  return Number(/VmHWM:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024
}

/** Runs `work`, which says how long it took, and counts what it cost process `pid`. */
export async function measured(pid: number, work: () => Promise<number>): Promise<Cost> {
  // 5: the high-water mark starts again from what is resident now.
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const before = { client: processTicks(pid), sandbox: sandboxTicks(), machine: machineTicks() }
  const begin = clock.now()
  const ms = await work()
  await sleep(SETTLE_MS)
  const wallTicks = ((clock.now() - begin) / 1000) * TICKS_PER_SECOND * availableParallelism()
  const foreign = machineTicks() - before.machine - (sandboxTicks() - before.sandbox)
  return {
    ms,
    cpuSeconds: (processTicks(pid) - before.client) / TICKS_PER_SECOND,
    peakRssMib: peakRssMib(pid),
    foreignShare: Math.min(1, Math.max(0, foreign / wallTicks)),
  }
}

/** The middle of an odd number of values, the mean of the middle two of an even one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}
