/**
 * Encodes and decodes stripes with generated WebAssembly (emit.ts), block by block: the input is
 * copied to the WebAssembly memory and transformed while it sits in the CPU's cache. Fragments that
 * go to sockets are written to where the sockets send them from (memory.ts) and not copied again;
 * other results are copied to buffers of their own.
 *
 * No worker threads: a message to one and back takes longer than encoding 128 KiB here; only the
 * largest requests could gain (test/bench/ec-worker.ts).
 */
import { assert } from '../../../../src/core/assert.ts'
import { Loan, lend } from '../../../../src/core/loan.ts'
import { emitModule, groupRows, type RowLayout, type RowSum } from './emit.ts'
import { decodeMatrix } from './field.ts'
import { CHUNK_SIZE, type Geometry } from './geometry.ts'
import { BLOCK_OUT, BLOCK_SIZE_MAX, codecMemory, FRAGMENT_GAP } from './memory.ts'

/** Sets of bricks whose code is kept for either direction, least recently used dropped first. */
export const DECODERS_MAX = 64
/** Fragments smaller than this in all are cheaper to copy than to lend. */
const LENT_MIN = 8192

/** Functions, each for some neighbouring rows. */
interface Transform {
  functions: ((out: number, rowStride: number, stripes: number) => void)[]
  /** First row of each function. */
  firstRows: number[]
}

/** Fragments, good until the caller drops the loan; without one they are ordinary buffers. */
export interface Fragments {
  buffers: Buffer[]
  loan?: Loan
}

/** User data, likewise. */
export interface Decoded {
  data: Buffer
  loan?: Loan
}

function compile(rows: readonly RowSum[], layout: RowLayout): Transform {
  const module = new WebAssembly.Module(emitModule(rows, layout))
  const instance = new WebAssembly.Instance(module, { m: { m: codecMemory().wasm } })
  const transform: Transform = { functions: [], firstRows: [] }
  let row = 0
  for (const [index, group] of groupRows(rows).entries()) {
    const name = `rows${index}`
    transform.functions.push(instance.exports[name] as Transform['functions'][number])
    transform.firstRows.push(row)
    row += group.length
  }
  return transform
}

