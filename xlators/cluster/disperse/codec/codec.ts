/**
 * Encodes and decodes stripes with generated WebAssembly (emit.ts). Data passes through one small
 * memory, block by block: it is copied in, transformed while it sits in the CPU's cache and copied
 * out to where it is wanted, so that every byte is copied once on either side.
 *
 * All of it is synchronous, so one memory serves every codec of the process.
 */
import { assert } from '../../../../src/core/assert.ts'
import { emitModule, type RowLayout, type RowSum } from './emit.ts'
import { decodeMatrix } from './field.ts'
import { CHUNK_SIZE, type Geometry } from './geometry.ts'

/** User bytes transformed at a time; with the fragments it fits the level 2 cache. */
const BLOCK_SIZE_MAX = 32768
const PAGE_SIZE = 65536
/** Sets of surviving bricks whose decoders are kept, least recently used dropped first. */
export const DECODERS_MAX = 64

type Rows = ((out: number, stripes: number) => void)[]

let sharedMemory: { wasm: WebAssembly.Memory; bytes: Buffer } | undefined

function memory(): { wasm: WebAssembly.Memory; bytes: Buffer } {
  if (sharedMemory === undefined) {
    // A block of data and its fragments, which are less than twice as long.
    const pages = Math.ceil((3 * BLOCK_SIZE_MAX) / PAGE_SIZE)
    const wasm = new WebAssembly.Memory({ initial: pages, maximum: pages })
    sharedMemory = { wasm, bytes: Buffer.from(wasm.buffer) }
  }
  return sharedMemory
}

function compile(rows: readonly RowSum[], layout: RowLayout): Rows {
  const module = new WebAssembly.Module(emitModule(rows, layout))
  const instance = new WebAssembly.Instance(module, { m: { m: memory().wasm } })
  return rows.map((_, index) => instance.exports[`row${index}`] as Rows[number])
}

/** Reads consecutive bytes of a vector of buffers. */
class VectorReader {
  readonly #vector: readonly Uint8Array[]
  #index = 0
  #used = 0

  constructor(vector: readonly Uint8Array[]) {
    this.#vector = vector
  }

