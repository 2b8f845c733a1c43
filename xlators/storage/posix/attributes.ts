/**
 * Attributes of objects on the brick: stat(2) plus the gfid and `trusted.glusterfs.mdata`, the
 * times that clients decide. mdata is 57 bytes, packed, big-endian:
 *
 *     0 version = 1 | 1 flags u64 = 0 | 9 ctime | 25 mtime | 41 atime; each u64 sec, u64 nsec
 */
import type { Mdata } from '../../../src/core/dict.ts'
import type { Creds } from '../../../src/core/frame.ts'
import { type Gfid, gfidFromBytes, NULL_GFID } from '../../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFMT, setInoFromGfid, timeLater } from '../../../src/core/iatt.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, statAt, statFd } from '../../../src/sys/stat.ts'
import {
  getXattrShared,
  setXattr,
  type Target,
  XATTR_CREATE,
  xattrShared,
} from '../../../src/sys/xattr.ts'

export const GFID_KEY = 'trusted.gfid'
export const MDATA_KEY = 'trusted.glusterfs.mdata'
export const MDATA_BYTES = 57

/** Time flags of the credential (GF_CTIME...). */
export const CTIME = 1
export const MTIME = 2
export const ATIME = 4
const PARENT_SHIFT = 3

/** What a normal reply fills: everything but the birth time. */
const FLAGS_NORMAL = 0x17ff
const TWO32 = 2 ** 32

export const statTarget = (target: Target): Stat | number =>
  typeof target === 'number' ? statFd(target) : statAt(AT_FDCWD, target)

/** The gfid an object carries, NULL_GFID when it has none. */
export function gfidOf(target: Target): Gfid {
  return getXattrShared(target, GFID_KEY) === 16 ? gfidFromBytes(xattrShared) : NULL_GFID
}

/** Linux's user-space dev_t (gnu_dev_makedev), for device numbers that fit 32 bits. */
const makedev = (major: number, minor: number): number =>
  ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0

/** The attributes of the object at `target`, its times from mdata where it has some. */
export function toIatt(stat: Stat, gfid: Gfid, target: Target | undefined): Iatt {
  const iatt = new Iatt()
  iatt.gfid = gfid
  iatt.flags = FLAGS_NORMAL
  setInoFromGfid(iatt)
  iatt.devLo = makedev(stat.devMajor, stat.devMinor)
  iatt.rdev = stat.rdevMajor * TWO32 + stat.rdevMinor
  iatt.size = stat.size
  iatt.blocks = Math.min(stat.blocks, Math.ceil(stat.size / 512))
  iatt.mode = stat.mode
  // The handle is a hard link of its own; directories have none.
  iatt.nlink = (stat.mode & S_IFMT) === S_IFDIR ? stat.nlink : Math.max(0, stat.nlink - 1)
  iatt.uid = stat.uid
  iatt.gid = stat.gid
  iatt.blksize = stat.blksize
  if (target !== undefined && getXattrShared(target, MDATA_KEY) === MDATA_BYTES) {
    setTimes(iatt, parseMdata(xattrShared))
  } else {
    setTimes(iatt, stat)
  }
  return iatt
}

function setTimes(iatt: Iatt, times: Mdata): void {
  iatt.atime = times.atime
  iatt.atimeNsec = times.atimeNsec
  iatt.mtime = times.mtime
  iatt.mtimeNsec = times.mtimeNsec
  iatt.ctime = times.ctime
  iatt.ctimeNsec = times.ctimeNsec
}

/** Attributes by target; negative errno when it cannot be stat'ed. */
export function iattOf(target: Target, gfid: Gfid): Iatt | number {
  const stat = statTarget(target)
  return typeof stat === 'number' ? stat : toIatt(stat, gfid, target)
}

/** Seconds may lie before 1970. */
const i64 = (bytes: Buffer, at: number): number =>
  bytes.readInt32BE(at) * TWO32 + bytes.readUInt32BE(at + 4)

/** `bytes` holds at least MDATA_BYTES. */
export function parseMdata(bytes: Buffer): Mdata {
  return {
    ctime: i64(bytes, 9),
    ctimeNsec: i64(bytes, 17),
    mtime: i64(bytes, 25),
    mtimeNsec: i64(bytes, 33),
    atime: i64(bytes, 41),
    atimeNsec: i64(bytes, 49),
  }
}

