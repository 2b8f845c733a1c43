/** xattr keys that are questions or commands to DHT. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { learnDirectory } from './directory.ts'
import { cachedSub, isDirectory } from './file.ts'
import { fixLayout } from './fix-layout.ts'
import type { Distribute } from './index.ts'
import { gfidLoc } from './locks.ts'
import { rmdir } from './remove.ts'
import { worstError } from './subvolumes.ts'

const PATHINFO = new Set(['trusted.glusterfs.pathinfo', 'glusterfs.pathinfo'])
const NODE_UUID = 'trusted.glusterfs.node-uuid'
const NODE_UUIDS = 'trusted.glusterfs.list-node-uuids'
const LINKINFO = 'trusted.distribute.linkinfo'
const SUBVOL_STATUS = 'dht.subvol.status'
const HASHED_SUBVOL = 'dht.file.hashed-subvol.'
const REAL_FILENAME = 'glusterfs.get_real_filename:'
const FIX_LAYOUT = 'distribute.fix.layout'
const MIGRATE_DATA = 'trusted.distribute.migrate-data'
const SPREAD_COUNT = 'distribute.directory-spread-count'
const NUKE = 'glusterfs.dht.nuke'
const DECOMMISSION = 'decommission-brick'

type GetRep = Rep<'getxattr'>
type GetReq = { name: string | undefined; xdata?: Dict | undefined; loc?: Loc }

function text(key: string, value: string): GetRep {
  return { errno: 0, dict: new Dict().setBytes(key, Buffer.from(`${value}\0`, 'latin1')) }
}

/** The answer if the key is one of DHT's own. */
export async function getVirtual(
  dht: Distribute,
  frame: Frame,
  req: GetReq,
  inode: Inode,
): Promise<GetRep | undefined> {
  const { name } = req
  if (name === undefined) return undefined
  if (PATHINFO.has(name)) return pathinfo(dht, frame, name, inode)
  if (name === NODE_UUID || name === NODE_UUIDS) return nodeUuids(dht, frame, name, inode)
  if (name === LINKINFO) return linkinfo(dht, frame, req, inode)
  if (name === SUBVOL_STATUS) return text(name, dht.states.allUp ? '1' : '0')
  if (name.startsWith(HASHED_SUBVOL)) return hashedSubvol(dht, frame, name, inode)
  if (name.startsWith(REAL_FILENAME)) return realFilename(dht, frame, name, inode)
  return undefined
}

/** The answers of every subvolume that has one, in their order. */
async function askAll(
  dht: Distribute,
  frame: Frame,
  name: string,
  inode: Inode,
): Promise<{ texts: string[]; replies: GetRep[] }> {
  const req = { loc: gfidLoc(inode), name }
  const replies = await frame.windAll(dht.children, 'getxattr', () => req)
  const texts: string[] = []
  for (const rep of replies) {
    const value = rep.errno === 0 ? rep.dict.getStr(name) : undefined
    if (value !== undefined) texts.push(value)
  }
  return { texts, replies }
}

async function askCached(
  dht: Distribute,
  frame: Frame,
  name: string,
  inode: Inode,
): Promise<GetRep> {
  const sub = await cachedSub(dht, frame, inode)
  if (typeof sub === 'number') return { errno: sub }
  return frame.wind(sub, 'getxattr', { loc: gfidLoc(inode), name })
}

async function pathinfo(
  dht: Distribute,
  frame: Frame,
  name: string,
  inode: Inode,
): Promise<GetRep> {
  if (!isDirectory(dht, inode)) {
    const rep = await askCached(dht, frame, name, inode)
    if (rep.errno !== 0) return rep
    return text(name, `(<DISTRIBUTE:${dht.name}> ${rep.dict.getStr(name) ?? ''})`)
  }
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return { errno }
  const { texts, replies } = await askAll(dht, frame, name, inode)
  if (texts.length === 0) return worstError<'getxattr'>(replies)
  const ranges = (dht.inodes.get(inode)?.layout?.entries ?? [])
    .map(({ sub, start, stop }) => `(${sub.name} ${start} ${stop})`)
    .join(' ')
  return text(
    name,
    `((<DISTRIBUTE:${dht.name}> ${texts.join(' ')}) (${dht.name}-layout ${ranges}))`,
  )
}

