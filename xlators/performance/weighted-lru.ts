/** Something of `size` bytes that may be thrown out. */
export interface Evictable {
  readonly weight: number
  size: number
  /** It is thrown out; it is no longer in the list. */
  evict(): void
}

/** Bounds the bytes of a cache: lowest weight first, within it least recently used first. */
export class WeightedLru<T extends Evictable> {
  /** Least recently used first. */
  readonly #byWeight = new Map<number, Set<T>>()
  #bytes = 0
  #count = 0
  bytesMax: number

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get count(): number {
    return this.#count
  }

  /** Enters `item` as most recently used and makes room. */
  add(item: T): void {
    let items = this.#byWeight.get(item.weight)
    if (items === undefined) {
      items = new Set()
      this.#byWeight.set(item.weight, items)
    }
    items.add(item)
    this.#bytes += item.size
    this.#count++
    this.shrink()
  }

  has(item: T): boolean {
    return this.#byWeight.get(item.weight)?.has(item) === true
  }

  touch(item: T): void {
    const items = this.#byWeight.get(item.weight)
    if (items?.delete(item)) items.add(item)
  }

  delete(item: T): void {
    if (this.#byWeight.get(item.weight)?.delete(item) !== true) return
    this.#bytes -= item.size
    this.#count--
  }

  /** Throws out everything. */
  clear(): void {
    for (const items of this.#byWeight.values()) {
      for (const item of items) {
        this.delete(item)
        item.evict()
      }
    }
  }

  /** Throws out until the bound holds again. */
  shrink(): void {
    if (this.#bytes <= this.bytesMax) return
    const weights = [...this.#byWeight.keys()].sort((a, b) => a - b)
    for (const weight of weights) {
      for (const item of this.#byWeight.get(weight)!) {
        if (this.#bytes <= this.bytesMax) return
        this.delete(item)
        item.evict()
      }
    }
  }
}
