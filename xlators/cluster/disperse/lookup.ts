/** lookup: asks every brick, without a lock; differences between bricks start heals. */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { isDir, isReg } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count, ringFrom } from '../common/mask.ts'
import { type Agreed, changeTime, quietCounters, writeTime } from './agreement.ts'
import { type Answer, dispatch } from './dispatch.ts'
import type { Disperse } from './index.ts'
import type { Session } from './session.ts'
import { begin } from './transaction.ts'
import {
  readSize,
  readWords,
  requestCounters,
  withoutOwn,
  XATTR_SIZE,
  XATTR_VERSION,
} from './xattrs.ts'

/** What a brick's lookup said of size and version, taken out of its xdata. */
interface Counters {
  size: number | undefined
  version: bigint
  /** Of an object nobody is changing. */
  quiet: ReturnType<typeof quietCounters>
}

interface Found {
  answer: Answer<'lookup'>
  counters: (Counters | undefined)[]
}

/** `req` with what this translator wants to know. */
function askFor(req: Req<'lookup'>): Req<'lookup'> {
  const xdata = requestCounters(req.xdata?.clone() ?? new Dict())
  // Fragments are of no use to quick-read.
  xdata.delete('glusterfs.content')
  return { loc: req.loc, xdata }
}

async function lookupBricks(
  ec: Disperse,
  frame: Frame,
  asking: Req<'lookup'>,
  asked?: Asked,
): Promise<Found> {
  const counters: (Counters | undefined)[] = []
  const answer = await dispatch(ec.children, ec.geometry.dataCount, frame, {
    fop: 'lookup',
    targets: ec.up,
    spread: 'all',
    first: 0,
    minimum: 1,
    strict: 'all',
    req: () => asking,
    asked,
    onReply: (brick, rep) => {
      if (rep.errno !== 0 || rep.xdata === undefined) return rep
      counters[brick] = {
        size: readSize(rep.xdata.getBytes(XATTR_SIZE)),
        version: readWords(rep.xdata.getBytes(XATTR_VERSION))[0],
        quiet: quietCounters(rep.xdata),
      }
      const rest = withoutOwn(rep.xdata)
      return { ...rep, xdata: rest.count === 0 ? undefined : rest }
    },
  })
  return { answer, counters }
}

/**
 * The size most of the bricks in `good` agree on, with equal numbers that of the higher version: a
 * writer may be half way through, or a brick behind.
 */
function agreedSize(found: Found): number | undefined {
  const votes = new Map<number, { count: number; version: bigint }>()
  for (const brick of bricksOf(found.answer.good)) {
    const counters = found.counters[brick]
    if (counters?.size === undefined) continue
    const vote = votes.get(counters.size) ?? { count: 0, version: 0n }
    vote.count++
    if (counters.version > vote.version) vote.version = counters.version
    votes.set(counters.size, vote)
  }
  let best: { size: number; count: number; version: bigint } | undefined
  for (const [size, vote] of votes) {
    const more = vote.count - (best?.count ?? 0)
    if (best === undefined || more > 0 || (more === 0 && vote.version > best.version)) {
      best = { size, ...vote }
    }
  }
  return best?.size
}

/** The counters every brick has, if they are all there and nobody changes the object. */
function agreement(ec: Disperse, found: Found): Agreed | undefined {
  const { brickCount } = ec.geometry
  const first = found.counters[0]?.quiet
  if (first === undefined || count(found.answer.good) !== brickCount) return undefined
  for (let brick = 1; brick < brickCount; brick++) {
    const quiet = found.counters[brick]?.quiet
    if (quiet?.version !== first.version || quiet.size !== first.size) return undefined
  }
  const stats = (found.answer.replies as Ok<'lookup'>[]).map(({ stat }) => stat)
  return { ...first, changed: stats.map(changeTime), written: stats.map(writeTime) }
}