/** Computes all rows of `stripes` stripes of the block; row i begins at `out + i * rowStride`. */
function run(transform: Transform, out: number, rowStride: number, stripes: number): void {
  const { functions, firstRows } = transform
  for (let i = 0; i < functions.length; i++) {
    functions[i]!(out + firstRows[i]! * rowStride, rowStride, stripes)
  }
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
  /** Bytes of each fragment in a block. */
  readonly #blockChunks: number
  /** Code by the bricks' mask, oldest use first. */
  readonly #encoders = new Map<number, Transform>()
  readonly #decoders = new Map<number, Transform>()

  constructor(geometry: Geometry) {
    this.geometry = geometry
    this.#blockStripes = Math.max(1, Math.floor(BLOCK_SIZE_MAX / geometry.stripeSize))
    this.#blockChunks = this.#blockStripes * CHUNK_SIZE
  }

  /** Decoders held, for tests and state dumps. */
  get decoderCount(): number {
    return this.#decoders.size
  }

  /**
   * The fragments of `data` (`size` bytes, whole stripes, in any pieces) for `bricks`, which
   * ascend; element i of the answer belongs to `bricks[i]`.
   */
  encode(data: readonly Uint8Array[], size: number, bricks: readonly number[]): Buffer[] {
    const { dataCount } = this.geometry
    const { bytes } = codecMemory()
    const fragmentSize = size / dataCount
    const joined = Buffer.allocUnsafeSlow(fragmentSize * bricks.length)
    const transform = this.#encoder(size, bricks)
    const reader = new VectorReader(data)
    for (let done = 0; done < fragmentSize; done += this.#blockChunks) {
      const count = Math.min(this.#blockChunks, fragmentSize - done)
      reader.copyTo(bytes, 0, count * dataCount)
      run(transform, BLOCK_OUT, count, count / CHUNK_SIZE)
      if (count === fragmentSize) {
        bytes.copy(joined, 0, BLOCK_OUT, BLOCK_OUT + joined.length)
        break
      }
      for (let i = 0; i < bricks.length; i++) {
        const at = BLOCK_OUT + i * count
        bytes.copy(joined, i * fragmentSize + done, at, at + count)
      }
    }
    return cut(joined, 0, fragmentSize, fragmentSize, bricks.length)
  }

  /**
   * `encode` into memory that is used again when the loan of the answer ends. Where there is none
   * (the request is small or very large, or much is on its way) the answer has no loan.
   */
  encodeLent(data: readonly Uint8Array[], size: number, bricks: readonly number[]): Fragments {
    const { dataCount } = this.geometry
    const memory = codecMemory()
    const fragmentSize = size / dataCount
    const stride = fragmentSize + FRAGMENT_GAP
    const worthwhile = fragmentSize * bricks.length >= LENT_MIN
    const slot = worthwhile ? memory.take(stride * bricks.length) : undefined
    if (slot === undefined) return { buffers: this.encode(data, size, bricks) }
    const transform = this.#encoder(size, bricks)
    const reader = new VectorReader(data)
    for (let done = 0; done < fragmentSize; done += this.#blockChunks) {
      const count = Math.min(this.#blockChunks, fragmentSize - done)
      reader.copyTo(memory.bytes, 0, count * dataCount)
      run(transform, slot + done, stride, count / CHUNK_SIZE)
    }
    const buffers = cut(memory.bytes, slot, fragmentSize, stride, bricks.length)
    const loan = new Loan(() => memory.give(slot))
    for (const buffer of buffers) lend(buffer, loan)
    return { buffers, loan }
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
    const { bytes } = codecMemory()
    const data = Buffer.allocUnsafeSlow(to - from)
    this.#eachBlock(bricks, fragments, fragmentSize, from, to, (transform, done, count) => {
      run(transform, BLOCK_OUT, CHUNK_SIZE, count / CHUNK_SIZE)
      const start = Math.max(from, done * dataCount)
      const end = Math.min(to, (done + count) * dataCount)
      const shift = BLOCK_OUT - done * dataCount
      bytes.copy(data, start - from, start + shift, end + shift)
    })
    return data
  }

  /** `decode` into memory that is used again when the answer's loan ends; see `encodeLent`. */
  decodeLent(
    bricks: readonly number[],
    fragments: readonly (readonly Uint8Array[])[],
    fragmentSize: number,
    from: number,
    to: number,
  ): Decoded {
    const { dataCount } = this.geometry
    const memory = codecMemory()
    const slot = to - from >= LENT_MIN ? memory.take(fragmentSize * dataCount) : undefined
    if (slot === undefined) return { data: this.decode(bricks, fragments, fragmentSize, from, to) }
    this.#eachBlock(bricks, fragments, fragmentSize, from, to, (transform, done, count) => {
      run(transform, slot + done * dataCount, CHUNK_SIZE, count / CHUNK_SIZE)
    })
    const data = memory.bytes.subarray(slot + from, slot + to)
    const loan = new Loan(() => memory.give(slot))
    lend(data, loan)
    return { data, loan }
  }

  /** Calls `work` for each block of fragments that touches [from, to), loaded for its transform. */
  #eachBlock(
    bricks: readonly number[],
    fragments: readonly (readonly Uint8Array[])[],
    fragmentSize: number,
    from: number,
    to: number,
    work: (transform: Transform, done: number, count: number) => void,
  ): void {
    const { dataCount } = this.geometry
    assert(bricks.length === dataCount && fragments.length === dataCount, 'decode needs K bricks')
    assert(fragmentSize % CHUNK_SIZE === 0, 'decode of whole chunks only')
    assert(from <= to && to <= fragmentSize * dataCount, 'decode range outside the fragments')
    const transform = this.#decoder(bricks)
    const { bytes } = codecMemory()
    const readers = fragments.map((vector) => new VectorReader(vector))
    const stride = this.#blockChunks + FRAGMENT_GAP
    for (let done = 0; done < fragmentSize; done += this.#blockChunks) {
      const count = Math.min(this.#blockChunks, fragmentSize - done)
      for (let t = 0; t < dataCount; t++) readers[t]!.copyTo(bytes, t * stride, count)
      if (done * dataCount < to && (done + count) * dataCount > from) work(transform, done, count)
    }
  }

  #encoder(size: number, bricks: readonly number[]): Transform {
    const { dataCount, stripeSize } = this.geometry
    assert(size % stripeSize === 0, 'encode of whole stripes only')
    return cached(this.#encoders, bricks, () => {
      const sums = bricks.map(
        (brick): RowSum => ({ kind: 'horner', point: brick + 1, inputCount: dataCount }),
      )
      return compile(sums, {
        inputAt: (chunk) => chunk * CHUNK_SIZE,
        inputStep: stripeSize,
        outputStep: CHUNK_SIZE,
      })
    })
  }

  #decoder(bricks: readonly number[]): Transform {
    return cached(this.#decoders, bricks, () => {
      const sums = decodeMatrix(bricks).map(
        (coefficients): RowSum => ({ kind: 'linear', coefficients }),
      )
      const stride = this.#blockChunks + FRAGMENT_GAP
      return compile(sums, {
        inputAt: (fragment) => fragment * stride,
        inputStep: CHUNK_SIZE,
        outputStep: this.geometry.stripeSize,
      })
    })
  }
}

/** `count` views of `size` bytes each, `stride` apart. */
function cut(bytes: Buffer, at: number, size: number, stride: number, count: number): Buffer[] {
  const views: Buffer[] = []
  for (let i = 0; i < count; i++) {
    views.push(bytes.subarray(at + i * stride, at + i * stride + size))
  }
  return views
}

function cached(
  transforms: Map<number, Transform>,
  bricks: readonly number[],
  make: () => Transform,
): Transform {
  let mask = 0
  for (let i = 0; i < bricks.length; i++) {
    assert(i === 0 || bricks[i]! > bricks[i - 1]!, 'bricks of the codec must ascend')
    mask |= 1 << bricks[i]!
  }
  let transform = transforms.get(mask)
  if (transform !== undefined) {
    transforms.delete(mask)
  } else {
    transform = make()
    if (transforms.size >= DECODERS_MAX) transforms.delete(transforms.keys().next().value!)
  }
  transforms.set(mask, transform)
  return transform
}
