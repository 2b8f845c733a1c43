/**
 * The management server of embedded volumes, in glusterd's place: gives out volfiles (GETSPEC),
 * knows where the bricks listen (portmap), starts and stops their processes. Clients that fetched a
 * volfile are told when theirs may have changed (FETCHSPEC).
 */
import { E } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { type Log, logFor } from '../observe/log.ts'
import { legacyText } from '../xdr/dict.ts'
import { CBK, GF_HANDSHAKE, GF_PORTMAP, HANDSHAKE, PORTMAP } from '../xdr/programs.ts'
import { BrickProcess } from './brick-process.ts'
import { type Call, Listener, type ServerConnection } from './listener.ts'
import { clientVolfile } from './volfiles.ts'
import type { Volume, VolumeStore } from './volume.ts'
import { checkOption } from './volume-options-table.ts'

/** Op-version a client needs for our volumes (clients say what they can in GETSPEC). */
const VOLUME_OP_VERSION = 30_000

export interface BrickStatus {
  readonly path: string
  readonly port: number
  readonly online: boolean
  readonly pid: number | undefined
}

export interface ManagementOptions {
  readonly store: VolumeStore
  readonly host: string
  /** 0 = any free one. */
  readonly port: number
  /** A brick died by itself. */
  readonly onBrickDied?: (volume: string, path: string, how: string) => void
}

export class ManagementServer {
  readonly store: VolumeStore
  readonly #options: ManagementOptions
  readonly #log: Log = logFor('management')
  readonly #bricks = new Map<string, BrickProcess[]>()
  /** Connections that fetched a volfile. */
  readonly #watchers = new Set<ServerConnection>()
  #listener: Listener | undefined

  constructor(options: ManagementOptions) {
    this.store = options.store
    this.#options = options
  }

  get port(): number {
    return this.#listener?.port ?? 0
  }

  /** Listens. Throws GlusterError. */
  async open(): Promise<void> {
    const { host, port } = this.#options
    this.#listener = await Listener.open({
      host,
      port,
      log: this.#log,
      services: [
        { program: GF_HANDSHAKE, call: (call) => this.#handshake(call) },
        { program: GF_PORTMAP, call: (call) => this.#portmap(call) },
      ],
      closed: (connection) => this.#watchers.delete(connection),
    })
  }

