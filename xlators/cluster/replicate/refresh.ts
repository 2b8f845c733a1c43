/**
 * Which copies of an object may be read: asked of all bricks when it is not known or in doubt
 * (afr_inode_refresh), and reads that go to one good copy after the other (afr_read_txn).
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopError, FopName, MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { type Inode, inodePath, isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf } from '../common/mask.ts'
import { type CopyReply, DATA, ENTRY, METADATA } from './change-log.ts'
import type { Replicate } from './index.ts'
import { noteSplitBrain } from './split-brain.ts'
import { finalErrno } from './transaction.ts'

type Status = { errno: Errno | 0 }

/** Asks all bricks anew; concurrent callers share one round. */
export function refresh(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
): Promise<Status> {
  const state = afr.state(inode)
  const { generation } = afr
  const { doubts, refreshing } = state
  if (refreshing?.generation === generation && refreshing.doubts === doubts) {
    return refreshing.done as Promise<Status>
  }
  const done = ask(afr, frame, inode, fd).finally(() => {
    if (state.refreshing?.done === done) state.refreshing = undefined
  })
  state.refreshing = { generation, doubts, done }
  return done
}

async function ask(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
): Promise<Status> {
  const state = afr.state(inode)
  const { generation, up } = afr
  const { doubts } = state
  const xdata = afr.changes.requestRefresh()
  const loc = Loc.ofInode(inode)
  const replies: (CopyReply | undefined)[] = new Array(afr.bricks.length)
  const asked = bricksOf(up).map(async (brick) => {
    const child = afr.bricks[brick]!
    const reply = await (fd !== undefined
      ? frame.wind(child, 'fstat', { fd, xdata })
      : frame.wind(child, 'lookup', { loc, xdata }))
    // An fd may have been opened on what a brick had under the name before.
    const isOther = reply.errno === 0 && reply.stat.gfid !== inode.gfid
    replies[brick] = isOther ? { errno: E.STALE } : reply
  })
  await Promise.all(asked)
  let good = 0
  replies.forEach((reply, brick) => {
    if (reply?.errno === 0) good |= bit(brick)
  })
  if (good === 0) return { errno: finalErrno(replies) }
  if (!afr.quorum.in(good)) return { errno: quorumErrno(replies) }
  const verdict = afr.changes.judge(replies)
  state.learned(generation, doubts, verdict.data, verdict.metadata)
  if (verdict.blamed !== 0) afr.heals.inode(frame, inode)
  if (state.readable === 0) noteSplitBrain(afr, inode, inodePath(inode), replies)
  return { errno: 0 }
}

/** The errno when too few bricks have the object, or the fd (one that lost its locks). */
export const quorumErrno = (replies: readonly (CopyReply | undefined)[]): Errno =>
  [E.IO, E.BADFD].find((errno) => replies.some((reply) => reply?.errno === errno)) ?? E.NOTCONN

/** Makes sure that some copy is good for content and attributes; EIO in a split-brain. */
export async function ensureReadable(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  fd: Fd | undefined,
): Promise<Status> {
  if (inode.gfid === NULL_GFID) return { errno: 0 }
  const state = afr.state(inode)
  if (!state.isFresh(afr.generation)) {
    const { errno } = await refresh(afr, frame, inode, fd)
    if (errno !== 0) return { errno }
  }
  // Whether entries agree does not matter to a directory's attributes.
  const readable = isDirInode(inode) ? state.metadata : state.readable
  return { errno: readable !== 0 || state.favorite >= 0 ? 0 : E.IO }
}

/** Errors another copy would answer as well, if it is as good as this one. */
const FINAL = new Set<number>([
  E.NODATA,
  E.ACCES,
  E.PERM,
  E.NXIO,
  E.INVAL,
  E.RANGE,
  E.OPNOTSUPP,
  E.ISDIR,
  E.NOTDIR,
  E.NAMETOOLONG,
])

export interface ReadSpec<K extends FopName> {
  inode: Inode
  fd?: Fd | undefined
  /** A directory in disagreement about entries may still be listed, about attributes be asked. */
  needs: 'data' | 'metadata'
  wind: (brick: number) => MaybePromise<Rep<K>>
  /** In a split-brain any copy will do, as it does for a lookup. */
  lenient?: boolean
}

