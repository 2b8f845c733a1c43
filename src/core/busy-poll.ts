/**
 * Busy polling: while messages follow each other closely, the event loop asks the kernel for the
 * next one again and again for a moment before it goes to sleep. To wake a thread up, and the
 * processor it sleeps on, takes 10 to 50 us; a brick nearby answers within 100.
 *
 * It is done only while it pays: a count goes up with each message that came before the moment was
 * over, and down with each that came later. An idle mount, bricks that are far away, or a request
 * now and then never get there. What it costs is at most one moment of one processor for each
 * message, and none where another process has work for that processor: each time round it is
 * offered to the others first.
 */
import { clock, NEVER } from './clock.ts'

/** How long it is polled after the last message, us, unless another time was asked for. */
export const BUSY_POLL_US = 200

/** Messages closer to each other than that, ms, mostly came at once and tell nothing. */
const TURN_MS = 0.02
/** How many messages in time count. */
const TRUST_MAX = 32
/** From here on it is polled. */
const TRUST_MIN = 16

export class BusyPoll {
  /** How long it is polled, ms. */
  #window = 0
  /** When the last message came or went. */
  #last = NEVER
  #trust = 0
  #polling = false
  #makeWay: () => unknown = () => undefined

  /**
   * Until then it never polls.
   *
   * @param window us; 0 = never.
   * @param makeWay lets others have the processor, before each look at the kernel.
   */
  begin(window: number, makeWay: () => unknown): void {
    this.#window = window / 1000
    this.#trust = 0
    this.#makeWay = makeWay
  }

  /** Whether the event loop does not sleep now. */
  get polling(): boolean {
    return this.#polling
  }

  /** A message came. */
  arrived(): void {
    const now = clock.now()
    const gap = now - this.#last
    this.#last = now
    if (gap < TURN_MS) return
    if (gap < this.#window) this.#trust = Math.min(this.#trust + 1, TRUST_MAX)
    else if (this.#trust > 0) this.#trust--
    if (this.#trust >= TRUST_MIN) this.#poll()
  }

  /** A message that will be answered went out. */
  sent(): void {
    this.#last = clock.now()
    if (this.#trust >= TRUST_MIN) this.#poll()
  }

  #poll(): void {
    if (this.#polling) return
    this.#polling = true
    setImmediate(this.#again)
  }

  /** As long as an immediate is waiting, the event loop does not sleep. */
  readonly #again = (): void => {
    if (clock.now() - this.#last < this.#window) {
      this.#makeWay()
      setImmediate(this.#again)
    } else this.#polling = false
  }
}

/** Of this process. */
export const busyPoll = new BusyPoll()
