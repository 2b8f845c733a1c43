/**
 * An embedded volume under a load of many steps at a time (kill-load.ts), and kill -9 at random
 * moments, round after round: of everything, or of as many bricks as may be lost. What was
 * acknowledged must be there, and nothing may stay broken.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { clock } from '../../src/core/clock.ts'
import type { Shape } from '../../src/server/volume.ts'
import { CHUNK_SIZE } from '../../xlators/cluster/disperse/codec/index.ts'
import { type Embedded, eventually, isMounted } from './embedded.ts'
import { startKillLoad } from './kill-load.ts'
import { KillModel } from './kill-model.ts'
import { run, sleep } from './sandbox.ts'
import { seeded } from './seeded.ts'

const WORKERS = 12
/** Steps done before a kill: it shall come in the midst of them. */
const STEPS_MIN = 20
/** Latest moment of a kill after that, ms. */
const KILL_MAX_MS = 1500
const POLLS_MAX = 1200
const POLL_MS = 50
/** A mount asks every 3 s for bricks that are gone. */
const RECONNECT_MS = 4000
/** Of the files of former rounds, one in so many is kept to the end. */
const KEEP_EVERY = 8
/** Kills of everything between two looks at the files of all rounds; the last one is the end. */
const CHECK_ALL_EVERY = 10

export interface KillResult {
  rounds: number
  /** Steps that were acknowledged, and those under way at a kill. */
  done: number
  underWay: number
  /** Files compared at the end. */
  files: number
  /** Slowest restart to a mounted, readable volume, ms. */
  slowestMs: number
}

export class KillRounds {
  readonly #volume: Embedded
  readonly #seed: number
  readonly #workers: number
  readonly #random: () => number
  readonly #model: KillModel
  readonly #errors: string[] = []
  /** Bricks that may be lost at a time. */
  readonly #spare: number
  #isKilled = false
  #next = 0
  #underWay = 0
  #slowestMs = 0
  /** Seconds of what took time since the last progress text, by what it was. */
  readonly #spent = new Map<string, number>()

  /** `volume` must be started, and be of that shape. */
  constructor(volume: Embedded, seed: number, shape: Shape, workers = WORKERS) {
    const { disperse, replica } = shape
    this.#volume = volume
    this.#workers = workers
    this.#model = new KillModel(disperse === undefined ? 1 : disperse.data * CHUNK_SIZE)
    this.#seed = seed
    this.#spare = disperse?.redundancy ?? (replica?.count ?? 1) >> 1
    this.#random = seeded(seed)
  }

  get #dir(): string {
    return join(this.#volume.mountPoint, 'dir')
  }

  /** Kills everything, `count` times. */
  async run(count: number, progress: (text: string) => void = () => {}): Promise<KillResult> {
    await this.#begin()
    for (let round = 1; round <= count; round++) {
      const first = this.#next
      await this.#killAll()
      await this.#check(`round ${round}`, round % CHECK_ALL_EVERY === 0 ? 0 : first)
      await this.#timed('thin', () => this.#thin(first))
      // Every other round meets what the one before it left.
      if (this.#random() < 0.5) await this.#heal()
      progress(`${round} kills: ${this.#text()}`)
    }
    return this.#end(count)
  }

  /**
   * Kills bricks under the load, as many as may be lost, and brings them back; every step must
   * succeed. When all is healed, as many others are killed, and all must be there without them.
   */
  async runLosses(count: number, progress: (text: string) => void = () => {}): Promise<KillResult> {
    await this.#begin()
    for (let round = 1; round <= count; round++) {
      const first = this.#next
      await this.#loseBricks()
      progress(`${round} losses: ${this.#text()}`)
      await this.#check(`round ${round}`)
      await this.#thin(first)
    }
    return this.#end(count)
  }

  #text(): string {
    const spent = [...this.#spent].map(([what, ms]) => `${what} ${(ms / 1000).toFixed(1)}`)
    this.#spent.clear()
    const steps = `${this.#model.done} steps acknowledged, ${this.#underWay} under way`
    return `${steps} (s: ${spent.join(', ')})`
  }

  async #timed<T>(what: string, job: () => Promise<T> | T): Promise<T> {
    const began = clock.now()
    try {
      return await job()
    } finally {
      this.#spent.set(what, (this.#spent.get(what) ?? 0) + clock.now() - began)
    }
  }

  async #begin(): Promise<void> {
    await this.#volume.mount()
    for (const name of ['', 'd0', 'd1', 'd2', 'd3']) fs.mkdirSync(join(this.#dir, name))
  }

  async #end(rounds: number): Promise<KillResult> {
    await this.#heal()
    await this.#check('the end')
    this.#checkListing()
    return {
      rounds,
      done: this.#model.done,
      underWay: this.#underWay,
      files: this.#model.files.size,
      slowestMs: Math.round(this.#slowestMs),
    }
  }

  #startLoad(): ChildProcess {
    const round = this.#next
    return startKillLoad(this.#dir, this.#seed, round, this.#workers, (line) => {
      if (line.startsWith('!')) {
        if (!this.#isKilled) this.#errors.push(line)
        return
      }
      this.#model.told(line)
      for (const [, n] of line.matchAll(/"n":(\d+)/g)) {
        this.#next = Math.max(this.#next, Number(n) + 1)
      }
      // A rename has a number, too.
      const [, n = '0'] = /\/f(\d+)"/.exec(line) ?? []
      this.#next = Math.max(this.#next, Number(n) + 1)
    })
  }

