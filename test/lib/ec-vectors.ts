/** Golden data of erasure-coded volumes, test/vectors/ec (its README describes it). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

// Tests run from dist/test/lib; the vectors are not copied there.
const ROOT = join(import.meta.dirname, '../../../test/vectors/ec')

export function vectorJson<T>(path: string): T {
  return JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as T
}

/** The pseudo-random content of the vectors: a 32-bit linear congruence, its top byte each step. */
export function vectorBytes(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let x = seed >>> 0
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    bytes[i] = x >>> 24
  }
  return bytes
}
