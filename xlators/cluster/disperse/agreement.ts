/**
 * What a lookup of every brick showed: all of them have the object, with the same counters, and
 * nobody was changing it. For a second that lets a listing start on any brick and a small file be
 * read without the lock; stock takes the lock and asks for the counters first.
 */
import { clock } from '../../../src/core/clock.ts'
import type { Dict } from '../../../src/core/dict.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import { isHealing, isZero, readSize, XATTR_DIRTY, XATTR_SIZE, XATTR_VERSION } from './xattrs.ts'

/** As long as the kernel believes a lookup by default, ms. */
const AGREEMENT_MS = 1000

/** Objects something is known of at a time; the oldest are forgotten. */
const KNOWN_MAX = 4096

/** The counters of an object nobody is changing. */
export interface Agreed {
  /** Both words of trusted.ec.version, bytes as latin1. */
  readonly version: string
  /** User-visible bytes of a regular file; 0 of others. */
  readonly size: number
  /** Each brick's ctime and mtime, in ns, exact to some hundreds of them. */
  readonly changed: readonly number[]
  readonly written: readonly number[]
}

export const changeTime = (stat: Iatt): number => stat.ctime * 1e9 + stat.ctimeNsec
export const writeTime = (stat: Iatt): number => stat.mtime * 1e9 + stat.mtimeNsec

/** The counters in a brick's answer; `undefined` when it is being healed or changed. */
export function quietCounters(
  found: Dict | undefined,
): { version: string; size: number } | undefined {
  const version = found?.getBytes(XATTR_VERSION)
  const dirty = found?.getBytes(XATTR_DIRTY)
  if (isHealing(version) || (dirty !== undefined && !isZero(dirty))) return undefined
  const size = found?.getBytes(XATTR_SIZE)
  const bytes = size === undefined ? 0 : readSize(size)
  if (bytes === undefined) return undefined
  return { version: version?.latin1Slice() ?? '', size: bytes }
}

interface Known {
  /** When the lookup began, or the lock was taken or given back, ms. */
  readonly at: number
  /** `undefined`: what lookups begun before `at` found is not true any more. */
  readonly agreed: Agreed | undefined
}

export class Agreements {
  /** Oldest first. */
  readonly #known = new Map<Gfid, Known>()
  /** What was learned before is not believed. */
  #from = 0

  /** A lookup begun at `begin` found every brick of the same opinion. */
  found(gfid: Gfid, begin: number, agreed: Agreed): void {
    const before = this.#known.get(gfid)?.at ?? 0
    if (begin > before && begin > this.#from) this.#put(gfid, { at: begin, agreed })
  }

  /** What may be relied on now. */
  get(gfid: Gfid): Agreed | undefined {
    const known = this.#known.get(gfid)
    if (known?.agreed === undefined) return undefined
    return clock.now() - known.at < AGREEMENT_MS ? known.agreed : undefined
  }

  /** This client is about to change it, or has changed it. */
  end(gfid: Gfid): void {
    this.#put(gfid, { at: clock.now(), agreed: undefined })
  }

  /** A brick came or went. */
  endAll(): void {
    this.#known.clear()
    this.#from = clock.now()
  }

  #put(gfid: Gfid, known: Known): void {
    this.#known.delete(gfid)
    this.#known.set(gfid, known)
    for (const [oldest, { at, agreed }] of this.#known) {
      const expired = clock.now() - at >= AGREEMENT_MS
      if (this.#known.size <= KNOWN_MAX && !expired) return
      this.#known.delete(oldest)
      // A lookup begun before is no longer known to be out of date.
      if (agreed === undefined && at > this.#from) this.#from = at
    }
  }
}
