import { clock, type Timer } from '../../../src/core/clock.ts'
import type { CallPool, Frame, Stack } from '../../../src/core/frame.ts'
import type { Log } from '../../../src/observe/log.ts'
import { brickOf, busyBricks, pathsOf, waitingFrames } from '../../../src/observe/pending.ts'

const LOOK_EVERY_MS = 5_000
/** A request this old is worth a line in the log. */
export const PENDING_MS_MAX = 30_000
/** Lines of one look. */
const LINES_MAX = 20
/** Places one line names. */
const PLACES_MAX = 4

/** Logs requests that wait for long, once each: for which file, where, and for which brick. */
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
      this.#tell(stack, Math.round((now - stack.begin) / 1000))
    }
  }

  /** Who waits for another's lock may do so for ever: that is nobody's fault. */
  #tell(stack: Stack, seconds: number): void {
    const frames = stack.frames()
    const waiting = waitingFrames(frames)
    const paths = pathsOf(stack)
    const file = paths.length === 0 ? '' : ` of ${paths.join(' and ')}`
    const places = waiting.slice(0, PLACES_MAX).map(placeText)
    const more = waiting.length > PLACES_MAX ? ` and ${waiting.length - PLACES_MAX} more` : ''
    // It queues in a translator: those before it keep it.
    const busy = waiting.some(({ xl }) => brickOf(xl) !== undefined) ? '' : this.#busy()
    const pid = frames[0]?.creds.pid
    this.#log[stack.type === 'SETLKW' ? 'info' : 'warn'](
      { unique: stack.unique, pid },
      `${stack.type}${file} has been waiting for ${seconds} s in ${places.join(', ')}${more}${busy}`,
    )
  }

  #busy(): string {
    const bricks = [...busyBricks(this.#pool)].sort(([, a], [, b]) => b - a).slice(0, PLACES_MAX)
    const list = bricks.map(([brick, calls]) => `${brick} (${calls})`)
    return list.length === 0 ? '' : `; calls are under way at ${list.join(', ')}`
  }
}

/** `vg0-client-0 (readv), for brick node01:/b/0`. */
function placeText({ xl, fop }: Frame): string {
  const brick = brickOf(xl)
  const where = fop === undefined ? xl.name : `${xl.name} (${fop})`
  return brick === undefined ? where : `${where}, for brick ${brick}`
}