  /** Until enough was done, and at a random moment after that. */
  #amidst(): Promise<void> {
    return this.#timed('load', () => this.#untilMoment())
  }

  async #untilMoment(): Promise<void> {
    const before = this.#model.done
    for (let i = 0; this.#model.done < before + STEPS_MIN && i < POLLS_MAX; i++) {
      assert.deepEqual(this.#errors, [])
      await sleep(POLL_MS)
    }
    await sleep(this.#random() * KILL_MAX_MS)
    assert.deepEqual(this.#errors, [])
  }

  async #killAll(): Promise<void> {
    const volume = this.#volume
    const load = this.#startLoad()
    await this.#amidst()
    const { stdout } = await run(['pgrep', '-fa', volume.directory])
    const pids = stdout
      .trim()
      .split('\n')
      // The shell that detaches a mount whose client died does its work now; the load sees it.
      .filter((line) => !/gluster-unmount|kill-load/.test(line))
      .map((line) => Number(line.split(' ')[0]))
    await this.#timed('kill', async () => {
      this.#isKilled = true
      for (const pid of shuffled(pids, this.#random)) kill(pid)
      await ended(load)
      this.#isKilled = false
      this.#underWay += this.#model.begun.size
      await eventually('the mount is detached', () => !isMounted(volume.mountPoint))
    })
    const began = clock.now()
    await this.#timed('start', () => volume.gluster('start', 'vol', 'force'))
    await this.#timed('mount', () => volume.mount())
    await this.#timed('readable', () => this.#readable())
    this.#slowestMs = Math.max(this.#slowestMs, clock.now() - began)
  }

  async #readable(): Promise<void> {
    for (let i = 0; i < POLLS_MAX / 4; i++) {
      if (fs.existsSync(this.#dir)) return
      await sleep(POLL_MS)
    }
    assert.fail('the volume is mounted, and its directory is not there')
  }

  async #loseBricks(): Promise<void> {
    const volume = this.#volume
    const bricks = shuffled(
      volume.bricks.map((_, i) => i + 1),
      this.#random,
    )
    const lost = bricks.slice(0, 1 + Math.floor(this.#random() * this.#spare))
    const others = bricks.slice(lost.length, lost.length + this.#spare)
    const load = this.#startLoad()
    await this.#amidst()
    this.#underWay += this.#model.begun.size
    for (const n of lost) await volume.kill(n)
    await this.#amidst()
    await volume.gluster('start', 'vol', 'force')
    await this.#amidst()
    load.kill('SIGTERM')
    await ended(load)
    assert.deepEqual(this.#errors, [])
    assert.equal(this.#model.begun.size, 0)
    await this.#heal()
    for (const n of others) await volume.kill(n)
    // Until the mount has found the bricks that are back, too few answer.
    await this.#readable()
    await this.#check(`without bricks ${others} after ${lost} were lost and healed`)
    this.#checkListing()
    await volume.gluster('start', 'vol', 'force')
    // The mount has to find them before others may go.
    await sleep(RECONNECT_MS)
    await this.#heal()
  }

  async #heal(): Promise<void> {
    if (this.#spare > 0) await this.#timed('heal', () => this.#healed())
  }

  async #healed(): Promise<void> {
    const { status, stdout, stderr } = await this.#volume.fails('heal', 'vol')
    assert.equal(status, 0, stdout + stderr)
    const info = await this.#volume.gluster('heal', 'vol', 'info')
    assert.doesNotMatch(info.stdout, /entries: [1-9]/)
  }

  async #check(when: string, first = 0): Promise<void> {
    const problems = await this.#timed('check', () => this.#model.check(this.#dir, first))
    assert.deepEqual(problems, [], when)
  }

  /** Each name once, and none that should not be there. */
  #checkListing(): void {
    const expected = [...this.#model.files.values()].map(({ name }) => name)
    const found = fs
      .readdirSync(this.#dir, { recursive: true, encoding: 'latin1' })
      .filter((name) => /\/f\d+$/.test(name))
    assert.deepEqual(found.sort(), expected.sort())
  }

  /** Removes most files from before number `first`, so that checks stay short. */
  async #thin(first: number): Promise<void> {
    const old = [...this.#model.files.keys()].filter((n) => n < first && n % KEEP_EVERY !== 0)
    assert.deepEqual(await this.#model.remove(this.#dir, old), [])
  }
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item): [number, T] => [random(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended meanwhile.
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  await new Promise((resolve) => child.once('close', resolve))
}
