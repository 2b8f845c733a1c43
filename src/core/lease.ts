/**
 * Buffers in memory that is used again: whoever keeps one beyond the call it was given in, as a
 * socket does until the bytes are sent, holds its lease meanwhile. Buffers without a lease belong
 * to the garbage collector, and nobody need care.
 */
import { assert } from './assert.ts'

export class Lease {
  #holders = 1
  readonly #ended: () => void

  /** Held by the caller. `ended` is called once, by the last holder's `drop`. */
  constructor(ended: () => void) {
    this.#ended = ended
  }

  hold(): void {
    assert(this.#holders > 0, 'a lease that ended is held again')
    this.#holders++
  }

  /** Bound, so that it can be handed on as a callback. */
  readonly drop = (): void => {
    assert(this.#holders > 0, 'a lease dropped more often than held')
    this.#holders--
    if (this.#holders === 0) this.#ended()
  }
}

const LEASE = Symbol('lease')

type Lent = Uint8Array & { [LEASE]?: Lease }

/** Says that `buffer` (this very view, not parts cut from it) is only good while `lease` is held. */
export function lend(buffer: Uint8Array, lease: Lease): void {
  ;(buffer as Lent)[LEASE] = lease
}

export function leaseOf(buffer: Uint8Array): Lease | undefined {
  return (buffer as Lent)[LEASE]
}
