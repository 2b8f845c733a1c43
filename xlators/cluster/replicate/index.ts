/**
 * cluster/replicate (AFR): every brick holds a whole copy; counters in xattrs (trusted.afr.*) tell
 * which copies missed a change. Changes go to all bricks under a lock, reads to one good copy.
 *
 * As stock 10.3 on the bricks, except: a change is marked once per lock rather than per fop; a
 * brick that failed in a lock gets no more changes in it; fds are reached through anonymous fds on
 * bricks where they could not be opened; bricks that want the lock back are heard (contention);
 * changes of names in quick succession share one lock of their directory, changes of metadata one
 * of their object; a new file that is likely to be written is locked and marked ahead.
 */
import { assert } from '../../../src/core/assert.ts'
import { clock } from '../../../src/core/clock.ts'
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import { type Event, UP_INVAL_ATTR } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type Fop, type FopName, fopNames, type MaybePromise } from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import { defineXlator, type Xlator } from '../../../src/core/xlator.ts'
import { childOfDirOffset } from '../../../src/graph/dir-offset.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { bit, bricksOf, has } from '../common/mask.ts'
import { OverBricks } from '../common/over-bricks.ts'
import { UpState } from '../common/up-state.ts'
import { Afterwards } from './afterwards.ts'
import { Anticipation } from './anticipation.ts'
import * as attributes from './attributes.ts'
import { ChangeLog, DATA, METADATA } from './change-log.ts'
import { DirectoryLock } from './directory-lock.ts'
import * as entry from './entry.ts'
import { Halo } from './halo.ts'
import { ReplicateHeals } from './heal-queue.ts'
import { InodeLock, type Use, WHOLE } from './inode-lock.ts'
import { InodeState } from './inode-state.ts'
import { lookup } from './lookup.ts'
import * as open from './open.ts'
import { options } from './options.ts'
import { Quorum } from './quorum.ts'
import * as read from './read.ts'
import { type Known, ReadChild } from './read-child.ts'
import * as readdir from './readdir.ts'
import { NOTIFY, ThinArbiter } from './thin-arbiter.ts'
import * as userLocks from './user-locks.ts'
import { virtualGetxattr, virtualSetxattr } from './virtual-xattrs.ts'
import * as write from './write.ts'

export interface FdState {
  /** Bricks it was opened on. */
  opened: number
  /** Bricks where it stands for another file. */
  readonly foreign: number
  /** Bricks where it is being opened now. */
  opening: number
  /** The set of bricks it was last tried with to open it on more of them. */
  triedIn: number
  /** It was used for a POSIX lock. */
  locked: boolean
  /** Its file was made by opening it, and nothing was written yet. */
  isNew: boolean
  isFlushed: boolean
}

/** Fops that consistent-io leaves alone. */
const LOCK_FOPS = new Set<FopName>(['lk', 'inodelk', 'finodelk', 'entrylk', 'fentrylk'])

type AnyReply = MaybePromise<{ errno: number }>

const TELL_AGAIN_MS = 60_000
/** Paths remembered for that. */
const TOLD_MAX = 1024

/** Copies at most, as in stock. */
const CHILDREN_MAX = 16

