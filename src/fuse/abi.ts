/**
 * Layout of the kernel's FUSE protocol, version 7.45 (linux/fuse.h): constants, request decoders
 * and reply encoders straight on buffers. All integers are little-endian, the byte order of every
 * machine this runs on.
 *
 * 64-bit counts (offsets, sizes, node ids, handles) are numbers; beyond 2^53 they lose precision
 * and callers refuse them. Opaque 64-bit values stay bytes or bigint. Decoders take the whole
 * message; offsets below include the 40-byte header. A decoder copies what it returns, so the read
 * buffer may be used again; only WRITE and SETXATTR payloads are told by position.
 */
import { type Gfid, ROOT_GFID } from '../core/gfid.ts'
import type { Iatt } from '../core/iatt.ts'

export const FUSE_KERNEL_VERSION = 7
export const FUSE_KERNEL_MINOR_VERSION = 45
/** The oldest kernel interface served (Linux 4.20, 2018): INIT with max_pages. */
export const FUSE_MINOR_MIN = 28

export const IN_HEADER_BYTES = 40
export const OUT_HEADER_BYTES = 16
export const ATTR_BYTES = 88
export const ENTRY_OUT_BYTES = 128
export const ATTR_OUT_BYTES = 104
export const OPEN_OUT_BYTES = 16
export const STATFS_OUT_BYTES = 80
export const INIT_OUT_BYTES = 64
export const DIRENT_BYTES = 24
export const LOCK_OUT_BYTES = 24

export const ROOT_NODEID = 1

export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const

/** INIT flags, low word. */
export const FUSE_ASYNC_READ = 1 << 0
export const FUSE_POSIX_LOCKS = 1 << 1
export const FUSE_ATOMIC_O_TRUNC = 1 << 3
export const FUSE_BIG_WRITES = 1 << 5
export const FUSE_DONT_MASK = 1 << 6
export const FUSE_FLOCK_LOCKS = 1 << 10
export const FUSE_AUTO_INVAL_DATA = 1 << 12
export const FUSE_DO_READDIRPLUS = 1 << 13
export const FUSE_READDIRPLUS_AUTO = 1 << 14
export const FUSE_ASYNC_DIO = 1 << 15
export const FUSE_WRITEBACK_CACHE = 1 << 16
export const FUSE_PARALLEL_DIROPS = 1 << 18
export const FUSE_MAX_PAGES = 1 << 22
export const FUSE_CACHE_SYMLINKS = 1 << 23
export const FUSE_HANDLE_KILLPRIV_V2 = 1 << 28
export const FUSE_INIT_EXT = 1 << 30
/** INIT flags, high word (flags2). */
export const FUSE2_DIRECT_IO_ALLOW_MMAP = 1 << (36 - 32)

export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_LOCKOWNER = 1 << 9
export const FATTR_CTIME = 1 << 10
export const FATTR_KILL_SUIDGID = 1 << 11

export const GETATTR_FH = 1
/** The size a WRITE or READ carries has its lock owner filled in. */
export const IO_LOCKOWNER = 2
/** Page writeback: the handle is any writable one of the file, the owner means nothing. */
export const WRITE_CACHE = 1
export const WRITE_KILL_SUIDGID = 4
export const OPEN_KILL_SUIDGID = 1
export const RELEASE_FLOCK_UNLOCK = 2
export const LK_FLOCK = 1

export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6

export const NOTIFY_INVAL_INODE = 2
export const NOTIFY_INVAL_ENTRY = 3
export const NOTIFY_INC_EPOCH = 8

/** A 64-bit value as a number; exact up to 2^53. */
export function u64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x100000000
}

function putU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32LE(value >>> 0, at)
  bytes.writeUInt32LE(Math.floor(value / 0x100000000) >>> 0, at + 4)
}

/** A signed 64-bit value (times may lie before 1970). */
function i64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * 0x100000000
}

