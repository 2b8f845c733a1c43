/** readv and seek: fragments of K bricks, decoded; and stripes that writes need. */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, ringFrom } from '../common/mask.ts'
import { type Agreed, changeTime, quietCounters } from './agreement.ts'
import { CHUNK_SIZE, type Decoded } from './codec/index.ts'
import { mergeReplies } from './combine.ts'
import type { Answer } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { begin, type Transaction } from './transaction.ts'
import { requestCounters } from './xattrs.ts'

const O_RDWR = 2

/** An fd no brick knows: bricks then find the file by gfid, whoever may open it. */
export const anonymousFd = (inode: Inode): Fd => new Fd(inode, O_RDWR, 0)

export async function readv(ec: Disperse, frame: Frame, req: Req<'readv'>): Promise<Rep<'readv'>> {
  const agreed = ec.agreedOn(req.fd.inode)
  if (agreed !== undefined) {
    const rep = await readUnlocked(ec, frame, req, agreed)
    if (rep !== undefined) return rep
  }
  return readLocked(ec, frame, req)
}

async function readLocked(ec: Disperse, frame: Frame, req: Req<'readv'>): Promise<Rep<'readv'>> {
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
    if (rep.size % CHUNK_SIZE !== 0) return brokenFragment(ec, req.fd.inode, rep.size)
    return userReply(ec, req, answer, rep, tx.session.size)
  } finally {
    tx.end()
  }
}

/**
 * What the fragments in `answer`, merged in `rep`, make of a file of `fileSize` bytes; `whole`: of
 * its stripes, decoded already.
 */
function userReply(
  ec: Disperse,
  req: Req<'readv'>,
  answer: Fragments,
  rep: Ok<'readv'>,
  fileSize: number,
  whole?: Buffer,
): Ok<'readv'> {
  const start = ec.geometry.down(req.offset)
  const from = req.offset - start
  const available = Math.min(rep.size * ec.geometry.dataCount, fileSize - start)
  const to = Math.min(from + req.size, available)
  const decoded: Decoded | undefined =
    to <= from
      ? undefined
      : whole !== undefined
        ? { data: whole.subarray(from, to) }
        : decodeAnswer(ec, answer, rep.size, from, to, req.borrows === true)
  const data = decoded === undefined ? [] : [decoded.data]
  const size = Math.max(0, to - from)
  rep.stat.size = fileSize
  const eof = req.offset + size >= fileSize
  const { stat, xdata } = rep
  return { errno: 0, data, size, stat, eof, xdata, loan: decoded?.loan }
}

/** Files up to this size are read without the lock; for larger ones it pays to take it. */
const UNLOCKED_MAX = 131_072

/**
 * Clocks of clients and bricks are rarely further apart than this, seconds: a write now gives a
 * file whose ctime is older than that a new one. Where a writer's clock is behind by more, bricks
 * keep the ctime they have, and only the fragments themselves tell.
 */
const SKEW_MAX = 30

/**
 * Fragments read beyond the K it takes to decode. With one, a mix of old and new ones passes in
 * some cases of one changed chunk, with two in none (of 2+1, 4+2, 8+3, and others with R > 1).
 */
const CHECKS_MAX = 2

/** Nothing was changed so lately that a change now could leave the same times. */
function isOld({ changed }: Agreed): boolean {
  const newest = (clock.realtime().sec - SKEW_MAX) * 1e9
  return changed.every((time) => time < newest)
}

/**
 * A small file read to its end, right after a lookup found all bricks of one opinion: fragments of
 * more than K bricks, then counters and times once more, of so many that a writer has marked one of
 * them. A writer marks before the first byte; when the marks are gone its times are there (the
 * version may be what it was). So fragments between the same times and unmarked counters belong
 * together; that they are of one code word shows it for whoever's clock is wrong. `undefined`:
 * somebody is writing or has been not long ago, or a brick is in trouble; the lock must decide.
 */
