/**
 * The management connection: fetches the volfile from glusterd (GETSPEC) and stays connected to
 * hear of changes (spec 12 A). No DUMP and no pings on it, as in stock.
 */
import { clock, type Timer } from '../core/clock.ts'
import { E, type Errno, errnoName, toErrno } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { type Log, logFor } from '../observe/log.ts'
import { type LegacyDict, legacyDict, legacyText } from '../xdr/dict.ts'
import { CBK, GF_CBK, HANDSHAKE } from '../xdr/programs.ts'
import type { Reader } from '../xdr/reader.ts'
import type { CallHeader } from '../xdr/rpc-msg.ts'
import { type Canceller, connect, type Ended, type Link } from './connect.ts'
import { type Connection, ConnectionStats, call, NO_LIMITS } from './connection.ts'
import type { TlsSettings } from './tls.ts'
import { type Address, type AddressFamily, addressText, DEFAULT_SOCKET } from './transport.ts'

/** Pause before connecting again. */
const RECONNECT_MS = 3000
/** Volfile servers remembered; glusterd names its peers besides those given. */
const SERVERS_MAX = 64
/** Op-versions (GlusterFS releases) of volumes this client can serve. */
const MIN_OP_VERSION = '1'
const MAX_OP_VERSION = '100000'
/** GETSPEC flag: we are a client. */
const FROM_CLIENT = 1

export interface ManagementOptions {
  /** In the order they are tried. */
  readonly servers: readonly Address[]
  /** Volume name, with or without a leading slash. */
  readonly volfileId: string
  readonly addressFamily?: AddressFamily
  readonly tls?: TlsSettings
  /** How long one server may take to answer, milliseconds. */
  readonly timeoutMs?: number
  readonly log?: Log
  /** A volfile whose text differs from the last one. */
  readonly onVolfile?: (text: string, source: string) => void
  /** The administrator asks for a state dump (`gluster volume statedump VOL client …`). */
  readonly onStatedump?: () => void
}

export interface FetchedVolfile {
  readonly text: string
  /** `host:port:volfile-id`, for messages. */
  readonly source: string
}

/** Why a fetch failed. `volume`: the server answered that there is no such volfile. */
interface Failure {
  readonly kind: 'unreachable' | 'protocol' | 'volume'
  readonly reason: string
  readonly errno?: Errno
}

export class ManagementConnection {
  readonly #options: ManagementOptions
  readonly #log: Log
  readonly #servers: Address[]
  readonly #stats = new ConnectionStats()
  readonly #canceller: Canceller = { cancel: undefined }
  readonly #timeoutMs: number
  #link: Link | undefined
  /** Index of the server in use. */
  #current = 0
  #text: string | undefined
  #closed = false
  #fetching = false
  /** Something changed while a fetch was under way, or before its answer was looked at. */
  #stale = false
  #pause: { timer: Timer; done: () => void } | undefined

  constructor(options: ManagementOptions) {
    this.#options = options
    this.#log = options.log ?? logFor('glusterfsd-mgmt')
    this.#servers = options.servers.slice(0, SERVERS_MAX)
    this.#timeoutMs = options.timeoutMs ?? 30_000
  }

  /** Host of the server in use; `undefined` for a local socket. */
  get host(): string | undefined {
    const server = this.#servers[this.#current]
    return server?.transport === 'tcp' ? server.host : undefined
  }

  /** Whether a server is connected. */
  get connected(): boolean {
    return this.#link?.connection.open === true
  }

