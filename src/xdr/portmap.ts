/** portmap-xdr.x: on which port a brick listens (glusterd). */
import * as xdr from './schema.ts'

const brick = xdr.string(8192)
const status = { op_ret: xdr.i32, op_errno: xdr.i32 }

export const pmap_port_by_brick_req = xdr.struct({ brick })
/** op_ret -1 with op_errno 0: the brick is not running. `status` is always 0. */
export const pmap_port_by_brick_rsp = xdr.struct({ ...status, status: xdr.i32, port: xdr.i32 })

export const pmap_brick_by_port_req = xdr.struct({ port: xdr.i32 })
export const pmap_brick_by_port_rsp = xdr.struct({ ...status, status: xdr.i32, brick })

export const pmap_signin_req = xdr.struct({ brick, port: xdr.i32, pid: xdr.i32 })
export const pmap_signin_rsp = xdr.struct(status)

export const pmap_signout_req = xdr.struct({ brick, port: xdr.i32, rdma_port: xdr.i32 })
export const pmap_signout_rsp = xdr.struct(status)
