/**
 * A client is killed (SIGKILL) at random moments of a write load. What a stock client then reads is
 * per write the old or the new data; the fragments on the bricks belong together; the self-heal
 * daemon gets everything clean.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { DisperseVolume, parseShape } from './disperse-volume.ts'
import { UNCACHED, uncached } from './edit-proof.ts'
import { type ClientKind, type Mount, run, sleep, space } from './sandbox.ts'
import { seeded } from './seeded.ts'
import { initialContent, readLog, slotContent, slotsOf, startWriter } from './slot-writer.ts'

const WRITERS = 4
/** The client lives this long under load, at most. */
const LIFE_MAX_MS = 400
/** Kills between two complete heals. */
const HEAL_EVERY = 25

export interface KillResult {
  kills: number
  /** Writes that were under way when the client died. */
  underWay: number
  complete: number
  /** Stripes whose fragments are not of one encoding, and kills that left any. */
  tornStripes: number
  tornKills: number
  /** Slots that read neither old nor new through the stock client, and errors of reads. */
  badSlots: number
  readErrors: string[]
}

interface Target {
  readonly name: string
  readonly seed: number
  /** What each slot has. */
  generations: number[]
}

export class KillProof {
  readonly #target: DisperseVolume
  readonly #client: ClientKind
  readonly #random: () => number
  readonly #files: Target[] = []
  #reader: Mount | undefined
  #generation = 1
  readonly result: KillResult = {
    kills: 0,
    underWay: 0,
    complete: 0,
    tornStripes: 0,
    tornKills: 0,
    badSlots: 0,
    readErrors: [],
  }

  private constructor(target: DisperseVolume, client: ClientKind, seed: number) {
    this.#target = target
    this.#client = client
    this.#random = seeded(seed)
  }

  static async run(shape: string, client: ClientKind, kills: number, seed: number) {
    const name = `k${client}${shape.replaceAll(/\W/g, '')}`
    const set = { ...uncached, 'performance.write-behind': 'off' }
    const target = await DisperseVolume.create(name, parseShape(shape), set)
    const proof = new KillProof(target, client, seed)
    await proof.#run(kills, seed)
    await target.volume.destroy()
    return proof.result
  }

  async #run(kills: number, seed: number): Promise<void> {
    this.#reader = await this.#target.volume.mount('stock', UNCACHED)
    for (let i = 0; i < WRITERS; i++) {
      const file = { name: `slots-${i}`, seed: seed * 100 + i, generations: [] }
      this.#files.push(file)
      this.#renew(file)
    }
    while (this.result.kills < kills) {
      await this.#kill()
      this.result.kills++
      if (this.result.kills % HEAL_EVERY === 0 || this.result.kills === kills) await this.#heal()
    }
    await this.#reader.unmount()
  }

  /** Writes the file anew through the stock client. */
  #renew(file: Target): void {
    writeFileSync(join(this.#reader!.dir, file.name), initialContent(file.seed))
    file.generations = slotsOf(file.seed).map(() => 0)
  }

  async #kill(): Promise<void> {
    const mount = await this.#target.volume.mount(this.#client, UNCACHED)
    const logs = this.#files.map(({ name }) => space(`${name}.log`))
    for (const log of logs) writeFileSync(log, '')
    const writers = this.#files.map(({ name, seed }, index) =>
      startWriter(join(mount.dir, name), logs[index]!, seed, this.#generation),
    )
    const ended = Promise.all(
      writers.map((writer) => new Promise((resolve) => writer.on('exit', resolve))),
    )
    // until all write
    for (let i = 0; i < 200 && !logs.every((log) => readFileSync(log).length > 0); i++) {
      await sleep(20)
    }
    await sleep(20 + this.#random() * LIFE_MAX_MS)
    process.kill(mount.pid, 'SIGKILL')
    await ended
    await run(['umount', '-l', mount.dir], { mayFail: true })
    await sleep(50)
    await this.#judge(logs)
  }

  async #judge(logs: readonly string[]): Promise<void> {
    let torn = 0
    for (const [index, file] of this.#files.entries()) {
      const written = readLog(logs[index]!, file.generations)
      this.result.complete += written.complete
      if (written.allowed.some(({ length }) => length > 1)) this.result.underWay++
      this.#generation = Math.max(this.#generation, written.last + 1)
      const stripes = this.#tornStripes(file.name)
      const bad = this.#read(file, written.allowed)
      torn += stripes
      this.result.badSlots += bad
      // A torn stripe stays torn: later kills are to be judged by themselves.
      if (stripes > 0 || bad > 0) {
        console.log(
          `${this.#client}: kill ${this.result.kills}: ${file.name}: ${stripes} torn stripes, ` +
            `${bad} bad slots`,
        )
        this.#renew(file)
      }
    }
    this.result.tornStripes += torn
    if (torn > 0) this.result.tornKills++
  }

  /** Stripes whose fragments are not all those of what the first K decode to. */
  #tornStripes(name: string): number {
    const { geometry, volume } = this.#target
    const codec = new Codec(geometry)
    const fragments = volume.bricks.map((brick) => readFileSync(join(brick, name)))
    const size = Math.min(...fragments.map(({ length }) => length))
    const first = Array.from({ length: geometry.dataCount }, (_, brick) => brick)
    const parts = first.map((brick) => [fragments[brick]!.subarray(0, size)])
    const data = codec.decode(first, parts, size, 0, size * geometry.dataCount)
    const all = volume.bricks.map((_, brick) => brick)
    const expected = codec.encode([data], data.length, all)
    let torn = 0
    for (let at = 0; at < size; at += 512) {
      const same = all.every((brick) => {
        const wanted = expected[brick]!.subarray(at, at + 512)
        return fragments[brick]!.subarray(at, at + 512).equals(wanted)
      })
      if (!same) torn++
    }
    return torn + fragments.filter(({ length }) => length !== size).length
  }

  /** Slots that are neither old nor new through the stock client; notes what they are. */
  #read(file: Target, allowed: readonly number[][]): number {
    let content: Buffer
    try {
      content = readFileSync(join(this.#reader!.dir, file.name))
    } catch (error) {
      this.result.readErrors.push(`kill ${this.result.kills}: ${file.name}: ${String(error)}`)
      return 1
    }
    let bad = 0
    for (const [slot, { offset, size }] of slotsOf(file.seed).entries()) {
      const found = content.subarray(offset, offset + size)
      const generation = allowed[slot]!.find((one) =>
        found.equals(slotContent(file.seed, slot, size, one)),
      )
      if (generation === undefined) bad++
      else file.generations[slot] = generation
    }
    return bad
  }

  async #heal(): Promise<void> {
    const names = this.#files.map(({ name }) => name)
    await this.#target.healed()
    await this.#target.settled(names)
    const files = this.#files.map(({ name, seed, generations }) => ({
      name,
      content: Buffer.concat(
        slotsOf(seed).map(({ size }, slot) => slotContent(seed, slot, size, generations[slot]!)),
      ),
    }))
    await this.#target.checkFiles(files)
    assert.ok(this.result.kills > 0)
  }
}
