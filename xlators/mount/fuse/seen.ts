import { NEVER } from '../../../src/core/clock.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { LookupRun } from './primer.ts'

/** A directory's listing that the kernel may keep. */
export interface Listing {
  /** The directory before it was read. */
  readonly stat: Iatt
  /** When, monotonic ms. */
  readonly at: number
  /** Of the kernel cache. */
  readonly generation: number
}

/**
 * Between the answer to a LOOKUP and the OPEN of the same open(2): 20 to 40 us measured, twice that
 * on a busy machine. Another thread's close, its message and our thread's open take as long on one
 * machine, but only begin when that close has been answered, after the LOOKUP was.
 */
const LOOKUP_TO_OPEN_MS = 0.1

/** The attributes of an inode as the kernel was last told them. */
export class Seen {
  mode = 0
  /** The kernel may have pages of it. */
  pages = false
  listing: Listing | undefined
  /** Of a directory: names looked up in it lately. */
  run: LookupRun | undefined
  /** The last LOOKUP of it: whose it was, when it began and when it was answered, monotonic ms. */
  #lookupPid = 0
  #lookupBegan = NEVER
  #lookupAnswered = NEVER
  #size = -1
  #mtime = 0
  #mtimeNsec = 0
  #ctime = 0
  #ctimeNsec = 0

  set(stat: Iatt): void {
    this.mode = stat.mode
    this.#size = stat.size
    this.#mtime = stat.mtime
    this.#mtimeNsec = stat.mtimeNsec
    this.#ctime = stat.ctime
    this.#ctimeNsec = stat.ctimeNsec
  }

  lookedUp(pid: number, began: number, answered: number): void {
    this.#lookupPid = pid
    this.#lookupBegan = began
    this.#lookupAnswered = answered
  }

  /**
   * When the open(2) began whose OPEN has arrived now: at its LOOKUP, if there was one just before
   * by the same thread. In that little time nobody can close a file and tell that thread so.
   */
  openBegan(pid: number, now: number): number {
    const own = pid === this.#lookupPid && now - this.#lookupAnswered < LOOKUP_TO_OPEN_MS
    return own ? this.#lookupBegan : now
  }

  /** What the kernel caches of the file is still true. */
  matches(stat: Iatt): boolean {
    return (
      stat.size === this.#size &&
      stat.mtimeNsec === this.#mtimeNsec &&
      stat.ctimeNsec === this.#ctimeNsec &&
      stat.mtime === this.#mtime &&
      stat.ctime === this.#ctime
    )
  }

  /** The same state, or one from before it: bricks never let a file's ctime go back. */
  covers(stat: Iatt): boolean {
    const older =
      stat.ctime < this.#ctime || (stat.ctime === this.#ctime && stat.ctimeNsec < this.#ctimeNsec)
    return this.#size >= 0 && stat.ctime > 0 && (older || this.matches(stat))
  }

  /** The kernel did not take what it was told. */
  clear(): void {
    this.#size = -1
  }
}
