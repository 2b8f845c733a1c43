/**
 * lookup: asks every brick, without a lock. What they say of each other decides which copies may be
 * read; disagreement about the name itself is healed before the answer (afr_lookup, afr_discover).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { MaybePromise, Ok, Rep, Req } from '../../../src/core/fop.ts'
import { CLIENT_PID_SELF_HEALD, type Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, has } from '../common/mask.ts'
import { DATA, LINK_COUNT, METADATA, type Verdict } from './change-log.ts'
import { healMetadata, healName } from './heal.ts'
import { sameXattrs } from './healed-xattrs.ts'
import type { Replicate } from './index.ts'
import { quorumErrno, refresh } from './refresh.ts'
import { noteSplitBrain } from './split-brain.ts'
import { errorReply, finalErrno } from './transaction.ts'

type Replies = (Rep<'lookup'> | undefined)[]

/** The client that adds a brick looks the root up while the new one is not ready. */
const PID_ADD_REPLICA_MOUNT = -12

const CONTENT = 'glusterfs.content'
const INODELK_COUNT = 'glusterfs.inodelk-count'
const PARENT_ENTRYLK = 'glusterfs.parent-entrylk'

export async function lookup(
  afr: Replicate,
  frame: Frame,
  req: Req<'lookup'>,
): Promise<Rep<'lookup'>> {
  const { loc } = req
  if (isPrivate(loc, frame.creds.pid)) return { errno: E.PERM }
  if (afr.up === 0) return { errno: E.NOTCONN }
  if (afr.admit() !== 0 && !addsBrick(frame, loc)) return { errno: E.NOTCONN }
  if (req.xdata?.has('gfid-changed') === true) return { errno: E.STALE }
  const isNamed = loc.name !== undefined && loc.parent !== undefined
  if (isNamed && afr.state(loc.parent!).names?.isAbsent(loc.name!, frame.creds) === true) {
    return { errno: E.NOENT }
  }
  if (!isNamed && loc.inode.isRoot) afr.reads.findLocal(frame)
  const gfidReq = req.xdata?.getGfid('gfid-req')
  const asked = { loc, xdata: lookupXdata(afr, req.xdata) }
  let round = await ask(afr, frame, asked)
  if (isNamed && needsNameHeal(afr, loc, round.replies)) {
    const healed = await healName(afr, frame, loc, gfidReq)
    if (healed.errno === E.IO) return { errno: E.IO }
    if (healed.errno === 0) round = await ask(afr, frame, asked)
  }
  if (needsMetadataHeal(afr, round.replies)) {
    const first = round.replies.find((reply) => reply?.errno === 0) as Ok<'lookup'>
    const { gfid, mode } = first.stat
    const inode = afr.graph.inodes.findOrNew(gfid, mode & S_IFMT)
    const healed = await healMetadata(afr, frame, inode)
    if (healed.errno === 0) round = await ask(afr, frame, asked)
  }
  return answer(afr, frame, loc, round)
}

/** Names the bricks keep for themselves. */
export function isPrivateName(name: string, pid: number): boolean {
  if (name === '.landfill') return true
  return pid !== CLIENT_PID_SELF_HEALD && name.startsWith('.glusterfs-anonymous-inode')
}

const isPrivate = (loc: Loc, pid: number): boolean =>
  loc.parent?.isRoot === true && loc.name !== undefined && isPrivateName(loc.name, pid)

const addsBrick = (frame: Frame, loc: Loc): boolean =>
  frame.creds.pid === PID_ADD_REPLICA_MOUNT && loc.inode.isRoot

function lookupXdata(afr: Replicate, given: Dict | undefined): Dict {
  const xdata = given?.clone() ?? new Dict()
  // Given on one brick only it would make two objects of one name.
  xdata.delete('gfid-req')
  afr.changes.request(xdata)
  xdata.setUint(INODELK_COUNT, 0)
  xdata.setUint('glusterfs.entrylk-count', 0)
  return xdata.setUint(PARENT_ENTRYLK, 0)
}

