/**
 * Removing a sharded file. Its last name goes only after a marker in `.shard/.remove_me`, named
 * like its gfid, says how many blocks there are; they are removed behind everybody's back, by this
 * client or by any that mounts later. Locks are those stock clients take.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_UNLOCK,
  ENTRYLK_WRLCK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
} from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, newGfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { asRoot } from './blocks.ts'
import type { ShardFile } from './file.ts'
import type { Shard } from './index.ts'
import { encodeFileSize, FILE_SIZE_KEY, INTERNAL_KEY, setSharded } from './keys.ts'

/** `act` takes a name of the file away. With the last one its blocks go. */
export async function removing<T extends { errno: number }>(
  shard: Shard,
  frame: Frame,
  inode: Inode,
  file: ShardFile,
  act: () => Promise<T> | T,
): Promise<T | { errno: Errno }> {
  const removeDir = await shard.blocks.removeDir(frame, true)
  if (removeDir.errno !== 0) return removeDir
  const owned = shard.owned(frame)
  const { lkOwner } = owned.creds
  const flock = { type: F_WRLCK, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner }
  const lock = { loc: Loc.ofInode(inode), volume: shard.name, cmd: F_SETLKW, flock }
  const locked = await owned.wind(shard.child, 'inodelk', lock)
  if (locked.errno !== 0) return locked
  try {
    const errno = await shard.refresh(frame, inode, file, undefined)
    if (errno !== 0) return { errno }
    if (file.stat.nlink > 1 || file.size <= file.blockSize) return await act()
    return await removingLast(shard, owned, removeDir.value, inode, file, act)
  } finally {
    const unlock = { ...lock, flock: { ...flock, type: F_UNLCK } }
    await owned.wind(shard.child, 'inodelk', unlock)
  }
}

async function removingLast<T extends { errno: number }>(
  shard: Shard,
  owned: Frame,
  removeDir: Inode,
  inode: Inode,
  file: ShardFile,
  act: () => Promise<T> | T,
): Promise<T | { errno: Errno }> {
  const basename = gfidText(inode.gfid)
  const entry = { loc: Loc.ofInode(removeDir), volume: shard.name, basename, type: ENTRYLK_WRLCK }
  const locked = await owned.wind(shard.child, 'entrylk', { ...entry, cmd: ENTRYLK_LOCK })
  if (locked.errno !== 0) return locked
  try {
    const marked = await mark(shard, owned, removeDir, basename, file)
    if (marked !== 0) return { errno: marked }
    const rep = await act()
    if (rep.errno === 0) {
      file.removed = true
      shard.deletion.start()
    }
    return rep
  } finally {
    await owned.wind(shard.child, 'entrylk', { ...entry, cmd: ENTRYLK_UNLOCK })
  }
}

/**
 * Nobody has a file without a name open any more: what it grew to since is marked, so that all its
 * blocks go.
 */
export function forgetRemoved(shard: Shard, gfid: Gfid, file: ShardFile): void {
  if (file.size <= file.blockSize) return
  const creds = shard.ownedCreds(ROOT_CREDS)
  void shard.graph.pool.background(shard, 'mark for deletion', creds, async (frame) => {
    const removeDir = await shard.blocks.removeDir(frame, true)
    if (removeDir.errno === 0) await mark(shard, frame, removeDir.value, gfidText(gfid), file)
    shard.deletion.start()
  })
}

async function mark(
  shard: Shard,
  frame: Frame,
  removeDir: Inode,
  name: string,
  file: ShardFile,
): Promise<Errno | 0> {
  const root = asRoot(frame)
  const { inodes } = shard.graph
  const loc = Loc.ofName(removeDir, name, inodes.newInode())
  const xdata = setSharded(new Dict(), file.blockSize, file.size)
  xdata.setGfid('gfid-req', newGfid()).setInt(INTERNAL_KEY, 1)
  const req = { loc, mode: 0o100644, rdev: 0, umask: 0, xdata }
  const made = await root.wind(shard.child, 'mknod', req)
  if (made.errno !== E.EXIST) return made.errno
  // From an attempt that did not get to its end, when the file was shorter perhaps.
  const looked = await root.wind(shard.child, 'lookup', { loc })
  if (looked.errno !== 0) return looked.errno
  const inode = inodes.link(loc.inode, removeDir, name, looked.stat)
  if (inode === undefined) return E.IO
  inodes.ref(inode)
  const dict = new Dict().setBytes(FILE_SIZE_KEY, encodeFileSize(file.size, 0))
  const target = Loc.ofInode(inode)
  const set = await root.wind(shard.child, 'setxattr', { loc: target, dict, flags: 0 })
  inodes.unref(inode)
  return set.errno
}
