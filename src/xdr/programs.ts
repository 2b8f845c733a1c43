/**
 * Programs, versions and procedures: number, name and how request and reply travel. A procedure's
 * types follow from its codecs, so that a call is checked when it is compiled.
 */
import * as cbk from './callbacks.ts'
import * as dump from './dump.ts'
import * as g from './glusterfs4.ts'
import * as hs from './handshake.ts'
import * as pm from './portmap.ts'
import { type Codec, nothing } from './schema.ts'

export interface Program {
  readonly name: string
  readonly number: number
  readonly version: number
}

export interface Procedure<Q = unknown, P = unknown> {
  readonly program: Program
  readonly number: number
  /** Upper case, as in the protocol's tables. */
  readonly name: string
  readonly request: Codec<Q>
  /** Callbacks are not answered; theirs is `nothing`. */
  readonly reply: Codec<P>
}

export const GF_DUMP: Program = { name: 'GF-DUMP', number: 123451501, version: 1 }
export const GF_HANDSHAKE: Program = { name: 'GlusterFS Handshake', number: 14398633, version: 2 }
export const GF_PORTMAP: Program = { name: 'Gluster Portmap', number: 34123456, version: 1 }
export const GF_FOP: Program = { name: 'GlusterFS 4.x v1', number: 1298437, version: 400 }
export const GF_CBK: Program = { name: 'GlusterFS Callback', number: 52743234, version: 1 }

function table(program: Program) {
  return <Q, P>(number: number, name: string, request: Codec<Q>, reply: Codec<P>) =>
    ({ program, number, name, request, reply }) as Procedure<Q, P>
}

const dumpProc = table(GF_DUMP)
export const DUMP = {
  DUMP: dumpProc(1, 'DUMP', dump.gf_dump_req, dump.gf_dump_rsp),
  /** Keepalive of every connection. */
  PING: dumpProc(2, 'PING', nothing, hs.gf_common_rsp),
} as const

const handshakeProc = table(GF_HANDSHAKE)
export const HANDSHAKE = {
  SETVOLUME: handshakeProc(1, 'SETVOLUME', hs.gf_setvolume_req, hs.gf_setvolume_rsp),
  GETSPEC: handshakeProc(2, 'GETSPEC', hs.gf_getspec_req, hs.gf_getspec_rsp),
  PING: handshakeProc(3, 'PING', nothing, hs.gf_common_rsp),
  SET_LK_VER: handshakeProc(4, 'SET_LK_VER', hs.gf_set_lk_ver_req, hs.gf_set_lk_ver_rsp),
  EVENT_NOTIFY: handshakeProc(5, 'EVENT_NOTIFY', hs.gf_event_notify_req, hs.gf_event_notify_rsp),
  GET_VOLUME_INFO: handshakeProc(
    6,
    'GET_VOLUME_INFO',
    hs.gf_get_volume_info_req,
    hs.gf_get_volume_info_rsp,
  ),
  GET_SNAPSHOT_INFO: handshakeProc(
    7,
    'GET_SNAPSHOT_INFO',
    hs.gf_get_volume_info_req,
    hs.gf_get_volume_info_rsp,
  ),
} as const

const portmapProc = table(GF_PORTMAP)
export const PORTMAP = {
  PORTBYBRICK: portmapProc(1, 'PORTBYBRICK', pm.pmap_port_by_brick_req, pm.pmap_port_by_brick_rsp),
  /** glusterd 10.3 never answers it. */
  BRICKBYPORT: portmapProc(2, 'BRICKBYPORT', pm.pmap_brick_by_port_req, pm.pmap_brick_by_port_rsp),
  SIGNIN: portmapProc(4, 'SIGNIN', pm.pmap_signin_req, pm.pmap_signin_rsp),
  SIGNOUT: portmapProc(5, 'SIGNOUT', pm.pmap_signout_req, pm.pmap_signout_rsp),
} as const

