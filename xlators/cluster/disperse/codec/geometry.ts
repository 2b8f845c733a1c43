/** Numbers of an erasure-coded subvolume: N bricks, K of them suffice, R may be missing. */
import { assert } from '../../../../src/core/assert.ts'

/** Bytes of one chunk: 512 symbols, bit-sliced into 8 planes of 64 bytes. */
export const CHUNK_SIZE = 512
export const DATA_COUNT_MAX = 16

export class Geometry {
  /** N. */
  readonly brickCount: number
  /** K. */
  readonly dataCount: number
  /** R. */
  readonly redundancy: number
  /** User bytes of one stripe, 512·K. */
  readonly stripeSize: number

  constructor(dataCount: number, redundancy: number) {
    assert(redundancy >= 1 && redundancy < dataCount, 'redundancy must be 1 to K-1')
    assert(dataCount <= DATA_COUNT_MAX, 'at most 16 data bricks')
    this.dataCount = dataCount
    this.redundancy = redundancy
    this.brickCount = dataCount + redundancy
    this.stripeSize = CHUNK_SIZE * dataCount
  }

  /** Start of the stripe holding user byte `offset`. */
  down(offset: number): number {
    return offset - (offset % this.stripeSize)
  }

  /** First stripe boundary at or after user byte `offset`. */
  up(offset: number): number {
    return this.down(offset + this.stripeSize - 1)
  }

  /** Length of a brick's file for a user file of `size` bytes. */
  fragmentLength(size: number): number {
    return this.up(size) / this.dataCount
  }
}
