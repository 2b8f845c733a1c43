/** What all heals share: their locks, calls to single bricks, counters per brick. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type FopName,
  type Ok,
  type Rep,
  type Req,
  XATTROP_ADD_ARRAY64,
} from '../../../src/core/fop.ts'
import { type Frame, NO_LK_OWNER } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf } from '../common/mask.ts'
import type { Disperse } from './index.ts'
import { lockBricks, unlockBricks } from './locks.ts'
import { word, words, XATTR_DIRTY, XATTR_SIZE, XATTR_VERSION } from './xattrs.ts'

/** How a heal ended, and which bricks are equal (`good`) or still differ (`bad`) after it. */
export type HealResult = { errno: 0; good: number; bad: number } | { errno: Errno }

/** Domain that keeps two healers from one inode. */
export const healDomain = (ec: Disperse): string => `${ec.name}:self-heal`

/**
 * Runs `job` with the lock of `inode` in `domain` on more than K bricks; it is told which. Without
 * `block` another holder makes it EAGAIN.
 */
export async function underLock<T>(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  how: { domain: string; block: boolean; minimum?: number },
  job: (held: number) => Promise<T>,
): Promise<T | { errno: Errno }> {
  const loc = Loc.ofInode(inode)
  const send = (brick: number, cmd: number, type: number) =>
    frame.wind(ec.children[brick]!, 'inodelk', {
      loc,
      volume: how.domain,
      cmd,
      flock: { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: NO_LK_OWNER },
    })
  const lock = {
    try: (brick: number) => send(brick, F_SETLK, F_WRLCK),
    wait: (brick: number) => send(brick, F_SETLKW, F_WRLCK),
    unlock: (brick: number) => send(brick, F_SETLK, F_UNLCK),
  }
  // Our own idle session would make us wait for ourselves.
  if (how.domain === ec.name) ec.contendedHere(inode)
  const minimum = how.minimum ?? ec.geometry.dataCount + 1
  const result = await lockBricks(lock, ec.up, minimum, how.block)
  if (result.errno !== 0) return result.errno === E.AGAIN ? result : { errno: E.NOTCONN }
  try {
    return await job(result.held)
  } finally {
    await unlockBricks(lock, result.held)
  }
}

/** One fop to each brick of `mask`; successes by brick. */
export async function onBricks<K extends FopName>(
  ec: Disperse,
  frame: Frame,
  mask: number,
  fop: K,
  req: (brick: number) => Req<K>,
): Promise<Map<number, Ok<K>>> {
  const replies = await repliesOf(ec, frame, mask, fop, req)
  const good = new Map<number, Ok<K>>()
  for (const [brick, reply] of replies) if (reply.errno === 0) good.set(brick, reply as Ok<K>)
  return good
}

export async function repliesOf<K extends FopName>(
  ec: Disperse,
  frame: Frame,
  mask: number,
  fop: K,
  req: (brick: number) => Req<K>,
): Promise<Map<number, Rep<K>>> {
  const bricks = bricksOf(mask)
  const replies = await Promise.all(
    bricks.map((brick) => frame.wind(ec.children[brick]!, fop, req(brick))),
  )
  return new Map(bricks.map((brick, index) => [brick, replies[index]!]))
}

export const maskOf = (bricks: Iterable<number>): number => {
  let mask = 0
  for (const brick of bricks) mask |= bit(brick)
  return mask
}

/** What to add to the counters of one brick. */
export interface Adjust {
  version: readonly [bigint, bigint]
  dirty: readonly [bigint, bigint]
  size?: bigint
}

/** Adds to the counters, brick by brick; bricks with nothing to add are left alone. */
export async function adjustCounters(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  adjust: ReadonlyMap<number, Adjust>,
): Promise<number> {
  const loc = Loc.ofInode(inode)
  const dicts = new Map<number, Dict>()
  for (const [brick, { version, dirty, size }] of adjust) {
    const dict = new Dict()
    if (version[0] !== 0n || version[1] !== 0n) dict.setBytes(XATTR_VERSION, words(...version))
    if (dirty[0] !== 0n || dirty[1] !== 0n) dict.setBytes(XATTR_DIRTY, words(...dirty))
    if (size !== undefined && size !== 0n) dict.setBytes(XATTR_SIZE, word(size))
    if (dict.count > 0) dicts.set(brick, dict)
  }
  const mask = maskOf(dicts.keys())
  const done = await onBricks(ec, frame, mask, 'xattrop', (brick) => ({
    loc,
    op: XATTROP_ADD_ARRAY64,
    dict: dicts.get(brick)!,
  }))
  return mask & ~maskOf(done.keys())
}
