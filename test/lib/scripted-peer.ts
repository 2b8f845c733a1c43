/** A TCP peer that reads RPC calls and answers what the test says. */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { findProcedure, type Procedure } from '../../src/xdr/programs.ts'
import { Reader } from '../../src/xdr/reader.ts'
import {
  beginCall,
  beginReply,
  CALL,
  decodeHeader,
  endRecord,
  type ReplyStat,
} from '../../src/xdr/rpc-msg.ts'
import { Writer } from '../../src/xdr/writer.ts'

/** A call as the peer received it. */
export interface Received {
  readonly socket: Socket
  readonly xid: number
  readonly procedure: Procedure
  readonly flavor: number
  readonly cred: Buffer
  /** The decoded body. */
  readonly body: unknown
  /** Raw bytes after it. */
  readonly payload: Buffer
}

export type Handler = (call: Received, peer: ScriptedPeer) => void

export class ScriptedPeer {
  readonly calls: Received[] = []
  readonly sockets: Socket[] = []
  /** Pings are answered unless the test wants silence. */
  answerPings = true
  readonly #server: Server
  readonly #handler: Handler

  private constructor(server: Server, handler: Handler) {
    this.#server = server
    this.#handler = handler
    server.on('connection', (socket) => this.#accept(socket))
  }

  static async listen(handler: Handler, host = '127.0.0.1'): Promise<ScriptedPeer> {
    const server = createServer()
    server.listen(0, host)
    await once(server, 'listening')
    return new ScriptedPeer(server, handler)
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return address.port
  }

  named(name: string): Received[] {
    return this.calls.filter((call) => call.procedure.name === name)
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(socket: Socket): void {
    this.sockets.push(socket)
    let received = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (data) => {
      received = Buffer.concat([received, data])
      while (received.length >= 4) {
        const length = received.readUInt32BE(0) & 0x7fffffff
        if (received.length < 4 + length) break
        const record = received.subarray(4, 4 + length)
        received = received.subarray(4 + length)
        this.#record(socket, record)
      }
    })
  }

  #record(socket: Socket, record: Buffer): void {
    const reader = new Reader(record)
    const header = decodeHeader(reader)
    if (header.type !== CALL) throw new Error('the client replied')
    const { xid, prog, vers, proc, flavor, cred } = header
    const procedure = findProcedure(prog, vers, proc)
    if (procedure === undefined) throw new Error(`procedure ${prog}/${vers}/${proc}`)
    const body = procedure.request.decode(reader)
    const payload = record.subarray(reader.position)
    const call = { socket, xid, procedure, flavor, cred, body, payload }
    this.calls.push(call)
    if (procedure.name !== 'PING') this.#handler(call, this)
    else if (this.answerPings) reply(call, { op_ret: 0, op_errno: 0, xdata: undefined })
  }
}

/** The bytes of a reply, mark included. */
export function replyBytes(
  call: Pick<Received, 'xid' | 'procedure'>,
  value: unknown,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const w = new Writer()
  beginReply(w, call.xid, 'SUCCESS')
  call.procedure.reply.encode(w, value)
  endRecord(w, 0, payload.length)
  return Buffer.concat([w.take(), payload])
}

export function reply(call: Received, value: unknown, payload?: Buffer): void {
  call.socket.write(replyBytes(call, value, payload))
}

/** Refuses a call at the RPC level. */
export function refuse(call: Received, stat: ReplyStat, detail: number[] = []): void {
  const w = new Writer()
  beginReply(w, call.xid, stat, detail)
  endRecord(w, 0)
  call.socket.write(w.take())
}

/** A call of the peer on its client. */
export function callback<Q>(socket: Socket, procedure: Procedure<Q>, body: Q, xid = 1): void {
  const w = new Writer()
  beginCall(w, xid, procedure as Procedure)
  for (let i = 0; i < 4; i++) w.u32(0)
  procedure.request.encode(w, body)
  endRecord(w, 0)
  socket.write(w.take())
}

/** `record` (with its mark) cut into fragments of `size` bytes. */
export function fragments(record: Buffer, size: number): Buffer {
  const body = record.subarray(4)
  const parts: Buffer[] = []
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size)
    const mark = Buffer.alloc(4)
    mark.writeUInt32BE(((at + size >= body.length ? 0x80000000 : 0) | part.length) >>> 0)
    parts.push(mark, part)
  }
  return Buffer.concat(parts)
}
