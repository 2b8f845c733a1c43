/**
 * Writes and what allocates or empties ranges: each block's part goes to that block, then size and
 * block count of the file are brought up to date. Of a write that failed in the middle, what was
 * written up to there counts.
 */

import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_SETLKW, F_UNLCK, F_WRLCK, type Ok, type Rep, type Req } from '../../../src/core/fop.ts'
import { type Frame, failed } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_APPEND, O_DSYNC } from '../../../src/core/open-flags.ts'
import { asRoot } from './blocks.ts'
import type { ShardFile } from './file.ts'
import type { Shard } from './index.ts'
import { UPDATE_ATOMIC_KEY } from './keys.ts'
import { cut, eachOf, PARALLEL_MAX, type Piece, piecesOf } from './pieces.ts'

type Ranged = 'fallocate' | 'discard' | 'zerofill'
type PrePost = Ok<'fsync'>
/** One block's part of a fop, at an fd of that block. */
type Work = (frame: Frame, fd: Fd, piece: Piece) => Promise<Rep<'fsync'> & { size?: number }>

interface Change {
  fd: Fd
  file: ShardFile
  offset: number
  size: number
  /** Absent blocks are made. */
  makes: boolean
  /** What lies behind the end makes the file longer. */
  extends: boolean
}

export async function writev(
  shard: Shard,
  frame: Frame,
  req: Req<'writev'>,
  file: ShardFile,
): Promise<Rep<'writev'>> {
  if (((req.fd.flags | req.flags) & O_APPEND) !== 0) return append(shard, frame, req, file)
  const wait = file.gate.enter()
  if (wait !== undefined) await wait
  try {
    return await writeAt(shard, frame, req, file, req.offset)
  } finally {
    file.gate.leave()
  }
}

/**
 * The end must be known and stay where it is: a lock keeps other clients of this kind out. Stock
 * clients append where they last saw the end.
 */
function append(
  shard: Shard,
  frame: Frame,
  req: Req<'writev'>,
  file: ShardFile,
): Promise<Rep<'writev'>> {
  const { inode } = req.fd
  return file.gate.alone(async () => {
    const owned = shard.owned(frame)
    const flock = {
      type: F_WRLCK,
      whence: 0,
      start: 0n,
      len: 0n,
      pid: 0,
      lkOwner: owned.creds.lkOwner,
    }
    const lock = { loc: Loc.ofInode(inode), volume: `${shard.name}:append`, cmd: F_SETLKW, flock }
    const locked = await owned.wind(shard.child, 'inodelk', lock)
    // Without a name it cannot be locked, and few have it open.
    const nameless = locked.errno === E.NOENT || locked.errno === E.STALE
    if (locked.errno !== 0 && !nameless) return locked
    try {
      const errno = await shard.refresh(frame, inode, file, req.fd)
      if (errno !== 0) return { errno }
      return await writeAt(shard, frame, req, file, file.size)
    } finally {
      const unlock = { ...lock, flock: { ...flock, type: F_UNLCK } }
      if (!nameless) await owned.wind(shard.child, 'inodelk', unlock)
    }
  })
}

async function writeAt(
  shard: Shard,
  frame: Frame,
  req: Req<'writev'>,
  file: ShardFile,
  offset: number,
): Promise<Rep<'writev'>> {
  const { fd, size, flags } = req
  const xdata = (req.xdata?.clone() ?? new Dict()).setUint(UPDATE_ATOMIC_KEY, 4)
  const syncs = ((fd.flags | flags) & O_DSYNC) !== 0
  const change = { fd, file, offset, size, makes: true, extends: true }
  const rep = await carryOut(shard, frame, change, async (root, target, piece) => {
    const data = piece.size === size ? req.data : cut(req.data, piece.at, piece.size)
    const part = { fd: target, data, size: piece.size, offset: piece.offset, xdata }
    // The target is no fd of the application's: where its bytes go and when is told each time.
    const own = target === fd ? flags : flags & ~O_APPEND
    const written = await root.wind(shard.child, 'writev', { ...part, flags: own })
    if (written.errno !== 0 || !syncs || target === fd) return written
    const synced = await root.wind(shard.child, 'fsync', { fd: target, datasync: false })
    return synced.errno === 0 ? written : synced
  })
  return rep
}

/** fallocate, discard and zerofill. */
export async function range(
  shard: Shard,
  frame: Frame,
  fop: Ranged,
  req: Req<'discard'> & { mode?: number },
  file: ShardFile,
): Promise<Rep<'discard'>> {
  const { fd, offset } = req
  const wait = file.gate.enter()
  if (wait !== undefined) await wait
  try {
    let { len: size } = req
    if (fop === 'discard') {
      const errno = await shard.refresh(frame, fd.inode, file, fd)
      if (errno !== 0) return { errno }
      size = Math.min(size, file.size - offset)
      if (size <= 0) return unchanged(file)
    }
    const makes = fop !== 'discard'
    const change = { fd, file, offset, size, makes, extends: makes }
    const rep = await carryOut(shard, frame, change, async (root, target, piece) => {
      const part = { fd: target, offset: piece.offset, len: piece.size }
      if (fop !== 'fallocate') return root.wind(shard.child, fop, part)
      return root.wind(shard.child, 'fallocate', { ...part, mode: 0 })
    })
    // Unlike a write it is done as a whole or not.
    return rep.errno === 0 && rep.size < size ? { errno: rep.failure ?? E.IO } : rep
  } finally {
    file.gate.leave()
  }
}