async function readUnlocked(
  ec: Disperse,
  frame: Frame,
  req: Req<'readv'>,
  agreed: Agreed,
): Promise<Ok<'readv'> | undefined> {
  const { geometry } = ec
  const { inode } = req.fd
  const { size } = agreed
  if (size > UNLOCKED_MAX || req.offset >= size || req.offset + req.size < size) return undefined
  if (!isOld(agreed)) return undefined
  const bricks = ringFrom(ec.up & ec.readMask, ec.firstBrick(inode.gfid))
  const wanted = geometry.dataCount + Math.min(CHECKS_MAX, geometry.redundancy)
  if (bricks.length < wanted) return undefined
  bricks.length = wanted
  const children = bricks.map((brick) => ec.children[brick]!)
  const start = geometry.down(req.offset)
  const length = (geometry.up(size) - start) / geometry.dataCount
  const offset = start / geometry.dataCount
  const fragment = { fd: req.fd, size: length, offset, flags: req.flags, xdata: req.xdata }
  const replies = await frame.windAll(children, 'readv', () => fragment)
  const answer = { good: 0, replies: new Array<Rep<'readv'> | undefined>(ec.children.length) }
  for (let i = 0; i < bricks.length; i++) {
    const rep = replies[i]!
    const isWhole = rep.errno === 0 && rep.size === length
    if (!isWhole || changeTime(rep.stat) !== agreed.changed[bricks[i]!]) {
      ec.agreements.end(inode.gfid)
      return undefined
    }
    answer.good |= bit(bricks[i]!)
    answer.replies[bricks[i]!] = rep
  }
  const asked = bricks.slice(0, geometry.redundancy + 1)
  if (!(await isStillQuiet(ec, frame, inode, asked, agreed))) return undefined
  const whole = decodeChecked(ec, answer, length)
  if (whole === undefined) {
    ec.agreements.end(inode.gfid)
    return undefined
  }
  const merged = mergeReplies('readv', replies as Ok<'readv'>[], geometry.dataCount)
  return userReply(ec, req, answer, merged, size, whole)
}

/** `bricks` still have the counters and times of `agreed`, unmarked. */
async function isStillQuiet(
  ec: Disperse,
  frame: Frame,
  inode: Inode,
  bricks: readonly number[],
  agreed: Agreed,
): Promise<boolean> {
  const root = frame.with({ uid: ROOT_CREDS.uid, gid: ROOT_CREDS.gid })
  const req = { loc: Loc.ofInode(inode), xdata: requestCounters(new Dict()) }
  const children = bricks.map((brick) => ec.children[brick]!)
  const replies = await root.windAll(children, 'lookup', () => req)
  const isSame = replies.every((rep, index) => {
    if (rep.errno !== 0 || changeTime(rep.stat) !== agreed.changed[bricks[index]!]) return false
    const quiet = quietCounters(rep.xdata)
    return quiet?.version === agreed.version && quiet.size === agreed.size
  })
  if (!isSame) ec.agreements.end(inode.gfid)
  return isSame
}

type Fragments = Pick<Answer<'readv'>, 'good' | 'replies'>

const fragmentOf = ({ replies }: Fragments, brick: number): Buffer[] =>
  (replies[brick] as Ok<'readv'>).data

/** The stripes of which every fragment is one; `undefined` when there are none. */
function decodeChecked(ec: Disperse, answer: Fragments, fragmentSize: number): Buffer | undefined {
  const { dataCount } = ec.geometry
  const bricks = bricksOf(answer.good)
  const others = bricks.splice(dataCount)
  const fragments = bricks.map((brick) => fragmentOf(answer, brick))
  const size = fragmentSize * dataCount
  const whole = ec.codec.decode(bricks, fragments, fragmentSize, 0, size)
  const expected = ec.codec.encode([whole], size, others)
  const isCodeWord = others.every((brick, i) => sameBytes(fragmentOf(answer, brick), expected[i]!))
  return isCodeWord ? whole : undefined
}

/** The pieces make up `bytes`. */
function sameBytes(pieces: readonly Buffer[], bytes: Buffer): boolean {
  let at = 0
  for (const piece of pieces) {
    if (bytes.compare(piece, 0, piece.length, at, at + piece.length) !== 0) return false
    at += piece.length
  }
  return at === bytes.length
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
  answer: Fragments,
  fragmentSize: number,
  from: number,
  to: number,
  lent: boolean,
): Decoded {
  const bricks = bricksOf(answer.good).slice(0, ec.geometry.dataCount)
  const fragments = bricks.map((brick) => fragmentOf(answer, brick))
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
