/** Exit statuses of the command: errno of what failed, as stock gives them. */
import { E } from '../core/errno.ts'
import { type ErrorCode, GlusterError } from '../core/errors.ts'

/** argp's status for a wrong command line (sysexits EX_USAGE). */
const EX_USAGE = 64

const statuses: Readonly<Record<ErrorCode, number>> = {
  USAGE: EX_USAGE,
  BAD_VALUE: 255,
  VOLFILE_SYNTAX: 1,
  VOLFILE_INVALID: 1,
  UNKNOWN_TYPE: 1,
  OPTION_INVALID: 1,
  OPTION_UNSUPPORTED: 1,
  SERVER_UNREACHABLE: E.NOTCONN,
  SERVER_PROTOCOL: 1,
  VOLUME_UNKNOWN: E.NOENT,
  AUTH_FAILED: 1,
  NO_BRICK_UP: E.NOTCONN,
  MOUNT_POINT: 1,
  FUSE_DEVICE: 1,
  MOUNT_FAILED: 1,
  LISTEN_FAILED: 1,
  VOLUME_STATE: 1,
}

/** 1..255 for any error. */
export function exitStatus(error: unknown): number {
  if (!(error instanceof GlusterError)) return 1
  // What glusterd answered is the status, as in stock: ENOENT, or ENOTSUP for a newer volume.
  if (error.code === 'VOLUME_UNKNOWN') return (error.errno ?? E.NOENT) & 0xff
  return statuses[error.code]
}

/** The line for standard error. */
export function errorLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.startsWith('glusterfs: ') ? text : `glusterfs: ${text}`
}