export function unchanged(file: ShardFile): PrePost {
  return { errno: 0, prestat: file.show(file.stat), poststat: file.show(file.stat) }
}

type Outcome = (Ok<'writev'> & { failure?: Errno }) | { errno: Errno }

async function carryOut(shard: Shard, frame: Frame, change: Change, work: Work): Promise<Outcome> {
  const { fd, file, offset, size } = change
  const root = asRoot(frame)
  const prestat = file.show(file.stat)
  const pieces = piecesOf(offset, size, file.blockSize)
  const run = (piece: Piece) => inBlock(shard, root, change, piece, work)
  const replies =
    pieces.length === 1 ? [await run(pieces[0]!)] : await eachOf(pieces, PARALLEL_MAX, run)
  let blocks = 0
  let done = 0
  let failure: Errno | undefined
  let times: Iatt | undefined
  for (const [at, rep] of replies.entries()) {
    if (failed(rep)) {
      failure ??= rep.errno
      continue
    }
    times = rep.poststat
    blocks += rep.poststat.blocks - rep.prestat.blocks
    const written = rep.size ?? pieces[at]!.size
    if (failure === undefined) done += written
    if (written < pieces[at]!.size) failure ??= E.IO
  }
  const end = change.extends && done > 0 ? offset + done : 0
  const growing = file.grow(root, shard.child, fd.inode, end, blocks)
  const errno = typeof growing === 'number' ? growing : await growing
  if (errno !== 0) return { errno }
  if (done === 0 && failure !== undefined) return { errno: failure }
  const poststat = file.show(file.stat)
  if (times !== undefined) {
    poststat.mtime = times.mtime
    poststat.mtimeNsec = times.mtimeNsec
    poststat.ctime = times.ctime
    poststat.ctimeNsec = times.ctimeNsec
  }
  return { errno: 0, size: done, prestat, poststat, ...(failure === undefined ? {} : { failure }) }
}

async function inBlock(
  shard: Shard,
  root: Frame,
  { fd, file, makes }: Change,
  piece: Piece,
  work: Work,
): Promise<Rep<'fsync'> & { size?: number }> {
  const { inode } = fd
  if (piece.number === 0) {
    // The brick would write at the end of the base file, which is not the end of the file.
    const appends = (fd.flags & O_APPEND) !== 0
    const rep = await work(root, appends ? file.anonymous(inode) : fd, piece)
    if (rep.errno === 0) file.stat = rep.poststat
    return rep
  }
  const fresh = piece.number * file.blockSize >= file.size
  for (let again = false; ; again = true) {
    const found = await shard.blocks.get(root, inode, file, piece.number, makes, fresh)
    if (found.errno !== 0) return found
    const block = found.value
    if (block === undefined) return unchanged(file)
    try {
      block.dirty = true
      const rep = await work(root, block.fd, piece)
      if (rep.errno === 0) block.dirty = true
      if (again || (rep.errno !== E.NOENT && rep.errno !== E.STALE)) return rep
      // Another client removed it, and may have made another one.
      shard.blocks.drop(block)
    } finally {
      shard.blocks.release(block)
    }
  }
}

/** The base file and every block written to. */
export async function fsync(
  shard: Shard,
  frame: Frame,
  req: Req<'fsync'>,
  file: ShardFile,
): Promise<Rep<'fsync'>> {
  const dirty = [...file.known.values()].filter((block) => block.dirty)
  for (const block of dirty) {
    block.dirty = false
    block.users++
  }
  const syncs = eachOf(dirty, PARALLEL_MAX, async (block) => {
    const { datasync } = req
    const rep = await asRoot(frame).wind(shard.child, 'fsync', { fd: block.fd, datasync })
    // Removed by another client: there is nothing to keep.
    const errno: Errno | 0 = rep.errno === E.NOENT || rep.errno === E.STALE ? 0 : rep.errno
    if (errno !== 0) block.dirty = true
    shard.blocks.release(block)
    return errno
  })
  const leaving = [...file.leaving]
  const base = frame.wind(shard.child, 'fsync', req)
  const errnos = [...(await syncs), ...(await Promise.all(leaving))]
  for (const one of leaving) file.leaving.delete(one)
  const rep = await base
  if (rep.errno !== 0) return rep
  file.stat = rep.poststat
  const errno = errnos.find((one): one is Errno => one !== 0)
  if (errno !== undefined) return { errno }
  return { ...rep, prestat: file.show(rep.prestat), poststat: file.show(rep.poststat) }
}
