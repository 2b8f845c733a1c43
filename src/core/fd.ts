import { assert } from './assert.ts'
import { slotOwner } from './context.ts'
import { type Inode, isDirInode } from './inode.ts'

/**
 * An open file or directory. It lives from open/create/opendir until `release`, which the bridge
 * calls once after the kernel's RELEASE and after every fop on it has been answered.
 */
export class Fd {
  readonly inode: Inode
  /** Linux open flags as the application gave them (O_CREAT, O_EXCL and O_TRUNC included). */
  readonly flags: number
  /** Process that opened it. */
  readonly pid: number
  /** Translator contexts by slot; use FdContext. */
  readonly contexts: unknown[] = []
  /** The kernel's RELEASE came; no new fops start on it. */
  closing = false
  /** Translators were told and their contexts are gone. */
  released = false
  #holds = 0

  constructor(inode: Inode, flags: number, pid: number) {
    this.inode = inode
    this.flags = flags
    this.pid = pid
  }

  /** Makes it visible to those that walk the inode's open fds. Called when the open succeeded. */
  bind(): this {
    this.inode.fds.add(this)
    return this
  }

  /** Work that goes on after a fop was answered (write-behind) keeps the fd usable until `drop`. */
  hold(): void {
    assert(!this.released, 'a released fd is held')
    this.#holds++
  }

  drop(): void {
    assert(this.#holds > 0, 'an fd is dropped more often than held')
    this.#holds--
    if (this.#holds === 0 && this.closing) this.#end()
  }

  /**
   * Ends the fd, once nobody holds it any more: every translator with a context on it is told.
   * Idempotent.
   */
  release(): void {
    if (this.closing) return
    this.closing = true
    if (this.#holds === 0) this.#end()
  }

  #end(): void {
    this.released = true
    this.inode.fds.delete(this)
    for (let slot = 0; slot < this.contexts.length; slot++) this.#dropContext(slot)
    this.contexts.length = 0
  }

  /** The translators with these slots are retired: they release their part of the fd. */
  dropContexts(slots: readonly number[]): void {
    for (const slot of slots) this.#dropContext(slot)
  }

  #dropContext(slot: number): void {
    if (this.contexts[slot] === undefined) return
    const xl = slotOwner(slot)
    if (isDirInode(this.inode)) xl?.releasedir?.(this)
    else xl?.release?.(this)
    this.contexts[slot] = undefined
  }
}
