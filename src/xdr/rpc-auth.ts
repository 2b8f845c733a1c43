/**
 * Credentials of calls: AUTH_GLUSTERFS v2 until the brick has told its programs, v3 for file
 * operations (it adds the times of features/utime).
 */
import { E, type Errno } from '../core/errno.ts'
import { type Creds, NO_LK_OWNER } from '../core/frame.ts'
import { Reader } from './reader.ts'
import * as xdr from './schema.ts'
import type { Writer } from './writer.ts'

export const AUTH_NONE = 0
export const AUTH_GLUSTERFS_V2 = 390039
export const AUTH_GLUSTERFS_V3 = 390040
export type AuthFlavor = typeof AUTH_NONE | typeof AUTH_GLUSTERFS_V2 | typeof AUTH_GLUSTERFS_V3

/**
 * What fits into the 400 bytes of a credential: groups plus lock owner *bytes*. The owner's bytes
 * are counted as if each took a word (auth_glusterfs_*: GF_AUTH_GLUSTERFS_MAX_GROUPS).
 */
const V2_ITEMS_MAX = 95
const V3_ITEMS_MAX = 91

/**
 * Flavor, credential and the empty verifier. Groups that do not fit are left out without a word,
 * as every client does; a lock owner that does not fit is E2BIG and nothing is written.
 */
export function encodeAuth(w: Writer, flavor: AuthFlavor, creds: Creds): 0 | Errno {
  if (flavor === AUTH_NONE) {
    for (let i = 0; i < 4; i++) w.u32(0)
    return 0
  }
  const v3 = flavor === AUTH_GLUSTERFS_V3
  const owner = creds.lkOwner
  const ownerSize = owner.length === 0 ? 4 : owner.length
  const groupsMax = (v3 ? V3_ITEMS_MAX : V2_ITEMS_MAX) - ownerSize
  if (groupsMax < 0) return E.TOOBIG
  const groupCount = Math.min(creds.groups.length, groupsMax)

  w.u32(flavor)
  const at = w.position
  w.u32(0)
  w.i32(creds.pid, 'pid')
  w.u32(creds.uid, 'uid')
  w.u32(creds.gid, 'gid')
  if (v3) {
    w.u32(creds.timeFlags, 'flags')
    w.u32(creds.timeNsec, 'ctime_nsec')
    xdr.u64n.encode(w, creds.timeSec, 'ctime_sec')
  }
  w.u32(groupCount)
  for (let i = 0; i < groupCount; i++) w.u32(creds.groups[i]!, 'groups')
  w.u32(ownerSize)
  if (owner.length === 0) {
    // Nobody's lock: the owner is the process, as its pid's bytes in x86 order.
    const p = w.reserve(4)
    w.buffer.writeInt32LE(creds.pid, p)
  } else {
    w.bytes(owner, ownerSize, 'lk_owner')
  }
  w.patchU32(at, w.position - at - 4)
  w.u32(AUTH_NONE)
  w.u32(0)
  return 0
}

const groups = xdr.array(xdr.u32, 128)
const lkOwner = xdr.opaque(400)
const caller = { pid: xdr.i32, uid: xdr.u32, gid: xdr.u32 }

export const auth_glusterfs_parms_v2 = xdr.struct({ ...caller, groups, lk_owner: lkOwner })
export const auth_glusterfs_params_v3 = xdr.struct({
  ...caller,
  flags: xdr.u32,
  ctime_nsec: xdr.u32,
  ctime_sec: xdr.u64n,
  groups,
  lk_owner: lkOwner,
})

/** Whose call it is; `undefined` for flavors that do not say. Throws XdrError on bad bytes. */
export function decodeCreds(flavor: number, body: Buffer): Creds | undefined {
  if (flavor === AUTH_GLUSTERFS_V2) {
    const { lk_owner, ...rest } = xdr.decodeAll(auth_glusterfs_parms_v2, new Reader(body))
    return { ...rest, lkOwner: lk_owner, timeFlags: 0, timeSec: 0, timeNsec: 0 }
  }
  if (flavor !== AUTH_GLUSTERFS_V3) return undefined
  const parms = xdr.decodeAll(auth_glusterfs_params_v3, new Reader(body))
  const { pid, uid, gid } = parms
  return {
    pid,
    uid,
    gid,
    groups: parms.groups,
    lkOwner: parms.lk_owner.length === 0 ? NO_LK_OWNER : parms.lk_owner,
    timeFlags: parms.flags,
    timeSec: parms.ctime_sec,
    timeNsec: parms.ctime_nsec,
  }
}
