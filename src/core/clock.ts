import { performance } from 'node:perf_hooks'

/**
 * The time of what has not happened yet; earlier than all others. Fields for times begin with it:
 * in V8 a field is for integers or for fractions, and when one that began as 0 gets its first real
 * time, all code compiled for objects of the class is thrown away.
 */
export const NEVER = Number.NEGATIVE_INFINITY

/** A timer that was set; `clear` is idempotent. */
export interface Timer {
  clear(): void
}

/**
 * Time and chance, behind one door so that the simulator can replace them. Nothing else in the
 * project calls Date, setTimeout, setInterval or Math.random.
 */
export interface Clock {
  /** Monotonic milliseconds with a fraction. */
  now(): number
  /** Wall clock, whole seconds since 1970 and nanoseconds, for time stamps. */
  realtime(): { sec: number; nsec: number }
  /** Runs `fn` once after `delayMs`. An `unref`ed timer does not keep the process alive. */
  after(delayMs: number, fn: () => void, unref?: boolean): Timer
  /** When the next timer is due (as `now()`), Infinity when none is. */
  nextDeadline(): number
  /** A number in [0, 1). */
  random(): number
}

class SystemClock implements Clock {
  readonly #deadlines = new Set<SystemTimer>()
  #wallBase = Date.now()
  #monotonicBase = performance.now()

  now(): number {
    return performance.now()
  }

  realtime(): { sec: number; nsec: number } {
    const wall = Date.now()
    let ms = this.#wallBase + (performance.now() - this.#monotonicBase)
    // The wall clock was stepped, or the two drifted apart: start again from it.
    if (ms < wall || ms >= wall + 2) {
      this.#wallBase = wall
      this.#monotonicBase = performance.now()
      ms = wall
    }
    const sec = Math.floor(ms / 1000)
    return { sec, nsec: Math.floor((ms - sec * 1000) * 1e6) }
  }

  after(delayMs: number, fn: () => void, unref = false): Timer {
    const timer = new SystemTimer(this.#deadlines, performance.now() + delayMs)
    timer.start(delayMs, fn, unref)
    return timer
  }

  nextDeadline(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (const timer of this.#deadlines) {
      if (timer.deadline < earliest) earliest = timer.deadline
    }
    return earliest
  }

  random(): number {
    return Math.random()
  }
}

class SystemTimer implements Timer {
  readonly deadline: number
  readonly #owner: Set<SystemTimer>
  #handle: NodeJS.Timeout | undefined

  constructor(owner: Set<SystemTimer>, deadline: number) {
    this.#owner = owner
    this.deadline = deadline
  }

  start(delayMs: number, fn: () => void, unref: boolean): void {
    this.#owner.add(this)
    this.#handle = setTimeout(() => {
      this.#owner.delete(this)
      fn()
    }, delayMs)
    if (unref) this.#handle.unref()
  }

  clear(): void {
    this.#owner.delete(this)
    clearTimeout(this.#handle)
  }
}

/** The clock in use. Replaced as a whole by the simulator, before anything runs. */
export let clock: Clock = new SystemClock()

export function setClock(replacement: Clock): void {
  clock = replacement
}

/** Seconds since 1970 of a written date, such as a certificate's `May  1 12:00:00 2027 GMT`. */
export function secondsOf(text: string): number {
  return Date.parse(text) / 1000
}
