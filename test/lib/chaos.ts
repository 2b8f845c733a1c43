/**
 * A replicated or dispersed volume on bricks of this process, used by many workers at a time. Every
 * request may be lost on its way there, or its answer on its way back, when bricks are lost: as many
 * as may be, while another client heals, or all of them at once. Then what was acknowledged must be
 * there and, after a heal, all copies be equal.
 */
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { E } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import { dropGone, healObject, pendingOfBrick, tidy } from '../../src/server/heal.ts'
import { CHUNK_SIZE } from '../../xlators/cluster/disperse/codec/index.ts'
import disperseDefinition, { type Disperse } from '../../xlators/cluster/disperse/index.ts'
import type { Replicate } from '../../xlators/cluster/replicate/index.ts'
import { marksOf, treeOf } from './brick-tree.ts'
import { makeStore } from './disk-store.ts'
import { LossyWire } from './lossy-wire.ts'
import { replicateGraph } from './replicate-graph.ts'
import { sleep } from './sandbox.ts'
import { seeded, turn } from './seeded.ts'
import { FopFailure, type SimMount, simGraph } from './sim-graph.ts'
import { SimStore } from './sim-store.ts'

const WORKERS = 6
const DIRS = 3
/** Files of a worker that are kept at a time. */
const OWN_MAX = 5
const STEPS_MAX = 40
const HEAL_ROUNDS_MAX = 20
/** How often a file is asked for that is being healed. */
const READS_MAX = 20

const REPLICATE = {
  'use-anonymous-inode': 'yes',
  'granular-entry-heal': 'on',
  'volume-id': '3b241101-e2bb-4255-8caf-4136c566a962',
}
const HEALER = { 'data-self-heal': 'on', 'metadata-self-heal': 'on', 'entry-self-heal': 'on' }

/** A client of the bricks, whatever makes a volume of them. */
interface Client {
  readonly mount: SimMount
  readonly xl: Replicate | Disperse
}

export interface Kind {
  readonly bricks: number
  /** How many may be lost at a time. */
  readonly spare: number
  /** Bytes that are written together: what is torn by a kill of everything, and no more. */
  readonly stripe: number
  readonly arbiter: boolean
}

export const KINDS: Readonly<Record<string, Kind>> = {
  'replica 3': { bricks: 3, spare: 1, stripe: 1, arbiter: false },
  arbiter: { bricks: 3, spare: 1, stripe: 1, arbiter: true },
  '4+2': { bricks: 6, spare: 2, stripe: 4 * CHUNK_SIZE, arbiter: false },
  '2+1': { bricks: 3, spare: 1, stripe: 2 * CHUNK_SIZE, arbiter: false },
}

/** `text`: what the file holds before it. */
type Step =
  | { do: 'create'; path: string }
  | { do: 'append'; path: string; text: string; more: string }
  | { do: 'rename' | 'link'; path: string; text: string; to: string; over?: string | undefined }
  | { do: 'unlink'; path: string; text: string }

const isDispersed = ({ stripe }: Kind): boolean => stripe > 1

async function newClient(
  kind: Kind,
  stores: readonly SimStore[],
  client: string,
  options: Record<string, string>,
): Promise<Client> {
  if (!isDispersed(kind)) {
    const shape = kind.arbiter ? { 'arbiter-count': '1' } : {}
    const made = await replicateGraph({
      stores,
      options: { ...REPLICATE, ...shape, ...options },
      client,
    })
    return { mount: made.mount, xl: made.afr }
  }
  const names = stores.map((_store, index) => `V-client-${index}`)
  const below = names
    .map((name) => `volume ${name}\ntype protocol/client\noption x y\nend-volume\n`)
    .join('')
  const set = `option redundancy ${kind.spare}\nsubvolumes ${names.join(' ')}`
  const volfile = `${below}volume V-disperse-0\ntype cluster/disperse\n${set}\nend-volume\n`
  const byName = new Map(names.map((name, index) => [name, stores[index]!]))
  const xlators = [disperseDefinition]
  const mount = await simGraph({ volfile, xlators, stores: byName, client })
  await mount.start()
  await mount.settle()
  return { mount, xl: mount.graph.find('V-disperse-0') as unknown as Disperse }
}

