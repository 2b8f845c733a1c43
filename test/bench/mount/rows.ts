/** The workloads. Each works in a directory of its own or on files that were there before. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { clock } from '../../../src/core/clock.ts'
import { projectRoot, run, sh, sleep, space } from '../../lib/sandbox.ts'
import type { Action } from './worker.ts'

/** How much a run does. Made so that the stock client takes about a second on a small machine. */
export interface Scale {
  /** MiB of the large file. */
  largeMib: number
  /** 4 KiB requests of a job. */
  randomCount: number
  /** Small files. */
  files: number
  /** Passes of a loop over what was seen before. */
  passes: number
  /** Operations of each kind before anything is measured. */
  warmUp: number
}

export const FULL: Scale = {
  ...{ largeMib: 256, randomCount: 2048, files: 600, passes: 2 },
  warmUp: 2500,
}
export const QUICK: Scale = {
  ...{ largeMib: 64, randomCount: 512, files: 200, passes: 1 },
  warmUp: 1000,
}

/** Where a run works. */
export interface Place {
  /** The client's mount. */
  readonly mount: string
  /** Below it: made before by somebody else, nothing of it known to this mount. */
  readonly prepared: string
  /** Below it: of this client and round, empty at first. */
  readonly own: string
  readonly scale: Scale
}

export interface Row {
  readonly name: string
  /** What `amount` counts, to be shown per second. */
  readonly unit: string
  readonly amount: (scale: Scale) => number
  /** Milliseconds it took. */
  readonly run: (place: Place) => Promise<number>
  /** Only on a volume with cache invalidation; all others not there. */
  readonly cached?: boolean
}

const worker = join(projectRoot, 'dist/test/bench/mount/worker.js')
/** The source tree for untar and git, made once per sandbox. */
const SOURCE_TAR = 'source.tar'
const SOURCE_GIT = 'source.git'
/** Longer than what every cache holds by default: the kernel and md-cache both trust for 1 s. */
const EXPIRE_MS = 1300

async function work(action: Action, dir: string, count: number): Promise<number> {
  const words = [process.execPath, worker, action, dir, String(count)]
  return Number((await run(words)).stdout)
}

async function timed(command: string[], cwd?: string): Promise<number> {
  const begin = clock.now()
  await run(command, cwd === undefined ? {} : { cwd })
  return clock.now() - begin
}

interface FioReport {
  jobs: { job_runtime: number }[]
}

/** Random 4 KiB requests of `jobs` processes on a file each; written data ends with an fsync. */
async function fio(place: Place, mode: 'read' | 'write', jobs: number): Promise<number> {
  const { randomCount } = place.scale
  const dir = mode === 'read' ? `${place.prepared}/random` : `${place.own}/random-${jobs}`
  if (mode === 'write') await run(['mkdir', '-p', dir])
  const { stdout } = await run([
    'fio',
    '--name=job',
    `--directory=${dir}`,
    `--rw=rand${mode}`,
    `--numjobs=${jobs}`,
    `--size=${RANDOM_FILE_MIB}m`,
    `--io_size=${randomCount * 4}k`,
    ...['--bs=4k', '--ioengine=psync', '--thread', '--randseed=1', '--end_fsync=1'],
    ...['--group_reporting=0', '--fallocate=none', '--overwrite=0', '--output-format=json'],
  ])
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as FioReport
  return Math.max(...report.jobs.map((job) => job.job_runtime))
}

const RANDOM_FILE_MIB = 16
const RANDOM_JOBS = 4

const files = (scale: Scale): number => scale.files
const random = (jobs: number) => (scale: Scale) => jobs * scale.randomCount

/** What this mount has already seen, again and again, each time after the default caches expired. */
async function again(place: Place, pass: () => Promise<number>): Promise<number> {
  await pass()
  let sum = 0
  for (let i = 0; i < place.scale.passes; i++) {
    await sleep(EXPIRE_MS)
    sum += await pass()
  }
  return sum
}

/** The files of the row 'create', made now if that row was not run. */
async function created({ own, scale }: Place): Promise<string> {
  const dir = `${own}/created`
  if (!existsSync(dir)) await work('create', dir, scale.files)
  return dir
}

