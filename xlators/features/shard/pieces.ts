/** Cutting requests at the ends of blocks. */
import { lend, loanOf } from '../../../src/core/loan.ts'

/** The part of a request in one block. */
export interface Piece {
  /** Of the block. */
  readonly number: number
  /** In the block, bytes. */
  readonly offset: number
  readonly size: number
  /** Where it begins in the request, bytes. */
  readonly at: number
}

/** Blocks one fop works on at the same time. */
export const PARALLEL_MAX = 16

export function piecesOf(offset: number, size: number, blockSize: number): Piece[] {
  const pieces: Piece[] = []
  for (let at = 0; at < size; ) {
    const inBlock = (offset + at) % blockSize
    const length = Math.min(size - at, blockSize - inBlock)
    pieces.push({ number: (offset + at - inBlock) / blockSize, offset: inBlock, size: length, at })
    at += length
  }
  return pieces
}

/** The bytes `at`..`at + size` of a vector, without a copy. */
export function cut(data: readonly Buffer[], at: number, size: number): Buffer[] {
  const parts: Buffer[] = []
  let skip = at
  let left = size
  for (const buffer of data) {
    if (left === 0) break
    if (skip >= buffer.length) {
      skip -= buffer.length
      continue
    }
    const part = buffer.subarray(skip, skip + left)
    const loan = loanOf(buffer)
    if (loan !== undefined) lend(part, loan)
    parts.push(part)
    skip = 0
    left -= part.length
  }
  return parts
}

/** Works on `items` in order, at most PARALLEL_MAX at a time; results in the order of items. */
export async function eachOf<T, R>(
  items: Iterable<T>,
  parallel: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let batch: Promise<R>[] = []
  for (const item of items) {
    batch.push(work(item))
    if (batch.length < parallel) continue
    results.push(...(await Promise.all(batch)))
    batch = []
  }
  results.push(...(await Promise.all(batch)))
  return results
}
