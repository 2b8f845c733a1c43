/** The POSIX locks of one inode: fcntl(2) semantics, keyed by client and lock owner. */
import type { Client } from '../../../src/core/client.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_UNLCK, F_WRLCK, type Flock } from '../../../src/core/fop.ts'
import { clearLocks, END_OF_FILE, removeAll } from './domain.ts'
import { BLOCKED_MAX, type Owner, sameOwner } from './owner.ts'

/** Bytes start <= x < end, locked through `fd`. */
export interface PosixLock {
  readonly owner: Owner
  readonly fd: Fd
  readonly type: number
  readonly start: bigint
  readonly end: bigint
  /** Of the process, as it asked; F_GETLK shows it. */
  readonly pid: number
}

interface Waiter {
  readonly lock: PosixLock
  readonly answer: (errno: 0 | Errno) => void
}

const overlap = (a: PosixLock, b: PosixLock): boolean => a.start < b.end && b.start < a.end

export function toFlock(lock: PosixLock): Flock {
  return {
    type: lock.type,
    whence: 0,
    start: lock.start,
    len: lock.end === END_OF_FILE ? 0n : lock.end - lock.start,
    pid: lock.pid,
    lkOwner: Buffer.from(lock.owner.id, 'latin1'),
  }
}

export class PosixLocks {
  readonly granted: PosixLock[] = []
  readonly blocked: Waiter[] = []

  get count(): number {
    return this.granted.length + this.blocked.length
  }

  /** The first lock of somebody else that excludes `lock`. */
  conflict(lock: PosixLock): PosixLock | undefined {
    return this.granted.find(
      (held) =>
        (held.type === F_WRLCK || lock.type === F_WRLCK) &&
        overlap(held, lock) &&
        !sameOwner(held.owner, lock.owner),
    )
  }

  /** Lock or unlock: 0, EAGAIN, or a promise while it waits. */
  set(lock: PosixLock, wait: boolean): 0 | Errno | Promise<0 | Errno> {
    if (lock.type !== F_UNLCK && this.conflict(lock) !== undefined) {
      if (!wait) return E.AGAIN
      if (this.blocked.length >= BLOCKED_MAX) return E.NOLCK
      return new Promise((answer) => this.blocked.push({ lock, answer }))
    }
    this.#replace(lock)
    this.#grantBlocked()
    return 0
  }

  /** The owner's locks in the range become `lock`; equal neighbours are joined. */
  #replace(lock: PosixLock): void {
    const mine = (held: PosixLock): boolean => sameOwner(held.owner, lock.owner)
    let { start, end } = lock
    const touches = (held: PosixLock): boolean =>
      mine(held) &&
      (overlap(held, lock) ||
        (held.type === lock.type && (held.end === lock.start || held.start === lock.end)))
    for (const held of removeAll(this.granted, touches)) {
      if (held.type === lock.type) {
        if (held.start < start) start = held.start
        if (held.end > end) end = held.end
        continue
      }
      if (held.start < lock.start) this.granted.push({ ...held, end: lock.start })
      if (held.end > lock.end) this.granted.push({ ...held, start: lock.end })
    }
    if (lock.type !== F_UNLCK) this.granted.push({ ...lock, start, end })
  }

  #grantBlocked(): void {
    for (let progress = true; progress; ) {
      progress = false
      for (const waiter of [...this.blocked]) {
        if (this.conflict(waiter.lock) !== undefined) continue
        this.blocked.splice(this.blocked.indexOf(waiter), 1)
        this.#replace(waiter.lock)
        waiter.answer(0)
        progress = true
      }
    }
  }

  /** Locks taken through `from` belong to `to` and its client from now on. */
  move(from: Fd, to: Fd, client: Client | undefined): void {
    for (const [index, lock] of this.granted.entries()) {
      if (lock.fd !== from) continue
      this.granted[index] = { ...lock, fd: to, owner: { ...lock.owner, client } }
    }
  }

  /** Drops locks that match; those that wait are answered with `errno`. Returns both counts. */
  clear(
    is: (lock: PosixLock) => boolean,
    errno: Errno,
    kinds: { granted: boolean; blocked: boolean },
  ): { granted: number; blocked: number } {
    const counts = clearLocks(this, is, errno, kinds)
    this.#grantBlocked()
    return counts
  }
}