export class Chaos {
  readonly #random: () => number
  readonly #kind: Kind
  readonly #stores: readonly SimStore[]
  readonly #options: Record<string, string>
  #ours!: Client
  #healer!: Client
  #clients = 0
  /** Contents by path, and names that are no more. */
  readonly #files = new Map<string, string>()
  readonly #gone = new Set<string>()
  readonly #owned: string[][] = Array.from({ length: WORKERS }, () => [])
  /** What each worker is about to do. */
  readonly #doing: (Step | undefined)[] = []
  #next = 0
  #ending = false
  #killed = false
  readonly #problems: string[] = []
  steps = 0

  private constructor(random: () => number, kind: Kind, stores: readonly SimStore[]) {
    this.#random = random
    this.#kind = kind
    this.#stores = stores
    const heals = random() < 0.5 && !isDispersed(kind) ? HEALER : {}
    const delay = random() < 0.5 && !isDispersed(kind) ? { 'post-op-delay-secs': '0' } : {}
    this.#options = { ...heals, ...delay }
  }

  static async make(seed: number, kind: Kind): Promise<Chaos> {
    const random = seeded(seed)
    const stores: SimStore[] = []
    for (let brick = 0; brick < kind.bricks; brick++) {
      const { disk } = await makeStore('V', kind.arbiter && brick === 2)
      assert.ok(disk !== undefined, 'needs real bricks')
      stores.push(new SimStore(new LossyWire(disk, random)))
    }
    const chaos = new Chaos(random, kind, stores)
    await chaos.#connect()
    for (let i = 0; i < DIRS; i++) await chaos.#ours.mount.mkdir(`/d${i}`)
    return chaos
  }

  async #connect(): Promise<void> {
    const healing = isDispersed(this.#kind) ? {} : HEALER
    const name = this.#clients++
    this.#ours = await newClient(this.#kind, this.#stores, `client-${name}`, this.#options)
    this.#healer = await newClient(this.#kind, this.#stores, `healer-${name}`, healing)
  }

  get #paths(): string[] {
    return this.#stores.map(({ disk }) => disk!.path)
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  async #turns(most: number): Promise<void> {
    for (let left = this.#below(most); left > 0; left--) await turn()
  }

  #startLoad(): Promise<unknown> {
    this.#ending = false
    this.#killed = false
    return Promise.all(this.#owned.map((own, worker) => this.#work(worker, own)))
  }

