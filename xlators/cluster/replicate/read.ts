/** Fops that read one good copy. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { bricksOf } from '../common/mask.ts'
import { ChangeLog } from './change-log.ts'
import type { Replicate } from './index.ts'
import { fixOpen } from './open.ts'
import { type ReadSpec, readCopy } from './refresh.ts'

type PathFop = 'stat' | 'readlink' | 'access' | 'getxattr'
type FdFop = 'fstat' | 'readv' | 'seek' | 'fgetxattr'
type Needs = ReadSpec<PathFop>['needs']

const byPath = <K extends PathFop>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  needs: Needs,
): MaybePromise<Rep<K>> =>
  readCopy<K>(afr, frame, {
    inode: req.loc.inode,
    needs,
    wind: (brick) => frame.wind(afr.bricks[brick]!, fop, req),
    lenient: fop === 'stat',
  })

function byFd<K extends FdFop>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  needs: Needs,
): MaybePromise<Rep<K>> {
  const { fd } = req
  fixOpen(afr, fd)
  const wind = (brick: number) => frame.wind(afr.bricks[brick]!, fop, req)
  return readCopy<K>(afr, frame, { inode: fd.inode, fd, needs, wind })
}

export const stat = (afr: Replicate, frame: Frame, req: Req<'stat'>) =>
  byPath(afr, frame, 'stat', req, 'metadata')

export const fstat = (afr: Replicate, frame: Frame, req: Req<'fstat'>) =>
  byFd(afr, frame, 'fstat', req, 'metadata')

export const readv = (afr: Replicate, frame: Frame, req: Req<'readv'>) =>
  byFd(afr, frame, 'readv', req, 'data')

export const readlink = (afr: Replicate, frame: Frame, req: Req<'readlink'>) =>
  byPath(afr, frame, 'readlink', req, 'data')

export const seek = (afr: Replicate, frame: Frame, req: Req<'seek'>) =>
  byFd(afr, frame, 'seek', req, 'data')

export const access = (afr: Replicate, frame: Frame, req: Req<'access'>) =>
  byPath(afr, frame, 'access', req, 'metadata')

export function getxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'getxattr'>,
): MaybePromise<Rep<'getxattr'>> {
  if (req.name !== undefined && ChangeLog.owns(req.name)) return { errno: E.NODATA }
  const rep = byPath(afr, frame, 'getxattr', req, 'metadata')
  return req.name === undefined ? withoutOwn(rep) : rep
}

export function fgetxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'fgetxattr'>,
): MaybePromise<Rep<'fgetxattr'>> {
  if (req.name !== undefined && ChangeLog.owns(req.name)) return { errno: E.NODATA }
  if (req.name?.startsWith(INTERRUPT_LOCK) === true) return interruptLock(afr, frame, req)
  const rep = byFd(afr, frame, 'fgetxattr', req, 'metadata')
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
