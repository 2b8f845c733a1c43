/**
 * The lock of one inode, shared by all fops of this client (ec_lock_t). Fops that exclude each
 * other queue here; the lock on the bricks is taken for the first and kept a while after the last
 * (eager lock), unless another client wants it.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import { F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK, type Flock } from '../../../src/core/fop.ts'
import { type Frame, NO_LK_OWNER, ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { KeptLock } from '../common/idle-locks.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { bit } from '../common/mask.ts'
import { Turns } from '../common/turns.ts'
import type { Disperse } from './index.ts'
import { type BrickLock, lockBricks, unlockBricks } from './locks.ts'
import { Session } from './session.ts'

/** How a fop uses the inode, for deciding which fops may run beside it. */
export interface Use {
  /** User bytes [start, end), stripe boundaries; all of it: 0 and Infinity. */
  readonly start: number
  readonly end: number
  /** Does not change it. */
  readonly shared: boolean
  /** Goes to one brick only: whatever it reads was true on some brick at some time. */
  readonly oneBrick: boolean
}

type Status = { errno: 0 } | { errno: Errno }

export class InodeLock implements KeptLock {
  readonly #ec: Disperse
  readonly inode: Inode
  readonly gfid: Gfid
  readonly #loc: Loc
  readonly #owner = newLockOwner()
  readonly #turns = new Turns<Use>(
    (a, b) => this.#conflict(a, b),
    () => this.#releasing || this.#session?.release === true,
  )
  #session: Session | undefined
  #acquiring: Promise<Status> | undefined
  /** Another client asked while the lock was still being taken. */
  #contended = false
  #releasing = false
  /** Bricks whose connection broke since the lock was asked for. */
  #lost = 0
  idleUntil: number | undefined

  constructor(ec: Disperse, inode: Inode, gfid: Gfid) {
    this.#ec = ec
    this.inode = inode
    this.gfid = gfid
    this.#loc = new Loc(inode, undefined, undefined, gfid)
  }

  /** The session, for a fop between `enter` and `leave`. */
  get session(): Session | undefined {
    return this.#session
  }

  get busy(): boolean {
    return this.#turns.busy
  }

  /** Waits for this fop's turn and for the lock on the bricks. A success needs a `leave`. */
  async enter(frame: Frame, use: Use): Promise<Status> {
    this.idleUntil = undefined
    if (this.#session?.release === true && this.#turns.running === 0) this.releaseNow()
    const turn = this.#turns.begin(use)
    if (turn !== undefined) await turn
    if (this.#session === undefined) {
      this.#acquiring ??= this.#acquire(frame).finally(() => {
        this.#acquiring = undefined
      })
      const status = await this.#acquiring
      if (status.errno !== 0) {
        this.leave(use)
        return status
      }
    }
    return { errno: 0 }
  }

  leave(use: Use): void {
    this.#turns.end(use)
    if (this.#turns.running > 0) return
    const session = this.#session
    if (session === undefined) {
      if (!this.busy && this.#acquiring === undefined) this.#ec.dropLock(this)
      return
    }
    if (!this.#ec.keepsLock(session)) session.release = true
    if (session.release) this.releaseNow()
    else this.#ec.idleLocks.add(this, this.#ec.eagerMs(session))
  }

  /** Another client waits for the lock, or this one shuts down. */
  contended(): void {
    if (this.#session === undefined) {
      this.#contended = this.#acquiring !== undefined
      return
    }
    this.#session.release = true
    if (this.#turns.running === 0) this.releaseNow()
  }

  /** A brick forgot the lock with its connection: the session goes on without it and ends soon. */
  brickLost(brick: number): void {
    this.#lost |= bit(brick)
    const session = this.#session
    if (session === undefined) return
    session.exclude(bit(brick))
    if (session.release && this.#turns.running === 0) this.releaseNow()
  }

  /** Settles the counters and unlocks, in the background; waiting fops then start anew. */
  releaseNow(): void {
    this.idleUntil = undefined
    const session = this.#session
    if (session === undefined || this.#releasing) return
    session.release = true
    this.#releasing = true
    void this.#ec.graph.pool.background(
      this.#ec.self,
      'disperse-unlock',
      ROOT_CREDS,
      async (frame) => {
        try {
          const status = await session.finish(frame)
          if (status.errno !== 0) this.#ec.lostUpdate(this.inode, status.errno)
        } finally {
          await unlockBricks(this.#brickLock(frame), session.held)
          this.#ec.agreements.end(this.gfid)
          this.#session = undefined
          this.#releasing = false
          this.#turns.startWaiting()
          if (!this.busy) this.#ec.dropLock(this)
        }
      },
    )
  }

  #conflict(a: Use, b: Use): boolean {
    if (a.oneBrick || b.oneBrick || (a.shared && b.shared)) return false
    if (!this.#ec.options['parallel-writes']) return true
    return a.start < b.end && b.start < a.end
  }

  async #acquire(frame: Frame): Promise<Status> {
    const ec = this.#ec
    this.#contended = false
    this.#lost = 0
    if (!ec.isUp) return { errno: E.NOTCONN }
    const minimum = ec.geometry.dataCount
    ec.agreements.end(this.gfid)
    const result = await lockBricks(this.#brickLock(frame), ec.up, minimum, true)
    if (result.errno !== 0) return result
    const session = new Session(ec, this.#loc, result.held)
    // A brick that went down meanwhile has forgotten the lock, even if it is back.
    session.exclude(this.#lost)
    if (this.#contended) session.release = true
    this.#session = session
    return { errno: 0 }
  }

  #brickLock(frame: Frame): BrickLock {
    const ec = this.#ec
    const own = frame.with({ uid: 0, gid: 0, lkOwner: this.#owner })
    const loc = this.#loc
    const send = (brick: number, cmd: number, type: number) => {
      const flock: Flock = { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: NO_LK_OWNER }
      return own.wind(ec.children[brick]!, 'inodelk', { loc, volume: ec.name, cmd, flock })
    }
    return {
      try: (brick) => send(brick, F_SETLK, F_WRLCK),
      wait: (brick) => send(brick, F_SETLKW, F_WRLCK),
      unlock: (brick) => send(brick, F_SETLK, F_UNLCK),
    }
  }
}
