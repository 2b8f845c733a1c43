/** Inode and entry locks of a simulated brick: features/locks, without its fairness rules. */

import type { MaybePromise } from '../../src/core/fop.ts'

export interface SimLock {
  kind: 'inodelk' | 'entrylk'
  domain: string
  /** gfid of the inode or directory. */
  object: string
  /** entrylk: the name, '' = all names. */
  name: string
  write: boolean
  start: bigint
  /** Exclusive end, -1 = to the end. */
  end: bigint
  /** Client and lock owner. */
  owner: string
}

interface Waiting {
  lock: SimLock
  end: (granted: boolean) => void
}

function conflict(a: SimLock, b: SimLock): boolean {
  if (a.kind !== b.kind || a.domain !== b.domain || a.object !== b.object) return false
  if (a.owner === b.owner) return false
  if (a.kind === 'entrylk') return a.name === b.name || a.name === '' || b.name === ''
  if (!a.write && !b.write) return false
  const before = (x: SimLock, y: SimLock): boolean => x.end >= 0n && x.end <= y.start
  return !before(a, b) && !before(b, a)
}

function same(a: SimLock, b: SimLock): boolean {
  return (
    a.kind === b.kind &&
    a.domain === b.domain &&
    a.object === b.object &&
    a.name === b.name &&
    a.owner === b.owner &&
    a.start === b.start &&
    a.end === b.end
  )
}

export class SimLocks {
  readonly held: SimLock[] = []
  readonly waiting: Waiting[] = []

  /**
   * Resolves true once granted; false at once when it conflicts and `block` is not set, or when the
   * connection of who waits is gone.
   */
  lock(lock: SimLock, block: boolean): MaybePromise<boolean> {
    if (!this.held.some((other) => conflict(other, lock))) {
      this.held.push(lock)
      return true
    }
    if (!block) return false
    return new Promise((end) => {
      this.waiting.push({ lock, end })
    })
  }

  /** False when no such lock is held. */
  unlock(lock: SimLock): boolean {
    const index = this.held.findIndex((other) => same(other, lock))
    if (index < 0) return false
    this.held.splice(index, 1)
    this.#grant()
    return true
  }

  /** The connection of `client` is gone, and its locks with it. */
  disconnected(client: string): void {
    const isTheirs = ({ owner }: SimLock): boolean => owner.startsWith(`${client}:`)
    this.held.splice(0, this.held.length, ...this.held.filter((lock) => !isTheirs(lock)))
    for (const waiter of [...this.waiting]) {
      if (!isTheirs(waiter.lock)) continue
      this.waiting.splice(this.waiting.indexOf(waiter), 1)
      waiter.end(false)
    }
    this.#grant()
  }

  #grant(): void {
    for (const waiter of [...this.waiting]) {
      if (this.held.some((other) => conflict(other, waiter.lock))) continue
      this.waiting.splice(this.waiting.indexOf(waiter), 1)
      this.held.push(waiter.lock)
      waiter.end(true)
    }
  }
}