export class Replicate extends OverBricks<typeof options> {
  // Made in `init`, when the bricks are known.
  /** Bricks with a copy, the arbiter among them, in volfile order. */
  bricks: readonly Xlator[] = []
  /** Mask of all of them. */
  all = 0
  arbiterMask = 0
  changes = new ChangeLog([], '', '', 0)
  quorum = new Quorum(0, undefined, undefined)
  thinArbiter: ThinArbiter | undefined
  /** Extra data of writes that have none of their own. */
  writeXdata = new Dict()
  /** Reads under way, by brick. */
  pendingReads: number[] = []
  #upState: UpState | undefined
  // From here on independent of the bricks.
  readonly heals = new ReplicateHeals(this)
  readonly reads = new ReadChild(this)
  readonly anticipation = new Anticipation(this)
  readonly afterwards = new Afterwards()
  readonly #halo = new Halo(this.reads.latencyMs)
  /** Counts changes of the set of connected bricks. */
  generation = 0
  /** Milliseconds a choice of a copy in split-brain lasts. */
  choiceMs = 300_000
  /** Some brick holds marks for others: what a brick lists need not be current. */
  needHeal = true
  /** Equal copies have times of their own, as without features/utime. */
  timesDiffer = false
  readonly #states = new InodeContext<InodeState>(this.self)
  readonly #fds = new FdContext<FdState>(this.self)
  /** Locks in use or kept, and of them those that later fops may share, by kind. */
  readonly #locks = new Set<InodeLock>()
  readonly #shared: readonly [Map<Gfid, InodeLock>, Map<Gfid, InodeLock>] = [new Map(), new Map()]
  /** Directories with all names locked. */
  readonly #keptDirectories = new Set<DirectoryLock>()
  /** When something was logged of a path, oldest first. */
  readonly #told = new Map<string, number>()
  /** Ends of transactions nobody waits for. */
  #jobs = 0
  /** Fops check at their end what consistent-io demands. */
  #isGuarded = false
  #draining = false
  #drained: (() => void) | undefined

  override init(): void {
    const { options } = this
    const volume = `volume '${this.name}' (${this.type})`
    const isThin = options['thin-arbiter'] !== ''
    if (isThin && this.children.length !== 3) {
      throw new GlusterError(
        'VOLFILE_INVALID',
        `${volume}: a thin arbiter needs 2 bricks beside it`,
      )
    }
    const bricks = isThin ? this.children.slice(0, 2) : this.children
    const pending = pendingKeys(options['afr-pending-xattr'], this.children)
    if (pending === undefined) {
      throw new GlusterError(
        'VOLFILE_INVALID',
        `${volume}: option afr-pending-xattr must name all ${this.children.length} bricks`,
      )
    }
    if (options['arbiter-count'] === 1 && bricks.length !== 3) {
      throw new GlusterError('VOLFILE_INVALID', `${volume}: an arbiter needs 3 bricks`)
    }
    this.bricks = bricks
    this.all = bit(bricks.length) - 1
    this.arbiterMask = options['arbiter-count'] === 1 ? bit(2) : 0
    this.changes = new ChangeLog(
      pending.slice(0, bricks.length),
      options['afr-dirty-xattr'],
      this.name,
      this.arbiterMask,
    )
    if (isThin) this.thinArbiter = new ThinArbiter(this, this.children[2]!, pending[2]!)
    this.writeXdata = write.writeXdata(this, undefined)
    this.pendingReads = bricks.map(() => 0)
    this.#upState = new UpState(bricks.length, 1, (event) => this.notifyParents(event))
    this.#apply(options)
  }

  /** What is kept for later reaches the bricks before the connections close. */
  override async drain(): Promise<void> {
    this.#draining = true
    this.releaseLocks()
    if (this.lockCount === 0) return
    await new Promise<void>((resolve) => {
      this.#drained = resolve
    })
  }

  override fini(): void {
    this.#upState?.stop()
  }

  override reconfigure(changed: OptionValues<typeof options>): void {
    for (const key of FIXED) {
      if (changed[key] !== this.options[key]) {
        throw new GlusterError('VOLFILE_INVALID', `${this.name}: ${key} cannot be changed`)
      }
    }
    this.#apply(changed)
    super.reconfigure(changed)
  }

