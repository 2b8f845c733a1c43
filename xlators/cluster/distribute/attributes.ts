/** Attributes of objects that live on several subvolumes. */
import type { Dict } from '../../../src/core/dict.ts'
import { type Iatt, isDir, isReg, S_IFMT, timeLater } from '../../../src/core/iatt.ts'
import { type DhtKeys, QUOTA_SIZE } from './keys.ts'

/** Permission bits of a linkto file: the sticky bit alone. */
export const LINKTO_MODE = 0o1000
/** Set-gid and sticky on a regular file: rebalance is copying it. */
const MIGRATING_BITS = 0o3000

/** Size and blocks shown for every directory. */
const DIR_SIZE = 4096
const DIR_BLOCKS = 8

/** Regular file with exactly a linkto's mode: a linkto, or data already moved away (phase 2). */
export function hasLinktoMode(stat: Iatt): boolean {
  return isReg(stat) && (stat.mode & 0o7777) === LINKTO_MODE
}

/** Regular file that rebalance is copying (phase 1), or that a user gave both bits. */
export function hasMigratingMode(stat: Iatt): boolean {
  return isReg(stat) && (stat.mode & MIGRATING_BITS) === MIGRATING_BITS
}

/** Either phase: the data fops look twice at such a reply. */
export function mayBeMigrating(stat: Iatt): boolean {
  if (!isReg(stat)) return false
  const bits = stat.mode & 0o7777
  return bits === LINKTO_MODE || (bits & MIGRATING_BITS) === MIGRATING_BITS
}

export function isLinkto(stat: Iatt, xdata: Dict | undefined, keys: DhtKeys): boolean {
  return hasLinktoMode(stat) && (xdata?.has(keys.linkto) ?? false)
}

/** Users do not see the marks of a migration. Changes `stat`. */
export function hideMigration(stat: Iatt): Iatt {
  if (hasMigratingMode(stat)) stat.mode &= ~MIGRATING_BITS
  return stat
}

/** Directories have the same size on every client. Changes `stat`; leaves empty iatts alone. */
export function fixDirSize(stat: Iatt): Iatt {
  if (stat.flags !== 0 || isDir(stat)) {
    stat.size = DIR_SIZE
    stat.blocks = DIR_BLOCKS
  }
  return stat
}

/** The three times an inode was last shown with. */
export interface Times {
  atime: number
  atimeNsec: number
  mtime: number
  mtimeNsec: number
  ctime: number
  ctimeNsec: number
}

/** Raises each time of `stat` to at least that of `times`. */
export function raiseTimes(stat: Iatt, times: Times): void {
  if (timeLater(times.atime, times.atimeNsec, stat.atime, stat.atimeNsec)) {
    stat.atime = times.atime
    stat.atimeNsec = times.atimeNsec
  }
  if (timeLater(times.mtime, times.mtimeNsec, stat.mtime, stat.mtimeNsec)) {
    stat.mtime = times.mtime
    stat.mtimeNsec = times.mtimeNsec
  }
  if (timeLater(times.ctime, times.ctimeNsec, stat.ctime, stat.ctimeNsec)) {
    stat.ctime = times.ctime
    stat.ctimeNsec = times.ctimeNsec
  }
}

/**
 * Adds one more subvolume's view (dht_iatt_merge): the last one counts, except that owners are the
 * largest, times the latest, and a file's size and blocks the sum. Returns the changed `from`.
 */
export function mergeIatt(merged: Iatt | undefined, from: Iatt): Iatt {
  if (merged === undefined) return isDir(from) ? fixDirSize(from) : from
  from.uid = Math.max(from.uid, merged.uid)
  from.gid = Math.max(from.gid, merged.gid)
  raiseTimes(from, merged)
  if (isDir(from)) return fixDirSize(from)
  from.size += merged.size
  from.blocks += merged.blocks
  return from
}

/** Mode bits or owners that a directory's copies must agree on do not. */
export function attributesDiffer(a: Iatt, b: Iatt): boolean {
  return (a.mode & ~S_IFMT) !== (b.mode & ~S_IFMT) || a.uid !== b.uid || a.gid !== b.gid
}

/** Merges xattrs of several subvolumes: the later reply wins, quota sizes add up. */
export function mergeXattrs(merged: Dict | undefined, from: Dict | undefined): Dict | undefined {
  if (from === undefined) return merged
  if (merged === undefined) return from.clone()
  for (const [key, value] of from.entries) {
    const before = key.startsWith(QUOTA_SIZE) ? merged.getBytes(key) : undefined
    const now = before === undefined ? undefined : from.getBytes(key)
    if (before === undefined || now === undefined) merged.set(key, value)
    else merged.setBytes(key, addCounters(before, now))
  }
  return merged
}

/** Arrays of big-endian 64-bit counters (quota_meta_t: size, files, directories). */
function addCounters(a: Buffer, b: Buffer): Buffer {
  const sum = Buffer.from(a)
  for (let at = 0; at + 8 <= Math.min(a.length, b.length); at += 8) {
    sum.writeBigInt64BE(BigInt.asIntN(64, a.readBigInt64BE(at) + b.readBigInt64BE(at)), at)
  }
  return sum
}
