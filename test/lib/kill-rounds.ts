/**
 * kill -9 of everything an embedded volume is made of, at random moments of a write load, round
 * after round on the same volume: what was acknowledged must be there, and nothing may stay broken.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { clock } from '../../src/core/clock.ts'
import { type Embedded, eventually, isMounted } from './embedded.ts'
import { ToldFiles } from './fsync-writer.ts'
import { run, sleep } from './sandbox.ts'
import { seeded } from './seeded.ts'

/** Latest moment of a round at which all is killed, ms. */
const ROUND_MAX_MS = 1500
const STARTS_POLLS_MAX = 200
const REMOUNT_POLLS_MAX = 100

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
  readonly #told = new ToldFiles()
  #slowestMs = 0

  constructor(volume: Embedded, seed: number) {
    this.#volume = volume
    this.#random = seeded(seed)
  }

  /** The volume must be started and not mounted. `progress` hears after each round. */
  async run(count: number, progress: (round: number) => void = () => {}): Promise<KillResult> {
    const volume = this.#volume
    await volume.mount()
    fs.mkdirSync(this.#dir)
    for (let round = 1; round <= count; round++) {
      await this.#round()
      progress(round)
    }
    await this.#heal()
    this.#told.check(this.#dir, 0)
    return {
      rounds: count,
      files: this.#told.count,
      unsure: this.#told.unsure,
      slowestMs: Math.round(this.#slowestMs),
    }
  }

  get #dir(): string {
    return join(this.#volume.mountPoint, 'dir')
  }

  async #round(): Promise<void> {
    const volume = this.#volume
    const first = this.#told.next
    const writer = this.#told.write(this.#dir)
    // Mostly while it writes, however long its start takes; now and then before.
    for (
      let i = 0;
      this.#random() < 0.98 && this.#told.next === first && i < STARTS_POLLS_MAX;
      i++
    ) {
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
    this.#told.check(this.#dir, first)
    // Every other round meets what the one before it left.
    if (this.#random() < 0.5) await this.#heal()
  }

  async #mount(): Promise<void> {
    const volume = this.#volume
    await volume.mount()
    for (let i = 0; i < REMOUNT_POLLS_MAX; i++) {
      if (fs.existsSync(this.#dir)) return
      await sleep(50)
    }
    assert.fail('the volume is mounted, and its directory is not there')
  }

  async #heal(): Promise<void> {
    const { status, stdout } = await this.#volume.fails('heal', 'vol')
    assert.equal(status, 0, stdout)
    const info = await this.#volume.gluster('heal', 'vol', 'info')
    assert.doesNotMatch(info.stdout, /entries: [1-9]/)
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
