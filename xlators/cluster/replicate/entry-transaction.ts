/**
 * Changes of names (afr_transaction of entry fops): the names are locked, not the objects, and what
 * a brick missed is recorded on the directories.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  type FopError,
  type FopName,
  type Ok,
  type Rep,
  type Req,
  XATTROP_ADD_ARRAY,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { bit, bricksOf, count, has } from '../common/mask.ts'
import { type Addend, ENTRY, MINUS_ONE, NOTHING, PLUS_ONE } from './change-log.ts'
import type { Replicate } from './index.ts'
import { type EntryLockee, inLockOrder, lockAll, unlockAll } from './locks.ts'
import { commonErrno, errorReply, finalErrno, isBadAlone } from './transaction.ts'

/** A directory in which a name changes. */
export interface Changed {
  readonly parent: Inode
  readonly name: string
}

export interface EntryChange<K extends FopName> {
  fop: K
  lockees: EntryLockee[]
  /** One, or two for a rename across directories. */
  directories: readonly Changed[]
  req: Req<K>
  /** It makes an object; what was there before under that name may be opened instead. */
  creates?: boolean
  /** The object that moves: a brick that is behind may have another one under that name. */
  moves?: Gfid
  /** The directory that goes: a brick that is behind may still have names in it. */
  removes?: Inode | undefined
  /** Marks, on the bricks in `good`, what a new object lacks elsewhere. */
  markNew?: (own: Frame, good: number, rep: Ok<K>) => Promise<void>
}

export type EntryOutcome<K extends FopName> =
  /** `foreign`: bricks that had another object under the name, and opened or moved that. */
  { errno: 0; good: number; foreign: number; replies: (Rep<K> | undefined)[] } | FopError

type Status = { errno: Errno | 0 }

/** What became of one brick's record of a directory, an index of `directories`. */
interface Noted {
  brick: number
  directory: number
  reply: Rep<'xattrop'>
}

export async function changeEntry<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  what: EntryChange<K>,
): Promise<EntryOutcome<K>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  const names = namesOfOneDirectory(what.lockees)
  if (names === undefined) return underOwnLocks(afr, frame, what)
  const lock = afr.directoryLock(what.lockees[0]!.directory)
  const entered = lock.enter(frame, names)
  const owner = entered instanceof Promise ? await entered : entered
  if (owner === undefined) return underOwnLocks(afr, frame, what)
  const own = frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: owner })
  const transaction = new EntryTransaction(afr, what, afr.all)
  let clean = false
  try {
    const outcome = await transaction.runToEnd(frame, own)
    clean = transaction.mayEndLate
    return outcome
  } finally {
    transaction.end()
    lock.leave(names, clean)
  }
}

/** The names that are locked, when they are all in one directory. */
function namesOfOneDirectory(lockees: readonly EntryLockee[]): string[] | undefined {
  const names: string[] = []
  for (const { gfid, name } of lockees) {
    if (name === undefined || gfid !== lockees[0]!.gfid) return undefined
    names.push(name)
  }
  return names
}

/** The change locks its names for itself. */
async function underOwnLocks<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  what: EntryChange<K>,
): Promise<EntryOutcome<K>> {
  const lockees = inLockOrder(what.lockees)
  const own = frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: newLockOwner() })
  const directories = new Set(lockees.map(({ directory }) => afr.directoryLock(directory)))
  for (const directory of directories) await directory.enterSingle()
  const locks = await lockAll(own, afr.bricks, lockees, afr.up, () => {
    for (const directory of directories) directory.met()
  })
  if (locks.errno !== 0) {
    for (const directory of directories) directory.leaveSingle()
    return { errno: locks.errno }
  }
  const transaction = new EntryTransaction(afr, what, locks.locked)
  let late = false
  try {
    const outcome = await transaction.runToEnd(frame, own)
    late = transaction.mayEndLate
    return outcome
  } finally {
    afr.background('afr-unlock', { ...own.creds }, async (end) => {
      try {
        if (late) await transaction.postOp(end)
      } finally {
        transaction.end()
        await unlockAll(end, afr.bricks, lockees, locks.held)
        for (const directory of directories) directory.leaveSingle()
      }
    })
  }
}

/**
 * Bricks that made or opened the same object, of those in `good`. A brick may have had another one
 * under the name, of a creation that failed or a removal it missed: the others outvote it, and
 * with equal votes what was there before wins, for it may have content.
 */
