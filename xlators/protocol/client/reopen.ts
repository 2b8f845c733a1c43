/** Opening files again after a reconnect, and telling the brick of closed ones. */
import { Dict } from '../../../src/core/dict.ts'
import { type Errno, errnoName, toErrno } from '../../../src/core/errno.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import type { Log } from '../../../src/observe/log.ts'
import { type Connection, call, tell } from '../../../src/rpc/connection.ts'
import { gfFlagsFromFlags } from '../../../src/xdr/glusterfs-fops.ts'
import { FOP } from '../../../src/xdr/programs.ts'
import type { RemoteFd, RemoteFds } from './fds.ts'

/** Opens under way at once. */
const REOPENS_MAX = 256

/** Opens every lost fd again. One that fails stays lost; the file is logged. */
export async function reopenAll(
  connection: Connection,
  fds: RemoteFds,
  strictLocks: boolean,
  log: Log,
): Promise<void> {
  const lost = fds.toReopen(strictLocks)
  for (let at = 0; at < lost.length && connection.open; at += REOPENS_MAX) {
    await Promise.all(
      lost.slice(at, at + REOPENS_MAX).map((remote) => reopen(connection, remote, log)),
    )
  }
}

async function reopen(connection: Connection, remote: RemoteFd, log: Log): Promise<void> {
  const number = await openAgain(connection, remote)
  if (typeof number === 'object') {
    if (connection.open) {
      log.warn(`${gfidText(remote.gfid)} cannot be opened again: ${errnoName(number.errno)}`)
    }
    return
  }
  // The connection that knows this number may be gone, or the file closed meanwhile.
  if (!connection.open) return
  remote.number = number
  if (remote.released) sendRelease(connection, remote)
}

async function openAgain(
  connection: Connection,
  remote: RemoteFd,
): Promise<number | { errno: Errno }> {
  const { gfid, flags } = remote
  const outcome = remote.directory
    ? await call(connection, FOP.OPENDIR, { gfid, xdata: undefined })
    : await call(connection, FOP.OPEN, { gfid, flags: gfFlagsFromFlags(flags), xdata: undefined })
  if ('errno' in outcome) return outcome
  const { op_ret, op_errno, fd } = outcome.value
  return op_ret < 0 || fd < 0 ? { errno: toErrno(op_errno) } : fd
}

/** Nobody waits for the answer. Lost fds are unknown to the brick: nothing is sent. */
export function sendRelease(connection: Connection | undefined, remote: RemoteFd): void {
  if (connection === undefined || !connection.open || remote.number === undefined) return
  const fd = remote.number
  remote.number = undefined
  const procedure = remote.directory ? FOP.RELEASEDIR : FOP.RELEASE
  // Stock sends the empty dictionary here, not the null one.
  const body = { gfid: remote.gfid, fd, xdata: new Dict() }
  // Locks held by the fd end with it, and others may wait for them.
  if (remote.locks.held) void call(connection, procedure, body)
  else tell(connection, procedure, body)
}
