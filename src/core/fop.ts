/**
 * The contract of every fop: what it takes and what it answers. One entry per fop, in the order of
 * GlusterFS's fop table (glusterfs_fop_t); request and reply fields keep its terms.
 *
 * Data buffers are vectors (`Buffer[]`) so that bytes pass from socket to device, or back, without
 * being joined. A buffer belongs to whoever holds it: its producer never writes to it again.
 */
import type { Dict } from './dict.ts'
import type { Errno } from './errno.ts'
import type { Fd } from './fd.ts'
import type { Frame } from './frame.ts'
import type { Gfid } from './gfid.ts'
import type { Iatt } from './iatt.ts'
import type { Inode } from './inode.ts'

import type { Loan } from './loan.ts'
import type { Loc } from './loc.ts'

/** Byte-range lock; `len` 0 = to the end of the file. Owner = the frame's lkOwner. */
export interface Flock {
  /** F_RDLCK 0, F_WRLCK 1, F_UNLCK 2. */
  type: number
  whence: number
  start: bigint
  len: bigint
  pid: number
  lkOwner: Buffer
}

export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2

/** lk and inodelk commands. */
export const F_GETLK = 0
export const F_SETLK = 1
export const F_SETLKW = 2

export const ENTRYLK_LOCK = 0
export const ENTRYLK_UNLOCK = 1
export const ENTRYLK_LOCK_NB = 2
export const ENTRYLK_RDLCK = 0
export const ENTRYLK_WRLCK = 1

/** xattrop operations. */
export const XATTROP_ADD_ARRAY = 0
export const XATTROP_ADD_ARRAY64 = 1
export const XATTROP_OR_ARRAY = 2
export const XATTROP_AND_ARRAY = 3
export const XATTROP_GET_AND_SET = 4
export const XATTROP_ADD_ARRAY_WITH_DEFAULT = 5
export const XATTROP_ADD_ARRAY64_WITH_DEFAULT = 6

/** seek: not lseek's numbers. */
export const SEEK_DATA = 0
export const SEEK_HOLE = 1

export const FALLOC_FL_KEEP_SIZE = 1

/** One directory entry. `off` is the opaque cookie to continue after it. */
export interface DirEntry {
  name: string
  /** As shown by plain readdir; readdirp users take it from `stat`. */
  inoHi: number
  inoLo: number
  off: bigint
  /** DT_* (dirent.h): 4 directory, 8 regular, 10 symbolic link … */
  type: number
  /** readdirp only. */
  stat?: Iatt | undefined
  xdata?: Dict | undefined
  /** readdirp only; absent = the kernel must look the entry up. */
  inode?: Inode | undefined
}

export interface Statfs {
  bsize: number
  frsize: number
  blocks: number
  bfree: number
  bavail: number
  files: number
  ffree: number
  favail: number
  fsid: bigint
  flag: number
  namemax: number
}

export interface LockInfo {
  flock: Flock
  clientUid: string
  lkFlags: number
}

export interface Lease {
  cmd: number
  leaseType: number
  leaseId: Buffer
  leaseFlags: number
}

interface X {
  xdata?: Dict | undefined
}
interface LocReq extends X {
  loc: Loc
}
interface FdReq extends X {
  fd: Fd
}
interface PrePost extends X {
  prestat: Iatt
  poststat: Iatt
}
interface Parents extends X {
  preparent: Iatt
  postparent: Iatt
}
interface EntryRep extends Parents {
  stat: Iatt
}
interface SetXattr {
  dict: Dict
  /** 0, XATTR_CREATE 1, XATTR_REPLACE 2. */
  flags: number
}
interface Inodelk {
  /** Lock domain. */
  volume: string
  cmd: number
  flock: Flock
}
interface Entrylk {
  volume: string
  /** `undefined` = the whole directory. */
  basename: string | undefined
  cmd: number
  type: number
}
interface Readdir extends FdReq {
  /** Byte budget of the answer, an upper bound. */
  size: number
  off: bigint
}
interface Entries extends X {
  entries: DirEntry[]
  /** The directory ends with these entries. */
  eof: boolean
}