function largestAlike<K extends FopName>(
  afr: Replicate,
  replies: readonly (Rep<K> | undefined)[],
  good: number,
): number {
  const groups = new Map<Gfid, number>()
  for (const brick of bricksOf(good)) {
    const { gfid } = (replies[brick] as Ok<'mknod'>).stat
    groups.set(gfid, (groups.get(gfid) ?? 0) | bit(brick))
  }
  if (groups.size === 1) return good
  let best = 0
  let oldest = 0
  for (const mask of groups.values()) {
    // Only copies with content are a reason to keep the old one.
    const first = bricksOf(mask & ~afr.arbiterMask)[0] ?? bricksOf(mask)[0]!
    const { ctime, size } = (replies[first] as Ok<'mknod'>).stat
    const age = size > 0 ? Number.POSITIVE_INFINITY : -ctime
    const votes = count(mask) - count(best)
    if (best === 0 || votes > 0 || (votes === 0 && age > oldest)) {
      best = mask
      oldest = age
    }
  }
  return best
}

/** Bricks of `good` that moved the object `gfid`; all of them when none did. */
function thatMoved<K extends FopName>(
  replies: readonly (Rep<K> | undefined)[],
  good: number,
  gfid: Gfid,
): number {
  let same = 0
  for (const brick of bricksOf(good)) {
    if ((replies[brick] as Ok<'rename'>).stat.gfid === gfid) same |= bit(brick)
  }
  return same === 0 ? good : same
}

class EntryTransaction<K extends FopName> {
  readonly #afr: Replicate
  readonly #what: EntryChange<K>
  readonly #locked: number
  /** Every brick is there: nothing is marked unless something fails. */
  readonly #optimistic: boolean
  /** Bricks whose directories carry our "dirty". */
  #marked = 0
  /** Bricks that missed names of a directory, as far as is known, by directory. */
  readonly #blamed: number[]
  #failed = 0
  #good = 0
  /** Bricks that keep a directory with names in it which the others removed. */
  #notEmpty = 0
  #foreign = 0
  /** Bricks that missed the change. */
  #missed = 0
  /** A thin arbiter has them on record for us. */
  #testified = false
  #ending: 'clean' | 'record' | 'mark-dirty' | 'note' | 'leave' = 'clean'

  constructor(afr: Replicate, what: EntryChange<K>, locked: number) {
    this.#afr = afr
    this.#what = what
    this.#locked = locked
    this.#optimistic = afr.options['optimistic-change-log'] && locked === afr.all
    this.#blamed = what.directories.map(() => 0)
  }

  /** The user may be answered before the change log is settled: every brick asked did it. */
  get mayEndLate(): boolean {
    return this.#failed === 0
  }

  /** With what must be on record before the user is told. */
  async runToEnd(frame: Frame, own: Frame): Promise<EntryOutcome<K>> {
    const outcome = await this.#run(frame, own)
    if (this.mayEndLate) return outcome
    const { errno } = await this.postOp(own)
    return errno !== 0 && outcome.errno === 0 ? { errno } : outcome
  }

