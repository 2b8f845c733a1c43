/**
 * A listener and its connections: reads calls, answers what every server answers itself (DUMP,
 * PING, unknown programs) and hands the rest to the program's service.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { GlusterError } from '../core/errors.ts'
import type { Log } from '../observe/log.ts'
import { DUMP, findProcedure, GF_DUMP, type Procedure, type Program } from '../xdr/programs.ts'
import { Reader, XdrError } from '../xdr/reader.ts'
import {
  beginCall,
  beginReply,
  CALL,
  type CallHeader,
  decodeHeader,
  endRecord,
  type ReplyStat,
} from '../xdr/rpc-msg.ts'
import { Writer } from '../xdr/writer.ts'
import { type Record, RecordCutter } from './records.ts'

/** Connections of one listener. */
const CONNECTIONS_MAX = 4096
/** Calls of one connection that are carried out at a time; more wait in the socket. */
const OUTSTANDING_CALLS_MAX = 1024
/** File data that the calls of one connection may hold at a time; more wait in the socket. */
const OUTSTANDING_BYTES_MAX = 32 * 2 ** 20
/** Reply bytes a client may leave unread before its calls wait. */
const UNREAD_BYTES_MAX = 8 * 2 ** 20
/** Callbacks to a client that does not read are dropped beyond this many bytes. */
const CALLBACK_BACKLOG_MAX = 2 * UNREAD_BYTES_MAX
/** Head of a call in which a WRITE's length is found: header, credential, fixed fields. */
const PEEK_BYTES = 512
const SILENT_PEER_MS = 20_000
const EMPTY = Buffer.alloc(0)

/** A call for a service. Exactly one of `reply` and `refuse` must follow. */
export interface Call {
  readonly connection: ServerConnection
  readonly header: CallHeader
  readonly procedure: Procedure
  /** The arguments; valid until control returns to the event loop. */
  readonly body: Reader
  /** Raw bytes after the arguments; the service's own. */
  readonly payload: Buffer[]
  /** Counts among the calls that are carried out at a time. */
  readonly counted: boolean
  /** Bytes of file data it holds until it is answered. */
  readonly cost: number
}

export interface Service {
  readonly program: Program
  /** May throw XdrError for arguments that make no sense. */
  call(call: Call): void
}

export interface ListenerOptions {
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
  readonly services: readonly Service[]
  readonly log: Log
  /** Bytes at the end of a call's record that are raw data; given its header and arguments. */
  readonly payloadSize?: (header: CallHeader, body: Reader) => number
  /** Bytes of file data a call holds until it is answered; given its header and arguments. */
  readonly cost?: (header: CallHeader, body: Reader) => number
  /**
   * It may wait for another call of the same client (an unlock), which must be read meanwhile: not
   * counted among the calls carried out at a time.
   */
  readonly waits?: (procedure: Procedure) => boolean
  closed?(connection: ServerConnection): void
}

export class Listener {
  readonly options: ListenerOptions
  readonly connections = new Set<ServerConnection>()
  readonly #server: Server

  private constructor(options: ListenerOptions, server: Server) {
    this.options = options
    this.#server = server
    server.on('connection', (socket: Socket) => this.#accept(socket))
    server.on('error', (error) => options.log.error({ err: error }, 'listener'))
  }

  /** Throws GlusterError LISTEN_FAILED naming the port. */
  static open(options: ListenerOptions): Promise<Listener> {
    const server = createServer({ noDelay: true, keepAlive: true })
    return new Promise((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const why = cause.code === 'EADDRINUSE' ? 'it is taken by another program' : cause.message
        const text = `cannot listen on ${options.host}:${options.port}: ${why}`
        reject(new GlusterError('LISTEN_FAILED', text, { cause }))
      })
      server.listen(options.port, options.host, () => {
        server.removeAllListeners('error')
        resolve(new Listener(options, server))
      })
    })
  }

  get port(): number {
    const address = this.#server.address()
    return address !== null && typeof address === 'object' ? address.port : 0
  }

  close(): void {
    this.#server.close()
    for (const connection of [...this.connections]) connection.close('the server stops')
  }

  #accept(socket: Socket): void {
    if (this.connections.size >= CONNECTIONS_MAX) {
      this.options.log.warn(`more than ${CONNECTIONS_MAX} connections: one is refused`)
      socket.destroy()
      return
    }
    socket.setKeepAlive(true, SILENT_PEER_MS)
    this.connections.add(new ServerConnection(this, socket))
  }
}