const fop = table(GF_FOP)
/** The numbers equal glusterfs_fop_t up to 40 only. */
export const FOP = {
  STAT: fop(1, 'STAT', g.gfx_stat_req, g.gfx_common_iatt_rsp),
  READLINK: fop(2, 'READLINK', g.gfx_readlink_req, g.gfx_readlink_rsp),
  MKNOD: fop(3, 'MKNOD', g.gfx_mknod_req, g.gfx_common_3iatt_rsp),
  MKDIR: fop(4, 'MKDIR', g.gfx_mkdir_req, g.gfx_common_3iatt_rsp),
  UNLINK: fop(5, 'UNLINK', g.gfx_unlink_req, g.gfx_common_2iatt_rsp),
  RMDIR: fop(6, 'RMDIR', g.gfx_rmdir_req, g.gfx_common_2iatt_rsp),
  SYMLINK: fop(7, 'SYMLINK', g.gfx_symlink_req, g.gfx_common_3iatt_rsp),
  RENAME: fop(8, 'RENAME', g.gfx_rename_req, g.gfx_rename_rsp),
  LINK: fop(9, 'LINK', g.gfx_link_req, g.gfx_common_3iatt_rsp),
  TRUNCATE: fop(10, 'TRUNCATE', g.gfx_truncate_req, g.gfx_common_2iatt_rsp),
  OPEN: fop(11, 'OPEN', g.gfx_open_req, g.gfx_open_rsp),
  READ: fop(12, 'READ', g.gfx_read_req, g.gfx_read_rsp),
  WRITE: fop(13, 'WRITE', g.gfx_write_req, g.gfx_common_2iatt_rsp),
  STATFS: fop(14, 'STATFS', g.gfx_statfs_req, g.gfx_statfs_rsp),
  FLUSH: fop(15, 'FLUSH', g.gfx_flush_req, g.gfx_common_rsp),
  FSYNC: fop(16, 'FSYNC', g.gfx_fsync_req, g.gfx_common_2iatt_rsp),
  SETXATTR: fop(17, 'SETXATTR', g.gfx_setxattr_req, g.gfx_common_rsp),
  GETXATTR: fop(18, 'GETXATTR', g.gfx_getxattr_req, g.gfx_common_dict_rsp),
  REMOVEXATTR: fop(19, 'REMOVEXATTR', g.gfx_removexattr_req, g.gfx_common_rsp),
  OPENDIR: fop(20, 'OPENDIR', g.gfx_opendir_req, g.gfx_open_rsp),
  FSYNCDIR: fop(21, 'FSYNCDIR', g.gfx_fsyncdir_req, g.gfx_common_rsp),
  ACCESS: fop(22, 'ACCESS', g.gfx_access_req, g.gfx_common_rsp),
  CREATE: fop(23, 'CREATE', g.gfx_create_req, g.gfx_create_rsp),
  FTRUNCATE: fop(24, 'FTRUNCATE', g.gfx_ftruncate_req, g.gfx_common_2iatt_rsp),
  FSTAT: fop(25, 'FSTAT', g.gfx_fstat_req, g.gfx_common_iatt_rsp),
  LK: fop(26, 'LK', g.gfx_lk_req, g.gfx_lk_rsp),
  LOOKUP: fop(27, 'LOOKUP', g.gfx_lookup_req, g.gfx_common_2iatt_rsp),
  READDIR: fop(28, 'READDIR', g.gfx_readdir_req, g.gfx_readdir_rsp),
  INODELK: fop(29, 'INODELK', g.gfx_inodelk_req, g.gfx_common_rsp),
  FINODELK: fop(30, 'FINODELK', g.gfx_finodelk_req, g.gfx_common_rsp),
  ENTRYLK: fop(31, 'ENTRYLK', g.gfx_entrylk_req, g.gfx_common_rsp),
  FENTRYLK: fop(32, 'FENTRYLK', g.gfx_fentrylk_req, g.gfx_common_rsp),
  XATTROP: fop(33, 'XATTROP', g.gfx_xattrop_req, g.gfx_common_dict_rsp),
  FXATTROP: fop(34, 'FXATTROP', g.gfx_fxattrop_req, g.gfx_common_dict_rsp),
  FGETXATTR: fop(35, 'FGETXATTR', g.gfx_fgetxattr_req, g.gfx_common_dict_rsp),
  FSETXATTR: fop(36, 'FSETXATTR', g.gfx_fsetxattr_req, g.gfx_common_rsp),
  RCHECKSUM: fop(37, 'RCHECKSUM', g.gfx_rchecksum_req, g.gfx_rchecksum_rsp),
  SETATTR: fop(38, 'SETATTR', g.gfx_setattr_req, g.gfx_common_2iatt_rsp),
  FSETATTR: fop(39, 'FSETATTR', g.gfx_fsetattr_req, g.gfx_common_2iatt_rsp),
  READDIRP: fop(40, 'READDIRP', g.gfx_readdirp_req, g.gfx_readdirp_rsp),
  RELEASE: fop(41, 'RELEASE', g.gfx_release_req, g.gfx_common_rsp),
  RELEASEDIR: fop(42, 'RELEASEDIR', g.gfx_releasedir_req, g.gfx_common_rsp),
  FREMOVEXATTR: fop(43, 'FREMOVEXATTR', g.gfx_fremovexattr_req, g.gfx_common_rsp),
  FALLOCATE: fop(44, 'FALLOCATE', g.gfx_fallocate_req, g.gfx_common_2iatt_rsp),
  DISCARD: fop(45, 'DISCARD', g.gfx_discard_req, g.gfx_common_2iatt_rsp),
  ZEROFILL: fop(46, 'ZEROFILL', g.gfx_zerofill_req, g.gfx_common_2iatt_rsp),
  IPC: fop(47, 'IPC', g.gfx_ipc_req, g.gfx_common_rsp),
  SEEK: fop(48, 'SEEK', g.gfx_seek_req, g.gfx_seek_rsp),
  LEASE: fop(50, 'LEASE', g.gfx_lease_req, g.gfx_lease_rsp),
  GETACTIVELK: fop(51, 'GETACTIVELK', g.gfx_getactivelk_req, g.gfx_getactivelk_rsp),
  SETACTIVELK: fop(52, 'SETACTIVELK', g.gfx_setactivelk_req, g.gfx_common_rsp),
  ICREATE: fop(53, 'ICREATE', g.gfx_icreate_req, g.gfx_common_iatt_rsp),
  NAMELINK: fop(54, 'NAMELINK', g.gfx_namelink_req, g.gfx_common_2iatt_rsp),
  PUT: fop(55, 'PUT', g.gfx_put_req, g.gfx_common_3iatt_rsp),
  COPY_FILE_RANGE: fop(56, 'COPY_FILE_RANGE', g.gfx_copy_file_range_req, g.gfx_common_3iatt_rsp),
} as const