interface Round {
  replies: Replies
  /** The one brick that was asked for the content; -1: all of them, or none. */
  teller: number
  /** What was known when it was asked. */
  generation: number
  doubts: number
}

async function ask(afr: Replicate, frame: Frame, req: Req<'lookup'>): Promise<Round> {
  const { generation, up } = afr
  const { doubts } = afr.state(req.loc.inode)
  const teller = contentTeller(afr, frame, req)
  const others = teller >= 0 ? withoutContent(req) : req
  const sent = frame.windMask(afr.bricks, up, 'lookup', (brick) =>
    brick === teller ? req : others,
  )
  afr.afterwards.run()
  const replies = await sent
  let needHeal = false
  for (const reply of replies) {
    if (reply === undefined || reply.errno === E.NOTCONN) continue
    if (reply.xdata?.getNumber(LINK_COUNT) !== 0) needHeal = true
  }
  afr.needHeal = needHeal
  return { replies, teller, generation, doubts }
}

/** The content of a file is asked for on one brick: most likely the one it will be read from. */
function contentTeller(afr: Replicate, frame: Frame, { loc, xdata }: Req<'lookup'>): number {
  if (xdata?.has(CONTENT) !== true || afr.timesDiffer) return -1
  const mask = afr.up & ~afr.arbiterMask
  if (loc.inode.gfid !== NULL_GFID) return afr.readBrick(loc.inode, mask, frame.creds.pid)
  const { preferred } = afr.reads
  if (preferred >= 0 && has(mask, preferred)) return preferred
  const bricks = bricksOf(mask)
  return bricks.length === 0 ? -1 : bricks[frame.stack.unique % bricks.length]!
}

function withoutContent({ loc, xdata }: Req<'lookup'>): Req<'lookup'> {
  const rest = xdata!.clone()
  rest.delete(CONTENT)
  return { loc, xdata: rest }
}

/** Do the bricks disagree about what the name stands for? */
function needsNameHeal(afr: Replicate, loc: Loc, replies: Replies): boolean {
  const parentReadable = afr.state(loc.parent!).data
  let good = 0
  let failed = 0
  let strange = false
  for (const [brick, reply] of replies.entries()) {
    if (reply === undefined || reply.errno === E.NOTCONN) continue
    if (reply.errno === 0) good |= bit(brick)
    else failed |= bit(brick)
    if (reply.errno === E.NODATA) return true
    if (reply.errno !== 0 && reply.errno !== E.NOENT && reply.errno !== E.STALE) strange = true
  }
  if (good !== 0 && gfidsDiffer(replies)) return true
  if (good === 0 || failed === 0) return false
  return strange || !afr.quorum.on || !afr.quorum.in(good) || (failed & parentReadable) !== 0
}

function gfidsDiffer(replies: Replies): boolean {
  let gfid: Gfid | undefined
  for (const reply of replies) {
    if (reply?.errno !== 0) continue
    if (gfid !== undefined && reply.stat.gfid !== gfid) return true
    gfid = reply.stat.gfid
  }
  return false
}

/** Equal objects nobody blames, with other owners, modes or xattrs. */
function needsMetadataHeal(afr: Replicate, replies: Replies): boolean {
  if (!afr.options['metadata-self-heal']) return false
  let first: Ok<'lookup'> | undefined
  let differs = false
  for (const reply of replies) {
    if (reply?.errno !== 0) continue
    // Its times are what a heal of the data decides by, and settles.
    if (afr.changes.blamed(reply.xdata, DATA) !== 0) return false
    if (first === undefined) {
      first = reply
      continue
    }
    const { stat, xdata } = reply
    if (afr.changes.blamed(xdata, METADATA) !== 0 || afr.changes.isDirty(xdata, METADATA)) {
      return false
    }
    if (stat.gfid !== first.stat.gfid || ((stat.mode ^ first.stat.mode) & S_IFMT) !== 0) {
      return false
    }
    const { uid, gid, mode } = first.stat
    if (stat.uid !== uid || stat.gid !== gid || stat.mode !== mode) differs = true
    else if (!sameXattrs(first.xdata, xdata)) differs = true
  }
  return differs
}

