/**
 * What nobody waits for is sent right behind the next fop, or after a few milliseconds if there is
 * none: the bricks, and this mount, then wake up once for both.
 */
import { clock, type Timer } from '../../../src/core/clock.ts'

/** Longest wait, ms. */
const WAIT_MS_MAX = 5

export class Afterwards {
  #jobs: (() => void)[] = []
  #timer: Timer | undefined

  add(job: () => void): void {
    this.#jobs.push(job)
    this.#timer ??= clock.after(WAIT_MS_MAX, this.run)
  }

  /** A fop was sent, or somebody does wait now. */
  readonly run = (): void => {
    if (this.#timer === undefined) return
    this.#timer.clear()
    this.#timer = undefined
    const jobs = this.#jobs
    this.#jobs = []
    for (const job of jobs) job()
  }
}
