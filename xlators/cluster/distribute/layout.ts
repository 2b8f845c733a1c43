/**
 * The layout of a directory: which subvolume takes which part of the hash space. On disk every
 * subvolume's copy of the directory carries its own range in the layout xattr:
 *
 *     0            4          8           12          16
 *     | commit hash | type     | start     | stop      |   four big-endian words, inclusive range
 *
 * Type 0 was computed, type 1 was set by an administrator and is never rewritten. start = stop
 * (normally 0) means the subvolume takes no files.
 */
import { E } from '../../../src/core/errno.ts'
import type { Xlator } from '../../../src/core/xlator.ts'

export const LAYOUT_BYTES = 16
export const RANGE_MAX = 0xffff_ffff
/** The directory is there; a range is to be given (or rewritten). */
export const ERR_NEEDS_RANGE = -1
/** commit_hash of directories whose entries disagree or that a client laid out itself. */
export const COMMIT_HASH_NONE = 1

export interface LayoutEntry {
  readonly sub: Xlator
  start: number
  stop: number
  commitHash: number
  type: number
  /** 0 = fine, ERR_NEEDS_RANGE, or the errno the subvolume answered. */
  err: number
}

export interface DiskRange {
  commitHash: number
  type: number
  start: number
  stop: number
}

/** The xattr's content; `undefined` for anything that is not 16 bytes of a known type. */
export function decodeRange(bytes: Buffer): DiskRange | undefined {
  if (bytes.length !== LAYOUT_BYTES) return undefined
  const type = bytes.readUInt32BE(4)
  if (type !== 0 && type !== 1) return undefined
  return {
    commitHash: bytes.readUInt32BE(0),
    type,
    start: bytes.readUInt32BE(8),
    stop: bytes.readUInt32BE(12),
  }
}

export function encodeRange(range: DiskRange): Buffer {
  const bytes = Buffer.allocUnsafe(LAYOUT_BYTES)
  bytes.writeUInt32BE(range.commitHash, 0)
  bytes.writeUInt32BE(range.type, 4)
  bytes.writeUInt32BE(range.start, 8)
  bytes.writeUInt32BE(range.stop, 12)
  return bytes
}

/** What is wrong with a layout (dht_layout_anomalies). */
export interface Anomalies {
  holes: number
  overlaps: number
  missing: number
  down: number
  misc: number
  noSpace: number
}

export class Layout {
  readonly entries: LayoutEntry[]
  /** Merged from the entries; see `merge`. */
  commitHash = 0
  /** DHT's generation when the layout was read; an older one is read again. */
  readonly generation: number

  constructor(generation: number, entries: LayoutEntry[] = []) {
    this.generation = generation
    this.entries = entries
  }

  /** Entries are copied: a layout in use is never changed under its readers. */
  clone(generation = this.generation): Layout {
    const copy = new Layout(
      generation,
      this.entries.map((entry) => ({ ...entry })),
    )
    copy.commitHash = this.commitHash
    return copy
  }

  /**
   * Adds what one subvolume answered: its errno, and for an existing directory its layout xattr.
   * A malformed xattr counts as a misc error (EINVAL) of that subvolume.
   */
  merge(sub: Xlator, errno: number, xattr: Buffer | undefined): void {
    const entry: LayoutEntry = { sub, start: 0, stop: 0, commitHash: 0, type: 0, err: errno }
    this.entries.push(entry)
    if (errno !== 0) return
    if (xattr === undefined) {
      entry.err = ERR_NEEDS_RANGE
      return
    }
    const range = decodeRange(xattr)
    if (range === undefined) {
      entry.err = E.INVAL
      return
    }
    Object.assign(entry, range)
    if (this.commitHash === 0) this.commitHash = range.commitHash
    else if (this.commitHash !== range.commitHash) this.commitHash = COMMIT_HASH_NONE
  }

  /** By start, entries without a range first; `find` and `anomalies` need this order. */
  sort(): this {
    const rank = (entry: LayoutEntry): number =>
      entry.start === 0 && entry.stop === 0 ? -1 : entry.start
    this.entries.sort((a, b) => rank(a) - rank(b))
    return this
  }

  /** The subvolume whose range holds `hash`, `undefined` in a hole. */
  find(hash: number): Xlator | undefined {
    for (const entry of this.entries) {
      if (entry.start <= hash && hash <= entry.stop) return entry.sub
    }
    return undefined
  }

  of(sub: Xlator): LayoutEntry | undefined {
    return this.entries.find((entry) => entry.sub === sub)
  }

  anomalies(): Anomalies {
    const found = { holes: 0, overlaps: 0, missing: 0, down: 0, misc: 0, noSpace: 0 }
    const lastStop = ((this.entries[0]?.start ?? 0) - 1) >>> 0
    let previousStop = lastStop
    let participants = 0
    for (const entry of this.entries) {
      if (entry.err !== 0) {
        count(found, entry.err)
        continue
      }
      if (entry.start === entry.stop) continue
      participants++
      const expected = (previousStop + 1) >>> 0
      if (entry.start > expected) found.holes++
      else if (entry.start < expected) found.overlaps++
      previousStop = entry.stop
    }
    if (participants === 0 || previousStop !== lastStop) found.holes++
    return found
  }
}

function count(found: Anomalies, err: number): void {
  switch (err) {
    case ERR_NEEDS_RANGE:
    case E.NOENT:
    case E.STALE:
      found.missing++
      break
    case E.NOTCONN:
      found.down++
      break
    case E.NOSPC:
      found.noSpace++
      break
    default:
      found.misc++
  }
}

/** normalize != 0: the layout is not what it should be. */
export function needsHeal(found: Anomalies): boolean {
  return found.holes > 0 || found.overlaps > 0 || found.missing > 0
}
