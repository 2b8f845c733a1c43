/**
 * Buffers in memory that is used again: whoever keeps one beyond the call it was given in, as a
 * socket does until the bytes are sent, holds its loan meanwhile. Buffers without a loan belong
 * to the garbage collector, and nobody need care.
 */
import { assert } from './assert.ts'

export class Loan {
  #holders = 1
  readonly #ended: () => void

  /** Held by the caller. `ended` is called once, by the last holder's `drop`. */
  constructor(ended: () => void) {
    this.#ended = ended
  }

  hold(): void {
    assert(this.#holders > 0, 'a loan that ended is held again')
    this.#holders++
  }

  /** Bound, so that it can be handed on as a callback. */
  readonly drop = (): void => {
    assert(this.#holders > 0, 'a loan dropped more often than held')
    this.#holders--
    if (this.#holders === 0) this.#ended()
  }
}

const LOAN = Symbol('loan')

type Lent = Uint8Array & { [LOAN]?: Loan }

/** Says that `buffer` (this very view, not parts cut from it) is only good while `loan` is held. */
export function lend(buffer: Uint8Array, loan: Loan): void {
  ;(buffer as Lent)[LOAN] = loan
}

export function loanOf(buffer: Uint8Array): Loan | undefined {
  return (buffer as Lent)[LOAN]
}
