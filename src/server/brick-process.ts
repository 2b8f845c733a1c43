/** A brick as the management server has it: a child process that may come and go. */
import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import type { BrickMessage } from './brick.ts'
import { brickVolfile } from './volfiles.ts'
import type { Volume, VolumeStore } from './volume.ts'

const program = fileURLToPath(new URL('brick.js', import.meta.url))
/** How long a brick may take to listen, ms. */
const START_MAX_MS = 30_000
/** How long it may take to end before it is killed, ms. */
const STOP_MAX_MS = 5000

export class BrickProcess {
  readonly volume: Volume
  readonly path: string
  /** Where clients connect; 0 while it does not run. */
  port = 0
  readonly #store: VolumeStore
  readonly #died: (brick: BrickProcess, how: string) => void
  #child: ChildProcess | undefined
  #stopping = false

  constructor(
    store: VolumeStore,
    volume: Volume,
    path: string,
    died: (brick: BrickProcess, how: string) => void,
  ) {
    this.#store = store
    this.volume = volume
    this.path = path
    this.#died = died
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  get online(): boolean {
    return this.port > 0
  }

  /** Resolves when clients can connect. Throws GlusterError with the brick's own words. */
  async start(host: string): Promise<void> {
    if (this.#child !== undefined) return
    const index = this.volume.bricks.indexOf(this.path)
    const name = `${this.volume.name}-${index}`
    const volfile = this.#store.path('volumes', `${name}.vol`)
    writeFileSync(volfile, brickVolfile(this.volume, this.path, host), 'latin1')
    // A session of its own: Ctrl-C reaches it through us, when the mount is gone.
    const child = fork(program, [volfile, this.#store.path('logs', `brick-${name}.log`)], {
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#child = child
    this.#stopping = false
    child.on('exit', (code, signal) => this.#ended(child, signal ?? `status ${code ?? 0}`))
    const message = await firstMessage(child)
    if ('failed' in message) throw new GlusterError('VOLUME_STATE', message.failed)
    this.port = message.port
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null) return
    this.#stopping = true
    this.port = 0
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill('SIGTERM')
    const timer = clock.after(STOP_MAX_MS, () => child.kill('SIGKILL'))
    await ended
    timer.clear()
  }

  #ended(child: ChildProcess, how: string): void {
    if (child !== this.#child) return
    const wasOnline = this.port > 0
    this.#child = undefined
    this.port = 0
    if (wasOnline && !this.#stopping) this.#died(this, how)
  }
}

function firstMessage(child: ChildProcess): Promise<BrickMessage> {
  return new Promise((resolve) => {
    const timer = clock.after(START_MAX_MS, () => {
      child.kill('SIGKILL')
      done({ failed: `the brick did not start within ${START_MAX_MS / 1000} s` })
    })
    const done = (message: BrickMessage): void => {
      timer.clear()
      resolve(message)
    }
    child.once('message', (message) => done(message as BrickMessage))
    child.once('error', (error) => done({ failed: error.message }))
    child.once('exit', (code, signal) => done({ failed: `the brick ended (${signal ?? code})` }))
  })
}
