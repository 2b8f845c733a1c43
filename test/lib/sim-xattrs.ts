/** xattrs of a simulated brick: what lookups may ask for, set, get, remove, xattrop. */
import { Dict } from '../../src/core/dict.ts'
import { E, type Errno } from '../../src/core/errno.ts'
import {
  type FopError,
  type Rep,
  XATTROP_ADD_ARRAY,
  XATTROP_ADD_ARRAY64,
  XATTROP_GET_AND_SET,
} from '../../src/core/fop.ts'
import type { SimNode, SimStore } from './sim-store.ts'

/** Keys of creating fops that are instructions, not xattrs to plant. */
export const INTERNAL = new Set([
  'gfid-req',
  'trusted.gfid',
  'glusterfs-internal-fop',
  'glusterfs.preop.parent.key',
  'force-replace',
  'glusterfs.inodelk-dom-count',
  'umask',
  'mode',
])

const error = (errno: Errno): FopError => ({ errno })

/** Reply xdata of lookup-like fops: what the request's keys ask for. */
export function askedXattrs(node: SimNode, xdata: Dict | undefined): Dict | undefined {
  if (xdata === undefined) return undefined
  const reply = new Dict()
  for (const key of xdata.entries.keys()) {
    if (key === 'glusterfs.open-fd-count') reply.setUint(key, node.openCount)
    else if (key === 'list-xattr') {
      for (const [name, value] of node.xattrs) reply.setBytes(name, value)
    } else if (key === 'glusterfs.content' && node.isReg) {
      if (node.data.length <= (xdata.getNumber(key) ?? 0)) reply.setBytes(key, node.data)
    } else {
      const value = node.xattrs.get(key)
      if (value !== undefined) reply.setBytes(key, value)
    }
  }
  return reply.count === 0 ? undefined : reply
}

const INODELK_COUNT = 'glusterfs.inodelk-count'
const INODELK_DOMAIN = 'glusterfs.inodelk-dom-count'

/** Counts that translators of a brick add to a reply: locks on the object, marks in the index. */
export function counted(
  store: SimStore,
  node: SimNode,
  asked: Dict | undefined,
  reply: Dict | undefined,
): Dict | undefined {
  const domain = asked?.getStr(INODELK_DOMAIN)
  const wantsLocks = domain !== undefined || asked?.has(INODELK_COUNT) === true
  if (!wantsLocks && asked?.has('link-count') !== true) return reply
  const dict = reply ?? new Dict()
  if (wantsLocks) {
    const { held, waiting } = store.locks
    const locks = [...held, ...waiting.map(({ lock }) => lock)].filter(
      (lock) =>
        lock.kind === 'inodelk' &&
        lock.object === node.gfid &&
        (domain === undefined || lock.domain === domain) &&
        lock.start < METADATA_START,
    )
    dict.setInt(INODELK_COUNT, locks.length)
  }
  if (asked?.has('link-count') === true) dict.setInt('link-count', Number(marksOthers(store)))
  return dict
}

/** The range that stands for metadata is another domain on bricks. */
const METADATA_START = 2n ** 63n - 2n

function marksOthers(store: SimStore): boolean {
  for (const node of store.byGfid.values()) {
    for (const [key, value] of node.xattrs) {
      if (!key.startsWith('trusted.afr.') || key === 'trusted.afr.dirty') continue
      if (value.some((byte) => byte !== 0)) return true
    }
  }
  return false
}

export function iattReply(node: SimNode, xdata: Dict | undefined): Dict | undefined {
  const wanted = ['dht-get-iatt-in-xattr', 'virt-gf-prestat', 'virt-gf-poststat']
  const reply = new Dict()
  for (const key of wanted) if (xdata?.has(key)) reply.setIatt(key, node.iatt())
  return reply.count === 0 ? undefined : reply
}

