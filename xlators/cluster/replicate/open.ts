/** Opening and closing, and what concerns the whole volume. */
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, Ok, Rep, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { bit, bricksOf } from '../common/mask.ts'
import type { Replicate } from './index.ts'
import { errorReply, finalErrno } from './transaction.ts'
import { ftruncate } from './write.ts'

const O_CREAT = 0o100
const O_EXCL = 0o200

interface Everywhere<K extends FopName> {
  replies: (Rep<K> | undefined)[]
  good: number
}

/** One fop to every brick that is up. */
export async function everywhere<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  fop: K,
  req: Req<K>,
  targets = afr.up,
): Promise<Everywhere<K>> {
  const replies = await frame.windMask(afr.bricks, targets, fop, () => req)
  let good = 0
  for (let brick = 0; brick < replies.length; brick++) {
    if (replies[brick]?.errno === 0) good |= bit(brick)
  }
  return { replies, good }
}

/** A success when enough bricks succeeded. */
function enough<K extends FopName>(afr: Replicate, { replies, good }: Everywhere<K>): Rep<K> {
  if (good === 0) return errorReply(replies, finalErrno(replies))
  if (!afr.quorum.in(good)) {
    const failed = replies.find((reply) => reply !== undefined && reply.errno !== 0)
    return failed ?? { errno: E.NOTCONN }
  }
  return replies[bricksOf(good)[0]!]!
}

export async function open(afr: Replicate, frame: Frame, req: Req<'open'>): Promise<Rep<'open'>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  const flags = req.flags & ~O_TRUNC
  const opened = await everywhere(afr, frame, 'open', { ...req, flags })
  const rep = enough(afr, opened)
  if (rep.errno !== 0) return rep
  afr.fdOpened(req.fd, opened.good)
  if ((req.flags & O_TRUNC) !== 0) {
    const truncated = await ftruncate(afr, frame, { fd: req.fd, offset: 0 })
    if (truncated.errno !== 0) return truncated
  }
  return rep
}

export async function opendir(
  afr: Replicate,
  frame: Frame,
  req: Req<'opendir'>,
): Promise<Rep<'opendir'>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  const opened = await everywhere(afr, frame, 'opendir', req)
  const rep = enough(afr, opened)
  if (rep.errno === 0) afr.fdOpened(req.fd, opened.good)
  return rep
}

/**
 * Opens `fd` on bricks that came back since, in the background; until then they are reached
 * through anonymous fds. An fd with locks stays closed there: protocol/client would find locks
 * missing that other bricks still have.
 */
export function fixOpen(afr: Replicate, fd: Fd, state = afr.fdState(fd)): void {
  if (state === undefined) return
  const missing = afr.up & ~(state.opened | state.opening | state.foreign)
  if (missing === 0 || state.triedIn === afr.generation || state.locked || fd.closing) return
  // Once: a file a brick lacks is not there before a heal.
  state.triedIn = afr.generation
  state.opening |= missing
  fd.hold()
  afr.background('afr-fix-open', { ...ROOT_CREDS, pid: fd.pid }, async (frame) => {
    const loc = Loc.ofInode(fd.inode)
    const flags = fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC)
    const { good } = isDirInode(fd.inode)
      ? await everywhere(afr, frame, 'opendir', { loc, fd }, missing)
      : await everywhere(afr, frame, 'open', { loc, fd, flags }, missing)
    state.opened |= good
    state.opening &= ~missing
    fd.drop()
  })
}

/** What was kept for the next write is settled; the brick drops the closing process's locks. */
export async function flush(
  afr: Replicate,
  frame: Frame,
  req: Req<'flush'>,
): Promise<Rep<'flush'>> {
  const { fd } = req
  const state = afr.fdState(fd)
  if (state !== undefined) state.isFlushed = true
  const settled = afr.dataLock(fd.inode.gfid)?.flush(fd)
  const { replies, good } = await everywhere(afr, frame, 'flush', req)
  if (settled !== undefined) await settled
  if (good === 0) return errorReply(replies, finalErrno(replies))
  return replies[bricksOf(good)[0]!]!
}

export async function fsyncdir(
  afr: Replicate,
  frame: Frame,
  req: Req<'fsyncdir'>,
): Promise<Rep<'fsyncdir'>> {
  const { replies, good } = await everywhere(afr, frame, 'fsyncdir', req)
  if (good === 0) return errorReply(replies, finalErrno(replies))
  return replies[bricksOf(good)[0]!]!
}

/** The fullest brick limits the volume. */
export async function statfs(
  afr: Replicate,
  frame: Frame,
  req: Req<'statfs'>,
): Promise<Rep<'statfs'>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  const { replies, good } = await everywhere(afr, frame, 'statfs', req, afr.up & ~afr.arbiterMask)
  if (good === 0) return errorReply(replies, finalErrno(replies))
  let least: Ok<'statfs'> | undefined
  for (const reply of replies) {
    if (reply?.errno !== 0) continue
    if (least === undefined || reply.statfs.bavail < least.statfs.bavail) least = reply
  }
  return least!
}

/** A message to the bricks' own translators. */
export async function ipc(afr: Replicate, frame: Frame, req: Req<'ipc'>): Promise<Rep<'ipc'>> {
  if (afr.up === 0) return { errno: E.NOTCONN }
  const { replies, good } = await everywhere(afr, frame, 'ipc', req)
  if (good === 0) return errorReply(replies, finalErrno(replies))
  return replies[bricksOf(good)[0]!]!
}
