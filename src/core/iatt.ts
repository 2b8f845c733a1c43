import { type Gfid, NULL_GFID } from './gfid.ts'

/** File type bits of `mode` (Linux st_mode). */
export const S_IFMT = 0o170000
export const S_IFSOCK = 0o140000
export const S_IFLNK = 0o120000
export const S_IFREG = 0o100000
export const S_IFBLK = 0o060000
export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFIFO = 0o010000

/** Validity bits of `flags` (gfx_iattx ia_flags). */
export const IATT_TYPE = 0x1
export const IATT_MODE = 0x2
export const IATT_NLINK = 0x4
export const IATT_UID = 0x8
export const IATT_GID = 0x10
export const IATT_ATIME = 0x20
export const IATT_MTIME = 0x40
export const IATT_CTIME = 0x80
export const IATT_INO = 0x100
export const IATT_SIZE = 0x200
export const IATT_BLOCKS = 0x400
export const IATT_BTIME = 0x800
export const IATT_GFID = 0x1000

/**
 * The attributes of an inode, field for field those of the wire's gfx_iattx.
 *
 * `ino` and `dev` are opaque 64-bit values; they are kept as two unsigned 32-bit halves because a
 * BigInt per attribute is the dearest part of decoding one. `blocks` counts 512-byte units. `rdev`
 * is `major << 32 | minor` as a number. All-zero = "not filled".
 */
export class Iatt {
  gfid: Gfid = NULL_GFID
  flags = 0
  inoHi = 0
  inoLo = 0
  devHi = 0
  devLo = 0
  rdev = 0
  size = 0
  blocks = 0
  attributes = 0
  attributesMask = 0
  atime = 0
  mtime = 0
  ctime = 0
  btime = 0
  atimeNsec = 0
  mtimeNsec = 0
  ctimeNsec = 0
  btimeNsec = 0
  nlink = 0
  uid = 0
  gid = 0
  blksize = 0
  /** Type and permission bits as in Linux st_mode. */
  mode = 0

  clone(): Iatt {
    return Object.assign(new Iatt(), this)
  }
}

export const isReg = (stat: Iatt): boolean => (stat.mode & S_IFMT) === S_IFREG
export const isDir = (stat: Iatt): boolean => (stat.mode & S_IFMT) === S_IFDIR
export const isLnk = (stat: Iatt): boolean => (stat.mode & S_IFMT) === S_IFLNK

/** The object's time stamp `a` is later than `b`. */
export function timeLater(aSec: number, aNsec: number, bSec: number, bNsec: number): boolean {
  return aSec !== bSec ? aSec > bSec : aNsec > bNsec
}

/** `ino` as users see it is the last 8 gfid bytes read big-endian; fills both halves. */
export function setInoFromGfid(stat: Iatt): void {
  const gfid = stat.gfid
  stat.inoHi = beWord(gfid, 8)
  stat.inoLo = beWord(gfid, 12)
}

function beWord(bytes: string, at: number): number {
  return (
    ((bytes.charCodeAt(at) << 24) |
      (bytes.charCodeAt(at + 1) << 16) |
      (bytes.charCodeAt(at + 2) << 8) |
      bytes.charCodeAt(at + 3)) >>>
    0
  )
}

/** SETATTR `valid` bits (GF_SET_ATTR_*). Size is not among them: truncate is a fop of its own. */
export const SET_ATTR_MODE = 0x1
export const SET_ATTR_UID = 0x2
export const SET_ATTR_GID = 0x4
export const SET_ATTR_SIZE = 0x8
export const SET_ATTR_ATIME = 0x10
export const SET_ATTR_MTIME = 0x20
export const SET_ATTR_CTIME = 0x40
export const SET_ATTR_ATIME_NOW = 0x80
export const SET_ATTR_MTIME_NOW = 0x100
