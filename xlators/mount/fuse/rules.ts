import { E, type Errno } from '../../../src/core/errno.ts'
import { S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'

/** The file's mode makes whoever runs it somebody else, and a write must end that. */
export const isPrivileged = (mode: number): boolean =>
  (mode & S_IFMT) === S_IFREG && ((mode & 0o4000) !== 0 || (mode & 0o2010) === 0o2010)

/** A vanished object behind a node id: ESTALE makes the kernel look the path up again. */
export const stale = (errno: Errno): Errno => (errno === E.NOENT ? E.STALE : errno)