  #apply(given: OptionValues<typeof options>): void {
    this.quorum = new Quorum(this.bricks.length, given['quorum-type'], given['quorum-count'])
    this.reads.configure(given)
    this.#halo.configure({
      enabled: given['halo-enabled'],
      maxLatencyMs: given['halo-max-latency'],
      minReplicas: given['halo-min-replicas'],
      maxReplicas: given['halo-max-replicas'],
    })
    this.#bricksChanged(0)
    if (given['consistent-io'] && !this.#isGuarded) this.#guard()
  }

  /** consistent-io: a brick that came or went meanwhile may have missed what was done. */
  #guard(): void {
    this.#isGuarded = true
    const table = this as unknown as Record<FopName, (frame: Frame, req: unknown) => AnyReply>
    const judge = (rep: { errno: number }, generation: number) =>
      this.options['consistent-io'] && generation !== this.generation ? { errno: E.NOTCONN } : rep
    for (const fop of fopNames) {
      const own = table[fop]
      if (LOCK_FOPS.has(fop)) continue
      table[fop] = (frame, req) => {
        const { generation } = this
        const rep = own(frame, req)
        if (!(rep instanceof Promise)) return judge(rep, generation)
        return rep.then((answer) => judge(answer, generation))
      }
    }
  }

  lookup: Fop<'lookup'> = (frame, req) => lookup(this, frame, req)
  stat: Fop<'stat'> = (frame, req) => read.stat(this, frame, req)
  readlink: Fop<'readlink'> = (frame, req) => read.readlink(this, frame, req)
  mknod: Fop<'mknod'> = (frame, req) => entry.mknod(this, frame, req)
  mkdir: Fop<'mkdir'> = (frame, req) => entry.mkdir(this, frame, req)
  unlink: Fop<'unlink'> = (frame, req) => entry.unlink(this, frame, req)
  rmdir: Fop<'rmdir'> = (frame, req) => entry.rmdir(this, frame, req)
  symlink: Fop<'symlink'> = (frame, req) => entry.symlink(this, frame, req)
  rename: Fop<'rename'> = (frame, req) => entry.rename(this, frame, req)
  link: Fop<'link'> = (frame, req) => entry.link(this, frame, req)
  truncate: Fop<'truncate'> = (frame, req) => write.truncate(this, frame, req)
  open: Fop<'open'> = (frame, req) => open.open(this, frame, req)
  readv: Fop<'readv'> = (frame, req) => read.readv(this, frame, req)
  writev: Fop<'writev'> = (frame, req) => write.writev(this, frame, req)
  statfs: Fop<'statfs'> = (frame, req) => open.statfs(this, frame, req)
  flush: Fop<'flush'> = (frame, req) => open.flush(this, frame, req)
  fsync: Fop<'fsync'> = (frame, req) => write.fsync(this, frame, req)
  setxattr: Fop<'setxattr'> = (frame, req) =>
    virtualSetxattr(this, frame, req) ?? attributes.setxattr(this, frame, req)
  getxattr: Fop<'getxattr'> = (frame, req) =>
    virtualGetxattr(this, frame, req) ?? read.getxattr(this, frame, req)
  removexattr: Fop<'removexattr'> = (frame, req) => attributes.removexattr(this, frame, req)
  opendir: Fop<'opendir'> = (frame, req) => open.opendir(this, frame, req)
  fsyncdir: Fop<'fsyncdir'> = (frame, req) => open.fsyncdir(this, frame, req)
  access: Fop<'access'> = (frame, req) => read.access(this, frame, req)
  create: Fop<'create'> = (frame, req) => entry.create(this, frame, req)
  ftruncate: Fop<'ftruncate'> = (frame, req) => write.ftruncate(this, frame, req)
  fstat: Fop<'fstat'> = (frame, req) => read.fstat(this, frame, req)
  lk: Fop<'lk'> = (frame, req) => userLocks.lk(this, frame, req)
  readdir: Fop<'readdir'> = (frame, req) => readdir.readdir(this, frame, req)
  inodelk: Fop<'inodelk'> = (frame, req) => userLocks.inodelk(this, frame, req)
  finodelk: Fop<'finodelk'> = (frame, req) => userLocks.finodelk(this, frame, req)
  entrylk: Fop<'entrylk'> = (frame, req) => userLocks.entrylk(this, frame, req)
  fentrylk: Fop<'fentrylk'> = (frame, req) => userLocks.fentrylk(this, frame, req)
  xattrop: Fop<'xattrop'> = (frame, req) => attributes.xattrop(this, frame, req)
  fxattrop: Fop<'fxattrop'> = (frame, req) => attributes.fxattrop(this, frame, req)
  fgetxattr: Fop<'fgetxattr'> = (frame, req) => read.fgetxattr(this, frame, req)
  fsetxattr: Fop<'fsetxattr'> = (frame, req) => attributes.fsetxattr(this, frame, req)
  setattr: Fop<'setattr'> = (frame, req) => attributes.setattr(this, frame, req)
  fsetattr: Fop<'fsetattr'> = (frame, req) => attributes.fsetattr(this, frame, req)
  readdirp: Fop<'readdirp'> = (frame, req) => readdir.readdirp(this, frame, req)
  fremovexattr: Fop<'fremovexattr'> = (frame, req) => attributes.fremovexattr(this, frame, req)
  fallocate: Fop<'fallocate'> = (frame, req) => write.fallocate(this, frame, req)
  discard: Fop<'discard'> = (frame, req) => write.discard(this, frame, req)
  zerofill: Fop<'zerofill'> = (frame, req) => write.zerofill(this, frame, req)
  ipc: Fop<'ipc'> = (frame, req) => open.ipc(this, frame, req)
  seek: Fop<'seek'> = (frame, req) => read.seek(this, frame, req)

  override notify(event: Event, from: Xlator | undefined): void {
    switch (event.type) {
      case 'parent-up':
        this.#state.start()
        break
      case 'parent-down':
        this.#state.stop()
        this.releaseLocks()
        break
      case 'child-up':
      case 'child-down':
        this.#connection(this.bricks.indexOf(from!), event.type === 'child-up')
        return
      case 'child-ping':
        this.#ping(this.bricks.indexOf(from!), event.latencyMs)
        return
      case 'upcall':
        this.#upcall(event, from)
        return
      default:
        break
    }
    super.notify(event, from)
  }

  override release(fd: Fd): void {
    const state = this.#fds.get(fd)
    if (state?.isNew === true) this.anticipation.unwritten()
  }

  override dump(sink: DumpSink): void {
    const { options, up } = this
    sink.section(`${this.type}.${this.name}`)
    sink.pair('child_count', this.bricks.length)
    this.bricks.forEach((_brick, index) => {
      sink.pair(`child_up[${index}]`, Number(has(up, index)))
      sink.pair(`pending_key[${index}]`, this.changes.pending[index]!)
      sink.pair(`pending_reads[${index}]`, this.pendingReads[index]!)
      sink.pair(`child_latency[${index}]`, Math.round(this.reads.latencyMs[index] ?? -1))
      sink.pair(`halo_child_up[${index}]`, Number(has(this.#halo.connected, index)))
    })
    sink.pair('data_self_heal', Number(options['data-self-heal']))
    sink.pair('metadata_self_heal', Number(options['metadata-self-heal']))
    sink.pair('entry_self_heal', Number(options['entry-self-heal']))
    sink.pair('read_child', this.reads.preferred)
    sink.pair('wait_count', 1)
    sink.pair('heal-wait-queue-length', options['heal-wait-queue-length'])
    sink.pair('heal-waiters', this.heals.waiting)
    sink.pair('background-self-heal-count', options['background-self-heal-count'])
    sink.pair('healers', this.heals.running)
    sink.pair('read-hash-mode', options['read-hash-mode'])
    sink.pair('use-anonymous-inode', Number(options['use-anonymous-inode']))
    sink.pair('quorum-type', this.quorum.type)
    if (this.quorum.type === 'fixed') sink.pair('quorum-count', this.quorum.count)
    sink.pair('up', Number(up !== 0))
  }

  /** Mask of connected bricks. */
  get up(): number {
    return this.#state.up
  }

  /** May anything be done at all with the bricks that are there? */
  admit(): Errno | 0 {
    const { up } = this
    if (up === 0 || !this.quorum.in(up)) return E.NOTCONN
    if (this.options['consistent-io'] && up !== this.all) return E.NOTCONN
    return 0
  }

  /** Milliseconds a lock is kept for the next write. */
  get delayMs(): number {
    return this.#draining ? 0 : this.options['post-op-delay-secs'] * 1000
  }

  state(inode: Inode): InodeState {
    return this.#states.need(inode, () => new InodeState())
  }

  /** Copies of `inode` differ, those on the bricks in `failed` for sure: all are asked again. */
  doubt(inode: Inode, failed = 0): void {
    const state = this.state(inode)
    state.doubts++
    state.data &= ~failed
    state.metadata &= ~failed
  }

  /** The brick to read `inode` from among those in `mask`; -1 when there is none. */
  readBrick(inode: Known, mask: number, pid: number): number {
    return this.reads.pick(inode, mask, pid)
  }

  /** The brick in `mask` whose word on `inode` is passed on: one with the data, if possible. */
  spokesman(inode: Inode, mask: number, pid = 0): number {
    const good = this.state(inode).readable & mask
    const candidates = good !== 0 ? good : mask & ~this.arbiterMask
    return this.reads.pick(inode, candidates !== 0 ? candidates : mask, pid)
  }

  /** The lock of `inode` for changes of one kind. */
  lockOf(inode: Inode, gfid: Gfid, slot: typeof DATA | typeof METADATA, use: Use): InodeLock {
    const { options } = this
    if (!options['eager-lock']) {
      const whole = this.arbiterMask !== 0 || options['full-lock']
      const lock = new InodeLock(this, inode, gfid, slot, false, whole ? WHOLE : use)
      this.#locks.add(lock)
      return lock
    }
    const shared = this.#shared[slot]
    let lock = shared.get(gfid)
    if (lock === undefined) {
      lock = new InodeLock(this, inode, gfid, slot, true)
      shared.set(gfid, lock)
      this.#locks.add(lock)
    }
    return lock
  }

  /** A heal wants the locks of an object: what is only kept for later is let go. */
  contendedHere(gfid: Gfid): void {
    for (const shared of this.#shared) shared.get(gfid)?.contended()
    for (const lock of this.#keptDirectories) if (lock.directory.gfid === gfid) lock.giveUp()
  }

  directoryLock(directory: Inode): DirectoryLock {
    const state = this.state(directory)
    state.names ??= new DirectoryLock(this, directory)
    return state.names
  }

  /** Whether locks of names may be kept for later changes. */
  get keepsNames(): boolean {
    const { options } = this
    const wanted = options['eager-lock'] && options['optimistic-change-log'] && this.delayMs > 0
    return wanted && this.thinArbiter === undefined
  }

  namesKept(lock: DirectoryLock): void {
    this.#keptDirectories.add(lock)
  }

  namesFreed(lock: DirectoryLock): void {
    this.#keptDirectories.delete(lock)
  }

  /** The shared lock for data, where there is one. */
  dataLock(gfid: Gfid): InodeLock | undefined {
    return this.#shared[DATA].get(gfid)
  }

  dropLock(lock: InodeLock): void {
    this.#locks.delete(lock)
    const shared = this.#shared[lock.slot]
    if (shared.get(lock.gfid) === lock) shared.delete(lock.gfid)
    this.#checkDrained()
  }

  /** Lets every lock go that no fop uses, the others when their fops are done. */
  releaseLocks(): void {
    for (const lock of this.#locks) lock.contended()
    for (const lock of this.#keptDirectories) lock.giveUp()
  }

  /** Locks held or waited for, and ends of transactions under way; for tests and dumps. */
  get lockCount(): number {
    return this.#locks.size + this.#keptDirectories.size + this.#jobs
  }

  /** Runs the end of a transaction whose user has been answered. */
  background(type: string, creds: Creds, job: (frame: Frame) => Promise<void>): void {
    this.#jobs++
    void this.graph.pool.background(this.self, type, creds, job).finally(() => {
      this.#jobs--
      this.#checkDrained()
    })
  }

  #checkDrained(): void {
    if (this.lockCount === 0) this.#drained?.()
  }

  /** The change log of `inode` could not be settled: the mark stays for a heal to find. */
  lostUpdate(inode: Inode, errno: Errno): void {
    if (errno === E.NOENT || errno === E.STALE) return
    this.log.warn({ inode: inodePath(inode), errno: errnoName(errno) }, 'post-op failed')
  }

  /** Logs what is wrong with the object at `path`, at most once a minute. */
  tell(path: string, text: string): void {
    const now = clock.now()
    const last = this.#told.get(path)
    if (last !== undefined && now - last < TELL_AGAIN_MS) return
    this.#told.delete(path)
    if (this.#told.size >= TOLD_MAX) {
      const [oldest] = this.#told.keys()
      this.#told.delete(oldest!)
    }
    this.#told.set(path, now)
    this.log.error(text)
  }

  /** `foreign`: bricks where it was opened on another file of the same name. */
  fdOpened(fd: Fd, bricks: number, foreign = 0): FdState {
    const state: FdState = {
      opened: bricks,
      foreign,
      opening: 0,
      triedIn: -1,
      locked: false,
      isNew: false,
      isFlushed: false,
    }
    this.#fds.set(fd, state)
    return state
  }

  /** Bricks that would do to another file what is asked of `fd`. */
  foreignTo(fd: Fd | undefined): number {
    return fd === undefined ? 0 : (this.#fds.get(fd)?.foreign ?? 0)
  }

  /** Where `fd` was opened; `undefined` for an fd of somebody else's making. */
  fdState(fd: Fd): FdState | undefined {
    return this.#fds.get(fd)
  }

  /** Index of the brick that made a directory offset, -1 when it is none of ours. */
  brickOfOffset(offset: bigint): number {
    const child = childOfDirOffset(this.self, offset)
    return child === undefined ? -1 : this.bricks.indexOf(child)
  }

  get #state(): UpState {
    assert(this.#upState !== undefined, 'replicate used before init')
    return this.#upState
  }

  #connection(brick: number, isUp: boolean): void {
    if (brick < 0) {
      if (!isUp) this.thinArbiter?.disconnected()
      return
    }
    if (isUp) this.#halo.connect(brick)
    else this.#halo.disconnect(brick)
    this.#bricksChanged(bit(brick))
  }

  #ping(brick: number, latencyMs: number): void {
    if (brick < 0) return
    this.reads.latencyMs[brick] = latencyMs
    this.#halo.ping(brick)
    this.#bricksChanged(0)
  }

  /** Other bricks are to be used, or those in `told` said what they are. */
  #bricksChanged(told: number): void {
    const { used } = this.#halo
    const changed = this.up ^ used
    if ((changed | told) === 0) return
    if (changed !== 0) {
      this.generation++
      this.needHeal = true
      this.reads.bricksChanged()
      for (const lost of bricksOf(changed & ~used)) {
        for (const lock of this.#locks) lock.session?.brickLost(lost)
      }
    }
    for (const brick of bricksOf(changed | told)) this.#state.brick(brick, has(used, brick))
    for (const lock of this.#locks) lock.bricksChanged()
    if (changed !== 0) for (const lock of this.#keptDirectories) lock.giveUp()
  }

  #upcall(event: Event & { type: 'upcall' }, from: Xlator | undefined): void {
    const { upcall } = event
    if (upcall.type === 'inodelk-contention' && upcall.domain === this.name) {
      this.dataLock(upcall.gfid)?.contended()
      return
    }
    if (upcall.type === 'inodelk-contention' && upcall.domain === `${this.name}:metadata`) {
      this.#shared[METADATA].get(upcall.gfid)?.contended()
      return
    }
    if (upcall.type === 'inodelk-contention' && upcall.domain === NOTIFY) {
      this.thinArbiter?.contended()
      return
    }
    if (upcall.type !== 'cache-invalidation') {
      super.notify(event, from)
      return
    }
    const blames = this.changes.pending.some((key) => upcall.xdata?.has(key))
    if (!blames) {
      super.notify(event, from)
      return
    }
    // Somebody recorded that a brick missed a change.
    const inode = this.graph.inodes.byGfid(upcall.gfid)
    if (inode !== undefined) this.doubt(inode)
    const flags = upcall.flags | UP_INVAL_ATTR
    super.notify({ type: 'upcall', upcall: { ...upcall, flags } }, from)
  }
}

/** Options that say what the bricks are. */
const FIXED = ['arbiter-count', 'thin-arbiter', 'afr-pending-xattr', 'afr-dirty-xattr'] as const

/** Keys of the change log by brick; volfiles may number children anew, never these. */
function pendingKeys(given: string | undefined, children: readonly Xlator[]): string[] | undefined {
  const names = given?.split(',').map((name) => name.trim()) ?? children.map(({ name }) => name)
  if (names.length !== children.length || names.includes('')) return undefined
  return names.map((name) => `trusted.afr.${name}`)
}

export default defineXlator({
  type: 'cluster/replicate',
  class: Replicate,
  options,
  children: { min: 2, max: CHILDREN_MAX },
})
