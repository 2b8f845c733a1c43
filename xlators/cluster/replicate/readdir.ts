/** Listing directories: one brick from beginning to end, its offsets mean nothing to others. */
import { E } from '../../../src/core/errno.ts'
import type { DirEntry, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { bit } from '../common/mask.ts'
import type { Replicate } from './index.ts'
import { isPrivateName } from './lookup.ts'
import { readCopy } from './refresh.ts'

type Listing = 'readdir' | 'readdirp'

export function readdir(
  afr: Replicate,
  frame: Frame,
  req: Req<'readdir'>,
): MaybePromise<Rep<'readdir'>> {
  return list(afr, frame, 'readdir', req)
}

export function readdirp(
  afr: Replicate,
  frame: Frame,
  req: Req<'readdirp'>,
): MaybePromise<Rep<'readdirp'>> {
  return list(afr, frame, 'readdirp', req)
}

async function list<K extends Listing>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const { fd } = req
  let brick = -1
  const from = (index: number): MaybePromise<Rep<K>> => {
    brick = index
    return frame.wind(afr.bricks[index]!, fop, req)
  }
  let rep: Rep<K>
  if (req.off === 0n) {
    rep = await readCopy(afr, frame, { inode: fd.inode, fd, needs: 'data', wind: from })
  } else {
    const refused = afr.admit()
    if (refused !== 0) return { errno: refused } as Rep<K>
    const index = afr.brickOfOffset(req.off)
    if (index < 0) return { errno: E.INVAL } as Rep<K>
    rep = await from(index)
  }
  if (rep.errno !== 0) return rep
  if (fd.inode.isRoot) {
    const visible = (entry: DirEntry) => !isPrivateName(entry.name, frame.creds.pid)
    rep.entries = rep.entries.filter(visible)
  }
  if (fop === 'readdirp') checkEntries(afr, frame, rep.entries, brick)
  return rep
}

/** Entries whose attributes this brick may have wrong are left for a lookup. */
function checkEntries(
  afr: Replicate,
  frame: Frame,
  entries: readonly DirEntry[],
  brick: number,
): void {
  const strict = afr.options['consistent-metadata']
  if (!strict && !afr.needHeal) return
  for (const entry of entries) {
    const { inode } = entry
    if (inode === undefined) continue
    const state = afr.state(inode)
    const good = state.isFresh(afr.generation) && (state.readable & bit(brick)) !== 0
    const { pid } = frame.creds
    if (good && (!strict || afr.readBrick(inode, state.readable & afr.up, pid) === brick)) continue
    entry.stat = undefined
    entry.inode = undefined
  }
}
