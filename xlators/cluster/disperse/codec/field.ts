/**
 * GF(2^8) with polynomial x^8+x^4+x^3+x^2+1 (0x11d) and generator 2, and the matrices of the code
 * over it (ec-galois, ec-method). Addition is XOR.
 */
import { assert } from '../../../../src/core/assert.ts'

const POLYNOMIAL = 0x11d

/** Powers of 2, twice around, so that exponents need no modulo. */
const powers = new Uint8Array(510)
const logarithms = new Uint8Array(256)
for (let exponent = 0, value = 1; exponent < 255; exponent++) {
  powers[exponent] = value
  powers[exponent + 255] = value
  logarithms[value] = exponent
  value <<= 1
  if (value & 0x100) value ^= POLYNOMIAL
}

export function multiply(a: number, b: number): number {
  if (a === 0 || b === 0) return 0
  return powers[logarithms[a]! + logarithms[b]!]!
}

export function inverse(a: number): number {
  assert(a !== 0, 'zero has no inverse')
  return powers[255 - logarithms[a]!]!
}

/** Row of the encode matrix for brick `brick`: v^(K-1) … v 1 with v = brick + 1. */
export function encodeRow(dataCount: number, brick: number): number[] {
  const row = new Array<number>(dataCount)
  let power = 1
  for (let chunk = dataCount - 1; chunk >= 0; chunk--) {
    row[chunk] = power
    power = multiply(power, brick + 1)
  }
  return row
}

/**
 * Row j gives the coefficients of chunk j over the fragments of `bricks` (K different ones, in this
 * order): the inverse of their encode rows, by Gauss-Jordan elimination.
 */
export function decodeMatrix(bricks: readonly number[]): number[][] {
  const size = bricks.length
  const left = bricks.map((brick) => encodeRow(size, brick))
  const right = left.map((_, at) => left.map((_, column) => (column === at ? 1 : 0)))
  for (let column = 0; column < size; column++) {
    let pivot = column
    while (pivot < size && left[pivot]![column] === 0) pivot++
    // The rows of different bricks are a Vandermonde matrix, which is never singular.
    assert(pivot < size, 'decode bricks are not distinct')
    swap(left, column, pivot)
    swap(right, column, pivot)
    const scale = inverse(left[column]![column]!)
    scaleRow(left[column]!, scale)
    scaleRow(right[column]!, scale)
    for (let row = 0; row < size; row++) {
      if (row === column) continue
      const factor = left[row]![column]!
      addScaled(left[row]!, left[column]!, factor)
      addScaled(right[row]!, right[column]!, factor)
    }
  }
  return right
}

function swap(rows: number[][], a: number, b: number): void {
  const row = rows[a]!
  rows[a] = rows[b]!
  rows[b] = row
}

function scaleRow(row: number[], factor: number): void {
  for (let i = 0; i < row.length; i++) row[i] = multiply(row[i]!, factor)
}

function addScaled(target: number[], source: readonly number[], factor: number): void {
  if (factor === 0) return
  for (let i = 0; i < target.length; i++) target[i]! ^= multiply(source[i]!, factor)
}
