/** Fops on attributes and xattrs. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, isReg, S_IFREG } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { bricksOf } from '../common/mask.ts'
import { dispatch } from './dispatch.ts'
import type { Disperse } from './index.ts'
import { LOCKINFO_KEY } from './merge-dicts.ts'
import { begin, type Intent, type Transaction } from './transaction.ts'
import { readSize, requestCounters, withoutOwn, XATTR_PREFIX, XATTR_SIZE } from './xattrs.ts'

/** Geo-replication's progress: each brick has its own. */
const STIME = /^trusted\.glusterfs\..*\.stime$/

/** The object of a fop, by loc or by fd. */
const at = (loc: Loc): Intent => ({ inode: loc.inode, gfid: loc.gfid })
const on = (fd: Fd): Intent => ({ inode: fd.inode, fd })

const readsAll = (object: Intent): Intent => ({ ...object, shared: true, query: true })

const readsOne = (object: Intent): Intent => ({
  ...object,
  shared: true,
  oneBrick: true,
  query: true,
})

const changes = (object: Intent): Intent => ({ ...object, query: true, updateMetadata: true })

/** Runs `fop` on all bricks under the lock; `finish` sees a success before it is returned. */
async function onAll<K extends FopName>(
  ec: Disperse,
  frame: Frame,
  intent: Intent,
  fop: K,
  req: Req<K>,
  finish?: (tx: Transaction, rep: Rep<K>) => void,
): Promise<Rep<K>> {
  const tx = await begin(ec, frame, intent)
  if (tx.errno !== 0) return tx as Rep<K>
  try {
    const { rep } = await tx.send(fop, {
      spread: 'all',
      xdata: req.xdata,
      req: (_brick, xdata) => ({ ...req, xdata }),
    })
    if (rep.errno === 0) {
      if (intent.updateMetadata === true) tx.changed()
      finish?.(tx, rep)
    }
    return rep
  } finally {
    tx.end()
  }
}

/** Runs `fop` on one brick under the lock. */
async function onOne<K extends FopName>(
  ec: Disperse,
  frame: Frame,
  intent: Intent,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const tx = await begin(ec, frame, intent)
  if (tx.errno !== 0) return tx as Rep<K>
  try {
    const { rep } = await tx.send(fop, {
      spread: 'one',
      minimum: 1,
      xdata: req.xdata,
      req: (_brick, xdata) => ({ ...req, xdata }),
    })
    return rep
  } finally {
    tx.end()
  }
}

/** The size users see, into the attributes of the locked file. */
function setSize(tx: Transaction, ...stats: Iatt[]): void {
  for (const stat of stats) if (isReg(stat)) stat.size = tx.session.size
}

export async function stat(ec: Disperse, frame: Frame, req: Req<'stat'>): Promise<Rep<'stat'>> {
  if (req.atOpen === true) {
    const rep = await statUnlocked(ec, frame, req)
    if (rep !== undefined) return rep
  }
  return onAll(ec, frame, readsAll(at(req.loc)), 'stat', req, (tx, rep) => {
    if (rep.errno === 0) setSize(tx, rep.stat)
  })
}

/**
 * What K bricks say when nobody is at work on the file, without a lock and what comes with it.
 * Undefined when they do not say the same.
 */
async function statUnlocked(
  ec: Disperse,
  frame: Frame,
  req: Req<'stat'>,
): Promise<Ok<'stat'> | undefined> {
  const { inode } = req.loc
  if (!ec.isUp || inode.type !== S_IFREG) return undefined
  const session = ec.sessionOf(inode.gfid)
  // Its good bricks are not known yet, or its changes are under way.
  if (session !== undefined && (!session.known || session.release)) return undefined
  const xdata = requestCounters(req.xdata?.clone() ?? new Dict())
  const { rep } = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'stat',
    targets: ec.up & (session?.good ?? ~0),
    spread: 'some',
    first: ec.firstBrick(inode.gfid),
    minimum: ec.geometry.dataCount,
    strict: 'all',
    req: () => ({ loc: req.loc, xdata }),
  })
  if (rep.errno !== 0) return undefined
  const size = readSize(rep.xdata?.getBytes(XATTR_SIZE))
  const now = ec.sessionOf(inode.gfid)
  if (size === undefined || now !== session) return undefined
  rep.stat.size = session?.size ?? size
  const rest = withoutOwn(rep.xdata!)
  return { ...rep, xdata: rest.count === 0 ? undefined : rest }
}

export function fstat(ec: Disperse, frame: Frame, req: Req<'fstat'>): Promise<Rep<'fstat'>> {
  return onAll(ec, frame, readsAll(on(req.fd)), 'fstat', req, (tx, rep) => {
    if (rep.errno === 0) setSize(tx, rep.stat)
  })
}

