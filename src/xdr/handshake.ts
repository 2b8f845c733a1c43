/** glusterfs3-xdr.x, handshake part: SETVOLUME (bricks), GETSPEC and others (glusterd). */
import { legacy_dict } from './dict.ts'
import * as xdr from './schema.ts'

/** Bytes of a volfile: the largest has some thousand bricks of a kilobyte each. */
const SPEC_SIZE_MAX = 64 * 1024 * 1024
const TEXT_SIZE_MAX = 64 * 1024

const status = { op_ret: xdr.i32, op_errno: xdr.i32 }

/** The reply of both PINGs. */
export const gf_common_rsp = xdr.struct({ ...status, xdata: legacy_dict })

export const gf_setvolume_req = xdr.struct({ dict: legacy_dict })
/** On success op_errno may hold a leftover. */
export const gf_setvolume_rsp = xdr.struct({ ...status, dict: legacy_dict })

/** `flags` 1: from a client process. */
export const gf_getspec_req = xdr.struct({
  flags: xdr.u32,
  key: xdr.string(TEXT_SIZE_MAX),
  xdata: legacy_dict,
})
/** A volfile id of 255 bytes or more is answered with a positive op_ret and op_errno 22. */
export const gf_getspec_rsp = xdr.struct({
  ...status,
  spec: xdr.string(SPEC_SIZE_MAX),
  xdata: legacy_dict,
})

export const gf_set_lk_ver_req = xdr.struct({ uid: xdr.string(TEXT_SIZE_MAX), lk_ver: xdr.i32 })
export const gf_set_lk_ver_rsp = xdr.struct({ ...status, lk_ver: xdr.i32 })

export const gf_event_notify_req = xdr.struct({ op: xdr.i32, dict: legacy_dict })
export const gf_event_notify_rsp = xdr.struct({ ...status, dict: legacy_dict })

/** GET_VOLUME_INFO and GET_SNAPSHOT_INFO. */
export const gf_get_volume_info_req = xdr.struct({ dict: legacy_dict })
export const gf_get_volume_info_rsp = xdr.struct({
  ...status,
  op_errstr: xdr.string(TEXT_SIZE_MAX),
  dict: legacy_dict,
})
