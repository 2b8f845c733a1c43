/** writev: whole stripes encoded to every brick; partial ones are completed first. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { bricksOf } from '../common/mask.ts'
import { CHUNK_SIZE } from './codec/index.ts'
import type { Answer } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { readStripe } from './read.ts'
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

/** Encodes `length` bytes of whole stripes and writes the fragments to all bricks. */
async function sendStripes(
  ec: Disperse,
  tx: Transaction,
  req: Req<'writev'>,
  length: number,
  frame?: Frame,
): Promise<Answer<'writev'>> {
  const { dataCount } = ec.geometry
  const bricks = bricksOf(tx.session.writable & ec.up)
  const { buffers, loan } = ec.lends
    ? ec.codec.encodeLent(req.data, length, bricks)
    : { buffers: ec.codec.encode(req.data, length, bricks) }
  const byBrick = new Map(bricks.map((brick, index) => [brick, buffers[index]!]))
  try {
    return await tx.send('writev', {
      spread: 'all',
      xdata: req.xdata,
      ...(frame === undefined ? {} : { frame }),
      req: (brick, xdata) => ({
        fd: req.fd,
        data: [byBrick.get(brick)!],
        size: length / dataCount,
        offset: req.offset / dataCount,
        flags: req.flags & ~O_APPEND,
        xdata,
      }),
    })
  } finally {
    // All bricks have answered; a socket that gave up its call holds the loan until it closes.
    loan?.drop()
  }
}

/**
 * Zeroes user bytes [from, to), which lie in one stripe, as the translator itself. `fd` may be
 * anonymous.
 */
export async function zeroInStripe(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
  fd: Fd,
  from: number,
  to: number,
): Promise<Ok<'writev'> | { errno: Errno }> {
  const { geometry } = ec
  const start = geometry.down(from)
  const old = await readStripe(ec, frame, tx, start)
  if (old.errno !== 0) return old
  const stripe = Buffer.from(old.stripe)
  stripe.fill(0, from - start, to - start)
  tx.session.stripes.invalidate(start, start + stripe.length)
  const req: Req<'writev'> = {
    fd,
    data: [stripe],
    size: stripe.length,
    offset: start,
    flags: 0,
    xdata: new Dict().setStr('glusterfs-internal-fop', 'yes'),
  }
  const root = frame.with({ uid: ROOT_CREDS.uid, gid: ROOT_CREDS.gid })
  const { rep } = await sendStripes(ec, tx, req, stripe.length, root)
  if (rep.errno !== 0) return rep
  return rep.size === CHUNK_SIZE ? rep : { errno: E.IO }
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
