/**
 * kill -9 of everything an embedded volume is made of, at random moments of a write load, round
 * after round on the same volume: what was acknowledged must be there, and nothing may stay broken.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'
import { type Embedded, eventually, isMounted } from './embedded.ts'
import { contentOf } from './fsync-writer.ts'
import { run, sleep } from './sandbox.ts'
import { seeded } from './seeded.ts'

/** Latest moment of a round at which all is killed, ms. */
const ROUND_MAX_MS = 1500
const STARTS_POLLS_MAX = 200
const REMOUNT_POLLS_MAX = 100

/** What the writer told: the furthest step of each file. */
type Told = Map<number, string>

export interface KillResult {
  rounds: number
  files: number
  /** Files with a step that was begun and not acknowledged. */
  unsure: number
  /** Slowest restart to a mounted, readable volume, ms. */
  slowestMs: number
}

export class KillRounds {
  readonly #volume: Embedded
  readonly #random: () => number
  readonly #told: Told = new Map()
  #next = 0
  #unsure = 0
  #slowestMs = 0

  constructor(volume: Embedded, seed: number) {
    this.#volume = volume
    this.#random = seeded(seed)
  }

  /** The volume must be started and not mounted. `progress` hears after each round. */
  async run(count: number, progress: (round: number) => void = () => {}): Promise<KillResult> {
    const volume = this.#volume
    await volume.mount()
    fs.mkdirSync(join(volume.mountPoint, 'dir'))
    for (let round = 1; round <= count; round++) {
      await this.#round()
      progress(round)
    }
    await this.#heal()
    this.#check(0)
    return {
      rounds: count,
      files: this.#told.size,
      unsure: this.#unsure,
      slowestMs: Math.round(this.#slowestMs),
    }
  }

  async #round(): Promise<void> {
    const volume = this.#volume
    const first = this.#next
    const writer = this.#write()
    // Mostly while it writes, however long its start takes; now and then before.
    for (let i = 0; this.#random() < 0.98 && this.#next === first && i < STARTS_POLLS_MAX; i++) {
      await sleep(50)
    }
    await sleep(this.#random() * ROUND_MAX_MS)
    const { stdout } = await run(['pgrep', '-fa', volume.directory])
    for (const line of stdout.trim().split('\n')) {
      // The shell that detaches a mount whose client died does its work now.
      if (!line.includes('gluster-unmount')) kill(Number(line.split(' ')[0]))
    }
    await ended(writer)
    await eventually('the mount is detached', () => !isMounted(volume.mountPoint))
    const began = clock.now()
    await volume.gluster('start', 'vol', 'force')
    await this.#mount()
    this.#slowestMs = Math.max(this.#slowestMs, clock.now() - began)
    this.#check(first)
    // Every other round meets what the one before it left.
    if (this.#random() < 0.5) await this.#heal()
  }

  async #mount(): Promise<void> {
    const volume = this.#volume
    await volume.mount()
    for (let i = 0; i < REMOUNT_POLLS_MAX; i++) {
      if (fs.existsSync(join(volume.mountPoint, 'dir'))) return
      await sleep(50)
    }
    assert.fail('the volume is mounted, and its directory is not there')
  }

  #write(): ChildProcess {
    const program = fileURLToPath(new URL('./fsync-writer.js', import.meta.url))
    const dir = join(this.#volume.mountPoint, 'dir')
    const writer = spawn(process.execPath, [program, dir, String(this.#next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    writer.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) {
        const [step = '', number = ''] = line.split(' ')
        this.#told.set(Number(number), step)
        // The one after it may be there in part.
        this.#next = Number(number) + 2
      }
    })
    return writer
  }

  async #heal(): Promise<void> {
    const { status, stdout } = await this.#volume.fails('heal', 'vol')
    assert.equal(status, 0, stdout)
    const info = await this.#volume.gluster('heal', 'vol', 'info')
    assert.doesNotMatch(info.stdout, /entries: [1-9]/)
  }

  /** Files from number `first` on. */
  #check(first: number): void {
    const dir = join(this.#volume.mountPoint, 'dir')
    const names = new Set(fs.readdirSync(dir))
    for (const [i, step] of this.#told) {
      if (i < first) continue
      if (first > 0 && step !== step.toLowerCase()) this.#unsure++
      // A rename that was begun is done or not; the listing, which one brick gives, may be behind.
      const name =
        step === 'r' || (step === 'R' && !fs.existsSync(join(dir, `f${i}`))) ? `g${i}` : `f${i}`
      const found = fs.readFileSync(join(dir, name))
      const { bytes, head } = contentOf(i)
      const hasTail = i % 3 === 1 && step !== 'c'
      const sure = hasTail && step !== 'A' ? bytes.length : head
      assert.ok(found.length >= sure, `${name}: ${found.length} bytes, ${sure} were synced`)
      assert.ok(found.length <= (hasTail || step === 'c' ? bytes.length : head), `${name} is long`)
      assert.ok(found.equals(bytes.subarray(0, found.length)), `${name}: other content`)
    }
    // What was begun and not told can be read, too.
    for (const name of names) {
      if (this.#told.get(Number(name.slice(1))) !== 'R') fs.readFileSync(join(dir, name))
    }
  }
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
