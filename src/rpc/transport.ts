/**
 * A byte stream to a peer: TCP, UNIX socket or TLS. Receives into the windows of a RecordReader
 * and sends what was queued during a turn of the event loop at once, with that for other peers.
 */
import { lookup } from 'node:dns'
import {
  connect as connectSocket,
  type NetConnectOpts,
  type OnReadOpts,
  type Socket,
} from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { busyPoll } from '../core/busy-poll.ts'
import { clock } from '../core/clock.ts'
import { loanOf } from '../core/loan.ts'
import { type Log, logFor } from '../observe/log.ts'
import { forgetConnection, keepConnection } from './last-words.ts'
import type { RecordReader } from './record.ts'
import { type Sending, sendTogether } from './send-batch.ts'
import { type SocketTuning, tuneSocket } from './sockopt.ts'
import {
  certificateRefused,
  NOT_TLS,
  PLAIN_HINT,
  type TlsSettings,
  tlsFailure,
  tlsOptions,
  tooDeep,
} from './tls.ts'

export type Address =
  | { readonly transport: 'tcp'; readonly host: string; readonly port: number }
  | { readonly transport: 'unix'; readonly path: string }

export type AddressFamily = 'inet' | 'inet6' | 'any'

export interface SocketSettings extends SocketTuning {
  /** Whether the kernel probes a peer it hears nothing of. */
  readonly keepalive: boolean
  /** Seconds without traffic before the first keepalive probe. */
  readonly keepaliveTime: number
  /** Small writes are sent at once. */
  readonly noDelay: boolean
  /** Local address to connect from. */
  readonly sourceAddress?: string | undefined
  /** Bind to a port below 1024, for servers that accept nothing else. */
  readonly privilegedPort: boolean
  readonly tls?: TlsSettings | undefined
}

export const DEFAULT_SOCKET: SocketSettings = {
  keepalive: true,
  keepaliveTime: 20,
  noDelay: true,
  windowBytes: 0,
  keepaliveInterval: 2,
  keepaliveCount: 9,
  userTimeoutMs: 42_000,
  privilegedPort: false,
}

const PRIVILEGED_PORT_MAX = 1023
const PRIVILEGED_PORT_MIN = 512
const ADDRESSES_MAX = 64