/** A NUL-terminated byte string at `at`; up to `end` when the NUL is missing. */
function cString(bytes: Buffer, at: number, end: number): string {
  const nul = bytes.indexOf(0, at)
  return bytes.latin1Slice(at, nul < 0 || nul > end ? end : nul)
}

// Requests --------------------------------------------------------------------------------------

export const nothing = (): undefined => undefined
export const nameIn = (b: Buffer, end: number): string => cString(b, 40, end)
export const forgetIn = (b: Buffer): number => u64(b, 40)

export interface InitIn {
  major: number
  minor: number
  maxReadahead: number
  flags: number
  flags2: number
}

export function initIn(b: Buffer, end: number): InitIn {
  return {
    major: b.readUInt32LE(40),
    minor: b.readUInt32LE(44),
    maxReadahead: b.readUInt32LE(48),
    flags: b.readUInt32LE(52),
    flags2: end >= 60 ? b.readUInt32LE(56) : 0,
  }
}

/** GETATTR. */
export const getattrIn = (b: Buffer): { flags: number; fh: number } => ({
  flags: b.readUInt32LE(40),
  fh: u64(b, 48),
})

export interface SetattrIn {
  /** FATTR_* bits. */
  valid: number
  fh: number
  size: number
  /** 8 opaque bytes. */
  lockOwner: Buffer
  atime: number
  mtime: number
  ctime: number
  atimeNsec: number
  mtimeNsec: number
  ctimeNsec: number
  mode: number
  uid: number
  gid: number
}

export function setattrIn(b: Buffer): SetattrIn {
  return {
    valid: b.readUInt32LE(40),
    fh: u64(b, 48),
    size: u64(b, 56),
    lockOwner: lockOwner(b, 64),
    atime: i64(b, 72),
    mtime: i64(b, 80),
    ctime: i64(b, 88),
    atimeNsec: b.readUInt32LE(96),
    mtimeNsec: b.readUInt32LE(100),
    ctimeNsec: b.readUInt32LE(104),
    mode: b.readUInt32LE(108),
    uid: b.readUInt32LE(116),
    gid: b.readUInt32LE(120),
  }
}

/** The kernel's lock owner, 8 bytes, copied out of the message. */
function lockOwner(b: Buffer, at: number): Buffer {
  const owner = Buffer.allocUnsafe(8)
  b.copy(owner, 0, at, at + 8)
  return owner
}

/** Two names in a row: SYMLINK (name, target). */
export function twoNamesIn(b: Buffer, end: number): { first: string; second: string } {
  return twoNames(b, 40, end)
}

function twoNames(b: Buffer, at: number, end: number): { first: string; second: string } {
  const first = cString(b, at, end)
  return { first, second: cString(b, Math.min(at + first.length + 1, end), end) }
}

export interface MkIn {
  mode: number
  /** Kernel form: minor low 8 bits, major << 8, (minor & ~0xff) << 12. */
  rdev: number
  umask: number
  name: string
}

export const mknodIn = (b: Buffer, end: number): MkIn => ({
  mode: b.readUInt32LE(40),
  rdev: b.readUInt32LE(44),
  umask: b.readUInt32LE(48),
  name: cString(b, 56, end),
})

export const mkdirIn = (b: Buffer, end: number): MkIn => ({
  mode: b.readUInt32LE(40),
  rdev: 0,
  umask: b.readUInt32LE(44),
  name: cString(b, 48, end),
})

export interface RenameIn {
  newdir: number
  oldname: string
  newname: string
}

export function renameIn(b: Buffer, end: number): RenameIn {
  const { first, second } = twoNames(b, 48, end)
  return { newdir: u64(b, 40), oldname: first, newname: second }
}

export const linkIn = (b: Buffer, end: number): { oldnodeid: number; name: string } => ({
  oldnodeid: u64(b, 40),
  name: cString(b, 48, end),
})

export const openIn = (b: Buffer): { flags: number; openFlags: number } => ({
  flags: b.readUInt32LE(40),
  openFlags: b.readUInt32LE(44),
})

