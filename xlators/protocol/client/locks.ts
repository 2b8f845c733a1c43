/**
 * Which POSIX locks the brick has granted on an fd, per owner. Only their existence is used: after
 * a disconnect the locks are gone, and data operations of an fd that held some must not go on as
 * if nothing had happened.
 */
import { F_UNLCK, type Flock } from '../../../src/core/fop.ts'

/** Bytes start <= x < end. */
interface Range {
  readonly start: bigint
  readonly end: bigint
}

const EOF_OFFSET = 1n << 63n

export class LockLedger {
  readonly #byOwner = new Map<string, Range[]>()

  get held(): boolean {
    return this.#byOwner.size > 0
  }

  /** A lock or unlock of `flock` by `owner` succeeded. Lock types do not matter here. */
  granted(owner: Buffer, flock: Flock): void {
    const key = owner.latin1Slice()
    const range = {
      start: flock.start,
      end: flock.len === 0n ? EOF_OFFSET : flock.start + flock.len,
    }
    const ranges = this.#byOwner.get(key) ?? []
    const left = flock.type === F_UNLCK ? without(ranges, range) : merged(ranges, range)
    if (left.length === 0) this.#byOwner.delete(key)
    else this.#byOwner.set(key, left)
  }

  /** A close by this owner drops all it holds (POSIX). */
  flushed(owner: Buffer): void {
    this.#byOwner.delete(owner.latin1Slice())
  }
}

function without(ranges: readonly Range[], gone: Range): Range[] {
  const left: Range[] = []
  for (const range of ranges) {
    if (range.start < gone.start) {
      left.push({ start: range.start, end: min(range.end, gone.start) })
    }
    if (range.end > gone.end) left.push({ start: max(range.start, gone.end), end: range.end })
  }
  return left
}

function merged(ranges: readonly Range[], added: Range): Range[] {
  let { start, end } = added
  const apart: Range[] = []
  for (const range of ranges) {
    if (range.end < start || range.start > end) apart.push(range)
    else {
      start = min(start, range.start)
      end = max(end, range.end)
    }
  }
  return [...apart, { start, end }]
}

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)
