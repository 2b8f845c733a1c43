/** Fops that read one good copy. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { bricksOf } from '../common/mask.ts'
import { ChangeLog } from './change-log.ts'
import type { Replicate } from './index.ts'
import { fixOpen } from './open.ts'
import { readCopy } from './refresh.ts'

/** Passes on what the copy says. */
export function stat(afr: Replicate, frame: Frame, req: Req<'stat'>): MaybePromise<Rep<'stat'>> {
  return readCopy(afr, frame, {
    inode: req.loc.inode,
    needs: 'metadata',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'stat', req),
    lenient: true,
  })
}

export function fstat(afr: Replicate, frame: Frame, req: Req<'fstat'>): MaybePromise<Rep<'fstat'>> {
  fixOpen(afr, req.fd)
  return readCopy(afr, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    needs: 'metadata',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'fstat', req),
  })
}

export function readv(afr: Replicate, frame: Frame, req: Req<'readv'>): MaybePromise<Rep<'readv'>> {
  fixOpen(afr, req.fd)
  return readCopy(afr, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    needs: 'data',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'readv', req),
  })
}

export function readlink(
  afr: Replicate,
  frame: Frame,
  req: Req<'readlink'>,
): MaybePromise<Rep<'readlink'>> {
  return readCopy(afr, frame, {
    inode: req.loc.inode,
    needs: 'data',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'readlink', req),
  })
}

export function seek(afr: Replicate, frame: Frame, req: Req<'seek'>): MaybePromise<Rep<'seek'>> {
  fixOpen(afr, req.fd)
  return readCopy(afr, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    needs: 'data',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'seek', req),
  })
}

export function access(
  afr: Replicate,
  frame: Frame,
  req: Req<'access'>,
): MaybePromise<Rep<'access'>> {
  return readCopy(afr, frame, {
    inode: req.loc.inode,
    needs: 'metadata',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'access', req),
  })
}

export function getxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'getxattr'>,
): MaybePromise<Rep<'getxattr'>> {
  if (req.name !== undefined && ChangeLog.owns(req.name)) return { errno: E.NODATA }
  const rep = readCopy(afr, frame, {
    inode: req.loc.inode,
    needs: 'metadata',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'getxattr', req),
  })
  return req.name === undefined ? withoutOwn(rep) : rep
}

export function fgetxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'fgetxattr'>,
): MaybePromise<Rep<'fgetxattr'>> {
  if (req.name !== undefined && ChangeLog.owns(req.name)) return { errno: E.NODATA }
  fixOpen(afr, req.fd)
  if (req.name?.startsWith(INTERRUPT_LOCK) === true) return interruptLock(afr, frame, req)
  const rep = readCopy(afr, frame, {
    inode: req.fd.inode,
    fd: req.fd,
    needs: 'metadata',
    wind: (brick) => frame.wind(afr.bricks[brick]!, 'fgetxattr', req),
  })
  return req.name === undefined ? withoutOwn(rep) : rep
}

/** Gives up a waiting POSIX lock, which waits on one brick or another. */
const INTERRUPT_LOCK = 'glusterfs.intrlk'

async function interruptLock(
  afr: Replicate,
  frame: Frame,
  req: Req<'fgetxattr'>,
): Promise<Rep<'fgetxattr'>> {
  const bricks = bricksOf(afr.up).map((brick) => afr.bricks[brick]!)
  const replies = await frame.windAll(bricks, 'fgetxattr', () => req)
  return replies.find(({ errno }) => errno === 0) ?? replies[0] ?? { errno: E.NOTCONN }
}

/** A list of xattrs without the change log. */
async function withoutOwn(pending: MaybePromise<Rep<'getxattr'>>): Promise<Rep<'getxattr'>> {
  const rep = await pending
  if (rep.errno !== 0) return rep
  const dict = new Dict()
  for (const [key, value] of rep.dict.entries) if (!ChangeLog.owns(key)) dict.set(key, value)
  return { ...rep, dict }
}
