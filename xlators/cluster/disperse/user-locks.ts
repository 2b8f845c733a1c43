/** Locks that come from above (applications, cluster/distribute): taken on all bricks as one. */
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_LOCK_NB,
  ENTRYLK_UNLOCK,
  F_GETLK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  type Flock,
  type FopName,
  type Ok,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { dispatch } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { lockBricks } from './locks.ts'

type LockFop = 'lk' | 'inodelk' | 'finodelk' | 'entrylk' | 'fentrylk'

/** A lock fop with another command or type. */
interface Variants<K extends LockFop> {
  try: Req<K>
  wait: Req<K>
  unlock: Req<K>
}

/** Tries everywhere; brick after brick when it may wait. */
async function take<K extends LockFop>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  variants: Variants<K>,
  block: boolean,
): Promise<Rep<K> | { errno: Errno }> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  let granted: Ok<K> | undefined
  const send = async (brick: number, req: Req<K>): Promise<{ errno: Errno | 0 }> => {
    const rep = await frame.wind(ec.children[brick]!, fop, req)
    if (rep.errno === 0) granted ??= rep as Ok<K>
    return rep
  }
  const result = await lockBricks(
    {
      try: (brick) => send(brick, variants.try),
      wait: (brick) => send(brick, variants.wait),
      unlock: (brick) => frame.wind(ec.children[brick]!, fop, variants.unlock),
    },
    ec.up,
    ec.geometry.dataCount,
    block,
  )
  return result.errno !== 0 ? result : granted!
}

/** To every brick, up or not in time; one success is enough. */
async function toAll<K extends FopName>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  req: Req<K>,
  minimum: number,
): Promise<Rep<K>> {
  const { rep } = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop,
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum,
    strict: [],
    req: () => req,
  })
  return rep
}

export async function lk(ec: Disperse, frame: Frame, req: Req<'lk'>): Promise<Rep<'lk'>> {
  const { flock, cmd } = req
  if (flock.type === F_UNLCK) return toAll(ec, frame, 'lk', req, 1)
  if (cmd === F_GETLK) {
    if (!ec.isUp) return { errno: E.NOTCONN }
    return toAll(ec, frame, 'lk', req, 1)
  }
  if (cmd !== F_SETLK && cmd !== F_SETLKW) return { errno: E.INVAL }
  const variants = {
    try: { ...req, cmd: F_SETLK },
    wait: { ...req, cmd: F_SETLKW },
    unlock: { ...req, cmd: F_SETLK, flock: { ...flock, type: F_UNLCK } },
  }
  return take(ec, frame, 'lk', variants, cmd === F_SETLKW)
}

/** A range of user bytes as one of fragment bytes. */
function scaled(ec: Disperse, flock: Flock): Flock {
  const stripe = BigInt(ec.geometry.stripeSize)
  const dataCount = BigInt(ec.geometry.dataCount)
  const head = flock.start % stripe
  const start = (flock.start - head) / dataCount
  if (flock.len === 0n) return { ...flock, start }
  const stripes = (flock.len + head + stripe - 1n) / stripe
  return { ...flock, start, len: (stripes * stripe) / dataCount }
}

async function inodeLock<K extends 'inodelk' | 'finodelk'>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const flock = scaled(ec, req.flock)
  const variants = {
    try: { ...req, cmd: F_SETLK, flock },
    wait: { ...req, cmd: F_SETLKW, flock },
    unlock: { ...req, cmd: F_SETLK, flock: { ...flock, type: F_UNLCK } },
  }
  if (flock.type === F_UNLCK) return toAll(ec, frame, fop, variants.unlock, 1)
  return (await take(ec, frame, fop, variants, req.cmd === F_SETLKW)) as Rep<K>
}

export const inodelk = (ec: Disperse, frame: Frame, req: Req<'inodelk'>): Promise<Rep<'inodelk'>> =>
  inodeLock(ec, frame, 'inodelk', req)

export const finodelk = (
  ec: Disperse,
  frame: Frame,
  req: Req<'finodelk'>,
): Promise<Rep<'finodelk'>> => inodeLock(ec, frame, 'finodelk', req)

async function entryLock<K extends 'entrylk' | 'fentrylk'>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const variants = {
    try: { ...req, cmd: ENTRYLK_LOCK_NB },
    wait: { ...req, cmd: ENTRYLK_LOCK },
    unlock: { ...req, cmd: ENTRYLK_UNLOCK },
  }
  if (req.cmd === ENTRYLK_UNLOCK) return toAll(ec, frame, fop, variants.unlock, 1)
  return (await take(ec, frame, fop, variants, req.cmd === ENTRYLK_LOCK)) as Rep<K>
}

export const entrylk = (ec: Disperse, frame: Frame, req: Req<'entrylk'>): Promise<Rep<'entrylk'>> =>
  entryLock(ec, frame, 'entrylk', req)

export const fentrylk = (
  ec: Disperse,
  frame: Frame,
  req: Req<'fentrylk'>,
): Promise<Rep<'fentrylk'>> => entryLock(ec, frame, 'fentrylk', req)
