/** Dict and xattr keys of DHT and of the bricks' side of its protocols. */

export const GFID_REQ = 'gfid-req'
export const INTERNAL_FOP = 'glusterfs-internal-fop'
export const INTERNAL_CTX = 'glusterfs.internal-ctx'
export const OPEN_FD_COUNT = 'glusterfs.open-fd-count'
export const PREOP_PARENT_KEY = 'glusterfs.preop.parent.key'
export const PREOP_CHECK_FAILED = 'glusterfs.preop.check.failed'
export const IATT_IN_XDATA = 'dht-get-iatt-in-xattr'
export const MODE_IN_XDATA = 'dht-get-mode-in-xattr'
export const UNLINK_ONLY_LINKTO = 'unlink-only-if-dht-linkto-file'
export const DONT_UNLINK_OPEN = 'dont-unlink-for-open-fd'
export const DONT_ACCOUNT = 'glusters.marker.dont-account'
export const FORCE_REPLACE = 'force-replace'
export const CHANGELOG_RENAME = 'changelog.rename-op'
export const PROTECT_WRITES = 'trusted.glusterfs.protect.writes'
export const SYNC_BACKEND_XATTRS = 'sync_backend_xattrs'
export const FILTER_DIRECTORIES = 'readdir-filter-directories'
export const IGNORE_DEEM_STATFS = 'ignore-deem-statfs'
export const QUOTA_DEEM_STATFS = 'quota-deem-statfs'
export const QUOTA_SIZE = 'trusted.glusterfs.quota.size'
export const ANCESTRY_PATH = 'glusterfs.ancestry.path'
export const LIST_XATTR = 'list-xattr'
export const ACL_ACCESS = 'system.posix_acl_access'
export const ACL_DEFAULT = 'system.posix_acl_default'

/** Sizes DHT asks for with its own keys in lookups. */
export const LINKTO_REQUEST_BYTES = 256

/** The xattrs DHT keeps, all derived from option `xattr-name`. */
export interface DhtKeys {
  /** Range of the directory on this subvolume; see layout.ts. */
  readonly layout: string
  /** On a linkto file: name of the subvolume that has the data, NUL terminated. */
  readonly linkto: string
  /** On one subvolume's copy of a directory: count of unfinished attribute changes. */
  readonly mds: string
  /** On the root: commit hash of the last completed rebalance, decimal. */
  readonly commitHash: string
}

export function dhtKeys(base: string): DhtKeys {
  return {
    layout: base,
    linkto: `${base}.linkto`,
    mds: `${base}.mds`,
    commitHash: `${base}.commithash`,
  }
}

const HEALABLE = new Set([
  ACL_ACCESS,
  ACL_DEFAULT,
  'trusted.glusterfs.quota.limit-set',
  'trusted.glusterfs.quota.limit-objects',
  'security.selinux',
  'trusted.glusterfs.mdata',
])

/** Directory xattrs of which the mds subvolume has the authoritative copy. */
export function isHealable(key: string): boolean {
  return key.startsWith('user.') || HEALABLE.has(key)
}
