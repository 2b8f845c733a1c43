/**
 * A brick was added or replaced: the others blame it for the root, so that everything below is
 * healed to it. The management commands do this through a mount of their own.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import { type Rep, XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { Loc } from '../../../src/core/loc.ts'
import { newLockOwner } from '../common/lock-owner.ts'
import { bit, bricksOf } from '../common/mask.ts'
import { type Addend, addend, NOTHING } from './change-log.ts'
import type { Replicate } from './index.ts'
import {
  entryLockee,
  type Lockee,
  lockAll,
  METADATA_START,
  rangeLockee,
  unlockAll,
} from './locks.ts'

/** The only client that may. */
const PID_ADD_REPLICA_MOUNT = -12

export async function markNewBrick(
  afr: Replicate,
  frame: Frame,
  name: string,
  key: string,
): Promise<Rep<'setxattr'>> {
  if (frame.creds.pid !== PID_ADD_REPLICA_MOUNT) return { errno: E.PERM }
  const brick = afr.bricks.findIndex((child) => child.name === name)
  if (brick < 0) return { errno: E.INVAL }
  const loc = Loc.ofInode(afr.graph.inodes.root)
  const full = Number(afr.options['granular-entry-heal'])
  const steps: [Lockee, Addend][] = [
    [rangeLockee(afr.name, { loc }, METADATA_START, 0n), addend(0, 1, 0)],
    [entryLockee(afr.name, loc, undefined), addend(full, 0, 1)],
  ]
  for (const [lockee, value] of steps) {
    const errno = await blame(afr, frame, brick, lockee, value)
    if (errno !== 0) return { errno }
  }
  afr.log.info(`${name}: ${key.replace('trusted.', '')}: everything will be healed to it`)
  return { errno: 0 }
}

async function blame(
  afr: Replicate,
  frame: Frame,
  brick: number,
  lockee: Lockee,
  value: Addend,
): Promise<Errno | 0> {
  const own = frame.with({ uid: 0, gid: 0, timeFlags: 0, lkOwner: newLockOwner() })
  const others = afr.all & ~bit(brick)
  const locks = await lockAll(own, afr.bricks, [lockee], afr.up)
  if (locks.errno !== 0) return locks.errno
  try {
    if ((locks.locked & others) === 0) return E.NOTCONN
    const dict = afr.changes.xattrop(bit(brick), value, NOTHING)
    const loc = Loc.ofInode(afr.graph.inodes.root)
    const req = { loc, op: XATTROP_ADD_ARRAY, dict }
    const replies = await Promise.all(
      bricksOf(locks.locked & others).map((other) => own.wind(afr.bricks[other]!, 'xattrop', req)),
    )
    return replies.find(({ errno }) => errno !== 0)?.errno ?? 0
  } finally {
    await unlockAll(own, afr.bricks, [lockee], locks.held)
  }
}
