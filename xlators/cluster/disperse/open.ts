/** open, opendir, listing, flush and sync. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { DirEntry, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { isReg } from '../../../src/core/iatt.ts'
import { bit, ringFrom } from '../common/mask.ts'
import { dispatch } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { ftruncate } from './resize.ts'
import { begin, type Transaction } from './transaction.ts'
import { readSize, withoutOwn, XATTR_SIZE } from './xattrs.ts'

const O_TRUNC = 0o1000
const O_APPEND = 0o2000

export async function open(ec: Disperse, frame: Frame, req: Req<'open'>): Promise<Rep<'open'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const flags = req.flags & ~(O_APPEND | O_TRUNC)
  const { rep, good } = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'open',
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum: ec.geometry.dataCount,
    strict: [],
    req: () => ({ ...req, flags }),
  })
  if (rep.errno !== 0) return rep
  ec.fdOpened(req.fd, good)
  if ((req.flags & O_TRUNC) !== 0) {
    const truncated = await ftruncate(ec, frame, { fd: req.fd, offset: 0 })
    if (truncated.errno !== 0) return truncated
  }
  return rep
}

export async function opendir(
  ec: Disperse,
  frame: Frame,
  req: Req<'opendir'>,
): Promise<Rep<'opendir'>> {
  const first = ec.agreedOn(req.loc.inode) === undefined ? undefined : listingBrick(ec, req.fd)
  if (first !== undefined) {
    const rep = await frame.wind(ec.children[first]!, 'opendir', req)
    if (rep.errno === 0) ec.fdOpened(req.fd, bit(first))
    if (rep.errno === 0) return rep
  }
  const tx = await begin(ec, frame, {
    inode: req.loc.inode,
    gfid: req.loc.gfid,
    shared: true,
    query: true,
  })
  if (tx.errno !== 0) return tx
  try {
    const answer = await tx.send('opendir', {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({ ...req, xdata }),
    })
    if (answer.rep.errno === 0) ec.fdOpened(req.fd, answer.good)
    return answer.rep
  } finally {
    tx.end()
  }
}

export const readdir = (ec: Disperse, frame: Frame, req: Req<'readdir'>): Promise<Rep<'readdir'>> =>
  list(ec, frame, 'readdir', req)

export async function readdirp(
  ec: Disperse,
  frame: Frame,
  req: Req<'readdirp'>,
): Promise<Rep<'readdirp'>> {
  const xdata = (req.xdata?.clone() ?? new Dict()).setUint(XATTR_SIZE, 0)
  const rep = await list(ec, frame, 'readdirp', { ...req, xdata })
  if (rep.errno !== 0) return rep
  for (const entry of rep.entries) fixEntry(ec, entry)
  return rep
}

/** A brick's entry as users see it. A file whose size is not known is left for a lookup. */
function fixEntry(ec: Disperse, entry: DirEntry): void {
  const size = readSize(entry.xdata?.getBytes(XATTR_SIZE))
  if (entry.xdata !== undefined) entry.xdata = withoutOwn(entry.xdata)
  const { stat } = entry
  if (stat === undefined || !isReg(stat)) return
  if (size === undefined) {
    entry.stat = undefined
    entry.inode = undefined
    return
  }
  const session = ec.sessionOf(stat.gfid)
  stat.size = session?.known === true ? session.size : size
  stat.blocks *= ec.geometry.dataCount
}

/** The brick of `bricks` to list a directory from while all of them are equal. */
function listingBrick(ec: Disperse, { inode }: Fd, bricks = ~0): number | undefined {
  return ringFrom(ec.up & bricks, ec.firstBrick(inode.gfid))[0]
}

