/**
 * Locks of transactions on all bricks: tried everywhere at once; where another client is in the
 * way, taken one by one in an order every client keeps (afr_lock, afr_lk-common.c).
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_LOCK_NB,
  ENTRYLK_UNLOCK,
  ENTRYLK_WRLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
} from '../../../src/core/fop.ts'
import { type Frame, NO_LK_OWNER } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { bit, bricksOf, count } from '../common/mask.ts'

type Answer = { errno: Errno | 0 }
type Answers = readonly (Answer | undefined)[]
type Command = 'try' | 'wait' | 'unlock'

/** One thing to be locked. The frame carries the lock owner. */
export interface Lockee {
  /** To the bricks in `targets`; answers by brick. */
  send(frame: Frame, bricks: readonly Xlator[], targets: number, command: Command): Promise<Answers>
}

/** As `send`, to one brick. */
export async function lockOn(
  frame: Frame,
  brick: Xlator,
  lockee: Lockee,
  command: Command,
): Promise<Answer> {
  const [answer] = await lockee.send(frame, [brick], 1, command)
  return answer!
}

/** `held`: bricks by lockee; `locked`: those that hold every lockee. */
export type Locks =
  /** `refused`: what other bricks said, ENOTCONN where they said nothing. */
  { errno: 0; held: number[]; locked: number; refused: Errno } | { errno: Errno }

/** Start of the range that stands for an object's metadata (the bricks treat it apart). */
export const METADATA_START = 2n ** 63n - 2n

/** A range of an object in a domain; `len` 0 = to the end. */
export function rangeLockee(
  domain: string,
  target: { loc: Loc; fd?: Fd | undefined },
  start: bigint,
  len: bigint,
): Lockee {
  const { loc, fd } = target
  const body = (command: Command) => ({
    volume: domain,
    cmd: command === 'wait' ? F_SETLKW : F_SETLK,
    flock: {
      type: command === 'unlock' ? F_UNLCK : F_WRLCK,
      whence: 0,
      start,
      len,
      pid: 0,
      lkOwner: NO_LK_OWNER,
    },
  })
  if (fd !== undefined) {
    return {
      send: (frame, bricks, targets, command) => {
        const req = { fd, ...body(command) }
        return frame.windMask(bricks, targets, 'finodelk', () => req)
      },
    }
  }
  return {
    send: (frame, bricks, targets, command) => {
      const req = { loc, ...body(command) }
      return frame.windMask(bricks, targets, 'inodelk', () => req)
    },
  }
}

export interface EntryLockee extends Lockee {
  readonly directory: Inode
  readonly gfid: Gfid
  readonly name: string | undefined
}

const ENTRY_COMMANDS = { try: ENTRYLK_LOCK_NB, wait: ENTRYLK_LOCK, unlock: ENTRYLK_UNLOCK }

/** A name in a directory; all of them without `name`. */
export function entryLockee(domain: string, directory: Loc, name: string | undefined): EntryLockee {
  const request = (command: Command) => ({
    loc: directory,
    volume: domain,
    basename: name,
    cmd: ENTRY_COMMANDS[command],
    type: ENTRYLK_WRLCK,
  })
  return {
    directory: directory.inode,
    gfid: directory.gfid,
    name,
    send: (frame, bricks, targets, command) => {
      const req = request(command)
      return frame.windMask(bricks, targets, 'entrylk', () => req)
    },
  }
}

/** By gfid, then "all names" first, then by name: the same for every client. */
export function inLockOrder(lockees: readonly EntryLockee[]): EntryLockee[] {
  return lockees.toSorted((a, b) => {
    if (a.gfid !== b.gfid) return a.gfid < b.gfid ? -1 : 1
    if (a.name === b.name) return 0
    if (a.name === undefined || b.name === undefined) return a.name === undefined ? -1 : 1
    return a.name < b.name ? -1 : 1
  })
}

/**
 * Takes all `lockees` on the bricks in `targets`; at least one brick holds them all, or it fails.
 * `onContended`: somebody else has one of them, it is going to take longer.
 */
