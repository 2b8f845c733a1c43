/**
 * The names of one directory as this mount locks them. A change locks the names it changes, as in
 * stock. Where changes follow each other closely, all names of the directory are locked at once and
 * that lock is kept for the next change, so that a stream of creations or removals needs no lock
 * requests of its own.
 *
 * Bricks do not tell that somebody waits for such a lock (10.3 never sends ENTRYLK_CONTENTION): it
 * is given back after KEPT_MS_MAX whatever happens, then a brick is asked, and where another client
 * was met every change locks its own names for a while.
 *
 * While the lock is kept nobody else makes a name: where names were looked up that are not there,
 * the bricks are asked for those that are, and what is none of them needs no further lookup.
 *
 * Nobody waits on a brick while it relies on a kept lock: a change that needs more than this
 * directory has it given back first.
 */
import { assert } from '../../../src/core/assert.ts'
import { clock, NEVER, type Timer } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import type { MaybePromise } from '../../../src/core/fop.ts'
import { type Creds, type Frame, ROOT_CREDS, sameIds } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { Turns } from '../common/turns.ts'
import type { Replicate } from './index.ts'
import { type EntryLockee, entryLockee, lockNow, unlockAll } from './locks.ts'
import { PresentNames } from './present-names.ts'

/** Longest time in which others find all names locked. */
const KEPT_MS_MAX = 100
/** A kept lock that nothing used for so long is given back; looked at as often. */
const IDLE_MS = 20
/** So many changes, each within STREAM_MS of the one before, are a stream. */
const STREAM_LENGTH_MIN = 4
const STREAM_MS = 100
/** How long a directory that others change too is left alone. */
const SHARED_MS = 10_000
/** How long a directory with too many names is not listed again. */
const LARGE_MS = 10_000
/** Asks for the locks of names in a directory, held and waited for. */
const ENTRYLK_COUNT = 'glusterfs.entrylk-count'

/** The names one change is about. */
export type Names = readonly string[]

interface Held {
  readonly owner: Buffer
  readonly generation: number
  readonly since: number
  readonly present: PresentNames
  isOver: boolean
}

export class DirectoryLock {
  readonly #afr: Replicate
  readonly directory: Inode
  readonly #lockee: EntryLockee
  readonly #turns = new Turns<Names>(haveCommon, () => this.#isClosed)
  /** Changes that lock names of their own, until those are unlocked. */
  #singles = 0
  #lastChange = NEVER
  /** Changes of the stream so far. */
  #streamLength = 0
  #sharedUntil = NEVER
  /** When a name was last looked up in vain, and by whom: nothing forbids him to search here. */
  #lastAbsent = NEVER
  #searcher: Creds | undefined
  #largeUntil = NEVER
  #held: Held | undefined
  #acquiring: Promise<void> | undefined
  #isReleasing = false
  #check: Timer | undefined
  /** Changes that wait for the lock of all names to be gone. */
  #awaitingEnd: (() => void)[] = []

  constructor(afr: Replicate, directory: Inode) {
    this.#afr = afr
    this.directory = directory
    this.#lockee = entryLockee(afr.name, Loc.ofInode(directory), undefined)
  }

