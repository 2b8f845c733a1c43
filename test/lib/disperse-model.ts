/**
 * Random changes of one file by two clients of a dispersed volume, while up to R bricks leave and
 * return at any moment, between the requests of a fop, too. After each change either client reads
 * what a model of the file says; at the end of a round all bricks are back, heal runs, and every
 * fragment is what the reference encoding gives.
 */
import assert from 'node:assert/strict'
import type { Fd } from '../../src/core/fd.ts'
import type { Fop } from '../../src/core/fop.ts'
import { FALLOC_FL_KEEP_SIZE } from '../../src/core/fop.ts'
import { Loc } from '../../src/core/loc.ts'
import { simStores } from './disk-store.ts'
import {
  checkFragments,
  type DisperseGraph,
  disperseGraph,
  letGo,
  newFile,
} from './disperse-graph.ts'
import { seeded, turn } from './seeded.ts'

const SIZE_MAX = 40_000
const CHANGES = 12
/** Chances per turn, while a fop waits for its answers: that a brick leaves, that it returns. */
const LEAVES = 0.03
const RETURNS = 0.15
/** Turns that a brick takes for a fop, at most. */
const SLOW_MAX = 4
const TURNS_MAX = 20_000
/** Heals asked for until nothing is left to do. */
const HEALS_MAX = 5

export interface ModelPlan {
  data: number
  redundancy: number
  /** Options of the volume. */
  given?: Record<string, string>
  rounds?: number
  seed: number
}

/** Volume options without eager locks. */
export const lazy = { 'eager-lock': 'off', 'other-eager-lock': 'off' }

export class DisperseModel {
  readonly #clients: DisperseGraph[]
  readonly #fds: Fd[]
  readonly #random: () => number
  readonly #redundancy: number
  #content: Buffer = Buffer.alloc(0)
  #flapping: number[] = []
  #what = ''

  private constructor(clients: DisperseGraph[], fds: Fd[], plan: ModelPlan) {
    this.#clients = clients
    this.#fds = fds
    this.#random = seeded(plan.seed)
    this.#redundancy = plan.redundancy
    for (const { bricks } of clients) for (const brick of bricks) brick.gate = () => this.#delay()
  }

  async #delay(): Promise<void> {
    for (let left = this.#below(SLOW_MAX); left > 0; left--) await turn()
  }

