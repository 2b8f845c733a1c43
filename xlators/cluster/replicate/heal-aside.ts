/**
 * What heals put aside without a name (the directory for anonymous inodes) and no brick has under a
 * name any more: removed while it waited there (afr_shd_anon_inode_cleaner).
 */
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { parseGfid } from '../../../src/core/gfid.ts'
import { isDir, S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { anonymousNames, RMDIR_RECURSIVE, withGfid } from './heal-change.ts'
import type { Replicate } from './index.ts'

const READDIR_SIZE = 131072

/** Removes it, on every brick; nothing while a brick is away, which may have a name for it. */
export async function dropUnnamed(afr: Replicate, frame: Frame): Promise<void> {
  const names = anonymousNames(afr)
  if (names === undefined) return
  const { inodes } = afr.graph
  const aside = withGfid(afr, inodes.findOrNew(names.gfid, S_IFDIR), names.gfid)
  for (const brick of afr.bricks.keys()) {
    for (const name of await namesAside(afr, frame, aside, brick)) {
      if (afr.up !== afr.all) return
      await dropOne(afr, frame, aside, brick, name)
    }
  }
}

async function namesAside(
  afr: Replicate,
  frame: Frame,
  aside: Inode,
  brick: number,
): Promise<string[]> {
  const child = afr.bricks[brick]!
  const fd = new Fd(aside, 0, 0)
  const opened = await frame.wind(child, 'opendir', { loc: Loc.ofInode(aside), fd })
  if (opened.errno !== 0) return []
  const found: string[] = []
  try {
    for (let off = 0n; ; ) {
      const rep = await frame.wind(child, 'readdir', { fd, size: READDIR_SIZE, off })
      if (rep.errno !== 0) return found
      for (const { name } of rep.entries) if (parseGfid(name) !== undefined) found.push(name)
      if (rep.eof || rep.entries.length === 0) return found
      off = rep.entries.at(-1)!.off
    }
  } finally {
    fd.release()
  }
}

async function dropOne(
  afr: Replicate,
  frame: Frame,
  aside: Inode,
  brick: number,
  name: string,
): Promise<void> {
  const { inodes } = afr.graph
  const child = afr.bricks[brick]!
  const named = Loc.ofName(aside, name, inodes.newInode())
  const here = await frame.wind(child, 'lookup', { loc: named })
  if (here.errno !== 0) return
  const { gfid, mode, nlink } = here.stat
  const hasName = !isDir(here.stat) && nlink > 1
  const inode = inodes.findOrNew(gfid, mode & S_IFMT)
  for (const [other, xl] of afr.bricks.entries()) {
    if (hasName || other === brick) continue
    const there = await frame.wind(xl, 'lookup', {
      loc: new Loc(inode, undefined, undefined, gfid),
    })
    if (there.errno === E.NOENT || there.errno === E.STALE) continue
    // It waits for its name, or that brick cannot say.
    if (there.errno !== 0 || !(await isAside(afr, frame, aside, other, name))) return
  }
  const loc = Loc.ofName(aside, name, inode)
  if (isDir(here.stat)) await frame.wind(child, 'rmdir', { loc, flags: RMDIR_RECURSIVE })
  else await frame.wind(child, 'unlink', { loc, flags: 0 })
}

/** Has that brick no other name for it, either? */
async function isAside(
  afr: Replicate,
  frame: Frame,
  aside: Inode,
  brick: number,
  name: string,
): Promise<boolean> {
  const loc = Loc.ofName(aside, name, afr.graph.inodes.newInode())
  const rep = await frame.wind(afr.bricks[brick]!, 'lookup', { loc })
  return rep.errno === 0 && (isDir(rep.stat) || rep.stat.nlink === 1)
}
