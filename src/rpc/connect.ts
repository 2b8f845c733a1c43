/** Opening a connection by host name, with a limit on how long that may take. */
import { clock } from '../core/clock.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { type Address, type AddressFamily, resolveHost } from './transport.ts'

/** Why a connection ended, or never came to be. `code`: system error name, where there is one. */
export interface Ended {
  readonly reason: string
  readonly code: string | undefined
}

/** An open connection. */
export interface Link {
  readonly connection: Connection
  /** Resolves when it is closed, by whomever. */
  readonly ended: Promise<Ended>
}

export type LinkOptions = Omit<ConnectionOptions, 'address' | 'connected' | 'closed'>

/**
 * A place to connect to. Host names may have several addresses: `attempt` says which to take, so
 * that one that does not answer is not asked for ever.
 */
export interface Target {
  readonly address: Address
  readonly family: AddressFamily
  readonly attempt: number
}

/** What stops an attempt: the owner sets `cancel` and calls it when it no longer wants the link. */
export interface Canceller {
  cancel: ((reason: string) => void) | undefined
}

/** Connects within `timeoutMs`. Never rejects. */
export async function connect(
  target: Target,
  options: LinkOptions,
  timeoutMs: number,
  canceller: Canceller,
): Promise<Link | Ended> {
  const deadline = clock.now() + timeoutMs
  const found = await resolveAddress(target, timeoutMs, canceller)
  if ('reason' in found) return found
  const left = Math.max(1, deadline - clock.now())
  return new Promise((resolve) => {
    let settleEnded: (ended: Ended) => void = () => {}
    const ended = new Promise<Ended>((settle) => {
      settleEnded = settle
    })
    const connection = new Connection({
      ...options,
      address: found,
      connected() {
        timer.clear()
        resolve({ connection, ended })
      },
      closed(reason, code) {
        timer.clear()
        canceller.cancel = undefined
        settleEnded({ reason, code })
        resolve({ reason, code })
      },
    })
    canceller.cancel = (reason) => connection.close(reason)
    const timer = clock.after(left, () => connection.close('connect timed out', 'ETIMEDOUT'))
  })
}

/** The numeric address to connect to. */
function resolveAddress(
  target: Target,
  timeoutMs: number,
  canceller: Canceller,
): Promise<Address | Ended> {
  const { address, family, attempt } = target
  if (address.transport === 'unix') return Promise.resolve(address)
  const { host, port } = address
  return new Promise((resolve) => {
    const timer = clock.after(timeoutMs, () =>
      resolve({ reason: `the name ${host} was not resolved in time`, code: 'ETIMEDOUT' }),
    )
    canceller.cancel = (reason) => {
      timer.clear()
      resolve({ reason, code: undefined })
    }
    resolveHost(host, family, (error, addresses) => {
      timer.clear()
      if (error !== undefined) {
        resolve({ reason: `the name ${host} cannot be resolved`, code: 'ENOTFOUND' })
        return
      }
      const chosen = addresses[attempt % addresses.length]
      if (chosen === undefined) {
        resolve({ reason: `the name ${host} has no address`, code: 'ENOTFOUND' })
      } else resolve({ transport: 'tcp', host: chosen, port })
    })
  })
}
