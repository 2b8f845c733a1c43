/** Which xattrs are the same on all copies. */
import type { Dict } from '../../../src/core/dict.ts'

const NO_KEYS: readonly string[] = []

/** Others belong to one brick, or tell of the copies themselves. */
export function isHealedXattr(key: string): boolean {
  return !(
    key.startsWith('trusted.afr.') ||
    key === 'security.selinux' ||
    key.startsWith('trusted.glusterfs.quota.size')
  )
}

/** Of two replies that listed all xattrs; those in `except` do not count. */
export function sameXattrs(
  a: Dict | undefined,
  b: Dict | undefined,
  except: readonly string[] = NO_KEYS,
): boolean {
  return covers(a, b, except) && covers(b, a, except)
}

function covers(all: Dict | undefined, part: Dict | undefined, except: readonly string[]): boolean {
  for (const key of part?.entries.keys() ?? []) {
    if (!/^(trusted|user|security|system)\./.test(key) || !isHealedXattr(key)) continue
    if (except.includes(key)) continue
    const value = all?.getBytes(key)
    if (value === undefined || !value.equals(part!.getBytes(key) ?? Buffer.alloc(0))) return false
  }
  return true
}
