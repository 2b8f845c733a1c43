/**
 * System calls for test programs, as glibc offers them, with errno. Node's own fs module hides too
 * much: flags, nanoseconds, errno of half of the calls, and it runs them on other threads.
 *
 * Every call blocks the thread. A call that returns a number returns a negative errno when it
 * failed; one that returns data returns that number instead of the data. Paths and names are
 * latin1 strings, one character per byte.
 */
import { constants } from 'node:fs'
import koffi from 'koffi'
import { E } from '../../src/core/errno.ts'

const libc = koffi.load(null)

type Raw = (...args: unknown[]) => number

function bind(declaration: string): Raw {
  const f = libc.func(declaration)
  return (...args) => {
    const result = Number(f(...args))
    return result === -1 ? -koffi.errno() : result
  }
}

function cstring(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'latin1')
}

const errnoNames = new Map(Object.entries(E).map(([name, value]) => [value as number, `E${name}`]))

/** 'ENOENT' for -2 (the result of a failed call); other numbers as they are. */
export function errnoName(result: number): string | number {
  return result < 0 ? (errnoNames.get(-result) ?? `errno ${-result}`) : result
}

/** The result of a call that has to succeed for the test to make sense. */
export function must<T>(result: T | number, what = 'call'): T & (number | object) {
  if (typeof result === 'number' && result < 0) {
    throw new Error(`${what}: ${errnoName(result)}`)
  }
  return result as T & (number | object)
}

export const O = {
  ...constants,
  O_PATH: 0o10000000,
  O_TMPFILE: 0o20000000 | constants.O_DIRECTORY,
  O_CLOEXEC: 0o2000000,
} as const
export const AT_FDCWD = -100
export const AT = {
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  SYMLINK_FOLLOW: 0x400,
  EMPTY_PATH: 0x1000,
}
export const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 }
export const FALLOC = { KEEP_SIZE: 1, PUNCH_HOLE: 2, COLLAPSE: 8, ZERO_RANGE: 16, INSERT: 32 }
export const RENAME = { NOREPLACE: 1, EXCHANGE: 2, WHITEOUT: 4 }
export const XATTR = { CREATE: 1, REPLACE: 2 }
/** For `utimens`: this time stays, this time becomes now. */
export const UTIME = { NOW: 0x3fffffff, OMIT: 0x3ffffffe }
export const LOCK = { SH: 1, EX: 2, NB: 4, UN: 8 }
export const S = { REG: 0o100000, FIFO: 0o010000, SOCK: 0o140000, CHR: 0o020000, BLK: 0o060000 }