/** One client's socket. */
export class ServerConnection {
  readonly listener: Listener
  /** `host:port` of the client. */
  readonly peer: string
  readonly host: string
  closed = false
  readonly #socket: Socket
  readonly #cutter: RecordCutter
  readonly #writer = new Writer()
  #out: Buffer[] = []
  #outBytes = 0
  #flushing = false
  #outstanding = 0
  #outstandingBytes = 0
  #callbackXid = 1
  /** Too much is under way: nothing more is read. */
  #busy = false

  constructor(listener: Listener, socket: Socket) {
    this.listener = listener
    this.#socket = socket
    this.host = (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
    this.peer = `${this.host}:${socket.remotePort ?? 0}`
    this.#cutter = new RecordCutter((record) => this.#record(record))
    socket.on('data', (chunk: Buffer) => this.#received(chunk))
    socket.on('error', (error) => this.close(error.message))
    socket.on('close', () => this.close('closed by the client'))
    socket.on('drain', () => this.#throttle())
  }

  close(reason: string): void {
    if (this.closed) return
    this.closed = true
    this.#cutter.stop()
    this.#socket.destroy()
    this.listener.connections.delete(this)
    this.listener.options.log.debug(`connection of ${this.peer} ended: ${reason}`)
    this.listener.options.closed?.(this)
  }

  /** Answers a call. Throws XdrError when a value cannot be sent; nothing is sent then. */
  reply<P>(call: Call, procedure: Procedure<unknown, P>, rsp: P, payload: Buffer[] = []): void {
    const w = this.#writer
    const start = w.position
    let payloadSize = 0
    for (const part of payload) payloadSize += part.length
    try {
      beginReply(w, call.header.xid, 'SUCCESS')
      procedure.reply.encode(w, rsp)
      endRecord(w, start, payloadSize)
    } catch (error) {
      w.reset(start)
      throw error
    }
    this.#send(payload)
    this.#done(call)
  }

  /** Answers that there is no result. */
  refuse(call: Call, stat: ReplyStat): void {
    this.#refuse(call.header.xid, stat)
    this.#done(call)
  }

  /** Calls the client; nothing comes back. Dropped when the client does not read. */
  callback<Q>(procedure: Procedure<Q, unknown>, body: Q): void {
    if (this.closed || this.#socket.writableLength > CALLBACK_BACKLOG_MAX) return
    const w = this.#writer
    const start = w.position
    try {
      beginCall(w, this.#callbackXid, procedure)
      // Neither credential nor verifier.
      for (let i = 0; i < 4; i++) w.u32(0)
      procedure.request.encode(w, body)
      endRecord(w, start)
    } catch (error) {
      w.reset(start)
      this.listener.options.log.error({ err: error }, `${procedure.name} cannot be sent`)
      return
    }
    this.#callbackXid = (this.#callbackXid + 1) >>> 0
    this.#send([])
  }

  #refuse(xid: number, stat: ReplyStat, detail: readonly number[] = []): void {
    const start = this.#writer.position
    beginReply(this.#writer, xid, stat, detail)
    endRecord(this.#writer, start)
    this.#send([])
  }

  #record(record: Record): void {
    const { options } = this.listener
    try {
      const peek = new Reader(record.head(PEEK_BYTES))
      const header = decodeHeader(peek)
      if (header.type !== CALL) {
        this.close('a reply where calls are expected')
        return
      }
      const payloadSize = options.payloadSize?.(header, peek) ?? 0
      // A lie about the size shows when the arguments are decoded.
      const headSize = record.length - (payloadSize <= record.length ? payloadSize : 0)
      const body = new Reader(record.head(headSize))
      decodeHeader(body)
      this.#dispatch(header, body, record.rest(headSize))
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      this.close(`not an RPC call: ${error.message}`)
    }
  }

  #dispatch(header: CallHeader, body: Reader, payload: Buffer[]): void {
    const { services, log } = this.listener.options
    const { xid, prog, vers, proc } = header
    if (header.rpcvers !== 2) {
      this.#refuse(xid, 'RPC_MISMATCH', [2, 2])
      return
    }
    const own = prog === GF_DUMP.number ? GF_DUMP : undefined
    const service = services.find(({ program }) => program.number === prog)
    const program = own ?? service?.program
    if (program === undefined) {
      this.#refuse(xid, 'PROG_UNAVAIL')
      return
    }
    if (program.version !== vers) {
      this.#refuse(xid, 'PROG_MISMATCH', [program.version, program.version])
      return
    }
    const procedure = findProcedure(prog, vers, proc)
    if (procedure === undefined) {
      this.#refuse(xid, 'PROC_UNAVAIL')
      return
    }
    const counted = this.listener.options.waits?.(procedure) !== true
    const cost = this.listener.options.cost?.(header, body) ?? 0
    const call = { connection: this, header, procedure, body, payload, counted, cost }
    if (counted) this.#outstanding++
    this.#outstandingBytes += cost
    this.#throttle()
    try {
      if (own !== undefined) this.#own(call)
      else service?.call(call)
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      log.warn(`${procedure.name} of ${this.peer}: ${error.message}`)
      this.refuse(call, 'GARBAGE_ARGS')
    }
  }

  #own(call: Call): void {
    if (call.procedure.number === DUMP.PING.number) {
      this.reply(call, DUMP.PING, { op_ret: 0, op_errno: 0, xdata: undefined })
      return
    }
    const programs = [...this.listener.options.services.map(({ program }) => program), GF_DUMP]
    const prog = programs.map(({ name, number, version }) => ({
      progname: name,
      prognum: number,
      progver: version,
    }))
    this.reply(call, DUMP.DUMP, { gfs_id: 0, op_ret: 0, op_errno: 0, prog })
  }

  #done(call: Call): void {
    if (call.counted) this.#outstanding--
    this.#outstandingBytes -= call.cost
    this.#throttle()
  }

  /** A client that asks faster than it reads, or than the disk works, waits. */
  #throttle(): void {
    if (this.closed) return
    const isBusy =
      this.#outstanding >= OUTSTANDING_CALLS_MAX ||
      this.#outstandingBytes > OUTSTANDING_BYTES_MAX ||
      this.#socket.writableLength + this.#outBytes > UNREAD_BYTES_MAX
    if (isBusy === this.#busy) return
    this.#busy = isBusy
    if (isBusy) {
      this.#socket.pause()
      this.#cutter.hold()
      return
    }
    // Not from within an answer: what waits may be answered at once, again and again.
    setImmediate(() => this.#goOn())
  }

  #goOn(): void {
    if (this.closed || this.#busy) return
    this.#received(EMPTY)
    if (!this.#busy) this.#socket.resume()
  }

  #received(chunk: Buffer): void {
    const bad = this.#cutter.received(chunk)
    if (bad !== undefined) this.close(bad)
  }

  /** What the writer holds and `payload` leave with everything else of this turn. */
  #send(payload: Buffer[]): void {
    const head = this.#writer.take()
    if (this.closed) return
    this.#out.push(head, ...payload)
    this.#outBytes += head.length
    for (const part of payload) this.#outBytes += part.length
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => process.nextTick(() => this.#flush()))
  }

  #flush(): void {
    this.#flushing = false
    const out = this.#out
    this.#out = []
    this.#outBytes = 0
    if (this.closed) return
    this.#socket.cork()
    for (const part of out) this.#socket.write(part)
    this.#socket.uncork()
    this.#throttle()
  }
}
