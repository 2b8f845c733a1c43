/** Extended attributes of paths (symbolic links not followed) and of open files. */
import { bind, key, path } from './libc.ts'

export const XATTR_CREATE = 1
export const XATTR_REPLACE = 2
/** XATTR_SIZE_MAX of linux/limits.h. */
const VALUE_BYTES_MAX = 65536

const lget = bind(
  'int64_t lgetxattr(const uint8_t *path, const uint8_t *key, uint8_t *v, size_t n)',
)
const fget = bind('int64_t fgetxattr(int fd, const uint8_t *key, uint8_t *v, size_t n)')
const llist = bind('int64_t llistxattr(const uint8_t *path, uint8_t *names, size_t n)')
const flist = bind('int64_t flistxattr(int fd, uint8_t *names, size_t n)')
const lset = bind(
  'int lsetxattr(const uint8_t *path, const uint8_t *key, const uint8_t *v, size_t n, int flags)',
)
const fset = bind(
  'int fsetxattr(int fd, const uint8_t *key, const uint8_t *v, size_t n, int flags)',
)
const lremove = bind('int lremovexattr(const uint8_t *path, const uint8_t *key)')
const fremove = bind('int fremovexattr(int fd, const uint8_t *key)')

/** A file by path, or by descriptor where there is one (cheaper). */
export type Target = string | number

const value = Buffer.allocUnsafeSlow(VALUE_BYTES_MAX)

const copied = (length: number): Buffer | number =>
  length < 0 ? length : Buffer.from(value.subarray(0, length))

/** A copy of the value. */
export function getXattr(target: Target, name: string): Buffer | number {
  return copied(getXattrShared(target, name))
}

/** Like getXattr without the copy: the length; the bytes stand in `xattrShared` until next use. */
export function getXattrShared(target: Target, name: string): number {
  return typeof target === 'number'
    ? fget(target, key.of(name), value, VALUE_BYTES_MAX)
    : lget(path.of(target), key.of(name), value, VALUE_BYTES_MAX)
}
export const xattrShared = value

/** `flags`: 0, XATTR_CREATE, XATTR_REPLACE. */
export function setXattr(target: Target, name: string, bytes: Buffer, flags: number): number {
  return typeof target === 'number'
    ? fset(target, key.of(name), bytes, bytes.length, flags)
    : lset(path.of(target), key.of(name), bytes, bytes.length, flags)
}

export function removeXattr(target: Target, name: string): number {
  return typeof target === 'number'
    ? fremove(target, key.of(name))
    : lremove(path.of(target), key.of(name))
}

export function listXattr(target: Target): string[] | number {
  const length =
    typeof target === 'number'
      ? flist(target, value, VALUE_BYTES_MAX)
      : llist(path.of(target), value, VALUE_BYTES_MAX)
  if (length < 0) return length
  if (length === 0) return []
  return value.latin1Slice(0, length - 1).split('\0')
}
