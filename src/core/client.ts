import type { Upcall } from './event.ts'

/**
 * A client of a brick as the brick's translators see it. protocol/server makes one per identity
 * (the process-uuid of SETVOLUME; several connections may share it), puts it into the credentials
 * of every fop it winds, and sends `client-disconnected` down the graph when the last connection is
 * gone. The object's identity is the key: translators keep their state in maps by it and drop it
 * with that event. Locks and fds of a client that comes back belong to a new object.
 */
export interface Client {
  /** The process-uuid of SETVOLUME; shown in state dumps. */
  readonly uid: string
  /** Sends a callback to the client. Never blocks or fails: dropped when it cannot be sent. */
  upcall(upcall: Upcall): void
}
