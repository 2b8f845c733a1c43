/** Which bricks are there, and whether that makes the subvolume usable (ec_notify). */
import { assert } from '../../../src/core/assert.ts'
import { clock, type Timer } from '../../../src/core/clock.ts'
import type { Event } from '../../../src/core/event.ts'
import { bit, count } from './mask.ts'

/** How long bricks that say nothing hold up the mount. */
const SILENT_MS = 10_000

export class UpState {
  readonly #all: number
  readonly #dataCount: number
  readonly #announce: (event: Event) => void
  #up = 0
  #reported = 0
  #state: 'unknown' | 'up' | 'down' = 'unknown'
  #timer: Timer | undefined

  constructor(brickCount: number, dataCount: number, announce: (event: Event) => void) {
    assert(brickCount < 32, 'masks hold at most 31 bricks')
    this.#all = 2 ** brickCount - 1
    this.#dataCount = dataCount
    this.#announce = announce
  }

  /** Mask of connected bricks. */
  get up(): number {
    return this.#up
  }

  get isUp(): boolean {
    return count(this.#up) >= this.#dataCount
  }

  start(): void {
    this.#timer?.clear()
    this.#timer = clock.after(SILENT_MS, () => {
      this.#reported = this.#all
      this.#evaluate(false)
    })
  }

  stop(): void {
    this.#timer?.clear()
    this.#timer = undefined
  }

  brick(index: number, up: boolean): void {
    const before = this.#up
    this.#reported |= bit(index)
    this.#up = up ? before | bit(index) : before & ~bit(index)
    this.#evaluate(this.#up !== before, up)
  }

  #evaluate(changed: boolean, brickUp = false): void {
    const enough = this.isUp
    const gone = count(this.#reported & ~this.#up)
    const hopeless = gone > count(this.#all) - this.#dataCount
    const complete = this.#reported === this.#all
    const before = this.#state
    if (before === 'unknown') {
      if (enough && complete) this.#state = 'up'
      else if (hopeless) this.#state = 'down'
    } else {
      this.#state = enough ? 'up' : 'down'
    }
    if (this.#state !== before) {
      if (complete) this.stop()
      this.#announce({ type: this.#state === 'up' ? 'child-up' : 'child-down' })
    } else if (changed && before !== 'unknown') {
      this.#announce({ type: brickUp ? 'some-descendent-up' : 'some-descendent-down' })
    }
  }
}
