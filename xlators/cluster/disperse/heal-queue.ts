/** What the mount heals in the background (ec_heal_throttle). */
import { CLIENT_PID_SELF_HEALD, type Creds, type Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { HealQueue, healCreds } from '../common/heal-queue.ts'
import { healInode } from './heal.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'

export class DisperseHeals extends HealQueue {
  readonly #ec: Disperse

  constructor(ec: Disperse) {
    super(ec.self, 'disperse-heal', () => ({
      runningMax: ec.options['background-heals'],
      waitingMax: ec.options['heal-wait-qlength'],
    }))
    this.#ec = ec
  }

  creds(): Creds {
    return healCreds()
  }

  /** An object a lookup found. Metadata only when `partial`. */
  inode(frame: Frame, gfid: Gfid, stat: Iatt, partial: boolean): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    this.known(this.#ec.graph.inodes.findOrNew(gfid, stat.mode & S_IFMT), partial)
  }

  known(inode: Inode, partial: boolean): void {
    this.add(`${inode.gfid}${partial ? ' metadata' : ''}`, (frame) =>
      healInode(this.#ec, frame, inode, { partial, block: false }),
    )
  }

  /** (parent, name) is missing on some bricks. */
  name(frame: Frame, parent: Inode, name: string): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    this.add(`${parent.gfid}/${name}`, (healing) => healName(this.#ec, healing, parent, name))
  }
}
