/**
 * The xattrs a disperse volume keeps on every brick (ec-common.h). All are big-endian and, `config`
 * apart, changed by addition only.
 */
import type { Dict } from '../../../src/core/dict.ts'
import { CHUNK_SIZE, type Geometry } from './codec/geometry.ts'

export const XATTR_PREFIX = 'trusted.ec.'
export const XATTR_CONFIG = 'trusted.ec.config'
export const XATTR_SIZE = 'trusted.ec.size'
export const XATTR_VERSION = 'trusted.ec.version'
export const XATTR_DIRTY = 'trusted.ec.dirty'
export const XATTR_HEAL = 'trusted.ec.heal'
export const XATTR_HEAL_NEW = 'trusted.ec.heal-new'

/** Which counters an operation changes: words of version and dirty. */
export const WORD_DATA = 0
export const WORD_METADATA = 1

const WORD_SIZE = 8
/** In the data word of a version: the brick is being rebuilt by a data heal. */
const HEALING_BIT_BYTE = 0x40
export const HEALING_BIT = 1n << 62n

/** The bytes of trusted.ec.config: version 0, algorithm 0, 8 bits a word, N, R, chunk size. */
export function configBytes(geometry: Geometry): Buffer {
  const { brickCount, redundancy } = geometry
  return Buffer.from([0, 0, 8, brickCount, redundancy, 0, CHUNK_SIZE >> 8, CHUNK_SIZE & 0xff])
}

/** One counter as xattrop wants it; negative values wrap. */
export function word(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(WORD_SIZE)
  bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(value)))
  return bytes
}

export function words(data: number | bigint, metadata: number | bigint): Buffer {
  const bytes = Buffer.alloc(2 * WORD_SIZE)
  bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(data)))
  bytes.writeBigInt64BE(BigInt.asIntN(64, BigInt(metadata)), WORD_SIZE)
  return bytes
}

/**
 * Both counters of a version or dirty value, unsigned. Missing = zeros; a value of one word (3.6)
 * stands for both.
 */
export function readWords(bytes: Buffer | undefined): [bigint, bigint] {
  if (bytes === undefined || bytes.length < WORD_SIZE) return [0n, 0n]
  const data = bytes.readBigUInt64BE(0)
  if (bytes.length < 2 * WORD_SIZE) return [data, data]
  return [data, bytes.readBigUInt64BE(WORD_SIZE)]
}

/** The size in `bytes`; `undefined` when absent, malformed or beyond what a number holds. */
export function readSize(bytes: Buffer | undefined): number | undefined {
  if (bytes === undefined || bytes.length !== WORD_SIZE) return undefined
  const size = bytes.readBigUInt64BE(0)
  return size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : undefined
}

/**
 * The same where it may be negative: a sink whose size is not right yet is told of changes as the
 * others are, of a truncate by what it took away from theirs.
 */
export function readSizeOfSink(bytes: Buffer | undefined): number | undefined {
  if (bytes === undefined || bytes.length !== WORD_SIZE) return undefined
  const size = Number(bytes.readBigInt64BE(0))
  return Number.isSafeInteger(size) ? size : undefined
}

export function isHealing(version: Buffer | undefined): boolean {
  return version !== undefined && version.length > 0 && (version[0]! & HEALING_BIT_BYTE) !== 0
}

export function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0)
}

/** xdata that makes a lookup or listing return the counters. */
export function requestCounters(xdata: Dict): Dict {
  xdata.setUint(XATTR_SIZE, 0)
  xdata.setUint(XATTR_VERSION, 0)
  return xdata.setUint(XATTR_DIRTY, 0)
}

/** `dict` without our own xattrs; `dict` itself when there are none. */
export function withoutOwn(dict: Dict): Dict {
  let copy: Dict | undefined
  for (const key of dict.entries.keys()) {
    if (!key.startsWith(XATTR_PREFIX)) continue
    copy ??= dict.clone()
    copy.delete(key)
  }
  return copy ?? dict
}
