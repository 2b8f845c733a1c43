/**
 * A client is killed (SIGKILL) at random moments of a write load.
 *
 * No protocol of these bricks makes a write atomic: a client killed between the requests to two
 * bricks leaves a stripe of old and new fragments, and so does the kernel's reset of a connection
 * with unread answers, upon which a brick drops requests it had received. Nobody can tell later
 * which are which, so such a torn stripe reads as neither. Stock leaves them; ours sends to all
 * bricks by one system call, and its connections outlive it, so that every write is there or not.
 * Whatever is torn may only be what was being written at that moment, nothing else changes, no read
 * fails, and heal gets everything clean.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { CHUNK_SIZE } from '../../xlators/cluster/disperse/codec/geometry.ts'
import { DisperseVolume, parseShape } from './disperse-volume.ts'
import { UNCACHED, uncached } from './edit-proof.ts'
import { killMount } from './kill-mount.ts'
import { type ClientKind, type Mount, sleep, space } from './sandbox.ts'
import { seeded } from './seeded.ts'
import {
  initialContent,
  readLog,
  readStreamLog,
  slotContent,
  slotsOf,
  startWriter,
  streamPart,
} from './slot-writer.ts'

const WRITERS = 4
/** Bricks do what they have received of a dead client. */
const SETTLE_MS = 1000
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
  /** Slots in them that read neither old nor new through the stock client. */
  tornSlots: number
  /** Reads of the appended file that failed through stock: lengths of fragments differ. */
  appendErrors: number
  /** Files that a killed stock client left in a state in which stock can do nothing with them. */
  lostFiles: number
  /** What must not be. */
  problems: string[]
}

interface Target {
  name: string
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
  #stream = 'stream'
  readonly result: KillResult = {
    kills: 0,
    underWay: 0,
    complete: 0,
    tornStripes: 0,
    tornKills: 0,
    tornSlots: 0,
    appendErrors: 0,
    lostFiles: 0,
    problems: [],
  }

  private constructor(target: DisperseVolume, client: ClientKind, seed: number) {
    this.#target = target
    this.#client = client
    this.#random = seeded(seed)
  }

  /** `progress` hears before each complete heal. */
  static async run(
    shape: string,
    client: ClientKind,
    kills: number,
    seed: number,
    progress: (result: KillResult) => void = () => {},
  ): Promise<KillResult> {
    const name = `k${client}${shape.replaceAll(/\W/g, '')}`
    const set = { ...uncached, 'performance.write-behind': 'off' }
    const target = await DisperseVolume.create(name, parseShape(shape), set)
    const proof = new KillProof(target, client, seed)
    await proof.#run(kills, seed, progress)
    await target.volume.destroy()
    return proof.result
  }

  async #run(kills: number, seed: number, progress: (result: KillResult) => void): Promise<void> {
    this.#reader = await this.#target.volume.mount('stock', UNCACHED)
    for (let i = 0; i < WRITERS; i++) {
      const file = { name: `slots-${i}`, seed: seed * 100 + i, generations: [] }
      this.#files.push(file)
      this.#renew(file)
    }
    writeFileSync(join(this.#reader.dir, this.#stream), '')
    while (this.result.kills < kills) {
      await this.#kill()
      this.result.kills++
      if (this.result.kills % HEAL_EVERY === 0) progress(this.result)
      // What stock leaves of its own cannot always be healed.
      if (this.#client !== 'ours') continue
      if (this.result.kills % HEAL_EVERY === 0 || this.result.kills === kills) await this.#heal()
    }
    await this.#reader.unmount()
  }

  /** Writes the file anew through the stock client. */
  #renew(file: Target): void {
    file.name = this.#write(file.name, initialContent(file.seed))
    file.generations = slotsOf(file.seed).map(() => 0)
  }

  /** Under another name where a stock client left what stock cannot open; the name used. */
  #write(name: string, content: Buffer): string {
    try {
      writeFileSync(join(this.#reader!.dir, name), content)
      return name
    } catch (error) {
      if (this.#client === 'ours') throw error
      this.result.lostFiles++
      return this.#write(`${name}-`, content)
    }
  }

  #log(name: string): string {
    return space(`${name}.log`)
  }

  async #kill(): Promise<void> {
    const mount = await this.#target.volume.mount(this.#client, UNCACHED)
    const logs = [...this.#files.map(({ name }) => name), this.#stream].map((name) =>
      this.#log(name),
    )
    for (const log of logs) writeFileSync(log, '')
    const at = (name: string): string => join(mount.dir, name)
    const writers = this.#files.map(({ name, seed }) =>
      startWriter('slots', at(name), this.#log(name), seed, this.#generation),
    )
    writers.push(
      startWriter('stream', at(this.#stream), this.#log(this.#stream), this.result.kills),
    )
    const allWrite = (): boolean => logs.every((log) => readFileSync(log).length > 0)
    await killMount(mount, writers, allWrite, this.#random)
    await sleep(SETTLE_MS)
    this.#judge()
    await this.#judgeStream()
  }

  #judge(): void {
    let torn = 0
    for (const file of this.#files) {
      const written = readLog(
        this.#log(file.name),
        file.generations.map((generation) => [generation]),
      )
      this.result.complete += written.complete
      if (written.allowed.some(({ length }) => length > 1)) this.result.underWay++
      this.#generation = Math.max(this.#generation, written.last + 1)
      const stripes = this.#tornStripes(file.name)
      const bad = this.#badSlots(file, written.allowed)
      this.#blame(file, written.allowed, stripes, bad)
      torn += stripes.length
      this.result.tornSlots += bad.length
      // A torn stripe stays torn: later kills are to be judged by themselves.
      if (stripes.length > 0 || bad.length > 0) this.#renew(file)
    }
    this.result.tornStripes += torn
    if (torn > 0) this.result.tornKills++
  }

  #problem(text: string): void {
    this.result.problems.push(`kill ${this.result.kills}: ${text}`)
  }

  /** Only stripes that were being written may be torn, only slots in torn stripes be bad. */
  #blame(file: Target, allowed: readonly number[][], torn: number[], bad: number[]): void {
    const { stripeSize } = this.#target.geometry
    const slots = slotsOf(file.seed)
    const touches = (slot: number, stripe: number): boolean => {
      const { offset, size } = slots[slot]!
      return offset < (stripe + 1) * stripeSize && offset + size > stripe * stripeSize
    }
    const underWay = allowed.flatMap(({ length }, slot) => (length > 1 ? [slot] : []))
    for (const stripe of torn) {
      if (underWay.some((slot) => touches(slot, stripe))) continue
      this.#problem(`${file.name}: stripe ${stripe} is torn, nobody was writing it`)
    }
    for (const slot of bad) {
      if (torn.some((stripe) => touches(slot, stripe))) continue
      this.#problem(`${file.name}: slot ${slot} is neither old nor new, its stripes are whole`)
    }
  }

  /** Stripes whose fragments are not all those of what the first K decode to. */
  #tornStripes(name: string): number[] {
    const { geometry, volume } = this.#target
    const codec = new Codec(geometry)
    const fragments = volume.bricks.map((brick) => readFileSync(join(brick, name)))
    const sizes = fragments.map(({ length }) => length)
    const size = Math.min(...sizes)
    if (size !== Math.max(...sizes)) this.#problem(`${name}: lengths of fragments: ${sizes}`)
    const first = Array.from({ length: geometry.dataCount }, (_, brick) => brick)
    const parts = first.map((brick) => [fragments[brick]!.subarray(0, size)])
    const data = codec.decode(first, parts, size, 0, size * geometry.dataCount)
    const all = volume.bricks.map((_, brick) => brick)
    const expected = codec.encode([data], data.length, all)
    const torn: number[] = []
    for (let at = 0; at < size; at += CHUNK_SIZE) {
      const same = all.every((brick) => {
        const wanted = expected[brick]!.subarray(at, at + CHUNK_SIZE)
        return fragments[brick]!.subarray(at, at + CHUNK_SIZE).equals(wanted)
      })
      if (!same) torn.push(at / CHUNK_SIZE)
    }
    return torn
  }

