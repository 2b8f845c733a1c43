/**
 * The WebAssembly memory all codecs of the process work in: a block where data passes through, and
 * slots that hold the fragments of a write until the sockets have sent them.
 *
 * Slots are taken from the one freed last, so that a stream of writes keeps using memory that is
 * mapped and in the CPU's cache; those never used are never mapped.
 *
 *     0          in ..........  64 KiB: small slots ......  large slots ......
 *     BLOCK_OUT  out .........
 */

export const PAGE_SIZE = 65536
/** User bytes transformed at a time; with its fragments it fits the level 1 cache, nearly. */
export const BLOCK_SIZE_MAX = 16384
/**
 * Added to the distance of fragments in memory: at multiples of 4 KiB, loads and stores of all of
 * them would meet in the same few sets of the level 1 cache (half the speed).
 */
export const FRAGMENT_GAP = 9 * 64
/** Where a block's results go when they are copied on; 16 fragments with their gaps fit before. */
export const BLOCK_OUT = 32768

/** The fragments of 128 KiB, and of the largest write of the kernel, 1 MiB, for any K+R. */
const SMALL_SLOT_SIZE = 5 * PAGE_SIZE
const LARGE_SLOT_SIZE = 33 * PAGE_SIZE
const SMALL_SLOTS_MAX = 32
const LARGE_SLOTS_MAX = 12
const SLOTS_AT = PAGE_SIZE

export class CodecMemory {
  readonly wasm: WebAssembly.Memory
  readonly bytes: Buffer
  /** Addresses of free slots, the one to use next last. */
  readonly #small: number[] = []
  readonly #large: number[] = []
  readonly #largeAt = SLOTS_AT + SMALL_SLOTS_MAX * SMALL_SLOT_SIZE

  constructor() {
    const end = this.#largeAt + LARGE_SLOTS_MAX * LARGE_SLOT_SIZE
    const pages = end / PAGE_SIZE
    // It never grows: that would detach the buffers handed out.
    this.wasm = new WebAssembly.Memory({ initial: pages, maximum: pages })
    this.bytes = Buffer.from(this.wasm.buffer)
    for (let i = SMALL_SLOTS_MAX - 1; i >= 0; i--) this.#small.push(SLOTS_AT + i * SMALL_SLOT_SIZE)
    for (let i = LARGE_SLOTS_MAX - 1; i >= 0; i--) {
      this.#large.push(this.#largeAt + i * LARGE_SLOT_SIZE)
    }
  }

  /** Free slots, for tests and state dumps. */
  get freeSlots(): number {
    return this.#small.length + this.#large.length
  }

  /** The address of `size` bytes, or `undefined` when they are too many or all slots are taken. */
  take(size: number): number | undefined {
    if (size <= SMALL_SLOT_SIZE && this.#small.length > 0) return this.#small.pop()
    if (size <= LARGE_SLOT_SIZE) return this.#large.pop()
    return undefined
  }

  give(slot: number): void {
    if (slot >= this.#largeAt) this.#large.push(slot)
    else this.#small.push(slot)
  }
}

let shared: CodecMemory | undefined

/** All of the codec is synchronous, so one memory serves every codec of the process. */
export function codecMemory(): CodecMemory {
  shared ??= new CodecMemory()
  return shared
}