export async function lockAll(
  frame: Frame,
  bricks: readonly Xlator[],
  lockees: readonly Lockee[],
  targets: number,
  onContended?: () => void,
): Promise<Locks> {
  const tried = await tryAll(frame, bricks, lockees, targets)
  if (!tried.contended) return outcome(frame, bricks, lockees, tried)
  onContended?.()
  await unlockAll(frame, bricks, lockees, tried.held)
  return outcome(frame, bricks, lockees, await waitForAll(frame, bricks, lockees, targets))
}

/** Takes `lockee` where nobody is in the way: the bricks that gave it, and whether one did not. */
export async function lockNow(
  frame: Frame,
  bricks: readonly Xlator[],
  lockee: Lockee,
  targets: number,
): Promise<{ held: number; contended: boolean }> {
  const { held, contended } = await tryAll(frame, bricks, [lockee], targets)
  return { held: held[0]!, contended }
}

/**
 * For healers, of whom one is enough: takes `lockee` on all bricks in `targets`. Who gets most of
 * them at once waits for the rest; the others leave the object to him (EAGAIN).
 */
export async function lockMost(
  frame: Frame,
  bricks: readonly Xlator[],
  lockee: Lockee,
  targets: number,
): Promise<Locks> {
  const lockees = [lockee]
  const tried = await tryAll(frame, bricks, lockees, targets)
  if (!tried.contended) return outcome(frame, bricks, lockees, tried)
  await unlockAll(frame, bricks, lockees, tried.held)
  if (2 * count(tried.held[0]!) <= count(targets)) return { errno: E.AGAIN }
  return outcome(frame, bricks, lockees, await waitForAll(frame, bricks, lockees, targets))
}

/** Gives back what is held, whatever the bricks say. */
export async function unlockAll(
  frame: Frame,
  bricks: readonly Xlator[],
  lockees: readonly Lockee[],
  held: readonly number[],
): Promise<void> {
  const answers = lockees.map((lockee, index) => lockee.send(frame, bricks, held[index]!, 'unlock'))
  await Promise.all(answers)
}

interface Tally {
  held: number[]
  /** Somebody else holds one of them somewhere. */
  contended: boolean
  errno: Errno
}

function newTally(lockees: readonly Lockee[]): Tally {
  return { held: lockees.map(() => 0), contended: false, errno: E.NOTCONN }
}

function note(tally: Tally, index: number, brick: number, errno: Errno | 0): void {
  if (errno === 0) tally.held[index]! |= bit(brick)
  else if (errno === E.AGAIN) tally.contended = true
  // What a brick says of the object tells more than a brick that is gone.
  else if (errno !== E.NOTCONN) tally.errno = errno === E.NOSYS ? E.OPNOTSUPP : errno
}

async function tryAll(
  frame: Frame,
  bricks: readonly Xlator[],
  lockees: readonly Lockee[],
  targets: number,
): Promise<Tally> {
  const tally = newTally(lockees)
  const asked = lockees.map((lockee) => lockee.send(frame, bricks, targets, 'try'))
  for (const [index, answers] of (await Promise.all(asked)).entries()) {
    for (const brick of bricksOf(targets)) note(tally, index, brick, answers[brick]!.errno)
  }
  return tally
}

async function waitForAll(
  frame: Frame,
  bricks: readonly Xlator[],
  lockees: readonly Lockee[],
  targets: number,
): Promise<Tally> {
  const tally = newTally(lockees)
  let left = targets
  for (const [index, lockee] of lockees.entries()) {
    for (const brick of bricksOf(left)) {
      const { errno } = await lockOn(frame, bricks[brick]!, lockee, 'wait')
      note(tally, index, brick, errno)
      // Without this one the others are of no use on that brick.
      if (errno !== 0) left &= ~bit(brick)
    }
  }
  return tally
}

async function outcome(
  frame: Frame,
  bricks: readonly Xlator[],
  lockees: readonly Lockee[],
  tally: Tally,
): Promise<Locks> {
  const { held, errno } = tally
  const locked = held.reduce((all, mask) => all & mask, ~0)
  if (locked !== 0) return { errno: 0, held, locked, refused: errno }
  await unlockAll(frame, bricks, lockees, held)
  return { errno }
}
