/** Whole stripes to the bricks: encoded data, and zeros of the translator's own. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Ok, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { bricksOf } from '../common/mask.ts'
import { CHUNK_SIZE } from './codec/index.ts'
import type { Answer } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { anonymousFd, readStripe } from './read.ts'
import type { Transaction } from './transaction.ts'

const O_APPEND = 0o2000

/** Encodes `length` bytes of whole stripes and writes the fragments to all bricks. */
export async function sendStripes(
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

/**
 * Before the first change of data: what a client that died while the file grew left behind its end
 * must not come to light as data. No other change of data is under way.
 */
export async function cutLeftovers(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
): Promise<Errno | 0> {
  const { session } = tx
  const { geometry } = ec
  const { size } = session
  const fd = anonymousFd(session.inode)
  const offset = geometry.fragmentLength(size)
  const { rep } = await tx.send('ftruncate', {
    spread: 'all',
    req: (_brick, xdata) => ({ fd, offset, xdata }),
  })
  if (rep.errno !== 0) return rep.errno
  tx.changed()
  if (size % geometry.stripeSize !== 0) {
    const zeroed = await zeroInStripe(ec, frame, tx, fd, size, geometry.up(size))
    if (zeroed.errno !== 0) return zeroed.errno
  }
  session.stale = false
  return 0
}
