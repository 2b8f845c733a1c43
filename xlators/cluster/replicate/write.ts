/** Fops that change or sync the content of a file. */
import { Dict } from '../../../src/core/dict.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { O_APPEND, O_DSYNC } from '../../../src/core/open-flags.ts'
import { bit } from '../common/mask.ts'
import { DATA, INODELK_COUNT, INODELK_DOMAIN } from './change-log.ts'
import type { Replicate } from './index.ts'
import { type Use, WHOLE } from './inode-lock.ts'
import { fixOpen } from './open.ts'
import type { Session } from './session.ts'
import { change } from './transaction.ts'

const IS_APPEND = 'glusterfs.write-is-append'
const ACTIVE_FDS = 'glusterfs.open-active-fd-count'

/** What an arbiter gets to see of a write. */
const ARBITER_DATA = [Buffer.of(0xff)]

/** What every write asks the bricks; shared, and never changed below. */
export function writeXdata(afr: Replicate, given: Dict | undefined): Dict {
  const xdata = given?.clone() ?? new Dict()
  xdata.setUint(ACTIVE_FDS, 4)
  xdata.setStr(INODELK_DOMAIN, afr.name)
  return xdata.setUint(IS_APPEND, 4)
}

export function writev(afr: Replicate, frame: Frame, req: Req<'writev'>): Promise<Rep<'writev'>> {
  const { fd, size, offset } = req
  const state = afr.fdState(fd)
  fixOpen(afr, fd, state)
  if (state?.isNew === true) afr.anticipation.wrote(state)
  const xdata = req.xdata === undefined ? afr.writeXdata : writeXdata(afr, req.xdata)
  const appends = (fd.flags & O_APPEND) !== 0
  const all = { ...req, xdata }
  const toArbiter = { ...all, data: ARBITER_DATA, size: 1 }
  const isSynced = ((fd.flags | req.flags) & O_DSYNC) !== 0
  return change(afr, frame, {
    fop: 'writev',
    slot: DATA,
    inode: fd.inode,
    gfid: fd.inode.gfid,
    fd,
    use: { start: offset, end: appends ? Number.POSITIVE_INFINITY : offset + size },
    delay: true,
    req: (brick) => ((afr.arbiterMask & bit(brick)) !== 0 ? toArbiter : all),
    size: (rep, brick) => ((afr.arbiterMask & bit(brick)) !== 0 && rep.size > 0 ? size : rep.size),
    onReplies: (session, replies) => lookAtWrite(session, replies, isSynced),
  })
}

/** Others wait for the lock; data was written over that a crash could bring back. */
function lookAtWrite(
  session: Session,
  replies: readonly (Rep<'writev'> | undefined)[],
  isSynced: boolean,
): void {
  let appended = true
  for (const reply of replies) {
    if (reply?.errno !== 0) continue
    if ((reply.xdata?.getNumber(INODELK_COUNT) ?? 0) > 1) session.over()
    if (reply.xdata?.getNumber(IS_APPEND) !== 1) appended = false
  }
  if (!appended && !isSynced) session.unstable = true
}

type Resize = 'ftruncate' | 'fallocate' | 'discard' | 'zerofill'

function byFd<K extends Resize>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  use: Use,
): Promise<Rep<K>> {
  const { fd } = req as { fd: Fd }
  fixOpen(afr, fd)
  return change(afr, frame, {
    fop,
    slot: DATA,
    inode: fd.inode,
    gfid: fd.inode.gfid,
    fd,
    use,
    delay: false,
    unstable: (fd.flags & O_DSYNC) === 0,
    req: () => req,
  })
}

const from = (start: number): Use => ({ start, end: Number.POSITIVE_INFINITY })

export function truncate(
  afr: Replicate,
  frame: Frame,
  req: Req<'truncate'>,
): Promise<Rep<'truncate'>> {
  return change(afr, frame, {
    fop: 'truncate',
    slot: DATA,
    inode: req.loc.inode,
    gfid: req.loc.gfid,
    use: from(req.offset),
    delay: false,
    unstable: true,
    req: () => req,
  })
}

export const ftruncate = (afr: Replicate, frame: Frame, req: Req<'ftruncate'>) =>
  byFd(afr, frame, 'ftruncate', req, from(req.offset))

export const fallocate = (afr: Replicate, frame: Frame, req: Req<'fallocate'>) =>
  byFd(afr, frame, 'fallocate', req, from(req.offset))

export const discard = (afr: Replicate, frame: Frame, req: Req<'discard'>) =>
  byFd(afr, frame, 'discard', req, from(req.offset))

export const zerofill = (afr: Replicate, frame: Frame, req: Req<'zerofill'>) =>
  byFd(afr, frame, 'zerofill', req, from(req.offset))

/** Everything written is on disk; a file system's error is a missed change like any other. */
export async function fsync(
  afr: Replicate,
  frame: Frame,
  req: Req<'fsync'>,
): Promise<Rep<'fsync'>> {
  const xdata = (req.xdata?.clone() ?? new Dict()).setStr(INODELK_DOMAIN, afr.name)
  return change(afr, frame, {
    fop: 'fsync',
    slot: DATA,
    inode: req.fd.inode,
    gfid: req.fd.inode.gfid,
    fd: req.fd,
    use: WHOLE,
    delay: req.xdata?.has('last-fsync') !== true,
    req: () => ({ ...req, xdata }),
    onReplies: (session, replies) => {
      if (replies.every((reply) => reply === undefined || reply.errno === 0)) {
        session.unstable = false
      }
    },
  })
}
