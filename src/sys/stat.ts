/** stat(2) as statx(2) gives it: the same layout on every machine, nanoseconds, no BigInt. */
import { bind, path } from './libc.ts'

export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_EMPTY_PATH = 0x1000
const STATX_BASIC_STATS = 0x7ff

const statxCall = bind(
  'int statx(int dir, const uint8_t *path, int flags, uint32_t mask, uint8_t *result)',
)
const statfsCall = bind('int fstatfs(int fd, uint8_t *result)')

/** A file's attributes. Times are seconds since 1970 plus nanoseconds; blocks are 512 bytes. */
export interface Stat {
  mode: number
  nlink: number
  uid: number
  gid: number
  size: number
  blocks: number
  blksize: number
  inoHi: number
  inoLo: number
  devMajor: number
  devMinor: number
  rdevMajor: number
  rdevMinor: number
  atime: number
  atimeNsec: number
  mtime: number
  mtimeNsec: number
  ctime: number
  ctimeNsec: number
}

const raw = Buffer.alloc(256)
const words = new Uint32Array(raw.buffer, raw.byteOffset, 64)
const TWO32 = 2 ** 32

const u64 = (word: number): number => words[word + 1]! * TWO32 + words[word]!
const i64 = (word: number): number => (words[word + 1]! | 0) * TWO32 + words[word]!

function parse(): Stat {
  // struct statx, linux/stat.h: offsets in 4-byte words.
  return {
    blksize: words[1]!,
    nlink: words[4]!,
    uid: words[5]!,
    gid: words[6]!,
    mode: words[7]! & 0xffff,
    inoLo: words[8]!,
    inoHi: words[9]!,
    size: u64(10),
    blocks: u64(12),
    atime: i64(16),
    atimeNsec: words[18]!,
    ctime: i64(24),
    ctimeNsec: words[26]!,
    mtime: i64(28),
    mtimeNsec: words[30]!,
    rdevMajor: words[32]!,
    rdevMinor: words[33]!,
    devMajor: words[34]!,
    devMinor: words[35]!,
  }
}

/** lstat of `name` relative to the directory `dir`. */
export function statAt(dir: number, name: string): Stat | number {
  const rc = statxCall(dir, path.of(name), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, raw)
  return rc < 0 ? rc : parse()
}

/** fstat. */
export function statFd(fd: number): Stat | number {
  const rc = statxCall(fd, path.of(''), AT_EMPTY_PATH, STATX_BASIC_STATS, raw)
  return rc < 0 ? rc : parse()
}

export const sameFile = (a: Stat, b: Stat): boolean =>
  a.inoLo === b.inoLo &&
  a.inoHi === b.inoHi &&
  a.devMajor === b.devMajor &&
  a.devMinor === b.devMinor

/** The file system of `fd`; block counts are in units of `frsize`. */
export interface FsStat {
  bsize: number
  frsize: number
  blocks: number
  bfree: number
  bavail: number
  files: number
  ffree: number
  fsid: bigint
  namemax: number
  flags: number
}

/** struct statfs of 64-bit Linux (asm-generic/statfs.h). */
export function statFs(fd: number): FsStat | number {
  const rc = statfsCall(fd, raw)
  if (rc < 0) return rc
  const bsize = u64(2)
  const frsize = u64(18)
  return {
    bsize,
    blocks: u64(4),
    bfree: u64(6),
    bavail: u64(8),
    files: u64(10),
    ffree: u64(12),
    fsid: (BigInt(words[15]!) << 32n) | BigInt(words[14]!),
    namemax: u64(16),
    frsize: frsize === 0 ? bsize : frsize,
    flags: u64(20),
  }
}