export function setattr(ec: Disperse, frame: Frame, req: Req<'setattr'>): Promise<Rep<'setattr'>> {
  return onAll(ec, frame, changes(at(req.loc)), 'setattr', req, (tx, rep) => {
    if (rep.errno === 0) setSize(tx, rep.prestat, rep.poststat)
  })
}

export function fsetattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'fsetattr'>,
): Promise<Rep<'fsetattr'>> {
  return onAll(ec, frame, changes(on(req.fd)), 'fsetattr', req, (tx, rep) => {
    if (rep.errno === 0) setSize(tx, rep.prestat, rep.poststat)
  })
}

export const access = (ec: Disperse, frame: Frame, req: Req<'access'>): Promise<Rep<'access'>> =>
  onOne(ec, frame, readsOne(at(req.loc)), 'access', req)

export const readlink = (
  ec: Disperse,
  frame: Frame,
  req: Req<'readlink'>,
): Promise<Rep<'readlink'>> => onOne(ec, frame, readsOne(at(req.loc)), 'readlink', req)

const isOwn = (name: string) => name.startsWith(XATTR_PREFIX)

const namesOwn = (dict: Dict): boolean => [...dict.entries.keys()].some(isOwn)

export function setxattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'setxattr'>,
): Rep<'setxattr'> | Promise<Rep<'setxattr'>> {
  if (namesOwn(req.dict)) return { errno: E.PERM }
  return onAll(ec, frame, changes(at(req.loc)), 'setxattr', req)
}

export function fsetxattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'fsetxattr'>,
): Rep<'fsetxattr'> | Promise<Rep<'fsetxattr'>> {
  if (namesOwn(req.dict)) return { errno: E.PERM }
  return onAll(ec, frame, changes(on(req.fd)), 'fsetxattr', req)
}

export function removexattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'removexattr'>,
): Rep<'removexattr'> | Promise<Rep<'removexattr'>> {
  if (isOwn(req.name)) return { errno: E.PERM }
  return onAll(ec, frame, changes(at(req.loc)), 'removexattr', req)
}

export function fremovexattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'fremovexattr'>,
): Rep<'fremovexattr'> | Promise<Rep<'fremovexattr'>> {
  if (isOwn(req.name)) return { errno: E.PERM }
  return onAll(ec, frame, changes(on(req.fd)), 'fremovexattr', req)
}

export const xattrop = (ec: Disperse, frame: Frame, req: Req<'xattrop'>): Promise<Rep<'xattrop'>> =>
  onAll(ec, frame, { ...at(req.loc), updateMetadata: true }, 'xattrop', req)

export const fxattrop = (
  ec: Disperse,
  frame: Frame,
  req: Req<'fxattrop'>,
): Promise<Rep<'fxattrop'>> =>
  onAll(ec, frame, { ...on(req.fd), updateMetadata: true }, 'fxattrop', req)

/** Takes our own xattrs out of a reply. */
function hideOwn<K extends 'getxattr' | 'fgetxattr'>(rep: Rep<K>): Rep<K> {
  const reply = rep as Rep<'getxattr'>
  return reply.errno === 0 ? ({ ...reply, dict: withoutOwn(reply.dict) } as Rep<K>) : rep
}

export async function getxattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'getxattr'>,
): Promise<Rep<'getxattr'>> {
  if (req.name !== undefined && isOwn(req.name)) return { errno: E.NODATA }
  if (STIME.test(req.name ?? '')) return onAll(ec, frame, readsAll(at(req.loc)), 'getxattr', req)
  return hideOwn<'getxattr'>(await onOne(ec, frame, readsOne(at(req.loc)), 'getxattr', req))
}

export async function fgetxattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'fgetxattr'>,
): Promise<Rep<'fgetxattr'>> {
  if (req.name !== undefined && isOwn(req.name)) return { errno: E.NODATA }
  if (req.name === LOCKINFO_KEY || STIME.test(req.name ?? '')) {
    return onAll(ec, frame, readsAll(on(req.fd)), 'fgetxattr', req)
  }
  if (req.name?.startsWith(INTERRUPT_LOCK) === true) return interruptLock(ec, frame, req)
  const intent = readsOne(on(req.fd))
  return hideOwn<'fgetxattr'>(await onOne(ec, frame, intent, 'fgetxattr', req))
}

/** Gives up a waiting POSIX lock, which waits on one brick or another. */
const INTERRUPT_LOCK = 'glusterfs.intrlk'

async function interruptLock(
  ec: Disperse,
  frame: Frame,
  req: Req<'fgetxattr'>,
): Promise<Rep<'fgetxattr'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const bricks = bricksOf(ec.up).map((brick) => ec.children[brick]!)
  const replies = await frame.windAll(bricks, 'fgetxattr', () => req)
  return replies.find(({ errno }) => errno === 0) ?? replies[0]!
}