  /**
   * The first volfile. Tries the servers in order; throws GlusterError SERVER_UNREACHABLE,
   * SERVER_PROTOCOL or VOLUME_UNKNOWN, which tells what became of each. Afterwards the connection
   * is kept, and made again when lost, until `close`.
   */
  async start(): Promise<FetchedVolfile> {
    const failures: { server: string; failure: Failure }[] = []
    for (const [index, server] of this.#servers.entries()) {
      if (this.#closed) break
      this.#current = index
      const fetched = await this.#fetchFrom(server)
      if ('text' in fetched) {
        this.#text = fetched.text
        this.#watch()
        this.#refetchStale()
        return fetched
      }
      failures.push({ server: addressText(server), failure: fetched })
      this.#log.error(`volfile server ${addressText(server)}: ${fetched.reason}`)
      // Another server would say the same of the volume.
      if (fetched.kind === 'volume') break
    }
    this.close()
    throw this.#startError(failures)
  }

  /** Asks for the volfile again; `onVolfile` follows if it has changed. */
  refetch(): void {
    const link = this.#link
    if (this.#closed) return
    if (link === undefined || this.#fetching) {
      this.#stale = true
      return
    }
    this.#fetching = true
    this.#fetch(link.connection, this.#servers[this.#current]!).then(
      (fetched) => this.#fetched(link, fetched),
      (error: unknown) => this.#log.error({ err: error }, 'refetching failed: this is a bug'),
    )
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#link?.connection.close('shutting down')
    this.#canceller.cancel?.('shutting down')
    this.#pause?.timer.clear()
    this.#pause?.done()
  }

  #startError(failures: readonly { server: string; failure: Failure }[]): GlusterError {
    const volumeId = this.#options.volfileId
    const last = failures.at(-1)?.failure
    if (last?.kind === 'volume') {
      const { server } = failures.at(-1)!
      const errno = last.errno ?? E.NOENT
      return new GlusterError('VOLUME_UNKNOWN', `${server}: volume '${volumeId}': ${last.reason}`, {
        errno,
      })
    }
    const list = failures.map(({ server, failure }) => `${server}: ${failure.reason}`).join('; ')
    const talked = failures.some(({ failure }) => failure.kind === 'protocol')
    const code = talked ? 'SERVER_PROTOCOL' : 'SERVER_UNREACHABLE'
    const tried = list === '' ? 'no server was given' : list
    return new GlusterError(code, `cannot fetch the volfile of '${volumeId}': ${tried}`)
  }