export interface CreateIn {
  flags: number
  mode: number
  umask: number
  name: string
}

export const createIn = (b: Buffer, end: number): CreateIn => ({
  flags: b.readUInt32LE(40),
  mode: b.readUInt32LE(44),
  umask: b.readUInt32LE(48),
  name: cString(b, 56, end),
})

export interface ReadIn {
  fh: number
  offset: number
  size: number
  /** Present when the kernel says for whom it reads. */
  lockOwner: Buffer | undefined
  flags: number
}

export const readIn = (b: Buffer): ReadIn => ({
  fh: u64(b, 40),
  offset: u64(b, 48),
  size: b.readUInt32LE(56),
  lockOwner: (b.readUInt32LE(60) & IO_LOCKOWNER) !== 0 ? lockOwner(b, 64) : undefined,
  flags: b.readUInt32LE(72),
})

/** READDIR and READDIRPLUS: the offset is a cookie of ours, opaque to the kernel. */
export const readdirIn = (b: Buffer): { fh: number; cookie: bigint; size: number } => ({
  fh: u64(b, 40),
  cookie: b.readBigUInt64LE(48),
  size: b.readUInt32LE(56),
})

export interface WriteIn {
  fh: number
  offset: number
  size: number
  writeFlags: number
  lockOwner: Buffer | undefined
  flags: number
}

/** Where a WRITE's data begins in its message. */
export const WRITE_DATA_AT = 80

export const writeIn = (b: Buffer): WriteIn => {
  const writeFlags = b.readUInt32LE(60)
  return {
    fh: u64(b, 40),
    offset: u64(b, 48),
    size: b.readUInt32LE(56),
    writeFlags,
    lockOwner: (writeFlags & IO_LOCKOWNER) !== 0 ? lockOwner(b, 64) : undefined,
    flags: b.readUInt32LE(72),
  }
}

export interface ReleaseIn {
  fh: number
  flags: number
  releaseFlags: number
  lockOwner: Buffer
}

export const releaseIn = (b: Buffer): ReleaseIn => ({
  fh: u64(b, 40),
  flags: b.readUInt32LE(48),
  releaseFlags: b.readUInt32LE(52),
  lockOwner: lockOwner(b, 56),
})

export const flushIn = (b: Buffer): { fh: number; lockOwner: Buffer } => ({
  fh: u64(b, 40),
  lockOwner: lockOwner(b, 56),
})

export const fsyncIn = (b: Buffer): { fh: number; datasync: boolean } => ({
  fh: u64(b, 40),
  datasync: (b.readUInt32LE(48) & 1) !== 0,
})

export interface SetxattrIn {
  name: string
  flags: number
  /** A copy. */
  value: Buffer
}

export function setxattrIn(b: Buffer, end: number): SetxattrIn {
  const size = b.readUInt32LE(40)
  const name = cString(b, 48, end)
  const at = 48 + name.length + 1
  return { name, flags: b.readUInt32LE(44), value: Buffer.from(b.subarray(at, at + size)) }
}

/** GETXATTR; LISTXATTR has an empty name. */
export const getxattrIn = (b: Buffer, end: number): { size: number; name: string } => ({
  size: b.readUInt32LE(40),
  name: end > 48 ? cString(b, 48, end) : '',
})

/** `end` of a lock that reaches the end of the file. */
export const OFFSET_MAX = 0x7fffffffffffffffn

export interface LkIn {
  fh: number
  lockOwner: Buffer
  start: bigint
  /** Inclusive. */
  end: bigint
  /** F_RDLCK 0, F_WRLCK 1, F_UNLCK 2. */
  type: number
  pid: number
  lkFlags: number
}

export const lkIn = (b: Buffer): LkIn => ({
  fh: u64(b, 40),
  lockOwner: lockOwner(b, 48),
  start: b.readBigUInt64LE(56),
  end: b.readBigUInt64LE(64),
  type: b.readUInt32LE(72),
  pid: b.readUInt32LE(76),
  lkFlags: b.readUInt32LE(80),
})

