/** What clients ask for about an object in a fop's xdata, besides the fop itself (spec of LOOKUP). */
import { Dict } from '../../../src/core/dict.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Iatt, isReg } from '../../../src/core/iatt.ts'
import { globToRegExp } from '../../../src/graph/build.ts'
import { readSync } from '../../../src/sys/data.ts'
import { close, O_NOATIME, O_NOFOLLOW, openAt } from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { getXattr, listXattr, type Target } from '../../../src/sys/xattr.ts'
import type { Brick } from './brick.ts'

/** Largest file whose content rides on a lookup. */
const CONTENT_BYTES_MAX = 1024 * 1024

/** Xattrs that clients never see in lists (posix_is_internal…). */
const HIDDEN =
  /^(trusted\.gfid$|trusted\.glusterfs\.volume-id$|trusted\.gfid2path\.|security\.selinux$|trusted\.glusterfs\.quota|trusted\.glusterfs\.[^.]+\.(xtime|stime)|trusted\.glusterfs\.volume-mark|trusted\.glusterfs\.lockinfo|trusted\.pgfid\.)/

export const isHiddenXattr = (key: string): boolean => HIDDEN.test(key)

const NAMESPACES = /^(trusted|user|security|system)\./

/** A key that may name an xattr on the brick. */
export const isXattrKey = (key: string): boolean => NAMESPACES.test(key)

/**
 * Answers `req` into `reply`. Keys of other translators (locks, index) are theirs to answer.
 * `target` undefined: the object cannot be reached by path (unlinked and closed meanwhile).
 */
export function answerXdata(
  brick: Brick,
  target: Target,
  gfid: Gfid,
  stat: Iatt,
  req: Dict,
  reply: Dict,
): void {
  let names: ReadonlySet<string> | undefined
  const present = (): ReadonlySet<string> => {
    if (names === undefined) {
      const list = listXattr(target)
      names = new Set(typeof list === 'number' ? [] : list)
    }
    return names
  }
  for (const key of req.entries.keys()) {
    switch (key) {
      case 'glusterfs.content':
        addContent(target, stat, req.getNumber(key) ?? 0, reply)
        break
      case 'list-xattr':
        for (const name of present()) if (!isHiddenXattr(name)) addXattr(target, name, reply)
        break
      case 'glusterfs.open-fd-count':
      case 'glusterfs.open-active-fd-count':
        reply.setUint(key, brick.openCount(gfid))
        break
      case 'get-size':
        reply.setUint(key, stat.size)
        break
      case 'get-link-count':
        reply.setUint(key, stat.nlink)
        break
      default:
        if (isXattrKey(key)) addMatches(target, key, present(), reply)
    }
  }
}

function addMatches(target: Target, key: string, names: ReadonlySet<string>, reply: Dict): void {
  if (!/[*?[]/.test(key)) {
    if (names.has(key)) addXattr(target, key, reply)
    return
  }
  const pattern = globToRegExp(key)
  for (const name of names) {
    if (pattern.test(name)) addXattr(target, name, reply)
  }
}

function addXattr(target: Target, key: string, reply: Dict): void {
  const value = getXattr(target, key)
  if (typeof value !== 'number') reply.setBytes(key, value)
}

function addContent(target: Target, stat: Iatt, sizeMax: number, reply: Dict): void {
  if (!isReg(stat) || stat.size > Math.min(sizeMax, CONTENT_BYTES_MAX)) return
  const fd = typeof target === 'number' ? target : openAt(AT_FDCWD, target, O_NOFOLLOW | O_NOATIME)
  if (fd < 0) return
  const bytes = Buffer.allocUnsafe(stat.size)
  const count = stat.size === 0 ? 0 : readSync(fd, bytes, 0)
  if (fd !== target) close(fd)
  if (count >= 0) reply.setBytes('glusterfs.content', bytes.subarray(0, count))
}

/** `undefined` instead of an empty dictionary. */
export const orNothing = (dict: Dict): Dict | undefined => (dict.count === 0 ? undefined : dict)

/** The answer to a fop's xdata, `undefined` when nothing was asked or found. */
export function xdataFor(
  brick: Brick,
  target: Target,
  gfid: Gfid,
  stat: Iatt,
  req: Dict | undefined,
): Dict | undefined {
  if (req === undefined) return undefined
  const reply = new Dict()
  answerXdata(brick, target, gfid, stat, req, reply)
  return orNothing(reply)
}