function answer(afr: Replicate, frame: Frame, loc: Loc, round: Round): MaybePromise<Rep<'lookup'>> {
  const { replies } = round
  let good = 0
  let missing = 0
  let isLocked = false
  replies.forEach((reply, brick) => {
    if (reply === undefined) return
    if (reply.errno === 0) good |= bit(brick)
    else if (reply.errno === E.NOENT) missing |= bit(brick)
    if ((reply.xdata?.getNumber(PARENT_ENTRYLK) ?? 0) !== 0) isLocked = true
  })
  // Somebody is about to make or remove it: not there on enough bricks is not there.
  if (isLocked && missing !== 0 && good !== 0 && !afr.quorum.in(good)) return { errno: E.NOENT }
  if (good === 0) {
    if (missing === afr.all && loc.parent !== undefined) {
      afr.state(loc.parent).names?.foundAbsent(frame.creds)
    }
    const errno = finalErrno(replies)
    return errorReply(replies, errno)
  }
  // It is somewhere, and bricks that do not have it may have missed its creation: not to be taken
  // for a name that is free.
  if (!afr.quorum.in(good) && !addsBrick(frame, loc)) return { errno: quorumErrno(replies) }
  const { alike, candidate } = compareGfids(afr, loc, replies, good)
  if (alike === good) return judged(afr, frame, loc, round, good)
  if (isLocked || isExcused(afr, loc, candidate, good & ~alike)) {
    return replyOf(afr, loc, replies, candidate, good)
  }
  return differing(afr, frame, loc, replies, good)
}

/** The brick to believe about the name, and those that have the same object. */
function compareGfids(
  afr: Replicate,
  loc: Loc,
  replies: Replies,
  good: number,
): { candidate: number; alike: number } {
  const parentReadable = loc.parent === undefined ? 0 : afr.state(loc.parent).data
  const candidate = bricksOf((good & parentReadable) !== 0 ? good & parentReadable : good)[0]!
  const alike = sameGfid(replies, good, (replies[candidate] as Ok<'lookup'>).stat.gfid)
  return { candidate, alike }
}

/** Bricks whose directory is out of date may have something else under the name. */
function isExcused(afr: Replicate, loc: Loc, candidate: number, others: number): boolean {
  const parentReadable = loc.parent === undefined ? 0 : afr.state(loc.parent).data
  return has(parentReadable, candidate) && (others & parentReadable) === 0
}

/** What is known of the directory does not explain the difference: it is asked anew. */
async function differing(
  afr: Replicate,
  frame: Frame,
  loc: Loc,
  replies: Replies,
  good: number,
): Promise<Rep<'lookup'>> {
  if (loc.parent !== undefined) {
    await refresh(afr, frame, loc.parent, undefined)
    const { alike, candidate } = compareGfids(afr, loc, replies, good)
    if (isExcused(afr, loc, candidate, good & ~alike)) {
      return replyOf(afr, loc, replies, candidate, good)
    }
  }
  const see = `see 'gluster volume heal ${afr.graph.volfileId} info split-brain'`
  afr.tell(loc.path, `'${loc.path}' is another object on each brick (gfid split-brain); ${see}`)
  return { errno: E.IO }
}

function sameGfid(replies: Replies, good: number, gfid: Gfid): number {
  let alike = 0
  for (const brick of bricksOf(good)) {
    if ((replies[brick] as Ok<'lookup'>).stat.gfid === gfid) alike |= bit(brick)
  }
  return alike
}