/** Reads from a good copy; from the others in turn when it fails. */
export function readCopy<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  spec: ReadSpec<K>,
): MaybePromise<Rep<K>> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused } as FopError
  if (afr.thinArbiter !== undefined && afr.up !== afr.all) return readAlone(afr, frame, spec)
  return readGood(afr, frame, spec)
}

/** Of two bricks one is there: a thin arbiter must know that it missed nothing. */
async function readAlone<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  spec: ReadSpec<K>,
): Promise<Rep<K>> {
  const { inode, needs } = spec
  const content = isDirInode(inode) ? ENTRY : DATA
  const slot = needs === 'data' ? content : METADATA
  const errno = await afr.thinArbiter!.mayRead(frame, bricksOf(afr.up)[0]!, inode, slot)
  return errno === 0 ? readGood(afr, frame, spec) : ({ errno } as FopError)
}

function readGood<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  spec: ReadSpec<K>,
): MaybePromise<Rep<K>> {
  const state = afr.state(spec.inode)
  if (!state.isFresh(afr.generation)) return readAfterRefresh(afr, frame, spec)
  const brick = pick(afr, frame, spec)
  if (brick < 0) return readAfterRefresh(afr, frame, spec)
  return windCounted(afr, spec, brick, (answer) =>
    isFinal(answer) ? answer : readAfterRefresh(afr, frame, spec),
  )
}

const isFinal = (rep: { errno: Errno | 0 }): boolean => rep.errno === 0 || FINAL.has(rep.errno)

/** Reads from `brick`, which counts as busy until it answers; `judge` makes of that what is told. */
function windCounted<K extends FopName>(
  afr: Replicate,
  spec: ReadSpec<K>,
  brick: number,
  judge: (answer: Rep<K>) => MaybePromise<Rep<K>>,
): MaybePromise<Rep<K>> {
  afr.pendingReads[brick]!++
  const take = (answer: Rep<K>): MaybePromise<Rep<K>> => {
    afr.pendingReads[brick]!--
    return judge(answer)
  }
  const rep = spec.wind(brick)
  return rep instanceof Promise ? rep.then(take) : take(rep)
}

const asItIs = <T>(answer: T): T => answer

async function readAfterRefresh<K extends FopName>(
  afr: Replicate,
  frame: Frame,
  spec: ReadSpec<K>,
): Promise<Rep<K>> {
  const status = await refresh(afr, frame, spec.inode, spec.fd)
  if (status.errno !== 0) return { errno: status.errno } as FopError
  const good = pick(afr, frame, spec)
  const first = good < 0 && spec.lenient === true ? anyCopy(afr, spec.inode) : good
  if (first < 0) return { errno: E.IO } as FopError
  let rep = await windCounted(afr, spec, first, asItIs)
  const others = readableFor(afr, spec) & afr.up & ~bit(first)
  for (const brick of bricksOf(others)) {
    if (isFinal(rep)) break
    rep = await windCounted(afr, spec, brick, asItIs)
  }
  return rep
}

/** What a lookup shows of a file of which no copy is good; -1 where it fails too. */
function anyCopy(afr: Replicate, inode: Inode): number {
  const { up } = afr
  if (isDirInode(inode) || (afr.quorum.on && up !== afr.all)) return -1
  const copies = up & ~afr.arbiterMask
  const likely = copies & afr.state(inode).metadata
  return bricksOf(likely !== 0 ? likely : copies)[0] ?? -1
}

function readableFor<K extends FopName>(afr: Replicate, spec: ReadSpec<K>): number {
  const state = afr.state(spec.inode)
  const others = ~state.unrecorded
  if (state.readable !== 0 || !isDirInode(spec.inode)) return state.readable & others
  // Directories: what they list is merged by a heal, any copy will do until then.
  if (spec.needs === 'metadata' || state.metadata !== 0) return state.metadata & others
  return afr.up & ~afr.arbiterMask || afr.up
}

/** The brick to read from, -1 when no copy is good. */
function pick<K extends FopName>(afr: Replicate, frame: Frame, spec: ReadSpec<K>): number {
  const brick = afr.readBrick(spec.inode, readableFor(afr, spec) & afr.up, frame.creds.pid)
  if (brick >= 0) return brick
  const { choice, favorite } = afr.state(spec.inode)
  const chosen = choice >= 0 ? choice : favorite
  return chosen >= 0 && (afr.up & bit(chosen)) !== 0 ? chosen : -1
}
