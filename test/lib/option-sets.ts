/** Volumes with random options of the performance translators, and the proof that all holds. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Results, Value } from '../mount/matrix/case.ts'
import { compare, type Difference, report } from '../mount/matrix/compare.ts'
import { startLoad } from './load.ts'
import { CACHED, type Mount, ours, projectRoot, run, space, Volume } from './sandbox.ts'

const onOff = ['on', 'off'] as const

/** `volume set` keys with the values they are drawn from. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  'performance.write-behind': onOff,
  'performance.read-ahead': onOff,
  'performance.readdir-ahead': onOff,
  'performance.io-cache': onOff,
  'performance.open-behind': onOff,
  'performance.quick-read': onOff,
  'performance.stat-prefetch': onOff,
  'performance.client-io-threads': onOff,
  'performance.parallel-readdir': onOff,
  'performance.cache-max-file-size': ['0', '64KB', '8MB'],
  'performance.cache-refresh-timeout': ['0', '1', '60'],
  'performance.cache-priority': ['*.x:0,*:2', '*:5'],
  'performance.io-cache-size': ['4MB', '32MB', '64MB'],
  'performance.high-prio-threads': ['1', '16'],
  'performance.low-prio-threads': ['1', '64'],
  'performance.iot-pass-through': onOff,
  'performance.quick-read-cache-size': ['1MB', '128MB'],
  'performance.quick-read-cache-timeout': ['1', '60'],
  'performance.ctime-invalidation': onOff,
  'performance.flush-behind': onOff,
  'performance.write-behind-window-size': ['512KB', '1MB', '16MB'],
  'performance.aggregate-size': ['4KB', '128KB', '1MB'],
  'performance.strict-o-direct': onOff,
  'performance.strict-write-ordering': onOff,
  'performance.write-behind-trickling-writes': onOff,
  'performance.resync-failed-syncs-after-fsync': onOff,
  'performance.lazy-open': ['yes', 'no'],
  'performance.read-after-open': ['yes', 'no'],
  'performance.read-ahead-page-count': ['1', '4', '16'],
  'performance.md-cache-timeout': ['0', '1', '60', '600'],
  'performance.md-cache-statfs': onOff,
  'performance.xattr-cache-list': ['user.*', 'user.k,user.sized'],
  'performance.cache-samba-metadata': onOff,
  'performance.force-readdirp': ['true', 'false'],
  'performance.rda-request-size': ['4096', '131072'],
  'performance.rda-cache-limit': ['4096', '10MB'],
}

/** Upcalls, and what is only right with them. */
const TOLD: Readonly<Record<string, readonly string[]>> = {
  'features.cache-invalidation': ['on'],
  'features.cache-invalidation-timeout': ['600'],
  'performance.cache-invalidation': onOff,
  'performance.quick-read-cache-invalidation': onOff,
  'performance.nl-cache': onOff,
  'performance.nl-cache-positive-entry': onOff,
}

export type OptionSet = Record<string, string>

const switches = Object.keys(KEYS).slice(0, 9)

/** Every translator off. */
export const allOff: OptionSet = Object.fromEntries(switches.map((key) => [key, 'off']))

/** Every translator, and upcalls, which nl-cache needs. */
export const allOn: OptionSet = {
  ...Object.fromEntries(switches.map((key) => [key, 'on'])),
  // with it the listings of the bricks are read ahead, without it that of the whole volume
  'performance.parallel-readdir': 'off',
  ...CACHED,
  'performance.quick-read-cache-invalidation': 'on',
  'performance.nl-cache': 'on',
  'performance.nl-cache-positive-entry': 'on',
}

/** The options a long proof gives the volumes of a test in test/mount. */
export const givenOptions = (): OptionSet =>
  JSON.parse(process.env.VOLUME_OPTIONS ?? '{}') as OptionSet

/** Half the options are given, half the sets are for volumes with upcalls. */
export function drawOptions(random: () => number): OptionSet {
  const set: OptionSet = {}
  const told = random() < 0.5
  for (const [key, values] of Object.entries(told ? { ...KEYS, ...TOLD } : KEYS)) {
    const always = key.startsWith('features.')
    const value = values[Math.floor(random() * values.length)]!
    if (random() < 0.5 || always) set[key] = value
  }
  // stock does not start with less window than it gathers
  if (set['performance.write-behind-window-size'] === '512KB') {
    delete set['performance.aggregate-size']
  }
  return set
}