  async #fetchFrom(server: Address): Promise<FetchedVolfile | Failure> {
    const link = await this.#connect(server)
    if ('reason' in link) return { kind: 'unreachable', reason: unreachable(link) }
    const fetched = await this.#fetch(link.connection, server)
    if ('text' in fetched) this.#link = link
    else link.connection.close('no volfile')
    return fetched
  }

  #connect(server: Address): Promise<Link | Ended> {
    return connect(
      { address: server, family: this.#options.addressFamily ?? 'any' },
      {
        socket: { ...DEFAULT_SOCKET, tls: this.#options.tls },
        stats: this.#stats,
        limits: NO_LIMITS,
        log: this.#log,
        callback: (header, body) => this.#callback(header, body),
      },
      this.#timeoutMs,
      this.#canceller,
    )
  }

  /** One GETSPEC, bounded by the timeout: a silent server loses its connection. */
  async #fetch(connection: Connection, server: Address): Promise<FetchedVolfile | Failure> {
    const seconds = this.#timeoutMs / 1000
    const timer = clock.after(this.#timeoutMs, () =>
      connection.close(`no answer within ${seconds} seconds`),
    )
    const { volfileId } = this.#options
    const outcome = await call(connection, HANDSHAKE.GETSPEC, {
      flags: FROM_CLIENT,
      key: volfileId,
      xdata: legacyDict({ 'min-op-version': MIN_OP_VERSION, 'max-op-version': MAX_OP_VERSION }),
    })
    timer.clear()
    if ('errno' in outcome) {
      return { kind: 'protocol', reason: `accepted the connection, then: ${outcome.reason}` }
    }
    const { op_ret, op_errno, spec, xdata } = outcome.value
    // A too long volfile id is answered with a positive op_ret, an errno and no text.
    if (op_ret < 0 || spec === '') return volumeFailure(toErrno(op_errno))
    if (op_ret !== spec.length) {
      return { kind: 'protocol', reason: `a volfile of ${spec.length} bytes, announced ${op_ret}` }
    }
    this.#learnServers(xdata)
    return { text: spec, source: `${addressText(server)}:${volfileId}` }
  }

  /** glusterd may name its peers: they serve the same volfile. */
  #learnServers(xdata: LegacyDict | undefined): void {
    const text = legacyText(xdata, 'cluster.brick-vol-servers')
    if (text === undefined) return
    const known = new Set(this.#servers.map(addressText))
    for (const word of text.split(/\s+/)) {
      const match = /^\[?([^\s\]]+?)\]?:(\d{1,5})$/.exec(word)
      if (match === null || this.#servers.length >= SERVERS_MAX) continue
      const server: Address = { transport: 'tcp', host: match[1]!, port: Number(match[2]) }
      if (server.port < 1 || server.port > 65535 || known.has(addressText(server))) continue
      known.add(addressText(server))
      this.#servers.push(server)
    }
  }

  #fetched(link: Link, fetched: FetchedVolfile | Failure): void {
    this.#fetching = false
    if (this.#closed) return
    if ('text' in fetched) this.#deliver(fetched)
    else this.#log.warn(`refetching the volfile: ${fetched.reason}`)
    if (this.#link === link) this.#refetchStale()
  }

  #refetchStale(): void {
    if (!this.#stale) return
    this.#stale = false
    if (this.connected) this.refetch()
  }

  #deliver({ text, source }: FetchedVolfile): void {
    if (text === this.#text) return
    this.#text = text
    this.#log.info(`the volfile of ${source} has changed`)
    this.#options.onVolfile?.(text, source)
  }

  /** glusterd asks every client of the volume on the machine for a dump, and names the one. */
  #callback(header: CallHeader, body: Reader): void {
    if (header.prog !== GF_CBK.number) return
    if (header.proc === CBK.FETCHSPEC.number) this.refetch()
    else if (header.proc === CBK.STATEDUMP.number) {
      const { pid } = CBK.STATEDUMP.request.decode(body)
      if (pid === process.pid) this.#options.onStatedump?.()
    }
  }

  /** Keeps a connection until `close`. */
  #watch(): void {
    this.#keepConnected().catch((error: unknown) =>
      this.#log.error({ err: error }, 'the management connection failed: this is a bug'),
    )
  }

  async #keepConnected(): Promise<void> {
    while (!this.#closed) {
      if (this.#link !== undefined) {
        const { reason } = await this.#link.ended
        this.#link = undefined
        if (this.#closed) return
        this.#log.warn(`volfile server ${this.#currentText}: ${reason}`)
      }
      await this.#sleep()
      if (this.#closed) return
      await this.#reconnect()
    }
  }

  get #currentText(): string {
    return addressText(this.#servers[this.#current]!)
  }

  /** One attempt, at the server after the current one. */
  async #reconnect(): Promise<void> {
    this.#current = (this.#current + 1) % this.#servers.length
    const fetched = await this.#fetchFrom(this.#servers[this.#current]!)
    if (this.#closed) {
      this.#link?.connection.close('shutting down')
      return
    }
    if ('text' in fetched) {
      this.#log.info(`connected to volfile server ${this.#currentText}`)
      this.#deliver(fetched)
      this.#refetchStale()
    } else {
      this.#log.debug(`volfile server ${this.#currentText}: ${fetched.reason}`)
    }
  }

  async #sleep(): Promise<void> {
    await new Promise<void>((done) => {
      this.#pause = { timer: clock.after(RECONNECT_MS, done), done }
    })
    this.#pause = undefined
  }
}

function unreachable({ reason, code }: Ended): string {
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ENOENT') return 'the socket does not exist'
  return reason
}

function volumeFailure(errno: Errno): Failure {
  if (errno === E.NOENT) return { kind: 'volume', reason: 'the server does not know it', errno }
  if (errno === E.OPNOTSUPP) {
    return { kind: 'volume', reason: 'it needs a newer client (op-version)', errno }
  }
  return { kind: 'volume', reason: `the server refuses: ${errnoName(errno)}`, errno }
}
