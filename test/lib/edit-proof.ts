/**
 * The proof that two clients may share a volume that survives lost bricks: files edited by ours and
 * the stock one in turn, equal through both with all bricks and without those that may be missing;
 * after the self-heal daemon is done, what is on the bricks is what it should be.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { clock } from '../../src/core/clock.ts'
import { EditScript } from './edit-script.ts'
import { type ClientKind, type Mount, ours, run, sleep, type Volume } from './sandbox.ts'
import { seeded } from './seeded.ts'

/** Both clients must see each other's changes at once, whatever their caches are for. */
export const UNCACHED = ['--attribute-timeout=0', '--entry-timeout=0', '--direct-io-mode=enable']
const CACHES = ['quick-read', 'io-cache', 'stat-prefetch', 'read-ahead', 'flush-behind']
export const uncached = Object.fromEntries(CACHES.map((name) => [`performance.${name}`, 'off']))

/** How long bricks that were started may take until a client has them. */
const BACK_MAX_MS = 20_000

/** A file that should be on the volume. */
export interface Expected {
  readonly name: string
  readonly content: Buffer
}

/** A volume of which some bricks may be missing. */
export interface EditTarget {
  readonly volume: Volume
  /** Numbers of the bricks of each set. */
  readonly sets: readonly number[][]
  /** Bricks that may be missing together: numbers within a set, ascending. */
  choices(): number[][]
  /** Kills the same bricks of every set. */
  kill(choice: readonly number[]): Promise<void>
  /** Until clients keep no locks and marks. */
  settled(names: readonly string[]): Promise<void>
  /** Until nothing is left to heal. */
  healed(): Promise<void>
  checkFiles(files: readonly Expected[]): Promise<void>
}

export interface EditsPlan {
  shape: string
  /** Files. */
  scripts: number
  seed: number
  /** Edits of each file with all bricks, without some, and with those back but not healed. */
  edits: readonly [healthy: number, degraded: number, stale: number]
  /** Choices of bricks to try; all of them by default. */
  choicesMax?: number
}

export interface EditsResult {
  shape: string
  scripts: number
  edits: number
  choices: number
  seconds: number
}

class Proof {
  readonly #plan: EditsPlan
  readonly #target: EditTarget
  readonly #random: () => number
  #scripts: EditScript[] = []
  #edits = 0

  constructor(plan: EditsPlan, target: EditTarget) {
    this.#plan = plan
    this.#target = target
    this.#random = seeded(plan.seed)
  }

  async run(): Promise<{ edits: number; choices: number }> {
    const { edits, scripts, seed } = this.#plan
    const [healthy, degraded, stale] = edits
    const target = this.#target
    let mounts = await this.#mount()
    this.#scripts = Array.from(
      { length: scripts },
      (_, i) => new EditScript(seed + i, mounts[i % 2]!),
    )
    this.#editAll(mounts, healthy, 'healthy')
    await target.settled(this.#names)
    await target.checkFiles(this.#scripts)
    for (const mount of mounts) await mount.unmount()

    const choices = this.#pick(target.choices())
    let lost: number[] = []
    for (const choice of choices) {
      await this.#without(lost, choice)
      lost = choice
    }
    await this.#restart(lost)

    mounts = await this.#mount()
    const away = this.#shuffled(target.choices())[0]!
    await target.kill(away)
    this.#editAll(mounts, degraded, `without bricks ${away}`)
    await this.#restart(away)
    await sleep(3000)
    this.#editAll(mounts, stale, `bricks ${away} back, not healed`)
    await target.healed()
    await target.settled(this.#names)
    await target.checkFiles(this.#scripts)
    this.#checkAll(mounts, 'healed')
    for (const mount of mounts) await mount.unmount()
    return { edits: this.#edits, choices: choices.length }
  }

  get #names(): string[] {
    return this.#scripts.map(({ name }) => name)
  }

  #mount(): Promise<Mount[]> {
    const kinds: ClientKind[] = [ours, 'stock']
    return Promise.all(kinds.map((kind) => this.#target.volume.mount(kind, UNCACHED)))
  }

  /** The mounts take turns on every file. */
  #editAll(mounts: readonly Mount[], rounds: number, what: string): void {
    for (let round = 0; round < rounds; round++) {
      for (const [index, script] of this.#scripts.entries()) {
        script.edit(mounts[(round + index) % 2]!)
        this.#edits++
        // every file a few times, by the client that did not write last
        if ((round * 7 + index) % 8 === 0) script.check(mounts[(round + index + 1) % 2]!, what)
      }
    }
    this.#checkAll(mounts, what)
  }

  #checkAll(mounts: readonly Mount[], what: string): void {
    for (const mount of mounts) for (const script of this.#scripts) script.check(mount, what)
  }

  #shuffled<T>(all: readonly T[]): T[] {
    return all
      .map((one) => ({ one, key: this.#random() }))
      .sort((a, b) => a.key - b.key)
      .map(({ one }) => one)
  }

  #pick(all: number[][]): number[][] {
    const { choicesMax } = this.#plan
    return choicesMax === undefined ? all : this.#shuffled(all).slice(0, choicesMax)
  }

  /** Both clients, mounted anew, read every file while the bricks in `choice` are dead. */
  async #without(before: readonly number[], choice: readonly number[]): Promise<void> {
    const target = this.#target
    await target.kill(choice.filter((brick) => !before.includes(brick)))
    await this.#restart(before.filter((brick) => !choice.includes(brick)))
    const mounts = await this.#mount()
    const expected = this.#scripts.map(
      ({ name, content }) => `${createHash('sha256').update(content).digest('hex')}  ${name}`,
    )
    await Promise.all(
      mounts.map(async (mount) => {
        await usable(mount)
        const { stdout } = await run(['sha256sum', '--', ...this.#names], { cwd: mount.dir })
        const where = `without bricks ${choice} through ${mount.kind}`
        assert.deepEqual(stdout.trimEnd().split('\n'), expected, where)
      }),
    )
    for (const mount of mounts) await mount.unmount()
  }

  async #restart(choice: readonly number[]): Promise<void> {
    const bricks = this.#target.sets.flatMap((set) => choice.map((brick) => set[brick]!))
    await Promise.all(bricks.map((brick) => this.#target.volume.restartBrick(brick)))
  }
}

/** Until enough bricks are connected for the root to be seen. */
async function usable(mount: Mount): Promise<void> {
  const end = clock.now() + BACK_MAX_MS
  for (;;) {
    try {
      statSync(`${mount.dir}/.`)
      return
    } catch (error) {
      if (clock.now() > end) throw error
      await sleep(100)
    }
  }
}

/** Runs the plan on `target` and removes its volume. */
export async function proveEditsOn(target: EditTarget, plan: EditsPlan): Promise<EditsResult> {
  const began = clock.now()
  const { edits, choices } = await new Proof(plan, target).run()
  await target.volume.destroy()
  const seconds = Math.round((clock.now() - began) / 1000)
  return { shape: plan.shape, scripts: plan.scripts, edits, choices, seconds }
}
