/**
 * glusterfs4-xdr.x: requests and replies of the file operations, program 1298437 version 400.
 * Structures of the core (Iatt, Dict, Flock, DirEntry …) are decoded as such.
 */
import type { DirEntry, Flock, Lease, LockInfo, Statfs } from '../core/fop.ts'
import { gfx_dict } from './dict.ts'
import { gfx_dirent, gfx_direntp } from './dirent.ts'
import { gfx_iattx } from './iatt.ts'
import * as xdr from './schema.ts'

/** Bytes of a path or link text; names are shorter, but checked by the file system only. */
const PATH_SIZE_MAX = 8192
/** Bytes of an xattr name; GlusterFS's virtual ones are longer than the kernel's 255. */
const XATTR_NAME_SIZE_MAX = 65536
/** GF_MAX_LOCK_OWNER_LEN. */
const LK_OWNER_SIZE_MAX = 1024
/** Entries of one readdir reply. */
const ENTRIES_MAX = 65536
/** Locks of one getactivelk reply. */
const LOCKS_MAX = 65536
const CHECKSUM_SIZE_MAX = 1024

const name = xdr.string(PATH_SIZE_MAX)
const xattrName = xdr.string(XATTR_NAME_SIZE_MAX)

export const gfx_proto_flock = xdr.record<Flock>('gf_proto_flock', {
  type: xdr.u32,
  whence: xdr.u32,
  start: xdr.u64,
  len: xdr.u64,
  pid: xdr.u32,
  lk_owner: xdr.as('lkOwner', xdr.opaque(LK_OWNER_SIZE_MAX)),
})

export const gfx_proto_lease = xdr.record<Lease>('gf_proto_lease', {
  cmd: xdr.u32,
  lease_type: xdr.as('leaseType', xdr.u32),
  lease_id: xdr.as('leaseId', xdr.bytes(16)),
  lease_flags: xdr.as('leaseFlags', xdr.u32),
})

export const gfx_statfs = xdr.record<Statfs>('gf_statfs', {
  bsize: xdr.u64near,
  frsize: xdr.u64near,
  blocks: xdr.u64near,
  bfree: xdr.u64near,
  bavail: xdr.u64near,
  files: xdr.u64near,
  ffree: xdr.u64near,
  favail: xdr.u64near,
  fsid: xdr.u64,
  flag: xdr.u64near,
  namemax: xdr.u64near,
})

export const gfx_locklist = xdr.record<LockInfo>('gfs3_locklist', {
  flock: gfx_proto_flock,
  client_uid: xdr.as('clientUid', xdr.string(PATH_SIZE_MAX)),
  lk_flags: xdr.as('lkFlags', xdr.u32),
})

// ── replies several fops share ──────────────────────────────────────────────────────────────────
// A failed fop fills the fields after op_errno with zeros.

const status = { op_ret: xdr.i32, op_errno: xdr.i32 }
const head = { ...status, xdata: gfx_dict }

export const gfx_common_rsp = xdr.struct(head)
export const gfx_common_iatt_rsp = xdr.struct({ ...head, stat: gfx_iattx })
export const gfx_common_2iatt_rsp = xdr.struct({ ...head, prestat: gfx_iattx, poststat: gfx_iattx })
export const gfx_common_3iatt_rsp = xdr.struct({
  ...head,
  stat: gfx_iattx,
  preparent: gfx_iattx,
  postparent: gfx_iattx,
})
export const gfx_common_dict_rsp = xdr.struct({
  ...head,
  dict: gfx_dict,
  prestat: gfx_iattx,
  poststat: gfx_iattx,
})

// ── file operations ─────────────────────────────────────────────────────────────────────────────

const byGfid = { gfid: xdr.gfid }
const byFd = { gfid: xdr.gfid, fd: xdr.i64 }
const xdata = gfx_dict

