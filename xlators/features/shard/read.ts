/** Reads: absent blocks, and the space between a block's end and the file's, are zeros. */
import { E } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { asRoot } from './blocks.ts'
import type { ShardFile } from './file.ts'
import type { Shard } from './index.ts'
import { eachOf, PARALLEL_MAX, type Piece, piecesOf } from './pieces.ts'

/** Bytes of one buffer of zeros. */
const ZEROS_MAX = 131072

export async function readv(
  shard: Shard,
  frame: Frame,
  req: Req<'readv'>,
  file: ShardFile,
): Promise<Rep<'readv'>> {
  if (req.offset + req.size > file.size) {
    // Another client may have written more meanwhile.
    const errno = await shard.refresh(frame, req.fd.inode, file, req.fd)
    if (errno !== 0) return { errno }
  }
  const size = Math.min(req.size, file.size - req.offset)
  if (size <= 0) {
    return { errno: 0, data: [], size: 0, stat: file.show(file.stat), eof: true }
  }
  const pieces = piecesOf(req.offset, size, file.blockSize)
  if (pieces.length === 1)
    return finish(file, req, await readPiece(shard, frame, req, file, pieces[0]!))
  const { borrows: _, ...whole } = req
  const replies = await eachOf(pieces, PARALLEL_MAX, (piece) =>
    readPiece(shard, frame, whole, file, piece),
  )
  const data: Buffer[] = []
  for (const rep of replies) {
    if (rep.errno !== 0) return rep
    data.push(...rep.data)
  }
  return finish(file, req, { errno: 0, data, size, stat: file.stat, eof: false })
}

function finish(file: ShardFile, req: Req<'readv'>, rep: Rep<'readv'>): Rep<'readv'> {
  if (rep.errno !== 0) return rep
  const eof = req.offset + rep.size >= file.size
  return { ...rep, stat: file.show(file.stat), eof }
}

/** Answers exactly the bytes of the piece. */
async function readPiece(
  shard: Shard,
  frame: Frame,
  req: Req<'readv'>,
  file: ShardFile,
  piece: Piece,
): Promise<Rep<'readv'>> {
  const { offset, size, number } = piece
  if (number === 0) {
    const rep = await asRoot(frame).wind(shard.child, 'readv', { ...req, offset, size })
    if (rep.errno !== 0) return rep
    file.stat = rep.stat
    return padded(rep, size)
  }
  for (let again = false; ; again = true) {
    const found = await shard.blocks.get(frame, req.fd.inode, file, number, false)
    if (found.errno !== 0) return found
    const block = found.value
    if (block === undefined) {
      return { errno: 0, data: zeros(size), size, stat: file.stat, eof: false }
    }
    try {
      const asked = { ...req, fd: block.fd, offset, size }
      const rep = await asRoot(frame).wind(shard.child, 'readv', asked)
      if (rep.errno === 0) return padded(rep, size)
      if (again || (rep.errno !== E.NOENT && rep.errno !== E.STALE)) return rep
      // Another client removed it, and may have made another one.
      shard.blocks.drop(block)
    } finally {
      shard.blocks.release(block)
    }
  }
}

function padded(rep: Ok<'readv'>, size: number): Ok<'readv'> {
  if (rep.size >= size) return rep
  return { ...rep, data: [...rep.data, ...zeros(size - rep.size)], size }
}

function zeros(size: number): Buffer[] {
  const data: Buffer[] = []
  for (let left = size; left > 0; left -= ZEROS_MAX) {
    data.push(Buffer.alloc(Math.min(left, ZEROS_MAX)))
  }
  return data
}