export async function lookup(
  ec: Disperse,
  frame: Frame,
  req: Req<'lookup'>,
): Promise<Rep<'lookup'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const begun = clock.now()
  const asking = askFor(req)
  const asked = await askOne(ec, frame, asking)
  if (asked?.rep.errno === E.NOENT) return asked.rep
  const found = await lookupBricks(ec, frame, asking, asked)
  const { rep } = found.answer
  directoryOf(ec, req)?.lookedUp(rep.errno === 0)
  healDifferences(ec, frame, req, found.answer)
  if (rep.errno !== 0) return rep
  const agreed = agreement(ec, found)
  if (agreed !== undefined) ec.agreements.found(rep.stat.gfid, begun, agreed)
  if (isReg(rep.stat)) {
    const session = ec.sessionOf(rep.stat.gfid)
    const size = session?.known === true ? session.size : agreedSize(found)
    // A file without the xattr is not one of ours, or about to be healed: its size is unknown.
    rep.stat.size = size ?? 0
  }
  return rep
}

type Asked = { readonly brick: number; readonly rep: Rep<'lookup'> }

/**
 * While this client holds the lock of a directory and makes names in it nobody else does, so that
 * one good brick can say that a name is not there. `undefined`: it was not asked.
 */
async function askOne(ec: Disperse, frame: Frame, req: Req<'lookup'>): Promise<Asked | undefined> {
  const session = directoryOf(ec, req)
  if (session === undefined || session.release || !session.expectsAbsence) return undefined
  const parent = req.loc.parent!
  const tx = await begin(ec, frame, { inode: parent, shared: true, oneBrick: true, query: true })
  if (tx.errno !== 0) return undefined
  try {
    const brick = ringFrom(tx.session.good & ec.up, ec.firstBrick(parent.gfid))[0]
    if (tx.session !== session || brick === undefined) return undefined
    const rep = await frame.wind(ec.children[brick]!, 'lookup', req)
    if (rep.errno === E.NOENT) session.lookedUp(false)
    return { brick, rep }
  } finally {
    tx.end()
  }
}

/** The session of the directory in which a name not known yet is looked up. */
function directoryOf(ec: Disperse, { loc }: Req<'lookup'>): Session | undefined {
  if (loc.parent === undefined || loc.inode.gfid !== NULL_GFID) return undefined
  return ec.sessionOf(loc.parent.gfid)
}

/** The size of a file a fop is about to report. */
export async function lookupSize(
  ec: Disperse,
  frame: Frame,
  loc: Loc,
): Promise<{ errno: 0; size: number } | { errno: Errno }> {
  const session = ec.sessionOf(loc.gfid)
  if (session?.known === true) return { errno: 0, size: session.size }
  const found = await lookupBricks(ec, frame, askFor({ loc }))
  const { rep } = found.answer
  if (rep.errno !== 0) return rep
  return { errno: 0, size: agreedSize(found) ?? 0 }
}

/** A name that is not on all bricks, or not the same, or an object that differs: healed. */
function healDifferences(
  ec: Disperse,
  frame: Frame,
  req: Req<'lookup'>,
  answer: Answer<'lookup'>,
): void {
  let present: Ok<'lookup'> | undefined
  let found = 0
  let missing = 0
  let others = false
  answer.replies.forEach((reply, brick) => {
    if (reply === undefined) return
    if (reply.errno === 0) {
      others ||= present !== undefined && present.stat.gfid !== reply.stat.gfid
      present = reply
      found |= bit(brick)
    } else if (reply.errno === E.NOENT) {
      missing |= bit(brick)
    }
  })
  if (present === undefined) return
  const { parent, name } = req.loc
  if ((missing !== 0 || others) && parent !== undefined && name !== undefined) {
    ec.heals.name(frame, parent, name)
  } else if (count(found) > 1 && (ec.up & ~answer.good) !== 0) {
    ec.heals.inode(frame, present.stat.gfid, present.stat, isDir(present.stat))
  }
}
