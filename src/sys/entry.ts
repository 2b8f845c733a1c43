/** Names, modes, owners and times: the calls that Node hides flags, errno or nanoseconds of. */
import { AT_FDCWD, bind, path, path2 } from './libc.ts'
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW } from './stat.ts'

export const O_PATH = 0o10000000
export const O_DIRECTORY = 0o200000
export const O_NOFOLLOW = 0o400000
export const O_CLOEXEC = 0o2000000
export const O_NOATIME = 0o1000000
const AT_REMOVEDIR = 0x200

const openatCall = bind('int openat(int dir, const uint8_t *path, int flags, uint32_t mode)')
const closeCall = bind('int close(int fd)')
const mkdiratCall = bind('int mkdirat(int dir, const uint8_t *path, uint32_t mode)')
const mknodatCall = bind('int mknodat(int dir, const uint8_t *path, uint32_t mode, uint64_t dev)')
const symlinkatCall = bind('int symlinkat(const uint8_t *target, int dir, const uint8_t *path)')
const unlinkatCall = bind('int unlinkat(int dir, const uint8_t *path, int flags)')
const renameCall = bind(
  'int renameat2(int dir, const uint8_t *from, int dir2, const uint8_t *to, uint32_t flags)',
)
const linkatCall = bind(
  'int linkat(int dir, const uint8_t *from, int dir2, const uint8_t *to, int flags)',
)
const readlinkCall = bind('int64_t readlinkat(int dir, const uint8_t *path, uint8_t *to, size_t n)')
const fchmodatCall = bind('int fchmodat(int dir, const uint8_t *path, uint32_t mode, int flags)')
const fchmodCall = bind('int fchmod(int fd, uint32_t mode)')
const fchownatCall = bind(
  'int fchownat(int dir, const uint8_t *path, uint32_t uid, uint32_t gid, int flags)',
)
const utimensatCall = bind(
  'int utimensat(int dir, const uint8_t *path, const int64_t *times, int flags)',
)
const futimensCall = bind('int futimens(int fd, const int64_t *times)')
const umaskCall = bind('uint32_t umask(uint32_t mask)')

export const openAt = (dir: number, name: string, flags: number, mode = 0): number =>
  openatCall(dir, path.of(name), flags | O_CLOEXEC, mode)
export const close = (fd: number): number => closeCall(fd)
export const mkdirAt = (dir: number, name: string, mode: number): number =>
  mkdiratCall(dir, path.of(name), mode)
/** `dev` is the raw Linux dev_t (1:3 = 259). */
export const mknodAt = (dir: number, name: string, mode: number, dev: number): number =>
  mknodatCall(dir, path.of(name), mode, dev)
export const symlinkAt = (target: string, dir: number, name: string): number =>
  symlinkatCall(path2.of(target), dir, path.of(name))
export const unlinkAt = (dir: number, name: string): number => unlinkatCall(dir, path.of(name), 0)
export const rmdirAt = (dir: number, name: string): number =>
  unlinkatCall(dir, path.of(name), AT_REMOVEDIR)
export const renameAt = (dir: number, name: string, dir2: number, name2: string): number =>
  renameCall(dir, path.of(name), dir2, path2.of(name2), 0)
/** A symbolic link is linked itself, not followed. */
export const linkAt = (dir: number, name: string, dir2: number, name2: string): number =>
  linkatCall(dir, path.of(name), dir2, path2.of(name2), 0)
/** Follows a symbolic link; only for paths known not to be one. */
export const chmodPath = (file: string, mode: number): number =>
  fchmodatCall(AT_FDCWD, path.of(file), mode, 0)
export const chmodFd = (fd: number, mode: number): number => fchmodCall(fd, mode)
/** An id of -1 stays as it is. */
export const chownPath = (file: string, uid: number, gid: number): number =>
  fchownatCall(AT_FDCWD, path.of(file), uid >>> 0, gid >>> 0, AT_SYMLINK_NOFOLLOW)
export const chownFd = (fd: number, uid: number, gid: number): number =>
  fchownatCall(fd, path.of(''), uid >>> 0, gid >>> 0, AT_EMPTY_PATH)

/** Sets the process's file mode creation mask; returns the old one. */
export const umask = (mask: number): number => umaskCall(mask)

const target = Buffer.alloc(4096)

export function readlinkAt(dir: number, name: string): string | number {
  const length = readlinkCall(dir, path.of(name), target, target.length)
  return length < 0 ? length : target.latin1Slice(0, length)
}

/** For utimens: this time stays as it is; this time becomes the machine's now. */
export const UTIME_OMIT = 0x3ffffffe
export const UTIME_NOW = 0x3fffffff

/** Seconds and nanoseconds, or [0, UTIME_OMIT], [0, UTIME_NOW]. */
export type Time = readonly [sec: number, nsec: number]

const times = new BigInt64Array(4)

function setTimes(atime: Time, mtime: Time): void {
  times[0] = BigInt(atime[0])
  times[1] = BigInt(atime[1])
  times[2] = BigInt(mtime[0])
  times[3] = BigInt(mtime[1])
}

/** A symbolic link's own times. */
export function utimesPath(file: string, atime: Time, mtime: Time): number {
  setTimes(atime, mtime)
  return utimensatCall(AT_FDCWD, path.of(file), times, AT_SYMLINK_NOFOLLOW)
}

export function utimesFd(fd: number, atime: Time, mtime: Time): number {
  setTimes(atime, mtime)
  return futimensCall(fd, times)
}