export const accessIn = (b: Buffer): number => b.readUInt32LE(40)
export const interruptIn = (b: Buffer): number => u64(b, 40)

/** Pairs of node id and count. */
export function batchForgetIn(b: Buffer, end: number): { nodeid: number; nlookup: number }[] {
  const count = Math.min(b.readUInt32LE(40), Math.floor((end - 48) / 16))
  const forgets = new Array<{ nodeid: number; nlookup: number }>(count)
  for (let i = 0; i < count; i++) {
    const at = 48 + i * 16
    forgets[i] = { nodeid: u64(b, at), nlookup: u64(b, at + 8) }
  }
  return forgets
}

export interface FallocateIn {
  fh: number
  offset: number
  length: number
  mode: number
}

export const fallocateIn = (b: Buffer): FallocateIn => ({
  fh: u64(b, 40),
  offset: u64(b, 48),
  length: u64(b, 56),
  mode: b.readUInt32LE(64),
})

export const lseekIn = (b: Buffer): { fh: number; offset: number; whence: number } => ({
  fh: u64(b, 40),
  offset: u64(b, 48),
  whence: b.readUInt32LE(56),
})

export interface CopyIn {
  readonly fhIn: number
  readonly offIn: number
  readonly nodeidOut: number
  readonly fhOut: number
  readonly offOut: number
  readonly length: number
}

/** struct fuse_copy_file_range_in; its flags are always 0 so far. */
export const copyIn = (b: Buffer): CopyIn => ({
  fhIn: u64(b, 40),
  offIn: u64(b, 48),
  nodeidOut: u64(b, 56),
  fhOut: u64(b, 64),
  offOut: u64(b, 72),
  length: u64(b, 80),
})

// Replies ---------------------------------------------------------------------------------------

/** How long the kernel may trust a reply. */
export interface Validity {
  readonly sec: number
  readonly nsec: number
}

/** `seconds` with a fraction, as the options give it. */
export function validity(seconds: number): Validity {
  const sec = Math.floor(seconds)
  return { sec, nsec: Math.round((seconds - sec) * 1e9) }
}

export const NO_VALIDITY: Validity = { sec: 0, nsec: 0 }

/** Facts of the mount that every attribute shows. */
export interface AttrStyle {
  /** Fold inode numbers to 32 bits. */
  readonly ino32: boolean
}

/** Preferred I/O size shown to applications, bytes; the stock client's. */
const BLKSIZE = 131072

const word = (gfid: Gfid, at: number): number =>
  ((gfid.charCodeAt(at) << 24) |
    (gfid.charCodeAt(at + 1) << 16) |
    (gfid.charCodeAt(at + 2) << 8) |
    gfid.charCodeAt(at + 3)) >>>
  0

/** Writes st_ino: the last 8 gfid bytes as a big-endian number; 1 for the root. */
export function putIno(out: Buffer, at: number, gfid: Gfid, style: AttrStyle): void {
  let hi = 0
  let lo = 1
  if (gfid !== ROOT_GFID) {
    hi = word(gfid, 8)
    lo = word(gfid, 12)
    if (style.ino32) {
      lo = (lo ^ hi) >>> 0
      hi = 0
    }
  }
  out.writeUInt32LE(lo, at)
  out.writeUInt32LE(hi, at + 4)
}

const rdevMajor = (rdev: number): number => Math.floor(rdev / 0x100000000)
const rdevMinor = (rdev: number): number => rdev >>> 0

/** Kernel form of `major << 32 | minor` (new_encode_dev). */
export function encodeRdev(rdev: number): number {
  const major = rdevMajor(rdev)
  const minor = rdevMinor(rdev)
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}

/** `major << 32 | minor` of the kernel form. */
export function decodeRdev(kernel: number): number {
  const major = (kernel & 0xfff00) >>> 8
  const minor = (kernel & 0xff) | ((kernel >>> 12) & 0xfff00)
  return major * 0x100000000 + minor
}

