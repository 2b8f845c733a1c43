/** Cost of the bridge alone: a mount whose brick answers everything at once. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'
import { FuseMount } from '../lib/fuse-mount.ts'
import * as sys from '../lib/syscalls.ts'

const { O } = sys
const MIB = 1 << 20
const CALLS = 20_000
const MEGABYTES = 512

/** User and system time of a process so far, ms (a clock tick is 10 ms). */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

function line(what: string, count: number, unit: string, pid: number, work: () => void): void {
  const cpu = cpuOf(pid)
  const begin = clock.now()
  work()
  const ms = clock.now() - begin
  const used = cpuOf(pid) - cpu
  const per = unit === 'call' ? `${((ms * 1000) / count).toFixed(1)} us` : ''
  const rate = unit === 'MiB' ? `${((count * 1000) / ms).toFixed(0)} MiB/s` : ''
  console.log(
    `fuse ${what.padEnd(24)} ${per}${rate}, server ${((used * 1000) / count).toFixed(1)} us/${unit}`,
  )
}

async function idle(mount: FuseMount): Promise<void> {
  const cpu = cpuOf(mount.pid)
  await new Promise<void>((resolve) => void clock.after(3000, resolve))
  console.log(`fuse idle                     ${cpuOf(mount.pid) - cpu} ms CPU in 3 s`)
}

async function run(): Promise<void> {
  const words = ['--sink', '--attribute-timeout=0', '--entry-timeout=0']
  const mount = await FuseMount.start(words)
  const { pid } = mount
  const path = mount.path('sink')
  sys.stat(path)
  for (let i = 0; i < CALLS; i++) sys.statfs(path)
  line('statfs', CALLS, 'call', pid, () => {
    for (let i = 0; i < CALLS; i++) sys.statfs(path)
  })
  line('stat (LOOKUP)', CALLS, 'call', pid, () => {
    for (let i = 0; i < CALLS; i++) sys.stat(path)
  })
  const data = Buffer.alloc(MIB, 'd')
  for (const [name, flags] of [
    ['buffered', 0],
    ['direct', O.O_DIRECT],
  ] as const) {
    const fd = sys.open(path, O.O_RDWR | flags)
    const page = new sys.Page(MIB)
    const buffer = flags === 0 ? data : page.view()
    line(`1 MiB writes, ${name}`, MEGABYTES, 'MiB', pid, () => {
      for (let i = 0; i < MEGABYTES; i++) sys.must(sys.pwrite(fd, buffer, i * MIB), 'write')
    })
    line(`1 MiB reads, ${name}`, MEGABYTES, 'MiB', pid, () => {
      for (let i = 0; i < MEGABYTES; i++) sys.must(sys.preadInto(fd, buffer, i * MIB), 'read')
    })
    sys.close(fd)
  }
  await idle(mount)
  await mount.stop()
}

/** Runs in a mount namespace of its own. */
export async function benchFuse(): Promise<void> {
  if (process.geteuid?.() !== 0) {
    console.log('fuse: needs root')
    return
  }
  const child = spawn('unshare', ['-m', process.execPath, fileURLToPath(import.meta.url)], {
    stdio: 'inherit',
    env: { ...process.env, BENCH_FUSE: 'inside' },
  })
  await new Promise((resolve) => child.on('exit', resolve))
}

if (process.env.BENCH_FUSE === 'inside') await run()
