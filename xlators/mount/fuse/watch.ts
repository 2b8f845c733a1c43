import { clock, type Timer } from '../../../src/core/clock.ts'
import type { CallPool, Stack } from '../../../src/core/frame.ts'
import type { Log } from '../../../src/observe/log.ts'

const LOOK_EVERY_MS = 10_000
/** A request this old is worth a line in the log. */
const PENDING_MS_MAX = 30_000
/** Lines of one look. */
const LINES_MAX = 20

/** Logs requests that wait for long, once each, with the translator they wait for. */
export class PendingWatch {
  readonly #pool: CallPool
  readonly #log: Log
  readonly #told = new WeakSet<Stack>()
  #timer: Timer | undefined

  constructor(pool: CallPool, log: Log) {
    this.#pool = pool
    this.#log = log
  }

  start(): void {
    this.#timer = clock.after(
      LOOK_EVERY_MS,
      () => {
        this.look()
        this.start()
      },
      true,
    )
  }

  stop(): void {
    this.#timer?.clear()
  }

  look(): void {
    const now = clock.now()
    let lines = 0
    for (const stack of this.#pool.stacks()) {
      // In order of beginning: the rest is younger.
      if (now - stack.begin < PENDING_MS_MAX || lines === LINES_MAX) break
      if (this.#told.has(stack)) continue
      this.#told.add(stack)
      lines++
      const waiting = stack.frames().filter((frame) => !frame.complete)
      const last = waiting.at(-1)
      const seconds = Math.round((now - stack.begin) / 1000)
      this.#log.warn(
        { unique: stack.unique, fop: last?.fop, xl: last?.xl.name, frames: waiting.length },
        `${stack.type} has been waiting for ${seconds} s`,
      )
    }
  }
}
