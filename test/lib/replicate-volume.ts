/** Real replicated volumes, and what must be true of the files on their bricks. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { EditTarget, Expected } from './edit-proof.ts'
import { run, sleep, Volume } from './sandbox.ts'

/** Seconds given to locks to end before what is on the bricks counts. */
const SETTLE_MAX = 20

export interface ReplicateShape {
  /** Replica sets that cluster/distribute spreads files over. */
  sets: number
  /** Bricks of a set, an arbiter included. */
  copies: number
  /** The last brick of a set keeps no data. */
  arbiter: boolean
}

/** Every shape, healthy and without each brick in turn: what `replicatedInState` takes. */
export const everyReplicateState = ['2', '3', '3a1', '2x3'].flatMap((shape) => [
  shape,
  ...Array.from(
    { length: parseReplicateShape(shape).copies },
    (_, brick) => `${shape} without ${brick}`,
  ),
])

/** A volume of `words`, such as `3a1 without 2`, and what takes that brick of each set away. */
export async function replicatedInState(
  name: string,
  words: string,
): Promise<{ volume: Volume; degrade: () => Promise<void> }> {
  const [text, , brick] = words.split(' ')
  const shape = parseReplicateShape(text!)
  const volume = await createReplicated(name, shape)
  const target = new ReplicateVolume(shape, volume)
  const degrade = async (): Promise<void> => {
    if (brick !== undefined) await target.kill([Number(brick)])
  }
  return { volume, degrade }
}

/** `2`, `3`, `3a1`, `2x3`. */
export function parseReplicateShape(text: string): ReplicateShape {
  const match = /^(?:(\d+)x)?(\d)(a1)?/.exec(text)
  assert.ok(match !== null, `shape ${text}`)
  return {
    sets: Number(match[1] ?? 1),
    copies: Number(match[2]),
    arbiter: match[3] !== undefined,
  }
}

export function createReplicated(
  name: string,
  { sets, copies, arbiter }: ReplicateShape,
  set: Record<string, string> = {},
): Promise<Volume> {
  const layout = ['replica', String(copies), ...(arbiter ? ['arbiter', '1'] : [])]
  return Volume.create(name, { bricks: sets * copies, layout, set })
}

export class ReplicateVolume implements EditTarget {
  readonly shape: ReplicateShape
  readonly volume: Volume

  constructor(shape: ReplicateShape, volume: Volume) {
    this.shape = shape
    this.volume = volume
  }

  get sets(): number[][] {
    const { sets, copies } = this.shape
    return Array.from({ length: sets }, (_, set) =>
      Array.from({ length: copies }, (_brick, i) => set * copies + i),
    )
  }

  /** One brick at a time may be missing. */
  choices(): number[][] {
    return Array.from({ length: this.shape.copies }, (_, brick) => [brick])
  }

  async kill(choice: readonly number[]): Promise<void> {
    for (const set of this.sets) {
      for (const brick of choice) await this.volume.killBrick(set[brick]!)
    }
  }

  /** trusted.afr.* of files on a brick that are not zero, as `name key`. */
  async marks(brick: number, names: readonly string[]): Promise<string[]> {
    const dir = this.volume.bricks[brick]!
    const there = names.filter((name) => existsSync(join(dir, name)))
    if (there.length === 0) return []
    const words = ['getfattr', '-h', '-d', '-m', 'trusted.afr', '-e', 'hex']
    const { stdout } = await run([...words, '--', ...there], { cwd: dir })
    return stdout.split('\n\n').flatMap((block) => {
      const name = /^# file: (.*)$/m.exec(block)?.[1]
      const set = [...block.matchAll(/^(trusted\.afr\.\S+)=0x(?!0*$)\w+$/gm)]
      return set.map(([, key]) => `${name} ${key}`)
    })
  }

  async settled(names: readonly string[]): Promise<void> {
    for (let i = 0; i < SETTLE_MAX; i++) {
      await sleep(1000)
      const marks = await Promise.all(
        this.volume.bricks.map((_, brick) => this.marks(brick, names)),
      )
      if (!marks.flat().some((mark) => mark.endsWith('.dirty'))) return
    }
  }

  healed(): Promise<void> {
    return this.volume.healed()
  }

  /** Every brick has the content, an arbiter an empty file; nobody blames anybody. */
  async checkFiles(files: readonly Expected[]): Promise<void> {
    for (const file of files) {
      const homes = this.sets.filter((set) => this.#isHome(set, file.name))
      assert.equal(homes.length, 1, `${file.name} is in ${homes.length} sets`)
      for (const [index, brick] of homes[0]!.entries()) this.#checkCopy(file, index, brick)
    }
    for (const brick of this.volume.bricks.keys()) {
      const names = files.map(({ name }) => name)
      assert.deepEqual(await this.marks(brick, ['.', ...names]), [], `brick ${brick}`)
    }
  }

  /** Is the file itself there, and not a pointer of cluster/distribute? */
  #isHome(set: readonly number[], name: string): boolean {
    const path = join(this.volume.bricks[set[0]!]!, name)
    return existsSync(path) && (statSync(path).mode & 0o1777) !== 0o1000
  }

  #checkCopy({ name, content }: Expected, index: number, brick: number): void {
    const path = join(this.volume.bricks[brick]!, name)
    const { arbiter, copies } = this.shape
    const expected = arbiter && index === copies - 1 ? Buffer.alloc(0) : content
    assert.ok(readFileSync(path).equals(expected), `content of ${path}`)
  }
}
