/**
 * When two bricks' answers to a fop say the same, and what one answer they make together
 * (ec-combine). Sizes and blocks of fragments are turned into the user's elsewhere.
 */
import type { Dict, DictValue } from '../../../src/core/dict.ts'
import type { FopName, Ok, Statfs } from '../../../src/core/fop.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFBLK, S_IFCHR, S_IFMT, timeLater } from '../../../src/core/iatt.ts'
import { mergeDicts } from './merge-dicts.ts'

type Fields = Record<string, unknown>

/** A reply by field name. */
const fieldsOf = (reply: object): Fields => reply as Fields

const PREPOST = ['prestat', 'poststat']
const PARENTS = ['preparent', 'postparent']
const ENTRY = ['stat', ...PARENTS]

/** Attributes in each fop's reply. */
const iattFields: Partial<Record<FopName, readonly string[]>> = {
  stat: ['stat'],
  readlink: ['stat'],
  mknod: ENTRY,
  mkdir: ENTRY,
  unlink: PARENTS,
  rmdir: PARENTS,
  symlink: ENTRY,
  rename: ['stat', 'preoldparent', 'postoldparent', 'prenewparent', 'postnewparent'],
  link: ENTRY,
  truncate: PREPOST,
  readv: ['stat'],
  writev: PREPOST,
  fsync: PREPOST,
  create: ENTRY,
  ftruncate: PREPOST,
  fstat: ['stat'],
  lookup: ['stat', 'postparent'],
  setattr: PREPOST,
  fsetattr: PREPOST,
  fallocate: PREPOST,
  discard: PREPOST,
}

/** Other fields that must be equal. */
const equalFields: Partial<Record<FopName, readonly string[]>> = {
  readlink: ['path'],
  readv: ['size'],
  writev: ['size'],
  seek: ['offset'],
}

/** Whose owner and mode must agree: bricks change them at different times unless locked. */
export type Strict = 'all' | readonly Gfid[]

export function sameReply<K extends FopName>(fop: K, a: Ok<K>, b: Ok<K>, strict: Strict): boolean {
  const left = fieldsOf(a)
  const right = fieldsOf(b)
  for (const field of iattFields[fop] ?? []) {
    if (!sameIatt(left[field] as Iatt, right[field] as Iatt, strict)) return false
  }
  for (const field of equalFields[fop] ?? []) {
    if (left[field] !== right[field]) return false
  }
  if (!sameDict(left.dict as Dict | undefined, right.dict as Dict | undefined)) return false
  return sameDict(left.xdata as Dict | undefined, right.xdata as Dict | undefined)
}

function sameIatt(a: Iatt, b: Iatt, strict: Strict): boolean {
  if (a.gfid !== b.gfid || a.inoLo !== b.inoLo || a.inoHi !== b.inoHi) return false
  const type = a.mode & S_IFMT
  if (type !== (b.mode & S_IFMT)) return false
  if ((type === S_IFBLK || type === S_IFCHR) && a.rdev !== b.rdev) return false
  if (strict !== 'all' && !strict.includes(a.gfid)) return true
  return a.uid === b.uid && a.gid === b.gid && a.mode === b.mode
}

const ANY_KEY =
  /^(trusted\.glusterfs\..*\.stime|get-link-count|glusterfs\.(inodelk|entrylk|open-fd)-count)$/
const ANY_VALUE = new RegExp(
  '^(glusterfs\\.content|glusterfs\\.clrlk.*|dht-get-iatt-in-xattr|trusted\\.glusterfs\\.' +
    '(pathinfo|lockinfo|node-uuid|list-node-uuids|quota\\..*|.*\\.xtime|volume-mark.*))$',
)

function sameDict(a: Dict | undefined, b: Dict | undefined): boolean {
  return covers(a, b) && covers(b, a)
}