export const gfx_stat_req = xdr.struct({ ...byGfid, xdata })
export const gfx_readlink_req = xdr.struct({ ...byGfid, size: xdr.u32, xdata })
export const gfx_readlink_rsp = xdr.struct({ ...head, buf: gfx_iattx, path: name })
/** `dev` is the raw Linux dev_t, unlike the attributes' rdev. */
export const gfx_mknod_req = xdr.struct({
  pargfid: xdr.gfid,
  dev: xdr.u64n,
  mode: xdr.u32,
  umask: xdr.u32,
  bname: name,
  xdata,
})
export const gfx_mkdir_req = xdr.struct({
  pargfid: xdr.gfid,
  mode: xdr.u32,
  umask: xdr.u32,
  bname: name,
  xdata,
})
export const gfx_unlink_req = xdr.struct({
  pargfid: xdr.gfid,
  bname: name,
  xflags: xdr.u32,
  xdata,
})
/** `xflags` not 0: with everything below it. */
export const gfx_rmdir_req = xdr.struct({ pargfid: xdr.gfid, xflags: xdr.i32, bname: name, xdata })
export const gfx_symlink_req = xdr.struct({
  pargfid: xdr.gfid,
  bname: name,
  umask: xdr.u32,
  linkname: name,
  xdata,
})
/** Both gfids are parents'. */
export const gfx_rename_req = xdr.struct({
  oldgfid: xdr.gfid,
  newgfid: xdr.gfid,
  oldbname: name,
  newbname: name,
  xdata,
})
export const gfx_rename_rsp = xdr.struct({
  ...head,
  stat: gfx_iattx,
  preoldparent: gfx_iattx,
  postoldparent: gfx_iattx,
  prenewparent: gfx_iattx,
  postnewparent: gfx_iattx,
})
/** `oldgfid` is the file's, `newgfid` the new parent's. */
export const gfx_link_req = xdr.struct({
  oldgfid: xdr.gfid,
  newgfid: xdr.gfid,
  newbname: name,
  xdata,
})
export const gfx_truncate_req = xdr.struct({ ...byGfid, offset: xdr.u64n, xdata })
/** `flags`: GF_O_*, see glusterfs-fops.ts. */
export const gfx_open_req = xdr.struct({ ...byGfid, flags: xdr.u32, xdata })
export const gfx_open_rsp = xdr.struct({ ...head, fd: xdr.i64 })
/** `flag`: the fd's Linux open flags. */
export const gfx_read_req = xdr.struct({
  ...byFd,
  offset: xdr.u64n,
  size: xdr.u32,
  flag: xdr.u32,
  xdata,
})
/** `xdata` comes last; `size` bytes of data follow it. */
export const gfx_read_rsp = xdr.struct({ ...status, stat: gfx_iattx, size: xdr.u32, xdata })
/** `size` bytes of data follow it. `flag`: the fd's Linux open flags. */
export const gfx_write_req = xdr.struct({
  ...byFd,
  offset: xdr.u64n,
  size: xdr.u32,
  flag: xdr.u32,
  xdata,
})
export const gfx_statfs_req = xdr.struct({ ...byGfid, xdata })
export const gfx_statfs_rsp = xdr.struct({ ...head, statfs: gfx_statfs })
export const gfx_flush_req = xdr.struct({ ...byFd, xdata })
/** `data` 1: without metadata. */
export const gfx_fsync_req = xdr.struct({ ...byFd, data: xdr.u32, xdata })
export const gfx_setxattr_req = xdr.struct({ ...byGfid, flags: xdr.u32, dict: gfx_dict, xdata })
/** `namelen` 0 and `name` empty: all. */
export const gfx_getxattr_req = xdr.struct({ ...byGfid, namelen: xdr.u32, name: xattrName, xdata })
export const gfx_removexattr_req = xdr.struct({ ...byGfid, name: xattrName, xdata })
export const gfx_opendir_req = xdr.struct({ ...byGfid, xdata })
export const gfx_fsyncdir_req = xdr.struct({ ...byFd, data: xdr.i32, xdata })
export const gfx_access_req = xdr.struct({ ...byGfid, mask: xdr.u32, xdata })
export const gfx_create_req = xdr.struct({
  pargfid: xdr.gfid,
  flags: xdr.u32,
  mode: xdr.u32,
  umask: xdr.u32,
  bname: name,
  xdata,
})
export const gfx_create_rsp = xdr.struct({
  ...head,
  stat: gfx_iattx,
  fd: xdr.i64,
  preparent: gfx_iattx,
  postparent: gfx_iattx,
})
export const gfx_ftruncate_req = xdr.struct({ ...byFd, offset: xdr.u64n, xdata })
export const gfx_fstat_req = xdr.struct({ ...byFd, xdata })
/** `type` counts, not the one in `flock`; the brick takes the owner from the credential. */
export const gfx_lk_req = xdr.struct({
  ...byFd,
  cmd: xdr.u32,
  type: xdr.u32,
  flock: gfx_proto_flock,
  xdata,
})
export const gfx_lk_rsp = xdr.struct({ ...head, flock: gfx_proto_flock })
/** By `pargfid` and `bname`, or by `gfid` when `bname` is empty. Answered with a 2iatt reply:
 * prestat is the object, poststat its parent. */
