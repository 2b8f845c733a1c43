/** File data: reads and writes of vectors, allocation, seeking, directory entries. */
import fs from 'node:fs'
import { addressOf, bind, bindAsync, errnoOfThrown } from './libc.ts'

export const FALLOC_FL_KEEP_SIZE = 1
export const FALLOC_FL_PUNCH_HOLE = 2
export const FALLOC_FL_ZERO_RANGE = 16
const RWF_NOWAIT = 8
const LSEEK_SET = 0
const LSEEK_DATA = 3
const LSEEK_HOLE = 4

const preadv2 = bind(
  'int64_t preadv2(int fd, const uint64_t *iov, int count, int64_t offset, int flags)',
)
const lseekCall = bind('int64_t lseek(int fd, int64_t offset, int whence)')
const getdents = bind('int64_t getdents64(int fd, uint8_t *data, size_t size)')
const fallocateCall = bindAsync('int fallocate(int fd, int mode, int64_t offset, int64_t size)')
const copyCall = bindAsync(
  'int64_t copy_file_range(int from, int64_t *at, int to, int64_t *at2, size_t size, uint32_t f)',
)

const iovec = new BigUint64Array(2)

/** Bytes that are in the page cache, without waiting; negative EAGAIN when the first are not. */
export function readCached(fd: number, bytes: Buffer, offset: number): number {
  iovec[0] = addressOf(bytes)
  iovec[1] = BigInt(bytes.length)
  return preadv2(fd, iovec, 1, offset, RWF_NOWAIT)
}

/** pread on the thread pool: bytes read, or the sign-turned errno. */
export function read(fd: number, bytes: Buffer, at: number, offset: number): Promise<number> {
  return new Promise((resolve) => {
    // Node throws for offsets near 2^53, where no file reaches.
    if (offset + bytes.length > Number.MAX_SAFE_INTEGER) resolve(0)
    else {
      fs.read(fd, bytes, at, bytes.length - at, offset, (error, count) =>
        resolve(error === null ? count : -errnoOfThrown(error)),
      )
    }
  })
}

/** pread that blocks this thread; for small things known to be cached or never in a hurry. */
export function readSync(fd: number, bytes: Buffer, offset: number): number {
  try {
    return fs.readSync(fd, bytes, 0, bytes.length, offset)
  } catch (error) {
    return -errnoOfThrown(error)
  }
}

/** pwritev on this thread; for writes into the page cache. May write less than all. */
export function writeSync(fd: number, data: readonly Buffer[], offset: number): number {
  try {
    return fs.writevSync(fd, data, offset)
  } catch (error) {
    return -errnoOfThrown(error)
  }
}

/** pwritev on the thread pool. May write less than all. */
export function write(fd: number, data: readonly Buffer[], offset: number): Promise<number> {
  return new Promise((resolve) => {
    fs.writev(fd, data, offset, (error, count) =>
      resolve(error === null ? count : -errnoOfThrown(error)),
    )
  })
}

/** fsync or fdatasync on the thread pool; 0 or the sign-turned errno. */
export function sync(fd: number, dataOnly: boolean): Promise<number> {
  return new Promise((resolve) => {
    const done = (error: unknown): void =>
      resolve(error === null || error === undefined ? 0 : -errnoOfThrown(error))
    if (dataOnly) fs.fdatasync(fd, done)
    else fs.fsync(fd, done)
  })
}

const ftruncateCall = bind('int ftruncate(int fd, int64_t size)')

/** On this thread, for changes that free little. */
export const truncateSync = (fd: number, size: number): number => ftruncateCall(fd, size)

/** On the thread pool: cutting a large file takes long. */
export function truncateFd(fd: number, size: number): Promise<number> {
  return new Promise((resolve) => {
    fs.ftruncate(fd, size, (error) => resolve(error === null ? 0 : -errnoOfThrown(error)))
  })
}

/** fallocate(2) on the thread pool. */
export const fallocate = (fd: number, mode: number, offset: number, len: number): Promise<number> =>
  fallocateCall(fd, mode, offset, len)

export function copyFileRange(
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  size: number,
): Promise<number> {
  const at = new BigInt64Array([BigInt(fromOffset)])
  const at2 = new BigInt64Array([BigInt(toOffset)])
  return copyCall(from, at, to, at2, size, 0)
}

/** Next data (or hole) at or after `offset`; negative ENXIO past the end. */
export const seekData = (fd: number, offset: number): number => lseekCall(fd, offset, LSEEK_DATA)
export const seekHole = (fd: number, offset: number): number => lseekCall(fd, offset, LSEEK_HOLE)

/** Positions a directory at a cookie of `readEntries`. */
export const seekDir = (fd: number, cookie: bigint): number => lseekCall(fd, cookie, LSEEK_SET)

/** One directory entry; `off` is the cookie after it, `type` a DT_* number. */
export interface RawEntry {
  name: string
  inoHi: number
  inoLo: number
  off: bigint
  type: number
}

const entries = Buffer.allocUnsafeSlow(32768)

/** The next entries of an open directory, empty at its end (getdents64). */
export function readEntries(fd: number): RawEntry[] | number {
  const length = getdents(fd, entries, entries.length)
  if (length < 0) return length
  const list: RawEntry[] = []
  for (let at = 0; at < length; at += entries.readUInt16LE(at + 16)) {
    // struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name with NUL.
    const end = entries.indexOf(0, at + 19)
    list.push({
      inoLo: entries.readUInt32LE(at),
      inoHi: entries.readUInt32LE(at + 4),
      off: entries.readBigInt64LE(at + 8),
      type: entries[at + 18]!,
      name: entries.latin1Slice(at + 19, end),
    })
  }
  return list
}
