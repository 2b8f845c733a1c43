/** Bodies of the calls servers make on a client's connection (program 52743234). */
import { legacy_dict } from './dict.ts'
import { gfx_proto_flock } from './glusterfs4.ts'
import { gf_iatt } from './iatt.ts'
import * as xdr from './schema.ts'

const text = xdr.string(8192)

/** `gfid` is canonical text; `flags` are UP_*; the stats are zero where they do not apply. */
export const gfs3_cbk_cache_invalidation_req = xdr.struct({
  gfid: text,
  event_type: xdr.u32,
  flags: xdr.u32,
  expire_time_attr: xdr.u32,
  stat: gf_iatt,
  parent_stat: gf_iatt,
  oldparent_stat: gf_iatt,
  xdata: legacy_dict,
})

export const gfs3_recall_lease_req = xdr.struct({
  gfid: xdr.gfid,
  lease_type: xdr.u32,
  tid: xdr.bytes(16),
  xdata: legacy_dict,
})

/** `flock` is the lock that is held and in somebody's way. */
export const gfs4_inodelk_contention_req = xdr.struct({
  gfid: xdr.gfid,
  flock: gfx_proto_flock,
  pid: xdr.u32,
  domain: text,
  xdata: legacy_dict,
})

/** `name` empty: the whole directory. */
export const gfs4_entrylk_contention_req = xdr.struct({
  gfid: xdr.gfid,
  type: xdr.u32,
  pid: xdr.u32,
  name: text,
  domain: text,
  xdata: legacy_dict,
})

/** Glusterd wants a state dump of the process `pid`. */
export const gf_statedump = xdr.struct({ pid: xdr.u32 })
