/**
 * A random application over a graph on a simulated brick that answers late and in any order, beside
 * a model of what each call must return. One application, so no staleness is allowed: every read,
 * stat and listing shows all earlier changes; after fsync and close the brick has them.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { E } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import { Iatt, SET_ATTR_MODE } from '../../src/core/iatt.ts'
import type { Loc } from '../../src/core/loc.ts'
import type { XlatorDefinition } from '../../src/core/xlator.ts'
import { MiniMount } from './mini-mount.ts'
import { type Bench, bench } from './scripted.ts'
import { Shuffler, seeded } from './seeded.ts'
import simBrick, { type SimBrick } from './sim-brick.ts'

const NAMES = ['a', 'b', 'c', 'd']
const FILE_MAX = 400 * 1024

class ModelFile {
  data = Buffer.alloc(0)
  mode = 0o644
}

interface Opened {
  fd: Fd
  file: ModelFile
  writable: boolean
}

export class ModelRun {
  readonly #mount: MiniMount
  readonly #brick: SimBrick
  readonly #random: () => number
  readonly #shuffler: Shuffler
  readonly #names = new Map<string, ModelFile>()
  readonly #open: Opened[] = []

  constructor(bench: Bench, seed: number) {
    this.#mount = new MiniMount(bench)
    this.#brick = bench.child as unknown as SimBrick
    this.#random = seeded(seed)
    this.#shuffler = new Shuffler(this.#random)
    this.#brick.gate = this.#shuffler.gate
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      await this.#step()
      while (this.#random() < 0.4) await this.#shuffler.step()
    }
    for (const opened of [...this.#open]) await this.#close(opened)
    await this.#shuffler.drain()
    for (const [name, file] of this.#names) {
      const node = this.#brick.store.at(`/${name}`)
      assert.ok(node?.data.equals(file.data), `${name} on the brick`)
    }
    const pool = this.#mount.bench.graph.pool
    assert.equal(pool.count, 0, 'every stack ended')
  }

  #pick(size: number): number {
    return Math.floor(this.#random() * size)
  }

  #done<T>(promise: Promise<T> | T): Promise<T> {
    return this.#shuffler.until(promise)
  }

  async #step(): Promise<void> {
    const name = NAMES[this.#pick(NAMES.length)]!
    const opened = this.#open[this.#pick(this.#open.length)]
    const dice = this.#random()
    if (opened === undefined || dice < 0.1) return this.#openOrCreate(name)
    if (dice < 0.4) return this.#write(opened)
    if (dice < 0.58) return this.#read(opened)
    if (dice < 0.62) return this.#truncate(opened)
    if (dice < 0.68) return this.#stat(name)
    if (dice < 0.74) return this.#fstat(opened)
    if (dice < 0.78) return this.#fsync(opened)
    if (dice < 0.82) return this.#list()
    if (dice < 0.86) return this.#unlink(name)
    if (dice < 0.9) return this.#rename(name, NAMES[this.#pick(NAMES.length)]!)
    if (dice < 0.93) return this.#chmod(name)
    if (dice < 0.95) return this.#lookup(name)
    return this.#close(opened)
  }

  async #openOrCreate(name: string): Promise<void> {
    const sync = this.#random() < 0.15 ? 0o4010000 : 0
    const known = this.#names.get(name)
    const file = known ?? new ModelFile()
    const truncate = known !== undefined && this.#random() < 0.2 ? 0o1000 : 0
    const writable = known === undefined || truncate !== 0 || this.#random() < 0.6
    const fd = await this.#done(
      known === undefined
        ? this.#mount.create(name, 0o102 | sync)
        : this.#mount.open(name, writable ? 2 | sync | truncate : 0),
    )
    assert.ok(typeof fd !== 'number', `open of ${name}: errno ${fd}`)
    if (truncate !== 0) file.data = Buffer.alloc(0)
    this.#names.set(name, file)
    this.#open.push({ fd, file, writable })
  }

  async #write({ fd, file, writable }: Opened): Promise<void> {
    if (!writable) return
    const sequential = this.#random() < 0.6
    const count = sequential ? 1 + this.#pick(6) : 1
    let offset = this.#random() < 0.5 ? file.data.length : this.#pick(file.data.length + 20000)
    for (let i = 0; i < count; i++) {
      const size = this.#random() < 0.8 ? 1 + this.#pick(6000) : 1 + this.#pick(150000)
      if (offset + size > FILE_MAX) return
      const data = Buffer.alloc(size, 1 + this.#pick(255))
      assert.equal(await this.#done(this.#mount.write(fd, offset, data)), 0)
      const grown = Buffer.alloc(Math.max(file.data.length, offset + size))
      file.data.copy(grown)
      data.copy(grown, offset)
      file.data = grown
      offset += size
    }
  }

  async #read({ fd, file }: Opened): Promise<void> {
    const whole = this.#random() < 0.2
    let offset = whole ? 0 : this.#pick(file.data.length + 1000)
    const count = this.#random() < 0.5 ? 4 : 1
    for (let i = 0; i < count; i++) {
      const size = whole ? FILE_MAX : 1 + this.#pick(20000)
      const data = await this.#done(this.#mount.read(fd, offset, size))
      assert.ok(typeof data !== 'number', `read: errno ${data}`)
      const wanted = file.data.subarray(offset, offset + size)
      assert.equal(data.length, wanted.length, `length of a read at ${offset}+${size}`)
      assert.ok(data.equals(wanted), `bytes of a read at ${offset}+${size}`)
      offset += size
    }
  }

  async #truncate({ fd, file, writable }: Opened): Promise<void> {
    if (!writable) return
    const size = this.#pick(file.data.length + 5000)
    const rep = await this.#done(this.#mount.bench.run('ftruncate', { fd, offset: size }))
    assert.equal(rep.errno, 0)
    const data = Buffer.alloc(size)
    file.data.copy(data)
    file.data = data
  }

  async #stat(name: string): Promise<void> {
    const file = this.#names.get(name)
    if (file === undefined) return
    await this.#lookup(name)
    const rep = await this.#done(this.#mount.bench.run('stat', { loc: this.#mount.loc(name) }))
    assert.ok(rep.errno === 0, `stat of ${name}: errno ${rep.errno}`)
    assert.equal(rep.stat.size, file.data.length, `size of ${name}`)
    assert.equal(rep.stat.mode & 0o7777, file.mode, `mode of ${name}`)
  }

  async #fstat({ fd, file }: Opened): Promise<void> {
    const rep = await this.#done(this.#mount.bench.run('fstat', { fd }))
    assert.ok(rep.errno === 0, `fstat: errno ${rep.errno}`)
    assert.equal(rep.stat.size, file.data.length)
  }

  async #fsync({ fd, file }: Opened): Promise<void> {
    const rep = await this.#done(this.#mount.bench.run('fsync', { fd, datasync: false }))
    assert.equal(rep.errno, 0)
    const node = this.#brick.store.byGfid.get(fd.inode.gfid)
    // Unlinked files are out of the store's index.
    if (node !== undefined) assert.ok(node.data.equals(file.data), 'the brick after fsync')
  }

  async #list(): Promise<void> {
    const entries = await this.#done(this.#mount.list(400 + this.#pick(4000)))
    assert.deepEqual(entries.map((entry) => entry.name).sort(), [...this.#names.keys()].sort())
    for (const entry of entries) {
      const file = this.#names.get(entry.name)!
      if (entry.stat !== undefined) assert.equal(entry.stat.size, file.data.length, 'listed size')
    }
  }

  async #unlink(name: string): Promise<void> {
    const there = this.#names.delete(name)
    if (there) await this.#lookup(name, true)
    const errno = await this.#done(this.#mount.unlink(name))
    assert.equal(errno, there ? 0 : E.NOENT)
  }

  async #rename(from: string, to: string): Promise<void> {
    const file = this.#names.get(from)
    if (file === undefined || from === to) return
    await this.#lookup(from)
    await this.#lookup(to)
    assert.equal(await this.#done(this.#mount.rename(from, to)), 0)
    this.#names.delete(from)
    this.#names.set(to, file)
  }

  async #chmod(name: string): Promise<void> {
    const file = this.#names.get(name)
    if (file === undefined) return
    await this.#lookup(name)
    file.mode = 0o600 | this.#pick(64)
    const stat = Object.assign(new Iatt(), { mode: file.mode })
    const loc: Loc = this.#mount.loc(name)
    const req = { loc, stat, valid: SET_ATTR_MODE }
    assert.equal((await this.#done(this.#mount.bench.run('setattr', req))).errno, 0)
  }

  /** `gone`: the model no longer has it, the volume still does. */
  async #lookup(name: string, gone = false): Promise<void> {
    const rep = await this.#done(this.#mount.lookup(name))
    const file = this.#names.get(name)
    if (gone) return
    assert.equal(rep.errno, file === undefined ? E.NOENT : 0, `lookup of ${name}`)
    if (rep.errno === 0) assert.equal(rep.stat.size, file!.data.length, `looked up size of ${name}`)
  }

  async #close(opened: Opened): Promise<void> {
    this.#open.splice(this.#open.indexOf(opened), 1)
    assert.equal(await this.#done(this.#mount.close(opened.fd)), 0)
    const node = this.#brick.store.byGfid.get(opened.fd.inode.gfid)
    if (node !== undefined) assert.ok(node.data.equals(opened.file.data), 'the brick after close')
  }
}

const SEEDS = 6
const STEPS = 150

/** One test an option set: `definition` cannot be told from the brick below it. */
export function modelRuns(
  definition: XlatorDefinition,
  optionSets: readonly Record<string, string>[],
): void {
  for (const [at, given] of optionSets.entries()) {
    test(`indistinguishable from the brick: ${JSON.stringify(given)}`, async () => {
      for (let seed = at * 100 + 1; seed <= at * 100 + SEEDS; seed++) {
        const b = await bench(definition, given, simBrick)
        await new ModelRun(b, seed).run(STEPS).catch((error: Error) => {
          error.message = `seed ${seed}: ${error.message}`
          throw error
        })
      }
    })
  }
}
