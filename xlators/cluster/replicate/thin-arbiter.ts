/**
 * A thin arbiter: a third brick with one empty file per pair of bricks, whose xattrs say which of
 * the two missed changes. It is asked only while one of them is not there: before somebody is told
 * that a change succeeded on one brick alone, the other is on record as bad here, which it refuses
 * when that one brick is the bad one (afr_handle_failure_using_thin_arbiter, afr_ta_read_txn).
 *
 * Who has the bad one on record keeps one byte of the file locked in the domain "notify" and need
 * not ask again. The self-heal daemon locks all of it before it clears the record; upon the upcall
 * the mount finishes what it has begun and lets its byte go.
 */
import { assert } from '../../../src/core/assert.ts'
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { newGfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_RDWR } from '../../../src/core/open-flags.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { bit, bricksOf } from '../common/mask.ts'
import type { Slot } from './change-log.ts'
import type { Replicate } from './index.ts'
import { type Lockee, lockOn, rangeLockee } from './locks.ts'

type Status = { errno: Errno | 0 }

/** Held while the record is read or changed. */
const MODIFY = 'afr.ta.dom-modify'
/** One byte of it is held by whoever relies on the record. */
export const NOTIFY = 'afr.ta.dom-notify'
const VALUE_SIZE = 12
/** Bytes to choose from. */
const NOTIFY_RANGE = 2 ** 52
const ID_FILE_MODE = 0o664

