/** What the mount heals in the background (ec_heal_throttle). */
import { clock } from '../../../src/core/clock.ts'
import { CLIENT_PID_SELF_HEALD, type Creds, type Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { HealQueue, healCreds } from '../common/heal-queue.ts'
import { healInode } from './heal.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'

/** How long a fop waits for the repair of what it needs, ms. */
const REPAIR_MAX_MS = 10_000

export class DisperseHeals extends HealQueue {
  readonly #ec: Disperse
  /** Under way; whether they went well. */
  readonly #repairs = new Map<Gfid, Promise<boolean>>()

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

  /**
   * So few bricks have the same counters of `inode` that nothing can be done with it: all of them
   * were killed when some had stored new ones. Nothing marks it for the self-heal daemon, if it was
   * whole on every brick. Heals it now; false when that does not go well, or takes too long.
   */
  repair(inode: Inode): Promise<boolean> {
    const { gfid } = inode
    if (gfid === NULL_GFID || this.#ec.options['background-heals'] === 0) {
      return Promise.resolve(false)
    }
    let repair = this.#repairs.get(gfid)
    if (repair === undefined) {
      repair = this.#repair(inode).finally(() => this.#repairs.delete(gfid))
      this.#repairs.set(gfid, repair)
    }
    return repair
  }

  #repair(inode: Inode): Promise<boolean> {
    const ec = this.#ec
    return new Promise((resolve) => {
      const late = clock.after(REPAIR_MAX_MS, () => resolve(false))
      void ec.graph.pool.background(ec.self, 'disperse-heal', healCreds(), async (frame) => {
        const { errno } = await healInode(ec, frame, inode, { partial: false, block: true })
        late.clear()
        resolve(errno === 0)
      })
    })
  }

  /** (parent, name) is missing on some bricks. */
  name(frame: Frame, parent: Inode, name: string): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    this.add(`${parent.gfid}/${name}`, (healing) => healName(this.#ec, healing, parent, name))
  }
}
