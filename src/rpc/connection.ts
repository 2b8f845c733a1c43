/**
 * One connection to an RPC peer: calls out, replies in by xid, callbacks from the peer, pings and
 * time limits. It lives from connect to close; who wants another connects anew.
 */
import { assert } from '../core/assert.ts'
import { clock, NEVER, type Timer } from '../core/clock.ts'
import { E, type Errno } from '../core/errno.ts'
import { type Creds, ROOT_CREDS } from '../core/frame.ts'
import { loanOf } from '../core/loan.ts'
import { type Log, logFor } from '../observe/log.ts'
import { DUMP, FOP, type Procedure } from '../xdr/programs.ts'
import { READ_REPLY_SIZE_MIN, readReplyBodySize } from '../xdr/read-reply.ts'
import { Reader, XdrError } from '../xdr/reader.ts'
import { AUTH_GLUSTERFS_V2, type AuthFlavor } from '../xdr/rpc-auth.ts'
import {
  CALL,
  type CallHeader,
  decodeHeader,
  encodeCall,
  type ReplyHeader,
} from '../xdr/rpc-msg.ts'
import { Writer } from '../xdr/writer.ts'
import { RecordReader } from './record.ts'
import { type Address, addressText, type SocketSettings, Transport } from './transport.ts'

/** Calls under way on one connection; more are refused. */
export const PENDING_CALLS_MAX = 65_536
/** Late replies of calls given up that are recognised as such. */
const EXPIRED_CALLS_MAX = 1024
const FRAME_SCAN_MS = 10_000
/**
 * Below, receiving head and payload with one system call is cheaper (CPU per READ at depth 16:
 * 4 KiB 16 against 30 us; 128 KiB 95 either way, but then in one piece instead of two).
 */
const LARGE_PAYLOAD_MIN = 64 * 1024
/** Bytes of a successful reply's header: xid, type, status, empty verifier, accept_stat. */
const REPLY_HEADER_BYTES = 24
const READ_HEAD_BYTES = REPLY_HEADER_BYTES + READ_REPLY_SIZE_MIN

/** A call under way. The connection calls exactly one of `reply` and `fail`, once. */
export abstract class Pending<Q = unknown, P = unknown> {
  xid = 0
  /** Monotonic ms. */
  sentAt = NEVER
  readonly procedure: Procedure<Q, P>
  /** Its reply may end with raw bytes. */
  readonly payload: boolean
  /** Probably so many that they should be received into a buffer of their own. */
  readonly large: boolean

  /** `payloadSize`: raw bytes asked for. */
  constructor(procedure: Procedure<Q, P>, payloadSize = 0) {
    this.procedure = procedure
    this.payload = (procedure as Procedure) === READ
    this.large = payloadSize >= LARGE_PAYLOAD_MIN
  }

  /** Nobody waits for it: it may be sent a little later, with other calls to that peer. */
  get deferrable(): boolean {
    return false
  }

  /** May wait for its reply longer than the frame timeout: a lock somebody else holds. */
  get patient(): boolean {
    return false
  }

  /** The result's bytes. A throw of XdrError ends the connection; `fail(EIO)` follows. */
  abstract reply(body: Reader, payload: Buffer[]): void
  abstract fail(errno: Errno, reason: string): void
}

const READ = FOP.READ as unknown as Procedure

/** What outlives a single connection: counters for state dumps, and the next xid. */
export class ConnectionStats {
  xid = 1
  bytesRead = 0
  bytesWritten = 0
  messagesSent = 0
  pingsSent = 0
}

export interface Limits {
  /** Seconds; 0 = no pings. */
  readonly pingTimeout: number
  /** A ping was answered after so many milliseconds. */
  pinged?(latencyMs: number): void
  /** Seconds a call may wait for its reply; 0 = for ever. */
  readonly frameTimeout: number
}

export const NO_LIMITS: Limits = { pingTimeout: 0, frameTimeout: 0 }

export interface ConnectionOptions {
  readonly address: Address
  readonly socket: SocketSettings
  readonly stats: ConnectionStats
  /** Looked at whenever it matters, so that it may change. */
  readonly limits: Limits
  readonly log?: Log
  connected(): void
  /** The peer called a procedure of ours. A throw of XdrError ends the connection. */
  callback(header: CallHeader, body: Reader): void
  /** Once; all pending calls have failed with ENOTCONN. `code` is a system error name. */
  closed(reason: string, code: string | undefined): void
}

