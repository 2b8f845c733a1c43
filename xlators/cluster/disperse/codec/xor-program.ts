/**
 * Multiplication by a constant on bit-sliced symbols: output plane o is the XOR of those input
 * planes b for which bit o of c·2^b is set. The sums share terms; `xorProgram` finds shared pairs
 * greedily (Paar's algorithm), which brings the 24 or so XORs of a random constant down to 15.
 */
import { assert } from '../../../../src/core/assert.ts'
import { multiply } from './field.ts'

export const PLANES = 8

export interface XorProgram {
  /** Value 8+i is the XOR of the two earlier values; values 0..7 are the input planes. */
  readonly steps: readonly (readonly [number, number])[]
  /** Value that is output plane o. */
  readonly outputs: readonly number[]
}

const cache: (XorProgram | undefined)[] = []

/** The program for constant 1..255. */
export function xorProgram(constant: number): XorProgram {
  let program = cache[constant]
  if (program === undefined) {
    program = buildProgram(constant)
    cache[constant] = program
  }
  return program
}

/** Rows are bit sets of values; at most 31 values ever exist (tested for every constant). */
function buildProgram(constant: number): XorProgram {
  const rows = new Array<number>(PLANES).fill(0)
  for (let bit = 0; bit < PLANES; bit++) {
    const product = multiply(constant, 1 << bit)
    for (let plane = 0; plane < PLANES; plane++) {
      if ((product >> plane) & 1) rows[plane]! |= 1 << bit
    }
  }
  const steps: [number, number][] = []
  for (;;) {
    const pair = commonPair(rows, PLANES + steps.length)
    if (pair === undefined) break
    const value = PLANES + steps.length
    assert(value < 31, 'too many values in a program')
    steps.push(pair)
    const both = (1 << pair[0]) | (1 << pair[1])
    for (let plane = 0; plane < PLANES; plane++) {
      if ((rows[plane]! & both) === both) rows[plane] = (rows[plane]! & ~both) | (1 << value)
    }
  }
  return { steps, outputs: rows.map((row) => 31 - Math.clz32(row)) }
}

/** The pair of values that most rows contain; `undefined` when every row is a single value. */
function commonPair(rows: readonly number[], valueCount: number): [number, number] | undefined {
  let best: [number, number] | undefined
  let bestCount = 0
  for (let a = 0; a < valueCount; a++) {
    for (let b = a + 1; b < valueCount; b++) {
      const both = (1 << a) | (1 << b)
      let count = 0
      for (let plane = 0; plane < PLANES; plane++) {
        if ((rows[plane]! & both) === both) count++
      }
      if (count > bestCount) {
        bestCount = count
        best = [a, b]
      }
    }
  }
  return best
}
