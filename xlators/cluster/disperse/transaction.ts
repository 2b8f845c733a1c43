/**
 * One fop under the lock of its inode: lock, pre-op, the fop on the bricks, bookkeeping
 * (ec_manager, ec_lock_reuse). The post-op belongs to the lock's session.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, Rep, Req } from '../../../src/core/fop.ts'
import { CLIENT_PID_SELF_HEALD, type Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { bricksOf, count } from '../common/mask.ts'
import { type Answer, dispatch } from './dispatch.ts'
import type { Disperse } from './index.ts'
import type { InodeLock, Use } from './inode-lock.ts'
import type { Session } from './session.ts'
import { cutLeftovers } from './stripe-write.ts'

/** How a fop takes part in the session of one inode. */
export interface Intent {
  inode: Inode
  /** Where the inode does not carry it yet: an object just made and not linked. */
  gfid?: Gfid
  fd?: Fd | undefined
  start?: number
  end?: number
  shared?: boolean
  oneBrick?: boolean
  /** Needs version and size. */
  query?: boolean
  updateData?: boolean
  updateMetadata?: boolean
  /** Marks dirty beforehand although every brick is there: fops that change file data. */
  cautious?: boolean
}

export interface Send<K extends FopName> {
  spread: 'all' | 'some' | 'one'
  minimum?: number
  /** Further bricks to leave out. */
  only?: number
  req: (brick: number, xdata: Dict) => Req<K>
  xdata?: Dict | undefined
  /** A read on behalf of a change: bricks under repair are not asked, a failure harms nothing. */
  reading?: boolean
  /** On whose behalf; the caller of the fop by default. */
  frame?: Frame
  /** Changes an answer before it is compared with the others'. */
  onReply?: (brick: number, reply: Rep<K>) => Rep<K>
}

/** A transaction under way; `end` must be called. */
export class Transaction {
  readonly errno = 0
  readonly session: Session
  readonly #ec: Disperse
  readonly #frame: Frame
  readonly #lock: InodeLock
  readonly #intent: Intent
  readonly #use: Use

  constructor(ec: Disperse, frame: Frame, lock: InodeLock, intent: Intent, use: Use) {
    this.#ec = ec
    this.#frame = frame
    this.#lock = lock
    this.#intent = intent
    this.#use = use
    this.session = lock.session!
  }

  /**
   * Sends the fop to the bricks of the session and books what came of it: counters, bricks that
   * failed, other clients waiting. `also` is the session of a second inode the fop changes.
   */
  async send<K extends FopName>(fop: K, how: Send<K>, also?: Transaction): Promise<Answer<K>> {
    const ec = this.#ec
    const updates = this.#isUpdate && how.reading !== true
    const healing = updates && this.#intent.updateData === true ? this.session.healing : 0
    const sessions = also === undefined ? [this.session] : [this.session, also.session]
    let targets = ec.up
    for (const { good } of sessions) targets &= good | healing
    targets &= how.only ?? ~0
    const xdata = how.xdata?.clone() ?? new Dict()
    xdata.setStr('glusterfs.inodelk-dom-count', ec.name)
    const quorum = ec.updateQuorum(this.#frame)
    if (updates && count(targets) < quorum) {
      return { rep: { errno: E.IO }, good: 0, sent: 0, replies: [] }
    }
    const minimum = how.minimum ?? ec.geometry.dataCount
    const answer = await dispatch(ec.children, ec.geometry.dataCount, how.frame ?? this.#frame, {
      fop,
      targets,
      spread: how.spread,
      first: how.spread === 'all' ? 0 : ec.firstBrick(this.#lock.gfid),
      minimum,
      healing: healing & targets,
      strict: this.#lockedGfids(also),
      req: (brick) => how.req(brick, xdata),
      ...(how.onReply === undefined ? {} : { onReply: how.onReply }),
    })
    if (answer.good === 0) this.#logDisagreement(fop, answer, targets, minimum)
    for (const session of sessions) this.#book(session, answer, targets, updates)
    if (updates && answer.rep.errno !== 0 && happenedElsewhere(answer, healing)) {
      // Those bricks differ from now on: the good ones get a version of their own.
      this.changed()
      also?.changed()
    }
    if (!updates || answer.rep.errno !== 0 || count(answer.good) >= quorum) return answer
    // It happened all the same on the bricks that took it: the others are behind now.
    this.changed()
    also?.changed()
    return { ...answer, rep: { errno: E.IO } }
  }

  /** Too few bricks said the same: what each of them said. */
  #logDisagreement<K extends FopName>(
    fop: K,
    answer: Answer<K>,
    targets: number,
    minimum: number,
  ): void {
    const answers = bricksOf(answer.sent).map((brick) => {
      const { errno } = answer.replies[brick]!
      return `${brick}: ${errno === 0 ? 'done' : errnoName(errno)}`
    })
    const bricks = this.#ec.maskText(targets)
    const inode = this.#ec.describe(this.session.inode)
    const said = answers.join(', ')
    this.#ec.log.warn({ inode, fop, bricks, answers: said }, `no ${minimum} bricks agree`)
  }