const c = {
  openat: bind('int openat(int dir, const uint8_t *path, int flags, uint32_t mode)'),
  close: bind('int close(int fd)'),
  dup: bind('int dup(int fd)'),
  pread: bind('int64_t pread(int fd, uint8_t *data, size_t size, int64_t offset)'),
  pwrite: bind('int64_t pwrite(int fd, const uint8_t *data, size_t size, int64_t offset)'),
  read: bind('int64_t read(int fd, uint8_t *data, size_t size)'),
  write: bind('int64_t write(int fd, const uint8_t *data, size_t size)'),
  lseek: bind('int64_t lseek(int fd, int64_t offset, int whence)'),
  ftruncate: bind('int ftruncate(int fd, int64_t size)'),
  truncate: bind('int truncate(const uint8_t *path, int64_t size)'),
  fallocate: bind('int fallocate(int fd, int mode, int64_t offset, int64_t size)'),
  copyRange: bind(
    'int64_t copy_file_range(int from, int64_t *at, int to, int64_t *at2, size_t size, uint32_t f)',
  ),
  fsync: bind('int fsync(int fd)'),
  fdatasync: bind('int fdatasync(int fd)'),
  syncfs: bind('int syncfs(int fd)'),
  renameat2: bind(
    'int renameat2(int dir, const uint8_t *from, int dir2, const uint8_t *to, uint32_t flags)',
  ),
  linkat: bind('int linkat(int dir, const uint8_t *from, int dir2, const uint8_t *to, int flags)'),
  symlink: bind('int symlink(const uint8_t *target, const uint8_t *path)'),
  readlink: bind('int64_t readlink(const uint8_t *path, uint8_t *target, size_t size)'),
  mknod: bind('int mknod(const uint8_t *path, uint32_t mode, uint64_t dev)'),
  mkdir: bind('int mkdir(const uint8_t *path, uint32_t mode)'),
  unlinkat: bind('int unlinkat(int dir, const uint8_t *path, int flags)'),
  chmod: bind('int chmod(const uint8_t *path, uint32_t mode)'),
  fchmod: bind('int fchmod(int fd, uint32_t mode)'),
  fchownat: bind(
    'int fchownat(int dir, const uint8_t *path, uint32_t uid, uint32_t gid, int flags)',
  ),
  fchown: bind('int fchown(int fd, uint32_t uid, uint32_t gid)'),
  utimensat: bind('int utimensat(int dir, const uint8_t *path, const int64_t *times, int flags)'),
  futimens: bind('int futimens(int fd, const int64_t *times)'),
  statx: bind(
    'int statx(int dir, const uint8_t *path, int flags, uint32_t mask, _Out_ uint8_t *result)',
  ),
  statfs: bind('int statfs(const uint8_t *path, _Out_ uint8_t *result)'),
  access: bind('int access(const uint8_t *path, int mode)'),
  getdents: bind('int64_t getdents64(int fd, uint8_t *data, size_t size)'),
  setxattr: bind(
    'int setxattr(const uint8_t *path, const uint8_t *key, const uint8_t *v, size_t n, int flags)',
  ),
  lsetxattr: bind(
    'int lsetxattr(const uint8_t *path, const uint8_t *key, const uint8_t *v, size_t n, int flags)',
  ),
  fsetxattr: bind(
    'int fsetxattr(int fd, const uint8_t *key, const uint8_t *value, size_t size, int flags)',
  ),
  getxattr: bind(
    'int64_t getxattr(const uint8_t *path, const uint8_t *key, uint8_t *value, size_t size)',
  ),
  lgetxattr: bind(
    'int64_t lgetxattr(const uint8_t *path, const uint8_t *key, uint8_t *value, size_t size)',
  ),
  fgetxattr: bind('int64_t fgetxattr(int fd, const uint8_t *key, uint8_t *value, size_t size)'),
  listxattr: bind('int64_t listxattr(const uint8_t *path, uint8_t *names, size_t size)'),
  llistxattr: bind('int64_t llistxattr(const uint8_t *path, uint8_t *names, size_t size)'),
  flistxattr: bind('int64_t flistxattr(int fd, uint8_t *names, size_t size)'),
  removexattr: bind('int removexattr(const uint8_t *path, const uint8_t *key)'),
  lremovexattr: bind('int lremovexattr(const uint8_t *path, const uint8_t *key)'),
  fremovexattr: bind('int fremovexattr(int fd, const uint8_t *key)'),
  fcntlLock: bind('int fcntl(int fd, int command, uint8_t *lock)'),
  fcntl: bind('int fcntl(int fd, int command, int64_t value)'),
  flock: bind('int flock(int fd, int operation)'),
  mmap: bind('intptr_t mmap(intptr_t at, size_t size, int prot, int flags, int fd, int64_t off)'),
  munmap: bind('int munmap(intptr_t at, size_t size)'),
  msync: bind('int msync(intptr_t at, size_t size, int flags)'),
  poke: bind('intptr_t memcpy(intptr_t to, const uint8_t *from, size_t size)'),
  peek: bind('intptr_t memcpy(_Out_ uint8_t *to, intptr_t from, size_t size)'),
  setresuid: bind('int setresuid(uint32_t real, uint32_t effective, uint32_t saved)'),
  setresgid: bind('int setresgid(uint32_t real, uint32_t effective, uint32_t saved)'),
  setgroups: bind('int setgroups(size_t count, const uint32_t *groups)'),
  umask: bind('uint32_t umask(uint32_t mask)'),
  chdir: bind('int chdir(const uint8_t *path)'),
  ioctl: bind('int ioctl(int fd, uint64_t request, uint8_t *data)'),
  poll: bind('int poll(uint8_t *fds, uint64_t count, int timeoutMs)'),
} as const