export function setxattr(
  store: SimStore,
  node: SimNode | undefined,
  dict: Dict,
  flags: number,
  xdata?: Dict,
): Rep<'setxattr'> {
  if (node === undefined) return error(E.STALE)
  for (const key of dict.entries.keys()) {
    if ((flags & 1) !== 0 && node.xattrs.has(key)) return error(E.EXIST)
    if ((flags & 2) !== 0 && !node.xattrs.has(key)) return error(E.NODATA)
  }
  if (xdata?.has('sync_backend_xattrs')) {
    for (const key of [...node.xattrs.keys()]) {
      if (key.startsWith('user.')) node.xattrs.delete(key)
    }
  }
  for (const key of dict.entries.keys()) node.xattrs.set(key, storedBytes(dict, key))
  node.ctime = store.now()
  return { errno: 0, xdata: iattReply(node, xdata) }
}

export function getxattr(
  store: SimStore,
  brick: string,
  node: SimNode | undefined,
  name: string | undefined,
): Rep<'getxattr'> {
  if (node === undefined) return error(E.STALE)
  const dict = new Dict()
  if (name === undefined || name === '') {
    for (const [key, value] of node.xattrs) dict.setBytes(key, value)
    return { errno: 0, dict }
  }
  if (name === 'trusted.glusterfs.pathinfo' || name === 'glusterfs.pathinfo') {
    return { errno: 0, dict: dict.setStr(name, `<POSIX(/b):sim:/b${store.pathOf(node)}>`) }
  }
  if (name === 'glusterfs.ancestry.path') {
    return { errno: 0, dict: dict.setStr(name, store.pathOf(node)) }
  }
  if (name === 'trusted.glusterfs.node-uuid') {
    return { errno: 0, dict: dict.setStr(name, `uuid-of-${brick}`) }
  }
  const value = node.xattrs.get(name)
  return value === undefined ? error(E.NODATA) : { errno: 0, dict: dict.setBytes(name, value) }
}

export function removexattr(
  store: SimStore,
  node: SimNode | undefined,
  name: string,
  xdata?: Dict,
): Rep<'removexattr'> {
  if (node === undefined) return error(E.STALE)
  if (!node.xattrs.delete(name)) return error(E.NODATA)
  node.ctime = store.now()
  return { errno: 0, xdata: iattReply(node, xdata) }
}

export function xattrop(
  node: SimNode | undefined,
  op: number,
  dict: Dict,
  xdata?: Dict,
): Rep<'xattrop'> {
  if (node === undefined) return error(E.STALE)
  const result = new Dict()
  for (const key of dict.entries.keys()) {
    const given = dict.getBytes(key) ?? Buffer.alloc(0)
    const old = node.xattrs.get(key) ?? Buffer.alloc(given.length)
    if (op === XATTROP_GET_AND_SET) {
      if (node.xattrs.has(key)) result.setBytes(key, old)
      node.xattrs.set(key, Buffer.from(given))
      continue
    }
    if (old.length > given.length) return error(E.RANGE)
    const sum = addArray(old, given, op)
    if (sum === undefined) return error(E.INVAL)
    if (given.some((byte) => byte !== 0)) node.xattrs.set(key, sum)
    result.setBytes(key, sum)
  }
  const asked = askedXattrs(node, xdata)
  return { errno: 0, dict: result, xdata: iattReply(node, xdata) ?? asked }
}

/** Bytes as a brick puts a dict value on disk: text and numbers get their NUL. */
export function storedBytes(dict: Dict, key: string): Buffer {
  const type = dict.get(key)?.type
  const bytes = dict.getBytes(key) ?? Buffer.alloc(0)
  if (type === 'str' || type === 'int' || type === 'uint') {
    return Buffer.concat([bytes, Buffer.alloc(1)])
  }
  return Buffer.from(bytes)
}

function addArray(old: Buffer, addend: Buffer, op: number): Buffer | undefined {
  const sum = Buffer.alloc(addend.length)
  old.copy(sum)
  if (op === XATTROP_ADD_ARRAY) {
    for (let at = 0; at + 4 <= sum.length; at += 4) {
      sum.writeInt32BE((sum.readInt32BE(at) + addend.readInt32BE(at)) | 0, at)
    }
    return sum
  }
  if (op === XATTROP_ADD_ARRAY64) {
    for (let at = 0; at + 8 <= sum.length; at += 8) {
      const value = BigInt.asIntN(64, sum.readBigInt64BE(at) + addend.readBigInt64BE(at))
      sum.writeBigInt64BE(value, at)
    }
    return sum
  }
  return undefined
}
