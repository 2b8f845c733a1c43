/** Locks that come from above: applications' and those of cluster/distribute. */
import { E } from '../../../src/core/errno.ts'
import {
  ENTRYLK_LOCK_NB,
  ENTRYLK_UNLOCK,
  F_GETLK,
  F_SETLK,
  F_UNLCK,
  type FopError,
  type Ok,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { bit, bricksOf } from '../common/mask.ts'
import type { Replicate } from './index.ts'
import { everywhere } from './open.ts'
import { errorReply, finalErrno } from './transaction.ts'

type LockFop = 'inodelk' | 'finodelk' | 'entrylk' | 'fentrylk'

/**
 * POSIX locks of applications: brick after brick in one order, so that of two clients one gets the
 * lock on all bricks (afr_lk).
 */
export async function lk(afr: Replicate, frame: Frame, req: Req<'lk'>): Promise<Rep<'lk'>> {
  const { flock, cmd } = req
  if (flock.type === F_UNLCK && cmd !== F_GETLK) return unlock(afr, frame, 'lk', req)
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  let granted = 0
  let last: Ok<'lk'> | undefined
  let error: FopError | undefined
  for (const brick of bricksOf(afr.up)) {
    const reply = await frame.wind(afr.bricks[brick]!, 'lk', req)
    if (reply.errno === 0) {
      granted |= bit(brick)
      last = reply
      // Somebody's lock, whichever brick tells of it.
      if (cmd === F_GETLK && reply.flock.type !== F_UNLCK) return reply
    } else {
      error = reply
      if (reply.errno === E.AGAIN || reply.errno === E.INTR) break
    }
  }
  const again = error?.errno === E.AGAIN || error?.errno === E.INTR
  if (last !== undefined && !again && afr.quorum.in(granted)) {
    const state = afr.fdState(req.fd)
    if (state !== undefined && cmd !== F_GETLK) state.locked = true
    return last
  }
  if (cmd !== F_GETLK) {
    const undo = { ...req, cmd: F_SETLK, flock: { ...flock, type: F_UNLCK } }
    await everywhere(afr, frame, 'lk', undo, granted)
  }
  return error ?? { errno: E.NOTCONN }
}

async function unlock<K extends LockFop | 'lk'>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const { replies, good } = await everywhere(afr, frame, fop, req)
  if (good === 0) return errorReply(replies, finalErrno(replies))
  return replies[bricksOf(good)[0]!]!
}

/** A lock fop with another command. */
interface Variants<K extends LockFop> {
  try: Req<K>
  unlock: Req<K>
}

/** Everywhere at once; where somebody is in the way, brick after brick as the caller asked. */
async function take<K extends LockFop>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  variants: Variants<K>,
): Promise<Rep<K>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused } as FopError
  const tried = await everywhere(afr, frame, fop, variants.try)
  let { replies, good } = tried
  const contended = replies.some((reply) => reply?.errno === E.AGAIN)
  if (contended) {
    await everywhere(afr, frame, fop, variants.unlock, good)
    good = 0
    replies = new Array(afr.bricks.length)
    for (const brick of bricksOf(afr.up)) {
      const reply = await frame.wind(afr.bricks[brick]!, fop, req)
      replies[brick] = reply
      if (reply.errno === 0) good |= bit(brick)
      else if (reply.errno === E.AGAIN) break
    }
  }
  const again = replies.find((reply) => reply?.errno === E.AGAIN)
  if (good !== 0 && again === undefined && afr.quorum.in(good)) return replies[bricksOf(good)[0]!]!
  await everywhere(afr, frame, fop, variants.unlock, good)
  return again ?? errorReply(replies, finalErrno(replies))
}

function inodeLock<K extends 'inodelk' | 'finodelk'>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  if (req.flock.type === F_UNLCK) return unlock(afr, frame, fop, req)
  return take(afr, frame, fop, req, {
    try: { ...req, cmd: F_SETLK },
    unlock: { ...req, cmd: F_SETLK, flock: { ...req.flock, type: F_UNLCK } },
  })
}

export const inodelk = (afr: Replicate, frame: Frame, req: Req<'inodelk'>) =>
  inodeLock(afr, frame, 'inodelk', req)

export const finodelk = (afr: Replicate, frame: Frame, req: Req<'finodelk'>) =>
  inodeLock(afr, frame, 'finodelk', req)

function entryLock<K extends 'entrylk' | 'fentrylk'>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  if (req.cmd === ENTRYLK_UNLOCK) return unlock(afr, frame, fop, req)
  return take(afr, frame, fop, req, {
    try: { ...req, cmd: ENTRYLK_LOCK_NB },
    unlock: { ...req, cmd: ENTRYLK_UNLOCK },
  })
}

export const entrylk = (afr: Replicate, frame: Frame, req: Req<'entrylk'>) =>
  entryLock(afr, frame, 'entrylk', req)

export const fentrylk = (afr: Replicate, frame: Frame, req: Req<'fentrylk'>) =>
  entryLock(afr, frame, 'fentrylk', req)