  /** Loses bricks under load, brings them back, heals, compares. */
  async lose(): Promise<void> {
    const load = this.#startLoad()
    const healer = this.#healMeanwhile()
    const lost = this.#shuffled().slice(0, 1 + this.#below(this.#kind.spare))
    for (let times = 1 + this.#below(2); times > 0; times--) {
      await this.#turns(400)
      for (const brick of lost) this.#set(brick, false)
      await this.#turns(600)
      for (const brick of lost) await this.#bringBack(brick)
      await this.#turns(600)
    }
    this.#ending = true
    await load
    await healer
    await this.#letGo()
    assert.deepEqual(this.#problems, [])
    await this.#finish()
  }

  /** Loses all bricks, and the client, under load: what was done is there, and nothing is broken. */
  async kill(): Promise<void> {
    const load = this.#startLoad()
    await this.#turns(500)
    this.#killed = true
    for (const brick of this.#shuffled()) {
      if (this.#random() < 0.3) await this.#turns(5)
      this.#set(brick, false)
    }
    this.#ending = true
    await load
    for (const { mount } of [this.#ours, this.#healer]) await mount.graph.stop()
    await this.#connect()
    for (const [worker, step] of this.#doing.entries()) {
      if (step !== undefined) await this.#settle(worker, step)
    }
    for (const [path, text] of this.#files) {
      const found = await this.#read(path)
      if (found !== text) this.#problems.push(`${path}: ${lengthOf(found)}, not ${text.length}`)
    }
    for (const path of this.#gone) {
      if ((await this.#read(path)) !== undefined) this.#problems.push(`${path} is there again`)
    }
    this.#gone.clear()
    assert.deepEqual(this.#problems, [])
    await this.#letGo()
    await this.#finish()
  }

  async #finish(): Promise<void> {
    await this.#heal()
    this.#compare()
    for (const [path, text] of this.#files) {
      const found = await this.#read(path)
      assert.ok(found === text, `${path} healed: ${this.#difference(found, text)}`)
    }
    await this.#thin()
  }

  #difference(found: string | undefined, text: string): string {
    if (found === undefined) return 'none'
    let at = 0
    while (at < text.length && found[at] === text[at]) at++
    return `${found.length} bytes, not ${text.length}, other from ${at} on: ${found.slice(at, at + 40)}`
  }

  #shuffled(): number[] {
    return this.#stores
      .map((_store, brick): [number, number] => [this.#random(), brick])
      .sort(([a], [b]) => a - b)
      .map(([, brick]) => brick)
  }

  #set(brick: number, up: boolean): void {
    for (const { mount } of [this.#ours, this.#healer]) mount.bricks[brick]!.up = up
  }

  /** The clients find it one after the other. */
  async #bringBack(brick: number): Promise<void> {
    const both = [this.#ours, this.#healer]
    if (this.#random() < 0.5) both.reverse()
    both[0]!.mount.bricks[brick]!.up = true
    await this.#turns(200)
    both[1]!.mount.bricks[brick]!.up = true
  }

  /** Ends all kept locks as if their time were over. */
  async #letGo(): Promise<void> {
    const { mount, xl } = this.#ours
    xl.releaseLocks()
    for (let i = 0; xl.lockCount > 0; i++) {
      assert.ok(i < 100_000, 'locks are not released')
      await turn()
    }
    await mount.settle()
  }

  // --- load --------------------------------------------------------------------------------------

  async #work(worker: number, own: string[]): Promise<void> {
    for (let step = 0; step < STEPS_MAX && !this.#ending; step++) {
      const next = this.#choose(own)
      this.#doing[worker] = next
      try {
        await this.#carryOut(next)
      } catch (error) {
        if (this.#killed) return
        const what = JSON.stringify({ ...next, text: '', more: '', over: '' })
        this.#problems.push(`${(error as Error).message} in ${what}`)
        return
      }
      this.#doing[worker] = undefined
      this.#apply(next, own)
      this.steps++
      await this.#turns(10)
    }
  }

  #newName(): string {
    const n = this.#next++
    return n % 7 === 0 ? `/own${n}/f${n}` : `/d${n % DIRS}/f${n}`
  }

  #choose(own: string[]): Step {
    const kind = own.length === 0 ? 0 : own.length > OWN_MAX ? 7 : this.#below(8)
    if (kind < 2) return { do: 'create', path: this.#newName() }
    const at = this.#below(own.length)
    const path = own[at]!
    const text = this.#files.get(path)!
    if (kind < 4) return { do: 'append', path, text, more: this.#text(`${path} more `) }
    if (kind === 7) return { do: 'unlink', path, text }
    if (kind === 6) return { do: 'link', path, text, to: this.#newName() }
    const over = kind === 5 && own.length > 1
    if (!over) return { do: 'rename', path, text, to: this.#newName() }
    const to = own[(at + 1) % own.length]!
    return { do: 'rename', path, text, to, over: this.#files.get(to) }
  }

  #text(word: string): string {
    return word.repeat(this.#below(this.#random() < 0.2 ? 1000 : 100))
  }

  async #carryOut(step: Step): Promise<void> {
    const { mount } = this.#ours
    if (step.do === 'unlink') return mount.unlink(step.path)
    if (step.do === 'append') {
      const fd = await mount.open(step.path)
      try {
        if (step.more !== '') await mount.write(fd, step.text.length, step.more)
        await this.#flush(fd)
      } finally {
        fd.release()
      }
      return
    }
    const target = step.do === 'create' ? step.path : step.to
    const parent = target.slice(0, target.lastIndexOf('/'))
    if (parent.startsWith('/own') && (step.do !== 'rename' || step.over === undefined)) {
      await mount.mkdir(parent)
    }
    if (step.do === 'create') {
      const fd = await mount.create(step.path)
      try {
        await mount.write(fd, 0, firstText(step.path))
        await this.#flush(fd)
      } finally {
        fd.release()
      }
    } else if (step.do === 'rename') await mount.rename(step.path, target)
    else {
      await mount.link(step.path, target)
      await mount.unlink(step.path)
    }
  }

  async #flush(fd: Fd): Promise<void> {
    for (const fop of ['fsync', 'flush'] as const) {
      const { errno } = await this.#ours.mount.fop(fop, { fd, datasync: false })
      if (errno !== 0) throw new Error(`${fop}: errno ${errno}`)
    }
  }

  #apply(step: Step, own: string[]): void {
    const { path } = step
    if (step.do === 'create') {
      own.push(path)
      this.#files.set(path, firstText(path))
      return
    }
    if (step.do === 'append') {
      this.#files.set(path, step.text + step.more)
      return
    }
    own.splice(own.indexOf(path), 1)
    this.#files.delete(path)
    this.#gone.add(path)
    if (step.do === 'unlink') return
    if (!own.includes(step.to)) own.push(step.to)
    this.#files.set(step.to, step.text)
    this.#gone.delete(step.to)
  }

  // --- after a kill of everything ----------------------------------------------------------------

  /** Undefined: there is no such file. */
  async #read(path: string): Promise<string | undefined> {
    for (let i = 0; ; i++) {
      try {
        const fd = await this.#ours.mount.open(path, 0)
        try {
          return await this.#ours.mount.read(fd)
        } finally {
          fd.release()
        }
      } catch (error) {
        if (!(error instanceof FopFailure)) throw error
        if (error.errno === E.NOENT) return undefined
        // What was left half done is being healed.
        if (i >= READS_MAX) return error.message
        await this.#ours.mount.settle()
        await this.#turns(50)
      }
    }
  }

  /** 0 when it is gone; tried again while it is being healed. */
  async #remove(path: string): Promise<number> {
    for (let i = 0; ; i++) {
      try {
        await this.#ours.mount.unlink(path)
        return 0
      } catch (error) {
        if (!(error instanceof FopFailure)) throw error
        if (error.errno === E.NOENT) return 0
        if (i >= READS_MAX) return error.errno
        await this.#ours.mount.settle()
        await this.#turns(50)
      }
    }
  }

  /** A step that nobody acknowledged is done or not, and its files are as they were or shall be. */
  async #settle(worker: number, step: Step): Promise<void> {
    const names = 'to' in step ? [step.path, step.to] : [step.path]
    const found: (string | undefined)[] = []
    for (const name of names) found.push(await this.#read(name))
    const told = `${JSON.stringify({ ...step, text: '', more: '', over: '' })}: ${found
      .map(lengthOf)
      .join()}`
    if (!this.#mayBe(step, found)) this.#problems.push(told)
    const own = this.#owned[worker]!
    for (const name of names) {
      const errno = await this.#remove(name)
      if (errno !== 0) this.#problems.push(`unlink ${name}: errno ${errno} after ${told}`)
      if (own.includes(name)) own.splice(own.indexOf(name), 1)
      this.#files.delete(name)
    }
    this.#doing[worker] = undefined
  }

  #mayBe(step: Step, [found, other]: (string | undefined)[]): boolean {
    switch (step.do) {
      case 'create':
        return true
      case 'unlink':
        return found === undefined || found === step.text
      case 'append': {
        if (found === undefined || found.length < step.text.length) return false
        const { stripe } = this.#kind
        const sure = Math.floor(step.text.length / stripe) * stripe
        const most = step.text.length + step.more.length
        return found.length <= most && found.startsWith(step.text.slice(0, sure))
      }
      case 'rename':
      case 'link':
        if (found !== undefined && found !== step.text) return false
        if (found === undefined) return other === step.text
        return other === undefined || other === step.text || other === step.over
    }
  }

  // --- heal and check ----------------------------------------------------------------------------

  #pending(): string[] {
    return [...new Set(this.#paths.flatMap((path) => pendingOfBrick(path)))]
  }

  /** What hinders each heal, for the message. */
  #left(): string[] {
    return this.#pending().map((gfid) => {
      const on = this.#paths.map((path, brick) => {
        const handle = `${path}/.glusterfs/${gfid.slice(0, 2)}/${gfid.slice(2, 4)}/${gfid}`
        const { nlink } = fs.lstatSync(handle, { throwIfNoEntry: false }) ?? {}
        const index = pendingOfBrick(path).includes(gfid) ? 'indexed' : ''
        return `${brick}: ${nlink ?? 'none'} ${index} ${marksOf(handle)}`
      })
      return `${gfid}: ${on.join('; ')}`
    })
  }

  async #healOnce(): Promise<void> {
    const { xl, mount } = this.#healer
    dropGone(this.#paths)
    for (const gfid of this.#pending())
      await healObject(mount.graph, xl as never, this.#paths, gfid)
    await mount.settle()
    await tidy(mount.graph)
  }

  async #healMeanwhile(): Promise<void> {
    while (!this.#ending) {
      await this.#turns(300)
      if (this.#healer.mount.bricks.every(({ up }) => up)) await this.#healOnce()
    }
  }

  async #heal(): Promise<void> {
    for (let i = 0; i < HEAL_ROUNDS_MAX; i++) {
      await this.#ours.mount.settle()
      if (this.#pending().length === 0) return
      await this.#healOnce()
      if (i > HEAL_ROUNDS_MAX / 2) await sleep(100)
    }
    assert.deepEqual(this.#left(), [], 'not healed')
  }

  #compare(): void {
    const { arbiter } = this.#kind
    const contents = (brick: number): boolean =>
      !isDispersed(this.#kind) && !(arbiter && brick === 2)
    const trees = this.#paths.map((path, brick) => treeOf(path, contents(brick)))
    const expected = [...this.#files.keys()].sort()
    for (const [brick, tree] of trees.entries()) {
      const names = [...tree.keys()].filter((name) => /\/f\d+$/.test(name))
      assert.deepEqual(names.sort(), expected, `names on brick ${brick}`)
      for (const [path, { gfid, text, marks }] of tree) {
        const other = trees[0]!.get(path)
        // A directory that nobody uses may have been made on some.
        if (other === undefined) continue
        assert.equal(gfid, other.gfid, `gfid of ${path} on brick ${brick}`)
        assert.deepEqual(marks, [], `marks of ${path} on brick ${brick}`)
        const wanted = this.#files.get(path)
        if (text !== undefined && wanted !== undefined) {
          assert.ok(text === wanted, `${path} on brick ${brick}: ${text.length} ${wanted.length}`)
        }
      }
    }
  }

  async #thin(): Promise<void> {
    for (const own of this.#owned) {
      for (const path of own.splice(2)) {
        await this.#ours.mount.unlink(path)
        this.#files.delete(path)
      }
    }
    await this.#letGo()
  }

  async end(): Promise<void> {
    for (const { mount } of [this.#ours, this.#healer]) await mount.graph.stop()
  }
}

const firstText = (path: string): string => `${path} `.repeat(Number(path.match(/\d+$/)![0]) % 97)

const lengthOf = (found: string | undefined): string =>
  found === undefined ? 'none' : `${found.length}`
