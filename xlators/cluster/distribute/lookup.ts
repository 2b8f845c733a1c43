/**
 * lookup: finding the subvolume that has a name's object. Fresh lookups ask the hashed subvolume
 * and follow linkto files; directories are asked for everywhere; when the hash does not help, all
 * subvolumes are searched. Nameless lookups are in discover.ts, healing in heal.ts.
 */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { FopError, MaybePromise, Ok, Rep, Req } from '../../../src/core/fop.ts'
import { CLIENT_PID_NO_ROOT_SQUASH, type Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { isDir, S_IFMT } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { fixDirSize, hideMigration, isLinkto, raiseTimes } from './attributes.ts'
import { finishDirectory } from './directory-lookup.ts'
import { discover } from './discover.ts'
import type { Distribute } from './index.ts'
import { ACL_ACCESS, ACL_DEFAULT, GFID_REQ, LINKTO_REQUEST_BYTES, OPEN_FD_COUNT } from './keys.ts'
import { COMMIT_HASH_NONE, type Layout } from './layout.ts'
import { createLinkto, linktoTarget, unlinkLinkto } from './linkto.ts'
import { LockSet } from './locks.ts'
import { expectsAbsence, isLayoutCurrent, sawAbsence } from './parent.ts'
import { worstError } from './subvolumes.ts'

type LookupRep = Rep<'lookup'>
export type LookupOk = Ok<'lookup'>

/** One lookup under way. */
export interface LookupCall {
  readonly dht: Distribute
  readonly frame: Frame
  readonly loc: Loc
  /** What is asked of every subvolume: the caller's keys without gfid-req, and ours. */
  readonly xdata: Dict
  /** The caller would accept an object whose gfid is missing: bricks may give it this one. */
  readonly gfidReq: Gfid | undefined
  /** Where the name hashes to, `undefined` when unknown. */
  readonly hashed: Xlator | undefined
  /** Under a rename's locks already: no namespace guard of our own. */
  readonly guarded: boolean
}

export function lookupXdata(dht: Distribute, given: Dict | undefined, isRoot: boolean): Dict {
  const xdata = given?.clone() ?? new Dict()
  xdata.delete(GFID_REQ)
  xdata.setUint(dht.keys.linkto, LINKTO_REQUEST_BYTES)
  xdata.setUint(OPEN_FD_COUNT, 4)
  xdata.setUint(dht.keys.layout, 16)
  xdata.setUint(dht.keys.mds, 4)
  if (!xdata.has(ACL_ACCESS)) xdata.setInt(ACL_ACCESS, 0)
  if (!xdata.has(ACL_DEFAULT)) xdata.setInt(ACL_DEFAULT, 0)
  if (isRoot) xdata.setUint(dht.keys.commitHash, 4)
  return xdata
}

export function lookup(dht: Distribute, frame: Frame, req: Req<'lookup'>): MaybePromise<LookupRep> {
  const nameless = req.loc.parent === undefined && !req.loc.inode.isRoot
  const filtered = nameless ? undefined : dht.subvolFilter(req.loc.name)
  const loc =
    filtered === undefined ? req.loc : new Loc(req.loc.inode, req.loc.parent, filtered.name)
  const isRoot = loc.inode.isRoot
  const call: LookupCall = {
    dht,
    frame,
    loc,
    xdata: lookupXdata(dht, req.xdata, isRoot),
    gfidReq: req.xdata?.getGfid(GFID_REQ),
    hashed: isRoot ? dht.longestUp() : (filtered?.sub ?? dht.hashedSub(loc.parent, loc.name)),
    guarded: false,
  }
  if (nameless) return discover(call)
  const known = dht.inodes.get(loc.inode)
  if (known?.cached !== undefined && known.generation === dht.generation) {
    return revalidateFile(call, known.cached)
  }
  if (known?.layout !== undefined && known.layout.generation === dht.generation) {
    return revalidateDirectory(call, known.layout)
  }
  const listed = loc.parent === undefined ? undefined : dht.inodes.get(loc.parent)
  if (loc.name !== undefined && listed?.listedDirectories?.delete(loc.name) === true) {
    return lookupListed(call)
  }
  return freshLookup(call)
}

/**
 * A listing showed the name as a directory: all subvolumes are asked at once, instead of all others
 * after the one it hashes to. Where it is no directory, or not everywhere, that was for nothing.
 */
async function lookupListed(call: LookupCall): Promise<LookupRep> {
  const { dht, frame, loc, xdata } = call
  const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc, xdata }))
  const whole = replies.every((rep) => rep.errno === 0 && isDir(rep.stat))
  return whole ? finishDirectory(call, replies) : freshLookup(call)
}

