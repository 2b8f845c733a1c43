/**
 * The time an object's lock is held on the bricks, and the change log of what happens in it: one
 * mark before the first change, one settlement after the last (afr-transaction.c: pre-op, post-op).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type MaybePromise, type Rep, XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, has } from '../common/mask.ts'
import { DATA, MINUS_ONE, NOTHING, PLUS_ONE } from './change-log.ts'
import type { Replicate } from './index.ts'
import type { InodeLock } from './inode-lock.ts'

type Status = { errno: Errno | 0 }
type XattropReplies = (Rep<'xattrop'> | undefined)[]

/** Adds to the change log of the object a lock is for, through `fd` where there is one. */
function xattrop(
  { afr, own, loc }: { afr: Replicate; own: Frame; loc: Loc },
  fd: Fd | undefined,
  targets: number,
  dict: Dict,
): Promise<XattropReplies> {
  const op = XATTROP_ADD_ARRAY
  if (fd === undefined) {
    const req = { loc, op, dict }
    return own.windMask(afr.bricks, targets, 'xattrop', () => req)
  }
  const req = { fd, op, dict }
  return own.windMask(afr.bricks, targets, 'fxattrop', () => req)
}

/** The marks that go along with the request for a lock nobody else is expected to hold. */
export function markAhead(
  on: { afr: Replicate; own: Frame; loc: Loc },
  fd: Fd | undefined,
  targets: number,
  slot: typeof DATA,
): Promise<XattropReplies> {
  const dict = on.afr.changes.xattrop(0, NOTHING, PLUS_ONE[slot]!)
  return xattrop(on, fd, targets, dict)
}

export class Session {
  readonly #afr: Replicate
  readonly #lock: InodeLock
  /** Bricks that gave the lock and were not lost since. */
  locked: number
  /** Bricks to unlock. */
  readonly held: number
  readonly #generation: number
  /** The fd of the last fop that had one: requests for the object go by it. */
  fd: Fd | undefined
  /** Bricks that carry our "dirty". */
  #marked = 0
  /** Bricks that failed a change others took; they get no more. */
  failed = 0
  /** Those of them that must not be blamed: what they failed may be the only good copy. */
  unclear = 0
  /** Bricks some change did not reach. */
  missed = 0
  /** Those of `missed` that the bricks know of. */
  #recorded = 0
  /** Those of `missed` that a thin arbiter has on record for us, until the end. */
  #testified = 0
  /** Bricks somebody blames; known after the mark. */
  blamed = 0
  /** Whether a change ended in a way only a heal can judge: the mark stays. */
  keepDirty = false
  /** Something was written that may not be on disk yet. */
  unstable = false
  #over = false
  #marking: Promise<Status> | undefined
  #recording: Promise<Status> | undefined
  #finishing: Promise<Status> | undefined
  /** Resolves when the change log is settled and the lock given back. */
  readonly finished: Promise<void>
  #finished!: () => void

  constructor(afr: Replicate, lock: InodeLock, locked: number, held: number, generation: number) {
    this.#afr = afr
    this.#lock = lock
    this.locked = locked
    this.held = held
    this.#generation = generation
    this.finished = new Promise((resolve) => {
      this.#finished = resolve
    })
  }

  /** No further fop may join: something failed, bricks came or went, others want the lock. */
  get isOver(): boolean {
    return this.#over || this.failed !== 0 || this.#generation !== this.#afr.generation
  }

  over(): void {
    this.#over = true
  }

  use(fd: Fd): void {
    if (this.fd === fd || fd.released) return
    this.locked &= ~this.#afr.foreignTo(fd)
    fd.hold()
    this.fd?.drop()
    this.fd = fd
  }