  /** The fop changed data or metadata on a quorum: counts in the versions. */
  changed(): void {
    const { updateData, updateMetadata } = this.#intent
    this.session.changed(updateData === true, updateMetadata === true)
  }

  end(): void {
    this.#lock.leave(this.#use)
  }

  get #isUpdate(): boolean {
    return this.#intent.updateData === true || this.#intent.updateMetadata === true
  }

  #lockedGfids(also: Transaction | undefined): Gfid[] {
    const own = this.#lock.gfid
    return also === undefined ? [own] : [own, also.#lock.gfid]
  }

  #book<K extends FopName>(
    session: Session,
    answer: Answer<K>,
    targets: number,
    updates: boolean,
  ): void {
    const ec = this.#ec
    if (answer.good === 0) {
      session.release = true
      if (updates && answer.sent !== 0) session.damaged = true
    } else if (count(answer.sent) > 1) {
      session.exclude(answer.sent & ~answer.good)
    }
    // Left out for the other inode's sake, they miss the change of this one, too.
    if (updates && answer.sent !== 0) session.exclude(~targets)
    for (const reply of answer.replies) {
      const waiting = reply?.xdata?.getNumber('glusterfs.inodelk-count')
      if (waiting !== undefined && waiting > 1) session.release = true
    }
    const bad = ec.up & ~(session.good | session.healing | (targets & ~answer.sent))
    if (bad === 0) {
      // Usually a healer is at work; if it died nobody but the next one ends the repair. Nor does
      // the self-heal daemon end what a client left that died while a file grew.
      const unfinished = (session.healing & ec.up) !== 0 || session.stale
      if (!unfinished || session.repairReported) return
      session.repairReported = true
      ec.reportDamage(this.#frame, session.inode, this.#intent)
      return
    }
    session.release = true
    if (count(answer.sent) > 1) ec.reportDamage(this.#frame, session.inode, this.#intent)
  }
}

/** A change that failed on most bricks succeeded on some. */
function happenedElsewhere<K extends FopName>(answer: Answer<K>, healing: number): boolean {
  if (answer.good === 0) return false
  const others = answer.sent & ~answer.good & ~healing
  return bricksOf(others).some((brick) => answer.replies[brick]?.errno === 0)
}

/**
 * Takes the lock on `intent.inode`, with version and size read and dirty marked as it needs.
 * `mayRepair`: when too few bricks have the same counters, they are healed first.
 */
export async function begin(
  ec: Disperse,
  frame: Frame,
  intent: Intent,
  mayRepair = true,
): Promise<Transaction | { errno: Errno }> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const lock = ec.lockOf(intent.inode, intent.gfid ?? intent.inode.gfid)
  const use: Use = {
    start: intent.start ?? 0,
    end: intent.end ?? Number.POSITIVE_INFINITY,
    shared: intent.shared ?? false,
    oneBrick: intent.oneBrick ?? false,
  }
  const entered = await lock.enter(frame, use)
  if (entered.errno !== 0) return entered
  const session = lock.session!
  if (intent.fd !== undefined && (session.fd === undefined || session.fd.released)) {
    session.fd = intent.fd
  }
  const prepared = await session.prepare(frame, {
    query: intent.query ?? false,
    updateData: intent.updateData ?? false,
    updateMetadata: intent.updateMetadata ?? false,
    optimistic: intent.cautious !== true,
    minimum: intent.oneBrick === true ? 1 : ec.geometry.dataCount,
  })
  if (prepared.errno !== 0) {
    lock.leave(use)
    if (!mayRepair || prepared.errno !== E.IO || isHealFrame(frame)) return prepared
    return (await ec.heals.repair(intent.inode)) ? begin(ec, frame, intent, false) : prepared
  }
  if (intent.fd !== undefined && intent.updateData === true && !session.opened.has(intent.fd)) {
    session.opened.add(intent.fd)
    await ec.openWhereMissing(frame, intent.fd, session.writable)
  }
  const tx = new Transaction(ec, frame, lock, intent, use)
  if (intent.updateData === true && session.stale && session.isRegular) {
    session.cutting ??= cutLeftovers(ec, frame, tx)
    const errno = await session.cutting
    if (errno !== 0) {
      tx.end()
      return { errno }
    }
  }
  return tx
}

/** Internal work for the self-heal does not count towards `quorum-count`. */
export function isHealFrame(frame: Frame): boolean {
  return frame.creds.pid === CLIENT_PID_SELF_HEALD
}
