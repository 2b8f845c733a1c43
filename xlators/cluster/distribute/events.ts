/** Which subvolumes are up, since when, and what the parents should hear about it. */
import { clock } from '../../../src/core/clock.ts'
import type { UpEvent } from '../../../src/core/event.ts'

type State = 'unknown' | 'connecting' | 'up' | 'down'

export class ChildStates {
  readonly #states: State[]
  /** Wall clock seconds at which it came up. */
  readonly #upSince: number[]
  /** All have reported once: from here on changes are told as they happen. */
  #complete = false

  constructor(count: number) {
    this.#states = new Array<State>(count).fill('unknown')
    this.#upSince = new Array<number>(count).fill(0)
  }

  isUp(index: number): boolean {
    return this.#states[index] === 'up'
  }

  get allUp(): boolean {
    return this.#states.every((state) => state === 'up')
  }

  get anyUp(): boolean {
    return this.#states.includes('up')
  }

  /** The one that has been up longest, in whole seconds; the first of equals. -1 = none is up. */
  longestUp(): number {
    let best = -1
    this.#states.forEach((state, i) => {
      if (state !== 'up') return
      if (best < 0 || this.#upSince[i]! < this.#upSince[best]!) best = i
    })
    return best
  }

  /** Every child has said whether it is up. */
  get complete(): boolean {
    return this.#complete
  }

  /**
   * Records what a child reported. The answer is what to tell the parents, if anything: nothing
   * before every child is up or down, because a mount that begins with some of its bricks would
   * miss files and see holes in layouts.
   */
  report(index: number, state: 'connecting' | 'up' | 'down'): UpEvent | undefined {
    const wasUp = this.anyUp
    const before = this.#states[index]
    this.#states[index] = state
    if (state === 'up' && before !== 'up') this.#upSince[index] = clock.realtime().sec
    if (!this.#complete) {
      const waiting = this.#states.some((each) => each === 'unknown' || each === 'connecting')
      return waiting ? undefined : this.waitNoLonger()
    }
    switch (state) {
      case 'up':
        return { type: wasUp ? 'some-descendent-up' : 'child-up' }
      case 'down':
        if (this.anyUp) return { type: 'some-descendent-down' }
        return { type: 'child-down' }
      case 'connecting':
        return this.anyUp ? undefined : { type: 'child-connecting' }
    }
  }

  /** Those that have said nothing count as down. What to tell the parents. */
  waitNoLonger(): UpEvent | undefined {
    if (this.#complete) return undefined
    this.#complete = true
    return { type: this.anyUp ? 'child-up' : 'child-down' }
  }
}
