/**
 * `npm run soak -- mixed [MINUTES]`: 8 processes of mixed, verified load on our mount of a two-brick volume
 * for 30 minutes. Memory must stay bounded, and at the end nothing may be left over in the
 * client's tables. Prints one summary; exit status 0 when all held.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { clock } from '../../src/core/clock.ts'
import { type LoadResult, startLoad } from '../lib/load.ts'
import { enterSandbox, type Mount, ours, run, sleep, Volume } from '../lib/sandbox.ts'

const processes = 8
const rssMaxMib = 250
/** A load process works for at most this long, then a new one takes its place. */
const turnMaxSeconds = 60

/** What a state dump says of the client's tables. */
interface Tables {
  inodes: number
  openFiles: number
  calls: number
}

async function tables(mount: Mount): Promise<Tables> {
  const before = new Set(readdirSync('/run/gluster'))
  process.kill(mount.pid, 'SIGUSR1')
  for (let i = 0; i < 100; i++) {
    await sleep(100)
    const prefix = `glusterdump.${mount.pid}.dump.`
    const file = readdirSync('/run/gluster').find(
      (name) => name.startsWith(prefix) && !before.has(name),
    )
    if (file === undefined) continue
    const text = readFileSync(`/run/gluster/${file}`, 'latin1')
    if (!text.includes('DUMP-END-TIME')) continue
    const value = (key: string): number =>
      Number(new RegExp(`^${key}=(\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN)
    // ours counts them in the bridge's own section; stock has lists, the root in the first
    const lists = ['active_size', 'lru_size', 'purge_size']
      .map((key) => value(`xlator\\.mount\\.fuse\\.itable\\.${key}`))
      .reduce((sum, size) => sum + size)
    return {
      inodes: ours === 'stock' ? lists : value('inodes'),
      openFiles: ours === 'stock' ? 0 : value('open_files'),
      calls: value('callpool\\.cnt'),
    }
  }
  throw new Error('no state dump within 10 s of SIGUSR1')
}

/** Lets the kernel forget what it caches, then looks until the tables are small again. */
async function settled(mount: Mount): Promise<Tables> {
  let found: Tables | undefined
  for (let i = 0; i < 5; i++) {
    await run(['sync'])
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    await sleep(1500)
    found = await tables(mount)
    if (found.inodes <= 2 && found.openFiles === 0 && found.calls === 0) break
  }
  return found!
}

async function loads(mount: Mount, seconds: number): Promise<LoadResult[]> {
  const results: LoadResult[] = []
  const end = clock.now() + seconds * 1000
  const worker = async (index: number): Promise<void> => {
    for (let turn = 0; clock.now() < end; turn++) {
      const left = Math.max(1, Math.ceil((end - clock.now()) / 1000))
      const dir = `${mount.dir}/load-${index}-${turn}`
      results.push(await startLoad(dir, index * 1000 + turn, Math.min(left, turnMaxSeconds)))
    }
  }
  await Promise.all(Array.from({ length: processes }, (_, i) => worker(i)))
  return results
}

/** Descriptors the process has open. */
function descriptors(mount: Mount): number {
  return readdirSync(`/proc/${mount.pid}/fd`).length
}

async function soak(minutes: number): Promise<boolean> {
  const volume = await Volume.create('soak', { bricks: 2 })
  const mount = await volume.mount(ours)
  await run(['ls', mount.dir])
  const [fdsBefore, baseline] = [descriptors(mount), await settled(mount)]
  const samples: number[] = []
  let running = true
  const sampler = (async () => {
    while (running) {
      samples.push(mount.rssMib())
      await sleep(1000)
    }
  })()
  const results = await loads(mount, minutes * 60)
  running = false
  await sampler
  const after = await settled(mount)
  const fdsAfter = descriptors(mount)
  const rssMax = Math.max(...samples)
  const problems = results.flatMap((result) => result.problems)
  const operations = results.reduce((sum, result) => sum + result.operations, 0)
  const slowest = results.map((r) => r.slowest).sort((a, b) => b.ms - a.ms)[0]!
  const quarter = (i: number): number => {
    const part = samples.slice((samples.length * i) / 4, (samples.length * (i + 1)) / 4)
    return Math.round(part.reduce((sum, mib) => sum + mib, 0) / Math.max(1, part.length))
  }
  const shown = (t: Tables): string =>
    `inodes ${t.inodes}, open files ${t.openFiles}, calls ${t.calls}`
  const lines = [
    `soak: ${minutes} min, ${processes} processes, ${operations} operations, ${problems.length} problems`,
    `slowest: ${slowest.operation} ${slowest.ms} ms`,
    `RSS: max ${Math.round(rssMax)} MiB, mean per quarter ${[0, 1, 2, 3].map(quarter).join(' ')} MiB`,
    `tables before: ${shown(baseline)}, descriptors ${fdsBefore}`,
    `tables after:  ${shown(after)}, descriptors ${fdsAfter}`,
    ...problems.slice(0, 20),
  ]
  console.log(lines.join('\n'))
  await mount.unmount()
  const empty = after.inodes <= baseline.inodes + 1 && after.openFiles === 0 && after.calls === 0
  return problems.length === 0 && rssMax < rssMaxMib && empty && fdsAfter <= fdsBefore + 2
}

const minutes = Number(process.argv[2] ?? 30)
const missing = await enterSandbox(import.meta.url, (minutes + 10) * 60_000)
if (missing !== false) {
  console.error(`soak: ${missing}`)
  process.exit(1)
}
const held = await soak(minutes)
console.log(held ? 'soak: all held' : 'soak: FAILED')
process.exit(held ? 0 : 1)
