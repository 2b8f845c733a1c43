/**
 * The lock of one object for changes of one kind, shared by all fops of this mount (eager lock).
 * Fops that touch the same bytes queue here. The lock on the bricks is taken for the first and,
 * after writes, kept for a while, and with it the mark "dirty" (delayed post-op).
 */
import { assert } from '../../../src/core/assert.ts'
import { clock, NEVER, type Timer } from '../../../src/core/clock.ts'
import type { Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { Turns } from '../common/turns.ts'
import { DATA, METADATA } from './change-log.ts'
import type { Replicate } from './index.ts'
import { type Lockee, lockAll, METADATA_START, rangeLockee, unlockAll } from './locks.ts'
import { markAhead, Session } from './session.ts'

/** Bytes a fop changes: start <= x < end. */
export interface Use {
  readonly start: number
  readonly end: number
}

/**
 * Programs that copy trees set mode, owner and times one after the other. The bricks tell who else
 * wants the lock, but not who wants to remove the object.
 */
const METADATA_KEPT_MS = 20

export const WHOLE: Use = { start: 0, end: Number.POSITIVE_INFINITY }

type Entered = { errno: 0; session: Session } | { errno: Errno }

export class InodeLock {
  readonly #afr: Replicate
  readonly inode: Inode
  readonly gfid: Gfid
  readonly slot: typeof DATA | typeof METADATA
  /** Kept for consecutive fops; otherwise it serves one. */
  readonly eager: boolean
  readonly #loc: Loc
  readonly #owner = newLockOwner()
  readonly #turns = new Turns<Use>(
    conflict,
    () => this.#releasing !== undefined || this.#session?.isOver === true,
  )
  /** The range on the bricks. */
  readonly #range: { start: bigint; len: bigint }
  #session: Session | undefined
  #acquiring: Promise<{ errno: Errno | 0 }> | undefined
  #releasing: Promise<void> | undefined
  /** Another client asked while the lock was still being taken. */
  #contended = false
  /** Somebody waits for the end: nothing is put off. */
  #isHurried = true
  /** Runs since the first leave after it ended; looks at `#leftAt` when it is due. */
  #idle: Timer | undefined
  /** Monotonic ms. */
  #leftAt = NEVER

  constructor(
    afr: Replicate,
    inode: Inode,
    gfid: Gfid,
    slot: typeof DATA | typeof METADATA,
    eager: boolean,
    use: Use = WHOLE,
  ) {
    this.#afr = afr
    this.inode = inode
    this.gfid = gfid
    this.slot = slot
    this.eager = eager
    this.#loc = new Loc(inode, undefined, undefined, gfid)
    this.#range = slot === METADATA ? { start: METADATA_START, len: 0n } : flockRange(use)
  }

  get session(): Session | undefined {
    return this.#session
  }

  get busy(): boolean {
    return this.#turns.busy
  }

  /** Waits for this fop's turn and for the lock on the bricks. A success needs a `leave`. */
  enter(frame: Frame, use: Use, fd: Fd | undefined): Promise<Entered> {
    return this.#enter(frame, use, fd, false)
  }

  /** `ahead`: nobody else is expected to hold the lock, and the mark goes along with the request. */
  async #enter(frame: Frame, use: Use, fd: Fd | undefined, ahead: boolean): Promise<Entered> {
    if (this.#turns.running === 0 && this.#session?.isOver === true) this.release()
    const turn = this.#turns.begin(use)
    if (turn !== undefined) {
      this.#hurry()
      await turn
    }
    if (this.#session === undefined) {
      this.#acquiring ??= this.#acquire(frame, fd, ahead).finally(() => {
        this.#acquiring = undefined
      })
      const { errno } = await this.#acquiring
      if (errno !== 0) {
        this.leave(use, false)
        return { errno }
      }
    }
    const session = this.#session
    assert(session !== undefined, 'a fop runs without its lock')
    if (fd !== undefined) session.use(fd)
    return { errno: 0, session }
  }

  /**
   * Locks and marks for a write through `fd` that is likely to come; kept for it as if it were the
   * second one if `isAwaited` says so then.
   */
  async prepare(frame: Frame, fd: Fd, isAwaited: () => boolean): Promise<void> {
    // No bytes: in nobody's way.
    const use = { start: 0, end: 0 }
    const entered = await this.#enter(frame, use, fd, true)
    if (entered.errno !== 0) return
    try {
      await entered.session.preOp(frame)
    } finally {
      this.leave(use, isAwaited())
    }
  }

  /** `delay`: the fop is one after which the next is worth waiting for. */
  leave(use: Use, delay: boolean): void {
    this.#turns.end(use)
    const session = this.#session
    if (this.#turns.running > 0) return
    if (session === undefined) {
      if (!this.busy && this.#acquiring === undefined) this.#afr.dropLock(this)
      return
    }
    const keptMs = this.#keptMs(session, delay)
    if (keptMs === 0) {
      this.release(!delay)
      return
    }
    this.#leftAt = clock.now()
    this.#idle ??= clock.after(keptMs, () => this.#idleDue(keptMs))
  }

  /** How long the next fop is waited for; 0 = not at all. */
  #keptMs(session: Session, delay: boolean): number {
    const { delayMs } = this.#afr
    if (!this.eager || session.isOver || delayMs === 0) return 0
    if (delay) return delayMs
    return session.isOptimistic ? Math.min(delayMs, METADATA_KEPT_MS) : 0
  }

  #idleDue(keptMs: number): void {
    this.#idle = undefined
    if (this.#turns.running > 0) return
    const leftMs = this.#leftAt + keptMs - clock.now()
    if (leftMs > 0) this.#idle = clock.after(leftMs, () => this.#idleDue(keptMs))
    else this.release()
  }

  /** Another client waits for the lock, or this one shuts down. */
  contended(): void {
    this.#hurry()
    if (this.#session === undefined) {
      this.#contended = this.#acquiring !== undefined
      return
    }
    this.#session.over()
    if (this.#turns.running === 0) this.release()
  }

  /**
   * `fd` is flushed: what was kept for its next write is settled. Resolves when what a brick
   * missed is on record.
   */
  async flush(fd: Fd): Promise<void> {
    const session = this.#session
    if (session === undefined || session.fd !== fd || this.#turns.running > 0) return
    if (session.missed !== 0) {
      this.release()
      await session.finished
      return
    }
    this.#isHurried = false
    this.release()
  }

  /** What is put off until it costs less is done now. */
  #hurry(): void {
    this.#isHurried = true
    if (this.#session !== undefined) this.#afr.afterwards.run()
  }

  /** A brick came or went. */
  bricksChanged(): void {
    if (this.#session?.isOver === true && this.#turns.running === 0) this.release()
  }

  /**
   * A brick missed something: that is put on record before the user is told. Without other fops
   * under way the transaction ends with it.
   */
  record(frame: Frame): Promise<{ errno: Errno | 0 }> {
    const session = this.#session
    assert(session !== undefined, 'nothing is locked')
    return this.#turns.running === 1 ? session.finish(frame, true) : session.record(frame)
  }

  /** Settles the change log and unlocks, in the background; waiting fops then start anew. */
  release(durable = false): void {
    this.#idle?.clear()
    this.#idle = undefined
    const session = this.#session
    if (session === undefined || this.#releasing !== undefined) return
    session.over()
    const { pool } = this.#afr.graph
    this.#releasing = pool.background(this.#afr.self, 'afr-unlock', ROOT_CREDS, (frame) =>
      this.#settle(frame, session, durable),
    )
  }

  async #settle(frame: Frame, session: Session, durable: boolean): Promise<void> {
    try {
      await session.finish(frame, durable)
      if (!this.#isHurried && !this.busy) await new Promise<void>(this.#putOff)
    } finally {
      await unlockAll(
        this.#own(frame),
        this.#afr.bricks,
        [this.#lockee(session.fd)],
        [session.held],
      )
      session.end()
      this.#session = undefined
      this.#releasing = undefined
      this.#turns.startWaiting()
      if (!this.busy) this.#afr.dropLock(this)
    }
  }

  readonly #putOff = (resume: () => void): void => this.#afr.afterwards.add(resume)

  async #acquire(frame: Frame, fd: Fd | undefined, ahead: boolean): Promise<{ errno: Errno | 0 }> {
    const afr = this.#afr
    this.#contended = false
    const { generation } = afr
    const targets = afr.up & ~afr.foreignTo(fd)
    const own = this.#own(frame)
    let hadToWait = false
    const locking = lockAll(own, afr.bricks, [this.#lockee(fd)], targets, () => {
      hadToWait = true
    })
    const marks =
      ahead && this.slot === DATA
        ? markAhead({ afr, own, loc: this.#loc }, fd, targets, DATA)
        : undefined
    const locks = await locking
    if (locks.errno !== 0) {
      // The marks stay: a heal looks what is behind them.
      await marks
      return locks
    }
    // A brick that went down meanwhile has forgotten the lock.
    const locked = locks.locked & afr.up
    const session = new Session(afr, this, locked, locks.locked, generation)
    if (fd !== undefined) session.use(fd)
    if (marks !== undefined) session.adoptMarks(frame, marks, hadToWait)
    if (this.#contended) session.over()
    this.#session = session
    if (locked !== 0 && afr.quorum.in(locked)) return { errno: 0 }
    session.over()
    return { errno: locks.refused }
  }

  /** Acts for the lock: as root, with its owner, leaving no time stamps. */
  #own(frame: Frame): Frame {
    return frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: this.#owner })
  }

  ownFrame(frame: Frame): Frame {
    return this.#own(frame)
  }

  get loc(): Loc {
    return this.#loc
  }

  #lockee(fd: Fd | undefined): Lockee {
    const { start, len } = this.#range
    return rangeLockee(this.#afr.name, { loc: this.#loc, fd }, start, len)
  }
}

function conflict(a: Use, b: Use): boolean {
  return a.start < b.end && b.start < a.end
}

function flockRange({ start, end }: Use): { start: bigint; len: bigint } {
  if (end === Number.POSITIVE_INFINITY) return { start: BigInt(start), len: 0n }
  return { start: BigInt(start), len: BigInt(end - start) }
}
