/** What the mount heals in the background (afr_throttled_selfheal). */
import { CLIENT_PID_SELF_HEALD, type Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { HealQueue } from '../common/heal-queue.ts'
import { healInode } from './heal.ts'
import type { Replicate } from './index.ts'

export class ReplicateHeals extends HealQueue {
  readonly #afr: Replicate

  constructor(afr: Replicate) {
    super(afr.self, 'afr-heal', () => ({
      runningMax: afr.options['background-self-heal-count'],
      waitingMax: afr.options['heal-wait-queue-length'],
    }))
    this.#afr = afr
  }

  /** Copies of `inode` are blamed. Heals, unless this mount is told to leave it to the daemon. */
  inode(frame: Frame, inode: Inode): void {
    const { options } = this.#afr
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    const any =
      options['data-self-heal'] || options['metadata-self-heal'] || options['entry-self-heal']
    if (!any) return
    this.found(inode)
  }

  /** A heal made an empty copy of it. */
  found(inode: Inode): void {
    this.add(inode.gfid, (healing) => healInode(this.#afr, healing, inode))
  }
}