export interface FopMap {
  /** `atOpen`: for an open(2), which need not see what others have not flushed yet. */
  stat: { req: LocReq & { atOpen?: boolean }; rep: X & { stat: Iatt } }
  readlink: { req: LocReq & { size: number }; rep: X & { path: string; stat: Iatt } }
  /** `rdev`: a Linux dev_t (0x103 is 1:3), unlike the `rdev` of attributes. */
  mknod: { req: LocReq & { mode: number; rdev: number; umask: number }; rep: EntryRep }
  mkdir: { req: LocReq & { mode: number; umask: number }; rep: EntryRep }
  unlink: { req: LocReq & { flags: number }; rep: Parents }
  rmdir: { req: LocReq & { flags: number }; rep: Parents }
  symlink: { req: LocReq & { linkpath: string; umask: number }; rep: EntryRep }
  rename: {
    req: X & { oldloc: Loc; newloc: Loc }
    rep: X & {
      stat: Iatt
      preoldparent: Iatt
      postoldparent: Iatt
      prenewparent: Iatt
      postnewparent: Iatt
    }
  }
  link: { req: X & { oldloc: Loc; newloc: Loc }; rep: EntryRep }
  truncate: { req: LocReq & { offset: number }; rep: PrePost }
  /** On success the remote state hangs on `fd`. */
  open: { req: LocReq & { fd: Fd; flags: number }; rep: X & { fd: Fd } }
  /**
   * `size` = bytes in `data`; `eof` = the read touched the end of the file. Only who is done with
   * `data` at once `borrows`, and then drops the reply's `loan`: the memory is used again.
   */
  readv: {
    req: FdReq & { size: number; offset: number; flags: number; borrows?: boolean }
    rep: X & { data: Buffer[]; size: number; stat: Iatt; eof: boolean; loan?: Loan | undefined }
  }
  /** `size` = sum of the lengths of `data`; the reply's = bytes written. */
  writev: {
    req: FdReq & { data: Buffer[]; size: number; offset: number; flags: number }
    rep: PrePost & { size: number }
  }
  statfs: { req: LocReq; rep: X & { statfs: Statfs } }
  flush: { req: FdReq; rep: X }
  fsync: { req: FdReq & { datasync: boolean }; rep: PrePost }
  setxattr: { req: LocReq & SetXattr; rep: X }
  /** `name` undefined = all. */
  getxattr: { req: LocReq & { name: string | undefined }; rep: X & { dict: Dict } }
  removexattr: { req: LocReq & { name: string }; rep: X }
  opendir: { req: LocReq & { fd: Fd }; rep: X & { fd: Fd } }
  fsyncdir: { req: FdReq & { datasync: boolean }; rep: X }
  /** mask: R_OK 4, W_OK 2, X_OK 1. */
  access: { req: LocReq & { mask: number }; rep: X }
  create: {
    req: LocReq & { flags: number; mode: number; umask: number; fd: Fd }
    rep: EntryRep & { fd: Fd }
  }
  ftruncate: { req: FdReq & { offset: number }; rep: PrePost }
  fstat: { req: FdReq; rep: X & { stat: Iatt } }
  lk: { req: FdReq & { cmd: number; flock: Flock }; rep: X & { flock: Flock } }
  lookup: { req: LocReq; rep: X & { stat: Iatt; postparent: Iatt } }
  readdir: { req: Readdir; rep: Entries }
  inodelk: { req: LocReq & Inodelk; rep: X }
  finodelk: { req: FdReq & Inodelk; rep: X }
  entrylk: { req: LocReq & Entrylk; rep: X }
  fentrylk: { req: FdReq & Entrylk; rep: X }
  xattrop: { req: LocReq & { op: number; dict: Dict }; rep: X & { dict: Dict } }
  fxattrop: { req: FdReq & { op: number; dict: Dict }; rep: X & { dict: Dict } }
  fgetxattr: { req: FdReq & { name: string | undefined }; rep: X & { dict: Dict } }
  fsetxattr: { req: FdReq & SetXattr; rep: X }
  rchecksum: {
    req: FdReq & { offset: number; len: number }
    rep: X & { weak: number; strong: Buffer; flags: number }
  }
  /** `valid`: SET_ATTR_* bits saying which fields of `stat` count. */
  setattr: { req: LocReq & { stat: Iatt; valid: number }; rep: PrePost }
  fsetattr: { req: FdReq & { stat: Iatt; valid: number }; rep: PrePost }
  readdirp: { req: Readdir; rep: Entries }
  fremovexattr: { req: FdReq & { name: string }; rep: X }
  fallocate: { req: FdReq & { mode: number; offset: number; len: number }; rep: PrePost }
  discard: { req: FdReq & { offset: number; len: number }; rep: PrePost }
  zerofill: { req: FdReq & { offset: number; len: number }; rep: PrePost }
  ipc: { req: X & { op: number }; rep: X }
  seek: { req: FdReq & { offset: number; what: number }; rep: X & { offset: number } }
  lease: { req: LocReq & { lease: Lease }; rep: X & { lease: Lease } }
  getactivelk: { req: LocReq; rep: X & { locks: LockInfo[] } }
  setactivelk: { req: LocReq & { locks: LockInfo[] }; rep: X }
  put: {
    req: LocReq & {
      mode: number
      umask: number
      flags: number
      data: Buffer[]
      size: number
      offset: number
      xattr: Dict | undefined
    }
    rep: EntryRep
  }
  icreate: { req: LocReq & { mode: number; gfid: Gfid }; rep: X & { stat: Iatt } }
  namelink: { req: LocReq; rep: Parents }
  copy_file_range: {
    req: X & {
      fdIn: Fd
      offIn: number
      fdOut: Fd
      offOut: number
      size: number
      flags: number
    }
    rep: PrePost & { size: number; stat: Iatt }
  }
}