interface Layout {
  bricks: number
  layout: string[]
}

export const layouts: Readonly<Record<string, Layout>> = {
  '2 bricks': { bricks: 2, layout: [] },
  '2+1': { bricks: 3, layout: ['disperse-data', '2', 'redundancy', '1'] },
  'replica 3': { bricks: 3, layout: ['replica', '3'] },
}

export interface Extent {
  /** Matrix cases; all if absent. */
  readonly cases?: readonly string[]
  readonly loadSeconds: number
}

const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix<T>(...args: string[]): Promise<T> {
  const result = await run([process.execPath, program, ...args], { timeoutMs: 240_000 })
  return JSON.parse(result.stdout) as T
}

/**
 * The counts of blocks differ with how data was written; and where we do what a local file system
 * does, it is the stock client that was at fault in its run.
 */
const known = ({ at, ours: found, local }: Difference): boolean =>
  /\bblocks$|pathinfo$|^open-file-locks/.test(at) || found === (local ?? 'absent')

let volumes = 0

/** Runs the proofs of one layout; what the calls of the matrix should return is found out once. */
export class OptionProof {
  readonly #layout: string
  readonly #extent: Extent
  #expected: { stock: Results; local: Results } | undefined

  constructor(layout: string, extent: Extent) {
    this.#layout = layout
    this.#extent = extent
  }

  async #reference(): Promise<{ stock: Results; local: Results }> {
    if (this.#expected !== undefined) return this.#expected
    const cases = this.#extent.cases ?? []
    const { volume, mount } = await this.#make({}, 'stock')
    const path = space(`local-${volume.name}`)
    mkdirSync(path)
    const local = await matrix<Results>('matrix', path, ...cases)
    const stock = await matrix<Results>('matrix', mount.dir, ...cases)
    await mount.unmount()
    await volume.killBricks()
    this.#expected = { stock, local }
    return this.#expected
  }

  async #make(set: OptionSet, kind: 'stock' | 'ours'): Promise<{ volume: Volume; mount: Mount }> {
    const { bricks, layout } = layouts[this.#layout]!
    const volume = await Volume.create(`set${volumes++}`, { bricks, layout, set })
    return { volume, mount: await volume.mount(kind === 'stock' ? 'stock' : ours) }
  }

  /** What does not hold with these options; nothing when all does. */
  async run(set: OptionSet, seed: number): Promise<string[]> {
    const { stock, local } = await this.#reference()
    const { volume, mount } = await this.#make(set, 'ours')
    const problems: string[] = []
    const differing = async (name: string, cases: readonly string[]): Promise<Difference[]> => {
      mkdirSync(`${mount.dir}/${name}`)
      const found = await matrix<Results>('matrix', `${mount.dir}/${name}`, ...cases)
      const expected = Object.fromEntries(Object.keys(found).map((key) => [key, stock[key]!]))
      return compare(expected, found, local).filter((one) => !known(one))
    }
    const first = await differing('matrix', this.#extent.cases ?? [])
    if (first.length > 0) {
      // Once more: some cases depend on the second in which they run.
      const cases = [...new Set(first.map(({ at }) => at.slice(0, at.indexOf('/'))))]
      const again = await differing('again', cases)
      if (again.length > 0) problems.push(`matrix: ${report(again)}`)
    }
    problems.push(...(await this.#load(volume, mount, seed)))
    const other = await volume.mount('stock')
    const [here, there] = await Promise.all(
      [mount, other].map((one) => matrix<Record<string, Value>>('tree', one.dir)),
    )
    const trees = compare(there!, here!, {}).filter((one) => !known(one))
    if (trees.length > 0) problems.push(`seen by stock: ${report(trees)}`)
    await other.unmount()
    await mount.unmount()
    await volume.killBricks()
    return problems
  }

  /** Verified load while, where the layout bears it, a brick dies and comes back. */
  async #load(volume: Volume, mount: Mount, seed: number): Promise<string[]> {
    const seconds = this.#extent.loadSeconds
    const loads = [0, 1, 2].map((i) => startLoad(`${mount.dir}/load${i}`, seed * 10 + i, seconds))
    if (this.#layout !== '2 bricks') {
      await volume.killBrick(seed % 3)
      await volume.startBricks()
    }
    const results = await Promise.all(loads)
    return results.flatMap((result) => result.problems.slice(0, 3))
  }
}
