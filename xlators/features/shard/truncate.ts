/**
 * Truncation. Shorter: blocks behind the new end are removed, the last one is cut, then the size
 * changes; longer: only the size does. Writes of this client wait meanwhile.
 */
import type { Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { asRoot } from './blocks.ts'
import type { ShardFile } from './file.ts'
import type { Shard } from './index.ts'
import { eachOf, PARALLEL_MAX } from './pieces.ts'
import { unchanged } from './write.ts'

/** With `fd`: by the fd, as the application asked; the permission was checked at open. */
export function truncate(
  shard: Shard,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  file: ShardFile,
  offset: number,
): Promise<Rep<'truncate'>> {
  return file.gate.alone(async () => {
    const errno = await shard.refresh(frame, inode, file, fd)
    if (errno !== 0) return { errno }
    const { prestat } = unchanged(file)
    if (offset === file.size) return { ...unchanged(file), prestat }
    let blocks = 0
    if (offset < file.size) {
      const freed = await shorten(shard, frame, inode, fd, file, offset)
      if (typeof freed !== 'number') return freed
      blocks = -Math.min(freed, file.blocks)
    }
    const change = offset - file.size
    const rep = await file.add(asRoot(frame), shard.child, inode, change, blocks)
    if (rep.errno !== 0) return rep
    return { ...unchanged(file), prestat }
  })
}

/** How many blocks (512 bytes) are free now. */
async function shorten(
  shard: Shard,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  file: ShardFile,
  offset: number,
): Promise<number | { errno: Errno }> {
  const { blockSize } = file
  const last = offset === 0 ? 0 : Math.floor((offset - 1) / blockSize)
  const highest = Math.floor((file.size - 1) / blockSize)
  let freed = 0
  const { gfid } = inode
  const behind = await shard.blocks.candidates(frame, gfid, last + 1, highest)
  if (behind.errno !== 0) return behind
  const removals = await eachOf(behind.value, PARALLEL_MAX, (number) =>
    shard.blocks.remove(frame, gfid, number),
  )
  for (const removed of removals) {
    if (removed.errno !== 0) return removed
    freed += removed.value
  }
  const cutAt = offset - last * blockSize
  if (cutAt === blockSize) return freed
  const rep = await cutBlock(shard, frame, inode, fd, file, last, cutAt)
  if (rep === undefined) return freed
  if (rep.errno !== 0) return rep
  return freed + rep.prestat.blocks - rep.poststat.blocks
}

async function cutBlock(
  shard: Shard,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
  file: ShardFile,
  number: number,
  offset: number,
): Promise<Rep<'truncate'> | undefined> {
  if (number === 0) {
    const rep =
      fd === undefined
        ? await frame.wind(shard.child, 'truncate', { loc: Loc.ofInode(inode), offset })
        : await frame.wind(shard.child, 'ftruncate', { fd, offset })
    if (rep.errno === 0) file.stat = rep.poststat
    return rep
  }
  const found = await shard.blocks.get(frame, inode, file, number, false)
  if (found.errno !== 0) return found
  const block = found.value
  if (block === undefined) return undefined
  try {
    const loc = Loc.ofInode(block.inode)
    block.dirty = true
    return await asRoot(frame).wind(shard.child, 'truncate', { loc, offset })
  } finally {
    shard.blocks.release(block)
  }
}
