/**
 * A replicated volume on bricks of this process, used by many workers at a time while one brick
 * after the other is lost and comes back: every request may be lost on its way there, or its answer
 * on its way back. A second client heals meanwhile. At the end of a round all copies must be equal,
 * and what the workers made.
 */
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { E } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import type { FopName, Rep, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import { dropGone, healObject, pendingOfBrick, tidy } from '../../src/server/heal.ts'
import { getXattr, listXattr } from '../../src/sys/xattr.ts'
import { makeStore } from './disk-store.ts'
import { letGo, type ReplicateGraph, replicateGraph } from './replicate-graph.ts'
import { seeded, turn } from './seeded.ts'
import { type Disk, SimStore } from './sim-store.ts'

const WORKERS = 6
const DIRS = 3
/** Files of a worker that are kept at a time. */
const OWN_MAX = 5
const STEPS_MAX = 40
const HEAL_ROUNDS_MAX = 20
/** Turns of the event loop that a message takes, now and then and mostly. */
const SLOW_TURNS = 30
const TURNS = 4

const OPTIONS = {
  'use-anonymous-inode': 'yes',
  'granular-entry-heal': 'on',
  'volume-id': '3b241101-e2bb-4255-8caf-4136c566a962',
}
const HEALER = { 'data-self-heal': 'on', 'metadata-self-heal': 'on', 'entry-self-heal': 'on' }

/** A brick's connections: messages take their time, and those under way are lost with them. */
class Wire implements Disk {
  readonly #disk: Disk
  readonly #random: () => number
  readonly #cuts = new Map<string, number>()
  /** Requests of one client arrive in order. */
  readonly #last = new Map<string, Promise<void>>()

  constructor(disk: Disk, random: () => number) {
    this.#disk = disk
    this.#random = random
  }

  get top() {
    return this.#disk.top
  }

  get path(): string {
    return this.#disk.path
  }

  async #pause(): Promise<void> {
    const turns = this.#random() < 0.05 ? SLOW_TURNS : TURNS
    for (let left = Math.floor(this.#random() * turns); left > 0; left--) await turn()
  }

  async carryOut(frame: Frame, client: string, fop: FopName, req: Req<FopName>) {
    const cuts = this.#cuts.get(client)
    const before = this.#last.get(client)
    const arrived = (async () => {
      await this.#pause()
      await before
    })()
    this.#last.set(client, arrived)
    await arrived
    const lost = { errno: E.NOTCONN } as Rep<FopName>
    if (this.#cuts.get(client) !== cuts) return lost
    const rep = await this.#disk.carryOut(frame, client, fop, req)
    await this.#pause()
    return this.#cuts.get(client) === cuts ? rep : lost
  }

  disconnected(client: string): void {
    this.#cuts.set(client, (this.#cuts.get(client) ?? 0) + 1)
    this.#disk.disconnected(client)
  }

  isOpen(fd: Fd): boolean {
    return this.#disk.isOpen(fd)
  }
}

export class ReplicateChaos {
  readonly #random: () => number
  readonly #ours: ReplicateGraph
  readonly #theirs: ReplicateGraph
  readonly #paths: readonly string[]
  readonly #arbiter: boolean
  /** Contents by path. */
  readonly #files = new Map<string, string>()
  readonly #owned: string[][] = Array.from({ length: WORKERS }, () => [])
  #next = 0
  #ending = false
  readonly #problems: string[] = []
  steps = 0

  private constructor(
    random: () => number,
    ours: ReplicateGraph,
    theirs: ReplicateGraph,
    paths: readonly string[],
    arbiter: boolean,
  ) {
    this.#random = random
    this.#ours = ours
    this.#theirs = theirs
    this.#paths = paths
    this.#arbiter = arbiter
  }

  static async make(seed: number, arbiter = false): Promise<ReplicateChaos> {
    const random = seeded(seed)
    const stores: SimStore[] = []
    for (let brick = 0; brick < 3; brick++) {
      const { disk } = await makeStore('V', arbiter && brick === 2)
      assert.ok(disk !== undefined, 'needs real bricks')
      stores.push(new SimStore(new Wire(disk, random)))
    }
    const shape = arbiter ? { 'arbiter-count': '1' } : {}
    const heals = random() < 0.5 ? HEALER : {}
    const delay = random() < 0.5 ? { 'post-op-delay-secs': '0' } : {}
    const options = { ...OPTIONS, ...shape, ...heals, ...delay }
    const ours = await replicateGraph({ stores, options })
    const theirs = await replicateGraph({
      stores,
      options: { ...OPTIONS, ...shape, ...HEALER },
      client: 'healer',
    })
    const paths = stores.map(({ disk }) => disk!.path)
    const chaos = new ReplicateChaos(random, ours, theirs, paths, arbiter)
    for (let i = 0; i < DIRS; i++) await ours.mount.mkdir(`/d${i}`)
    return chaos
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  async #turns(most: number): Promise<void> {
    for (let left = this.#below(most); left > 0; left--) await turn()
  }

  /** Loses a brick under load, brings it back, heals, compares. */
  async round(): Promise<void> {
    this.#ending = false
    const workers = Array.from({ length: WORKERS }, (_, worker) => this.#work(worker))
    const all = Promise.all(workers)
    const healer = this.#healMeanwhile()
    const lost = this.#below(3)
    for (let times = 1 + this.#below(2); times > 0; times--) {
      await this.#turns(400)
      this.#set(lost, false)
      await this.#turns(600)
      await this.#bringBack(lost)
      await this.#turns(600)
    }
    this.#ending = true
    await all
    await healer
    await letGo(this.#ours)
    assert.deepEqual(this.#problems, [])
    await this.#heal()
    this.#compare()
    await this.#thin()
  }

  #set(brick: number, up: boolean): void {
    this.#ours.bricks[brick]!.up = up
    this.#theirs.bricks[brick]!.up = up
  }

  /** The clients find it one after the other. */
  async #bringBack(brick: number): Promise<void> {
    const [first, second] =
      this.#random() < 0.5 ? [this.#ours, this.#theirs] : [this.#theirs, this.#ours]
    first.bricks[brick]!.up = true
    await this.#turns(200)
    second.bricks[brick]!.up = true
  }

  // --- load --------------------------------------------------------------------------------------

  async #work(worker: number): Promise<void> {
    const own = this.#owned[worker]!
    for (let step = 0; step < STEPS_MAX && !this.#ending; step++) {
      try {
        await this.#step(own)
      } catch (error) {
        this.#problems.push(`${(error as Error).message}, bricks up ${this.#ours.afr.up}`)
        return
      }
      this.steps++
      await this.#turns(10)
    }
  }

  #newName(): string {
    const n = this.#next++
    return n % 7 === 0 ? `/own${n}/f${n}` : `/d${n % DIRS}/f${n}`
  }

  async #parentOf(path: string): Promise<void> {
    const { mount } = this.#ours
    const dir = path.slice(0, path.lastIndexOf('/'))
    if (dir.startsWith('/own')) await mount.mkdir(dir)
  }

  async #step(own: string[]): Promise<void> {
    const { mount } = this.#ours
    const kind = own.length === 0 ? 0 : own.length > OWN_MAX ? 7 : this.#below(8)
    if (kind < 2) return this.#create(own)
    const at = this.#below(own.length)
    const path = own[at]!
    const text = this.#files.get(path)!
    if (kind < 4) {
      const more = `${this.#next++} `.repeat(this.#below(200))
      const fd = await mount.open(path)
      await mount.write(fd, text.length, more)
      await mount.fop('flush', { fd })
      fd.release()
      this.#files.set(path, text + more)
    } else if (kind < 6) {
      const over = kind === 5 && own.length > 1
      const to = over ? own[(at + 1) % own.length]! : this.#newName()
      if (!over) await this.#parentOf(to)
      await mount.rename(path, to)
      own.splice(at, 1)
      if (!over) own.push(to)
      this.#files.delete(path)
      this.#files.set(to, text)
    } else if (kind === 6) {
      const to = this.#newName()
      await this.#parentOf(to)
      await mount.link(path, to)
      await mount.unlink(path)
      own[at] = to
      this.#files.delete(path)
      this.#files.set(to, text)
    } else {
      await mount.unlink(path)
      own.splice(at, 1)
      this.#files.delete(path)
    }
  }

  async #create(own: string[]): Promise<void> {
    const { mount } = this.#ours
    const path = this.#newName()
    await this.#parentOf(path)
    const fd = await mount.create(path)
    const text = `${path} `.repeat(this.#below(200))
    if (text !== '') await mount.write(fd, 0, text)
    await mount.fop('flush', { fd })
    fd.release()
    own.push(path)
    this.#files.set(path, text)
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
    const { afr, mount } = this.#theirs
    dropGone(this.#paths)
    for (const gfid of this.#pending()) await healObject(mount.graph, afr as never, gfid)
    await mount.settle()
    await tidy(mount.graph)
  }

  async #healMeanwhile(): Promise<void> {
    while (!this.#ending) {
      await this.#turns(300)
      if (this.#theirs.afr.up === this.#theirs.afr.all) await this.#healOnce()
    }
  }

  async #heal(): Promise<void> {
    for (let i = 0; i < HEAL_ROUNDS_MAX; i++) {
      await this.#ours.mount.settle()
      if (this.#pending().length === 0) return
      await this.#healOnce()
      if (i > HEAL_ROUNDS_MAX / 2) await new Promise((resolve) => setTimeout(resolve, 100))
    }
    assert.deepEqual(this.#left(), [], 'not healed')
  }

  #compare(): void {
    const trees = this.#paths.map((path, brick) => treeOf(path, !(this.#arbiter && brick === 2)))
    const expected = [...this.#files.keys()].sort()
    for (const [brick, tree] of trees.entries()) {
      const names = [...tree.keys()].filter((name) => /\/f\d+$/.test(name))
      assert.deepEqual(names.sort(), expected, `names on brick ${brick}`)
      for (const [path, { gfid, text, marks }] of tree) {
        assert.equal(gfid, trees[0]!.get(path)!.gfid, `gfid of ${path} on brick ${brick}`)
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
    await letGo(this.#ours)
  }

  async end(): Promise<void> {
    for (const { mount } of [this.#ours, this.#theirs]) await mount.graph.stop()
  }
}

interface Entry {
  gfid: string
  /** Of a file with content. */
  text: string | undefined
  /** Counters that are not zero. */
  marks: string[]
}

function treeOf(brick: string, contents: boolean): Map<string, Entry> {
  const tree = new Map<string, Entry>()
  const walk = (path: string): void => {
    for (const name of fs.readdirSync(join(brick, path)).sort()) {
      if (path === '' && name.startsWith('.glusterfs')) continue
      const at = `${path}/${name}`
      const full = join(brick, at)
      const isFile = fs.lstatSync(full).isFile()
      const gfid = getXattr(full, 'trusted.gfid')
      const text = isFile && contents ? fs.readFileSync(full, 'latin1') : undefined
      const hex = typeof gfid === 'number' ? 'none' : gfid.toString('hex')
      tree.set(at, { gfid: hex, text, marks: marksOf(full) })
      if (!isFile) walk(at)
    }
  }
  walk('')
  return tree
}

function marksOf(path: string): string[] {
  const names = listXattr(path)
  if (typeof names === 'number') return []
  return names.flatMap((name) => {
    const value = name.startsWith('trusted.afr.') ? getXattr(path, name) : 0
    if (typeof value === 'number' || value.every((byte) => byte === 0)) return []
    return [`${name}=${value.toString('hex')}`]
  })
}