  async #run(frame: Frame, own: Frame): Promise<EntryOutcome<K>> {
    const afr = this.#afr
    if (!afr.quorum.in(this.#locked)) return { errno: E.NOTCONN }
    if (isBadAlone(afr, this.#locked)) return { errno: E.IO }
    if (!this.#optimistic) {
      const { errno } = await this.#preOp(own)
      if (errno !== 0) return { errno }
    }
    const { fop, req } = this.#what
    const targets = this.#locked & ~this.#failed
    const sent = frame.windMask(afr.bricks, targets, fop, () => req)
    afr.afterwards.run()
    const replies = await sent
    this.#sort(replies, await this.#leftBehind(own, replies))
    if (this.#optimistic && this.#failed !== 0) await this.#learnBlamed(own)
    const { errno } = this.#judge(replies)
    if (errno !== 0) return errorReply(replies, errno)
    const known = await this.#testify(own)
    if (known.errno !== 0) return known as FopError
    if (this.#good !== afr.all) {
      const reply = replies[bricksOf(this.#good)[0]!] as Ok<K>
      await this.#what.markNew?.(own, this.#good, reply)
    }
    return { errno: 0, good: this.#good, foreign: this.#foreign, replies }
  }

  /** With a thin arbiter: it knows who missed the change before the user is answered. */
  async #testify(own: Frame): Promise<Status> {
    const { thinArbiter } = this.#afr
    if (thinArbiter === undefined || this.#missed === 0) return { errno: 0 }
    const status = await thinArbiter.blame(own, this.#missed, ENTRY)
    this.#testified = status.errno === 0
    // The mark stays: a heal has to look.
    if (status.errno !== 0) this.#ending = 'leave'
    return status
  }

  /** The change log is settled. */
  end(): void {
    if (this.#testified) this.#afr.thinArbiter?.release()
  }

  /**
   * Bricks that are not rid of a directory the others removed (ENOTEMPTY), because they are behind.
   * What a quorum acknowledged in it, one of those that removed it had, and had removed; unless
   * they all missed it, as the brick's copy then says. Without this record, which AFR does not
   * make, the directory that is left makes a lookup create the others again.
   */
  async #leftBehind(own: Frame, replies: readonly (Rep<K> | undefined)[]): Promise<number> {
    const { removes } = this.#what
    const afr = this.#afr
    if (removes === undefined || afr.thinArbiter !== undefined || !afr.quorum.overlaps) return 0
    let removed = 0
    const full: number[] = []
    replies.forEach((reply, brick) => {
      if (reply?.errno === 0) removed |= bit(brick)
      else if (reply?.errno === E.NOTEMPTY) full.push(brick)
    })
    if (full.length === 0 || !afr.quorum.in(removed)) return 0
    const req = { loc: Loc.ofInode(removes), xdata: afr.changes.requestRefresh() }
    let behind = 0
    const asked = full.map(async (brick) => {
      const reply = await own.wind(afr.bricks[brick]!, 'lookup', req)
      if (reply.errno !== 0) return
      const blamed = afr.changes.blamed(reply.xdata, ENTRY)
      if ((removed & ~blamed) !== 0) behind |= bit(brick)
    })
    await Promise.all(asked)
    return behind
  }

  /** Who did it? */
  #sort(replies: readonly (Rep<K> | undefined)[], behind: number): void {
    const afr = this.#afr
    replies.forEach((reply, brick) => {
      if (reply === undefined) return
      if (reply.errno === 0) this.#good |= bit(brick)
      else if (reply.errno === E.NOTEMPTY && !has(behind, brick)) this.#notEmpty |= bit(brick)
      else this.#failed |= bit(brick)
    })
    const { creates, moves } = this.#what
    let same = this.#good
    if (creates === true && same !== 0) same = largestAlike(afr, replies, same)
    if (moves !== undefined) same = thatMoved(replies, same, moves)
    this.#foreign = this.#good & ~same
    this.#failed |= this.#foreign
    this.#good = same
  }

  #judge(replies: readonly (Rep<K> | undefined)[]): Status {
    const afr = this.#afr
    if (this.#good === 0) {
      // All agree that it cannot be done.
      const common = commonErrno(replies)
      if (common !== 0 && common !== E.NOTCONN) this.#failed = 0
      else if (this.#failed !== 0) this.#ending = 'leave'
      if (this.#failed !== 0) this.#doubt()
      return { errno: finalErrno(replies) }
    }
    if (this.#failed !== 0) this.#doubt()
    if (!afr.quorum.in(this.#good) || !this.#lasts(this.#good)) {
      this.#failed = this.#locked
      // Bricks that are to be healed anyway need only note the name. A mark would make the heal
      // keep all that any brick has, what others removed meanwhile as well.
      const isDue = this.#blamed.every((blamed) => (this.#good & ~blamed) === 0)
      this.#ending = isDue ? 'note' : this.#optimistic ? 'mark-dirty' : 'leave'
      return { errno: finalErrno(replies) }
    }
    this.#missed = afr.all & ~(this.#good | this.#notEmpty)
    if (this.#missed !== 0) this.#ending = 'record'
    return { errno: 0 }
  }

  #doubt(): void {
    for (const { parent } of this.#what.directories) this.#afr.doubt(parent, this.#failed)
  }

  /** Marks the directories and learns whom they blame. */
  async #preOp(own: Frame): Promise<Status> {
    const afr = this.#afr
    let errno: Errno = E.NOTCONN
    const noted = await this.#xattrop(own, this.#locked, PLUS_ONE[ENTRY]!, 0, 'create')
    for (const { brick, directory, reply } of noted) {
      if (reply.errno === 0) {
        this.#blamed[directory]! |= afr.changes.blamed(reply.dict, ENTRY)
      } else {
        this.#failed |= bit(brick)
        errno = reply.errno
      }
    }
    this.#marked = this.#locked & ~this.#failed
    if (this.#marked === 0 || !afr.quorum.in(this.#marked)) return { errno }
    const blamed = this.#blamed.reduce((all, mask) => all | mask, 0)
    if (afr.arbiterMask !== 0 && (this.#marked & ~blamed) === afr.arbiterMask) {
      return { errno: E.NOTCONN }
    }
    if (this.#lasts(this.#marked)) return { errno: 0 }
    const { parent } = this.#what.directories[0]!
    const path = inodePath(parent)
    afr.tell(path, `'${path}' has no good copy on the bricks that are up (entries)`)
    return { errno: E.NOTCONN }
  }

  /**
   * Will a change that only `bricks` have outlive a heal? One of them must not have missed anything
   * before: else each brick is behind in something, and a heal that finds nobody right keeps what
   * any of them has, removed names as well. Without a quorum no brick can be sure.
   */
  #lasts(bricks: number): boolean {
    return !this.#afr.quorum.on || this.#blamed.every((blamed) => (bricks & ~blamed) !== 0)
  }

  /** Nothing was marked, so nothing is known: whom do the bricks blame? */
  async #learnBlamed(own: Frame): Promise<void> {
    const { bricks, changes } = this.#afr
    const asked = this.#what.directories.flatMap(({ parent }, directory) => {
      const req = { loc: Loc.ofInode(parent), xdata: changes.requestRefresh() }
      return bricksOf(this.#locked).map(async (brick) => {
        const reply = await own.wind(bricks[brick]!, 'lookup', req)
        if (reply.errno === 0) this.#blamed[directory]! |= changes.blamed(reply.xdata, ENTRY)
      })
    })
    await Promise.all(asked)
  }

  /** Records who missed the change and takes the mark back. */
  async postOp(own: Frame): Promise<Status> {
    if (this.#ending === 'leave') return { errno: 0 }
    const isUnsure = this.#ending === 'mark-dirty' || this.#ending === 'note'
    const targets = isUnsure ? this.#good : this.#locked & ~this.#failed
    if (this.#ending === 'clean' && this.#marked === 0) return { errno: 0 }
    const dirty =
      this.#ending === 'mark-dirty'
        ? PLUS_ONE[ENTRY]!
        : this.#marked !== 0
          ? MINUS_ONE[ENTRY]!
          : NOTHING
    const complete = this.#good === this.#afr.all
    const index = this.#failed !== 0 ? 'create' : complete ? 'delete' : 'none'
    const missed = this.#ending === 'record' ? this.#missed : 0
    const noted = await this.#xattrop(own, targets, dirty, missed, index)
    let good = targets
    let errno: Errno = E.NOTCONN
    for (const { brick, reply } of noted) {
      if (reply.errno === 0) continue
      good &= ~bit(brick)
      errno = reply.errno
    }
    if (good !== 0 && this.#afr.quorum.in(good)) return { errno: 0 }
    this.#afr.lostUpdate(this.#what.directories[0]!.parent, errno)
    return { errno }
  }

  /** One xattrop per directory and brick; with granular entry heal the brick notes the names. */
  async #xattrop(
    own: Frame,
    targets: number,
    dirty: Addend,
    missed: number,
    index: 'create' | 'delete' | 'none',
  ): Promise<Noted[]> {
    const afr = this.#afr
    const dict = afr.changes.xattrop(missed, PLUS_ONE[ENTRY]!, dirty)
    const granular = afr.options['granular-entry-heal'] && index !== 'none'
    const sent: Promise<Noted>[] = []
    for (const [directory, { parent, name }] of this.#what.directories.entries()) {
      const xdata = granular
        ? new Dict().setStr(`glusterfs.xattrop-entry-${index}`, name)
        : undefined
      const req = { loc: Loc.ofInode(parent), op: XATTROP_ADD_ARRAY, dict, xdata }
      for (const brick of bricksOf(targets)) {
        const reply = own.wind(afr.bricks[brick]!, 'xattrop', req)
        sent.push(Promise.resolve(reply).then((answer) => ({ brick, directory, reply: answer })))
      }
    }
    return Promise.all(sent)
  }
}
