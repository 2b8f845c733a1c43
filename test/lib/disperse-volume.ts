/** Real dispersed volumes, and what must be true of the files on their bricks. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { Geometry } from '../../xlators/cluster/disperse/codec/geometry.ts'
import type { EditTarget, Expected } from './edit-proof.ts'
import { run, sleep, Volume } from './sandbox.ts'

/** Seconds given to locks to end before what is on the bricks counts. */
const SETTLE_MAX = 20

export interface Shape {
  /** Disperse sets that cluster/distribute spreads files over. */
  copies: number
  data: number
  redundancy: number
}

/** `4+2`, `2x(4+2)`. */
export function parseShape(text: string): Shape {
  const match = /^(?:(\d+)x)?\(?(\d+)\+(\d+)\)?/.exec(text)
  assert.ok(match !== null, `shape ${text}`)
  return { copies: Number(match[1] ?? 1), data: Number(match[2]), redundancy: Number(match[3]) }
}

/**
 * Shapes the long proofs take, each with all bricks and with R of them dead, with eager locks and
 * without: what `volumeInState` takes.
 */
export const everyState = ['2+1', '4+2', '8+3', '2x(4+2)'].flatMap((shape) =>
  ['', ' degraded', ' lazy', ' degraded lazy'].map((state) => shape + state),
)

/** A volume of `words`, a shape and what state it is to be in, and what brings it there. */
export async function volumeInState(
  name: string,
  words: string,
): Promise<{ volume: Volume; degrade: () => Promise<void> }> {
  const [shape, ...states] = words.split(' ')
  const set: Record<string, string> = states.includes('lazy')
    ? { 'disperse.eager-lock': 'off', 'disperse.other-eager-lock': 'off' }
    : {}
  const target = await DisperseVolume.create(name, parseShape(shape!), set)
  const { redundancy } = target.shape
  const choice = Array.from({ length: redundancy }, (_, i) => 2 * i + 1)
  const degrade = async (): Promise<void> => {
    if (states.includes('degraded')) await target.kill(choice)
  }
  return { volume: target.volume, degrade }
}

/** trusted.ec.* of one file on one brick, hex. */
export type Counters = Record<string, string>

export class DisperseVolume implements EditTarget {
  readonly shape: Shape
  readonly geometry: Geometry
  readonly volume: Volume

  constructor(shape: Shape, volume: Volume) {
    this.shape = shape
    this.geometry = new Geometry(shape.data, shape.redundancy)
    this.volume = volume
  }

  static async create(
    name: string,
    shape: Shape,
    set: Record<string, string> = {},
  ): Promise<DisperseVolume> {
    const { copies, data, redundancy } = shape
    const layout = ['disperse-data', String(data), 'redundancy', String(redundancy)]
    const bricks = copies * (data + redundancy)
    return new DisperseVolume(shape, await Volume.create(name, { bricks, layout, set }))
  }

  /** Numbers of the bricks of a disperse set. */
  set(copy: number): number[] {
    const { brickCount } = this.geometry
    return Array.from({ length: brickCount }, (_, i) => copy * brickCount + i)
  }

  get sets(): number[][] {
    return Array.from({ length: this.shape.copies }, (_, copy) => this.set(copy))
  }

  /** Every choice of R bricks of a set: numbers within the set, ascending. */
  choices(): number[][] {
    const { brickCount, redundancy } = this.geometry
    const choose = (from: number, size: number): number[][] =>
      size === 0
        ? [[]]
        : Array.from({ length: Math.max(0, brickCount - from) }, (_, i) => from + i).flatMap(
            (first) => choose(first + 1, size - 1).map((rest) => [first, ...rest]),
          )
    return choose(0, redundancy)
  }

  /** Kills the same bricks of every set. */
  async kill(choice: readonly number[]): Promise<void> {
    for (const set of this.sets) {
      for (const brick of choice) await this.volume.killBrick(set[brick]!)
    }
  }

  /** trusted.ec.* of files on a brick, by name; files that are not there are left out. */
  async counters(brick: number, names: readonly string[]): Promise<Map<string, Counters>> {
    const dir = this.volume.bricks[brick]!
    const there = names.filter((name) => existsSync(join(dir, name)))
    const found = new Map<string, Counters>()
    if (there.length === 0) return found
    const words = ['getfattr', '-h', '-d', '-m', 'trusted.(ec|glusterfs.dht.linkto)', '-e', 'hex']
    const { stdout } = await run([...words, '--', ...there], { cwd: dir })
    for (const block of stdout.split('\n\n')) {
      const name = /^# file: (.*)$/m.exec(block)?.[1]
      if (name === undefined) continue
      const pairs = [...block.matchAll(/^trusted\.(?:ec|glusterfs\.dht)\.(\w+)=0x(\w*)$/gm)]
      found.set(name, Object.fromEntries(pairs.map(([, key, value]) => [key!, value!])))
    }
    return found
  }

  /** Until no brick has a mark: eager locks end a second after the last fop. */
  async settled(names: readonly string[]): Promise<void> {
    for (let i = 0; i < SETTLE_MAX; i++) {
      await sleep(1000)
      const marks = await Promise.all(
        this.volume.bricks.map(async (_, brick) =>
          [...(await this.counters(brick, names)).values()].map(({ dirty }) => dirty ?? ''),
        ),
      )
      if (marks.flat().every((dirty) => /^0*$/.test(dirty))) return
    }
  }

  healed(): Promise<void> {
    return this.volume.healed()
  }

  /** Every brick has the fragment the reference encoding gives; counters are equal and clean. */
  async checkFiles(files: readonly Expected[]): Promise<void> {
    const names = files.map(({ name }) => name)
    const counters = await Promise.all(
      this.volume.bricks.map((_, brick) => this.counters(brick, names)),
    )
    for (const file of files) {
      const homes = this.sets.filter((set) => {
        const there = set.map((brick) => counters[brick]!.get(file.name))
        return there.some((one) => one !== undefined && one.linkto === undefined)
      })
      assert.equal(homes.length, 1, `${file.name} is in ${homes.length} sets`)
      this.#checkFile(file, homes[0]!, counters)
    }
  }

  #checkFile(file: Expected, set: readonly number[], counters: Map<string, Counters>[]): void {
    const { name, content } = file
    const padded = Buffer.alloc(this.geometry.up(content.length))
    content.copy(padded)
    const all = set.map((_, index) => index)
    const fragments = new Codec(this.geometry).encode([padded], padded.length, all)
    const { dirty: _, ...expected } = counters[set[0]!]!.get(name) ?? {}
    assert.equal(Number(`0x${expected.size}`), content.length, `${name}: size`)
    for (const [index, brick] of set.entries()) {
      const path = join(this.volume.bricks[brick]!, name)
      assert.ok(readFileSync(path).equals(fragments[index]!), `fragment ${path}`)
      const { dirty, ...rest } = counters[brick]!.get(name)!
      assert.match(dirty ?? '', /^0*$/, `dirty of ${path}`)
      assert.deepEqual(rest, expected, path)
    }
  }
}
