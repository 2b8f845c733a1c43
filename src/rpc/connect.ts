/** Opening a connection by host name, with a limit on how long that may take. */
import { clock } from '../core/clock.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { type Address, type AddressFamily, addressText, resolveHost } from './transport.ts'

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

export type LinkOptions = Omit<ConnectionOptions, 'address' | 'connected' | 'closed'> & {
  /**
   * An open connection has ended. Called in the same turn in which its calls fail, so that whoever
   * hears of their failure already knows.
   */
  lost?(ended: Ended): void
}

/** A place to connect to. */
export interface Target {
  readonly address: Address
  readonly family: AddressFamily
}

/** What stops an attempt: the owner sets `cancel` and calls it when it no longer wants the link. */
export interface Canceller {
  cancel: ((reason: string) => void) | undefined
}

/**
 * Connects within `timeoutMs`. A host name's addresses are tried in the resolver's order, each for
 * its share of the time. Never rejects.
 */
export async function connect(
  target: Target,
  options: LinkOptions,
  timeoutMs: number,
  canceller: Canceller,
): Promise<Link | Ended> {
  const deadline = clock.now() + timeoutMs
  const found = await resolve(target, timeoutMs, canceller)
  if ('reason' in found) return found
  let cancelled = false
  let last: Ended = { reason: `${addressText(target.address)} has no address`, code: 'ENOTFOUND' }
  for (const [index, address] of found.entries()) {
    const share = Math.max(1, (deadline - clock.now()) / (found.length - index))
    const link = await dial(address, options, share, (cancel) => {
      canceller.cancel = (reason) => {
        cancelled = true
        cancel(reason)
      }
    })
    if ('connection' in link) return link
    last = link
    if (cancelled) break
  }
  return last
}

/** One address. `started` gets what ends the attempt, or the connection. */
function dial(
  address: Address,
  options: LinkOptions,
  timeoutMs: number,
  started: (cancel: (reason: string) => void) => void,
): Promise<Link | Ended> {
  return new Promise((done) => {
    let opened = false
    let settleEnded: (ended: Ended) => void = () => {}
    const ended = new Promise<Ended>((settle) => {
      settleEnded = settle
    })
    const connection = new Connection({
      ...options,
      address,
      connected() {
        timer.clear()
        opened = true
        done({ connection, ended })
      },
      closed(reason, code) {
        timer.clear()
        if (opened) options.lost?.({ reason, code })
        settleEnded({ reason, code })
        done({ reason, code })
      },
    })
    started((reason) => connection.close(reason))
    const timer = clock.after(timeoutMs, () => connection.close('connect timed out', 'ETIMEDOUT'))
  })
}

/** The numeric addresses of a target. */
function resolve(
  { address, family }: Target,
  timeoutMs: number,
  canceller: Canceller,
): Promise<Address[] | Ended> {
  if (address.transport === 'unix') return Promise.resolve([address])
  const { host, port } = address
  return new Promise((done) => {
    const timer = clock.after(timeoutMs, () =>
      done({ reason: `the name ${host} was not resolved in time`, code: 'ETIMEDOUT' }),
    )
    canceller.cancel = (reason) => {
      timer.clear()
      done({ reason, code: undefined })
    }
    resolveHost(host, family, (error, addresses) => {
      timer.clear()
      if (error !== undefined) {
        const kind = family === 'any' ? '' : ` to an ${family === 'inet' ? 'IPv4' : 'IPv6'} address`
        done({ reason: `the name ${host} cannot be resolved${kind}`, code: 'ENOTFOUND' })
      } else done(addresses.map((numeric) => ({ transport: 'tcp', host: numeric, port })))
    })
  })
}
