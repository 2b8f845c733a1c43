/**
 * Errors of set-up (command line, volfile, graph, mount). Fops never throw these: their expected
 * errors are values (`{ errno }`).
 */

/** What went wrong, for exit statuses and tests. */
export type ErrorCode =
  | 'USAGE'
  | 'BAD_VALUE'
  | 'VOLFILE_SYNTAX'
  | 'VOLFILE_INVALID'
  | 'UNKNOWN_TYPE'
  | 'OPTION_INVALID'
  | 'OPTION_UNSUPPORTED'
  | 'SERVER_UNREACHABLE'
  | 'SERVER_PROTOCOL'
  | 'VOLUME_UNKNOWN'
  | 'AUTH_FAILED'
  | 'NO_BRICK_UP'
  | 'MOUNT_POINT'
  | 'FUSE_DEVICE'
  | 'MOUNT_FAILED'
  | 'LISTEN_FAILED'
  | 'VOLUME_STATE'

export class GlusterError extends Error {
  readonly code: ErrorCode
  /** The errno behind it, where there is one; decides the exit status of some codes. */
  readonly errno: number | undefined

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; errno?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'GlusterError'
    this.code = code
    this.errno = options?.errno
  }
}