/** A lookup that trusts nothing remembered; for rename and migration, under their own locks. */
export function lookupAgain(dht: Distribute, frame: Frame, loc: Loc): Promise<LookupRep> {
  return freshLookup({
    dht,
    frame,
    loc,
    xdata: lookupXdata(dht, undefined, false),
    gfidReq: undefined,
    hashed: dht.hashedSub(loc.parent, loc.name),
    guarded: true,
  })
}

async function freshLookup(call: LookupCall): Promise<LookupRep> {
  const { dht, frame, loc, hashed, xdata } = call
  if (hashed === undefined) return lookupDirectory(call, undefined, undefined)
  const asking = frame.wind(hashed, 'lookup', { loc, xdata })
  // Where names have been absent one after the other, this one may be, too: the question that
  // would follow goes along.
  const checking =
    expectsAbsence(dht, loc.parent) && !searchesEverywhere(call)
      ? isLayoutCurrent(dht, frame, loc.parent, hashed)
      : undefined
  const rep = await asking
  let isCurrent = await checking
  if (rep.errno !== 0) {
    switch (rep.errno) {
      case E.NOENT:
        if (searchesEverywhere(call)) return lookupEverywhere(call)
        sawAbsence(dht, loc.parent)
        isCurrent ??= await isLayoutCurrent(dht, frame, loc.parent, hashed)
        return isCurrent ? rep : placeAgain(call)
      case E.NOTCONN:
      case E.NODATA:
        return lookupDirectory(call, undefined, undefined)
      default:
        return rep
    }
  }
  if (isDir(rep.stat)) return lookupDirectory(call, hashed, rep)
  if (isLinkto(rep.stat, rep.xdata, dht.keys)) return followLinkto(call, rep)
  return foundFile(call, hashed, rep)
}

/** The parent's layout had changed: once more, by the new one. */
function placeAgain(call: LookupCall): Promise<LookupRep> {
  const { dht, loc } = call
  const hashed = dht.hashedSub(loc.parent, loc.name)
  return hashed === undefined || searchesEverywhere(call)
    ? lookupEverywhere({ ...call, hashed })
    : freshLookup({ ...call, hashed })
}

/** How long after its start a rebalance may still have files queued, seconds. */
const SETTLE_S = 7 * 86_400
/** Commit hashes carry the rebalance's start in their upper 29 bits, in seconds. */
const START_WRAP_S = 2 ** 29

/**
 * Rebalance stamps a directory when it has queued its files, not when it has moved them: until then
 * the new layout names subvolumes that do not have them yet. Stock answers ENOENT for such files.
 */
export function isSettling(commitHash: number, nowSec: number): boolean {
  if (commitHash === 0 || commitHash === COMMIT_HASH_NONE) return false
  const start = commitHash >>> 3
  const age = (((nowSec - start) % START_WRAP_S) + START_WRAP_S) % START_WRAP_S
  // A start in the future: the clocks differ.
  return age < SETTLE_S || age > START_WRAP_S - SETTLE_S
}

/** lookup-optimize, lookup-unhashed: is a name its hashed subvolume lacks looked for elsewhere? */
function searchesEverywhere({ dht, frame, loc }: LookupCall): boolean {
  if (dht.children.length === 1) return false
  const { pid } = frame.creds
  if (pid < 0 && pid !== CLIENT_PID_NO_ROOT_SQUASH) return true
  const parent = loc.parent === undefined ? undefined : dht.inodes.get(loc.parent)
  if (dht.options['lookup-optimize']) {
    const hash = dht.volumeCommitHash
    return parent?.layout?.commitHash !== hash || isSettling(hash, clock.realtime().sec)
  }
  return dht.lookupUnhashed !== 'auto' || dht.sawMisplaced(loc.parent)
}

async function followLinkto(call: LookupCall, linkto: LookupOk): Promise<LookupRep> {
  const { dht, frame, loc, xdata, hashed } = call
  const target = linktoTarget(dht, linkto.xdata)
  if (target === undefined || target === hashed) return lookupEverywhere(call)
  const rep = await frame.wind(target, 'lookup', { loc, xdata })
  if (rep.errno === E.NOTCONN) return rep
  if (
    rep.errno !== 0 ||
    isDir(rep.stat) ||
    isLinkto(rep.stat, rep.xdata, dht.keys) ||
    rep.stat.gfid !== linkto.stat.gfid
  ) {
    return lookupEverywhere(call)
  }
  return foundFile(call, target, rep)
}

/** The data is on `cached`. */
export function foundFile(call: LookupCall, cached: Xlator, rep: LookupOk): LookupOk {
  call.dht.rememberFile(call.loc.inode, rep.stat.gfid, cached)
  hideMigration(rep.stat)
  showParent(call, rep)
  return rep
}

