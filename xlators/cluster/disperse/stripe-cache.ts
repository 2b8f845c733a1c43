/**
 * Decoded stripes of one inode, kept while its lock is held: a sequence of unaligned writes needs
 * the stripe where the last one ended (ec_stripe_t). Stripes are never changed once stored.
 */
export interface StripeStats {
  hits: number
  misses: number
  updates: number
  invalidations: number
  evicts: number
  allocations: number
  errors: number
}

export const newStripeStats = (): StripeStats => ({
  hits: 0,
  misses: 0,
  updates: 0,
  invalidations: 0,
  evicts: 0,
  allocations: 0,
  errors: 0,
})

export class StripeCache {
  /** By user offset, least recently used first. */
  readonly #stripes = new Map<number, Buffer>()
  readonly #countMax: number
  readonly #stats: StripeStats

  constructor(countMax: number, stats: StripeStats) {
    this.#countMax = countMax
    this.#stats = stats
  }

  get(offset: number): Buffer | undefined {
    const stripe = this.#stripes.get(offset)
    if (stripe === undefined) {
      if (this.#countMax > 0) this.#stats.misses++
      return undefined
    }
    this.#stats.hits++
    this.#stripes.delete(offset)
    this.#stripes.set(offset, stripe)
    return stripe
  }

  put(offset: number, stripe: Buffer): void {
    if (this.#countMax === 0) return
    if (this.#stripes.delete(offset)) {
      this.#stats.updates++
    } else if (this.#stripes.size >= this.#countMax) {
      this.#stripes.delete(this.#stripes.keys().next().value!)
      this.#stats.evicts++
      this.#stats.updates++
    } else {
      this.#stats.allocations++
      this.#stats.updates++
    }
    this.#stripes.set(offset, stripe)
  }

  /** Forgets stripes that touch user bytes [from, to). */
  invalidate(from: number, to: number): void {
    for (const [offset, stripe] of this.#stripes) {
      if (offset >= to || offset + stripe.length <= from) continue
      this.#stripes.delete(offset)
      this.#stats.invalidations++
    }
  }
}
