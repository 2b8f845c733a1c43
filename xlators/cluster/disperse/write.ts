/** writev: whole stripes encoded to every brick; partial ones are completed first. */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { CHUNK_SIZE } from './codec/index.ts'
import type { Disperse } from './index.ts'
import { readStripe } from './read.ts'
import { sendStripes } from './stripe-write.ts'
import { begin, type Transaction } from './transaction.ts'

const O_APPEND = 0o2000

/** What surrounds the data in its first and last stripe. */
interface Edges {
  errno: 0
  before: Buffer
  after: Buffer
}

const NOTHING = Buffer.alloc(0)

export async function writev(
  ec: Disperse,
  frame: Frame,
  req: Req<'writev'>,
): Promise<Rep<'writev'>> {
  const { geometry } = ec
  const append = (req.fd.flags & O_APPEND) !== 0
  const tx = await begin(ec, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    start: append ? 0 : geometry.down(req.offset),
    end: append ? Number.POSITIVE_INFINITY : geometry.up(req.offset + req.size),
    query: true,
    updateData: true,
    updateMetadata: true,
    cautious: true,
  })
  if (tx.errno !== 0) return tx
  try {
    const { session } = tx
    const offset = append ? session.size : req.offset
    const start = geometry.down(offset)
    const head = offset - start
    const end = geometry.up(offset + req.size)
    const edges = await readEdges(ec, frame, tx, offset, offset + req.size)
    if (edges.errno !== 0) return edges
    const pieces = [edges.before, ...req.data, edges.after]
    const answer = await sendStripes(ec, tx, { ...req, data: pieces, offset: start }, end - start)
    const { rep } = answer
    if (rep.errno !== 0 || rep.size % CHUNK_SIZE !== 0) {
      session.stripes.invalidate(start, end)
      if (rep.errno !== 0) return rep
      tx.changed()
      return { errno: E.IO }
    }
    tx.changed()
    const written = Math.min(req.size, Math.max(0, rep.size * geometry.dataCount - head))
    rep.prestat.size = session.size
    session.size = Math.max(session.size, offset + written)
    rep.poststat.size = session.size
    session.stripes.invalidate(start, end)
    if (edges.after.length > 0 && written === req.size) {
      session.stripes.put(end - geometry.stripeSize, lastBytes(pieces, geometry.stripeSize))
    }
    return { ...rep, size: written }
  } finally {
    tx.end()
  }
}

/**
 * The bytes of the first stripe before `from` and of the last one after `to`: what the file has
 * there, zeros behind its end. Both are read at once.
 */
async function readEdges(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
  from: number,
  to: number,
): Promise<Edges | { errno: Errno }> {
  const { geometry } = ec
  const { size } = tx.session
  const first = geometry.down(from)
  const end = geometry.up(to)
  const last = end - geometry.stripeSize
  const needFirst = (from > first && size > first) || (first === last && size > to && to < end)
  const needLast = last > first && to < end && size > to
  const none = { errno: 0 as const, stripe: NOTHING }
  const [head, tail] = await Promise.all([
    needFirst ? readStripe(ec, frame, tx, first) : none,
    needLast ? readStripe(ec, frame, tx, last) : none,
  ])
  if (head.errno !== 0) return head
  if (tail.errno !== 0) return tail
  const before = needFirst ? head.stripe.subarray(0, from - first) : Buffer.alloc(from - first)
  const rest = first === last ? head.stripe : tail.stripe
  const after = rest.length > 0 ? rest.subarray(to - last) : Buffer.alloc(end - to)
  return { errno: 0, before, after }
}

/** A copy of the last `length` bytes of `pieces`. */
function lastBytes(pieces: readonly Buffer[], length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let left = length
  for (let i = pieces.length - 1; i >= 0 && left > 0; i--) {
    const piece = pieces[i]!
    const taken = Math.min(left, piece.length)
    piece.copy(bytes, left - taken, piece.length - taken)
    left -= taken
  }
  return bytes
}