export const rows: readonly Row[] = [
  {
    name: 'sequential write, fsync',
    unit: 'MiB',
    amount: (scale) => scale.largeMib,
    run: ({ own, scale }) =>
      timed([
        ...['dd', 'if=/dev/zero', `of=${own}/large`, 'bs=1M', `count=${scale.largeMib}`],
        ...['conv=fsync', 'status=none'],
      ]),
  },
  {
    name: 'sequential read, cold',
    unit: 'MiB',
    amount: (scale) => scale.largeMib,
    run: ({ prepared }) =>
      timed(['dd', `if=${prepared}/large`, 'of=/dev/null', 'bs=1M', 'status=none']),
  },
  {
    name: 'random read 4 KiB, 1 job',
    unit: 'op',
    amount: random(1),
    run: (place) => fio(place, 'read', 1),
  },
  {
    name: `random read 4 KiB, ${RANDOM_JOBS} jobs`,
    unit: 'op',
    amount: random(RANDOM_JOBS),
    run: (place) => fio(place, 'read', RANDOM_JOBS),
  },
  {
    name: 'random write 4 KiB, 1 job',
    unit: 'op',
    amount: random(1),
    run: (place) => fio(place, 'write', 1),
  },
  {
    name: `random write 4 KiB, ${RANDOM_JOBS} jobs`,
    unit: 'op',
    amount: random(RANDOM_JOBS),
    run: (place) => fio(place, 'write', RANDOM_JOBS),
  },
  {
    name: 'create 4 KiB files',
    unit: 'file',
    amount: files,
    run: ({ own, scale }) => work('create', `${own}/created`, scale.files),
  },
  {
    name: 'stat, cold',
    unit: 'file',
    amount: files,
    run: ({ prepared, scale }) => work('stat', `${prepared}/stat`, scale.files),
  },
  {
    name: 'read 4 KiB files, cold',
    unit: 'file',
    amount: files,
    run: ({ prepared, scale }) => work('read', `${prepared}/read`, scale.files),
  },
  {
    name: 'ls -lR, cold',
    unit: 'file',
    amount: files,
    run: ({ prepared }) => timed(['ls', '-lR', `${prepared}/list`]),
  },
  {
    name: 'rename',
    unit: 'file',
    amount: files,
    run: async (place) => work('rename', await created(place), place.scale.files),
  },
  {
    name: 'rm -rf',
    unit: 'file',
    amount: files,
    run: async (place) => timed(['rm', '-rf', await created(place)]),
  },
  {
    name: 'untar source tree',
    unit: 'run',
    amount: () => 1,
    run: async ({ own }) => {
      await run(['mkdir', `${own}/untar`])
      return timed(['tar', '-xf', space(SOURCE_TAR), '-C', `${own}/untar`])
    },
  },
  {
    name: 'git clone, status',
    unit: 'run',
    amount: () => 1,
    run: async ({ own }) => {
      const clone = ['git', 'clone', '-q', `file://${space(SOURCE_GIT)}`, `${own}/clone`]
      return (await timed(clone)) + (await timed(['git', 'status', '-s'], `${own}/clone`))
    },
  },
  {
    name: 'stat loop',
    unit: 'file',
    amount: (scale) => scale.files * scale.passes,
    run: (place) => again(place, () => work('stat', `${place.prepared}/stat`, place.scale.files)),
    cached: true,
  },
  {
    name: 'ls -lR loop',
    unit: 'file',
    amount: (scale) => scale.files * scale.passes,
    run: (place) => again(place, () => timed(['ls', '-lR', `${place.prepared}/list`])),
    cached: true,
  },
  {
    name: 'read loop',
    unit: 'file',
    amount: (scale) => scale.files * scale.passes,
    run: (place) => again(place, () => work('read', `${place.prepared}/read`, place.scale.files)),
    cached: true,
  },
]

/** Makes what the runs take from outside of the volume. */
export async function makeSources(): Promise<void> {
  const tree = 'src xlators test volfiles package.json README.md'
  await sh(`cd '${projectRoot}' && tar -cf '${space(SOURCE_TAR)}' ${tree}
    mkdir '${space('tree')}' && cd '${space('tree')}' && tar -xf '${space(SOURCE_TAR)}'
    git init -q . && git add -A
    git -c user.name=bench -c user.email=bench@localhost commit -q -m bench
    git clone -q --bare . '${space(SOURCE_GIT)}'`)
}

/** Fills `dir` of a mounted volume with what the cold rows find. */
export async function prepare(dir: string, scale: Scale, cachedOnly: boolean): Promise<void> {
  for (const name of ['stat', 'read', 'list']) await work('create', `${dir}/${name}`, scale.files)
  if (cachedOnly) return
  await sh(`dd if=/dev/urandom of='${dir}/large' bs=1M count=${scale.largeMib} status=none
    mkdir '${dir}/random'
    for i in $(seq 0 ${RANDOM_JOBS - 1}); do
      dd if=/dev/urandom of='${dir}'/random/job.$i.0 bs=1M count=${RANDOM_FILE_MIB} status=none
    done; sync`)
}

/**
 * A client that has just started is not what users meet: V8 runs our first 2000 or so operations of
 * a kind at two to four times their later CPU time. Before it is measured it does some of
 * everything in `own`, with files no row looks at.
 */
export async function warmUp(own: string, scale: Scale): Promise<void> {
  const [dir, count] = [`${own}/warm-up`, scale.warmUp]
  await work('create', dir, count)
  await sleep(EXPIRE_MS)
  await run(['ls', '-lR', dir])
  for (const action of ['stat', 'read', 'rename'] as const) {
    await sleep(EXPIRE_MS)
    await work(action, dir, count)
  }
  await run(['rm', '-rf', dir])
  const place = { mount: own, prepared: own, own, scale: { ...scale, randomCount: count } }
  await sh(`mkdir '${own}/random'
    for i in $(seq 0 ${RANDOM_JOBS - 1}); do
      dd if=/dev/zero of='${own}'/random/job.$i.0 bs=1M count=${RANDOM_FILE_MIB} status=none
    done`)
  await fio(place, 'write', 1)
  await fio(place, 'read', 1)
  await sh(`dd if=/dev/zero of='${own}/warm' bs=1M count=64 conv=fsync status=none
    dd if='${own}/warm' of=/dev/null bs=1M iflag=direct status=none
    rm -rf '${own}'/*`)
}
