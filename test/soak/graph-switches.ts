/**
 * `npm run soak -- graph-switches [SWITCHES] [SETTLED]`: the graph of a mount under verified load is
 * replaced so often (300); locks and open files move along, old graphs leave nothing behind: memory
 * at the end is within 10% of that after the first SETTLED (10).
 */
import { writeFileSync } from 'node:fs'
import { connections, graphToggles, LiveVolume } from '../lib/live-changes.ts'
import { enterSandbox, type Mount, run, sleep, Volume } from '../lib/sandbox.ts'

const processes = 3
const growthMax = 1.1
const warmUpMs = 60_000

/** An idle client gives back what it does not need within this time. */
const restMs = 20_000

/** Resident memory at rest, MiB: what stays when nothing is asked for. */
async function memoryAtRest(mount: Mount): Promise<number> {
  await run(['sync'])
  writeFileSync('/proc/sys/vm/drop_caches', '3')
  await sleep(restMs)
  return mount.rssMib()
}

async function soak(switches: number, settled: number): Promise<boolean> {
  const volume = await Volume.create('switches', { bricks: 2 })
  const live = await LiveVolume.start(volume)
  const { mount } = live
  const connectionsBefore = await connections(mount)
  const off = new Set<string>()
  const samples: number[] = []
  const rests: number[] = []
  live.work(processes, 10)
  // The load alone makes the heap grow to its size: what comes after is the switches'.
  await sleep(warmUpMs)
  for (let done = 1; done <= switches; done++) {
    const key = graphToggles[done % graphToggles.length]!
    const value = off.delete(key) ? 'on' : 'off'
    if (value === 'off') off.add(key)
    await live.switchGraph(() => volume.set(key, value))
    samples.push(mount.rssMib())
    if (done !== settled && done !== switches) continue
    await live.rest()
    await live.settled()
    rests.push(await memoryAtRest(mount))
    if (done < switches) live.work(processes, 10)
  }
  const connectionsAfter = await connections(mount)
  const graphs = await live.held('Distribute')
  await live.end()
  const [first, last] = [rests[0]!, rests.at(-1)!]
  const quarter = (i: number): number => {
    const part = samples.slice((samples.length * i) / 4, (samples.length * (i + 1)) / 4)
    return Math.round(part.reduce((sum, mib) => sum + mib, 0) / Math.max(1, part.length))
  }
  console.log(
    [
      `graph-switches: ${switches} switches, ${live.operations} verified operations, 0 problems`,
      `RSS at rest: ${first.toFixed(1)} MiB after ${settled}, ${last.toFixed(1)} MiB after ${switches}`,
      `RSS under load: mean per quarter ${[0, 1, 2, 3].map(quarter).join(' ')} MiB`,
      `connections: ${connectionsBefore} before, ${connectionsAfter} after; graphs in memory: ${graphs}`,
    ].join('\n'),
  )
  await mount.unmount()
  const freed = graphs === 1 && connectionsAfter === connectionsBefore
  return last <= first * growthMax && freed
}

const [switches, settled] = [Number(process.argv[2] ?? 300), Number(process.argv[3] ?? 10)]
const missing = await enterSandbox(import.meta.url, (switches * 20 + 300) * 1000)
if (missing !== false) {
  console.error(`graph-switches: ${missing}`)
  process.exit(1)
}
const held = await soak(switches, settled)
console.log(held ? 'graph-switches: all held' : 'graph-switches: FAILED')
process.exit(held ? 0 : 1)
