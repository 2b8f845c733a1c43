/** Small helpers for talking to several subvolumes. */
import { E } from '../../../src/core/errno.ts'
import type { FopError, FopName, Rep } from '../../../src/core/fop.ts'
import { CLIENT_PID_NO_ROOT_SQUASH, type Frame } from '../../../src/core/frame.ts'

/** DHT's own housekeeping: done as root, whoever the caller is. */
export function asRoot(frame: Frame): Frame {
  return frame.with({ uid: 0, gid: 0, pid: CLIENT_PID_NO_ROOT_SQUASH, groups: [] })
}

/** One errno for a fan-out in which nothing succeeded: an unreachable subvolume before the rest. */
export function worstError<K extends FopName>(replies: readonly Rep<K>[]): FopError {
  let worst: FopError = { errno: E.NOTCONN }
  for (const rep of replies) {
    if (rep.errno === 0) continue
    if (rep.errno === E.NOTCONN) return rep
    worst = rep
  }
  return worst
}

/** The success of a fan-out, `undefined` when all failed. */
export function anyOk<K extends FopName>(
  replies: readonly Rep<K>[],
): Extract<Rep<K>, { errno: 0 }> | undefined {
  return replies.find((rep) => rep.errno === 0) as Extract<Rep<K>, { errno: 0 }> | undefined
}