async function nodeUuids(
  dht: Distribute,
  frame: Frame,
  name: string,
  inode: Inode,
): Promise<GetRep | undefined> {
  if (!isDirectory(dht, inode)) {
    return name === NODE_UUID ? askCached(dht, frame, name, inode) : undefined
  }
  const { texts, replies } = await askAll(dht, frame, name, inode)
  return texts.length === 0 ? worstError<'getxattr'>(replies) : text(name, texts.join(' '))
}

/** Where the linkto of a file is; a file on its hashed subvolume has none. */
async function linkinfo(dht: Distribute, frame: Frame, req: GetReq, inode: Inode): Promise<GetRep> {
  const { loc } = req
  const hashed = dht.hashedSub(loc?.parent, loc?.name)
  if (hashed === undefined) return { errno: E.INVAL }
  const cached = await cachedSub(dht, frame, inode)
  if (typeof cached === 'number') return { errno: cached }
  if (hashed === cached) return { errno: E.NODATA }
  const name = 'trusted.glusterfs.pathinfo'
  const rep = await frame.wind(hashed, 'getxattr', { loc: gfidLoc(inode), name })
  if (rep.errno !== 0) return rep
  return text(LINKINFO, rep.dict.getStr(name) ?? '')
}

async function hashedSubvol(
  dht: Distribute,
  frame: Frame,
  key: string,
  inode: Inode,
): Promise<GetRep> {
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return { errno: errno === E.NOTDIR ? E.INVAL : errno }
  const sub = dht.hashedSub(inode, key.slice(HASHED_SUBVOL.length))
  return sub === undefined ? { errno: E.NODATA } : text(key, sub.name)
}

async function realFilename(
  dht: Distribute,
  frame: Frame,
  key: string,
  inode: Inode,
): Promise<GetRep> {
  if (!isDirectory(dht, inode)) return { errno: E.INVAL }
  const { replies } = await askAll(dht, frame, key, inode)
  const unsupported = replies.find((rep) => rep.errno === E.OPNOTSUPP)
  if (unsupported !== undefined) return unsupported
  return replies.findLast((rep) => rep.errno === 0) ?? { errno: E.NODATA }
}

/** Carries out a command; `undefined` when the keys are ordinary xattrs. */
export async function setVirtual(
  dht: Distribute,
  frame: Frame,
  req: Req<'setxattr'>,
  inode: Inode,
): Promise<Rep<'setxattr'> | undefined> {
  const { dict } = req
  const directory = isDirectory(dht, inode)
  if (dict.has(FIX_LAYOUT)) {
    return directory ? fixLayout(dht, frame, req.loc) : { errno: E.OPNOTSUPP }
  }
  if (dict.has(MIGRATE_DATA)) {
    // Moving data is the rebalance process's work; a mount does not do it by the way.
    return { errno: E.OPNOTSUPP }
  }
  if (dict.has(SPREAD_COUNT)) {
    const count = Number(dict.getStr(SPREAD_COUNT))
    const valid = Number.isInteger(count) && count >= 1 && count <= dht.children.length
    return valid ? { errno: 0 } : { errno: E.OPNOTSUPP }
  }
  if (dict.has(NUKE)) {
    if (!directory || inode.isRoot) return { errno: E.OPNOTSUPP }
    const dentry = inode.dentries[0]
    if (dentry === undefined) return { errno: E.INVAL }
    const loc = new Loc(inode, dentry.parent, dentry.name)
    const rep = await rmdir(dht, frame, { loc, flags: 1 })
    return rep.errno === 0 ? { errno: 0 } : { errno: rep.errno }
  }
  if (dict.has(DECOMMISSION) && inode.isRoot) return decommission(dht, frame, dict, inode)
  return undefined
}

/** Marks the subvolume whose pathinfo equals the value. */
async function decommission(
  dht: Distribute,
  frame: Frame,
  dict: Dict,
  inode: Inode,
): Promise<Rep<'setxattr'>> {
  const wanted = dict.getStr(DECOMMISSION)
  const name = 'trusted.glusterfs.pathinfo'
  const req = { loc: gfidLoc(inode), name }
  const replies = await frame.windAll(dht.children, 'getxattr', () => req)
  const index = replies.findIndex((rep) => rep.errno === 0 && rep.dict.getStr(name) === wanted)
  if (index < 0) return { errno: E.NODATA }
  dht.decommission(dht.children[index]!)
  return { errno: 0 }
}