  static async run(plan: ModelPlan): Promise<void> {
    const { data, redundancy, given = {}, rounds = 3 } = plan
    // Simulated: what happens depends on the seed alone.
    const stores = simStores(data + redundancy)
    const first = await disperseGraph(data, redundancy, given, stores)
    const second = await disperseGraph(data, redundancy, given, stores, 'client-1')
    await newFile(first, 'f')
    const clients = [first, second]
    const fds: Fd[] = []
    for (const client of clients) {
      const fd = await client.mount.open('f')
      assert.ok(typeof fd !== 'number')
      fds.push(fd)
      await letGo(client)
    }
    const model = new DisperseModel(clients, fds, plan)
    for (let round = 0; round < rounds; round++) {
      try {
        await model.#round()
      } catch (error) {
        const at = `seed ${plan.seed}, round ${round}, ${model.#what}`
        throw new Error(`${at}: ${String(error)}`, { cause: error })
      }
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  async #round(): Promise<void> {
    const { length } = this.#clients[0]!.bricks
    const all = Array.from({ length }, (_, brick) => brick)
    this.#flapping = Array.from(
      { length: this.#redundancy },
      () => all.splice(this.#below(all.length), 1)[0]!,
    )
    for (let i = 0; i < CHANGES; i++) {
      const client = this.#below(2)
      await this.#change(client)
      await this.#check(this.#below(2))
    }
    for (const brick of this.#flapping) this.#set(brick, true)
    this.#flapping = []
    await this.#heal()
    checkFragments(this.#clients[0]!, '/f', this.#content)
  }

  /** For both clients: the brick itself leaves. */
  #set(brick: number, up: boolean): void {
    for (const { bricks } of this.#clients) if (bricks[brick]!.up !== up) bricks[brick]!.up = up
  }

  /**
   * Until `promise` is settled; bricks come and go meanwhile. The other client gives its locks up,
   * as bricks would ask it to.
   */
  async #during<T>(client: number, promise: Promise<T> | T): Promise<T> {
    const other = this.#clients[1 - client]!.disperse
    let done = false
    const watched = Promise.resolve(promise).finally(() => {
      done = true
    })
    for (let turns = 0; !done; turns++) {
      assert.ok(turns < TURNS_MAX, 'it does not end')
      other.releaseLocks()
      for (const brick of this.#flapping) {
        const { up } = this.#clients[0]!.bricks[brick]!
        if (this.#random() < (up ? LEAVES : RETURNS)) this.#set(brick, !up)
      }
      await turn()
    }
    return watched
  }

  async #change(client: number): Promise<void> {
    const { bench, mount } = this.#clients[client]!
    const fd = this.#fds[client]!
    const old = this.#content
    const offset = this.#below(Math.min(SIZE_MAX, old.length + 3000))
    const len = 1 + this.#below(this.#random() < 0.5 ? 600 : 9000)
    const end = offset + len
    const grown = (size: number): Buffer => {
      const after = Buffer.alloc(size)
      old.copy(after)
      return after
    }
    const kind = this.#below(10)
    let work: Promise<number>
    let after: Buffer
    if (kind < 5) {
      this.#what = `client ${client} writes ${len} at ${offset}`
      const data = Buffer.alloc(len, 1 + this.#below(255))
      after = grown(Math.max(old.length, end))
      data.copy(after, offset)
      work = mount.write(fd, offset, data)
    } else if (kind < 7) {
      this.#what = `client ${client} truncates to ${offset}`
      after = grown(offset)
      work = errnoOf(bench.run('ftruncate', { fd, offset }))
    } else if (kind < 8) {
      this.#what = `client ${client} punches ${len} at ${offset}`
      after = Buffer.from(old)
      after.fill(0, Math.min(offset, old.length), Math.min(end, old.length))
      work = errnoOf(bench.run('discard', { fd, offset, len }))
    } else if (kind < 9) {
      this.#what = `client ${client} zeroes ${len} at ${offset}`
      after = grown(Math.max(old.length, end)).fill(0, offset, end)
      work = errnoOf(bench.run('zerofill', { fd, offset, len }))
    } else {
      const keeps = this.#random() < 0.5
      this.#what = `client ${client} allocates ${len} at ${offset}${keeps ? ', same size' : ''}`
      after = grown(keeps ? old.length : Math.max(old.length, end))
      const mode = keeps ? FALLOC_FL_KEEP_SIZE : 0
      work = errnoOf(bench.run('fallocate', { fd, mode, offset, len }))
    }
    assert.equal(await this.#during(client, work), 0, 'errno')
    this.#content = after
  }

  async #check(client: number): Promise<void> {
    const { bench, mount } = this.#clients[client]!
    const fd = this.#fds[client]!
    if (this.#below(2) === 0) {
      const stat = await this.#during(client, bench.run('fstat', { fd }))
      const size = stat.errno === 0 ? stat.stat.size : `errno ${stat.errno}`
      assert.equal(size, this.#content.length, 'size')
    } else {
      // After one reads may go without the lock. Sizes in it may be older.
      const found = await this.#during(client, mount.lookup('f'))
      assert.equal(found.errno, 0, 'errno of a lookup')
    }
    const data = await this.#during(client, mount.read(fd, 0, 2 * SIZE_MAX))
    assert.ok(typeof data !== 'number', `read: ${String(data)}`)
    assert.ok(data.equals(this.#content), `client ${client} reads something else`)
  }

  /** Until neither client has a lock or a heal. */
  async #idle(): Promise<void> {
    const busy = ({ disperse }: DisperseGraph): boolean =>
      disperse.lockCount + disperse.heals.running + disperse.heals.waiting > 0
    for (let turns = 0; this.#clients.some(busy); turns++) {
      assert.ok(turns < TURNS_MAX, 'heals or locks do not end')
      for (const { disperse } of this.#clients) disperse.releaseLocks()
      await turn()
    }
  }

  async #heal(): Promise<void> {
    const first = this.#clients[0]!
    const { root } = first.bench.graph.inodes
    const all = first.bricks.length
    const wanted = `Good: ${'1'.repeat(all)}, Bad: ${'0'.repeat(all)}`
    for (let i = 0; ; i++) {
      await this.#idle()
      const results: string[] = []
      for (const loc of [Loc.ofInode(root), first.mount.loc('f')]) {
        const name = 'trusted.ec.heal'
        const rep = await this.#during(0, first.bench.run('getxattr', { loc, name }))
        results.push(rep.errno === 0 ? (rep.dict.getStr(name) ?? '') : `errno ${rep.errno}`)
      }
      if (results.every((result) => result === wanted)) return
      assert.ok(i < HEALS_MAX, `heal: ${results.join('; ')}`)
    }
  }
}

async function errnoOf(reply: ReturnType<Fop<'ftruncate'>>): Promise<number> {
  return (await reply).errno
}
