/** Fops that change attributes and xattrs. */

import type { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { ChangeLog, METADATA } from './change-log.ts'
import type { Replicate } from './index.ts'
import { WHOLE } from './inode-lock.ts'
import { fixOpen } from './open.ts'
import { change } from './transaction.ts'

type PathFop = 'setattr' | 'setxattr' | 'removexattr' | 'xattrop'
type FdFop = 'fsetattr' | 'fsetxattr' | 'fremovexattr' | 'fxattrop'

function metadata<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  on: { inode: Inode; gfid: Gfid; fd?: Fd },
): Promise<Rep<K>> {
  // Whoever adds to an xattr is likely to take it back soon.
  const delay = fop === 'fxattrop' && on.inode.fds.size <= 1
  return change(afr, frame, { fop, slot: METADATA, ...on, use: WHOLE, delay, req: () => req })
}

const byPath = <K extends PathFop>(afr: Replicate, frame: Frame, fop: K, req: Req<K>) =>
  metadata(afr, frame, fop, req, { inode: req.loc.inode, gfid: req.loc.gfid })

function byFd<K extends FdFop>(afr: Replicate, frame: Frame, fop: K, req: Req<K>) {
  const { fd } = req
  return metadata(afr, frame, fop, req, { inode: fd.inode, gfid: fd.inode.gfid, fd })
}

const holdsOwn = (dict: Dict): boolean =>
  [...dict.entries.keys()].some((key) => ChangeLog.owns(key))

export const setattr = (afr: Replicate, frame: Frame, req: Req<'setattr'>) =>
  byPath(afr, frame, 'setattr', req)

export function fsetattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'fsetattr'>,
): MaybePromise<Rep<'fsetattr'>> {
  fixOpen(afr, req.fd)
  return byFd(afr, frame, 'fsetattr', req)
}

export function setxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'setxattr'>,
): MaybePromise<Rep<'setxattr'>> {
  if (holdsOwn(req.dict)) return { errno: E.PERM }
  return byPath(afr, frame, 'setxattr', req)
}

export function fsetxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'fsetxattr'>,
): MaybePromise<Rep<'fsetxattr'>> {
  if (holdsOwn(req.dict)) return { errno: E.PERM }
  return byFd(afr, frame, 'fsetxattr', req)
}

export function removexattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'removexattr'>,
): MaybePromise<Rep<'removexattr'>> {
  if (ChangeLog.owns(req.name)) return { errno: E.PERM }
  return byPath(afr, frame, 'removexattr', req)
}

export function fremovexattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'fremovexattr'>,
): MaybePromise<Rep<'fremovexattr'>> {
  if (ChangeLog.owns(req.name)) return { errno: E.PERM }
  return byFd(afr, frame, 'fremovexattr', req)
}

export const xattrop = (afr: Replicate, frame: Frame, req: Req<'xattrop'>) =>
  byPath(afr, frame, 'xattrop', req)

export const fxattrop = (afr: Replicate, frame: Frame, req: Req<'fxattrop'>) =>
  byFd(afr, frame, 'fxattrop', req)
