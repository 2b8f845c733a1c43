/**
 * Locks that no fop uses and that are kept a while for the next one. Those that come due at about
 * the same time are given back together: one message to each brick instead of one a lock.
 */
import { clock, type Timer } from '../../../src/core/clock.ts'

/** How much longer than asked for a lock may be kept, ms. */
const TOGETHER_MS = 50

/** A lock that may be kept. */
export interface KeptLock {
  /** When it may go, ms, while no fop uses it. */
  idleUntil: number | undefined
  releaseNow(): void
}

export class IdleLocks {
  readonly #locks = new Set<KeptLock>()
  #timer: Timer | undefined
  #due = 0

  /** Releases `lock` in `ms`, unless it is used before. */
  add(lock: KeptLock, ms: number): void {
    const until = clock.now() + ms
    lock.idleUntil = until
    this.#locks.add(lock)
    if (this.#timer === undefined || until < this.#due - TOGETHER_MS) this.#wait(until)
  }

  stop(): void {
    this.#timer?.clear()
    this.#timer = undefined
  }

  #wait(first: number): void {
    this.#timer?.clear()
    this.#due = first + TOGETHER_MS
    this.#timer = clock.after(Math.max(0, this.#due - clock.now()), () => this.#release())
  }

  #release(): void {
    this.#timer = undefined
    const now = clock.now()
    let next = Number.POSITIVE_INFINITY
    for (const lock of [...this.#locks]) {
      if (lock.idleUntil === undefined) this.#locks.delete(lock)
      else if (lock.idleUntil > now) next = Math.min(next, lock.idleUntil)
      else {
        this.#locks.delete(lock)
        lock.releaseNow()
      }
    }
    if (next !== Number.POSITIVE_INFINITY) this.#wait(next)
  }
}
