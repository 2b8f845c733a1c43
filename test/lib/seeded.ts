/** Chance and order of tests, from one seed. */

/** Numbers in [0, 1) that depend on `seed` only (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Holds things back and lets them go one by one, in an order chosen by `random`. */
export class Shuffler {
  readonly #random: () => number
  readonly #waiting: (() => void)[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  readonly gate = (): Promise<void> =>
    new Promise((resolve) => {
      this.#waiting.push(resolve)
    })

  /** Lets one go; false when none waits. */
  async step(): Promise<boolean> {
    await turn()
    if (this.#waiting.length === 0) return false
    const at = Math.floor(this.#random() * this.#waiting.length)
    this.#waiting.splice(at, 1)[0]!()
    await turn()
    return true
  }

  /** Lets things go until `promise` is settled. */
  async until<T>(promise: Promise<T> | T): Promise<T> {
    let done = false
    const watched = Promise.resolve(promise).finally(() => {
      done = true
    })
    for (let idle = 0; !done; ) {
      if (await this.step()) idle = 0
      else if (++idle > 200) throw new Error('nothing moves any more')
    }
    return watched
  }

  async drain(): Promise<void> {
    while (await this.step());
  }
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
