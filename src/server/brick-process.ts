/**
 * A brick as the management server has it: a process that may come and go. It outlives a management
 * server that dies, as glusterfsd outlives glusterd; the next one finds it by its run file.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, mkdirSync, openSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { clock, type Timer } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import type { BrickMessage } from './brick.ts'
import { processStart, type RunFile, readRunFile, signal } from './run-file.ts'
import { brickVolfile } from './volfiles.ts'
import type { Volume, VolumeStore } from './volume.ts'

const program = fileURLToPath(new URL('brick.js', import.meta.url))
/** How long a brick may take to listen, ms. */
const START_MAX_MS = 30_000
/** How long it may take to end before it is killed, ms. */
const STOP_MAX_MS = 5000
/** How often a brick that is not our child is looked after, ms. */
const WATCH_MS = 500
const STOP_POLL_MS = 20

export class BrickProcess {
  readonly path: string
  /** Where clients connect; 0 while it does not run. */
  port = 0
  readonly #name: string
  readonly #store: VolumeStore
  readonly #died: (brick: BrickProcess, how: string) => void
  #running: RunFile | undefined
  #starting: Promise<void> | undefined
  #watch: Timer | undefined
  #stopping = false

  constructor(
    store: VolumeStore,
    volume: Volume,
    path: string,
    died: (brick: BrickProcess, how: string) => void,
  ) {
    this.#store = store
    this.#name = `${volume.name}-${volume.bricks.indexOf(path)}`
    this.path = path
    this.#died = died
  }

  get pid(): number | undefined {
    return this.#running?.pid
  }

  get online(): boolean {
    return this.port > 0
  }

  /**
   * Resolves when clients can connect: to the process that runs already, or to a new one. Throws
   * GlusterError with the brick's own words.
   */
  start(volume: Volume, host: string): Promise<void> {
    if (this.#running !== undefined) return Promise.resolve()
    this.#starting ??= this.#start(volume, host).finally(() => {
      this.#starting = undefined
    })
    return this.#starting
  }

  async #start(volume: Volume, host: string): Promise<void> {
    this.#stopping = false
    mkdirSync(this.#store.path('run'), { recursive: true })
    this.#writeVolfile(volume, host)
    const found = readRunFile(this.#runFile)
    if (found !== undefined) {
      this.#up(found)
      this.#scheduleWatch()
      // Its options may have been changed while nobody told it.
      signal(found.pid, 'SIGHUP')
      return
    }
    const log = this.#store.path('logs', `brick-${this.#name}.log`)
    // A session of its own: Ctrl-C reaches it through us, when the mount is gone.
    const output = openSync(log, 'a')
    const child = fork(program, [this.#volfile, log, this.#runFile], {
      detached: true,
      // Nothing of ours stays open in it: it may live longer.
      stdio: ['ignore', 'ignore', output, 'ipc'],
    })
    closeSync(output)
    const message = await firstMessage(child)
    if ('failed' in message) throw new GlusterError('VOLUME_STATE', message.failed)
    const pid = child.pid ?? 0
    this.#up({ pid, port: message.port, start: processStart(pid) ?? '' })
    child.once('exit', (code, killed) => this.#ended(pid, killed ?? `status ${code ?? 0}`))
    // Ended between its message and now?
    if (child.exitCode !== null) this.#ended(pid, `status ${child.exitCode}`)
    if (child.connected) child.disconnect()
    child.unref()
  }

  get #volfile(): string {
    return this.#store.path('volumes', `${this.#name}.vol`)
  }

  get #runFile(): string {
    return this.#store.path('run', `${this.#name}.json`)
  }

  #writeVolfile(volume: Volume, host: string): void {
    writeFileSync(`${this.#volfile}.new`, brickVolfile(volume, this.path, host), 'latin1')
    renameSync(`${this.#volfile}.new`, this.#volfile)
  }

  /** The volume's options changed. */
  reconfigure(volume: Volume, host: string): void {
    this.#writeVolfile(volume, host)
    if (this.#running !== undefined) signal(this.#running.pid, 'SIGHUP')
  }

  async stop(): Promise<void> {
    await this.#starting?.catch(() => undefined)
    const running = this.#running
    if (running === undefined) return
    this.#stopping = true
    this.port = 0
    signal(running.pid, 'SIGTERM')
    for (let waited = 0; processStart(running.pid) === running.start; waited += STOP_POLL_MS) {
      if (waited >= STOP_MAX_MS) signal(running.pid, 'SIGKILL')
      await new Promise<void>((done) => void clock.after(STOP_POLL_MS, done))
    }
    this.#ended(running.pid, 'stopped')
  }

  #up(running: RunFile): void {
    this.#running = running
    this.port = running.port
  }

  #scheduleWatch(): void {
    this.#watch = clock.after(
      WATCH_MS,
      () => {
        const running = this.#running
        if (running === undefined) return
        if (processStart(running.pid) === running.start) this.#scheduleWatch()
        else this.#ended(running.pid, 'not its parent, so not known how')
      },
      true,
    )
  }

  #ended(pid: number, how: string): void {
    if (this.#running?.pid !== pid) return
    this.#running = undefined
    this.#watch?.clear()
    this.port = 0
    if (!this.#stopping) this.#died(this, how)
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
    child.once('exit', (code, killed) => done({ failed: `the brick ended (${killed ?? code})` }))
  })
}