export type FopName = keyof FopMap

export interface FopError {
  errno: Errno
  xdata?: Dict | undefined
}

export type Req<K extends FopName> = FopMap[K]['req']
export type Ok<K extends FopName> = { errno: 0 } & FopMap[K]['rep']
export type Rep<K extends FopName> = Ok<K> | FopError
export type MaybePromise<T> = T | Promise<T>
export type Fop<K extends FopName> = (frame: Frame, req: Req<K>) => MaybePromise<Rep<K>>

/** Every fop of a translator. */
export type FopTable = { [K in FopName]: Fop<K> }

/** glusterfs_fop_t numbers, for statistics and logs. */
export const fopNumbers: Readonly<Record<FopName, number>> = {
  stat: 1,
  readlink: 2,
  mknod: 3,
  mkdir: 4,
  unlink: 5,
  rmdir: 6,
  symlink: 7,
  rename: 8,
  link: 9,
  truncate: 10,
  open: 11,
  readv: 12,
  writev: 13,
  statfs: 14,
  flush: 15,
  fsync: 16,
  setxattr: 17,
  getxattr: 18,
  removexattr: 19,
  opendir: 20,
  fsyncdir: 21,
  access: 22,
  create: 23,
  ftruncate: 24,
  fstat: 25,
  lk: 26,
  lookup: 27,
  readdir: 28,
  inodelk: 29,
  finodelk: 30,
  entrylk: 31,
  fentrylk: 32,
  xattrop: 33,
  fxattrop: 34,
  fgetxattr: 35,
  fsetxattr: 36,
  rchecksum: 37,
  setattr: 38,
  fsetattr: 39,
  readdirp: 40,
  fremovexattr: 45,
  fallocate: 46,
  discard: 47,
  zerofill: 48,
  ipc: 49,
  seek: 50,
  lease: 51,
  getactivelk: 53,
  setactivelk: 54,
  put: 55,
  icreate: 56,
  namelink: 57,
  copy_file_range: 58,
}

export const fopNames = Object.keys(fopNumbers) as FopName[]
