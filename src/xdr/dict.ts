/**
 * Dictionaries on the wire: gfx_dict with typed values (4.x programs), and the older untyped form
 * inside an opaque (handshake, callbacks).
 */
import { Dict, type DictValue, type Mdata } from '../core/dict.ts'
import { gfx_iattx } from './iatt.ts'
import { type Reader, XdrError } from './reader.ts'
import * as xdr from './schema.ts'
import type { Writer } from './writer.ts'

/** gf_dict_data_type_t. */
const UNKNOWN = 0
const STR_OLD = 1
const INT = 2
const UINT = 3
const DOUBLE = 4
const STR = 5
const PTR = 6
const GFUUID = 7
const IATT = 8
const MDATA = 9

const typeNumbers: Readonly<Record<DictValue['type'], number>> = {
  strOld: STR_OLD,
  int: INT,
  uint: UINT,
  double: DOUBLE,
  str: STR,
  ptr: PTR,
  gfid: GFUUID,
  iatt: IATT,
  mdata: MDATA,
}

/** Bytes one value may have: more than any xattr, less than a record. */
const DICT_VALUE_SIZE_MAX = 64 * 1024 * 1024
const DICT_KEY_SIZE_MAX = 64 * 1024
/** Pairs of a dictionary. */
const DICT_COUNT_MAX = 64 * 1024
/** key length, one padded character (the NUL), type, and the shortest value: none. */
const PAIR_SIZE_MIN = 12

const gfx_mdata_iatt = xdr.record<Mdata>('gfx_mdata_iatt', {
  atime: xdr.i64,
  mtime: xdr.i64,
  ctime: xdr.i64,
  atime_nsec: xdr.as('atimeNsec', xdr.u32),
  mtime_nsec: xdr.as('mtimeNsec', xdr.u32),
  ctime_nsec: xdr.as('ctimeNsec', xdr.u32),
})

/**
 * `xdr_size u32, count i32, n u32, n pairs`. The null dictionary `0, -1, 0` is `undefined`.
 * `xdr_size` is the size of the pairs; a receiver that has not decoded them finds a payload by it,
 * so that one that lies is refused.
 */
export const gfx_dict: xdr.Codec<Dict | undefined> = {
  name: 'gfx_dict',
  minSize: 12,
  encode: encodeDict,
  decode: decodeDict,
}

function encodeDict(w: Writer, dict: Dict | undefined, field = 'dict'): void {
  const at = w.position
  w.u32(0)
  w.u32(dict === undefined ? 0xffffffff : dict.entries.size, field)
  w.u32(dict === undefined ? 0 : dict.entries.size)
  if (dict === undefined || dict.entries.size === 0) return
  for (const [key, value] of dict.entries) {
    w.cstring(key, DICT_KEY_SIZE_MAX, field)
    encodeValue(w, value, key)
  }
  w.patchU32(at, w.position - at - 12)
}

function encodeValue(w: Writer, entry: DictValue, key: string): void {
  w.u32(typeNumbers[entry.type])
  switch (entry.type) {
    case 'int':
    case 'uint':
      encodeInteger(w, entry.value, entry.type === 'int', key)
      break
    case 'double':
      xdr.double.encode(w, entry.value, key)
      break
    case 'str':
      w.cstring(entry.value, DICT_VALUE_SIZE_MAX, key)
      break
    case 'ptr':
    case 'strOld':
      w.opaque(entry.value, DICT_VALUE_SIZE_MAX, key)
      break
    case 'gfid':
      xdr.gfid.encode(w, entry.value, key)
      break
    case 'iatt':
      gfx_iattx.encode(w, entry.value, key)
      break
    case 'mdata':
      gfx_mdata_iatt.encode(w, entry.value, key)
      break
  }
}

function encodeInteger(w: Writer, value: number | bigint, signed: boolean, key: string): void {
  if (typeof value === 'number') {
    const codec = signed ? xdr.i64 : xdr.u64n
    codec.encode(w, value, key)
    return
  }
  const wrapped = signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)
  if (wrapped !== value) throw w.refuse(key, `${value} has more than 64 bits`)
  xdr.u64.encode(w, BigInt.asUintN(64, value), key)
}

function decodeDict(r: Reader, field = 'dict'): Dict | undefined {
  const at = r.position
  const size = r.u32(field)
  const count = r.i32(field)
  const n = r.u32(field)
  if (n === 0 && size === 0) {
    if (count === -1) return undefined
    if (count === 0) return new Dict()
  }
  if (count !== n || n > DICT_COUNT_MAX || n * PAIR_SIZE_MIN > r.remaining) {
    throw new XdrError(field, at, `dictionary of ${size} bytes, count ${count}, ${n} pairs`)
  }
  const dict = new Dict()
  const pairs = r.position
  for (let i = 0; i < n; i++) decodePair(r, dict, field)
  if (r.position - pairs !== size) {
    throw new XdrError(field, at, `xdr_size ${size}, the pairs have ${r.position - pairs} bytes`)
  }
  return dict
}

function decodePair(r: Reader, dict: Dict, field: string): void {
  const key = r.cstring(DICT_KEY_SIZE_MAX, field)
  if (key === undefined) throw new XdrError(field, r.position, 'a key without its NUL')
  const value = decodeValue(r, key)
  if (value !== undefined) dict.entries.set(key, value)
}

