/**
 * One lock domain of an inode: granted locks and those that wait, for byte ranges (inodelk) and for
 * names (entrylk) alike. A request waits behind requests that waited before it and that it
 * conflicts with, so that a stream of short locks starves nobody; but not one whose owner already
 * holds a lock here, or two owners would wait for each other.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import { BLOCKED_MAX, type Owner, sameOwner } from './owner.ts'

export interface DomainLock {
  readonly owner: Owner
  /** When its holder was last told that somebody waits; monotonic ms. */
  notifiedAt: number
}

interface Waiter<L> {
  readonly lock: L
  readonly answer: (errno: 0 | Errno) => void
}

export class Domain<L extends DomainLock> {
  readonly granted: L[] = []
  readonly blocked: Waiter<L>[] = []
  /** Do two locks of different owners exclude each other? */
  readonly #excludes: (a: L, b: L) => boolean

  constructor(excludes: (a: L, b: L) => boolean) {
    this.#excludes = excludes
  }

  get count(): number {
    return this.granted.length + this.blocked.length
  }

  /** Granted locks of others that exclude `lock`. */
  conflicts(lock: L): L[] {
    return this.granted.filter((held) => this.#conflict(held, lock))
  }

  #conflict(a: L, b: L): boolean {
    return !sameOwner(a.owner, b.owner) && this.#excludes(a, b)
  }

  #mustWait(lock: L): boolean {
    if (this.granted.some((held) => this.#conflict(held, lock))) return true
    if (!this.blocked.some((waiter) => this.#conflict(waiter.lock, lock))) return false
    return !this.granted.some((held) => sameOwner(held.owner, lock.owner))
  }

  /** 0 when granted, EAGAIN when refused; a promise while it waits. */
  lock(lock: L, wait: boolean): 0 | Errno | Promise<0 | Errno> {
    if (!this.#mustWait(lock)) {
      this.granted.push(lock)
      return 0
    }
    if (!wait) return E.AGAIN
    if (this.blocked.length >= BLOCKED_MAX) return E.NOLCK
    return new Promise((answer) => this.blocked.push({ lock, answer }))
  }

  /** Gives back the first granted lock that `is` names; false when there is none. */
  unlock(is: (lock: L) => boolean): boolean {
    const index = this.granted.findIndex(is)
    if (index < 0) return false
    this.granted.splice(index, 1)
    this.grantBlocked()
    return true
  }

  /** Those that wait get their turn, oldest first. */
  grantBlocked(): void {
    const waiting = this.blocked.splice(0)
    const granted: Waiter<L>[] = []
    for (const waiter of waiting) {
      if (this.#mustWait(waiter.lock)) this.blocked.push(waiter)
      else {
        this.granted.push(waiter.lock)
        granted.push(waiter)
      }
    }
    for (const waiter of granted) waiter.answer(0)
  }

  /** Drops locks that match; those that wait are answered with `errno`. Returns both counts. */
  clear(
    is: (lock: L) => boolean,
    errno: Errno,
    kinds: { granted: boolean; blocked: boolean },
  ): { granted: number; blocked: number } {
    const counts = clearLocks(this, is, errno, kinds)
    if (counts.granted + counts.blocked > 0) this.grantBlocked()
    return counts
  }
}

/** `clear` of either kind of list; whoever waits for what was dropped is not granted it yet. */
export function clearLocks<L>(
  locks: { granted: L[]; blocked: { lock: L; answer: (errno: Errno) => void }[] },
  is: (lock: L) => boolean,
  errno: Errno,
  kinds: { granted: boolean; blocked: boolean },
): { granted: number; blocked: number } {
  const dropped = kinds.blocked ? removeAll(locks.blocked, (waiter) => is(waiter.lock)) : []
  const released = kinds.granted ? removeAll(locks.granted, is) : []
  for (const waiter of dropped) waiter.answer(errno)
  return { granted: released.length, blocked: dropped.length }
}

/** Takes the elements that match out of the list. */
export function removeAll<T>(list: T[], matches: (item: T) => boolean): T[] {
  const removed: T[] = []
  let kept = 0
  for (const item of list) {
    if (matches(item)) removed.push(item)
    else list[kept++] = item
  }
  list.length = kept
  return removed
}

/** inodelk: bytes start <= x < end. */
export interface RangeLock extends DomainLock {
  readonly write: boolean
  readonly start: bigint
  readonly end: bigint
}

export const END_OF_FILE = 1n << 63n

export const rangesExclude = (a: RangeLock, b: RangeLock): boolean =>
  (a.write || b.write) && a.start < b.end && b.start < a.end

/** entrylk; `name` undefined = all names. Readers exclude each other, too, as in stock. */
export interface NameLock extends DomainLock {
  readonly name: string | undefined
  readonly write: boolean
}

export const namesExclude = (a: NameLock, b: NameLock): boolean =>
  a.name === undefined || b.name === undefined || a.name === b.name