export const open = (path: string, flags: number, mode = 0o644): number =>
  c.openat(AT_FDCWD, cstring(path), flags, mode)
export const openat = (dir: number, path: string, flags: number, mode = 0o644): number =>
  c.openat(dir, cstring(path), flags, mode)
export const close = (fd: number): number => c.close(fd)
export const dup = (fd: number): number => c.dup(fd)
export const write = (fd: number, data: Uint8Array): number => c.write(fd, data, data.length)
export const pwrite = (fd: number, data: Uint8Array, offset: number): number =>
  c.pwrite(fd, data, data.length, offset)
/** Directory positions need all 64 bits: then `offset` is a bigint and the result inexact. */
export const lseek = (fd: number, offset: number | bigint, whence: number): number =>
  c.lseek(fd, offset, whence)
export const ftruncate = (fd: number, size: number): number => c.ftruncate(fd, size)
export const truncate = (path: string, size: number): number => c.truncate(cstring(path), size)
export const fallocate = (fd: number, mode: number, offset: number, size: number): number =>
  c.fallocate(fd, mode, offset, size)
export const fsync = (fd: number): number => c.fsync(fd)
export const fdatasync = (fd: number): number => c.fdatasync(fd)
export const syncfs = (fd: number): number => c.syncfs(fd)
export const rename = (from: string, to: string, flags = 0): number =>
  c.renameat2(AT_FDCWD, cstring(from), AT_FDCWD, cstring(to), flags)
export const link = (from: string, to: string, flags = 0): number =>
  c.linkat(AT_FDCWD, cstring(from), AT_FDCWD, cstring(to), flags)
/** Gives an open file (such as one made with O_TMPFILE) a name. */
export const linkFd = (fd: number, to: string): number =>
  c.linkat(AT_FDCWD, cstring(`/proc/self/fd/${fd}`), AT_FDCWD, cstring(to), AT.SYMLINK_FOLLOW)
export const symlink = (target: string, path: string): number =>
  c.symlink(cstring(target), cstring(path))
export const mknod = (path: string, mode: number, major = 0, minor = 0): number =>
  c.mknod(cstring(path), mode, major * 256 + minor)
export const mkdir = (path: string, mode = 0o755): number => c.mkdir(cstring(path), mode)
export const rmdir = (path: string): number => c.unlinkat(AT_FDCWD, cstring(path), AT.REMOVEDIR)
export const unlink = (path: string): number => c.unlinkat(AT_FDCWD, cstring(path), 0)
export const chmod = (path: string, mode: number): number => c.chmod(cstring(path), mode)
export const fchmod = (fd: number, mode: number): number => c.fchmod(fd, mode)
/** An id of -1 stays as it is. */
export const chown = (path: string, uid: number, gid: number): number =>
  c.fchownat(AT_FDCWD, cstring(path), uid >>> 0, gid >>> 0, 0)
export const lchown = (path: string, uid: number, gid: number): number =>
  c.fchownat(AT_FDCWD, cstring(path), uid >>> 0, gid >>> 0, AT.SYMLINK_NOFOLLOW)
export const fchown = (fd: number, uid: number, gid: number): number =>
  c.fchown(fd, uid >>> 0, gid >>> 0)
export const access = (path: string, mode: number): number => c.access(cstring(path), mode)
export const flock = (fd: number, operation: number): number => c.flock(fd, operation)
export const fcntl = (fd: number, command: number, value: number): number =>
  c.fcntl(fd, command, value)
export const umask = (mask: number): number => c.umask(mask)
export const chdir = (path: string): number => c.chdir(cstring(path))

export function pread(fd: number, size: number, offset: number): Buffer | number {
  const data = Buffer.allocUnsafe(size)
  const count = c.pread(fd, data, size, offset)
  return count < 0 ? count : data.subarray(0, count)
}

