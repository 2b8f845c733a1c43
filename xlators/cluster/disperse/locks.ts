/**
 * Locks on several bricks as one: tried everywhere at once, and brick after brick in ascending
 * order when another client holds some of them, so that two clients never wait for each other
 * (ec_lock_check).
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { MaybePromise } from '../../../src/core/fop.ts'
import { bit, bricksOf, count } from '../common/mask.ts'

/** The three requests of one kind of lock, to one brick; each answers an errno or 0. */
export interface BrickLock {
  /** Does not wait: EAGAIN when somebody else holds it. */
  try: (brick: number) => MaybePromise<{ errno: Errno | 0 }>
  wait: (brick: number) => MaybePromise<{ errno: Errno | 0 }>
  unlock: (brick: number) => MaybePromise<{ errno: Errno | 0 }>
}

export type LockResult = { errno: 0; held: number } | { errno: Errno }

interface Tally {
  ok: number
  again: number
  stale: number
  /** The errno all bricks answered, if it was the same. */
  common: Errno | 0 | undefined
}

/** Takes the lock on the bricks in `targets`, `minimum` of them at least. */
export async function lockBricks(
  lock: BrickLock,
  targets: number,
  minimum: number,
  block: boolean,
): Promise<LockResult> {
  const bricks = bricksOf(targets)
  const tried = await Promise.all(bricks.map((brick) => lock.try(brick)))
  const tally = tallyOf(bricks, tried)
  if (count(tally.ok | tally.again) < minimum) return giveUp(lock, tally, minimum)
  if (tally.again === 0) return { errno: 0, held: tally.ok }
  await unlockBricks(lock, tally.ok)
  if (!block) return { errno: E.AGAIN }
  const waited: { errno: Errno | 0 }[] = []
  for (const brick of bricks) {
    const answer = await lock.wait(brick)
    waited.push(answer)
    if (answer.errno !== E.INTR) continue
    // Whoever waited does not want the other bricks' locks any more either.
    await unlockBricks(lock, tallyOf(bricks.slice(0, waited.length), waited).ok)
    return { errno: E.INTR }
  }
  const second = tallyOf(bricks, waited)
  if (count(second.ok) < minimum) return giveUp(lock, second, minimum)
  return { errno: 0, held: second.ok }
}

/** Releases it everywhere, whatever the bricks say. */
export async function unlockBricks(lock: BrickLock, held: number): Promise<void> {
  await Promise.all(bricksOf(held).map((brick) => lock.unlock(brick)))
}

function tallyOf(bricks: readonly number[], answers: readonly { errno: Errno | 0 }[]): Tally {
  const tally: Tally = { ok: 0, again: 0, stale: 0, common: answers[0]?.errno }
  answers.forEach(({ errno }, index) => {
    const mask = bit(bricks[index]!)
    if (errno === 0) tally.ok |= mask
    else if (errno === E.AGAIN) tally.again |= mask
    else if (errno === E.STALE) tally.stale |= mask
    if (errno !== tally.common) tally.common = undefined
  })
  return tally
}

async function giveUp(lock: BrickLock, tally: Tally, minimum: number): Promise<LockResult> {
  await unlockBricks(lock, tally.ok)
  if (tally.common !== undefined && tally.common !== 0) return { errno: tally.common }
  const known = count(tally.ok | tally.again | tally.stale)
  return { errno: known >= minimum && tally.stale !== 0 ? E.STALE : E.IO }
}
