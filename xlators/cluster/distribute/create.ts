/** create, mknod, symlink, link: a new name for a file. */
import { E } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { hasMigratingMode, hideMigration } from './attributes.ts'
import { cachedSub } from './file.ts'
import type { Distribute } from './index.ts'
import { GFID_REQ } from './keys.ts'
import { createLinkto, healLinktoOwner, unlinkLinkto } from './linkto.ts'
import { LockSet } from './locks.ts'
import { findCopy, findMoved, rememberOpen } from './migration.ts'
import {
  addPreopCheck,
  type Placed,
  placeName,
  preopFailed,
  refreshLayout,
  showParents,
} from './parent.ts'

const O_EXCL = 0o200

type Making = 'create' | 'mknod' | 'symlink'

export async function create(
  dht: Distribute,
  frame: Frame,
  req: Req<'create'>,
): Promise<Rep<'create'>> {
  const placed = await placeName(dht, frame, req.loc, true)
  if ('errno' in placed) return placed
  const rep = await makeFile(dht, frame, 'create', { ...req, loc: placed.loc }, placed)
  if (rep.errno !== 0) return rep
  const sub = dht.inodes.get(req.loc.inode)?.cached
  if (sub !== undefined) rememberOpen(dht, req.fd, sub)
  return rep
}

export async function mknod(
  dht: Distribute,
  frame: Frame,
  req: Req<'mknod'>,
): Promise<Rep<'mknod'>> {
  const placed = await placeName(dht, frame, req.loc)
  return 'errno' in placed ? placed : makeFile(dht, frame, 'mknod', req, placed)
}

export async function symlink(
  dht: Distribute,
  frame: Frame,
  req: Req<'symlink'>,
): Promise<Rep<'symlink'>> {
  const placed = await placeName(dht, frame, req.loc)
  if ('errno' in placed) return placed
  return finish(dht, placed, placed.hashed, await frame.wind(placed.hashed, 'symlink', req))
}

async function makeFile<K extends 'create' | 'mknod'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  placed: Placed,
): Promise<Rep<K>> {
  dht.space.refreshSoon()
  const { hashed, forced, parent } = placed
  if (forced !== undefined) return makeAt(dht, frame, fop, req, placed, forced, false)
  if (dht.isDecommissioned(hashed)) return placeAgain(dht, frame, fop, req, placed)
  const place = dht.place(hashed, parent)
  const sub = place instanceof Promise ? await place : place
  if (sub !== hashed) return makeAt(dht, frame, fop, req, placed, sub, false)
  const rep = await makeAt(dht, frame, fop, req, placed, hashed, fop === 'create')
  if (rep.errno === 0 || !preopFailed(rep)) return rep
  return placeAgain(dht, frame, fop, req, placed)
}

/** The layout is not what we thought: read under its lock, it says where to make the file. */
async function placeAgain<K extends 'create' | 'mknod'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  placed: Placed,
): Promise<Rep<K>> {
  const { parent, name, hashed } = placed
  const locks = new LockSet(frame)
  try {
    const locked = await locks.lockParentLayout(hashed, parent)
    if (locked.errno !== 0) return locked
    const layout = await refreshLayout(dht, frame, parent)
    const now = layout?.find(dht.hasher.hash(name))
    if (now === undefined) return { errno: E.IO }
    return await makeAt(dht, frame, fop, req, { ...placed, hashed: now }, now, false)
  } finally {
    locks.release()
  }
}

/** Makes the file on `sub`; where that is not the hashed subvolume, a linkto there first. */
async function makeAt<K extends 'create' | 'mknod'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  given: Req<K>,
  placed: Placed,
  sub: Xlator,
  check: boolean,
): Promise<Rep<K>> {
  const { loc, parent, hashed } = placed
  let req = given
  if (sub !== hashed) {
    const gfid = given.xdata?.getGfid(GFID_REQ)
    if (gfid === undefined) return { errno: E.INVAL }
    const linkto = await createLinkto(dht, frame, hashed, sub, loc, gfid)
    if (linkto.errno !== 0) return { errno: linkto.errno }
    if (linkto.stat.gfid !== gfid) return { errno: takenErrno(given) }
  } else if (check) {
    req = { ...given, xdata: addPreopCheck(dht, parent, sub, given.xdata) }
  }
  const rep = (await frame.wind(sub, fop, req)) as Rep<K>
  if (sub !== hashed) {
    if (rep.errno !== 0) await unlinkLinkto(frame, hashed, loc)
    else healLinktoOwner(dht, frame, hashed, loc, (rep as Ok<'mknod'>).stat)
  }
  return finish(dht, placed, sub, rep)
}

/** Somebody else made the name meanwhile. ESTALE makes the kernel look again. */
function takenErrno(req: object): typeof E.EXIST | typeof E.STALE {
  const { flags } = req as { flags?: number }
  return flags !== undefined && (flags & O_EXCL) === 0 ? E.STALE : E.EXIST
}

function finish<K extends Making>(
  dht: Distribute,
  placed: Placed,
  sub: Xlator,
  rep: Rep<K>,
): Rep<K> {
  if (rep.errno !== 0) return rep
  const { stat, preparent, postparent } = rep as Ok<'mknod'>
  dht.rememberFile(placed.loc.inode, stat.gfid, sub)
  showParents(dht, placed.parent, preparent, postparent)
  return rep
}

/** link: the data stays where it is; a name that hashes elsewhere gets a linkto. */
export async function link(dht: Distribute, frame: Frame, req: Req<'link'>): Promise<Rep<'link'>> {
  const { oldloc, newloc } = req
  const placed = await placeName(dht, frame, newloc)
  if ('errno' in placed) return placed
  const cached = await cachedSub(dht, frame, oldloc.inode)
  if (typeof cached === 'number') return { errno: cached }
  const rep = await linkAt(dht, frame, req, placed, cached)
  if (rep.errno === E.NOENT || rep.errno === E.STALE) {
    const found = await findMoved(dht, frame, oldloc.inode, undefined, cached, true)
    if ('to' in found) return linkAt(dht, frame, req, placed, found.to)
    return rep
  }
  if (rep.errno !== 0) return rep
  if (hasMigratingMode(rep.stat)) {
    const found = await findCopy(dht, frame, oldloc.inode, undefined, cached)
    if ('to' in found) await frame.wind(found.to, 'link', req)
  }
  hideMigration(rep.stat)
  return rep
}

async function linkAt(
  dht: Distribute,
  frame: Frame,
  req: Req<'link'>,
  placed: Placed,
  cached: Xlator,
): Promise<Rep<'link'>> {
  const { hashed, loc, parent } = placed
  const gfid: Gfid = req.oldloc.gfid
  if (gfid === NULL_GFID) return { errno: E.INVAL }
  if (hashed !== cached) {
    const linkto = await createLinkto(dht, frame, hashed, cached, loc, gfid)
    if (linkto.errno !== 0) return { errno: linkto.errno }
    if (linkto.stat.gfid !== gfid) return { errno: E.EXIST }
  }
  const rep = await frame.wind(cached, 'link', req)
  if (hashed !== cached) {
    if (rep.errno !== 0) await unlinkLinkto(frame, hashed, loc)
    else healLinktoOwner(dht, frame, hashed, loc, rep.stat)
  }
  if (rep.errno === 0) showParents(dht, parent, rep.preparent, rep.postparent)
  return rep
}
