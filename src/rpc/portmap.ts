/** What a listener serves, and on which port a brick listens (spec 12 B). */
import { DUMP, GF_FOP, GF_PORTMAP, PORTMAP } from '../xdr/programs.ts'
import { AUTH_GLUSTERFS_V3 } from '../xdr/rpc-auth.ts'
import { type Connection, call } from './connection.ts'

/** glusterd, and the default port of bricks' hosts. */
export const GLUSTERD_PORT = 24007

/** Clients send this number with DUMP; it means nothing. */
const DUMP_GFS_ID = 0xcaed

export interface Served {
  readonly portmap: boolean
  /** File operations of the 4.x protocol. */
  readonly fops: boolean
}

/**
 * Asks which programs the peer serves; credentials are v3 from then on if it serves the file
 * operations. A text = why it could not be learned.
 */
export async function listPrograms(connection: Connection): Promise<Served | string> {
  const outcome = await call(connection, DUMP.DUMP, { gfs_id: DUMP_GFS_ID })
  if ('errno' in outcome) return `DUMP: ${outcome.reason}`
  const { op_ret, op_errno, prog } = outcome.value
  if (op_ret < 0) return `DUMP: errno ${op_errno}`
  const serves = (program: { number: number; version: number }): boolean =>
    prog.some(({ prognum, progver }) => prognum === program.number && progver === program.version)
  const served = { portmap: serves(GF_PORTMAP), fops: serves(GF_FOP) }
  if (served.fops) connection.auth = AUTH_GLUSTERFS_V3
  return served
}

/** The port of `brick` (an absolute path on that host). A text = why there is none. */
export async function portOfBrick(connection: Connection, brick: string): Promise<number | string> {
  const outcome = await call(connection, PORTMAP.PORTBYBRICK, { brick })
  if ('errno' in outcome) return `PORTBYBRICK: ${outcome.reason}`
  const { op_ret, op_errno, port } = outcome.value
  if (op_ret < 0 || port === 0) {
    return op_errno > 0 ? `PORTBYBRICK: errno ${op_errno}` : `brick ${brick} is not running`
  }
  if (port < 1 || port > 65535) return `PORTBYBRICK: port ${port}`
  return port
}
