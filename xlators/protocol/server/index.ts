/**
 * protocol/server: a brick's clients. Listens, lets them in (SETVOLUME), carries their fops to the
 * brick's translators, tells them what those report (upcalls), and clears up after a client whose
 * last connection is gone. Not kept from stock: TLS, sub-directory mounts (refused), root squash,
 * several bricks in one process, the 3.x file operations.
 */
import { randomUUID } from 'node:crypto'
import { E } from '../../../src/core/errno.ts'
import type { Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import { type Creds, type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { defineXlator, Xlator, type XlatorInit } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { type Call, Listener, type ServerConnection } from '../../../src/server/listener.ts'
import { type LegacyDict, legacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { FOP, GF_FOP, GF_HANDSHAKE, HANDSHAKE, type Procedure } from '../../../src/xdr/programs.ts'
import { type Reader, XdrError } from '../../../src/xdr/reader.ts'
import { decodeCreds } from '../../../src/xdr/rpc-auth.ts'
import type { CallHeader } from '../../../src/xdr/rpc-msg.ts'
import { BrickClient } from './clients.ts'
import { failure, Refusal, type ServedFop, servedFops, success } from './fops.ts'
import { isAuthorised, refusedBy } from './handshake.ts'
import { options } from './options.ts'

const served = new Map(servedFops.map((one) => [one.procedure.number, one]))
/** Of a WRITE, its size stands behind gfid, fd and offset. */
const WRITE_SIZE_AT = 32
const WRITE_FIELDS_BYTES = 40
/** They may wait for an unlock by the same client. */
const WAITING = new Set(
  [FOP.LK, FOP.INODELK, FOP.FINODELK, FOP.ENTRYLK, FOP.FENTRYLK].map(({ number }) => number),
)

type AnyFop = ServedFop<FopName, unknown, unknown>

export class BrickServer extends Xlator<typeof options> {
  /** The port, once clients can connect; rejects with a GlusterError. */
  readonly listening: Promise<number>
  /** The brick's disk failed. */
  onDown: (() => void) | undefined
  /** Clients by identity: process-uuid and credential. */
  readonly #clients = new Map<string, BrickClient>()
  readonly #bound = new Map<ServerConnection, { key: string; client: BrickClient }>()
  readonly #uuid = randomUUID()
  #listener: Listener | undefined
  #up = false
  #stopped = false
  #startListening!: () => void

  constructor(init: XlatorInit<typeof options>) {
    super(init)
    this.listening = new Promise((resolve, reject) => {
      this.#startListening = () => void this.#listen().then(resolve, reject)
    })
  }

  override notify(event: Event, from: Xlator | undefined): void {
    if (event.type === 'child-up' && !this.#up) {
      this.#up = true
      if (this.#listener === undefined) this.#startListening()
    } else if (event.type === 'child-down') {
      this.#up = false
      this.onDown?.()
    }
    super.notify(event, from)
  }

  override fini(): void {
    this.#stopped = true
    this.#listener?.close()
  }

  /** Hangs up on every client. */
  disconnectAll(reason: string): void {
    for (const connection of [...(this.#listener?.connections ?? [])]) connection.close(reason)
  }

  override dump(sink: DumpSink): void {
    sink.pair('connections', this.#listener?.connections.size ?? 0)
    for (const client of this.#clients.values()) {
      sink.pair(`client.${client.uid}.open_fds`, client.openFds)
    }
  }

  async #listen(): Promise<number> {
    const listener = await Listener.open({
      host: this.options['transport.socket.bind-address'],
      port: this.options['transport.socket.listen-port'],
      log: this.log,
      services: [
        { program: GF_FOP, call: (call) => this.#fop(call) },
        { program: GF_HANDSHAKE, call: (call) => this.#handshake(call) },
      ],
      payloadSize,
      cost,
      waits: ({ program, number }) => program === GF_FOP && WAITING.has(number),
      closed: (connection) => this.#disconnected(connection),
    })
    this.#listener = listener
    if (this.#stopped) listener.close()
    return listener.port
  }

  // --- who is there ------------------------------------------------------------------------------

  #handshake(call: Call): void {
    const { connection, procedure, body } = call
    if ((procedure as unknown) === HANDSHAKE.PING) {
      connection.reply(call, HANDSHAKE.PING, { op_ret: 0, op_errno: 0, xdata: undefined })
    } else if ((procedure as unknown) === HANDSHAKE.SET_LK_VER) {
      const { lk_ver } = HANDSHAKE.SET_LK_VER.request.decode(body)
      connection.reply(call, HANDSHAKE.SET_LK_VER, { op_ret: 0, op_errno: 0, lk_ver })
    } else if ((procedure as unknown) === HANDSHAKE.SETVOLUME) {
      const { dict } = HANDSHAKE.SETVOLUME.request.decode(body)
      this.#setVolume(call, dict ?? new Map())
    } else connection.refuse(call, 'PROC_UNAVAIL')
  }

  #setVolume(call: Call, dict: LegacyDict): void {
    const { connection } = call
    const volumeId = this.#volumeId
    const path = this.child.name
    let refused = refusedBy({ path, volumeId, up: this.#up }, dict)
    if (refused === undefined && !isAuthorised(this.givenOptions, path, connection.host, dict)) {
      refused = { errno: E.ACCES, why: 'Authentication failed' }
    }
    if (refused !== undefined) {
      this.log.warn(`client ${connection.peer} is refused: ${refused.why}`)
      const answer = {
        op_ret: -1,
        op_errno: refused.errno,
        dict: legacyDict({ ERROR: refused.why }),
      }
      connection.reply(call, HANDSHAKE.SETVOLUME, answer)
      return
    }
    this.#bind(connection, legacyText(dict, 'process-uuid') ?? '', call.header)
    const answer = legacyDict({
      ERROR: 'Success',
      child_up: '1',
      'process-uuid': this.#uuid,
      'clnt-lk-version': '0',
      'transport-ptr': '1',
      ...(volumeId === undefined ? {} : { 'volume-id': volumeId }),
    })
    connection.reply(call, HANDSHAKE.SETVOLUME, { op_ret: 0, op_errno: 0, dict: answer })
  }

  get #volumeId(): string | undefined {
    const posix = this.graph.xlators.find(({ type }) => type === 'storage/posix')
    return posix?.givenOptions.get('volume-id')
  }

  #bind(connection: ServerConnection, uid: string, header: CallHeader): void {
    const key = `${uid}\0${header.flavor}\0${header.cred.latin1Slice()}`
    const bound = this.#bound.get(connection)
    if (bound?.key === key) return
    if (bound !== undefined) this.#disconnected(connection)
    let client = this.#clients.get(key)
    if (client === undefined) {
      client = new BrickClient(uid, this.graph.inodes)
      this.#clients.set(key, client)
      this.log.info(`accepted client ${uid} from ${connection.peer}`)
    }
    client.connections.add(connection)
    this.#bound.set(connection, { key, client })
  }

  /** With its last connection a client loses its locks and open files. */
  #disconnected(connection: ServerConnection): void {
    const bound = this.#bound.get(connection)
    if (bound === undefined) return
    this.#bound.delete(connection)
    const { key, client } = bound
    client.connections.delete(connection)
    if (client.connections.size > 0) return
    this.#clients.delete(key)
    this.log.info(`client ${client.uid} disconnected`)
    this.notifyChildren({ type: 'client-disconnected', client })
    const creds = { ...ROOT_CREDS, client }
    for (const fd of client.takeFds()) {
      void this.graph.pool.background(
        this as unknown as Xlator,
        'disconnect',
        creds,
        async (frame) => {
          await frame.wind(this.child, 'flush', { fd })
          fd.release()
        },
      )
    }
  }

  // --- fops --------------------------------------------------------------------------------------

  #fop(call: Call): void {
    const { connection, header, procedure } = call
    const client = this.#bound.get(connection)?.client
    const creds = decodeCreds(header.flavor, header.cred)
    // Stock's answer to one that was not let in.
    if (client === undefined || creds === undefined) {
      connection.refuse(call, 'GARBAGE_ARGS')
      return
    }
    const { number } = procedure
    if (number === FOP.RELEASE.number || number === FOP.RELEASEDIR.number) {
      const { fd } = FOP.RELEASE.request.decode(call.body)
      const released = client.release(fd)
      const rsp = { op_ret: released ? 0 : -1, op_errno: released ? 0 : E.BADF, xdata: undefined }

      connection.reply(call, FOP.RELEASE, rsp)
      return
    }
    const fop = served.get(number)
    if (fop === undefined) {
      connection.refuse(call, 'PROC_UNAVAIL')
      return
    }
    const args = procedure.request.decode(call.body)
    if (call.body.remaining > 0) throw new XdrError('body', call.body.position, 'bytes left over')
    checkPayload(args, call)
    this.#serve(call, fop, client, { ...creds, client }, args)
  }

  #serve(call: Call, fop: AnyFop, client: BrickClient, creds: Creds, args: unknown): void {
    let req: Req<FopName>
    try {
      req = fop.request(args, client, call.payload)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error

      this.#reply(call, fop, failure({ errno: error.errno }), [])
      return
    }
    const frame = this.graph.pool.begin(this as unknown as Xlator, fop.fop, creds, call.header.xid)
    const fds = fop.by === 'fd' ? fdsOf(req) : []
    for (const fd of fds) fd.hold()
    const answer = (rep: Rep<FopName>): void => {
      for (const fd of fds) endUse(fd)
      frame.stack.end()
      this.#answer(call, fop, client, req, rep)
    }
    const broken = (error: unknown): void => {
      this.log.error({ err: error }, `${fop.fop} failed: this is a bug`)
      answer({ errno: E.IO })
    }
    let rep: MaybePromise<Rep<FopName>>
    try {
      rep = this.#wind(frame, fop.fop, req)
    } catch (error) {
      broken(error)
      return
    }
    if (rep instanceof Promise) rep.then(answer, broken)
    else answer(rep)
  }

  /** Fops that remove a name tell the translators which object that is: its locks matter. */
  #wind(frame: Frame, fop: FopName, req: Req<FopName>): MaybePromise<Rep<FopName>> {
    if (fop === 'unlink' || fop === 'rmdir' || fop === 'rename') {
      const locs = Object.values(req).filter((value): value is Loc => isLoc(value))
      return this.#windResolved(frame, fop, req, locs)
    }
    return frame.wind(this.child, fop, req)
  }

  async #windResolved(
    frame: Frame,
    fop: FopName,
    req: Req<FopName>,
    locs: readonly Loc[],
  ): Promise<Rep<FopName>> {
    for (const loc of locs) {
      const found = await frame.with(ROOT_CREDS).wind(this.child, 'lookup', { loc })
      // Whatever is wrong with the name, the fop itself will say it.
      if (found.errno === 0) loc.inode.gfid = found.stat.gfid
    }
    return frame.wind(this.child, fop, req)
  }

  #answer(
    call: Call,
    fop: AnyFop,
    client: BrickClient,
    req: Req<FopName>,
    rep: Rep<FopName>,
  ): void {
    const isOpen = fop.fop === 'open' || fop.fop === 'opendir' || fop.fop === 'create'
    if (rep.errno !== 0 || (isOpen && client.connections.size === 0)) {
      if (isOpen) for (const fd of fdsOf(req)) fd.release()
      const isStale = rep.errno === E.NOENT && fop.by === 'gfid'
      const errno = rep.errno === 0 ? E.NOTCONN : isStale ? E.STALE : rep.errno

      this.#reply(call, fop, failure({ errno, xdata: rep.xdata }), [])
      return
    }
    const payload = 'data' in rep && Array.isArray(rep.data) ? (rep.data as Buffer[]) : []
    const fields = fop.reply(rep as never, client, req as never)
    this.#reply(call, fop, success(fields, rep.xdata), payload)
  }

  #reply(call: Call, fop: AnyFop, rsp: object, payload: Buffer[]): void {
    const { connection } = call
    if (connection.closed) return
    const procedure = fop.procedure as unknown as Procedure<unknown, object>
    try {
      connection.reply(call, procedure, rsp, payload)
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      this.log.error(`${procedure.name}: ${error.message}`)
      connection.reply(call, procedure, failure({ errno: E.IO }))
    }
  }
}

/** Raw bytes at the end of a WRITE. */
function payloadSize({ prog, vers, proc }: CallHeader, body: Reader): number {
  if (prog !== GF_FOP.number || vers !== GF_FOP.version || proc !== FOP.WRITE.number) return 0
  if (body.remaining < WRITE_FIELDS_BYTES) return 0
  return body.buffer.readUInt32BE(body.position + WRITE_SIZE_AT)
}

/** The data of a READ or WRITE; their sizes stand at the same place. */
function cost({ prog, proc }: CallHeader, body: Reader): number {
  const holds = prog === GF_FOP.number && (proc === FOP.WRITE.number || proc === FOP.READ.number)
  if (!holds || body.remaining < WRITE_FIELDS_BYTES) return 0
  return body.buffer.readUInt32BE(body.position + WRITE_SIZE_AT)
}

function checkPayload(args: unknown, call: Call): void {
  if ((call.procedure as unknown) !== FOP.WRITE) return
  let size = 0
  for (const part of call.payload) size += part.length
  const said = (args as { size: number }).size
  if (said !== size) throw new XdrError('size', 0, `${said}, but ${size} bytes follow`)
}

function fdsOf(req: object): Fd[] {
  const { fd, fdIn, fdOut } = req as { fd?: Fd; fdIn?: Fd; fdOut?: Fd }
  return [fd, fdIn, fdOut].filter((one) => one !== undefined)
}

/** An anonymous fd (its type is not known) ends with its fop. */
function endUse(fd: Fd): void {
  fd.drop()
  if (fd.inode.type === 0) fd.release()
}

const isLoc = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'pargfid' in value

export default defineXlator({
  type: 'protocol/server',
  class: BrickServer,
  options,
  namedOptions: /^auth\.(addr\..+\.(allow|reject)|login\..+\.(allow|password))$/,
  children: 1,
})