/** struct fuse_attr, 88 bytes. */
export function putAttr(out: Buffer, at: number, gfid: Gfid, stat: Iatt, style: AttrStyle): void {
  putIno(out, at, gfid, style)
  putU64(out, at + 8, stat.size)
  putU64(out, at + 16, stat.blocks)
  putU64(out, at + 24, stat.atime)
  putU64(out, at + 32, stat.mtime)
  putU64(out, at + 40, stat.ctime)
  out.writeUInt32LE(stat.atimeNsec, at + 48)
  out.writeUInt32LE(stat.mtimeNsec, at + 52)
  out.writeUInt32LE(stat.ctimeNsec, at + 56)
  out.writeUInt32LE(stat.mode, at + 60)
  out.writeUInt32LE(stat.nlink, at + 64)
  out.writeUInt32LE(stat.uid, at + 68)
  out.writeUInt32LE(stat.gid, at + 72)
  out.writeUInt32LE(encodeRdev(stat.rdev), at + 76)
  out.writeUInt32LE(BLKSIZE, at + 80)
  out.writeUInt32LE(0, at + 84)
}

export interface EntryOut {
  nodeid: number
  gfid: Gfid
  stat: Iatt
  entryValid: Validity
  attrValid: Validity
}

/** struct fuse_entry_out, 128 bytes. Generation is 0: node ids are never used twice. */
export function putEntry(out: Buffer, at: number, entry: EntryOut, style: AttrStyle): void {
  putU64(out, at, entry.nodeid)
  putU64(out, at + 8, 0)
  putU64(out, at + 16, entry.entryValid.sec)
  putU64(out, at + 24, entry.attrValid.sec)
  out.writeUInt32LE(entry.entryValid.nsec, at + 32)
  out.writeUInt32LE(entry.attrValid.nsec, at + 36)
  putAttr(out, at + 40, entry.gfid, entry.stat, style)
}

/** An entry_out saying "no such name", to be believed for `valid`. */
export function putNegativeEntry(out: Buffer, at: number, valid: Validity): void {
  out.fill(0, at, at + ENTRY_OUT_BYTES)
  putU64(out, at + 16, valid.sec)
  out.writeUInt32LE(valid.nsec, at + 32)
}

/** struct fuse_attr_out, 104 bytes. */
export function putAttrOut(
  out: Buffer,
  at: number,
  gfid: Gfid,
  stat: Iatt,
  valid: Validity,
  style: AttrStyle,
): void {
  putU64(out, at, valid.sec)
  out.writeUInt32LE(valid.nsec, at + 8)
  out.writeUInt32LE(0, at + 12)
  putAttr(out, at + 16, gfid, stat, style)
}

/** struct fuse_open_out, 16 bytes. */
export function putOpen(out: Buffer, at: number, fh: number, openFlags: number): void {
  putU64(out, at, fh)
  out.writeUInt32LE(openFlags, at + 8)
  out.writeUInt32LE(0, at + 12)
}

export interface StatfsOut {
  blocks: number
  bfree: number
  bavail: number
  files: number
  ffree: number
  bsize: number
  namemax: number
  frsize: number
}

/** struct fuse_kstatfs, 80 bytes. */
export function putStatfs(out: Buffer, at: number, statfs: StatfsOut): void {
  out.fill(0, at, at + STATFS_OUT_BYTES)
  putU64(out, at, statfs.blocks)
  putU64(out, at + 8, statfs.bfree)
  putU64(out, at + 16, statfs.bavail)
  putU64(out, at + 24, statfs.files)
  putU64(out, at + 32, statfs.ffree)
  out.writeUInt32LE(statfs.bsize, at + 40)
  out.writeUInt32LE(statfs.namemax, at + 44)
  out.writeUInt32LE(statfs.frsize, at + 48)
}

export interface InitOut {
  minor: number
  maxReadahead: number
  flags: number
  flags2: number
  maxBackground: number
  congestionThreshold: number
  maxWrite: number
  /** Nanoseconds. */
  timeGran: number
  maxPages: number
}