export function read(fd: number, size: number): Buffer | number {
  const data = Buffer.allocUnsafe(size)
  const count = c.read(fd, data, size)
  return count < 0 ? count : data.subarray(0, count)
}

/** Reads at the file position into the caller's memory. */
export const readInto = (fd: number, data: Uint8Array): number => c.read(fd, data, data.length)

export const preadInto = (fd: number, data: Uint8Array, offset: number): number =>
  c.pread(fd, data, data.length, offset)

/** Page-aligned memory, as O_DIRECT wants it. Never freed: test programs are short. */
export class Page {
  readonly address: number
  readonly size: number

  constructor(size: number) {
    this.size = size
    // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
    this.address = must(c.mmap(0, size, 3, 0x22, -1, 0), 'mmap')
  }

  view(): Buffer {
    return Buffer.from(koffi.view(BigInt(this.address), this.size))
  }
}

export function copyFileRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  size: number,
): number {
  const at = new BigInt64Array([BigInt(fromOffset)])
  const at2 = new BigInt64Array([BigInt(toOffset)])
  return c.copyRange(from, at, to, at2, size, 0)
}

export function readlink(path: string, size = 4096): string | number {
  const target = Buffer.alloc(size)
  const count = c.readlink(cstring(path), target, size)
  return count < 0 ? count : target.latin1Slice(0, count)
}

/** A point in time: seconds since 1970 and nanoseconds (or one of UTIME). */
export type Time = readonly [sec: number, nsec: number]

function times(atime: Time, mtime: Time): BigInt64Array {
  return new BigInt64Array([atime[0], atime[1], mtime[0], mtime[1]].map(BigInt))
}

export const utimens = (path: string, atime: Time, mtime: Time): number =>
  c.utimensat(AT_FDCWD, cstring(path), times(atime, mtime), 0)
export const lutimens = (path: string, atime: Time, mtime: Time): number =>
  c.utimensat(AT_FDCWD, cstring(path), times(atime, mtime), AT.SYMLINK_NOFOLLOW)
export const futimens = (fd: number, atime: Time, mtime: Time): number =>
  c.futimens(fd, times(atime, mtime))

export interface Stat {
  type: 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block' | 'none'
  /** Permission bits with setuid, setgid and sticky. */
  mode: number
  nlink: number
  uid: number
  gid: number
  size: number
  /** Units of 512 bytes. */
  blocks: number
  blksize: number
  ino: bigint
  dev: string
  rdev: string
  atime: Time
  mtime: Time
  ctime: Time
}

const types = new Map<number, Stat['type']>([
  [0o100000, 'file'],
  [0o040000, 'dir'],
  [0o120000, 'symlink'],
  [0o010000, 'fifo'],
  [0o140000, 'socket'],
  [0o020000, 'char'],
  [0o060000, 'block'],
])

/** struct statx of linux/stat.h: the same on every machine, unlike struct stat. */
function parseStatx(raw: Buffer): Stat {
  const time = (at: number): Time => [Number(raw.readBigInt64LE(at)), raw.readUInt32LE(at + 8)]
  const mode = raw.readUInt16LE(28)
  return {
    type: types.get(mode & 0o170000) ?? 'none',
    mode: mode & 0o7777,
    nlink: raw.readUInt32LE(16),
    uid: raw.readUInt32LE(20),
    gid: raw.readUInt32LE(24),
    size: Number(raw.readBigUInt64LE(40)),
    blocks: Number(raw.readBigUInt64LE(48)),
    blksize: raw.readUInt32LE(4),
    ino: raw.readBigUInt64LE(32),
    dev: `${raw.readUInt32LE(136)}:${raw.readUInt32LE(140)}`,
    rdev: `${raw.readUInt32LE(128)}:${raw.readUInt32LE(132)}`,
    atime: time(64),
    mtime: time(112),
    ctime: time(96),
  }
}

const statxBasic = 0x7ff
const statxBirth = 0x800

function statx(dir: number, path: string, flags: number, mask = statxBasic): Stat | number {
  const raw = Buffer.alloc(256)
  const result = c.statx(dir, cstring(path), flags, mask, raw)
  return result < 0 ? result : parseStatx(raw)
}

