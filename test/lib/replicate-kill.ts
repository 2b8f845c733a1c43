/**
 * A client is killed (SIGKILL) at random moments of a write load on a replicated volume. A write
 * whose answer nobody got may be on some bricks and not on others; which copy wins is up to the
 * heal. What must hold: what was acknowledged is there, nothing else changes, no read fails, both
 * clients read the same, no split-brain, and heal makes all copies equal.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UNCACHED, uncached } from './edit-proof.ts'
import { ToldFiles } from './fsync-writer.ts'
import { killMount } from './kill-mount.ts'
import { equalBricks } from './replicate-bricks.ts'
import { createReplicated, parseReplicateShape, ReplicateVolume } from './replicate-volume.ts'
import { type ClientKind, gluster, type Mount, space } from './sandbox.ts'
import { seeded } from './seeded.ts'
import { initialContent, readLog, slotContent, slotsOf, startWriter } from './slot-writer.ts'

const WRITERS = 3
/** Kills between two complete heals. */
const HEAL_EVERY = 25

export interface ReplicateKillResult {
  kills: number
  /** Files a write of which was under way when the client died. */
  underWay: number
  /** Writes that were acknowledged. */
  complete: number
  /** Files that were made, written and renamed; those with a step that was not acknowledged. */
  files: number
  unsure: number
  /** Kills that left something to heal, and files both clients did not read the same before. */
  healed: number
  differed: number
  /** What must not be. */
  problems: string[]
}

interface Target {
  readonly name: string
  readonly seed: number
  /** The generations each slot may have. */
  allowed: number[][]
}

export class ReplicateKill {
  readonly #target: ReplicateVolume
  readonly #client: ClientKind
  readonly #random: () => number
  readonly #files: Target[] = []
  #told = new ToldFiles()
  /** Directory of the files made since the last heal, and the first of the last round. */
  #dir = 'made-0'
  #first = 0
  #reader!: Mount
  #generation = 1
  readonly result: ReplicateKillResult = {
    kills: 0,
    underWay: 0,
    complete: 0,
    files: 0,
    unsure: 0,
    healed: 0,
    differed: 0,
    problems: [],
  }

  private constructor(target: ReplicateVolume, client: ClientKind, seed: number) {
    this.#target = target
    this.#client = client
    this.#random = seeded(seed)
  }

  static async run(
    shape: string,
    client: ClientKind,
    kills: number,
    seed: number,
  ): Promise<ReplicateKillResult> {
    const parsed = parseReplicateShape(shape)
    const set = { ...uncached, 'performance.write-behind': 'off' }
    const volume = await createReplicated(`k${client}${shape}`, parsed, set)
    const proof = new ReplicateKill(new ReplicateVolume(parsed, volume), client, seed)
    await proof.#run(kills, seed)
    await volume.destroy()
    return proof.result
  }