/** struct fuse_init_out, 64 bytes. */
export function putInit(out: Buffer, at: number, init: InitOut): void {
  out.fill(0, at, at + INIT_OUT_BYTES)
  out.writeUInt32LE(FUSE_KERNEL_VERSION, at)
  out.writeUInt32LE(init.minor, at + 4)
  out.writeUInt32LE(init.maxReadahead, at + 8)
  out.writeUInt32LE(init.flags >>> 0, at + 12)
  out.writeUInt16LE(init.maxBackground, at + 16)
  out.writeUInt16LE(init.congestionThreshold, at + 18)
  out.writeUInt32LE(init.maxWrite, at + 20)
  out.writeUInt32LE(init.timeGran, at + 24)
  out.writeUInt16LE(init.maxPages, at + 28)
  out.writeUInt32LE(init.flags2 >>> 0, at + 32)
}

/** struct fuse_file_lock, 24 bytes; `end` inclusive. */
export function putLock(
  out: Buffer,
  at: number,
  lock: { start: bigint; end: bigint; type: number; pid: number },
): void {
  out.writeBigUInt64LE(lock.start, at)
  out.writeBigUInt64LE(lock.end, at + 8)
  out.writeUInt32LE(lock.type, at + 16)
  out.writeUInt32LE(lock.pid >>> 0, at + 20)
}

/** WRITE and COPY_FILE_RANGE: the count. */
export function putCount(out: Buffer, at: number, count: number): void {
  out.writeUInt32LE(count, at)
  out.writeUInt32LE(0, at + 4)
}

/** LSEEK: the new offset. */
export function putOffset(out: Buffer, at: number, offset: number): void {
  putU64(out, at, offset)
}

/** Bytes of a directory record whose fixed part is `fixed` bytes. */
export const direntSize = (fixed: number, nameLength: number): number =>
  (fixed + nameLength + 7) & ~7

/** struct fuse_dirent with its name, zero-padded to `size`. */
export function putDirent(
  out: Buffer,
  at: number,
  size: number,
  dirent: { gfid: Gfid | undefined; inoHi: number; inoLo: number; off: bigint; type: number },
  name: string,
  style: AttrStyle,
): void {
  if (dirent.gfid !== undefined) putIno(out, at, dirent.gfid, style)
  else {
    out.writeUInt32LE(style.ino32 ? (dirent.inoLo ^ dirent.inoHi) >>> 0 : dirent.inoLo, at)
    out.writeUInt32LE(style.ino32 ? 0 : dirent.inoHi, at + 4)
  }
  out.writeBigUInt64LE(BigInt.asUintN(64, dirent.off), at + 8)
  out.writeUInt32LE(name.length, at + 16)
  out.writeUInt32LE(dirent.type, at + 20)
  out.latin1Write(name, at + 24, name.length)
  out.fill(0, at + 24 + name.length, at + size)
}

// Notifications ---------------------------------------------------------------------------------

function notification(code: number, bodyBytes: number): Buffer {
  const message = Buffer.alloc(OUT_HEADER_BYTES + bodyBytes)
  message.writeUInt32LE(message.length, 0)
  message.writeInt32LE(code, 4)
  return message
}

/** Drops cached attributes, and with `data` the cached pages too. */
export function invalInode(nodeid: number, data: boolean): Buffer {
  const message = notification(NOTIFY_INVAL_INODE, 24)
  putU64(message, 16, nodeid)
  message.writeBigInt64LE(data ? 0n : -1n, 24)
  return message
}

/** Ends all cached names. */
export const incEpoch = (): Buffer => notification(NOTIFY_INC_EPOCH, 0)

/** Drops the cached name. */
export function invalEntry(parent: number, name: string): Buffer {
  const message = notification(NOTIFY_INVAL_ENTRY, 16 + name.length + 1)
  putU64(message, 16, parent)
  message.writeUInt32LE(name.length, 24)
  message.latin1Write(name, 32, name.length)
  return message
}
