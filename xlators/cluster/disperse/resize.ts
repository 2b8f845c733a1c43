/** Fops that change the length or the holes of a file: truncate, fallocate, discard, zerofill. */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { FALLOC_FL_KEEP_SIZE, type Rep, type Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Disperse } from './index.ts'
import { anonymousFd } from './read.ts'
import { zeroInStripe } from './stripe-write.ts'
import { begin, type Intent, type Transaction } from './transaction.ts'

const changesData = (inode: Inode, fd: Fd | undefined, start: number, end: number): Intent => ({
  inode,
  fd,
  start,
  end,
  query: true,
  updateData: true,
  updateMetadata: true,
  cautious: true,
})

export async function truncate(
  ec: Disperse,
  frame: Frame,
  req: Req<'truncate'>,
): Promise<Rep<'truncate'>> {
  const { inode } = req.loc
  const start = ec.geometry.down(req.offset)
  const tx = await begin(ec, frame, {
    ...changesData(inode, undefined, start, Number.POSITIVE_INFINITY),
    gfid: req.loc.gfid,
  })
  if (tx.errno !== 0) return tx
  try {
    const { rep } = await tx.send('truncate', {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({
        loc: req.loc,
        offset: ec.geometry.fragmentLength(req.offset),
        xdata,
      }),
    })
    return await resized(ec, frame, tx, anonymousFd(inode), req.offset, rep)
  } finally {
    tx.end()
  }
}

export async function ftruncate(
  ec: Disperse,
  frame: Frame,
  req: Req<'ftruncate'>,
): Promise<Rep<'ftruncate'>> {
  const { fd } = req
  const start = ec.geometry.down(req.offset)
  const tx = await begin(ec, frame, changesData(fd.inode, fd, start, Number.POSITIVE_INFINITY))
  if (tx.errno !== 0) return tx
  try {
    const { rep } = await tx.send('ftruncate', {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({ fd, offset: ec.geometry.fragmentLength(req.offset), xdata }),
    })
    return await resized(ec, frame, tx, fd, req.offset, rep)
  } finally {
    tx.end()
  }
}

/** The bricks' files have their new length: what remains of the old data behind `size` goes. */
async function resized(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
  fd: Fd,
  size: number,
  rep: Rep<'truncate'>,
): Promise<Rep<'truncate'>> {
  const { geometry } = ec
  const { session } = tx
  session.stripes.invalidate(geometry.down(size), Number.POSITIVE_INFINITY)
  if (rep.errno !== 0) return rep
  tx.changed()
  const oldSize = session.size
  session.size = size
  if (size < oldSize && size % geometry.stripeSize !== 0) {
    const zeroed = await zeroInStripe(ec, frame, tx, fd, size, geometry.up(size))
    if (zeroed.errno !== 0) return zeroed
  }
  rep.prestat.size = oldSize
  rep.poststat.size = size
  return rep
}

export async function fallocate(
  ec: Disperse,
  frame: Frame,
  req: Req<'fallocate'>,
): Promise<Rep<'fallocate'>> {
  const { geometry } = ec
  const { fd } = req
  if ((req.mode & ~FALLOC_FL_KEEP_SIZE) !== 0) return { errno: E.OPNOTSUPP }
  if (req.len === 0) return { errno: E.INVAL }
  const start = geometry.down(req.offset)
  const end = geometry.up(req.offset + req.len)
  const tx = await begin(ec, frame, changesData(fd.inode, fd, start, end))
  if (tx.errno !== 0) return tx
  try {
    const { rep } = await tx.send('fallocate', {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({
        fd,
        mode: req.mode,
        offset: start / geometry.dataCount,
        len: (end - start) / geometry.dataCount,
        xdata,
      }),
    })
    if (rep.errno !== 0) return rep
    tx.changed()
    rep.prestat.size = tx.session.size
    if ((req.mode & FALLOC_FL_KEEP_SIZE) === 0) {
      tx.session.size = Math.max(tx.session.size, req.offset + req.len)
    }
    rep.poststat.size = tx.session.size
    return rep
  } finally {
    tx.end()
  }
}

/**
 * Punches a hole. It ends at the end of the file: what lies behind in the last stripe is zero
 * anyway, and writing there (as stock does) would make fragments longer than the size allows.
 */