  async #run(kills: number, seed: number): Promise<void> {
    this.#reader = await this.#target.volume.mount('stock', UNCACHED)
    for (let i = 0; i < WRITERS; i++) {
      const file = { name: `slots-${i}`, seed: seed * 100 + i }
      writeFileSync(join(this.#reader.dir, file.name), initialContent(file.seed))
      this.#files.push({ ...file, allowed: slotsOf(file.seed).map(() => [0]) })
    }
    mkdirSync(join(this.#reader.dir, this.#dir))
    for (;;) {
      const mount = await this.#target.volume.mount(this.#client, UNCACHED)
      const kills0 = this.result.kills
      if (kills0 > 0) await this.#judge(mount)
      if (kills0 > 0 && (kills0 % HEAL_EVERY === 0 || kills0 === kills)) await this.#heal(mount)
      if (kills0 === kills) {
        await mount.unmount()
        break
      }
      await this.#kill(mount)
      this.result.kills++
    }
    await this.#reader.unmount()
  }

  #log(name: string): string {
    return space(`${this.#client}-${name}.log`)
  }

  #problem(text: string): void {
    this.result.problems.push(`kill ${this.result.kills}: ${text}`)
  }

  async #kill(mount: Mount): Promise<void> {
    for (const { name } of this.#files) writeFileSync(this.#log(name), '')
    this.#first = this.#told.next
    const writers = this.#files.map(({ name, seed }) =>
      startWriter('slots', join(mount.dir, name), this.#log(name), seed, this.#generation),
    )
    writers.push(this.#told.write(join(mount.dir, this.#dir)))
    const allWrite = (): boolean =>
      this.#told.next > this.#first &&
      this.#files.every(({ name }) => readFileSync(this.#log(name)).length > 0)
    await killMount(mount, writers, allWrite, this.#random)
    for (const file of this.#files) {
      const written = readLog(this.#log(file.name), file.allowed)
      if (written.allowed.some(({ length }, slot) => length > file.allowed[slot]!.length)) {
        this.result.underWay++
      }
      file.allowed = written.allowed
      this.result.complete += written.complete
      this.#generation = Math.max(this.#generation, written.last + 1)
    }
  }

  /** Both clients read what may be there, and the same. */
  async #judge(mount: Mount): Promise<void> {
    const info = await gluster('volume', 'heal', this.#target.volume.name, 'info')
    if (/entries: [1-9-]/.test(info)) this.result.healed++
    for (const file of this.#files) {
      const seen = this.#readBoth(file, mount)
      if (seen.length === 2 && !seen[0]!.equals(seen[1]!)) {
        // A write nobody acknowledged is on some copies, and the clients read different ones.
        this.result.differed++
        await this.#target.healed()
        const healed = this.#readBoth(file, mount)
        if (healed.length < 2 || !healed[0]!.equals(healed[1]!)) {
          this.#problem(`${file.name}: healed, and the clients read different things`)
        }
      }
    }
    for (const through of [this.#reader, mount]) {
      try {
        this.#told.check(join(through.dir, this.#dir), this.#first)
      } catch (error) {
        this.#problem(`through ${through.kind}: ${String(error)}`)
      }
    }
  }

  #readBoth(file: Target, mount: Mount): Buffer[] {
    return [this.#reader, mount].flatMap((through) => this.#read(file, through))
  }

  /** What `through` reads, every slot being what it may be; nothing when it cannot be read. */
  #read({ name, seed, allowed }: Target, through: Mount): Buffer[] {
    let content: Buffer
    try {
      content = readFileSync(join(through.dir, name))
    } catch (error) {
      this.#problem(`${name} through ${through.kind}: ${String(error)}`)
      return []
    }
    for (const [slot, { offset, size }] of slotsOf(seed).entries()) {
      const found = content.subarray(offset, offset + size)
      if (allowed[slot]!.some((one) => found.equals(slotContent(seed, slot, size, one)))) continue
      this.#problem(`${name} through ${through.kind}: slot ${slot} is none of ${allowed[slot]}`)
    }
    return [content]
  }

  async #heal(mount: Mount): Promise<void> {
    const { volume, shape } = this.#target
    await this.#target.healed()
    await this.#target.settled(this.#files.map(({ name }) => name))
    const split = await gluster('volume', 'heal', volume.name, 'info', 'split-brain')
    if (/split-brain: [1-9]/.test(split)) this.#problem(split)
    const files = this.#files.flatMap((file) => {
      const [content] = this.#read(file, mount)
      return content === undefined ? [] : [{ name: file.name, content }]
    })
    try {
      this.#told.check(join(mount.dir, this.#dir), 0)
      await this.#target.checkFiles(files)
      if (shape.sets === 1) equalBricks(volume, shape.arbiter)
    } catch (error) {
      this.#problem(`healed: ${(error as Error).stack}`)
    }
    this.result.files += this.#told.count
    this.result.unsure += this.#told.unsure
    rmSync(join(mount.dir, this.#dir), { recursive: true })
    this.#told = new ToldFiles()
    this.#first = 0
    this.#dir = `made-${this.result.kills}`
    mkdirSync(join(mount.dir, this.#dir))
    assert.ok(files.length > 0, 'nothing can be read')
  }
}