const callback = table(GF_CBK)
/** Calls a server makes on a client's connection; they are not answered. */
export const CBK = {
  FETCHSPEC: callback(1, 'FETCHSPEC', nothing, nothing),
  INO_FLUSH: callback(2, 'INO_FLUSH', nothing, nothing),
  EVENT_NOTIFY: callback(3, 'EVENT_NOTIFY', hs.gf_event_notify_req, nothing),
  GET_SNAPS: callback(4, 'GET_SNAPS', nothing, nothing),
  CACHE_INVALIDATION: callback(
    5,
    'CACHE_INVALIDATION',
    cbk.gfs3_cbk_cache_invalidation_req,
    nothing,
  ),
  CHILD_UP: callback(6, 'CHILD_UP', nothing, nothing),
  CHILD_DOWN: callback(7, 'CHILD_DOWN', nothing, nothing),
  RECALL_LEASE: callback(8, 'RECALL_LEASE', cbk.gfs3_recall_lease_req, nothing),
  STATEDUMP: callback(9, 'STATEDUMP', cbk.gf_statedump, nothing),
  INODELK_CONTENTION: callback(10, 'INODELK_CONTENTION', cbk.gfs4_inodelk_contention_req, nothing),
  ENTRYLK_CONTENTION: callback(11, 'ENTRYLK_CONTENTION', cbk.gfs4_entrylk_contention_req, nothing),
} as const

export const programs: readonly Program[] = [GF_DUMP, GF_HANDSHAKE, GF_PORTMAP, GF_FOP, GF_CBK]

const byNumber = new Map<number, Map<number, Procedure>>()
for (const procedures of [DUMP, HANDSHAKE, PORTMAP, FOP, CBK]) {
  for (const procedure of Object.values(procedures) as Procedure[]) {
    const { number } = procedure.program
    const known = byNumber.get(number) ?? new Map<number, Procedure>()
    byNumber.set(number, known.set(procedure.number, procedure))
  }
}

/** The procedure of these numbers, `undefined` when it, or its program's version, is unknown. */
export function findProcedure(
  program: number,
  version: number,
  procedure: number,
): Procedure | undefined {
  const found = byNumber.get(program)?.get(procedure)
  return found?.program.version === version ? found : undefined
}