export const gfx_lookup_req = xdr.struct({
  ...byGfid,
  pargfid: xdr.gfid,
  flags: xdr.u32,
  bname: name,
  xdata,
})
export const gfx_readdir_req = xdr.struct({
  ...byFd,
  offset: xdr.u64,
  size: xdr.u32,
  xdata,
})
export const gfx_readdirp_req = gfx_readdir_req
export const gfx_readdir_rsp = xdr.struct({
  ...head,
  reply: xdr.linkedList<DirEntry>(gfx_dirent, ENTRIES_MAX),
})
export const gfx_readdirp_rsp = xdr.struct({
  ...head,
  reply: xdr.linkedList<DirEntry>(gfx_direntp, ENTRIES_MAX),
})
const inodelk = { cmd: xdr.u32, type: xdr.u32, flock: gfx_proto_flock, volume: name, xdata }
export const gfx_inodelk_req = xdr.struct({ ...byGfid, ...inodelk })
export const gfx_finodelk_req = xdr.struct({ ...byFd, ...inodelk })
/** `namelen` 0 and `name` empty: the whole directory. */
const entrylk = {
  cmd: xdr.u32,
  type: xdr.u32,
  namelen: xdr.u64n,
  name,
  volume: name,
  xdata,
}
export const gfx_entrylk_req = xdr.struct({ ...byGfid, ...entrylk })
export const gfx_fentrylk_req = xdr.struct({ ...byFd, ...entrylk })
export const gfx_xattrop_req = xdr.struct({ ...byGfid, flags: xdr.u32, dict: gfx_dict, xdata })
export const gfx_fxattrop_req = xdr.struct({ ...byFd, flags: xdr.u32, dict: gfx_dict, xdata })
export const gfx_fgetxattr_req = xdr.struct({ ...byFd, namelen: xdr.u32, name: xattrName, xdata })
export const gfx_fsetxattr_req = xdr.struct({ ...byFd, flags: xdr.u32, dict: gfx_dict, xdata })
export const gfx_rchecksum_req = xdr.struct({
  ...byFd,
  offset: xdr.u64n,
  len: xdr.u32,
  flags: xdr.u32,
  xdata,
})
/** `flags` 1: the strong checksum is SHA-256, else MD5. */
export const gfx_rchecksum_rsp = xdr.struct({
  ...head,
  flags: xdr.u32,
  weak_checksum: xdr.u32,
  strong_checksum: xdr.opaque(CHECKSUM_SIZE_MAX),
})
export const gfx_setattr_req = xdr.struct({ ...byGfid, stbuf: gfx_iattx, valid: xdr.i32, xdata })
export const gfx_fsetattr_req = xdr.struct({ ...byFd, stbuf: gfx_iattx, valid: xdr.i32, xdata })
export const gfx_release_req = xdr.struct({ ...byFd, xdata })
export const gfx_releasedir_req = gfx_release_req
export const gfx_fremovexattr_req = xdr.struct({ ...byFd, name: xattrName, xdata })
export const gfx_fallocate_req = xdr.struct({
  ...byFd,
  flags: xdr.u32,
  offset: xdr.u64n,
  size: xdr.u64n,
  xdata,
})
export const gfx_discard_req = xdr.struct({ ...byFd, offset: xdr.u64n, size: xdr.u64n, xdata })
export const gfx_zerofill_req = gfx_discard_req
export const gfx_ipc_req = xdr.struct({ op: xdr.i32, xdata })
/** `what`: 0 data, 1 hole; not lseek's numbers. */
export const gfx_seek_req = xdr.struct({ ...byFd, offset: xdr.u64n, what: xdr.i32, xdata })
export const gfx_seek_rsp = xdr.struct({ ...head, offset: xdr.u64n })
export const gfx_lease_req = xdr.struct({ ...byGfid, lease: gfx_proto_lease, xdata })
export const gfx_lease_rsp = xdr.struct({ ...head, lease: gfx_proto_lease })
export const gfx_getactivelk_req = xdr.struct({ ...byGfid, xdata })
export const gfx_getactivelk_rsp = xdr.struct({
  ...head,
  reply: xdr.linkedList<LockInfo>(gfx_locklist, LOCKS_MAX),
})
/** Kills a 10.3 brick: never sent. */
export const gfx_setactivelk_req = xdr.struct({
  ...byGfid,
  request: xdr.linkedList<LockInfo>(gfx_locklist, LOCKS_MAX),
  xdata,
})
export const gfx_icreate_req = xdr.struct({ ...byGfid, mode: xdr.u32, xdata })
/** Kills a 10.3 brick: never sent. */
export const gfx_namelink_req = xdr.struct({ pargfid: xdr.gfid, bname: name, xdata })
/** `size` bytes of data follow it. Bricks do not serve it. */
export const gfx_put_req = xdr.struct({
  pargfid: xdr.gfid,
  bname: name,
  mode: xdr.u32,
  umask: xdr.u32,
  flag: xdr.u32,
  offset: xdr.u64n,
  size: xdr.u32,
  xattr: gfx_dict,
  xdata,
})
/** Answered with a 3iatt reply: the source, the target before and after. */
export const gfx_copy_file_range_req = xdr.struct({
  gfid1: xdr.gfid,
  gfid2: xdr.gfid,
  fd_in: xdr.i64,
  fd_out: xdr.i64,
  off_in: xdr.u64n,
  off_out: xdr.u64n,
  size: xdr.u32,
  flag: xdr.u32,
  xdata,
})
