/**
 * Changes of one object: lock, mark, change, settle (afr_transaction). The user is answered as
 * soon as every locked brick has the change; when one failed, once that is on record.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopError, FopName, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { bit, bricksOf } from '../common/mask.ts'
import { DATA, METADATA } from './change-log.ts'
import type { Replicate } from './index.ts'
import type { Use } from './inode-lock.ts'
import { ensureReadable } from './refresh.ts'
import type { Session } from './session.ts'

export interface Change<K extends FopName> {
  fop: K
  slot: typeof DATA | typeof METADATA
  inode: Inode
  gfid: Gfid
  fd?: Fd | undefined
  use: Use
  /** More of the kind is likely to follow at once. */
  delay: boolean
  /** What is written may be lost with the brick's memory until it is synced. */
  unstable?: boolean
  req: (brick: number) => Req<K>
  /** Bytes done; absent where there is nothing to count. */
  size?: (rep: Ok<K>, brick: number) => number
  /** Looks at the replies before the lock is left. */
  onReplies?: (session: Session, replies: readonly (Rep<K> | undefined)[]) => void
}

/** What became of a change. Masks of bricks. */
interface Outcome {
  /** 0, or what the user is told. */
  errno: Errno | 0
  good: number
  failed: number
  /** Bricks disagree on a failed change: only a heal can tell what is right. */
  unclear: boolean
}

export async function change<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  what: Change<K>,
): Promise<Rep<K>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused } as FopError
  if (what.gfid === NULL_GFID) return { errno: E.INVAL } as FopError
  if (what.slot !== DATA) {
    const { errno } = await ensureReadable(afr, frame, what.inode, what.fd)
    if (errno !== 0) return { errno } as FopError
  }
  const lock = afr.lockOf(what.inode, what.gfid, what.slot, what.use)
  const entered = await lock.enter(frame, what.use, what.fd)
  if (entered.errno !== 0) return entered as FopError
  const { session } = entered
  let delay = false
  try {
    const marked = session.preOp(frame)
    const status = marked instanceof Promise ? await marked : marked
    const forbidden = status.errno !== 0 ? status.errno : mayChange(afr, session, what.slot)
    if (forbidden !== 0) return { errno: forbidden } as FopError
    const { replies, outcome } = await perform(afr, frame, session, what)
    if (what.slot === METADATA) afr.state(what.inode).names?.attributesChanged()
    session.failed |= outcome.failed
    delay = what.delay && session.failed === 0
    if (session.failed !== 0) {
      afr.doubt(what.inode, session.failed)
      if (outcome.unclear) {
        session.keepDirty = true
        session.unclear |= outcome.failed
      } else {
        const recorded = await lock.record(frame)
        if (recorded.errno !== 0) return recorded as FopError
      }
    } else if (session.missed !== 0) {
      const known = await session.testify(frame)
      if (known.errno !== 0) return known as FopError
    }
    if (outcome.errno !== 0) return errorReply(replies, outcome.errno)
    return bestReply(afr, what, replies, outcome.good)
  } finally {
    lock.leave(what.use, delay)
  }
}

/** The errno when no good copy would get the change. */
function mayChange(
  afr: Replicate,
  session: Session,
  slot: typeof DATA | typeof METADATA,
): Errno | 0 {
  const { targets, blamed } = session
  if (isBadAlone(afr, targets)) return E.IO
  if (session.isOptimistic) return 0
  const sources = targets & ~blamed
  // An arbiter knows who is right but holds no data.
  if (afr.arbiterMask !== 0 && sources === afr.arbiterMask) return E.NOTCONN
  if (slot === DATA && (sources & ~afr.arbiterMask) === 0) return E.IO
  return 0
}

/** Of two bricks only the one is there that a thin arbiter knows to be bad. */
export function isBadAlone(afr: Replicate, targets: number): boolean {
  const { thinArbiter } = afr
  return thinArbiter !== undefined && thinArbiter.bad >= 0 && targets === bit(thinArbiter.bad)
}