  /** Copies the next `length` bytes to `target` at `at`; the vector must hold as many. */
  copyTo(target: Buffer, at: number, length: number): void {
    while (length > 0) {
      const piece = this.#vector[this.#index]
      assert(piece !== undefined, 'codec input shorter than announced')
      const count = Math.min(length, piece.length - this.#used)
      if (count === piece.length) target.set(piece, at)
      else if (count > 0) target.set(piece.subarray(this.#used, this.#used + count), at)
      at += count
      length -= count
      this.#used += count
      if (this.#used === piece.length) {
        this.#index++
        this.#used = 0
      }
    }
  }
}

export class Codec {
  readonly geometry: Geometry
  readonly #blockStripes: number
  /** Bytes between the same stripe of neighbouring fragments in the memory. */
  readonly #fragmentStride: number
  #encodeRows: Rows | undefined
  /** Decode functions by the bricks' mask, oldest use first. */
  readonly #decoders = new Map<number, Rows>()

  constructor(geometry: Geometry) {
    this.geometry = geometry
    this.#blockStripes = Math.max(1, Math.floor(BLOCK_SIZE_MAX / geometry.stripeSize))
    this.#fragmentStride = this.#blockStripes * CHUNK_SIZE
  }

  /** Decoders held, for tests and state dumps. */
  get decoderCount(): number {
    return this.#decoders.size
  }

  /**
   * The fragments of `data` (`size` bytes, whole stripes, in any pieces) for `bricks`; element i of
   * the answer belongs to `bricks[i]`. The answer is freshly allocated.
   */
  encode(data: readonly Uint8Array[], size: number, bricks: readonly number[]): Buffer[] {
    const { stripeSize, dataCount } = this.geometry
    assert(size % stripeSize === 0, 'encode of whole stripes only')
    const rows = this.#encoder()
    const { bytes } = memory()
    const reader = new VectorReader(data)
    const fragmentSize = size / dataCount
    const fragments = bricks.map(() => Buffer.allocUnsafeSlow(fragmentSize))
    const outAt = this.#blockStripes * stripeSize
    for (let done = 0; done < fragmentSize; done += this.#fragmentStride) {
      const count = Math.min(this.#fragmentStride, fragmentSize - done)
      reader.copyTo(bytes, 0, count * dataCount)
      for (let i = 0; i < bricks.length; i++) {
        const at = outAt + i * this.#fragmentStride
        rows[bricks[i]!]!(at, count / CHUNK_SIZE)
        fragments[i]!.set(bytes.subarray(at, at + count), done)
      }
    }
    return fragments
  }

  /**
   * User bytes [from, to) of the stripes whose fragments on `bricks` (K different ones, ascending)
   * are `fragments`, each `fragmentSize` bytes (whole chunks) in any pieces.
   */
  decode(
    bricks: readonly number[],
    fragments: readonly (readonly Uint8Array[])[],
    fragmentSize: number,
    from: number,
    to: number,
  ): Buffer {
    const { dataCount } = this.geometry
    assert(bricks.length === dataCount && fragments.length === dataCount, 'decode needs K bricks')
    assert(fragmentSize % CHUNK_SIZE === 0, 'decode of whole chunks only')
    assert(from <= to && to <= fragmentSize * dataCount, 'decode range outside the fragments')
    const rows = this.#decoder(bricks)
    const { bytes } = memory()
    const readers = fragments.map((vector) => new VectorReader(vector))
    const data = Buffer.allocUnsafeSlow(to - from)
    const outAt = dataCount * this.#fragmentStride
    for (let done = 0; done < fragmentSize; done += this.#fragmentStride) {
      const count = Math.min(this.#fragmentStride, fragmentSize - done)
      for (let t = 0; t < dataCount; t++) {
        readers[t]!.copyTo(bytes, t * this.#fragmentStride, count)
      }
      const start = Math.max(from, done * dataCount)
      const end = Math.min(to, (done + count) * dataCount)
      if (start >= end) continue
      for (let j = 0; j < dataCount; j++) rows[j]!(outAt + j * CHUNK_SIZE, count / CHUNK_SIZE)
      const shift = outAt - done * dataCount
      data.set(bytes.subarray(start + shift, end + shift), start - from)
    }
    return data
  }

  #encoder(): Rows {
    if (this.#encodeRows === undefined) {
      const { brickCount, dataCount, stripeSize } = this.geometry
      const sums: RowSum[] = []
      for (let brick = 0; brick < brickCount; brick++) {
        sums.push({ kind: 'horner', point: brick + 1, inputCount: dataCount })
      }
      this.#encodeRows = compile(sums, {
        inputAt: (chunk) => chunk * CHUNK_SIZE,
        inputStep: stripeSize,
        outputStep: CHUNK_SIZE,
      })
    }
    return this.#encodeRows
  }

  #decoder(bricks: readonly number[]): Rows {
    let mask = 0
    for (let i = 0; i < bricks.length; i++) {
      assert(i === 0 || bricks[i]! > bricks[i - 1]!, 'decode bricks must ascend')
      mask |= 1 << bricks[i]!
    }
    let rows = this.#decoders.get(mask)
    if (rows !== undefined) {
      this.#decoders.delete(mask)
    } else {
      const stride = this.#fragmentStride
      rows = compile(
        decodeMatrix(bricks).map((coefficients) => ({ kind: 'linear', coefficients })),
        {
          inputAt: (fragment) => fragment * stride,
          inputStep: CHUNK_SIZE,
          outputStep: this.geometry.stripeSize,
        },
      )
      if (this.#decoders.size >= DECODERS_MAX) {
        this.#decoders.delete(this.#decoders.keys().next().value!)
      }
    }
    this.#decoders.set(mask, rows)
    return rows
  }
}
