/** Which sets of bricks may decide (afr_has_quorum). */
import { count, has } from '../common/mask.ts'

export type QuorumType = 'none' | 'auto' | 'fixed'

export class Quorum {
  readonly type: QuorumType
  readonly #childCount: number
  /** Of `fixed`; 0 otherwise. */
  readonly count: number

  /** `given`: the option; without it more than two bricks have `auto`, fewer `none`. */
  constructor(childCount: number, given: string | undefined, fixed: number | undefined) {
    this.#childCount = childCount
    this.type = (given as QuorumType | undefined) ?? (childCount > 2 ? 'auto' : 'none')
    this.count = this.type === 'fixed' ? (fixed ?? 0) : 0
  }

  get on(): boolean {
    return this.type === 'auto' || this.count > 0
  }

  /** Bricks it takes; 0 without a quorum. */
  get needed(): number {
    if (this.type === 'fixed') return this.count
    return this.type === 'auto' ? Math.floor(this.#childCount / 2) + 1 : 0
  }

  /** Any two sets that have it share a brick. */
  get overlaps(): boolean {
    return this.type === 'auto' || 2 * this.needed > this.#childCount
  }

  /** Without a quorum every set has it, even an empty one. */
  in(mask: number): boolean {
    if (!this.on) return true
    const present = count(mask)
    if (this.type === 'fixed') return present >= this.count
    if (2 * present > this.#childCount) return true
    // Half of an even number: the half with the first brick.
    return 2 * present === this.#childCount && has(mask, 0)
  }
}