/** All have the same object: whose copy is good? */
function judged(afr: Replicate, frame: Frame, loc: Loc, round: Round, good: number): Rep<'lookup'> {
  const { replies } = round
  const state = afr.state(loc.inode)
  const verdict = afr.changes.judge(replies)
  state.learned(round.generation, round.doubts, verdict.data, verdict.metadata)
  const { stat } = replies[bricksOf(good)[0]!] as Ok<'lookup'>
  doubtKnown(afr, loc, stat.gfid, verdict)
  const directory = (stat.mode & S_IFMT) === S_IFDIR
  if (verdict.blamed !== 0) {
    afr.heals.inode(frame, afr.graph.inodes.findOrNew(stat.gfid, stat.mode & S_IFMT))
  }
  // A heal may be about to end it: the next read asks again.
  const isDamaged = (verdict.blamed & good) !== 0
  if (isDamaged) state.doubts++
  const known = afr.graph.inodes.byGfid(stat.gfid)
  const others = known === undefined ? good : good & ~afr.state(known).unrecorded
  const readable = verdict.data & verdict.metadata & others
  const brick = afr.readBrick(gfidInode(loc, stat.gfid), readable, frame.creds.pid)
  if (brick >= 0) {
    const reply = replyOf(afr, loc, replies, brick, good, isDamaged)
    const { teller } = round
    if (teller < 0 || teller === brick || isDamaged || !has(readable, teller)) return reply
    return withContent(afr, reply, replies[teller] as Ok<'lookup'>)
  }
  if (!directory || verdict.metadata === 0) noteSplitBrain(afr, loc.inode, loc.path, replies)
  const choice = state.choice >= 0 ? state.choice : state.favorite
  if (choice >= 0 && has(good, choice)) return replyOf(afr, loc, replies, choice, good, true)
  // A directory's good copies are away: names are missing here, or there that were removed.
  if (afr.quorum.on && good !== afr.all) return { errno: E.NOTCONN }
  const rest = good & ~afr.arbiterMask
  if (rest === 0) return { errno: E.NOTCONN }
  const some = (verdict.metadata & rest) !== 0 ? verdict.metadata & rest : rest
  return replyOf(afr, loc, replies, bricksOf(some)[0]!, good, true)
}

/** `reply` with the content another good brick told, if both show the file in the same state. */
function withContent(afr: Replicate, reply: Ok<'lookup'>, teller: Ok<'lookup'>): Ok<'lookup'> {
  const content = teller.xdata?.get(CONTENT)
  const { stat, xdata } = reply
  if (content === undefined || stat.size !== teller.stat.size) return reply
  if (!sameTimes(stat, teller.stat)) {
    const isChanging = (xdata?.getNumber(INODELK_COUNT) ?? 0) !== 0
    // Without features/utime each brick has times of its own: never the same state.
    if (!isChanging) afr.timesDiffer = true
    return reply
  }
  return { ...reply, xdata: (xdata?.clone() ?? new Dict()).set(CONTENT, content) }
}

const sameTimes = (a: Iatt, b: Iatt): boolean =>
  a.mtime === b.mtime &&
  a.mtimeNsec === b.mtimeNsec &&
  a.ctime === b.ctime &&
  a.ctimeNsec === b.ctimeNsec

/** A new name of a known object: what is known of it may be older than this answer. */
function doubtKnown(afr: Replicate, loc: Loc, gfid: Gfid, verdict: Verdict): void {
  const known = afr.graph.inodes.byGfid(gfid)
  if (known === undefined || known === loc.inode) return
  const state = afr.state(known)
  if (state.data !== verdict.data || state.metadata !== verdict.metadata) state.doubts++
}

/** For choosing a brick by gfid before the object is linked. */
const gfidInode = (loc: Loc, gfid: Gfid) =>
  loc.inode.gfid !== NULL_GFID ? loc.inode : { gfid, type: 0 }

/** The reply of one brick, its parent's attributes from a brick that may be read for them. */
function replyOf(
  afr: Replicate,
  loc: Loc,
  replies: Replies,
  brick: number,
  good: number,
  dropContent = false,
): Ok<'lookup'> {
  const chosen = replies[brick] as Ok<'lookup'>
  let { postparent, xdata } = chosen
  if (loc.parent !== undefined) {
    const speaker = afr.spokesman(loc.parent, good)
    postparent = (replies[speaker] as Ok<'lookup'>).postparent
  }
  if (dropContent && xdata?.has(CONTENT) === true) {
    xdata = xdata.clone()
    xdata.delete(CONTENT)
  }
  return { errno: 0, stat: chosen.stat, postparent, xdata }
}
