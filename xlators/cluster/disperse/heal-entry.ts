/** Entry heal: every name that any brick has in a directory is healed (ec_heal_entry). */

import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bricksOf } from '../common/mask.ts'
import {
  type Adjust,
  adjustCounters,
  type HealResult,
  healDomain,
  maskOf,
  onBricks,
  underLock,
} from './heal-common.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'
import { readWords, requestCounters, XATTR_DIRTY, XATTR_VERSION } from './xattrs.ts'

const READDIR_SIZE = 131072

/** Data words of one brick's counters. */
interface Counters {
  version: bigint
  dirty: bigint
}

export async function healEntries(
  ec: Disperse,
  frame: Frame,
  dir: Inode,
  block: boolean,
): Promise<HealResult> {
  return underLock(ec, frame, dir, { domain: healDomain(ec), block }, async (held) => {
    const counters = await underLock(
      ec,
      frame,
      dir,
      { domain: ec.name, block: true },
      async (locked) => readCounters(ec, frame, dir, held & locked),
    )
    if ('errno' in counters) return counters
    if (counters.size <= ec.geometry.dataCount) return { errno: E.NOTCONN }
    const newest = [...counters.values()].reduce(
      (max, { version }) => (version > max ? version : max),
      0n,
    )
    const equal = [...counters.values()].every((one) => one.version === newest && one.dirty === 0n)
    const everywhere = counters.size === ec.geometry.brickCount
    if (equal && everywhere) return { errno: 0, good: maskOf(counters.keys()), bad: 0 }
    const participants = maskOf(counters.keys())
    const failed = await healNames(ec, frame, dir, participants)
    if (failed.errno !== 0) return failed
    const adjust = new Map<number, Adjust>()
    for (const [brick, { version, dirty }] of counters) {
      adjust.set(brick, {
        version: [newest - version, 0n],
        dirty: [everywhere ? -dirty : 0n, 0n],
      })
    }
    const bad = await adjustCounters(ec, frame, dir, adjust)
    return { errno: 0, good: participants & ~bad, bad }
  })
}

async function readCounters(
  ec: Disperse,
  frame: Frame,
  dir: Inode,
  mask: number,
): Promise<Map<number, Counters>> {
  const replies = await onBricks(ec, frame, mask, 'lookup', () => ({
    loc: Loc.ofInode(dir),
    xdata: requestCounters(new Dict()),
  }))
  const counters = new Map<number, Counters>()
  for (const [brick, { xdata }] of replies) {
    counters.set(brick, {
      version: readWords(xdata?.getBytes(XATTR_VERSION))[0],
      dirty: readWords(xdata?.getBytes(XATTR_DIRTY))[0],
    })
  }
  return counters
}

/** Lists the directory on every participant and heals each name once, on all of them. */
async function healNames(
  ec: Disperse,
  frame: Frame,
  dir: Inode,
  participants: number,
): Promise<HealResult> {
  const done = new Set<string>()
  for (const brick of bricksOf(participants)) {
    const child = ec.children[brick]!
    const fd = new Fd(dir, 0, 0)
    const opened = await frame.wind(child, 'opendir', { loc: Loc.ofInode(dir), fd })
    if (opened.errno !== 0) return opened
    try {
      for (let off = 0n; ; ) {
        const rep = await frame.wind(child, 'readdir', { fd, size: READDIR_SIZE, off })
        if (rep.errno !== 0) return rep
        for (const { name } of rep.entries) {
          if (name === '.' || name === '..' || done.has(name)) continue
          done.add(name)
          const healed = await healName(ec, frame, dir, name)
          if (healed.errno !== 0) return healed
          // Those of a brick that was away for this one name are not healed.
          if ((participants & ~healed.good) !== 0) return { errno: E.IO }
        }
        if (rep.eof || rep.entries.length === 0) break
        off = rep.entries.at(-1)!.off
      }
    } finally {
      fd.release()
    }
  }
  return { errno: 0, good: participants, bad: 0 }
}