  /**
   * Waits for the turn of a change of `names` under a lock of all names on all bricks; gives the
   * lock's owner. `undefined`: the change is to lock its own names. A success needs a `leave`.
   */
  enter(frame: Frame, names: Names): MaybePromise<Buffer | undefined> {
    if (!this.#isWorthwhile()) return undefined
    this.#endIfOver()
    const turn = this.#turns.begin(names)
    if (turn === undefined && this.#held !== undefined) return this.#joined(names)
    return this.#enterLater(frame, names, turn)
  }

  async #enterLater(
    frame: Frame,
    names: Names,
    turn: Promise<void> | undefined,
  ): Promise<Buffer | undefined> {
    if (turn !== undefined) await turn
    if (this.#held === undefined && this.#isWorthwhile()) {
      this.#acquiring ??= this.#acquire(frame).finally(() => {
        this.#acquiring = undefined
      })
      await this.#acquiring
    }
    return this.#joined(names)
  }

  #joined(names: Names): Buffer | undefined {
    const held = this.#held
    // A brick that went away meanwhile has forgotten the lock.
    if (held !== undefined && held.generation === this.#afr.generation) {
      held.present.add(names)
      return held.owner
    }
    this.leave(names)
    return undefined
  }

  /** `clean`: every brick did it, nothing is left to be recorded. */
  leave(names: Names, clean = true): void {
    this.#changed()
    if (!clean && this.#held !== undefined) this.#held.isOver = true
    this.#turns.end(names)
    this.#endIfOver()
    if (this.#held === undefined) this.#freed()
  }

  /** Before a change locks names of its own: this mount's lock of all names is given back. */
  async enterSingle(): Promise<void> {
    this.#singles++
    while (this.#held !== undefined || this.#acquiring !== undefined) {
      this.giveUp()
      await new Promise<void>((resolve) => {
        this.#awaitingEnd.push(resolve)
      })
    }
  }

  /** Another client was in the way. */
  met(): void {
    this.#sharedUntil = clock.now() + SHARED_MS
    this.#turns.startWaiting()
  }

  /** The names are unlocked. */
  leaveSingle(): void {
    assert(this.#singles > 0, 'a change ends that never began')
    this.#singles--
    this.#changed()
    if (this.#singles === 0) this.#turns.startWaiting()
  }

  /** A name was looked up that no brick has. */
  foundAbsent(creds: Creds): void {
    this.#lastAbsent = clock.now()
    this.#searcher = creds
  }

  /** Its mode or ACL may forbid now what it allowed before. */
  attributesChanged(): void {
    this.#searcher = undefined
  }

  /** Whether the bricks would answer ENOENT, certainly. */
  isAbsent(name: string, creds: Creds): boolean {
    const held = this.#held
    if (held === undefined || this.#isReleasing) return false
    if (this.#searcher === undefined || !sameIds(this.#searcher, creds)) return false
    return held.generation === this.#afr.generation && held.present.isAbsent(name)
  }

  /** Somebody needs the names, or the bricks are others now: no further change joins. */
  giveUp(): void {
    if (this.#held !== undefined) this.#held.isOver = true
    this.#endIfOver()
  }

  #changed(): void {
    const now = clock.now()
    this.#streamLength = now - this.#lastChange < STREAM_MS ? this.#streamLength + 1 : 1
    this.#lastChange = now
  }

  get #isClosed(): boolean {
    if (this.#isReleasing) return true
    if (this.#held !== undefined) return this.#isOver(this.#held)
    // Those for whom waiting does not pay go on, to lock their own names.
    return this.#singles > 0 && clock.now() >= this.#sharedUntil
  }

  #isOver(held: Held): boolean {
    return (
      held.isOver ||
      this.#singles > 0 ||
      held.generation !== this.#afr.generation ||
      clock.now() - held.since >= KEPT_MS_MAX
    )
  }

  #isWorthwhile(): boolean {
    const afr = this.#afr
    if (!afr.keepsNames || afr.up !== afr.all) return false
    if (this.#streamLength < STREAM_LENGTH_MIN) return false
    const now = clock.now()
    return now - this.#lastChange < STREAM_MS && now >= this.#sharedUntil
  }

  async #acquire(frame: Frame): Promise<void> {
    const afr = this.#afr
    const owner = newLockOwner()
    const own = frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: owner })
    const { generation } = afr
    const { held, contended } = await lockNow(own, afr.bricks, this.#lockee, afr.all)
    if (held === afr.all && generation === afr.generation) {
      const now = clock.now()
      const present = new PresentNames()
      this.#held = { owner, generation, since: now, present, isOver: !afr.keepsNames }
      afr.namesKept(this)
      if (now - this.#lastAbsent < STREAM_MS && now >= this.#largeUntil) this.#list(present)
      this.#check = clock.after(IDLE_MS, this.#checkDue)
      return
    }
    if (contended) this.met()
    if (held !== 0) await unlockAll(own, afr.bricks, [this.#lockee], [held])
  }

  #list(present: PresentNames): void {
    // The brick keeps names of its own there.
    if (this.directory.isRoot) return
    this.#afr.background('afr-list', ROOT_CREDS, async (frame) => {
      const listed = await present.ask(frame, this.#afr.bricks, this.directory)
      if (listed === 'too-many') this.#largeUntil = clock.now() + LARGE_MS
    })
  }

  readonly #checkDue = (): void => {
    const held = this.#held
    if (held === undefined || this.#isReleasing) return
    if (clock.now() - this.#lastChange >= IDLE_MS && this.#turns.running === 0) held.isOver = true
    this.#endIfOver()
    if (!this.#isReleasing) this.#check = clock.after(IDLE_MS, this.#checkDue)
  }

  #endIfOver(): void {
    const held = this.#held
    if (held === undefined || this.#isReleasing || this.#turns.running > 0) return
    if (!this.#isOver(held)) return
    this.#isReleasing = true
    this.#check?.clear()
    const creds = { ...ROOT_CREDS, lkOwner: held.owner }
    this.#afr.background('afr-unlock', creds, async (frame) => {
      try {
        // Else this mount itself wants it back.
        if (this.#singles === 0 && (await this.#isAwaited(frame))) this.met()
        await unlockAll(frame, this.#afr.bricks, [this.#lockee], [this.#afr.all])
      } finally {
        this.#held = undefined
        this.#isReleasing = false
        this.#afr.namesFreed(this)
        this.#freed()
        this.#turns.startWaiting()
      }
    })
  }

  /** Whether another client waits for names; who waits does so at the first brick. */
  async #isAwaited(frame: Frame): Promise<boolean> {
    const xdata = new Dict().setUint(ENTRYLK_COUNT, 0)
    const loc = Loc.ofInode(this.directory)
    const rep = await frame.wind(this.#afr.bricks[0]!, 'lookup', { loc, xdata })
    return rep.errno === 0 && (rep.xdata?.getNumber(ENTRYLK_COUNT) ?? 0) > 1
  }

  #freed(): void {
    for (const resolve of this.#awaitingEnd.splice(0)) resolve()
  }
}

function haveCommon(a: Names, b: Names): boolean {
  return a.some((name) => b.includes(name))
}