export async function discard(
  ec: Disperse,
  frame: Frame,
  req: Req<'discard'>,
): Promise<Rep<'discard'>> {
  const { geometry } = ec
  const { fd, offset: from } = req
  if (req.len === 0) return { errno: E.INVAL }
  const use = changesData(fd.inode, fd, geometry.down(from), geometry.up(from + req.len))
  const tx = await begin(ec, frame, use)
  if (tx.errno !== 0) return tx
  try {
    const { size } = tx.session
    const to = Math.min(from + req.len, size)
    if (to <= from) return await unchanged(tx, req)
    return finishZeroing(tx, await zeroParts(ec, frame, tx, req, to), size)
  } finally {
    tx.end()
  }
}

/**
 * Zeroes a range, and lets the file grow to hold it. Stock has no zerofill here; holes read as
 * zeros and cost nothing.
 */
export async function zerofill(
  ec: Disperse,
  frame: Frame,
  req: Req<'zerofill'>,
): Promise<Rep<'zerofill'>> {
  const { geometry } = ec
  const { fd, offset: from } = req
  const end = from + req.len
  if (req.len === 0) return { errno: E.INVAL }
  const start = geometry.down(from)
  const tx = await begin(ec, frame, changesData(fd.inode, fd, start, Number.POSITIVE_INFINITY))
  if (tx.errno !== 0) return tx
  try {
    const { size } = tx.session
    const within = Math.min(end, size)
    const parts = within > from ? await zeroParts(ec, frame, tx, req, within) : []
    if (end > size) {
      const offset = geometry.fragmentLength(end)
      const { rep } = await tx.send('ftruncate', {
        spread: 'all',
        xdata: req.xdata,
        req: (_brick, xdata) => ({ fd, offset, xdata }),
      })
      parts.push(rep)
      if (rep.errno === 0) tx.session.size = end
    }
    return finishZeroing(tx, parts, size)
  } finally {
    tx.end()
  }
}

/** Zeroes from `req.offset` to `to`, which is not behind the end of the file. */
async function zeroParts(
  ec: Disperse,
  frame: Frame,
  tx: Transaction,
  req: Req<'discard'>,
  to: number,
): Promise<Part[]> {
  const { geometry } = ec
  const { fd, offset: from } = req
  // A hole up to the end of the file may take the whole last stripe.
  const wholeFrom = geometry.up(from)
  const wholeTo = to === tx.session.size ? geometry.up(to) : geometry.down(to)
  const parts: Part[] = []
  if (wholeTo > wholeFrom) {
    parts.push(await punchStripes(ec, tx, req, wholeFrom, wholeTo))
    if (from < wholeFrom) parts.push(await zeroInStripe(ec, frame, tx, fd, from, wholeFrom))
    if (to > wholeTo) parts.push(await zeroInStripe(ec, frame, tx, fd, wholeTo, to))
  } else if (wholeFrom >= to) {
    parts.push(await zeroInStripe(ec, frame, tx, fd, from, to))
  } else {
    if (from < wholeFrom) parts.push(await zeroInStripe(ec, frame, tx, fd, from, wholeFrom))
    parts.push(await zeroInStripe(ec, frame, tx, fd, wholeFrom, to))
  }
  return parts
}

type Part = { errno: 0; prestat: Iatt; poststat: Iatt } | { errno: Errno }

/** The reply of a fop made of parts; `size` is the file's before it. */
function finishZeroing(tx: Transaction, parts: readonly Part[], size: number): Rep<'discard'> {
  let first: Extract<Part, { errno: 0 }> | undefined
  let last: Extract<Part, { errno: 0 }> | undefined
  for (const part of parts) {
    if (part.errno !== 0) return part
    first ??= part
    last = part
  }
  tx.changed()
  const prestat = first!.prestat.clone()
  const poststat = last!.poststat.clone()
  prestat.size = size
  poststat.size = tx.session.size
  return { errno: 0, prestat, poststat }
}

async function punchStripes(
  ec: Disperse,
  tx: Transaction,
  req: Req<'discard'>,
  from: number,
  to: number,
): Promise<Part> {
  const { dataCount } = ec.geometry
  tx.session.stripes.invalidate(from, to)
  const { rep } = await tx.send('discard', {
    spread: 'all',
    xdata: req.xdata,
    req: (_brick, xdata) => ({
      fd: req.fd,
      offset: from / dataCount,
      len: (to - from) / dataCount,
      xdata,
    }),
  })
  return rep
}

/** The hole lies behind the end of the file. */
async function unchanged(tx: Transaction, req: Req<'discard'>): Promise<Rep<'discard'>> {
  const { rep } = await tx.send('fstat', {
    spread: 'all',
    reading: true,
    req: (_brick, xdata) => ({ fd: req.fd, xdata }),
  })
  if (rep.errno !== 0) return rep
  rep.stat.size = tx.session.size
  return { errno: 0, prestat: rep.stat, poststat: rep.stat.clone() }
}