  /** Starts the volumes that were started, or finds their bricks running. */
  async startAll(): Promise<void> {
    for (const name of this.store.names()) {
      try {
        if (!this.store.has(name)) continue
        const volume = this.store.load(name)
        if (volume.started) await this.#startBricks(volume)
      } catch (error) {
        // The other volumes, and this one's other bricks, serve on.
        this.#log.error(error instanceof GlusterError ? error.message : { err: error })
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#bricks.values()].flat().map((brick) => brick.stop()))
    this.#bricks.clear()
    this.#listener?.close()
  }

  /** Starts the volume, or its missing bricks with `force`. Throws GlusterError. */
  async start(name: string, force = false): Promise<void> {
    const volume = this.store.load(name)
    if (volume.started && !force) {
      throw new GlusterError('VOLUME_STATE', `volume '${name}' is started already`)
    }
    await this.#startBricks(volume)
    this.store.save({ ...volume, started: true })
    this.#changed()
  }

  /** Sets an option, or takes it away (`undefined`). Throws GlusterError. */
  async set(name: string, key: string, value: string | undefined): Promise<void> {
    const volume = this.store.load(name)
    if (value !== undefined) await checkOption(key, value)
    const { [key]: _, ...rest } = volume.options ?? {}
    const changed = { ...volume, options: value === undefined ? rest : { ...rest, [key]: value } }
    this.store.save(changed)
    for (const brick of this.#bricks.get(name) ?? []) {
      brick.reconfigure(changed, this.#options.host)
    }
    this.#changed()
  }

  async stop(name: string): Promise<void> {
    const volume = this.store.load(name)
    if (!volume.started) throw new GlusterError('VOLUME_STATE', `volume '${name}' is not started`)
    await Promise.all((this.#bricks.get(name) ?? []).map((brick) => brick.stop()))
    this.#bricks.delete(name)
    this.store.save({ ...volume, started: false })
  }

  /** Throws GlusterError while the volume is started. */
  destroy(name: string, data: boolean): void {
    const volume = this.store.load(name)
    if (volume.started) {
      throw new GlusterError('VOLUME_STATE', `volume '${name}' is started: stop it first`)
    }
    this.store.destroy(volume, data)
  }

  status(name: string): BrickStatus[] {
    const running = this.#bricks.get(name) ?? []
    return this.store.load(name).bricks.map((path) => {
      const brick = running.find((one) => one.path === path)
      const online = brick?.online ?? false
      return { path, port: brick?.port ?? 0, online, pid: online ? brick?.pid : undefined }
    })
  }

  async #startBricks(volume: Volume): Promise<void> {
    const died = (brick: BrickProcess, how: string): void => {
      this.#log.error(`brick ${brick.path} of volume '${volume.name}' died: ${how}`)
      this.#options.onBrickDied?.(volume.name, brick.path, how)
    }
    const bricks =
      this.#bricks.get(volume.name) ??
      volume.bricks.map((path) => new BrickProcess(this.store, volume, path, died))
    this.#bricks.set(volume.name, bricks)
    const started = await Promise.allSettled(
      bricks.map((brick) => brick.start(volume, this.#options.host)),
    )
    const failed = started.find((result) => result.status === 'rejected')
    if (failed === undefined) return
    if (!volume.started) {
      await Promise.all(bricks.map((brick) => brick.stop()))
      this.#bricks.delete(volume.name)
    }
    throw failed.reason
  }

  #changed(): void {
    for (const connection of this.#watchers) connection.callback(CBK.FETCHSPEC, {})
  }

  // --- what clients ask --------------------------------------------------------------------------

  #handshake(call: Call): void {
    const { connection, procedure, body } = call
    if ((procedure as unknown) === HANDSHAKE.PING) {
      connection.reply(call, HANDSHAKE.PING, { op_ret: 0, op_errno: 0, xdata: undefined })
      return
    }
    if ((procedure as unknown) !== HANDSHAKE.GETSPEC) {
      connection.refuse(call, 'PROC_UNAVAIL')
      return
    }
    const { key, xdata } = HANDSHAKE.GETSPEC.request.decode(body)
    const name = key.replace(/^\//, '').replace(/\.tcp-fuse$/, '')
    const max = Number(legacyText(xdata, 'max-op-version') ?? VOLUME_OP_VERSION)
    const known = /^[\w-]+$/.test(name) && this.store.has(name)
    const errno = !known ? E.NOENT : max < VOLUME_OP_VERSION ? E.OPNOTSUPP : 0
    if (errno !== 0) {
      const rsp = { op_ret: -1, op_errno: errno, spec: '', xdata: undefined }
      connection.reply(call, HANDSHAKE.GETSPEC, rsp)
      return
    }
    const spec = clientVolfile(this.store.load(name), this.#options.host, this.port)
    this.#watchers.add(connection)
    const rsp = { op_ret: spec.length, op_errno: 0, spec, xdata: undefined }
    connection.reply(call, HANDSHAKE.GETSPEC, rsp)
  }

  #portmap(call: Call): void {
    const { connection, procedure, body } = call
    if ((procedure as unknown) !== PORTMAP.PORTBYBRICK) {
      connection.refuse(call, 'PROC_UNAVAIL')
      return
    }
    const { brick: path } = PORTMAP.PORTBYBRICK.request.decode(body)
    const wanted = path.replace(/\0+$/, '')
    const brick = [...this.#bricks.values()].flat().find((one) => one.path === wanted)
    const port = brick?.port ?? 0
    const rsp = { op_ret: port > 0 ? 0 : -1, op_errno: 0, status: 0, port }
    connection.reply(call, PORTMAP.PORTBYBRICK, rsp)
  }
}