/** Every key of `a` that counts is in `b` with the same value. */
function covers(a: Dict | undefined, b: Dict | undefined): boolean {
  if (a === undefined || a === b) return true
  for (const [key, value] of a.entries) {
    if (ANY_KEY.test(key)) continue
    const other = b?.get(key)
    if (other === undefined) return false
    if (ANY_VALUE.test(key)) continue
    if (!sameValue(value, other, a, b!, key)) return false
  }
  return true
}

function sameValue(a: DictValue, b: DictValue, left: Dict, right: Dict, key: string): boolean {
  if (a.type === 'iatt' || a.type === 'mdata') return a.type === b.type
  if (a.type === b.type && a.value === b.value) return true
  const bytes = left.getBytes(key)
  return bytes?.equals(right.getBytes(key) ?? Buffer.alloc(0)) ?? false
}

/** The answer of a group of equal ones. `dataCount` scales `blocks`. */
export function mergeReplies<K extends FopName>(
  fop: K,
  replies: readonly Ok<K>[],
  dataCount: number,
): Ok<K> {
  const last = replies.at(-1)!
  const merged: Fields = { ...last }
  for (const field of iattFields[fop] ?? []) {
    merged[field] = mergeIatts(
      replies.map((reply) => fieldsOf(reply)[field] as Iatt),
      dataCount,
    )
  }
  for (const field of ['dict', 'xdata']) {
    if (merged[field] === undefined) continue
    const dicts = replies.map((reply) => fieldsOf(reply)[field] as Dict | undefined)
    merged[field] = mergeDicts(
      dicts.filter((dict) => dict !== undefined),
      dataCount,
    )
  }
  if (fop === 'statfs') {
    merged.statfs = mergeStatfs(replies.map((reply) => (reply as Ok<'statfs'>).statfs))
  }
  return merged as unknown as Ok<K>
}

/**
 * The newest of each time; the bricks' blocks scaled to those of the user's data. Of anything but
 * regular files that makes little sense, but it is what stock shows after a lookup (after other
 * fops it shows the plain sum).
 */
export function mergeIatts(stats: readonly Iatt[], dataCount: number): Iatt {
  const merged = stats.at(-1)!.clone()
  let blocks = 0
  for (const stat of stats) {
    blocks += stat.blocks
    merged.blksize = Math.max(merged.blksize, stat.blksize)
    if (timeLater(stat.atime, stat.atimeNsec, merged.atime, merged.atimeNsec)) {
      merged.atime = stat.atime
      merged.atimeNsec = stat.atimeNsec
    }
    if (timeLater(stat.mtime, stat.mtimeNsec, merged.mtime, merged.mtimeNsec)) {
      merged.mtime = stat.mtime
      merged.mtimeNsec = stat.mtimeNsec
    }
    if (timeLater(stat.ctime, stat.ctimeNsec, merged.ctime, merged.ctimeNsec)) {
      merged.ctime = stat.ctime
      merged.ctimeNsec = stat.ctimeNsec
    }
  }
  merged.blocks = Math.ceil((blocks * dataCount) / stats.length)
  return merged
}

/** Sizes are the smallest brick's, in the largest block unit (ec_combine_statfs). */
function mergeStatfs(all: readonly Statfs[]): Statfs {
  const frsize = Math.max(...all.map((one) => one.frsize))
  const rescaled = (one: Statfs, value: number) =>
    one.frsize === frsize ? value : Math.floor((value * one.frsize) / frsize)
  return {
    bsize: Math.max(...all.map((one) => one.bsize)),
    frsize,
    blocks: Math.min(...all.map((one) => rescaled(one, one.blocks))),
    bfree: Math.min(...all.map((one) => rescaled(one, one.bfree))),
    bavail: Math.min(...all.map((one) => rescaled(one, one.bavail))),
    files: Math.max(...all.map((one) => one.files)),
    ffree: Math.min(...all.map((one) => one.ffree)),
    favail: Math.min(...all.map((one) => one.favail)),
    namemax: Math.min(...all.map((one) => one.namemax)),
    flag: all.reduce((flag, one) => flag & one.flag, ~0),
    fsid: all[0]!.fsid,
  }
}
