/** Tells the kernel what to forget. */
import { clock } from '../../../src/core/clock.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { incEpoch, invalEntry, invalInode } from '../../../src/fuse/abi.ts'
import type { FuseDevice } from '../../../src/fuse/device.ts'
import type { Log } from '../../../src/observe/log.ts'

/** Notifications that may wait; one for an inode or a name, however often it changes. */
const WAITING_MAX = 1 << 17

/**
 * The kernel answers ENOENT for an inode when the caller it was told to has not taken it up yet,
 * and would then keep what is not true: it is told again after so long, so often.
 */
const AGAIN_MS = 20
const AGAIN_MAX = 5

/** Answers that only say the kernel had nothing to forget, or could not just now. */
const EXPECTED: ReadonlySet<number> = new Set([E.NOENT, E.NOTDIR, E.BUSY, E.NOTEMPTY, E.NODEV])

interface Notice {
  readonly message: Buffer
  /** The inode that may have lost the name it is about. */
  goneFrom?: Inode | undefined
  /** What it is about, unless it is about a name. */
  readonly inode?: Inode
  readonly data?: boolean
  /** How often it was told before. */
  readonly again?: number
}

/**
 * A queue of invalidations, written one at a time from the thread pool: the kernel makes a
 * notification wait for locks held by requests that are still unanswered, so neither the thread
 * that answers nor more than one pool thread may ever wait for it.
 */
export class Invalidator {
  readonly #device: FuseDevice
  readonly #log: Log
  /** By what they are about, so that a storm of changes to one inode waits as one message. */
  readonly #waiting = new Map<string, Notice>()
  #sending = false
  /** The message a pool thread is writing. */
  #current: { key: string; notice: Notice; done: Promise<Errno | 0> } | undefined
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
    this.#inode(inode, data, 0)
  }

  #inode(inode: Inode, data: boolean, again: number): void {
    const message = invalInode(inode.nodeid, data)
    this.#add(`${data ? 'd' : 'a'}${inode.nodeid}`, { message, inode, data, again })
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

  /** No name is true any more. */
  epoch(): void {
    this.#add('epoch', { message: incEpoch() })
  }

  /** `gone`: the name was the inode's, and others' changes say that it may be no longer. */
  entry(parent: Inode, name: string, gone?: Inode): void {
    if (parent.nodeid === 0) return
    const message = invalEntry(parent.nodeid, name)
    this.#add(`e${parent.nodeid}/${name}`, { message, goneFrom: gone })
  }

  /** A lookup has just found the inode: an OPEN of it that follows may have come by that name. */
  found(inode: Inode): void {
    if (this.#waiting.size === 0 && this.#current === undefined) return
    const clear = (notice: Notice | undefined): void => {
      if (notice?.goneFrom === inode) notice.goneFrom = undefined
    }
    clear(this.#current?.notice)
    for (const { parent, name } of inode.dentries) {
      clear(this.#waiting.get(`e${parent.nodeid}/${name}`))
    }
  }

  /** The kernel may still find the inode by a name that it has no longer. */
  hasGoneNames(inode: Inode): boolean {
    if (this.#waiting.size === 0 && this.#current === undefined) return false
    return inode.dentries.some(({ parent, name }) => {
      const key = `e${parent.nodeid}/${name}`
      const current = this.#current?.key === key ? this.#current.notice : undefined
      return (this.#waiting.get(key) ?? current)?.goneFrom === inode
    })
  }

  /** All names of the inode, so that the kernel asks for them or forgets it. */
  names(inode: Inode): void {
    for (const { parent, name } of inode.dentries) this.entry(parent, name)
  }

  /** Others' changes say that the inode may have lost its names. */
  goneNames(inode: Inode): void {
    for (const { parent, name } of inode.dentries) this.entry(parent, name, inode)
  }

  #add(key: string, notice: Notice): void {
    if (this.#waiting.size >= WAITING_MAX) {
      this.dropped++
      if (this.dropped === 1) this.#log.warn('invalidations are dropped: the kernel takes none')
      return
    }
    this.#waiting.set(key, notice)
    if (!this.#sending) {
      this.#sending = true
      void this.#send()
    }
  }

  async #send(): Promise<void> {
    for (const [key, notice] of this.#waiting) {
      this.#waiting.delete(key)
      const done = this.#device.notify(notice.message)
      this.#current = { key, notice, done }
      const errno = await done
      this.#current = undefined
      this.sent++
      if (errno === E.NOENT) this.#tellAgain(notice)
      if (errno !== 0 && !EXPECTED.has(errno)) {
        this.#log.warn({ errno: errnoName(errno) }, 'the kernel refused an invalidation')
      }
    }
    this.#sending = false
  }

  #tellAgain({ inode, data, again = 0 }: Notice): void {
    if (inode === undefined || inode.nlookup === 0 || again >= AGAIN_MAX) return
    clock.after(AGAIN_MS, () => this.#inode(inode, data === true, again + 1), true)
  }
}
