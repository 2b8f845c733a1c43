/**
 * mount/fuse: the root of a client. Takes the kernel's requests off /dev/fuse, turns each into
 * fops on the active graph and writes the answer back. It is made before any volfile is known, and
 * outlives the graphs, which it switches.
 *
 * Unlike stock: 1 MiB requests, ATOMIC_O_TRUNC, PARALLEL_DIROPS, HANDLE_KILLPRIV_V2 and
 * AUTO_INVAL_DATA by default, no KEEP_CACHE at open (what another client wrote is seen by whoever
 * opens afterwards), ZERO_RANGE, upcalls answered by kernel invalidations.
 *
 * Not kept: fusermount (EPERM is reported), the `fuse` type without subtype (kernels before
 * 2.6.21).
 */
import type { ChildProcess } from 'node:child_process'
import * as path from 'node:path'
import { assert } from '../../../src/core/assert.ts'
import { clock, type Timer } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Event } from '../../../src/core/event.ts'
import type { MaybePromise, Rep } from '../../../src/core/fop.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { NULL_GFID, ROOT_GFID } from '../../../src/core/gfid.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import { type Inode, type InodeTable, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { parseBool } from '../../../src/core/options.ts'
import { Xlator, type XlatorInit } from '../../../src/core/xlator.ts'
import {
  FUSE_WRITEBACK_CACHE,
  IN_HEADER_BYTES,
  u64,
  type Validity,
  validity,
} from '../../../src/fuse/abi.ts'
import { FuseDevice } from '../../../src/fuse/device.ts'
import {
  checkMountPoint,
  mountFlags,
  mountFuse,
  raiseReadAhead,
  startAutoUnmount,
  unmountFuse,
} from '../../../src/fuse/mount.ts'
import { type FuseOps, opcodes, refusedOpcodes } from '../../../src/fuse/opcodes.ts'
import { FuseRecorder } from '../../../src/fuse/recorder.ts'
import { FuseRequest, type Serving } from '../../../src/fuse/request.ts'
import type { Graph } from '../../../src/graph/build.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import type { TableLimits } from '../../../src/observe/itable.ts'
import { AttrOps } from './attr-ops.ts'
import { Credentials } from './credentials.ts'
import { DirOps } from './dir-ops.ts'
import { bridgeOptionsShown, dumpBridge, dumpOpenFiles } from './dump.ts'
import { EntryOps } from './entry-ops.ts'
import { FileOps } from './file-ops.ts'
import { type OpenFile, OpenFiles } from './files.ts'
import { giveBackIdleInodes } from './idle.ts'
import { Invalidator } from './invalidate.ts'
import { KernelCache } from './kernel-cache.ts'
import { Listings } from './listings.ts'
import { LockOps } from './lock-ops.ts'
import { lookupInode } from './lookup.ts'
import type { options } from './options.ts'
import { isPrivileged } from './rules.ts'
import { Seen } from './seen.ts'
import { SessionOps } from './session-ops.ts'
import { migrateFiles } from './switch.ts'
import { invalidateOnUpcall } from './upcall.ts'
import { PendingWatch } from './watch.ts'
import { XattrOps } from './xattr-ops.ts'

export { options } from './options.ts'

/** A switch waits this long for requests on the old graph before it reopens files on the new. */
const SWITCH_DRAIN_MS = 5000
/** How often the drain looks. */
const SWITCH_POLL_MS = 20

const newSeen = (): Seen => new Seen()

/** A graph in use, with the requests that began on it. */
interface ActiveGraph extends Serving {
  readonly graph: Graph
  /** Another graph has taken over. */
  retired: boolean
}

export class FuseBridge extends Xlator<typeof options> {
  override readonly isBridge = true
  readonly table: InodeTable
  readonly files: OpenFiles
  readonly device: FuseDevice
  readonly invalidator: Invalidator
  readonly kernelCache: KernelCache
  readonly listings: Listings
  readonly negativeValid: Validity
  /** Every file bypasses the page cache. */
  readonly directIo: boolean
  /** The system/posix-acl translator checks permissions, not the kernel. */
  readonly acl: boolean
  /** What the kernel was told of inodes it knows. */
  readonly seen: InodeContext<Seen>
  /** What the kernel negotiated; set by INIT. */
  initFlags = 0
  protoMinor = 0
  /** Resolves when the mount is gone and every request is answered. */
  readonly closed: Promise<void>
  /**
   * Our own lookup of the root, once the first graph's bricks have reported. An error says that no
   * brick answers.
   */
  readonly firstLookup: Promise<Rep<'lookup'>>
  /** A graph was replaced and its last request answered. */
  onRetired: (graph: Graph) => void = (graph) => void graph.stop()
  /** The bricks refused this client. */
  onAuthFailed: (reason: string) => void = () => {}
  readonly #credentials: Credentials
  readonly #ops: FuseOps
  readonly #locks: LockOps
  readonly #watch: PendingWatch
  #resolveFirstLookup!: (rep: Rep<'lookup'>) => void
  #active: ActiveGraph | undefined
  /** Attached, its bricks have not reported yet. */
  #next: Graph | undefined
  /** Its bricks have reported, up or down. */
  #nextReported = false
  /** Resolves when the switch under way is done. */
  #switching: Promise<void> | undefined
  #mounted = false
  #autoUnmount: ChildProcess | undefined
  #target = ''

  constructor(init: XlatorInit<typeof options>) {
    super(init)
    const given = this.options
    this.table = init.graph.inodes
    this.files = new OpenFiles(this.table)
    this.device = new FuseDevice({ ino32: given['enable-ino32'] })
    this.invalidator = new Invalidator(this.device, this.log)
    this.kernelCache = new KernelCache(this)
    this.listings = new Listings(this)
    this.negativeValid = validity(given['negative-timeout'])
    this.directIo = parseDirectIo(given['direct-io-mode'])
    this.acl = given.acl || given['uid-map-root'] !== undefined
    this.seen = new InodeContext(this as unknown as Xlator)
    this.#credentials = new Credentials({
      gidTimeout: given['gid-timeout'],
      resolveGids: given['resolve-gids'],
      clientPid: given['client-pid'],
      noRootSquash: given['no-root-squash'],
      uidMapRoot: given['uid-map-root'],
    })
    this.#locks = new LockOps(this)
    this.#ops = {
      ...new SessionOps(this),
      ...new EntryOps(this),
      ...new AttrOps(this),
      ...new FileOps(this),
      ...new DirOps(this),
      ...new XattrOps(this),
      ...this.#locks,
    }
    this.#watch = new PendingWatch(this.graph.pool, this.log)
    this.firstLookup = new Promise((resolve) => {
      this.#resolveFirstLookup = resolve
    })
    this.closed = this.device.closed.then(() => this.#onClosed())
  }

  /** Fops enter here; the graph requests begin on. */
  get active(): Graph | undefined {
    return this.#active?.graph
  }

  /** The kernel keeps written data. */
  get writeback(): boolean {
    return (this.initFlags & FUSE_WRITEBACK_CACHE) !== 0
  }

  /** The mount point, absolute. */
  get target(): string {
    return this.#target
  }

  /**
   * Mounts. Throws GlusterError MOUNT_POINT, FUSE_DEVICE or MOUNT_FAILED with what to do. Processes
   * that touch the mount wait until the first graph's bricks have reported.
   */
  async mount(): Promise<void> {
    const { mountpoint } = this.options
    if (mountpoint === undefined) throw new GlusterError('MOUNT_POINT', 'no mount point given')
    this.#target = path.resolve(mountpoint)
    await checkMountPoint(this.#target)
    const recording = this.options['dump-fuse']
    if (recording !== undefined) this.device.recorder = new FuseRecorder(recording)
    this.device.open()
    const mountOptions = this.options['fuse-mountopts']
    try {
      mountFuse({
        target: this.#target,
        source: this.options['fs-display-name'] ?? `glusterfs:${this.graph.volfileId}`,
        fd: this.device.fd,
        readOnly: this.options['read-only'],
        defaultPermissions: !this.acl,
        options: mountOptions,
      })
    } catch (error) {
      this.device.close()
      throw error
    }
    this.#mounted = true
    if (mountFlags(mountOptions, false).autoUnmount) {
      this.#autoUnmount = startAutoUnmount(this.#target)
    }
    const why = raiseReadAhead(this.#target)
    if (why !== undefined) this.log.info(`read-ahead stays at 128 KiB: ${why}`)
    this.device.start(this.#onMessage)
    this.#watch.start()
    this.log.info(`mounted on ${this.#target}`)
  }

  /** Unmounts lazily; `closed` resolves when the last user has left. */
  async unmount(): Promise<void> {
    if (!this.#mounted) return this.device.close()
    this.#mounted = false
    this.log.info(`Unmounting '${this.#target}'.`)
    this.#autoUnmount?.kill('SIGKILL')
    // Without a graph requests wait in the kernel, and the end of the mount behind them.
    if (this.#active === undefined) {
      await unmountFuse(this.#target)
      this.device.close()
      return
    }
    const unmounted = await unmountFuse(this.#target)
    if (!unmounted) this.log.warn(`'${this.#target}' could not be unmounted, or was already`)
  }

  #onClosed(): void {
    this.log.info(`Closing fuse connection to '${this.#target}'.`)
    this.#mounted = false
    this.#autoUnmount?.kill('SIGKILL')
    this.#watch.stop()
    this.kernelCache.stop()
    this.files.closeAll()
  }

  /**
   * Puts the bridge on top of a graph. The first one serves requests as soon as its bricks have
   * reported; a later one takes over from the one before then.
   */
  attach(graph: Graph): void {
    graph.top.parents.push(this as unknown as Xlator)
    const superseded = this.#next
    this.#next = graph
    this.#nextReported = false
    if (superseded !== undefined) this.onRetired(superseded)
  }

  override notify(event: Event, from: Xlator | undefined): void {
    switch (event.type) {
      case 'child-up':
      case 'child-down':
        if (this.#next === undefined || from !== this.#next.top) return
        this.#nextReported = true
        this.#startSwitch()
        return
      case 'auth-failed':
        this.log.error(`the bricks refuse this client: ${event.reason}`)
        this.onAuthFailed(event.reason)
        return
      case 'upcall':
        if (this.#active !== undefined && from === this.#active.graph.top) {
          invalidateOnUpcall(this, event.upcall)
        }
        return
      case 'invalidate-inode':
        if (event.stat === undefined) this.invalidator.inode(event.inode, true)
        else this.kernelCache.changed(event.inode, event.stat)
        return
      case 'upcalls-lost':
        this.kernelCache.lost()
        return
      default:
        return
    }
  }

  #startSwitch(): void {
    if (this.#switching !== undefined) return
    this.device.pause()
    this.#switching = this.#switch()
      .catch((error: unknown) => this.log.error({ err: error }, 'graph switch failed: a bug'))
      .finally(() => {
        this.#switching = undefined
        // Another one may have come up meanwhile.
        if (this.#nextReported) this.#startSwitch()
        else this.device.resume()
      })
  }

  async #switch(): Promise<void> {
    const graph = this.#next
    assert(graph !== undefined, 'a switch without a graph to switch to')
    this.#next = undefined
    this.#nextReported = false
    const old = this.#active
    if (old !== undefined) await this.#drain(old)
    this.#active = { graph, requests: 0, retired: false }
    this.kernelCache.use(graph)
    const first = await this.#lookupRoot(graph)
    this.#resolveFirstLookup(first)
    if (old === undefined) return
    await migrateFiles(this, old, graph)
    old.retired = true
    this.log.info(`switched to graph ${graph.id}`)
    if (old.requests === 0) this.onRetired(old.graph)
  }

  /** Is the request's graph the one that serves the file? */
  isServed(request: FuseRequest, file: OpenFile): boolean {
    return request.serving === (file.home ?? this.#active)
  }

  /** The file stays with the graph that is replaced now, and that graph with the file. */
  stayHome(file: OpenFile, home: Serving): void {
    home.requests++
    file.home = home
    file.ended = () => this.leave(home)
  }

  /** Takes a request off its graph; resolves when the newest one, or the file's own, serves it. */
  async moveOn(request: FuseRequest, file: OpenFile): Promise<void> {
    this.leave(request.serving as Serving)
    request.serving = undefined
    while (this.#switching !== undefined) await this.#switching
    assert(this.#active !== undefined, 'a request outlived its graph and there is no other')
    this.#serveBy(request, file.home ?? this.#active)
  }

  #serveBy(request: FuseRequest, serving: Serving): void {
    if (request.serving === serving) return
    if (request.serving !== undefined) this.leave(request.serving)
    request.serving = serving
    serving.requests++
  }

  /** A request is through with a graph; the last one ends a graph that was replaced. */
  leave(serving: Serving): void {
    serving.requests--
    const { retired, requests, graph } = serving as ActiveGraph
    if (retired && requests === 0) this.onRetired(graph)
  }

  /** Waits, not for ever, until nothing is under way on a graph. */
  async #drain(old: ActiveGraph): Promise<void> {
    const frame = this.graph.pool.begin(this as unknown as Xlator, 'graph switch', ROOT_CREDS)
    const left = this.#locks.leave(old, frame)
    void left.finally(() => frame.stack.end())
    const deadline = clock.now() + SWITCH_DRAIN_MS
    while (old.requests > 0 && clock.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer: Timer = clock.after(SWITCH_POLL_MS, resolve)
        void timer
      })
    }
  }

  async #lookupRoot(graph: Graph): Promise<Rep<'lookup'>> {
    const frame = this.graph.pool.begin(this as unknown as Xlator, 'first lookup', ROOT_CREDS)
    try {
      const loc = Loc.ofInode(this.table.root)
      const xdata = new Dict().setGfid('gfid-req', ROOT_GFID)
      const rep = await frame.wind(graph.top, 'lookup', { loc, xdata })
      if (rep.errno === 0) this.table.root.lookedUpGraph = graph.id
      else this.log.error({ errno: errnoName(rep.errno) }, 'first lookup of the root failed')
      return rep
    } finally {
      frame.stack.end()
    }
  }

  // Requests ------------------------------------------------------------------------------------

  readonly #onMessage = (message: Buffer, end: number): void => {
    if (end < IN_HEADER_BYTES || message.readUInt32LE(0) !== end) {
      this.log.error(`the kernel sent ${end} bytes that are no request; closing the device`)
      this.device.close()
      return
    }
    const opcode = message.readUInt32LE(4)
    const entry = opcodes[opcode]
    const unique = u64(message, 8)
    if (entry === undefined) {
      if (refusedOpcodes[opcode] === undefined) this.log.info(`opcode ${opcode} is not known`)
      this.device.replyError(unique, E.NOSYS)
      return
    }
    if (end < IN_HEADER_BYTES + entry.min) {
      this.log.error(`the kernel sent a ${entry.name} of ${end} bytes`)
      if (!entry.oneWay) this.device.replyError(unique, E.INVAL)
      return
    }
    this.#serve(entry, message, end)
  }

  #serve(entry: (typeof opcodes)[number], message: Buffer, end: number): void {
    const uid = message.readUInt32LE(24)
    const gid = message.readUInt32LE(28)
    const creds = entry.oneWay
      ? ROOT_CREDS
      : this.#credentials.of(uid, gid, message.readUInt32LE(32))
    const frame = this.graph.pool.begin(
      this as unknown as Xlator,
      entry.name,
      creds,
      u64(message, 8),
    )
    const active = this.#active
    const request = new FuseRequest(this.device, message, frame, active)
    if (active !== undefined) active.requests++
    try {
      const answer = entry.run(this.#ops, request, message, end)
      if (answer instanceof Promise) {
        answer.then(
          () => this.#finish(entry, request),
          (error: unknown) => this.#fail(entry, request, error),
        )
      } else this.#finish(entry, request)
    } catch (error) {
      this.#fail(entry, request, error)
    }
  }

  #finish(entry: (typeof opcodes)[number], request: FuseRequest): void {
    request.frame.stack.end()
    request.cleanup?.()
    if (request.serving !== undefined) this.leave(request.serving)
    request.serving = undefined
    if (!request.answered && !entry.oneWay) {
      this.log.error(`${entry.name} was not answered: this is a bug`)
      request.error(E.IO)
    }
  }

  /** A throw in a fop is a bug: the caller gets EIO, the log the way it took. */
  #fail(entry: (typeof opcodes)[number], request: FuseRequest, error: unknown): void {
    const frames = request.frame.stack
      .frames()
      .map((frame) => `${frame.xl.name}.${frame.fop ?? entry.name}${frame.complete ? '' : ' *'}`)
    this.log.error({ err: error, frames }, `${entry.name} failed: this is a bug`)
    if (!entry.oneWay) {
      try {
        request.error(E.IO)
      } catch (again) {
        this.log.error({ err: again }, 'nor could it be answered')
      }
    }
    this.#finish(entry, request)
  }

  // Shared by the operations --------------------------------------------------------------------

  /** The inode of the request's node id. The kernel only names what it was given. */
  inodeOf(request: FuseRequest): Inode | undefined {
    return this.table.byNodeid(request.nodeid)
  }

  /**
   * Marks the file as used by the request until it is finished; the request goes to the file's
   * graph.
   */
  hold(request: FuseRequest, file: OpenFile): void {
    file.users++
    if (file.home !== undefined) this.#serveBy(request, file.home)
    // COPY_FILE_RANGE holds two.
    const { cleanup } = request
    request.cleanup = () => {
      cleanup?.()
      this.files.done(file)
    }
  }

  /**
   * Makes sure that the active graph's translators know the inode: one only seen in a directory
   * listing, or before a graph switch, is looked up by gfid first. 0 or the errno to answer.
   */
  ready(request: FuseRequest, inode: Inode): MaybePromise<0 | Errno> {
    if (inode.lookedUpGraph === request.top.graph.id) return 0
    return lookupInode(this.log, request.frame, request.top, inode)
  }

  /**
   * The table's inode for an entry reply, counted once for the kernel; `undefined` when the reply
   * cannot be true (no gfid, or a known gfid with another file type).
   */
  linkEntry(
    request: FuseRequest,
    inode: Inode,
    parent: Inode,
    name: string,
    stat: Iatt,
  ): Inode | undefined {
    const linked = stat.gfid === NULL_GFID ? undefined : this.table.link(inode, parent, name, stat)
    if (linked === undefined) {
      this.log.error(`bad reply for '${inodePath(parent)}' / '${name}': gfid or type is wrong`)
      return undefined
    }
    linked.lookedUpGraph = request.top.graph.id
    this.table.countLookup(linked)
    this.invalidator.found(linked)
    this.observe(linked, stat)
    return linked
  }

  /** Links and answers an entry reply. */
  replyEntry(request: FuseRequest, inode: Inode, parent: Inode, name: string, stat: Iatt): void {
    const linked = this.linkEntry(request, inode, parent, name, stat)
    if (linked === undefined) {
      request.error(E.IO)
      return
    }
    const taken = request.entry({
      nodeid: linked.nodeid,
      gfid: linked.gfid,
      stat,
      entryValid: this.kernelCache.entry(parent, name, linked),
      attrValid: this.kernelCache.attributes(linked, stat),
    })
    if (!taken) this.takeBack(linked)
    else giveBackIdleInodes(this)
  }

  /** The kernel did not take an entry reply. */
  takeBack(inode: Inode): void {
    this.seen.get(inode)?.clear()
    this.table.forget(inode, 1)
  }

  /** The kernel is being told the inode's attributes. */
  observe(inode: Inode, stat: Iatt): void {
    this.seen.need(inode, newSeen).set(stat)
  }

  /** The inode's mode, learned without telling the kernel. */
  sawMode(inode: Inode, mode: number): void {
    this.seen.need(inode, newSeen).mode = mode
  }

  /** The kernel is about to have, or has not any more, pages of the file. */
  sawPages(inode: Inode, some: boolean): void {
    this.seen.need(inode, newSeen).pages = some
  }

  /**
   * A write by somebody unprivileged must end the file's set-uid or set-gid, as far as is known.
   */
  mayBePrivileged(inode: Inode): boolean {
    return isPrivileged(this.seen.get(inode)?.mode ?? 0)
  }

  /** Tells the kernel the inode's attributes, or not, if it does not take them. */
  replyAttr(request: FuseRequest, inode: Inode, stat: Iatt): void {
    this.observe(inode, stat)
    const valid = this.kernelCache.attributes(inode, stat)
    if (!request.attr(inode.gfid, stat, valid)) this.seen.get(inode)?.clear()
  }

  override dump(sink: DumpSink): void {
    dumpBridge(this, sink)
  }

  dumpFiles(sink: DumpSink): void {
    dumpOpenFiles(this, sink)
  }

  get tableLimits(): TableLimits {
    return {
      lruLimit: this.options['lru-limit'],
      invalidateSize: this.invalidator.waiting,
    }
  }

  override shownOptions(): ReadonlyMap<string, string> {
    return bridgeOptionsShown(this)
  }
}

/** Throws GlusterError OPTION_INVALID. */
function parseDirectIo(text: string): boolean {
  if (text.toLowerCase() === 'auto') return false
  const value = parseBool(text)
  if (value === undefined) {
    throw new GlusterError('OPTION_INVALID', `direct-io-mode '${text}': must be on, off or auto`)
  }
  return value
}