export function formatMdata(times: Mdata): Buffer {
  const bytes = Buffer.alloc(MDATA_BYTES)
  const put = (at: number, value: number): void => {
    bytes.writeUInt32BE(Math.floor(value / TWO32) >>> 0, at)
    bytes.writeUInt32BE(value >>> 0, at + 4)
  }
  bytes[0] = 1
  put(9, times.ctime)
  put(17, times.ctimeNsec)
  put(25, times.mtime)
  put(33, times.mtimeNsec)
  put(41, times.atime)
  put(49, times.atimeNsec)
  return bytes
}

function readMdata(target: Target): Mdata | undefined {
  return getXattrShared(target, MDATA_KEY) === MDATA_BYTES ? parseMdata(xattrShared) : undefined
}

/** Each time named in `flags` becomes the later of what it is and the given one. */
function raise(times: Mdata, sec: number, nsec: number, flags: number): boolean {
  let changed = false
  if ((flags & CTIME) !== 0 && timeLater(sec, nsec, times.ctime, times.ctimeNsec)) {
    times.ctime = sec
    times.ctimeNsec = nsec
    changed = true
  }
  if ((flags & MTIME) !== 0 && timeLater(sec, nsec, times.mtime, times.mtimeNsec)) {
    times.mtime = sec
    times.mtimeNsec = nsec
    changed = true
  }
  if ((flags & ATIME) !== 0 && timeLater(sec, nsec, times.atime, times.atimeNsec)) {
    times.atime = sec
    times.atimeNsec = nsec
    changed = true
  }
  return changed
}

/** Applies time flags; an object without mdata gets all three. 0 or negative errno. */
function stamp(target: Target, flags: number, sec: number, nsec: number): number {
  const times = readMdata(target)
  if (times === undefined) {
    const all = { ctime: sec, ctimeNsec: nsec, mtime: sec, mtimeNsec: nsec }
    const bytes = formatMdata({ ...all, atime: sec, atimeNsec: nsec })
    return setXattr(target, MDATA_KEY, bytes, 0)
  }
  if (!raise(times, sec, nsec, flags)) return 0
  return setXattr(target, MDATA_KEY, formatMdata(times), 0)
}

/** The credential's stamp on the object of the fop. */
export function stampSelf(target: Target, creds: Creds): void {
  const flags = creds.timeFlags & (CTIME | MTIME | ATIME)
  if (flags !== 0) stamp(target, flags, creds.timeSec, creds.timeNsec)
}

/** The credential's stamp on the directory of the entry that changed. */
export function stampParent(target: Target, creds: Creds): void {
  const flags = (creds.timeFlags >> PARENT_SHIFT) & (CTIME | MTIME | ATIME)
  if (flags !== 0) stamp(target, flags, creds.timeSec, creds.timeNsec)
}

/** A stamp with other flags than the credential's, where it carries a time at all. */
export function stampWith(target: Target, creds: Creds, flags: number): void {
  if (creds.timeFlags !== 0) stamp(target, flags, creds.timeSec, creds.timeNsec)
}

/** utimes: exact atime and mtime, the ctime only raised. Objects without mdata stay so. */
export function setExactTimes(target: Target, change: Partial<Mdata>, creds: Creds): void {
  const times = readMdata(target)
  if (times === undefined) return
  Object.assign(times, change)
  raise(times, creds.timeSec, creds.timeNsec, CTIME)
  setXattr(target, MDATA_KEY, formatMdata(times), 0)
}

/** Heal and rebalance hand over whole times: created, or each raised to the later one. */
export function mergeMdata(target: Target, given: Mdata): number {
  const times = readMdata(target)
  if (times === undefined) return setXattr(target, MDATA_KEY, formatMdata(given), XATTR_CREATE)
  const raised = [
    raise(times, given.ctime, given.ctimeNsec, CTIME),
    raise(times, given.mtime, given.mtimeNsec, MTIME),
    raise(times, given.atime, given.atimeNsec, ATIME),
  ]
  return raised.includes(true) ? setXattr(target, MDATA_KEY, formatMdata(times), 0) : 0
}