/** A listing starts on a brick of the read policy and goes on there: offsets are that brick's. */
async function list<K extends 'readdir' | 'readdirp'>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const opened = ec.openedOn(req.fd)
  if (opened === 0) return { errno: E.BADFD }
  if (req.off !== 0n) {
    const child = ec.childOfOffset(req.off)
    if (child === undefined) return { errno: E.INVAL }
    return frame.tail(child, fop, req)
  }
  if (ec.agreedOn(req.fd.inode) !== undefined) {
    const first = listingBrick(ec, req.fd, opened)
    const rep = first === undefined ? undefined : await frame.wind(ec.children[first]!, fop, req)
    if (rep?.errno === 0) return rep
  }
  const tx = await begin(ec, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    shared: true,
    oneBrick: true,
    query: true,
  })
  if (tx.errno !== 0) return tx as Rep<K>
  try {
    const { good } = tx.session
    if ((opened & good & ec.up) === 0) await ec.openDirectory(frame, req.fd, good)
    const { rep } = await tx.send(fop, {
      spread: 'one',
      minimum: 1,
      only: ec.openedOn(req.fd),
      xdata: req.xdata,
      req: (_brick, xdata) => ({ ...req, xdata }),
    })
    return rep
  } finally {
    tx.end()
  }
}

/** What must not overtake the counters: they reach the bricks first. `then` sees what the fop did. */
async function afterSettling<K extends 'flush' | 'fsync' | 'fsyncdir'>(
  ec: Disperse,
  frame: Frame,
  fop: K,
  req: Req<K>,
  then?: (tx: Transaction, rep: Ok<K>) => void,
): Promise<Rep<K>> {
  if (ec.isLost(req.fd)) return { errno: E.BADF }
  const query = fop === 'fsync'
  const tx = await begin(ec, frame, { inode: req.fd.inode, fd: req.fd, query })
  if (tx.errno !== 0) return tx
  try {
    const { session } = tx
    if (fop === 'fsyncdir') await ec.openDirectory(frame, req.fd, session.good)
    const settled = await (fop === 'flush' ? session.settleForClose(frame) : session.settle(frame))
    if (settled.errno !== 0) return settled
    const { rep } = await tx.send(fop, {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({ ...req, xdata }),
    })
    if (rep.errno === 0) then?.(tx, rep as Ok<K>)
    return rep
  } finally {
    tx.end()
  }
}

export async function flush(ec: Disperse, frame: Frame, req: Req<'flush'>): Promise<Rep<'flush'>> {
  if (ec.isLocked(req.fd.inode)) return afterSettling(ec, frame, 'flush', req)
  // Without a lock there is nothing to settle.
  if (ec.isLost(req.fd)) return { errno: E.BADF }
  if (!ec.isUp) return { errno: E.NOTCONN }
  const answer = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'flush',
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum: ec.geometry.dataCount,
    strict: [],
    req: () => req,
  })
  return answer.rep
}

export const fsync = (ec: Disperse, frame: Frame, req: Req<'fsync'>): Promise<Rep<'fsync'>> =>
  afterSettling(ec, frame, 'fsync', req, ({ session }, rep) => {
    rep.prestat.size = session.size
    rep.poststat.size = session.size
  })

export const fsyncdir = (
  ec: Disperse,
  frame: Frame,
  req: Req<'fsyncdir'>,
): Promise<Rep<'fsyncdir'>> => afterSettling(ec, frame, 'fsyncdir', req)

/** Capacity: the bricks' smallest, times K. */
export async function statfs(
  ec: Disperse,
  frame: Frame,
  req: Req<'statfs'>,
): Promise<Rep<'statfs'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const { rep } = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'statfs',
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum: ec.geometry.dataCount,
    strict: [],
    req: () => req,
  })
  if (rep.errno !== 0) return rep
  if (rep.xdata?.getNumber('quota-deem-statfs') !== 1) {
    const scale = ec.geometry.dataCount
    rep.statfs.blocks *= scale
    rep.statfs.bfree *= scale
    rep.statfs.bavail *= scale
  }
  return rep
}

/** A message to the bricks' own translators. */
export async function ipc(ec: Disperse, frame: Frame, req: Req<'ipc'>): Promise<Rep<'ipc'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const { rep } = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'ipc',
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum: 1,
    strict: [],
    req: () => req,
  })
  return rep
}