export class ThinArbiter {
  readonly #afr: Replicate
  readonly #brick: Xlator
  /** Of the file in the brick's root. */
  readonly #name: string
  readonly #owner = newLockOwner()
  #loc: Loc | undefined
  /** The byte that is kept locked. */
  #kept: Lockee | undefined
  #bad = -1
  /** Transactions that rely on the record and have not told the bricks yet. */
  #users = 0
  /** The self-heal daemon waits for the lock. */
  #wanted = false
  readonly #waiting: (() => void)[] = []
  /** Counts lost connections: the lock went with them. */
  #epoch = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(afr: Replicate, brick: Xlator, name: string) {
    this.#afr = afr
    this.#brick = brick
    this.#name = name
  }

  /** The brick on record as bad, while this mount may rely on it; -1 otherwise. */
  get bad(): number {
    return this.#bad
  }

  /**
   * Puts on record that the bricks in `missed` lack a change others have. EIO when the others are
   * bad, or the thin arbiter cannot be asked. A success needs a `release`.
   */
  blame(frame: Frame, missed: number, slot: Slot): Promise<Status> {
    const [brick, more] = bricksOf(missed)
    assert(brick !== undefined, 'nobody is blamed')
    if (more !== undefined) return Promise.resolve({ errno: E.IO })
    return this.#inTurn(async () => {
      while (this.#wanted) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      this.#users++
      const status = await this.#convict(frame, brick, slot)
      if (status.errno !== 0) this.release()
      return status
    })
  }

  async #convict(frame: Frame, brick: number, slot: Slot): Promise<Status> {
    if (this.#bad >= 0) return { errno: this.#bad === brick ? 0 : E.IO }
    const own = this.#own(frame)
    const epoch = this.#epoch
    const loc = await this.#file(own)
    if (loc === undefined) return { errno: E.IO }
    const start = BigInt(Math.floor(clock.random() * NOTIFY_RANGE))
    const kept = rangeLockee(NOTIFY, { loc }, start, 1n)
    const locked = await lockOn(own, this.#brick, kept, 'wait')
    if (locked.errno !== 0) return this.#failed('lock', locked.errno)
    const reply = await this.#record(own, loc, brick, slot)
    if (reply.errno !== 0) {
      await lockOn(own, this.#brick, kept, 'unlock')
      // It knows of the other one: what only the bad one has is worth nothing.
      return reply.errno === E.INVAL ? { errno: E.IO } : this.#failed('xattrop', reply.errno)
    }
    if (epoch !== this.#epoch) return this.#failed('xattrop', E.NOTCONN)
    this.#kept = kept
    this.#bad = brick
    return { errno: 0 }
  }

  /** The bricks know what was missed, or the transaction failed. */
  release(): void {
    this.#users--
    if (this.#users === 0 && this.#wanted) this.#letGo()
  }

  /** The self-heal daemon wants to change the record. */
  contended(): void {
    if (this.#kept === undefined && this.#users === 0) return
    this.#wanted = true
    if (this.#users === 0) this.#letGo()
    else this.#afr.releaseLocks()
  }

  /** The connection is lost, and the lock with it. */
  disconnected(): void {
    this.#epoch++
    this.#bad = -1
    this.#kept = undefined
    if (this.#users === 0) this.#resume()
  }

  #letGo(): void {
    const kept = this.#kept
    this.#kept = undefined
    this.#bad = -1
    if (kept === undefined) {
      this.#resume()
      return
    }
    this.#afr.background('afr-thin-arbiter', ROOT_CREDS, async (frame) => {
      await lockOn(this.#own(frame), this.#brick, kept, 'unlock')
      this.#resume()
    })
  }

  #resume(): void {
    this.#wanted = false
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** May an object be read on `brick`, the only one that is up? 0 or the errno. */
  async mayRead(frame: Frame, brick: number, inode: Inode, slot: Slot): Promise<Errno | 0> {
    if (this.#bad >= 0) return this.#bad === brick ? E.IO : 0
    const { changes, bricks } = this.#afr
    const own = this.#own(frame)
    const request = { loc: Loc.ofInode(inode), op: XATTROP_ADD_ARRAY, dict: this.#dict(-1, slot) }
    const told = await own.wind(bricks[brick]!, 'xattrop', request)
    if (told.errno !== 0) return told.errno
    // It misses nothing as long as it blames the other.
    if ((changes.blamed(told.dict, slot) & ~bit(brick)) !== 0) return 0
    return this.#inTurn(async () => {
      const loc = await this.#file(own)
      if (loc === undefined) return E.IO
      const reply = await this.#record(own, loc, -1, slot)
      if (reply.errno !== 0) return this.#failed('xattrop', reply.errno).errno
      const value = reply.dict.getBytes(changes.pending[brick]!)
      return value?.some((byte) => byte !== 0) ? E.IO : 0
    })
  }

  /** One conversation at a time: all share one lock owner. */
  #inTurn<T>(job: () => Promise<T>): Promise<T> {
    const done = this.#last.then(job)
    this.#last = done.catch(() => {})
    return done
  }

  #own(frame: Frame): Frame {
    return frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: this.#owner })
  }

  #failed(what: string, errno: Errno): { errno: Errno } {
    this.#afr.tell(
      this.#name,
      `the thin arbiter cannot be asked (${what}: ${errnoName(errno)}): with one brick alone ` +
        'nothing can be changed or read',
    )
    return { errno: E.IO }
  }

  /** Reads the record, and blames `brick` unless it is -1. */
  async #record(own: Frame, loc: Loc, brick: number, slot: Slot) {
    const lockee = rangeLockee(MODIFY, { loc }, 0n, 0n)
    const locked = await lockOn(own, this.#brick, lockee, 'wait')
    if (locked.errno !== 0) return { errno: locked.errno }
    const dict = this.#dict(brick, slot)
    const reply = await own.wind(this.#brick, 'xattrop', { loc, op: XATTROP_ADD_ARRAY, dict })
    await lockOn(own, this.#brick, lockee, 'unlock')
    return reply
  }

  #dict(brick: number, slot: Slot): Dict {
    const dict = new Dict()
    this.#afr.changes.pending.forEach((key, index) => {
      const value = Buffer.alloc(VALUE_SIZE)
      if (index === brick) value.writeInt32BE(1, 4 * slot)
      dict.setBytes(key, value)
    })
    return dict
  }

  /** The file, which the first mount makes. */
  async #file(own: Frame): Promise<Loc | undefined> {
    if (this.#loc !== undefined) return this.#loc
    const { inodes } = this.#afr.graph
    // Of another tree than the volume's: not to be linked in its table.
    const loc = Loc.ofName(inodes.root, this.#name, inodes.newInode())
    let reply: { errno: 0; stat: { gfid: Inode['gfid'] } } | { errno: Errno }
    reply = await own.wind(this.#brick, 'lookup', { loc })
    if (reply.errno === E.NOENT) {
      const fd = new Fd(loc.inode, O_RDWR, 0)
      const xdata = new Dict().setGfid('gfid-req', newGfid())
      const flags = O_RDWR
      const request = { loc, flags, mode: ID_FILE_MODE, umask: 0, fd, xdata }
      reply = await own.wind(this.#brick, 'create', request)
      fd.release()
      if (reply.errno === E.EXIST) reply = await own.wind(this.#brick, 'lookup', { loc })
    }
    if (reply.errno !== 0) {
      this.#failed('lookup', reply.errno)
      return undefined
    }
    this.#loc = new Loc(inodes.newInode(), undefined, undefined, reply.stat.gfid)
    return this.#loc
  }
}
