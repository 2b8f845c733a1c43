import { E, type Errno } from '../../../src/core/errno.ts'
import { S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import { O_ACCMODE, O_APPEND, O_RDWR, O_WRONLY } from '../../../src/core/open-flags.ts'

/** The file's mode makes whoever runs it somebody else, and a write must end that. */
export const isPrivileged = (mode: number): boolean =>
  (mode & S_IFMT) === S_IFREG && ((mode & 0o4000) !== 0 || (mode & 0o2010) === 0o2010)

/** A vanished object behind a node id: ESTALE makes the kernel look the path up again. */
export const stale = (errno: Errno): Errno => (errno === E.NOENT ? E.STALE : errno)

/**
 * Flags of an open as the bricks shall see them. With the kernel's write-back cache the kernel
 * itself appends, and reads around what it writes, so the fd must do neither less nor more.
 */
export function brickFlags(flags: number, writeback: boolean): number {
  if (!writeback) return flags
  const readable = (flags & O_ACCMODE) === O_WRONLY ? (flags & ~O_ACCMODE) | O_RDWR : flags
  return readable & ~O_APPEND
}
