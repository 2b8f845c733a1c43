/** xattrop: read-modify-write of xattrs as arrays of big-endian integers (posix_xattrop). */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  XATTROP_ADD_ARRAY,
  XATTROP_ADD_ARRAY_WITH_DEFAULT,
  XATTROP_ADD_ARRAY64,
  XATTROP_ADD_ARRAY64_WITH_DEFAULT,
  XATTROP_AND_ARRAY,
  XATTROP_GET_AND_SET,
  XATTROP_OR_ARRAY,
} from '../../../src/core/fop.ts'
import { errnoOf } from '../../../src/sys/libc.ts'
import { getXattr, setXattr, type Target } from '../../../src/sys/xattr.ts'

const ENODATA = -61

/** Carries out all keys in order; the reply's values, or the errno of the first that fails. */
export function xattrop(
  target: Target,
  op: number,
  dict: Dict,
): { errno: 0; dict: Dict } | { errno: Errno } {
  const reply = new Dict()
  for (const key of dict.entries.keys()) {
    const request = dict.getBytes(key)
    if (request === undefined) return { errno: E.INVAL }
    const result = apply(target, op, key, request)
    if (typeof result === 'number') return { errno: errnoOf(result) }
    if (result !== undefined) reply.setBytes(key, result)
  }
  return { errno: 0, dict: reply }
}

const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0)

/** The value to reply with, `undefined` for none, or a negative errno. */
function apply(
  target: Target,
  op: number,
  key: string,
  request: Buffer,
): Buffer | undefined | number {
  const found = getXattr(target, key)
  if (typeof found === 'number' && found !== ENODATA) return found
  const present = typeof found === 'number' ? undefined : found
  if (op === XATTROP_GET_AND_SET) {
    const rc = setXattr(target, key, request, 0)
    return rc < 0 ? rc : present
  }
  const hasDefault =
    op === XATTROP_ADD_ARRAY_WITH_DEFAULT || op === XATTROP_ADD_ARRAY64_WITH_DEFAULT
  const is64 = op === XATTROP_ADD_ARRAY64 || op === XATTROP_ADD_ARRAY64_WITH_DEFAULT
  const size = hasDefault ? request.length / 2 : request.length
  if (!Number.isInteger(size) || size % (is64 ? 8 : 4) !== 0) return -E.INVAL
  if (present !== undefined && present.length > size) return -E.RANGE
  const value = Buffer.alloc(size)
  present?.copy(value)
  const pureRead = !hasDefault && isZero(request)
  if (pureRead && op <= XATTROP_AND_ARRAY) return value
  if (op === XATTROP_OR_ARRAY || op === XATTROP_AND_ARRAY) return -E.INVAL
  if (op !== XATTROP_ADD_ARRAY && !is64 && !hasDefault) return -E.INVAL
  if (hasDefault) fillDefaults(value, request.subarray(size), is64)
  if (is64) add64(value, request)
  else add32(value, request)
  const rc = setXattr(target, key, value, 0)
  return rc < 0 ? rc : value
}

/** Elements that are zero start from their default. */
function fillDefaults(value: Buffer, defaults: Buffer, is64: boolean): void {
  const width = is64 ? 8 : 4
  for (let at = 0; at < value.length; at += width) {
    const element = value.subarray(at, at + width)
    if (isZero(element)) defaults.copy(element, 0, at, at + width)
  }
}

function add32(value: Buffer, addend: Buffer): void {
  for (let at = 0; at < value.length; at += 4) {
    value.writeInt32BE((value.readInt32BE(at) + addend.readInt32BE(at)) | 0, at)
  }
}

function add64(value: Buffer, addend: Buffer): void {
  for (let at = 0; at < value.length; at += 8) {
    const sum = value.readBigUInt64BE(at) + addend.readBigUInt64BE(at)
    value.writeBigUInt64BE(BigInt.asUintN(64, sum), at)
  }
}