  /** Unlocked. Copies that were looked at while bricks came back may have been so too early. */
  end(): void {
    const { inode, slot } = this.#lock
    const { missed } = this.#afr.state(inode)
    if (missed[slot] !== 0 && this.#generation !== this.#afr.generation) this.#afr.doubt(inode)
    missed[slot] = 0
    if (this.#testified !== 0) this.#afr.thinArbiter?.release()
    this.fd?.drop()
    this.#finished()
  }

  /** The brick forgot the lock with its connection. */
  brickLost(brick: number): void {
    this.locked &= ~bit(brick)
  }

  /** Bricks a change is sent to. */
  get targets(): number {
    return this.locked & ~this.failed
  }

  /** Bricks that do not have what the others just took. */
  get toBlame(): number {
    return (this.failed & ~this.unclear) | (this.#afr.all & ~this.locked)
  }

  /** All bricks are there and nobody expects trouble: metadata need no mark. */
  get isOptimistic(): boolean {
    return (
      this.#lock.slot !== DATA &&
      this.#afr.options['optimistic-change-log'] &&
      this.locked === this.#afr.all
    )
  }

  /** Marks the object dirty, once, and learns whom the bricks blame. */
  preOp(frame: Frame): MaybePromise<Status> {
    if (this.isOptimistic && this.#marking === undefined) return { errno: 0 }
    this.#marking ??= this.#mark(frame)
    return this.#marking
  }

  /** `marks` went out with the request for the lock; `early`: but others held it first. */
  adoptMarks(frame: Frame, marks: Promise<XattropReplies>, early: boolean): void {
    this.#marking = this.#adopt(frame, marks, early)
  }

  async #adopt(frame: Frame, marks: Promise<XattropReplies>, early: boolean): Promise<Status> {
    const replies = await marks
    if (!early) return this.#noteMarks(replies)
    // A heal that held the lock has taken back what it saw.
    const { changes } = this.#afr
    const { slot } = this.#lock
    const seen = await this.#xattrop(frame, this.locked, changes.xattrop(0, NOTHING, NOTHING))
    let gone = 0
    for (const brick of bricksOf(this.locked)) {
      const reply = seen[brick]!
      if (reply.errno === 0 && !changes.isDirty(reply.dict, slot)) gone |= bit(brick)
    }
    if (gone === 0) return this.#noteMarks(seen)
    const again = await this.#xattrop(frame, gone, changes.xattrop(0, NOTHING, PLUS_ONE[slot]!))
    return this.#noteMarks(seen.map((reply, brick) => again[brick] ?? reply))
  }

  async #mark(frame: Frame): Promise<Status> {
    const dict = this.#afr.changes.xattrop(0, NOTHING, PLUS_ONE[this.#lock.slot]!)
    return this.#noteMarks(await this.#xattrop(frame, this.locked, dict))
  }

  /** Which of the bricks that gave the lock carry the mark, and whom they blame. */
  #noteMarks(replies: XattropReplies): Status {
    let errno: Errno = E.NOTCONN
    for (const [brick, reply] of replies.entries()) {
      if (reply === undefined || !has(this.held, brick)) continue
      if (reply.errno === 0) {
        this.#marked |= bit(brick)
        this.blamed |= this.#afr.changes.blamed(reply.dict, this.#lock.slot)
      } else {
        this.failed |= bit(brick)
        errno = reply.errno
      }
    }
    const marked = this.#marked & this.locked
    return marked !== 0 && this.#afr.quorum.in(marked) ? { errno: 0 } : { errno }
  }

  /**
   * With a thin arbiter: it knows of `missed` before anybody relies on what the other brick has.
   * When it says that the other brick is bad, the mark there tells a heal that something was begun.
   */
  async testify(frame: Frame): Promise<Status> {
    const { thinArbiter } = this.#afr
    if (thinArbiter === undefined || (this.missed & ~this.#testified) === 0) return { errno: 0 }
    const status = await thinArbiter.blame(frame, this.missed, this.#lock.slot)
    if (status.errno === 0) {
      // Another fop of this session may have asked meanwhile.
      if (this.#testified !== 0) thinArbiter.release()
      this.#testified |= this.missed
    } else {
      this.unclear |= this.missed
      this.missed = 0
      this.keepDirty = true
      this.#over = true
    }
    return status
  }

  /** Puts on record which bricks missed something; the mark stays. */
  async record(frame: Frame): Promise<Status> {
    while (this.#recording !== undefined) await this.#recording
    const known = await this.testify(frame)
    if (known.errno !== 0) return known
    const missed = this.missed & ~this.#recorded
    if (missed === 0) return { errno: 0 }
    if (!this.#leavesGoodCopy(this.missed)) return { errno: E.IO }
    const dict = this.#afr.changes.xattrop(missed, PLUS_ONE[this.#lock.slot]!, NOTHING)
    this.#recording = this.#write(frame, dict).finally(() => {
      this.#recording = undefined
    })
    const status = await this.#recording
    if (status.errno === 0) this.#recorded |= missed
    return status
  }

  /**
   * Records what was missed and takes the mark back, once. `durable`: where bricks missed something,
   * what was written is brought to disk first, for the others are the only good copies.
   */
  finish(frame: Frame, durable: boolean): Promise<Status> {
    this.#over = true
    this.#finishing ??= this.#settle(frame, durable)
    return this.#finishing
  }

  async #settle(frame: Frame, durable: boolean): Promise<Status> {
    while (this.#recording !== undefined) await this.#recording
    let unmark = this.#marked !== 0 && !this.keepDirty
    if (unmark && durable && this.unstable && this.missed !== 0) await this.#sync(frame)
    const known = await this.testify(frame)
    if (known.errno !== 0) return known
    unmark &&= !this.keepDirty
    const missed = this.missed & ~this.#recorded
    if (missed === 0 && !unmark) return { errno: 0 }
    if (!this.#leavesGoodCopy(this.missed)) return { errno: E.IO }
    const { slot } = this.#lock
    const dirty = unmark ? MINUS_ONE[slot]! : NOTHING
    const dict = this.#afr.changes.xattrop(missed, PLUS_ONE[slot]!, dirty)
    const status = await this.#write(frame, dict)
    if (status.errno === 0) this.#recorded |= missed
    else this.#afr.lostUpdate(this.#lock.inode, status.errno)
    return status
  }

  /** With the bricks in `missed` blamed, is some copy still good that was so at the mark? */
  #leavesGoodCopy(missed: number): boolean {
    if (this.#marked === 0) return true
    const good = this.#marked & ~this.blamed & ~this.#afr.arbiterMask
    return good === 0 || (good & ~missed) !== 0
  }

  /** To the bricks that have everything; those must be a quorum. */
  async #write(frame: Frame, dict: Dict): Promise<Status> {
    const targets = this.targets & ~this.missed
    if (targets === 0) return { errno: E.NOTCONN }
    const replies = await this.#xattrop(frame, targets, dict)
    let good = 0
    let errno: Errno = E.NOTCONN
    for (const brick of bricksOf(targets)) {
      const reply = replies[brick]!
      if (reply.errno === 0) good |= bit(brick)
      else errno = reply.errno
    }
    return good !== 0 && this.#afr.quorum.in(good) ? { errno: 0 } : { errno }
  }

  /** Replies by brick. */
  #xattrop(frame: Frame, targets: number, dict: Dict): Promise<XattropReplies> {
    const { loc } = this.#lock
    const on = { afr: this.#afr, own: this.#lock.ownFrame(frame), loc }
    return xattrop(on, this.fd, targets, dict)
  }

  async #sync(frame: Frame): Promise<void> {
    const { fd } = this
    if (fd === undefined || !this.#afr.options['ensure-durability']) return
    const own = this.#lock.ownFrame(frame)
    const xdata = new Dict().setInt('batch-fsync', 1).setStr('glusterfs-internal-fop', 'yes')
    const targets = this.targets
    const req = { fd, datasync: true, xdata }
    const replies = await own.windMask(this.#afr.bricks, targets, 'fsync', () => req)
    this.unstable = false
    for (const brick of bricksOf(targets)) {
      const { errno } = replies[brick]!
      if (errno === 0) continue
      this.#afr.log.warn({ errno: errnoName(errno), brick }, 'fsync before the post-op failed')
      const missed = this.missed | bit(brick)
      // The last good copies are not blamed: their mark tells a heal to look.
      const left = this.targets & ~missed
      if (this.#leavesGoodCopy(missed) && this.#afr.quorum.in(left)) this.missed = missed
      else this.keepDirty = true
    }
  }
}