function showParent({ dht, loc }: LookupCall, rep: LookupOk): void {
  const { postparent } = rep
  if (postparent.flags === 0) return
  const times = loc.parent === undefined ? undefined : dht.inodes.get(loc.parent)?.times
  if (times !== undefined) raiseTimes(postparent, times)
  fixDirSize(postparent)
}

/**
 * Asks every subvolume for a directory and merges their views. `known` is what the hashed
 * subvolume answered already. A file among the answers leads to the search.
 */
async function lookupDirectory(
  call: LookupCall,
  hashed: Xlator | undefined,
  known: LookupOk | undefined,
  searched = false,
): Promise<LookupRep> {
  const { dht, frame, loc } = call
  const gfid = known?.stat.gfid ?? (loc.gfid === NULL_GFID ? call.gfidReq : loc.gfid)
  const xdata = call.xdata.clone()
  if (gfid !== undefined && gfid !== NULL_GFID) xdata.setGfid(GFID_REQ, gfid)
  const replies = await Promise.all(
    dht.children.map((sub) =>
      sub === hashed && known !== undefined ? known : frame.wind(sub, 'lookup', { loc, xdata }),
    ),
  )
  const strange = replies.some((rep) =>
    rep.errno === 0 ? !isDir(rep.stat) : rep.errno === E.NODATA,
  )
  if (strange && !searched) return lookupEverywhere(call)
  if (!replies.some((rep) => rep.errno === 0 && isDir(rep.stat))) {
    // A name that cannot be placed may be where nobody answers: it is not known to be absent.
    return worstError<'lookup'>(replies)
  }
  return finishDirectory(call, replies)
}

interface SearchResult {
  cached: Xlator | undefined
  file: LookupOk | undefined
  /** The linkto on the hashed subvolume. */
  linkto: LookupOk | undefined
  /** Subvolumes with a linkto of an earlier layout nobody has open. */
  leftOver: Xlator[]
  directories: number
  noGfid: boolean
  down: boolean
  hashedAnswered: boolean
}

/** Looks for a name on all subvolumes (dht_lookup_everywhere). */
async function lookupEverywhere(
  call: LookupCall,
  expected?: Gfid,
  repeated = false,
): Promise<LookupRep> {
  const { dht, frame, loc, xdata, hashed } = call
  const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc, xdata }))
  const found = sortReplies(call, replies)
  const { cached, file, linkto } = found
  const linktoSeen = linkto !== undefined || found.leftOver.length > 0
  // Both ends of a migration that completed between two of the replies look like linktos.
  if (file === undefined && linktoSeen && !repeated) return lookupEverywhere(call, expected, true)
  await Promise.all(found.leftOver.map((sub) => unlinkLinkto(frame, sub, loc)))
  if (found.directories > 0 && file !== undefined) {
    dht.log.error({ path: loc.path }, 'the name is a file and a directory on different subvolumes')
    return { errno: E.IO }
  }
  if (found.noGfid && found.directories === 0) {
    if (call.gfidReq === undefined) return { errno: E.NODATA }
    return lookupDirectory(call, undefined, undefined, true)
  }
  if (found.directories > 0) return lookupDirectory(call, undefined, undefined, true)
  if (cached === undefined || file === undefined) return notFound(call, found)
  if (expected !== undefined) {
    return file.stat.gfid === expected ? foundFile(call, cached, file) : { errno: E.NOENT }
  }
  if (cached === hashed || hashed === undefined) return foundFile(call, cached, file)
  if (linkto !== undefined) {
    if (linktoTarget(dht, linkto.xdata) === cached) {
      return linkto.stat.gfid === file.stat.gfid
        ? foundFile(call, cached, file)
        : { errno: E.STALE }
    }
    const stale = await removeStaleLinkto(call, linkto)
    if (stale !== undefined) return stale
  }
  if (found.hashedAnswered) await restoreLinkto(call, hashed, cached, file.stat.gfid)
  return foundFile(call, cached, file)
}

function sortReplies(call: LookupCall, replies: readonly LookupRep[]): SearchResult {
  const { dht, loc, hashed } = call
  const found: SearchResult = {
    cached: undefined,
    file: undefined,
    linkto: undefined,
    leftOver: [],
    directories: 0,
    noGfid: false,
    down: false,
    hashedAnswered: false,
  }
  replies.forEach((rep, i) => {
    const sub = dht.children[i]!
    if (rep.errno !== 0) {
      if (rep.errno === E.NODATA) found.noGfid = true
      if (rep.errno === E.NOTCONN) found.down = true
      else if (sub === hashed) found.hashedAnswered = true
      return
    }
    if (sub === hashed) found.hashedAnswered = true
    if (isDir(rep.stat)) found.directories++
    else if (!isLinkto(rep.stat, rep.xdata, dht.keys)) {
      if (found.file !== undefined) {
        const subs = [found.cached!.name, sub.name]
        dht.log.warn({ path: loc.path, subs }, 'the file is on several subvolumes')
        return
      }
      found.cached = sub
      found.file = rep
    } else if (sub === hashed) found.linkto = rep
    else if (hashed !== undefined && openCount(rep) === 0) found.leftOver.push(sub)
  })
  return found
}

