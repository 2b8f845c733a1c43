/** rpc-common-xdr.x: which programs a listener serves. */
import * as xdr from './schema.ts'

const PROGRAMS_MAX = 256

export const gf_prog_detail = xdr.struct({
  progname: xdr.string(1024),
  prognum: xdr.u64n,
  progver: xdr.u64n,
})

/** Clients send 0xcaed; it means nothing. */
export const gf_dump_req = xdr.struct({ gfs_id: xdr.u64n })

export const gf_dump_rsp = xdr.struct({
  gfs_id: xdr.u64n,
  op_ret: xdr.i32,
  op_errno: xdr.i32,
  prog: xdr.linkedList(gf_prog_detail, PROGRAMS_MAX),
})
