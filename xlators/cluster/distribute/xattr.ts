/** xattrs of files and directories. Virtual keys are in virtual-xattr.ts. */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type FopError, type Rep, type Req, XATTROP_ADD_ARRAY } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { mergeXattrs } from './attributes.ts'
import { learnDirectory } from './directory.ts'
import { fileFop, isDirectory } from './file.ts'
import type { Distribute } from './index.ts'
import { IATT_IN_XDATA, isHealable, MODE_IN_XDATA } from './keys.ts'
import { gfidLoc } from './locks.ts'
import { anyOk, worstError } from './subvolumes.ts'
import { getVirtual, setVirtual } from './virtual-xattr.ts'

/** GF_CLIENT_PID_DEFRAG: the rebalance process may touch DHT's own xattrs. */
const CLIENT_PID_DEFRAG = -3

type Getting = 'getxattr' | 'fgetxattr'
type Changing = 'setxattr' | 'fsetxattr' | 'removexattr' | 'fremovexattr'

/** The object of a request of either form. */
function targetOf(req: object): { inode: Inode; fd: Fd | undefined } {
  const { loc, fd } = req as { loc?: { inode: Inode }; fd?: Fd }
  return { inode: loc?.inode ?? fd!.inode, fd }
}

function keysOf(req: object): string[] {
  const { dict, name } = req as { dict?: Dict; name?: string }
  return dict !== undefined ? [...dict.entries.keys()] : [name ?? '']
}

// -- get -----------------------------------------------------------------------------------------

export async function getxattr<K extends Getting>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const { inode, fd } = targetOf(req)
  const { name } = req
  if (name !== undefined && name !== '' && dht.keys.mds.startsWith(name)) {
    return { errno: E.OPNOTSUPP }
  }
  const virtual = await getVirtual(dht, frame, req, inode)
  if (virtual !== undefined) return virtual as Rep<K>
  const rep = isDirectory(dht, inode)
    ? await getFromDirectory(dht, frame, fop, req, inode)
    : await fileFop(dht, frame, fop, req, inode, fd)
  return shown(dht, frame, name, rep)
}

async function getFromDirectory<K extends Getting>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
): Promise<Rep<K>> {
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return { errno }
  const { name } = req
  const mds = dht.inodes.get(inode)?.mds
  if (name !== undefined && isHealable(name) && !name.startsWith('user.') && mds !== undefined) {
    if (dht.isUp(mds)) return frame.wind(mds, fop, req)
  }
  const replies = await frame.windAll(dht.children, fop, () => req)
  let dict: Dict | undefined
  for (const rep of replies) {
    if (rep.errno === 0) dict = mergeXattrs(dict, (rep as { dict: Dict }).dict)
  }
  if (dict === undefined) return getError<K>(replies)
  return { errno: 0, dict } as Rep<K>
}

/** Absent on those that answered, whatever is down. */
function getError<K extends Getting>(replies: readonly Rep<K>[]): FopError {
  const absent = replies.find((rep) => rep.errno === E.NODATA)
  return absent !== undefined && absent.errno !== 0 ? absent : worstError<K>(replies)
}

/** Without the keys that are DHT's own or, for users, quota's and marker's. */
function shown<K extends Getting>(
  dht: Distribute,
  frame: Frame,
  name: string | undefined,
  rep: Rep<K>,
): Rep<K> {
  if (rep.errno !== 0) return rep
  const { dict } = rep as { dict: Dict }
  const { layout, mds, commitHash } = dht.keys
  let filtered: Dict | undefined
  for (const key of dict.entries.keys()) {
    const own = key === layout || key === mds || key === commitHash
    const internal =
      frame.creds.pid >= 0 &&
      (key.startsWith('trusted.glusterfs.quota') || key.startsWith('trusted.pgfid'))
    if (!own && !internal) continue
    filtered ??= dict.clone()
    filtered.delete(key)
  }
  if (filtered === undefined) return rep
  if (name !== undefined && name !== '' && filtered.count === 0) return { errno: E.NODATA }
  return { ...rep, dict: filtered }
}

/** With one subvolume: only the filter. */
export async function getxattrAlone<K extends Getting>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  return shown(dht, frame, req.name, await frame.wind(dht.child, fop, req))
}

// -- set and remove ------------------------------------------------------------------------------

export async function changeXattr<K extends Changing>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const { inode, fd } = targetOf(req)
  const keys = keysOf(req)
  const isInternal = (key: string): boolean => key.startsWith(dht.keys.layout)
  if (frame.creds.pid !== CLIENT_PID_DEFRAG && keys.some(isInternal)) return { errno: E.PERM }
  if (fop === 'setxattr') {
    const virtual = await setVirtual(dht, frame, req as Req<'setxattr'>, inode)
    if (virtual !== undefined) return virtual as Rep<K>
  }
  if (isDirectory(dht, inode)) return changeDirectory(dht, frame, fop, req, inode, keys)
  const xdata = (req.xdata?.clone() ?? new Dict()).setInt(IATT_IN_XDATA, 1)
  return fileFop(dht, frame, fop, { ...req, xdata }, inode, fd)
}

async function changeDirectory<K extends Changing>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
  keys: readonly string[],
): Promise<Rep<K>> {
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return { errno }
  if (keys.some(isHealable)) return changeKept(dht, frame, fop, req, inode)
  const replies = await frame.windAll(dht.children, fop, () => req)
  return anyOk<K>(replies) ?? getError<Getting>(replies as Rep<Getting>[])
}

/**
 * A key whose authoritative copy is the mds subvolume's. Its counter goes down before and up after
 * the change, so that a change that did not reach every copy leaves a mark for healing.
 */
async function changeKept<K extends Changing>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
): Promise<Rep<K>> {
  const mds = dht.inodes.get(inode)?.mds
  if (mds === undefined) return { errno: E.NOENT }
  if (!dht.isUp(mds)) return { errno: E.NOTCONN }
  const before = await addToMds(dht, frame, inode, mds, -1)
  if (before !== 0) return { errno: before }
  const first = await frame.wind(mds, fop, req)
  if (first.errno !== 0) {
    // Nothing was changed anywhere: nothing is owed.
    if (first.errno !== E.NOTCONN) await addToMds(dht, frame, inode, mds, 1)
    return first
  }
  const others = dht.children.filter((sub) => sub !== mds)
  const replies = await frame.windAll(others, fop, () => req)
  if (replies.every((rep) => rep.errno === 0)) await addToMds(dht, frame, inode, mds, 1)
  return first
}

async function addToMds(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
  mds: Xlator,
  addend: number,
): Promise<Errno | 0> {
  const value = Buffer.alloc(4)
  value.writeInt32BE(addend)
  const dict = new Dict().setBytes(dht.keys.mds, value)
  const req = { loc: gfidLoc(inode), op: XATTROP_ADD_ARRAY, dict }
  const rep = await frame.wind(mds, 'xattrop', req)
  return rep.errno
}

export async function xattrop<K extends 'xattrop' | 'fxattrop'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const { inode, fd } = targetOf(req)
  if (isDirectory(dht, inode)) {
    const errno = await learnDirectory(dht, frame, inode)
    if (errno !== 0) return { errno }
    return frame.wind(dht.inodes.get(inode)?.layout?.entries[0]?.sub ?? dht.child, fop, req)
  }
  const xdata = (req.xdata?.clone() ?? new Dict()).setInt(IATT_IN_XDATA, 1).setInt(MODE_IN_XDATA, 1)
  return fileFop(dht, frame, fop, { ...req, xdata }, inode, fd)
}
