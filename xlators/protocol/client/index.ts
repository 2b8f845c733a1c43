/**
 * protocol/client: a brick on some server, reached by RPC. Every fop is a remote procedure.
 *
 * As in stock: nothing is sent again after a lost connection (calls under way fail with ENOTCONN),
 * open files are opened again before the brick is announced, POSIX locks are not. Unlike stock the
 * first attempts to get a brick back come faster, and a hung brick is given up after ping-timeout
 * even while new calls are made.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import { type Event, isDownEvent, type UpEvent } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type FopName,
  fopNames,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator, type XlatorInit } from '../../../src/core/xlator.ts'
import { leavesOfGraph } from '../../../src/graph/dir-offset.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { type Connection, ConnectionStats, type Limits } from '../../../src/rpc/connection.ts'
import { legacyText } from '../../../src/xdr/dict.ts'
import { CBK, GF_CBK } from '../../../src/xdr/programs.ts'
import type { Reader } from '../../../src/xdr/reader.ts'
import type { CallHeader } from '../../../src/xdr/rpc-msg.ts'
import { RemoteFds } from './fds.ts'
import { FopCall } from './fop-call.ts'
import { type FopEntry, fopTable, type WireContext } from './fops.ts'
import {
  addressFamily,
  introduction,
  introductionTexts,
  socketSettings,
  tlsSettings,
} from './handshake.ts'
import { type ClientOptions, options } from './options.ts'
import { reopenAll, sendRelease } from './reopen.ts'
import { Session, type SessionEvents } from './session.ts'
import { readUpcall } from './upcall.ts'

export class Client extends Xlator<ClientOptions> implements WireContext, SessionEvents, Limits {
  readonly fds: RemoteFds
  leaf = 0
  leaves = 1
  readonly #stats = new ConnectionStats()
  #session: Session | undefined
  /** Set while fops may be sent. */
  #connection: Connection | undefined
  #lastEvent: UpEvent['type'] | undefined
  #reconnects = 0
  #volumeId: string | undefined
  /** Why the brick is not connected. */
  failure: string | undefined
  /** Why the brick does not let us in; told once. */
  #refusal: string | undefined
  /** Files of which a lock was asked for. */
  readonly #locking = new WeakSet<Inode>()

  constructor(init: XlatorInit<ClientOptions>) {
    super(init)
    this.fds = new RemoteFds(this as unknown as Xlator, {
      usedLost: () => this.#reopenLost(),
      superseded: (remote) => sendRelease(this.#connection, remote),
    })
    const table = this as Partial<Record<FopName, unknown>>
    for (const fop of fopNames) table[fop] = this.#fop(fop)
  }

  override init(): void {
    const { options } = this
    if (this.#host === undefined || options['remote-subvolume'] === undefined) {
      throw new GlusterError(
        'VOLFILE_INVALID',
        `volume '${this.name}' (${this.type}): remote-host and remote-subvolume are needed`,
      )
    }
    if (options['transport.socket.ssl-enabled']) tlsSettings(options)
    const leaves = leavesOfGraph(this.graph)
    this.leaves = leaves.length
    this.leaf = leaves.indexOf(this as unknown as Xlator)
  }

  override fini(): void {
    this.#stop()
  }

  override reconfigure(options: OptionValues<ClientOptions>): void {
    const before = this.options
    super.reconfigure(options)
    if (this.#session === undefined) return
    if (CONNECTION_KEYS.every((key) => before[key] === options[key])) return
    this.log.info('the way to the brick has changed: connecting anew')
    this.#stop()
    this.#start()
  }

  override release(fd: Fd): void {
    const remote = this.fds.released(fd)
    if (remote !== undefined) sendRelease(this.#connection, remote)
  }

  override releasedir(fd: Fd): void {
    this.release(fd)
  }

  override notify(event: Event, from: Xlator | undefined): void {
    if (!isDownEvent(event)) super.notify(event, from)
    else if (event.type === 'parent-up') this.#start()
    else if (event.type === 'parent-down') this.#stop()
  }

  override dump(sink: DumpSink): void {
    const stats = this.#stats
    sink.section(`xlator.protocol.client.${this.name}.priv`)
    let index = 0
    for (const remote of this.fds.remotes()) {
      sink.pair(`fd.${index++}.remote_fd`, remote.number ?? -1)
    }
    sink.pair('connecting', this.#session?.state === 'connecting' ? 1 : 0)
    sink.pair('connected', this.#connection === undefined ? 0 : 1)
    sink.pair('total_bytes_read', stats.bytesRead)
    sink.pair('ping_timeout', this.options['ping-timeout'])
    sink.pair('total_bytes_written', stats.bytesWritten)
    sink.pair('ping_msgs_sent', stats.pingsSent)
    sink.pair('msgs_sent', stats.messagesSent)
    sink.pair('fds', this.fds.count)
  }

  /** As stock does: what is told to the brick counts as given. */
  override shownOptions(): ReadonlyMap<string, string> {
    const reconnects = Math.max(0, this.#reconnects - 1)
    const who = [this.graph, this.name, this.givenOptions, reconnects, this.#volumeId] as const
    return new Map(Object.entries(introductionTexts(...who)))
  }

  // -- fops

  #fop<K extends FopName>(fop: K): (frame: Frame, req: Req<K>) => MaybePromise<Rep<K>> {
    const entry = fopTable[fop] as FopEntry<K> | undefined
    if (entry === undefined) return () => ({ errno: E.OPNOTSUPP })
    if (fop === 'open' || fop === 'create') {
      return (frame, req) => this.#send(entry, frame, this.#withoutDirect(req))
    }
    if (fop === 'lk' || fop === 'lease') {
      return (frame, req) => {
        const wanted = req as Req<'lk'> | Req<'lease'>
        this.#locking.add('fd' in wanted ? wanted.fd.inode : wanted.loc.inode)
        return this.#send(entry, frame, req)
      }
    }
    if (fop === 'flush') {
      const flush = this.#flush(entry as FopEntry<'flush'>)
      return flush as (frame: Frame, req: Req<K>) => MaybePromise<Rep<K>>
    }
    return (frame, req) => this.#send(entry, frame, req)
  }

  /**
   * All a brick does at a FLUSH is to end the POSIX locks of its owner (pl_flush; posix_flush does
   * nothing): it is not sent for files this client never asked for locks on.
   */
  #flush(
    entry: FopEntry<'flush'>,
  ): (frame: Frame, req: Req<'flush'>) => MaybePromise<Rep<'flush'>> {
    return (frame, req) => {
      if (this.#locking.has(req.fd.inode)) return this.#send(entry, frame, req)
      if (this.#connection === undefined) return { errno: E.NOTCONN }
      return this.fds.remote(req.fd, false) === undefined ? { errno: E.BADFD } : { errno: 0 }
    }
  }

  #withoutDirect<K extends FopName>(req: Req<K>): Req<K> {
    const { flags } = req as Req<'open'>
    if (!this.options['filter-O_DIRECT'] || (flags & O_DIRECT) === 0) return req
    return { ...req, flags: flags & ~O_DIRECT }
  }

  #send<K extends FopName>(entry: FopEntry<K>, frame: Frame, req: Req<K>): MaybePromise<Rep<K>> {
    const connection = this.#connection
    if (connection === undefined) return { errno: E.NOTCONN }
    let fd = 0
    if (entry.fd !== 'none') {
      const remote = this.fds.remote((req as Req<'flush'>).fd, entry.fd === 'anonymous')
      if (remote === undefined) return { errno: E.BADFD }
      fd = remote
    }
    const body = entry.request(req, fd, this)
    if (body === undefined) return { errno: E.BADFD }
    const creds = this.options['send-gids'] ? frame.creds : withoutGroups(frame.creds)
    return new Promise((resolve) => {
      const call = new FopCall(entry, req, this, frame, resolve)
      connection.submit(call, creds, body, entry.payload?.(req))
    })
  }

  // -- the connection

  get pingTimeout(): number {
    return this.options['ping-timeout']
  }

  pinged(latencyMs: number): void {
    this.notifyParents({ type: 'child-ping', latencyMs })
  }

  get frameTimeout(): number {
    return this.options['frame-timeout']
  }

  /** Of a snapshot daemon the volfile names no host: it is that of the volfile (client.c). */
  get #host(): string | undefined {
    return this.options['remote-host'] ?? this.graph.process.volfileServer?.()
  }

  #start(): void {
    if (this.#session !== undefined) return
    const { options } = this
    const tls = options['transport.socket.ssl-enabled'] ? tlsSettings(options) : undefined
    this.#session = new Session(
      {
        host: this.#host!,
        port: options['remote-port'],
        brick: options['remote-subvolume']!,
        family: addressFamily(options),
        socket: socketSettings(options),
        tls,
        managementTls: this.graph.process.secureMgmt ? tlsSettings(options) : undefined,
        limits: this,
        stats: this.#stats,
        log: this.log,
      },
      this,
    )
    this.#announce({ type: 'child-connecting' })
    this.#session.start()
  }

  #stop(): void {
    const session = this.#session
    if (session === undefined) return
    this.#session = undefined
    session.stop()
    this.#disconnected()
  }

  introduction() {
    return introduction(
      this.graph,
      this.name,
      this.givenOptions,
      this.#reconnects++,
      this.#volumeId,
    )
  }

  accepted(dict: Parameters<SessionEvents['accepted']>[0]): string | undefined {
    const volumeId = legacyText(dict, 'volume-id')
    if (volumeId === undefined || volumeId === '') return undefined
    if (this.#volumeId !== undefined && this.#volumeId !== volumeId) {
      return `the brick belongs to volume ${volumeId} now, not to ${this.#volumeId}`
    }
    this.#volumeId = volumeId
    return undefined
  }

  reopen(connection: Connection): Promise<void> {
    return reopenAll(connection, this.fds, this.options['strict-locks'], this.log)
  }

  /** Some lost fd is used a lot: try again to open what could not be opened at the reconnect. */
  #reopenLost(): void {
    const connection = this.#connection
    if (connection === undefined) return
    reopenAll(connection, this.fds, this.options['strict-locks'], this.log).catch(
      (error: unknown) => this.log.error({ err: error }, 'reopening failed: this is a bug'),
    )
  }

  up(connection: Connection, childUp: boolean): void {
    this.#connection = connection
    this.failure = undefined
    this.#refusal = undefined
    if (childUp) this.#announce({ type: 'child-up' })
  }

  down(reason: string): void {
    this.failure = reason
    this.#disconnected()
  }

  refused(reason: string, errno: Errno): void {
    if (reason !== this.#refusal) this.notifyParents({ type: 'auth-failed', reason, errno })
    this.#refusal = reason
    // Translators above need not wait for it.
    this.#announce({ type: 'child-down' })
  }

  #disconnected(): void {
    this.#connection = undefined
    this.fds.lost()
    this.#announce({ type: 'child-down' })
  }

  /** Parents hear of changes only. */
  #announce(event: UpEvent): void {
    if (event.type === this.#lastEvent) return
    this.#lastEvent = event.type
    this.notifyParents(event)
  }

  callback(header: CallHeader, body: Reader): void {
    if (header.prog !== GF_CBK.number) {
      this.log.debug(`the brick called program ${header.prog}, which is not served here`)
      return
    }
    if (header.proc === CBK.CHILD_UP.number) this.#announce({ type: 'child-up' })
    else if (header.proc === CBK.CHILD_DOWN.number) this.#announce({ type: 'child-down' })
    else {
      const upcall = readUpcall(header.proc, body)
      if (upcall !== undefined) this.notifyParents({ type: 'upcall', upcall })
    }
  }
}

const O_DIRECT = 0o40000

/** Options that decide which brick is reached and how. */
const CONNECTION_KEYS = [
  'remote-host',
  'remote-port',
  'remote-subvolume',
  'transport.address-family',
  'transport.socket.ssl-enabled',
  'username',
  'password',
] as const

/** `send-gids off`: the brick is told the primary group only. */
function withoutGroups(creds: Creds): Creds {
  return { ...creds, groups: [creds.gid] }
}

export { options }

export default defineXlator({ type: 'protocol/client', class: Client, options, children: 0 })
