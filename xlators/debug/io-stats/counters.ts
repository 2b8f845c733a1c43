/** What io-stats counts, in one set (since the start, or since the last dump). */
import type { FopName } from '../../../src/core/fop.ts'

/** Requests are sorted by size into powers of two, 1 B to 1 GiB. */
const BLOCK_CLASSES = 31

export interface FopCount {
  count: number
  /** Microseconds over the answered calls. */
  total: number
  min: number
  max: number
}

export type CountedName = FopName | 'forget' | 'release' | 'releasedir'

export class Counters {
  /** Monotonic ms. */
  readonly begin: number
  bytesRead = 0
  bytesWritten = 0
  readonly reads: number[] = new Array(BLOCK_CLASSES).fill(0)
  readonly writes: number[] = new Array(BLOCK_CLASSES).fill(0)
  readonly fops = new Map<CountedName, FopCount>()

  constructor(begin: number) {
    this.begin = begin
  }

  read(size: number): void {
    this.bytesRead += size
    this.reads[blockClass(size)]!++
  }

  write(size: number): void {
    this.bytesWritten += size
    this.writes[blockClass(size)]!++
  }

  /** `micros` undefined: counted without a latency. */
  fop(name: CountedName, micros: number | undefined): void {
    let entry = this.fops.get(name)
    if (entry === undefined) {
      entry = { count: 0, total: 0, min: 0, max: 0 }
      this.fops.set(name, entry)
    }
    entry.count++
    if (micros === undefined) return
    entry.total += micros
    if (entry.min === 0 || micros < entry.min) entry.min = micros
    if (micros > entry.max) entry.max = micros
  }
}

/** The power of two a request's size falls under. */
export function blockClass(size: number): number {
  if (size <= 1) return 0
  return Math.min(31 - Math.clz32(size), BLOCK_CLASSES - 1)
}