  /** Slots that are neither old nor new through the stock client; notes what the others are. */
  #badSlots(file: Target, allowed: readonly number[][]): number[] {
    let content: Buffer
    try {
      content = readFileSync(join(this.#reader!.dir, file.name))
    } catch (error) {
      // Stock's kills leave files it cannot read: they are counted when they are written anew.
      if (this.#client === 'ours') this.#problem(`${file.name}: ${String(error)}`)
      return [0]
    }
    const bad: number[] = []
    for (const [slot, { offset, size }] of slotsOf(file.seed).entries()) {
      const found = content.subarray(offset, offset + size)
      const generation = allowed[slot]!.find((one) =>
        found.equals(slotContent(file.seed, slot, size, one)),
      )
      if (generation === undefined) bad.push(slot)
      else file.generations[slot] = generation
    }
    return bad
  }

  /** The appended file: through stock as far as it can read it, through ours in any case. */
  async #judgeStream(): Promise<void> {
    const { synced, begun } = readStreamLog(this.#log(this.#stream))
    const check = (dir: string): void => {
      const content = readFileSync(join(dir, this.#stream))
      if (content.length < synced || content.length > Math.max(synced, begun)) {
        this.#problem(`${content.length} bytes appended; synced ${synced}, begun ${begun}`)
      }
      // the last stripe may be torn like any other
      const whole = Math.max(0, this.#target.geometry.down(synced))
      if (!content.subarray(0, whole).equals(streamPart(0, whole))) {
        this.#problem('the appended file is not what was appended')
      }
    }
    try {
      check(this.#reader!.dir)
    } catch {
      this.result.appendErrors++
    }
    if (this.#client !== 'ours') {
      // stock may be unable to truncate it, or to do anything with it
      try {
        rmSync(join(this.#reader!.dir, this.#stream))
      } catch {
        this.#stream += '-'
        this.result.lostFiles++
      }
      writeFileSync(join(this.#reader!.dir, this.#stream), '')
      return
    }
    const mount = await this.#target.volume.mount('ours', UNCACHED)
    try {
      check(mount.dir)
    } catch (error) {
      this.#problem(`the appended file cannot be read: ${String(error)}`)
    }
    // What is torn at its end would be taken for wrong from now on.
    writeFileSync(join(mount.dir, this.#stream), '')
    await mount.unmount()
  }

  async #heal(): Promise<void> {
    const names = [...this.#files.map(({ name }) => name), this.#stream]
    await this.#target.healed()
    await this.#target.settled(names)
    const files = this.#files.map(({ name, seed, generations }) => ({
      name,
      content: Buffer.concat(
        slotsOf(seed).map(({ size }, slot) => slotContent(seed, slot, size, generations[slot]!)),
      ),
    }))
    files.push({ name: this.#stream, content: Buffer.alloc(0) })
    await this.#target.checkFiles(files)
  }
}
