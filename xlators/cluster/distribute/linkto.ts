/**
 * linkto files: an empty file of mode 01000 on the subvolume a name hashes to, whose xattr names
 * the subvolume that has the data. Same gfid as the data file.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { Iatt, S_IFMT, S_IFREG, SET_ATTR_GID, SET_ATTR_UID } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { LINKTO_MODE } from './attributes.ts'
import type { Distribute } from './index.ts'
import {
  DONT_UNLINK_OPEN,
  FORCE_REPLACE,
  GFID_REQ,
  INTERNAL_FOP,
  LINKTO_REQUEST_BYTES,
  UNLINK_ONLY_LINKTO,
} from './keys.ts'
import { freshLoc } from './locks.ts'
import { asRoot } from './subvolumes.ts'

/** The subvolume a linkto reply points to; `undefined` when it names none of ours. */
export function linktoTarget(dht: Distribute, xdata: Dict | undefined): Xlator | undefined {
  const name = xdata?.getStr(dht.keys.linkto)
  return name === undefined ? undefined : dht.subByName(name)
}

interface LinktoOptions {
  /** Replace a linkto of the same name instead of answering EEXIST. */
  replace?: boolean
}

/**
 * Makes `loc`'s name on `hashed` a linkto to `cached` (dht_linkfile_create). A name already there is
 * fine: what it is, is answered.
 */
export async function createLinkto(
  dht: Distribute,
  frame: Frame,
  hashed: Xlator,
  cached: Xlator,
  loc: Loc,
  gfid: Gfid,
  options: LinktoOptions = {},
): Promise<Rep<'mknod'>> {
  const root = asRoot(frame)
  // Bricks plant every key they do not know as an xattr, and stop at the first that fails.
  const xdata = new Dict()
    .setGfid(GFID_REQ, gfid)
    .setStr(INTERNAL_FOP, 'yes')
    .setBytes(dht.keys.linkto, Buffer.from(`${cached.name}\0`, 'latin1'))
  if (options.replace) xdata.setStr(FORCE_REPLACE, 'yes')
  const named = byName(loc)
  const rep = await root.wind(hashed, 'mknod', {
    loc: named,
    mode: S_IFREG | LINKTO_MODE,
    rdev: 0,
    umask: 0,
    xdata,
  })
  if (rep.errno !== E.EXIST) return rep
  const found = await root.wind(hashed, 'lookup', {
    loc: named,
    xdata: new Dict().setUint(dht.keys.linkto, LINKTO_REQUEST_BYTES),
  })
  if (found.errno !== 0) return found
  const { stat, postparent } = found
  return { errno: 0, stat, preparent: postparent, postparent, xdata: found.xdata }
}

/** The linkto belongs to whoever owns the data. Nobody waits: it changes nothing users see. */
export function healLinktoOwner(
  dht: Distribute,
  frame: Frame,
  hashed: Xlator,
  loc: Loc,
  stat: Iatt,
): void {
  const owner = new Iatt()
  owner.uid = stat.uid
  owner.gid = stat.gid
  const target = freshLoc(loc.inode, stat.gfid, stat.mode & S_IFMT)
  const { creds, stack } = asRoot(frame)
  void stack.pool.background(dht, 'dht linkto owner', creds, async (job) => {
    const xdata = new Dict().setStr(INTERNAL_FOP, 'yes')
    const req = { loc: target, stat: owner, valid: SET_ATTR_UID | SET_ATTR_GID, xdata }
    const rep = await job.wind(hashed, 'setattr', req)
    if (rep.errno !== 0 && rep.errno !== E.NOENT && rep.errno !== E.STALE) {
      dht.log.warn({ sub: hashed.name, errno: rep.errno, path: loc.path }, 'linkto owner not set')
    }
  })
}

/** Removes the name on `sub` only if it is a linkto nobody has open; EBUSY otherwise. */
export async function unlinkLinkto(frame: Frame, sub: Xlator, loc: Loc): Promise<Rep<'unlink'>> {
  const xdata = new Dict().setInt(UNLINK_ONLY_LINKTO, 1).setInt(DONT_UNLINK_OPEN, 1)
  return asRoot(frame).wind(sub, 'unlink', { loc: byName(loc), flags: 0, xdata })
}

/** Addressed by parent and name alone: the inode known under the name may be another one. */
export function byName(loc: Loc): Loc {
  return new Loc(loc.inode.table.newInode(), loc.parent, loc.name)
}