export const stat = (path: string): Stat | number => statx(AT_FDCWD, path, 0)
export const lstat = (path: string): Stat | number => statx(AT_FDCWD, path, AT.SYMLINK_NOFOLLOW)
export const fstat = (fd: number): Stat | number => statx(fd, '', AT.EMPTY_PATH)
/** Asks for the birth time too, of which our mount and the stock one know nothing; forces a round trip. */
export const statBirth = (path: string): Stat | number =>
  statx(AT_FDCWD, path, 0x2000, statxBasic | statxBirth)

export interface StatFs {
  bsize: number
  frsize: number
  blocks: number
  bfree: number
  bavail: number
  files: number
  ffree: number
  namelen: number
  type: number
}

/** struct statfs of 64-bit machines. */
export function statfs(path: string): StatFs | number {
  const raw = Buffer.alloc(256)
  const result = c.statfs(cstring(path), raw)
  if (result < 0) return result
  const word = (index: number): number => Number(raw.readBigInt64LE(index * 8))
  return {
    type: word(0),
    bsize: word(1),
    blocks: word(2),
    bfree: word(3),
    bavail: word(4),
    files: word(5),
    ffree: word(6),
    namelen: word(8),
    frsize: word(9),
  }
}

export interface Dirent {
  ino: bigint
  /** Cookie of the entry that follows. */
  off: bigint
  type: number
  name: string
}

/** One getdents64: the next entries of a directory, none at its end. */
export function getdents(fd: number, size = 32768): Dirent[] | number {
  const raw = Buffer.alloc(size)
  const count = c.getdents(fd, raw, size)
  if (count < 0) return count
  const entries: Dirent[] = []
  for (let at = 0; at < count; ) {
    const length = raw.readUInt16LE(at + 16)
    entries.push({
      ino: raw.readBigUInt64LE(at),
      off: raw.readBigInt64LE(at + 8),
      type: raw[at + 18]!,
      name: raw.latin1Slice(at + 19, raw.indexOf(0, at + 19)),
    })
    at += length
  }
  return entries
}

/** All entries of a directory in the order in which the file system lists them. */
export function list(path: string): Dirent[] | number {
  const fd = open(path, O.O_RDONLY | O.O_DIRECTORY)
  if (fd < 0) return fd
  const all: Dirent[] = []
  for (;;) {
    const entries = getdents(fd)
    if (typeof entries === 'number') {
      close(fd)
      return entries
    }
    if (entries.length === 0) break
    for (const entry of entries) all.push(entry)
  }
  close(fd)
  return all
}

/** Where an xattr is: a path, a path whose last symbolic link is not followed, or an open file. */
export type XattrOf = string | { link: string } | { fd: number }

export function setxattr(of: XattrOf, key: string, value: Uint8Array, flags = 0): number {
  const rest = [cstring(key), value, value.length, flags] as const
  if (typeof of === 'string') return c.setxattr(cstring(of), ...rest)
  return 'fd' in of ? c.fsetxattr(of.fd, ...rest) : c.lsetxattr(cstring(of.link), ...rest)
}

/** `size` is the caller's buffer; 0 asks for the length only. */
export function getxattr(of: XattrOf, key: string, size = 65536): Buffer | number {
  const value = Buffer.alloc(size)
  const rest = [cstring(key), value, size] as const
  let count: number
  if (typeof of === 'string') count = c.getxattr(cstring(of), ...rest)
  else if ('fd' in of) count = c.fgetxattr(of.fd, ...rest)
  else count = c.lgetxattr(cstring(of.link), ...rest)
  return count < 0 || size === 0 ? count : value.subarray(0, count)
}

export function listxattr(of: XattrOf, size = 65536): string[] | number {
  const names = Buffer.alloc(size)
  let count: number
  if (typeof of === 'string') count = c.listxattr(cstring(of), names, size)
  else if ('fd' in of) count = c.flistxattr(of.fd, names, size)
  else count = c.llistxattr(cstring(of.link), names, size)
  if (count < 0 || size === 0) return count
  return names.latin1Slice(0, count).split('\0').slice(0, -1)
}

