/** Permission bits and POSIX ACLs (POSIX 1003.1e draft 17, acl(5)): may somebody do something? */
import type { Creds } from '../../../src/core/frame.ts'
import { type Iatt, S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'

export const READ = 4
export const WRITE = 2
export const EXECUTE = 1

const S_ISVTX = 0o1000

export const ACCESS_ACL_KEY = 'system.posix_acl_access'
export const DEFAULT_ACL_KEY = 'system.posix_acl_default'

// linux/posix_acl_xattr.h: u32 version, then u16 tag, u16 permissions, u32 id, little-endian.
const ACL_VERSION = 2
const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const USER = 0x02
const GROUP_OBJ = 0x04
const GROUP = 0x08
const MASK = 0x10
const OTHER = 0x20

interface AclEntry {
  tag: number
  perm: number
  id: number
}

/** `undefined` for bytes that are no ACL. */
export function parseAcl(bytes: Buffer): AclEntry[] | undefined {
  if (bytes.length < HEADER_BYTES || (bytes.length - HEADER_BYTES) % ENTRY_BYTES !== 0) {
    return undefined
  }
  if (bytes.readUInt32LE(0) !== ACL_VERSION) return undefined
  const entries: AclEntry[] = []
  for (let at = HEADER_BYTES; at < bytes.length; at += ENTRY_BYTES) {
    const tag = bytes.readUInt16LE(at)
    entries.push({ tag, perm: bytes.readUInt16LE(at + 2) & 7, id: bytes.readUInt32LE(at + 4) })
  }
  return entries
}

/** Nothing is checked for root and for internal clients. */
export const isPrivileged = (creds: Creds): boolean => creds.uid === 0 || creds.pid < 0

export const inGroup = (creds: Creds, gid: number): boolean =>
  creds.gid === gid || creds.groups.includes(gid)

/** Is `wanted` (READ, WRITE, EXECUTE bits) granted by mode and access ACL? */
export function permits(
  creds: Creds,
  stat: Iatt,
  acl: readonly AclEntry[] | undefined,
  wanted: number,
): boolean {
  if (isPrivileged(creds)) return true
  const grants = (bits: number): boolean => (bits & wanted) === wanted
  if (creds.uid === stat.uid) return grants(stat.mode >> 6)
  if (acl === undefined || acl.length === 0) {
    return grants(inGroup(creds, stat.gid) ? stat.mode >> 3 : stat.mode)
  }
  return permitsAcl(creds, stat, acl, grants)
}

/** acl(5), access check algorithm, from its second step. */
function permitsAcl(
  creds: Creds,
  stat: Iatt,
  acl: readonly AclEntry[],
  grants: (bits: number) => boolean,
): boolean {
  const mask = acl.find(({ tag }) => tag === MASK)?.perm ?? 7
  const user = acl.find(({ tag, id }) => tag === USER && id === creds.uid)
  if (user !== undefined) return grants(user.perm & mask)
  const groups = acl.filter(
    ({ tag, id }) =>
      (tag === GROUP_OBJ && inGroup(creds, stat.gid)) || (tag === GROUP && inGroup(creds, id)),
  )
  if (groups.length > 0) return groups.some(({ perm }) => grants(perm & mask))
  return grants(acl.find(({ tag }) => tag === OTHER)?.perm ?? 0)
}

export const isSticky = ({ mode }: Iatt): boolean =>
  (mode & S_ISVTX) !== 0 && (mode & S_IFMT) === S_IFDIR

/** In a sticky directory only the owner of the entry or of the directory may remove it. */
export function stickyForbids(creds: Creds, parent: Iatt, entry: Iatt): boolean {
  if (isPrivileged(creds) || !isSticky(parent)) return false
  return creds.uid !== parent.uid && creds.uid !== entry.uid
}