function openCount(rep: LookupOk): number {
  return rep.xdata?.getNumber(OPEN_FD_COUNT) ?? 0
}

/** No data anywhere. A linkto without data goes, unless the data may be where we cannot look. */
async function notFound(call: LookupCall, found: SearchResult): Promise<FopError> {
  const { frame, loc, hashed } = call
  if (found.linkto !== undefined && hashed !== undefined) {
    if (found.down) return { errno: E.NOTCONN }
    await unlinkLinkto(frame, hashed, loc)
    return { errno: E.NOENT }
  }
  return { errno: found.down && !found.hashedAnswered ? E.NOTCONN : E.NOENT }
}

/** The hashed subvolume's linkto points elsewhere. Answers an error if it has to stay. */
async function removeStaleLinkto(
  { frame, loc, hashed }: LookupCall,
  linkto: LookupOk,
): Promise<FopError | undefined> {
  if (openCount(linkto) > 0 || hashed === undefined) return undefined
  const rep = await unlinkLinkto(frame, hashed, loc)
  return rep.errno === E.BUSY || rep.errno === E.NOTCONN ? { errno: E.IO } : undefined
}

/** Makes the missing linkto, if under the guard things still are as seen. Failing is harmless. */
async function restoreLinkto(
  call: LookupCall,
  hashed: Xlator,
  cached: Xlator,
  gfid: Gfid,
): Promise<void> {
  const { dht, frame, loc, guarded } = call
  if (loc.parent === undefined || loc.name === undefined) return
  const locks = new LockSet(frame)
  try {
    if (!guarded) {
      const guard = await locks.guardName(hashed, loc.parent, loc.name)
      if (guard.errno !== 0) return
    }
    const xdata = lookupXdata(dht, undefined, false)
    const onHashed = await frame.wind(hashed, 'lookup', { loc, xdata })
    if (onHashed.errno !== E.NOENT) return
    const onCached = await frame.wind(cached, 'lookup', { loc, xdata })
    if (onCached.errno !== 0 || onCached.stat.gfid !== gfid) return
    await createLinkto(dht, frame, hashed, cached, loc, gfid)
  } finally {
    locks.release()
  }
}

async function revalidateFile(call: LookupCall, cached: Xlator): Promise<LookupRep> {
  const { dht, frame, loc, xdata } = call
  const rep = await frame.wind(cached, 'lookup', { loc, xdata })
  if (rep.errno !== 0) return rep.errno === E.NOENT ? searchAgain(call) : rep
  if (loc.inode.gfid !== NULL_GFID && rep.stat.gfid !== loc.inode.gfid) return { errno: E.STALE }
  if (isDir(rep.stat) || (rep.stat.mode & S_IFMT) !== loc.inode.type) {
    return { errno: loc.inode.type === 0 ? E.STALE : E.INVAL }
  }
  if (!isLinkto(rep.stat, rep.xdata, dht.keys)) return foundFile(call, cached, rep)
  const target = linktoTarget(dht, rep.xdata)
  if (target === undefined || target === cached) return searchAgain(call)
  const moved = await frame.wind(target, 'lookup', { loc, xdata })
  if (moved.errno === E.NOTCONN) return moved
  if (moved.errno !== 0 || isLinkto(moved.stat, moved.xdata, dht.keys)) return searchAgain(call)
  if (moved.stat.gfid !== rep.stat.gfid) return { errno: E.STALE }
  return foundFile(call, target, moved)
}

/** A known file is not where it was. */
function searchAgain(call: LookupCall): Promise<LookupRep> {
  const { gfid } = call.loc.inode
  return lookupEverywhere(call, gfid === NULL_GFID ? undefined : gfid)
}

async function revalidateDirectory(call: LookupCall, remembered: Layout): Promise<LookupRep> {
  const { dht, frame, loc, xdata } = call
  const replies = await frame.windAll(dht.children, 'lookup', () => ({ loc, xdata }))
  if (replies.some((rep) => rep.errno === E.STALE)) return { errno: E.STALE }
  const { gfid } = loc.inode
  const changed = (rep: LookupRep): boolean =>
    rep.errno === 0 && (!isDir(rep.stat) || (gfid !== NULL_GFID && rep.stat.gfid !== gfid))
  if (replies.some(changed)) return { errno: E.STALE }
  if (!replies.some((rep) => rep.errno === 0)) return worstError<'lookup'>(replies)
  return finishDirectory(call, replies, remembered)
}
