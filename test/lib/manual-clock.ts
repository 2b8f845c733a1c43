import { type Clock, clock, setClock, type Timer } from '../../src/core/clock.ts'

/** Time that moves only when the test says so. */
export class ManualClock implements Clock {
  #now = 1_000_000
  readonly #timers = new Set<{ due: number; fn: () => void }>()

  now(): number {
    return this.#now
  }

  realtime(): { sec: number; nsec: number } {
    return { sec: Math.floor(this.#now / 1000), nsec: (this.#now % 1000) * 1e6 }
  }

  after(delayMs: number, fn: () => void): Timer {
    const timer = { due: this.#now + delayMs, fn }
    this.#timers.add(timer)
    return {
      clear: () => {
        this.#timers.delete(timer)
      },
    }
  }

  nextDeadline(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#timers].map((timer) => timer.due))
  }

  random(): number {
    return 0.5
  }

  /** Lets `ms` pass and runs what came due. */
  pass(ms: number): void {
    this.#now += ms
    for (const timer of [...this.#timers]) {
      if (timer.due > this.#now) continue
      this.#timers.delete(timer)
      timer.fn()
    }
  }
}

/** Runs `body` on a manual clock. */
export async function withManualClock(body: (manual: ManualClock) => Promise<void>): Promise<void> {
  const system = clock
  const manual = new ManualClock()
  setClock(manual)
  try {
    await body(manual)
  } finally {
    setClock(system)
  }
}
