/** Which xattrs md-cache keeps (mdc_keys and the option xattr-cache-list). */
import type { Dict } from '../../../src/core/dict.ts'

export interface KeySwitches {
  readonly posixAcl: boolean
  readonly glusterfsAcl: boolean
  readonly selinux: boolean
  readonly capability: boolean
  readonly ima: boolean
  readonly swift: boolean
  readonly samba: boolean
  /** Comma-separated names or patterns. */
  readonly list: string
}

export class CacheableKeys {
  /** Names that may be answered from a cached dict, absence included. */
  readonly names: ReadonlySet<string>
  /** Names and patterns, as bricks are told to notify about. */
  readonly announced: readonly string[]

  constructor(on: KeySwitches) {
    const keys: string[] = []
    if (on.capability) keys.push('security.capability')
    if (on.ima) keys.push('security.ima')
    if (on.selinux) keys.push('security.selinux')
    if (on.posixAcl) keys.push('system.posix_acl_access', 'system.posix_acl_default')
    if (on.glusterfsAcl) {
      keys.push('glusterfs.posix.acl', 'glusterfs.posix.default_acl')
    }
    if (on.swift) keys.push('user.swift.metadata')
    if (on.samba) {
      keys.push('user.DOSATTRIB', 'user.DosStream.*', 'user.org.netatalk.Metadata')
      keys.push('user.org.netatalk.ResourceFork', 'security.NTACL')
    }
    for (const key of on.list.split(',')) if (key.trim() !== '') keys.push(key.trim())
    this.announced = keys
    // A brick answers a lookup's request for a name, not for a pattern: what a pattern covers
    // cannot be known to be absent.
    this.names = new Set(keys.filter((key) => !/[*?[]/.test(key)))
  }

  /** `xdata` with a request for every name (int8 0). */
  request(xdata: Dict | undefined, make: () => Dict): Dict | undefined {
    if (this.names.size === 0) return xdata
    const asked = xdata === undefined ? make() : xdata.clone()
    for (const name of this.names) if (!asked.has(name)) asked.setInt(name, 0)
    return asked
  }

  /** Nothing but cacheable names is asked for. */
  covers(xdata: Dict | undefined): boolean {
    if (xdata === undefined) return true
    for (const key of xdata.entries.keys()) if (!this.names.has(key)) return false
    return true
  }
}
