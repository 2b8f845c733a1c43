/** Tells the kernel what to forget. */
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { invalEntry, invalInode } from '../../../src/fuse/abi.ts'
import type { FuseDevice } from '../../../src/fuse/device.ts'
import type { Log } from '../../../src/observe/log.ts'

/** Notifications that may wait; one for an inode or a name, however often it changes. */
const WAITING_MAX = 1 << 17

/** Answers that only say the kernel had nothing to forget, or could not just now. */
const EXPECTED: ReadonlySet<number> = new Set([E.NOENT, E.NOTDIR, E.BUSY, E.NOTEMPTY, E.NODEV])

/**
 * A queue of invalidations, written one at a time from the thread pool: the kernel makes a
 * notification wait for locks held by requests that are still unanswered, so neither the thread
 * that answers nor more than one pool thread may ever wait for it.
 */
export class Invalidator {
  readonly #device: FuseDevice
  readonly #log: Log
  /** By what they are about, so that a storm of changes to one inode waits as one message. */
  readonly #waiting = new Map<string, Buffer>()
  #sending = false
  /** The message a pool thread is writing. */
  #current: { key: string; done: Promise<Errno | 0> } | undefined
  sent = 0
  dropped = 0

  constructor(device: FuseDevice, log: Log) {
    this.#device = device
    this.#log = log
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** The inode's attributes, and with `data` its cached pages, are no longer true. */
  inode(inode: Inode, data: boolean): void {
    if (inode.nodeid === 0) return
    if (data) this.#waiting.delete(`a${inode.nodeid}`)
    else if (this.#waiting.has(`d${inode.nodeid}`)) return
    this.#add(`${data ? 'd' : 'a'}${inode.nodeid}`, invalInode(inode.nodeid, data))
  }

  /**
   * The kernel has dropped attributes and pages for another reason: what waits is not sent. A
   * message about the inode that is on its way already can be waited for.
   */
  settled(inode: Inode): Promise<unknown> | undefined {
    const keys = [`a${inode.nodeid}`, `d${inode.nodeid}`]
    for (const key of keys) this.#waiting.delete(key)
    return this.#current !== undefined && keys.includes(this.#current.key)
      ? this.#current.done
      : undefined
  }

  entry(parent: Inode, name: string): void {
    if (parent.nodeid === 0) return
    this.#add(`e${parent.nodeid}/${name}`, invalEntry(parent.nodeid, name))
  }

  /** All names of the inode. */
  names(inode: Inode): void {
    for (const { parent, name } of inode.dentries) this.entry(parent, name)
  }

  #add(key: string, message: Buffer): void {
    if (this.#waiting.size >= WAITING_MAX) {
      this.dropped++
      if (this.dropped === 1) this.#log.warn('invalidations are dropped: the kernel takes none')
      return
    }
    this.#waiting.set(key, message)
    if (!this.#sending) {
      this.#sending = true
      void this.#send()
    }
  }

  async #send(): Promise<void> {
    for (const [key, message] of this.#waiting) {
      this.#waiting.delete(key)
      const done = this.#device.notify(message)
      this.#current = { key, done }
      const errno = await done
      this.#current = undefined
      this.sent++
      if (errno !== 0 && !EXPECTED.has(errno)) {
        this.#log.warn({ errno: errnoName(errno) }, 'the kernel refused an invalidation')
      }
    }
    this.#sending = false
  }
}
