/**
 * The code in plain TypeScript, symbol by symbol, as the definition reads. Slow; the judge of the
 * WebAssembly codec in tests and its stand-in where WebAssembly has no SIMD.
 */
import { assert } from '../../../../src/core/assert.ts'
import { decodeMatrix, encodeRow, multiply } from './field.ts'
import { CHUNK_SIZE } from './geometry.ts'

const PLANE_SIZE = 64

/** Symbol `index` (0..511) of the chunk at `at`: bit b is in plane b. */
function symbolAt(bytes: Uint8Array, at: number, index: number): number {
  let symbol = 0
  for (let bit = 0; bit < 8; bit++) {
    const byte = bytes[at + PLANE_SIZE * bit + (index >> 3)]!
    symbol |= ((byte >> (index & 7)) & 1) << bit
  }
  return symbol
}

function setSymbol(bytes: Uint8Array, at: number, index: number, symbol: number): void {
  for (let bit = 0; bit < 8; bit++) {
    if ((symbol >> bit) & 1) bytes[at + PLANE_SIZE * bit + (index >> 3)]! |= 1 << (index & 7)
  }
}

/**
 * Writes Σ row[j]·chunk(j) to the zeroed chunk at `outAt`; `chunkAt` gives [bytes, offset] of j.
 */
function combine(
  row: readonly number[],
  chunkAt: (index: number) => [Uint8Array, number],
  out: Uint8Array,
  outAt: number,
): void {
  for (let index = 0; index < CHUNK_SIZE; index++) {
    let sum = 0
    for (let j = 0; j < row.length; j++) {
      const [bytes, at] = chunkAt(j)
      sum ^= multiply(row[j]!, symbolAt(bytes, at, index))
    }
    setSymbol(out, outAt, index, sum)
  }
}

/** Fragment of `brick` for `data`, whole stripes of K chunks. */
export function referenceEncode(dataCount: number, brick: number, data: Uint8Array): Buffer {
  const stripeSize = dataCount * CHUNK_SIZE
  assert(data.length % stripeSize === 0, 'encode of whole stripes only')
  const row = encodeRow(dataCount, brick)
  const fragment = Buffer.alloc(data.length / dataCount)
  for (let stripe = 0; stripe * stripeSize < data.length; stripe++) {
    const chunkAt = (j: number): [Uint8Array, number] => [
      data,
      stripe * stripeSize + j * CHUNK_SIZE,
    ]
    combine(row, chunkAt, fragment, stripe * CHUNK_SIZE)
  }
  return fragment
}

/** The data whose fragments on `bricks` (K different ones) are `fragments`. */
export function referenceDecode(
  bricks: readonly number[],
  fragments: readonly Uint8Array[],
): Buffer {
  const dataCount = bricks.length
  const length = fragments[0]!.length
  assert(length % CHUNK_SIZE === 0, 'decode of whole chunks only')
  const matrix = decodeMatrix(bricks)
  const data = Buffer.alloc(length * dataCount)
  for (let stripe = 0; stripe * CHUNK_SIZE < length; stripe++) {
    const chunkAt = (t: number): [Uint8Array, number] => [fragments[t]!, stripe * CHUNK_SIZE]
    for (let j = 0; j < dataCount; j++) {
      combine(matrix[j]!, chunkAt, data, (stripe * dataCount + j) * CHUNK_SIZE)
    }
  }
  return data
}