async function perform<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  session: Session,
  what: Change<K>,
): Promise<{ replies: (Rep<K> | undefined)[]; outcome: Outcome }> {
  const targets = session.targets & ~afr.foreignTo(what.fd)
  const sent = frame.windMask(afr.bricks, targets, what.fop, what.req)
  afr.afterwards.run()
  const replies = await sent
  what.onReplies?.(session, replies)
  const outcome = judge(afr, session, what, targets, replies)
  if (outcome.errno === 0) {
    // What a brick took before it was lost it need not be blamed for.
    session.missed |= outcome.failed | (session.toBlame & ~outcome.good)
    afr.state(what.inode).missed[what.slot] |= session.missed
    if (what.unstable === true) session.unstable = true
  }
  return { replies, outcome }
}

function judge<K extends FopName>(
  afr: Replicate,
  session: Session,
  what: Change<K>,
  targets: number,
  replies: readonly (Rep<K> | undefined)[],
): Outcome {
  const good = complete(what, targets, replies)
  const failed = targets & ~good
  if (failed === 0) return { errno: 0, good, failed, unclear: false }
  if (good === 0) {
    // All bricks agree that it cannot be done: nothing was missed.
    const common = commonErrno(replies)
    if (common !== 0 && common !== E.NOTCONN) {
      return { errno: common, good, failed: 0, unclear: false }
    }
    return { errno: finalErrno(replies), good, failed, unclear: true }
  }
  // Other changes under the same lock may have failed elsewhere: only bricks that have all count.
  const solid = good & ~(session.failed | session.missed)
  const readable =
    what.slot === DATA
      ? targets & ~session.blamed & ~afr.arbiterMask
      : afr.state(what.inode).metadata & targets
  // The last good copy did not take it: nobody may be blamed for missing it.
  const lastGood = readable !== 0 && (readable & solid) === 0
  if (lastGood || !afr.quorum.in(solid)) {
    return { errno: finalErrno(replies), good, failed, unclear: true }
  }
  return { errno: 0, good, failed, unclear: false }
}

/** Bricks that did all of it: less than the best of them is a failure. */
function complete<K extends FopName>(
  what: Change<K>,
  targets: number,
  replies: readonly (Rep<K> | undefined)[],
): number {
  let good = 0
  let most = 0
  for (const brick of bricksOf(targets)) {
    const reply = replies[brick]!
    if (reply.errno !== 0) continue
    const size = what.size?.(reply as Ok<K>, brick) ?? 0
    if (size > most) good = 0
    most = Math.max(most, size)
    if (size === most) good |= bit(brick)
  }
  return good
}

/** The errno all replies have, 0 when they differ. */
export function commonErrno(replies: readonly ({ errno: Errno | 0 } | undefined)[]): Errno | 0 {
  let common: Errno | 0 | undefined
  for (const reply of replies) {
    if (reply === undefined) continue
    if (common !== undefined && reply.errno !== common) return 0
    common = reply.errno
  }
  return common ?? 0
}

/** Errors that say most about the object, the strongest first (afr_higher_errno). */
const TELLING: readonly Errno[] = [E.NODATA, E.NOENT, E.STALE, E.NOSPC]

/** The errno to tell when bricks failed for different reasons. */
export function finalErrno(replies: readonly ({ errno: Errno | 0 } | undefined)[]): Errno {
  let last: Errno = E.NOTCONN
  let best = TELLING.length
  for (const reply of replies) {
    if (reply === undefined || reply.errno === 0) continue
    if (reply.errno !== E.NOTCONN) last = reply.errno
    const rank = TELLING.indexOf(reply.errno)
    if (rank >= 0) best = Math.min(best, rank)
  }
  return TELLING[best] ?? last
}

/** The failure `errno` with what a brick said about it. */
export function errorReply<K extends FopName>(
  replies: readonly (Rep<K> | undefined)[],
  errno: Errno,
): FopError {
  const told = replies.find((reply) => reply?.errno === errno)
  return told?.xdata === undefined ? { errno } : { errno, xdata: told.xdata }
}

/** The reply of the brick reads go to, or of another that has the object's data. */
function bestReply<K extends FopName>(
  afr: Replicate,
  what: Change<K>,
  replies: readonly (Rep<K> | undefined)[],
  good: number,
): Rep<K> {
  const brick = afr.spokesman(what.inode, good)
  return replies[brick]!
}
