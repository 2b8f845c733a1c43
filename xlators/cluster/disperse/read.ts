/** readv and seek: fragments of K bricks, decoded; and stripes that writes need. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { bricksOf } from '../common/mask.ts'
import { CHUNK_SIZE, type Decoded } from './codec/index.ts'
import type { Answer } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { begin, type Transaction } from './transaction.ts'

const O_RDWR = 2

/** An fd no brick knows: bricks then find the file by gfid, whoever may open it. */
export const anonymousFd = (inode: Inode): Fd => new Fd(inode, O_RDWR, 0)

export async function readv(ec: Disperse, frame: Frame, req: Req<'readv'>): Promise<Rep<'readv'>> {
  const { geometry } = ec
  const start = geometry.down(req.offset)
  const end = geometry.up(req.offset + req.size)
  const tx = await begin(ec, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    start,
    end,
    shared: true,
    query: true,
  })
  if (tx.errno !== 0) return tx
  const sizeMax = geometry.fragmentLength(tx.session.size) - start / geometry.dataCount
  const clip = (_brick: number, rep: Rep<'readv'>): Rep<'readv'> => clipped(rep, sizeMax)
  try {
    const answer = await tx.send('readv', {
      spread: 'some',
      only: ec.readMask,
      xdata: req.xdata,
      req: (_brick, xdata) => ({
        fd: req.fd,
        size: (end - start) / geometry.dataCount,
        offset: start / geometry.dataCount,
        flags: req.flags,
        xdata,
      }),
      ...(tx.session.stale ? { onReply: clip } : {}),
    })
    const { rep } = answer
    if (rep.errno !== 0) return rep
    const fileSize = tx.session.size
    const from = req.offset - start
    const available = Math.min(rep.size * geometry.dataCount, fileSize - start)
    const to = Math.min(from + req.size, available)
    if (rep.size % CHUNK_SIZE !== 0) return brokenFragment(ec, req.fd.inode, rep.size)
    const decoded =
      to <= from ? undefined : decodeAnswer(ec, answer, rep.size, from, to, req.borrows === true)
    const data = decoded === undefined ? [] : [decoded.data]
    const size = Math.max(0, to - from)
    rep.stat.size = fileSize
    const eof = req.offset + size >= fileSize
    const { stat, xdata } = rep
    return { errno: 0, data, size, stat, eof, xdata, loan: decoded?.loan }
  } finally {
    tx.end()
  }
}

/**
 * A brick's answer to a read without what lies behind the end of the file: a client that died while
 * the file grew leaves fragments of different lengths.
 */
function clipped(rep: Rep<'readv'>, sizeMax: number): Rep<'readv'> {
  if (rep.errno !== 0 || rep.size <= sizeMax) return rep
  const size = Math.max(0, sizeMax)
  const data: Buffer[] = []
  let left = size
  for (const part of rep.data) {
    if (left === 0) break
    data.push(part.subarray(0, left))
    left -= data.at(-1)!.length
  }
  return { ...rep, data, size }
}

function decodeAnswer(
  ec: Disperse,
  answer: Answer<'readv'>,
  fragmentSize: number,
  from: number,
  to: number,
  lent: boolean,
): Decoded {
  const bricks = bricksOf(answer.good).slice(0, ec.geometry.dataCount)
  const fragments = bricks.map((brick) => (answer.replies[brick] as Ok<'readv'>).data)
  return lent
    ? ec.codec.decodeLent(bricks, fragments, fragmentSize, from, to)
    : { data: ec.codec.decode(bricks, fragments, fragmentSize, from, to) }
}

function brokenFragment(ec: Disperse, inode: Inode, size: number): { errno: Errno } {
  ec.log.error(
    { inode: ec.describe(inode), size },
    `bricks answered a read with ${size} bytes, not a multiple of ${CHUNK_SIZE}`,
  )
  return { errno: E.IO }
}

/**
 * The stripe at user offset `offset`, zeros where bricks have nothing. From the cache or read from
 * K bricks as the translator itself.
 */
export async function readStripe(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
  offset: number,
): Promise<{ errno: 0; stripe: Buffer } | { errno: Errno }> {
  const { stripeSize, dataCount } = ec.geometry
  const cached = tx.session.stripes.get(offset)
  if (cached !== undefined) return { errno: 0, stripe: cached }
  const inode = tx.session.inode
  const fd = anonymousFd(inode)
  const answer = await tx.send('readv', {
    spread: 'some',
    reading: true,
    only: ec.readMask,
    frame: frame.with({ uid: ROOT_CREDS.uid, gid: ROOT_CREDS.gid }),
    xdata: new Dict().setStr('glusterfs-internal-fop', 'yes'),
    req: (_brick, xdata) => ({
      fd,
      size: CHUNK_SIZE,
      offset: offset / dataCount,
      flags: 0,
      xdata,
    }),
  })
  const { rep } = answer
  if (rep.errno !== 0) return rep
  if (rep.size === 0) return { errno: 0, stripe: Buffer.alloc(stripeSize) }
  if (rep.size !== CHUNK_SIZE) return brokenFragment(ec, inode, rep.size)
  const stripe = decodeAnswer(ec, answer, rep.size, 0, stripeSize, false).data
  // Zeros already, unless a client died while the file grew.
  const { size } = tx.session
  if (offset + stripeSize > size) stripe.fill(0, Math.max(0, size - offset))
  return { errno: 0, stripe }
}

export async function seek(ec: Disperse, frame: Frame, req: Req<'seek'>): Promise<Rep<'seek'>> {
  const { geometry } = ec
  const start = geometry.down(req.offset)
  const tx = await begin(ec, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    start,
    shared: true,
    oneBrick: true,
    query: true,
  })
  if (tx.errno !== 0) return tx
  try {
    const { size } = tx.session
    if (req.offset >= size) return { errno: E.NXIO }
    const { rep } = await tx.send('seek', {
      spread: 'one',
      minimum: 1,
      only: ec.readMask,
      xdata: req.xdata,
      req: (_brick, xdata) => ({
        fd: req.fd,
        offset: start / geometry.dataCount,
        what: req.what,
        xdata,
      }),
    })
    if (rep.errno !== 0) return rep
    const offset = Math.min(size, Math.max(req.offset, rep.offset * geometry.dataCount))
    return { errno: 0, offset, xdata: rep.xdata }
  } finally {
    tx.end()
  }
}
