/** Names and values sharded files have on bricks; those of a stock client. */
import { Dict } from '../../../src/core/dict.ts'
import { type Gfid, parseGfid } from '../../../src/core/gfid.ts'
import type { Loc } from '../../../src/core/loc.ts'

export const XATTR_PREFIX = 'trusted.glusterfs.shard.'
/** u64, big-endian: bytes in a block. A file without it is whole. */
export const BLOCK_SIZE_KEY = `${XATTR_PREFIX}block-size`
/** Four u64, big-endian: size, 0, 512-byte blocks, 0. */
export const FILE_SIZE_KEY = `${XATTR_PREFIX}file-size`
const FILE_SIZE_LENGTH = 32

/** Directory in the root with the blocks, and the one in it with what is to be deleted. */
export const SHARD_DIR = '.shard'
export const SHARD_GFID = parseGfid('be318638-e8a0-4c6d-977d-7a937aa84806') as Gfid
export const REMOVE_DIR = '.remove_me'
export const REMOVE_GFID = parseGfid('77dd5a45-dbf5-4592-b31b-b440382302e9') as Gfid

/** The brick also answers for a file that has no name any more but is open. */
export const UNLINKED_LOOKUP_KEY = 'unlinked-lookup'
/** May use the space the brick keeps in reserve. */
export const INTERNAL_KEY = 'glusterfs-internal-fop'
/** Attributes before and after are those of this very write. */
export const UPDATE_ATOMIC_KEY = 'glusterfs.write-update-atomic'
export const CONTENT_KEY = 'glusterfs.content'

export interface FileSize {
  /** Bytes. */
  size: number
  /** Of 512 bytes. */
  blocks: number
}

/** Both xattrs of a file as it is made. */
export function setSharded(dict: Dict, blockSize: number, size: number): Dict {
  const value = Buffer.alloc(8)
  value.writeBigUInt64BE(BigInt(blockSize))
  return dict.setBytes(BLOCK_SIZE_KEY, value).setBytes(FILE_SIZE_KEY, encodeFileSize(size, 0))
}

/** Also of differences, which may be negative. */
export function encodeFileSize(size: number, blocks: number): Buffer {
  const value = Buffer.alloc(FILE_SIZE_LENGTH)
  value.writeBigInt64BE(BigInt(size), 0)
  value.writeBigInt64BE(BigInt(blocks), 16)
  return value
}

/** `undefined`: absent, or no value a file can have. */
export function fileSizeOf(dict: Dict | undefined): FileSize | undefined {
  const value = dict?.getBytes(FILE_SIZE_KEY)
  if (value?.length !== FILE_SIZE_LENGTH) return undefined
  const size = Number(value.readBigInt64BE(0))
  const blocks = Number(value.readBigInt64BE(16))
  if (size < 0 || size > Number.MAX_SAFE_INTEGER) return undefined
  return { size, blocks: Math.max(0, blocks) }
}

/** 0: the file is whole. */
export function blockSizeOf(dict: Dict | undefined): number {
  const value = dict?.getBytes(BLOCK_SIZE_KEY)
  if (value?.length !== 8) return 0
  const size = Number(value.readBigUInt64BE())
  return Number.isSafeInteger(size) ? size : 0
}

/** `xdata` that also asks for the xattrs. */
export function asking(xdata: Dict | undefined): Dict {
  const asked = xdata?.clone() ?? new Dict()
  return asked.setUint(BLOCK_SIZE_KEY, 8).setUint(FILE_SIZE_KEY, FILE_SIZE_LENGTH)
}

/** The name is that of the directory of blocks, or in it: users have no business there. */
export function isHidden({ parent, name }: Loc): boolean {
  if (parent === undefined) return false
  return (name === SHARD_DIR && parent.isRoot) || isInternal(parent.gfid)
}

export const isInternal = (gfid: Gfid): boolean => gfid === SHARD_GFID || gfid === REMOVE_GFID

/** A user would set one of the xattrs. */
export function hasKeys(dict: Dict): boolean {
  for (const key of dict.entries.keys()) if (key.startsWith(XATTR_PREFIX)) return true
  return false
}

/** Nor do users see them. */
export function hideKeys<R extends { errno: number; dict?: Dict }>(rep: R): R {
  if (rep.dict === undefined) return rep
  if (!rep.dict.has(BLOCK_SIZE_KEY) && !rep.dict.has(FILE_SIZE_KEY)) return rep
  const dict = rep.dict.clone()
  dict.delete(BLOCK_SIZE_KEY)
  dict.delete(FILE_SIZE_KEY)
  return { ...rep, dict }
}