type State = 'connecting' | 'open' | 'closed'

export class Connection {
  readonly #options: ConnectionOptions
  readonly #log: Log
  readonly #stats: ConnectionStats
  readonly #transport: Transport
  readonly #writer = new Writer()
  readonly #reader = new Reader(Buffer.alloc(0))
  /** v3 once the peer has told that it knows the 4.x file operations. */
  auth: AuthFlavor = AUTH_GLUSTERFS_V2
  readonly #pending = new Map<number, Pending>()
  readonly #expired = new Set<number>()
  /** Encoded calls and payloads that wait for the end of the turn. */
  #out: Buffer[] = []
  #state: State = 'connecting'
  #pendingLarge = 0
  #lastWasLarge = false
  #lastReceived = NEVER
  #drained = 0
  #ping: Timer | undefined
  #pingAnswered = true
  #pingSent = NEVER
  #frameScan: Timer | undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#log = options.log ?? logFor('rpc')
    this.#stats = options.stats
    const { address, socket } = options
    const reader = new RecordReader(this)
    this.#transport = new Transport(address, socket, reader, this, this.#log)
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  get peer(): string {
    return addressText(this.#options.address)
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  /**
   * Sends a call. `payload` follows the body raw. False when it was not sent: the connection is not
   * open, too many calls are under way, or the wire cannot carry a value; `pending.fail` was
   * called.
   */
  submit<Q, P>(
    pending: Pending<Q, P>,
    creds: Creds,
    body: Q,
    payload?: readonly Buffer[],
  ): boolean {
    if (this.#state !== 'open') {
      pending.fail(E.NOTCONN, 'not connected')
      return false
    }
    if (this.#pending.size >= PENDING_CALLS_MAX) {
      this.#log.error({ peer: this.peer }, `${PENDING_CALLS_MAX} calls wait for replies`)
      pending.fail(E.NOBUFS, 'too many calls under way')
      return false
    }
    const xid = this.#nextXid()
    if (!this.#encode(pending, xid, creds, body, payload)) return false
    pending.xid = xid
    pending.sentAt = clock.now()
    this.#pending.set(xid, pending as Pending)
    if (pending.large) this.#pendingLarge++
    this.#stats.messagesSent++
    if (pending.deferrable) this.#transport.scheduleLate(this.#drain)
    else this.#transport.schedule(this.#drain)
    this.#watch()
    return true
  }

  /** Gives the call up: its reply will be ignored. False when it is no longer under way. */
  abandon(pending: Pending, errno: Errno, reason: string): boolean {
    if (this.#pending.get(pending.xid) !== pending) return false
    this.#forget(pending)
    if (this.#expired.size >= EXPIRED_CALLS_MAX) {
      for (const oldest of this.#expired) {
        this.#expired.delete(oldest)
        break
      }
    }
    this.#expired.add(pending.xid)
    pending.fail(errno, reason)
    return true
  }

  close(reason: string, code?: string): void {
    this.#transport.close(reason, code)
  }

  // -- what the transport tells

  connected(): void {
    this.#state = 'open'
    this.#lastReceived = clock.now()
    this.#options.connected()
  }

  closed(reason: string, code: string | undefined): void {
    assert(this.#state !== 'closed', 'connection closed twice')
    this.#state = 'closed'
    this.#ping?.clear()
    this.#frameScan?.clear()
    for (const part of this.#out) loanOf(part)?.drop()
    this.#out = []
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    this.#pendingLarge = 0
    for (const call of pending) call.fail(E.NOTCONN, reason)
    this.#options.closed(reason, code)
  }

  // -- what the record reader asks and tells

  get expectedHead(): number {
    return this.#pendingLarge > 0 || this.#lastWasLarge ? READ_HEAD_BYTES : 0
  }

  headLength(head: Buffer, length: number): number {
    if (head.length < 8) return head.length === length ? length : -1
    const pending = this.#pending.get(head.readUInt32BE(0))
    const isReply = head.readUInt32BE(4) === 1
    if (!isReply || pending === undefined || !pending.payload) return length
    if (length < READ_HEAD_BYTES) return length
    if (head.length < READ_HEAD_BYTES) return -1
    // Anything but an accepted call with an empty verifier has no payload.
    for (let at = 8; at < REPLY_HEADER_BYTES; at += 4)
      if (head.readUInt32BE(at) !== 0) return length
    try {
      const bodySize = readReplyBodySize(this.#reader.reset(head, REPLY_HEADER_BYTES))!
      return Math.min(length, REPLY_HEADER_BYTES + bodySize)
    } catch {
      // Decoding the record as a whole will say what is wrong.
      return length
    }
  }

  record(head: Buffer, payload: Buffer[]): void {
    this.#lastReceived = clock.now()
    this.#stats.bytesRead += head.length + 4
    let payloadBytes = 0
    for (const part of payload) payloadBytes += part.length
    this.#stats.bytesRead += payloadBytes
    this.#lastWasLarge = payloadBytes >= LARGE_PAYLOAD_MIN
    const reader = this.#reader.reset(head)
    try {
      const header = decodeHeader(reader)
      if (header.type === CALL) this.#options.callback(header, reader)
      else this.#reply(header, reader, payload)
    } catch (error) {
      if (error instanceof XdrError) this.malformed(error.message)
      else this.#log.error({ peer: this.peer, err: error }, 'a message was not handled: a bug')
    }
  }

  malformed(reason: string): void {
    if (this.#state === 'closed') return
    this.#log.error({ peer: this.peer }, `not what the protocol allows: ${reason}; disconnecting`)
    this.#transport.close(`protocol error: ${reason}`, 'EPROTO')
  }

  // -- calls

  #nextXid(): number {
    do this.#stats.xid = (this.#stats.xid + 1) >>> 0
    while (this.#pending.has(this.#stats.xid) || this.#expired.has(this.#stats.xid))
    return this.#stats.xid
  }

  /** Writes the record, or fails the call when the wire cannot carry it. */
  #encode<Q, P>(
    pending: Pending<Q, P>,
    xid: number,
    creds: Creds,
    body: Q,
    payload: readonly Buffer[] | undefined,
  ): boolean {
    const w = this.#writer
    const start = w.position
    let payloadSize = 0
    if (payload !== undefined) for (const part of payload) payloadSize += part.length
    try {
      const { procedure } = pending
      const errno = encodeCall(w, xid, procedure, this.auth, creds, body, payloadSize)
      if (errno !== 0) {
        pending.fail(errno, `lock owner of ${creds.lkOwner.length} bytes`)
        return false
      }
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      this.#log.warn({ peer: this.peer }, `${pending.procedure.name}: ${error.message}`)
      pending.fail(E.INVAL, error.message)
      return false
    }
    this.#stats.bytesWritten += w.position - start + payloadSize
    if (payload !== undefined) {
      this.#out.push(w.take(), ...payload)
      for (const part of payload) loanOf(part)?.hold()
    } else if (this.#transport.separateRecords) this.#out.push(w.take())
    return true
  }

  /** Everything queued in this turn: adjacent calls are one buffer. */
  readonly #drain = (): Buffer[] => {
    const out = this.#out
    this.#out = []
    if (this.#writer.position > 0) out.push(this.#writer.take())
    return out
  }

  #forget(pending: Pending): void {
    this.#pending.delete(pending.xid)
    if (pending.large) this.#pendingLarge--
  }

  #reply(header: ReplyHeader, reader: Reader, payload: Buffer[]): void {
    const { xid, stat } = header
    const pending = this.#pending.get(xid)
    if (pending === undefined) {
      if (this.#expired.delete(xid)) return
      throw new XdrError('xid', 0, `reply (${stat}) to call ${xid}, which was never made`)
    }
    this.#forget(pending)
    if (stat !== 'SUCCESS') {
      this.#log.warn({ peer: this.peer }, `${pending.procedure.name} refused: ${stat}`)
      pending.fail(E.NOTCONN, stat)
      return
    }
    try {
      pending.reply(reader, payload)
    } catch (error) {
      pending.fail(E.IO, (error as Error).message)
      if (error instanceof XdrError) throw replyError(pending.procedure, error)
      this.#log.error({ peer: this.peer, err: error }, 'reading a reply failed: this is a bug')
    }
  }

  // -- time limits

  /** A call was made: pings go on while calls are under way, and the oldest is looked at. */
  #watch(): void {
    if (this.#ping === undefined && this.#options.limits.pingTimeout > 0) {
      this.#armPing()
      this.#sendPing()
    }
    if (this.#frameScan === undefined && this.#options.limits.frameTimeout > 0) {
      this.#frameScan = clock.after(FRAME_SCAN_MS, this.#scanFrames, true)
    }
  }

  #armPing(): void {
    this.#ping = clock.after(this.#options.limits.pingTimeout * 1000, this.#pingDue, true)
  }

  #sendPing(): void {
    this.#pingAnswered = false
    this.#pingSent = clock.now()
    this.#drained = this.#sentBytes()
    this.#stats.pingsSent++
    this.submit(new PingCall(this.#onPong), ROOT_CREDS, {})
  }

  readonly #onPong = (): void => {
    this.#pingAnswered = true
    this.#options.limits.pinged?.(clock.now() - this.#pingSent)
    this.#ping?.clear()
    this.#armPing()
  }

  readonly #pingDue = (): void => {
    this.#ping = undefined
    if (this.#state !== 'open') return
    const limitMs = this.#options.limits.pingTimeout * 1000
    if (this.#pingAnswered) {
      if (this.#pending.size === 0) return
      this.#armPing()
      this.#sendPing()
      return
    }
    // Signs of life: something came within the limit, or the peer takes in what is queued.
    const draining = this.#transport.queuedBytes > 0 && this.#sentBytes() > this.#drained
    if (draining || clock.now() - this.#lastReceived < limitMs) {
      this.#drained = this.#sentBytes()
      this.#armPing()
      return
    }
    this.#log.error(
      { peer: this.peer },
      `no answer for ${this.#options.limits.pingTimeout} seconds; disconnecting`,
    )
    this.#transport.close('ping timeout', 'ETIMEDOUT')
  }

  #sentBytes(): number {
    return this.#stats.bytesWritten - this.#transport.queuedBytes
  }

  readonly #scanFrames = (): void => {
    this.#frameScan = undefined
    if (this.#state !== 'open') return
    const oldest = clock.now() - this.#options.limits.frameTimeout * 1000
    for (const call of this.#pending.values()) {
      // Calls are in the order they were sent.
      if (call.sentAt > oldest) break
      if (call.patient) continue
      const reason = `no reply within ${this.#options.limits.frameTimeout} seconds`
      this.#log.error({ peer: this.peer, xid: call.xid }, `${call.procedure.name}: ${reason}`)
      this.abandon(call, E.NOTCONN, reason)
    }
    if (this.#pending.size > 0) {
      this.#frameScan = clock.after(FRAME_SCAN_MS, this.#scanFrames, true)
    }
  }
}

function replyError(procedure: Procedure, error: XdrError): XdrError {
  return new XdrError(`reply to ${procedure.name}: ${error.field}`, error.offset, error.why)
}

class PingCall extends Pending {
  readonly #answered: () => void

  constructor(answered: () => void) {
    super(DUMP.PING as Procedure)
    this.#answered = answered
  }

  reply(): void {
    this.#answered()
  }

  fail(): void {}
}

/** What became of a call: the reply's value, or why there is none. */
export type Outcome<P> = { readonly value: P } | { readonly errno: Errno; readonly reason: string }

/** A call whose reply is looked at as it is: handshakes. */
class PlainCall<Q, P> extends Pending<Q, P> {
  readonly #done: (outcome: Outcome<P>) => void

  constructor(procedure: Procedure<Q, P>, done: (outcome: Outcome<P>) => void) {
    super(procedure)
    this.#done = done
  }

  reply(body: Reader): void {
    this.#done({ value: this.procedure.reply.decode(body) })
  }

  fail(errno: Errno, reason: string): void {
    this.#done({ errno, reason })
  }
}

/** Calls `procedure` as root; never rejects. Ends when the connection does. */
export function call<Q, P>(
  connection: Connection,
  procedure: Procedure<Q, P>,
  body: Q,
): Promise<Outcome<P>> {
  return new Promise((resolve) => {
    connection.submit(new PlainCall(procedure, resolve), ROOT_CREDS, body)
  })
}

/** A call nobody waits for, whatever comes of it. */
class Notice<Q, P> extends Pending<Q, P> {
  override get deferrable(): boolean {
    return true
  }

  reply(body: Reader): void {
    this.procedure.reply.decode(body)
  }

  fail(): void {}
}

/** Tells the peer as root, with the next call to it or a few milliseconds later. */
export function tell<Q, P>(connection: Connection, procedure: Procedure<Q, P>, body: Q): void {
  connection.submit(new Notice(procedure), ROOT_CREDS, body)
}