function decodeValue(r: Reader, key: string): DictValue | undefined {
  const type = r.i32(key)
  switch (type) {
    case UNKNOWN:
      return undefined
    case STR_OLD:
      return { type: 'strOld', value: r.opaque(DICT_VALUE_SIZE_MAX, key) }
    case INT:
      return { type: 'int', value: decodeInteger(r, true, key) }
    case UINT:
      return { type: 'uint', value: decodeInteger(r, false, key) }
    case DOUBLE:
      return { type: 'double', value: xdr.double.decode(r, key) }
    case STR: {
      const text = r.string(DICT_VALUE_SIZE_MAX, key)
      return { type: 'str', value: text.endsWith('\0') ? text.slice(0, -1) : text }
    }
    case PTR:
      return { type: 'ptr', value: r.opaque(DICT_VALUE_SIZE_MAX, key) }
    case GFUUID:
      return { type: 'gfid', value: xdr.gfid.decode(r, key) }
    case IATT:
      return { type: 'iatt', value: gfx_iattx.decode(r, key) }
    case MDATA:
      return { type: 'mdata', value: gfx_mdata_iatt.decode(r, key) }
    default:
      throw new XdrError(key, r.position - 4, `value of unknown type ${type}`)
  }
}

/** A number where it is exact, else a bigint. */
function decodeInteger(r: Reader, signed: boolean, key: string): number | bigint {
  const high = r.u32(key)
  const low = r.u32(key)
  const top = signed ? high | 0 : high
  if (top <= 0x1fffff && top >= -0x200000) return top * 0x100000000 + low
  const bits = (BigInt(high) << 32n) | BigInt(low)
  return signed ? BigInt.asIntN(64, bits) : bits
}

// ── the untyped form ────────────────────────────────────────────────────────────────────────────

/** Values as they travel: text and numbers are ASCII with a NUL at the end. */
export type LegacyDict = Map<string, Buffer>

/** Pairs of an untyped dictionary. */
const LEGACY_COUNT_MAX = 4096
/** Bytes of an untyped dictionary. */
const LEGACY_SIZE_MAX = 16 * 1024 * 1024

/** A dictionary of text values, the NULs added. */
export function legacyDict(init: Record<string, string | number>): LegacyDict {
  const dict: LegacyDict = new Map()
  for (const [key, value] of Object.entries(init)) {
    dict.set(key, Buffer.from(`${value}\0`, 'latin1'))
  }
  return dict
}

/** The text of a value up to its NUL, `undefined` when absent. */
export function legacyText(dict: LegacyDict | undefined, key: string): string | undefined {
  const value = dict?.get(key)
  if (value === undefined) return undefined
  const end = value.indexOf(0)
  return value.latin1Slice(0, end < 0 ? value.length : end)
}

/**
 * Inside an opaque, without padding: `count i32`, then `keylen i32, vallen i32, key, NUL, value`
 * each (dict_serialize). No bytes at all = no dictionary, `undefined`.
 */
export const legacy_dict: xdr.Codec<LegacyDict | undefined> = {
  name: 'legacy dict',
  minSize: 4,
  encode(w, dict, field = 'dict') {
    if (dict === undefined) return w.u32(0)
    w.opaque(encodeLegacy(dict), LEGACY_SIZE_MAX, field)
  },
  decode(r, field = 'dict') {
    const base = r.position + 4
    const bytes = r.opaque(LEGACY_SIZE_MAX, field)
    return bytes.length === 0 ? undefined : decodeLegacy(bytes, base, field)
  },
}

/** The bytes of a dictionary by themselves, as some xattr values hold one. */
export function encodeLegacy(dict: LegacyDict): Buffer {
  let size = 4
  for (const [key, value] of dict) size += 9 + key.length + value.length
  const bytes = Buffer.alloc(size)
  let at = bytes.writeInt32BE(dict.size)
  for (const [key, value] of dict) {
    at = bytes.writeInt32BE(key.length, at)
    at = bytes.writeInt32BE(value.length, at)
    at += bytes.latin1Write(key, at) + 1
    at += value.copy(bytes, at)
  }
  return bytes
}

/** Throws XdrError. `base`: where `bytes` began in the record, for errors. */
export function decodeLegacy(bytes: Buffer, base: number, field: string): LegacyDict {
  const refuse = (at: number, why: string): XdrError => new XdrError(field, base + at, why)
  if (bytes.length < 4) throw refuse(0, `a dictionary of ${bytes.length} bytes`)
  const count = bytes.readInt32BE(0)
  if (count < 0 || count > LEGACY_COUNT_MAX || count * 9 > bytes.length - 4) {
    throw refuse(0, `${count} pairs in ${bytes.length} bytes`)
  }
  const dict: LegacyDict = new Map()
  let at = 4
  for (let i = 0; i < count; i++) {
    if (bytes.length - at < 9) throw refuse(at, 'a pair is cut off')
    const keySize = bytes.readInt32BE(at)
    const valueSize = bytes.readInt32BE(at + 4)
    if (keySize < 0 || valueSize < 0 || keySize + valueSize > bytes.length - at - 9) {
      throw refuse(at, `key of ${keySize} and value of ${valueSize} bytes`)
    }
    at += 8
    const key = bytes.latin1Slice(at, at + keySize)
    at += keySize
    if (bytes[at] !== 0) throw refuse(at, `key '${key}' without its NUL`)
    at += 1
    dict.set(key, bytes.subarray(at, at + valueSize))
    at += valueSize
  }
  if (at !== bytes.length) throw refuse(at, `${bytes.length - at} bytes after the last pair`)
  return dict
}