export function removexattr(of: XattrOf, key: string): number {
  if (typeof of === 'string') return c.removexattr(cstring(of), cstring(key))
  if ('fd' in of) return c.fremovexattr(of.fd, cstring(key))
  return c.lremovexattr(cstring(of.link), cstring(key))
}

export type LockType = 'read' | 'write' | 'unlock'
const lockTypes: readonly LockType[] = ['read', 'write', 'unlock']
const F = { GETLK: 5, SETLK: 6, SETLKW: 7, OFD_GETLK: 36, OFD_SETLK: 37, OFD_SETLKW: 38 }

/** struct flock of 64-bit machines: type, whence, start, length (0: to the end), pid. */
function lockBuffer(type: LockType, start: number, size: number): Buffer {
  const raw = Buffer.alloc(32)
  raw.writeInt16LE(lockTypes.indexOf(type), 0)
  raw.writeBigInt64LE(BigInt(start), 8)
  raw.writeBigInt64LE(BigInt(size), 16)
  return raw
}

export const setlk = (fd: number, type: LockType, start = 0, size = 0, ofd = false): number =>
  c.fcntlLock(fd, ofd ? F.OFD_SETLK : F.SETLK, lockBuffer(type, start, size))
/** Waits for the lock. */
export const setlkw = (fd: number, type: LockType, start = 0, size = 0): number =>
  c.fcntlLock(fd, F.SETLKW, lockBuffer(type, start, size))

export interface LockFound {
  type: LockType
  start: number
  size: number
  pid: number
}

/** The lock that stands in the way, or type 'unlock' when none does. */
export function getlk(fd: number, type: LockType, start = 0, size = 0): LockFound | number {
  const raw = lockBuffer(type, start, size)
  const result = c.fcntlLock(fd, F.GETLK, raw)
  if (result < 0) return result
  return {
    type: lockTypes[raw.readInt16LE(0)] ?? 'unlock',
    start: Number(raw.readBigInt64LE(8)),
    size: Number(raw.readBigInt64LE(16)),
    pid: raw.readInt32LE(24),
  }
}

/** Shared memory over a file. */
export class Mapping {
  readonly #address: number
  readonly #size: number

  constructor(fd: number, size: number, offset = 0, writable = true) {
    this.#size = size
    this.#address = must(c.mmap(0, size, writable ? 3 : 1, 1, fd, offset), 'mmap')
  }

  poke(at: number, data: Uint8Array): void {
    c.poke(this.#address + at, data, data.length)
  }

  peek(at: number, size: number): Buffer {
    const data = Buffer.alloc(size)
    c.peek(data, this.#address + at, size)
    return data
  }

  /** MS_SYNC */
  sync(): number {
    return c.msync(this.#address, this.#size, 4)
  }

  unmap(): number {
    return c.munmap(this.#address, this.#size)
  }
}

/** Runs `body` as another user: the whole process changes its ids and groups, then back. */
export function asUser<T>(uid: number, gid: number, groups: number[], body: () => T): T {
  must(c.setgroups(groups.length, new Uint32Array(groups)), 'setgroups')
  must(c.setresgid(gid, gid, 0), 'setresgid')
  must(c.setresuid(uid, uid, 0), 'setresuid')
  try {
    return body()
  } finally {
    must(c.setresuid(0, 0, 0), 'setresuid')
    must(c.setresgid(0, 0, 0), 'setresgid')
    must(c.setgroups(0, new Uint32Array(0)), 'setgroups')
  }
}

export const ioctl = (fd: number, request: number, data: Uint8Array): number =>
  c.ioctl(fd, request, data)

/** poll(2) of one fd without waiting: its revents. */
export function poll(fd: number, events: number): number {
  const raw = Buffer.alloc(8)
  raw.writeInt32LE(fd, 0)
  raw.writeInt16LE(events, 4)
  const result = c.poll(raw, 1, 0)
  return result < 0 ? result : raw.readInt16LE(6)
}
