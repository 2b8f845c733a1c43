/** Who holds a lock: a client and a lock owner within it. */
import type { Client } from '../../../src/core/client.ts'
import type { Creds } from '../../../src/core/frame.ts'

export interface Owner {
  /** `undefined`: the brick itself. */
  readonly client: Client | undefined
  /** lk-owner of the credential, latin1. */
  readonly id: string
  readonly pid: number
}

export const ownerOf = (creds: Creds): Owner => ({
  client: creds.client,
  id: creds.lkOwner.latin1Slice(),
  pid: creds.pid,
})

export const sameOwner = (a: Owner, b: Owner): boolean => a.client === b.client && a.id === b.id

/** Requests that wait for one object's locks; more are refused with ENOLCK. */
export const BLOCKED_MAX = 65536