export function addressText(address: Address): string {
  if (address.transport === 'unix') return address.path
  return address.host.includes(':')
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`
}

/** The numeric addresses of `host`, in the resolver's order. The error of getaddrinfo otherwise. */
export function resolveHost(
  host: string,
  family: AddressFamily,
  done: (error: Error | undefined, addresses: readonly string[]) => void,
): void {
  const wanted = family === 'inet' ? 4 : family === 'inet6' ? 6 : 0
  lookup(host, { all: true, family: wanted }, (error, found) => {
    if (error !== null) done(error, [])
    else
      done(
        undefined,
        found.slice(0, ADDRESSES_MAX).map(({ address }) => address),
      )
  })
}

export interface TransportEvents {
  connected(): void
  /** Called once, whatever ended it. */
  closed(reason: string, code: string | undefined): void
}

/** Drops the buffer's loan, which the queue held, when the kernel has the bytes or never will. */
function send(socket: Socket, buffer: Buffer, loan = loanOf(buffer)): void {
  if (loan === undefined) socket.write(buffer)
  else socket.write(buffer, loan.drop)
}

/** -1 as soon as Node has closed it: the number may mean another socket then. */
const descriptorOf = (socket: Socket): number =>
  (socket as { _handle?: { fd?: number } | null })._handle?.fd ?? -1

/** Those with something to send when this turn's work is done. */
let scheduled: Transport[] = []

function schedule(transport: Transport): void {
  scheduled.push(transport)
  // A tick queued from a microtask runs when all promise reactions of this turn have run, so
  // that one system call carries every call they made, whichever peers they are for.
  if (scheduled.length === 1) queueMicrotask(afterMicrotasks)
}

/** How long what nobody waits for may wait for company, ms: it saves the peer a wake-up. */
const LATE_MS = 5

/** Those with something nobody waits for. */
let late: Transport[] = []

function scheduleLate(transport: Transport): void {
  late.push(transport)
  if (late.length === 1) clock.after(LATE_MS, sendLate, true)
}

function sendLate(): void {
  const transports = late
  late = []
  for (const transport of transports) transport.sendLate()
}

const afterMicrotasks = (): void => process.nextTick(flush)

function flush(): void {
  const transports = scheduled
  scheduled = []
  const together: (Sending & { transport: Transport })[] = []
  for (const transport of transports) {
    const buffers = transport.gather()
    if (buffers.length === 0) continue
    const fd = transport.readyFd
    if (fd < 0) {
      transport.send(buffers, 0)
      continue
    }
    let size = 0
    for (const { length } of buffers) size += length
    together.push({ transport, fd, buffers, size, taken: 0 })
  }
  sendTogether(together)
  busyPoll.sent()
  for (const { transport, buffers, size, taken } of together) {
    if (taken < size) transport.send(buffers, taken)
    else for (const buffer of buffers) loanOf(buffer)?.drop()
  }
}

/** One socket, from connect to close. */
export class Transport {
  readonly address: Address
  readonly #reader: RecordReader
  readonly #events: TransportEvents
  readonly #settings: SocketSettings
  readonly #log: Log
  #socket: Socket
  #localPort: number
  #connected = false
  /** The peer has said something. */
  #heard = false
  #closed = false
  /** Gathers what was queued for sending; given by the connection, asked once a turn. */
  #drain: (() => Buffer[]) | undefined
  #scheduled = false
  #late = false

  constructor(
    address: Address,
    settings: SocketSettings,
    reader: RecordReader,
    events: TransportEvents,
    log: Log = logFor('transport'),
  ) {
    this.address = address
    this.#settings = settings
    this.#reader = reader
    this.#events = events
    this.#log = log
    const privileged = settings.privilegedPort && address.transport === 'tcp'
    this.#localPort = privileged ? PRIVILEGED_PORT_MAX : 0
    this.#socket = this.#open()
  }

  /**
   * Every record must leave in a write of its own. A stock server reads one RPC record per event;
   * others that came in the same TLS record then wait inside OpenSSL, where no event tells of them.
   */
  get separateRecords(): boolean {
    return this.#settings.tls !== undefined
  }

  /** Bytes the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.#socket.writableLength
  }

  /** Asks for `drain()` when the current turn's work is done, and sends what it gives. */
  schedule(drain: () => Buffer[]): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#drain = drain
    schedule(this)
  }

  /** As `schedule`, but not for a few milliseconds if nothing else is to be sent before. */
  scheduleLate(drain: () => Buffer[]): void {
    if (this.#scheduled || this.#late) return
    this.#late = true
    this.#drain = drain
    scheduleLate(this)
  }

  sendLate(): void {
    this.#late = false
    if (this.#drain !== undefined) this.schedule(this.#drain)
  }

  /** What is to be sent; nothing when it has ended meanwhile. */
  gather(): Buffer[] {
    this.#scheduled = false
    const drain = this.#drain
    return drain === undefined || this.#closed || !this.#connected ? [] : drain()
  }

  /** The descriptor, if bytes may be handed to the kernel now, past Node's stream; else -1. */
  get readyFd(): number {
    const socket = this.#socket
    return this.separateRecords || socket.writableLength > 0 ? -1 : descriptorOf(socket)
  }

  /** Sends `buffers` but for the first `skip` bytes, which the kernel has. */
  send(buffers: readonly Buffer[], skip: number): void {
    const socket = this.#socket
    const corks = buffers.length > 1 && !this.separateRecords
    if (corks) socket.cork()
    let left = skip
    for (const buffer of buffers) {
      if (left >= buffer.length) loanOf(buffer)?.drop()
      else if (left === 0) send(socket, buffer)
      else send(socket, buffer.subarray(left), loanOf(buffer))
      left = Math.max(0, left - buffer.length)
    }
    if (corks) socket.uncork()
  }

  /** Ends it; `closed` follows unless it has ended before. */
  close(reason: string, code?: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#drain = undefined
    this.#reader.stop()
    this.#socket.destroy()
    forgetConnection(this)
    this.#events.closed(reason, code)
  }

  #open(): Socket {
    const { address } = this
    const settings = this.#settings
    const reader = this.#reader
    const onread: OnReadOpts = {
      // Called for the first read and after each: a fresh window every time.
      buffer: (() => reader.window()) as unknown as () => Buffer,
      callback: (count: number) => {
        this.#heard = true
        busyPoll.arrived()
        reader.received(count)
        return true
      },
    }
    const socket = this.#connect(address, settings, onread)
    socket.on('error', (error: NodeJS.ErrnoException) => this.#failed(socket, error))
    socket.on('end', () => this.#ended(socket, 'closed by the peer'))
    socket.on('close', () => this.#ended(socket, 'closed'))
    socket.on(settings.tls !== undefined ? 'secureConnect' : 'connect', () => this.#ready(socket))
    return socket
  }

  #connect(address: Address, settings: SocketSettings, onread: OnReadOpts): Socket {
    if (address.transport === 'unix') {
      return connectSocket({ path: address.path, onread } as NetConnectOpts)
    }
    const target = {
      host: address.host,
      port: address.port,
      noDelay: settings.noDelay,
      keepAlive: settings.keepalive,
      keepAliveInitialDelay: settings.keepaliveTime * 1000,
      ...(settings.sourceAddress === undefined ? {} : { localAddress: settings.sourceAddress }),
      ...(this.#localPort > 0 ? { localPort: this.#localPort } : {}),
      onread,
    }
    const { tls } = settings
    if (tls === undefined) return connectSocket(target)
    const socket = connectTls({ ...target, ...tlsOptions(tls) })
    // Without it, writes that wait for each other are not joined.
    Object.assign(socket, { _writev: null })
    return socket
  }

  #ready(socket: Socket): void {
    if (socket !== this.#socket || this.#closed) return
    const { tls } = this.#settings
    if (tls !== undefined) {
      const why = tooDeep(socket as TLSSocket, tls)
      if (why !== undefined) {
        this.close(`TLS: ${why}`)
        return
      }
    }
    this.#connected = true
    if (tls !== undefined) this.#tuneTls(socket)
    const fd = descriptorOf(socket)
    if (fd >= 0) keepConnection(this, fd)
    if (this.address.transport === 'tcp' && !tuneSocket(socket, this.#settings)) {
      this.#log.warn('the kernel refused a keepalive, user-timeout or window size setting')
    }
    this.#events.connected()
  }

  /** Node takes these from the options of plain sockets only. */
  #tuneTls(socket: Socket): void {
    const { keepalive, keepaliveTime, noDelay } = this.#settings
    socket.setNoDelay(noDelay)
    socket.setKeepAlive(keepalive, keepaliveTime * 1000)
  }

  #failed(socket: Socket, error: NodeJS.ErrnoException): void {
    if (socket !== this.#socket || this.#closed) return
    if (!this.#connected && this.#localPort > 0 && this.#nextLocalPort(error.code)) {
      socket.destroy()
      this.#socket = this.#open()
      return
    }
    const { tls } = this.#settings
    const hungUp = error.code === 'ECONNRESET' || error.code === 'EPIPE'
    const told = tls === undefined ? error.message : tlsFailure(error, tls)
    this.close(hungUp ? this.#whyHungUp(error.message) : told, error.code)
  }

  /** What it means that the peer ended the connection, if that was before it said anything. */
  #whyHungUp(otherwise: string): string {
    const { tls } = this.#settings
    if (this.#heard || this.address.transport === 'unix') return otherwise
    if (tls === undefined) return this.#connected ? PLAIN_HINT : otherwise
    // What the peer thinks of our certificate comes after the handshake is done for us.
    return this.#connected ? certificateRefused(tls) : NOT_TLS
  }

  /** Another source port to try after `code`; false when that was not the trouble. */
  #nextLocalPort(code: string | undefined): boolean {
    if (code === 'EACCES' || code === 'EPERM') this.#localPort = 0
    else if (code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL') {
      this.#localPort = this.#localPort > PRIVILEGED_PORT_MIN ? this.#localPort - 1 : 0
    } else return false
    if (this.#localPort === 0) {
      this.#log.warn(
        { peer: addressText(this.address), code },
        'no port below 1024 could be bound: connecting from an ordinary port',
      )
    }
    return true
  }

  #ended(socket: Socket, reason: string): void {
    if (socket === this.#socket) this.close(this.#whyHungUp(reason))
  }
}
