/**
 * The life with one brick: find its port, connect, introduce ourselves, open again what was open,
 * serve until the connection ends; and once more from the start, until told to stop.
 */
import { clock, type Timer } from '../../../src/core/clock.ts'
import { E, type Errno, errnoName, toErrno } from '../../../src/core/errno.ts'
import type { Log } from '../../../src/observe/log.ts'
import { type Canceller, connect, type Ended, type Link } from '../../../src/rpc/connect.ts'
import {
  type Connection,
  type ConnectionStats,
  call,
  type Limits,
} from '../../../src/rpc/connection.ts'
import { GLUSTERD_PORT, listPrograms, portOfBrick } from '../../../src/rpc/portmap.ts'
import type { TlsSettings } from '../../../src/rpc/tls.ts'
import type { AddressFamily, SocketSettings } from '../../../src/rpc/transport.ts'
import { type LegacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { HANDSHAKE } from '../../../src/xdr/programs.ts'
import type { Reader } from '../../../src/xdr/reader.ts'
import type { CallHeader } from '../../../src/xdr/rpc-msg.ts'

/** From the first connect to the end of the handshake; a brick that needs longer is tried anew. */
const HANDSHAKE_MS = 30_000
const CONNECT_MS = 10_000
/** Pauses between attempts: doubled from the first to the last, shortened by up to a fifth. */
const RETRY_FIRST_MS = 200
const RETRY_LAST_MS = 3000

export interface SessionSettings {
  readonly host: string
  readonly port: number | undefined
  readonly brick: string
  readonly family: AddressFamily
  readonly socket: SocketSettings
  /** TLS towards the brick and towards glusterd. */
  readonly tls: TlsSettings | undefined
  readonly managementTls: TlsSettings | undefined
  readonly limits: Limits
  readonly stats: ConnectionStats
  readonly log: Log
}

export interface SessionEvents {
  /** The SETVOLUME request; made anew for each connection. */
  introduction(): LegacyDict
  /** Looks at the reply's dictionary; a text refuses the brick. */
  accepted(dict: LegacyDict | undefined): string | undefined
  /** SETVOLUME succeeded: files are opened again here, before anybody else may use it. */
  reopen(connection: Connection): Promise<void>
  /** Fops may be sent from now on. `childUp`: the brick's storage works. */
  up(connection: Connection, childUp: boolean): void
  /** The connection ended, or an attempt failed. */
  down(reason: string): void
  /** The brick does not let us in. */
  refused(reason: string, errno: Errno): void
  callback(header: CallHeader, body: Reader): void
}

type Purpose = 'glusterd' | 'brick'

export class Session {
  readonly #settings: SessionSettings
  readonly #events: SessionEvents
  readonly #canceller: Canceller = { cancel: undefined }
  #stopped = false
  #pause: { timer: Timer; done: () => void } | undefined
  /** Attempts since the brick was last up. */
  #failures = 0
  #lastReason = ''
  #lastRefusal = ''
  state: 'connecting' | 'up' | 'waiting' | 'refused' | 'stopped' = 'connecting'

  constructor(settings: SessionSettings, events: SessionEvents) {
    this.#settings = settings
    this.#events = events
  }

  start(): void {
    this.#run().catch((error: unknown) => {
      this.#settings.log.error({ err: error }, 'the connection task failed: this is a bug')
    })
  }

  /** Ends the connection and the attempts to get one. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.state = 'stopped'
    this.#canceller.cancel?.('shutting down')
    this.#pause?.timer.clear()
    this.#pause?.done()
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.state = 'connecting'
      const reason = await this.#serve()
      if (this.#stopped) return
      this.state = 'waiting'
      this.#logFailure(reason)
      this.#events.down(reason)
      await this.#sleep()
    }
  }

  /** One reason is logged once, not with every attempt. */
  #logFailure(reason: string): void {
    if (reason === this.#lastReason) return
    this.#lastReason = reason
    this.#settings.log.warn(`not connected to ${this.#where}: ${reason}`)
  }

  get #where(): string {
    return `${this.#settings.host}:${this.#settings.brick}`
  }

  async #sleep(): Promise<void> {
    const full = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** Math.min(this.#failures, 10))
    this.#failures++
    await new Promise<void>((done) => {
      const timer = clock.after(full * (1 - clock.random() / 5), done)
      this.#pause = { timer, done }
    })
    this.#pause = undefined
  }

  /** From connect to disconnect; gives the reason of the end. */
  async #serve(): Promise<string> {
    const deadline = clock.after(HANDSHAKE_MS, () =>
      this.#canceller.cancel?.(`no handshake within ${HANDSHAKE_MS / 1000} seconds`),
    )
    try {
      const link = await this.#reachBrick()
      if (typeof link === 'string') return link
      const { connection } = link
      const entered = await this.#enter(connection)
      deadline.clear()
      if (entered === 'retry') connection.close(this.#lastRefusal)
      return (await link.ended).reason
    } finally {
      deadline.clear()
    }
  }

  /** A connection to a listener that serves file operations. */
  async #reachBrick(): Promise<Link | string> {
    const first = await this.#connect(this.#settings.port ?? GLUSTERD_PORT, 'glusterd')
    if ('reason' in first) return first.reason
    const served = await listPrograms(first.connection)
    if (typeof served === 'string') return await this.#leave(first, served)
    if (!served.portmap) {
      // `remote-port` may name the brick itself.
      return served.fops ? first : await this.#leave(first, 'neither glusterd nor a brick answers')
    }
    const port = await portOfBrick(first.connection, this.#settings.brick)
    const reason = await this.#leave(first, typeof port === 'string' ? port : 'port is known')
    if (typeof port === 'string') return port
    if (this.#stopped) return reason
    const brick = await this.#connect(port, 'brick')
    if ('reason' in brick) return brick.reason
    const programs = await listPrograms(brick.connection)
    if (typeof programs === 'string') return await this.#leave(brick, programs)
    return programs.fops ? brick : await this.#leave(brick, 'the brick has no 4.x file operations')
  }

  async #connect(port: number, purpose: Purpose): Promise<Link | Ended> {
    const { host, family, stats, limits, log } = this.#settings
    if (this.#stopped) return { reason: 'shutting down', code: undefined }
    const management = purpose === 'glusterd' && port === GLUSTERD_PORT
    const tls = management ? this.#settings.managementTls : this.#settings.tls
    return connect(
      { address: { transport: 'tcp', host, port }, family },
      {
        socket: { ...this.#settings.socket, tls },
        stats,
        limits,
        log,
        callback: (header, body) => this.#events.callback(header, body),
        lost: ({ reason }) => {
          if (this.state === 'up') this.#events.down(reason)
        },
      },
      CONNECT_MS,
      this.#canceller,
    )
  }

  async #leave(link: Link, reason: string): Promise<string> {
    link.connection.close(reason)
    return (await link.ended).reason
  }

  /** SETVOLUME and what follows from it. */
  async #enter(connection: Connection): Promise<'up' | 'retry' | 'stay'> {
    const outcome = await call(connection, HANDSHAKE.SETVOLUME, {
      dict: this.#events.introduction(),
    })
    if ('errno' in outcome) return this.#refuse(`SETVOLUME: ${outcome.reason}`)
    const { op_ret, op_errno, dict } = outcome.value
    const text = legacyText(dict, 'ERROR')
    if (op_ret < 0) return this.#denied(toErrno(op_errno), text)
    const refusal = this.#events.accepted(dict)
    if (refusal !== undefined) return this.#refuse(refusal)
    await this.#events.reopen(connection)
    if (!connection.open) return 'retry'
    this.state = 'up'
    this.#failures = 0
    this.#lastReason = ''
    this.#settings.log.info(`connected to ${this.#where} at ${connection.peer}`)
    this.#events.up(connection, legacyText(dict, 'child_up') !== '0')
    return 'up'
  }

  #refuse(reason: string): 'retry' {
    this.#lastRefusal = reason
    return 'retry'
  }

  /** What the brick's refusal means: not now, or not at all. */
  #denied(errno: Errno, text: string | undefined): 'retry' | 'stay' {
    const { tls } = this.#settings
    const hint =
      tls === undefined ? '' : ` (is the CN of ${tls.certFile} in the volume's auth.ssl-allow?)`
    const reason = `the brick refuses: ${text ?? errnoName(errno)}${errno === E.ACCES ? hint : ''}`
    if (errno === E.ACCES) {
      // Asking again would not help: stay connected until the brick lets go (spec 12 C.2).
      this.state = 'refused'
      this.#settings.log.error(`${this.#where}: ${reason}`)
      this.#events.refused(reason, errno)
      return 'stay'
    }
    if (errno === E.NOENT && text?.startsWith('subdirectory') === true) {
      this.#events.refused(reason, errno)
    }
    return this.#refuse(reason)
  }
}
