/** All locks of one inode, and removals of it that wait for them. */
import type { Client } from '../../../src/core/client.ts'
import { E } from '../../../src/core/errno.ts'
import { Domain, type NameLock, namesExclude, type RangeLock, rangesExclude } from './domain.ts'
import { PosixLocks } from './posix-locks.ts'

const ALL = { granted: true, blocked: true }

/** Lock domains of one inode; clients name them freely. */
const DOMAINS_MAX = 4096

export class LockedObject {
  readonly ranges = new Map<string, Domain<RangeLock>>()
  readonly names = new Map<string, Domain<NameLock>>()
  readonly posix = new PosixLocks()
  /** Removals under way; inode locks of applications wait until there is none. */
  removals = 0
  readonly #waiting: { client: Client | undefined; go: () => void }[] = []
  readonly #afterRemoval: (() => void)[] = []

  rangeDomain(name: string): Domain<RangeLock> | undefined {
    return need(this.ranges, name, () => new Domain(rangesExclude))
  }

  nameDomain(name: string): Domain<NameLock> | undefined {
    return need(this.names, name, () => new Domain(namesExclude))
  }

  get isIdle(): boolean {
    if (this.removals > 0 || this.#afterRemoval.length > 0 || this.posix.count > 0) return false
    return this.inodelkCount() === 0 && this.entrylkCount() === 0
  }

  inodelkCount(domain?: string): number {
    return count(this.ranges, domain)
  }

  entrylkCount(domain?: string): number {
    return count(this.names, domain)
  }

  /** Locks that exclude others from `name` in this directory. */
  nameCount(name: string): number {
    let total = 0
    for (const domain of this.names.values()) {
      total += domain.granted.filter((lock) => lock.name === name).length
      total += domain.blocked.filter((waiter) => waiter.lock.name === name).length
    }
    return total
  }

  /** An application's inode lock of another client is held. */
  #isHeldByOther(client: Client | undefined): boolean {
    for (const domain of this.ranges.values()) {
      if (domain.granted.some(({ owner }) => owner.client !== client && owner.pid >= 0)) return true
    }
    return false
  }

  /** Resolves once the object may be removed; every `enterRemoval` is followed by a leave. */
  enterRemoval(client: Client | undefined): undefined | Promise<void> {
    this.removals++
    if (!this.#isHeldByOther(client)) return undefined
    return new Promise((go) => this.#waiting.push({ client, go }))
  }

  leaveRemoval(): void {
    this.removals--
    if (this.removals > 0) return
    for (const go of this.#afterRemoval.splice(0)) go()
  }

  /** For an inode lock that arrives while a removal waits or runs. */
  afterRemoval(): Promise<void> {
    return new Promise((go) => this.#afterRemoval.push(go))
  }

  /** Locks were given back: removals may go on. */
  wakeRemovals(): void {
    for (const waiter of this.#waiting.splice(0)) {
      if (this.#isHeldByOther(waiter.client)) this.#waiting.push(waiter)
      else waiter.go()
    }
  }

  /** The client is gone with all it held and waited for. */
  dropClient(client: Client): void {
    const isOf = (lock: { owner: { client: Client | undefined } }): boolean =>
      lock.owner.client === client
    for (const domain of this.ranges.values()) domain.clear(isOf, E.AGAIN, ALL)
    for (const domain of this.names.values()) domain.clear(isOf, E.AGAIN, ALL)
    this.posix.clear(isOf, E.AGAIN, ALL)
    this.trim()
    this.wakeRemovals()
  }

  /** Domains nobody uses are let go. */
  trim(): void {
    for (const [name, domain] of this.ranges) if (domain.count === 0) this.ranges.delete(name)
    for (const [name, domain] of this.names) if (domain.count === 0) this.names.delete(name)
  }
}

function need<D>(domains: Map<string, D>, name: string, make: () => D): D | undefined {
  let domain = domains.get(name)
  if (domain === undefined && domains.size < DOMAINS_MAX) {
    domain = make()
    domains.set(name, domain)
  }
  return domain
}

function count(domains: ReadonlyMap<string, { count: number }>, name: string | undefined): number {
  if (name !== undefined) return domains.get(name)?.count ?? 0
  let total = 0
  for (const domain of domains.values()) total += domain.count
  return total
}
