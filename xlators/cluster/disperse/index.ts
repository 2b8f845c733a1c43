/**
 * cluster/disperse: a file is cut in stripes of K chunks and every brick keeps one combination of
 * them, so that any K of N bricks hold it all (ec.c). Bricks are locked for every change and every
 * read; counters in xattrs (trusted.ec.*) tell which bricks missed a change.
 *
 * As stock 10.3 on the bricks, except: a hole is clipped at the end of the file; a change that
 * found no quorum keeps the file marked for self-heal; bricks that took a change which failed on
 * most of the others fall behind instead of passing for equal.
 */
import { assert } from '../../../src/core/assert.ts'
import { FdContext } from '../../../src/core/context.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import { type Event, UP_INVAL_ATTR } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { S_IFDIR } from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import { defineXlator, type Xlator } from '../../../src/core/xlator.ts'
import { childOfDirOffset } from '../../../src/graph/dir-offset.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { firstOfGfid } from '../common/gfid-hash.ts'
import { IdleLocks } from '../common/idle-locks.ts'
import { bit, bricksOf, count, has } from '../common/mask.ts'
import { OverBricks } from '../common/over-bricks.ts'
import { UpState } from '../common/up-state.ts'
import { type Agreed, Agreements } from './agreement.ts'
import * as attributes from './attributes.ts'
import {
  CHUNK_SIZE,
  createCodec,
  DATA_COUNT_MAX,
  type FragmentCodec,
  Geometry,
} from './codec/index.ts'
import * as entry from './entry.ts'
import { DisperseHeals } from './heal-queue.ts'
import { InodeLock } from './inode-lock.ts'
import { lookup } from './lookup.ts'
import * as open from './open.ts'
import { options } from './options.ts'
import * as read from './read.ts'
import * as resize from './resize.ts'
import type { Session } from './session.ts'
import { newStripeStats } from './stripe-cache.ts'
import { type Intent, isHealFrame } from './transaction.ts'
import * as userLocks from './user-locks.ts'
import { virtualXattr } from './virtual-xattrs.ts'
import { writev } from './write.ts'

/** O_CREAT, O_EXCL, O_TRUNC and O_APPEND have had their effect, or have it here. */
const NOT_AGAIN = 0o100 | 0o200 | 0o1000 | 0o2000

interface FdState {
  /** Bricks it was opened on. */
  opened: number
  /** A post-op failed: what was written may not be there. Reported by flush and fsync. */
  lost: boolean
}

export class Disperse extends OverBricks<typeof options> {
  readonly heals = new DisperseHeals(this)
  readonly agreements = new Agreements()
  readonly idleLocks = new IdleLocks()
  readonly stripeStats = newStripeStats()
  /**
   * Fragments may be lent to the children: they hold a loan while they need the bytes, as
   * protocol/client does. Others might keep the bytes of a write they have answered.
   */
  lends = false
  readonly #locks = new Map<Gfid, InodeLock>()
  readonly #fds = new FdContext<FdState>(this.self)
  // Made in `init`, when the bricks are known.
  #parts: { geometry: Geometry; codec: FragmentCodec; state: UpState } | undefined
  /** The graph is about to stop: no lock is kept any more. */
  #draining = false
  #drained: (() => void) | undefined
  #readMask = ~0
  #roundRobin = 0

  override init(): void {
    const volume = `volume '${this.name}' (${this.type})`
    const { redundancy } = this.options
    if (redundancy === undefined) {
      throw new GlusterError('VOLFILE_INVALID', `${volume}: option 'redundancy' is missing`)
    }
    const brickCount = this.children.length
    const dataCount = brickCount - redundancy
    if (redundancy >= dataCount || dataCount > DATA_COUNT_MAX) {
      throw new GlusterError(
        'VOLFILE_INVALID',
        `${volume}: ${brickCount} bricks with redundancy ${redundancy}: needs 1 <= redundancy < ` +
          `data bricks <= ${DATA_COUNT_MAX}`,
      )
    }
    const geometry = new Geometry(dataCount, redundancy)
    this.#parts = {
      geometry,
      codec: createCodec(geometry),
      state: new UpState(brickCount, dataCount, (event) => this.notifyParents(event)),
    }
    this.lends = this.children.every((child) => child.type === 'protocol/client')
    this.#readMask = this.#parseReadMask(this.options)
    this.#checkQuorum(this.options)
  }

  /** The counters of idle sessions reach the bricks before the connections close. */
  override async drain(): Promise<void> {
    this.#draining = true
    this.releaseLocks()
    if (this.#locks.size === 0) return
    await new Promise<void>((resolve) => {
      this.#drained = resolve
    })
  }

  override fini(): void {
    this.idleLocks.stop()
    this.#parts?.state.stop()
  }

  override reconfigure(changed: OptionValues<typeof options>): void {
    if (changed.redundancy !== this.options.redundancy) {
      throw new GlusterError('VOLFILE_INVALID', `${this.name}: redundancy cannot be changed`)
    }
    const readMask = this.#parseReadMask(changed)
    this.#checkQuorum(changed)
    // What is refused changes nothing.
    this.#readMask = readMask
    super.reconfigure(changed)
  }

  lookup: Fop<'lookup'> = (frame, req) => lookup(this, frame, req)
  stat: Fop<'stat'> = (frame, req) => attributes.stat(this, frame, req)
  readlink: Fop<'readlink'> = (frame, req) => attributes.readlink(this, frame, req)
  mknod: Fop<'mknod'> = (frame, req) => entry.mknod(this, frame, req)
  mkdir: Fop<'mkdir'> = (frame, req) => entry.mkdir(this, frame, req)
  unlink: Fop<'unlink'> = (frame, req) => entry.unlink(this, frame, req)
  rmdir: Fop<'rmdir'> = (frame, req) => entry.rmdir(this, frame, req)
  symlink: Fop<'symlink'> = (frame, req) => entry.symlink(this, frame, req)
  rename: Fop<'rename'> = (frame, req) => entry.rename(this, frame, req)
  link: Fop<'link'> = (frame, req) => entry.link(this, frame, req)
  truncate: Fop<'truncate'> = (frame, req) => resize.truncate(this, frame, req)
  open: Fop<'open'> = (frame, req) => open.open(this, frame, req)
  readv: Fop<'readv'> = (frame, req) => read.readv(this, frame, req)
  writev: Fop<'writev'> = (frame, req) => writev(this, frame, req)
  statfs: Fop<'statfs'> = (frame, req) => open.statfs(this, frame, req)
  flush: Fop<'flush'> = (frame, req) => open.flush(this, frame, req)
  fsync: Fop<'fsync'> = (frame, req) => open.fsync(this, frame, req)
  setxattr: Fop<'setxattr'> = (frame, req) => attributes.setxattr(this, frame, req)
  getxattr: Fop<'getxattr'> = (frame, req) =>
    virtualXattr(this, frame, req) ?? attributes.getxattr(this, frame, req)
  removexattr: Fop<'removexattr'> = (frame, req) => attributes.removexattr(this, frame, req)
  opendir: Fop<'opendir'> = (frame, req) => open.opendir(this, frame, req)
  fsyncdir: Fop<'fsyncdir'> = (frame, req) => open.fsyncdir(this, frame, req)
  access: Fop<'access'> = (frame, req) => attributes.access(this, frame, req)
  create: Fop<'create'> = (frame, req) => entry.create(this, frame, req)
  ftruncate: Fop<'ftruncate'> = (frame, req) => resize.ftruncate(this, frame, req)
  fstat: Fop<'fstat'> = (frame, req) => attributes.fstat(this, frame, req)
  lk: Fop<'lk'> = (frame, req) => userLocks.lk(this, frame, req)
  readdir: Fop<'readdir'> = (frame, req) => open.readdir(this, frame, req)
  inodelk: Fop<'inodelk'> = (frame, req) => userLocks.inodelk(this, frame, req)
  finodelk: Fop<'finodelk'> = (frame, req) => userLocks.finodelk(this, frame, req)
  entrylk: Fop<'entrylk'> = (frame, req) => userLocks.entrylk(this, frame, req)
  fentrylk: Fop<'fentrylk'> = (frame, req) => userLocks.fentrylk(this, frame, req)
  xattrop: Fop<'xattrop'> = (frame, req) => attributes.xattrop(this, frame, req)
  fxattrop: Fop<'fxattrop'> = (frame, req) => attributes.fxattrop(this, frame, req)
  fgetxattr: Fop<'fgetxattr'> = (frame, req) => attributes.fgetxattr(this, frame, req)
  fsetxattr: Fop<'fsetxattr'> = (frame, req) => attributes.fsetxattr(this, frame, req)
  setattr: Fop<'setattr'> = (frame, req) => attributes.setattr(this, frame, req)
  fsetattr: Fop<'fsetattr'> = (frame, req) => attributes.fsetattr(this, frame, req)
  readdirp: Fop<'readdirp'> = (frame, req) => open.readdirp(this, frame, req)
  fremovexattr: Fop<'fremovexattr'> = (frame, req) => attributes.fremovexattr(this, frame, req)
  fallocate: Fop<'fallocate'> = (frame, req) => resize.fallocate(this, frame, req)
  discard: Fop<'discard'> = (frame, req) => resize.discard(this, frame, req)
  ipc: Fop<'ipc'> = (frame, req) => open.ipc(this, frame, req)
  seek: Fop<'seek'> = (frame, req) => read.seek(this, frame, req)
  zerofill: Fop<'zerofill'> = (frame, req) => resize.zerofill(this, frame, req)

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
      case 'child-down': {
        const brick = this.children.indexOf(from!)
        assert(brick >= 0, 'event from a translator that is no brick')
        this.agreements.endAll()
        this.#state.brick(brick, event.type === 'child-up')
        if (event.type === 'child-down') this.#brickLost(brick)
        return
      }
      case 'upcall':
        if (event.upcall.type === 'inodelk-contention' && event.upcall.domain === this.name) {
          this.#locks.get(event.upcall.gfid)?.contended()
          return
        }
        if (event.upcall.type === 'cache-invalidation') {
          // Sizes in it are those of a fragment.
          const upcall = { ...event.upcall, flags: event.upcall.flags | UP_INVAL_ATTR }
          super.notify({ type: 'upcall', upcall }, from)
          return
        }
        break
      default:
        break
    }
    super.notify(event, from)
  }

  override dump(sink: DumpSink): void {
    const { up } = this
    sink.section(`${this.type}.${this.name}`)
    sink.pair('up', Number(this.isUp))
    sink.pair('nodes', this.geometry.brickCount)
    sink.pair('redundancy', this.geometry.redundancy)
    sink.pair('fragment_size', CHUNK_SIZE)
    sink.pair('stripe_size', this.geometry.stripeSize)
    sink.pair('childs_up', count(up))
    sink.pair('childs_up_mask', this.maskText(up))
    sink.pair('background-heals', this.options['background-heals'])
    sink.pair('heal-wait-qlength', this.options['heal-wait-qlength'])
    sink.pair('self-heal-window-size', this.options['self-heal-window-size'])
    sink.pair('healers', this.heals.running)
    sink.pair('heal-waiters', this.heals.waiting)
    sink.pair('read-policy', this.options['read-policy'])
    sink.pair('parallel-writes', Number(this.options['parallel-writes']))
    sink.pair('quorum-count', this.options['quorum-count'])
    sink.section(`${this.type}.${this.name}.stats.stripe_cache`)
    for (const [key, value] of Object.entries(this.stripeStats)) sink.pair(key, value)
    sink.pair('heals-attempted', this.heals.attempted)
    sink.pair('heals-completed', this.heals.completed)
  }

  get geometry(): Geometry {
    return this.#initialised.geometry
  }

  get codec(): FragmentCodec {
    return this.#initialised.codec
  }

  /** Mask of connected bricks. */
  get up(): number {
    return this.#state.up
  }

  /** Enough bricks are connected. */
  get isUp(): boolean {
    return this.#state.isUp
  }

  /** Bricks that data may be read from. */
  get readMask(): number {
    return this.#readMask
  }

  /** Binary digits, brick 0 rightmost. */
  maskText(mask: number): string {
    return mask.toString(2).padStart(this.geometry.brickCount, '0')
  }

  /** An inode for the log. */
  describe(inode: Inode): string {
    return inodePath(inode)
  }

  lockOf(inode: Inode, gfid: Gfid): InodeLock {
    assert(gfid !== NULL_GFID, 'lock of an inode without gfid')
    let lock = this.#locks.get(gfid)
    if (lock === undefined) {
      lock = new InodeLock(this, inode, gfid)
      this.#locks.set(gfid, lock)
    }
    return lock
  }

  /** Somebody of this client, outside of its sessions, wants the lock of `inode`. */
  contendedHere(inode: Inode): void {
    this.#locks.get(inode.gfid)?.contended()
  }

  dropLock(lock: InodeLock): void {
    if (this.#locks.get(lock.gfid) === lock) this.#locks.delete(lock.gfid)
    if (this.#locks.size === 0) this.#drained?.()
  }

  /** Lets every lock go that no fop uses, the others when their fops are done. */
  releaseLocks(): void {
    for (const lock of this.#locks.values()) lock.contended()
  }

  /** Locks held or waited for; for tests and dumps. */
  get lockCount(): number {
    return this.#locks.size
  }

  /** A fop of this client has or wants the lock of `inode`. */
  isLocked(inode: Inode): boolean {
    return this.#locks.has(inode.gfid)
  }

  /** What all bricks agreed on a moment ago, while this client neither changes nor locks it. */
  agreedOn({ gfid }: Inode): Agreed | undefined {
    return this.#locks.has(gfid) ? undefined : this.agreements.get(gfid)
  }

  sessionOf(gfid: Gfid): Session | undefined {
    return this.#locks.get(gfid)?.session
  }

  /** Whether a lock without users is kept for later ones. */
  keepsLock(session: Session): boolean {
    return !this.#draining && this.options[session.isRegular ? 'eager-lock' : 'other-eager-lock']
  }

  eagerMs(session: Session): number {
    const key = session.isRegular ? 'eager-lock-timeout' : 'other-eager-lock-timeout'
    return this.options[key] * 1000
  }

  firstBrick(gfid: Gfid): number {
    const { brickCount } = this.geometry
    if (this.options['read-policy'] === 'gfid-hash') return firstOfGfid(gfid, brickCount)
    this.#roundRobin = (this.#roundRobin + 1) % brickCount
    return this.#roundRobin
  }

  /** Bricks a change must be sent to, and succeed on. */
  updateQuorum(frame: Frame): number {
    return isHealFrame(frame) ? 0 : this.options['quorum-count']
  }

  /** A fop found that a connected brick differs from the others. */
  reportDamage(frame: Frame, inode: Inode, intent: Intent): void {
    // An object just made and not linked yet is reported by the next fop on it.
    if (isHealFrame(frame) || inode.gfid === NULL_GFID) return
    const looked = intent.updateData !== true && intent.updateMetadata !== true
    this.heals.known(inode, looked && inode.type === S_IFDIR)
  }

  /** Counters could not be stored: what was written since the last flush may be lost. */
  lostUpdate(inode: Inode, errno: Errno): void {
    if (errno !== E.NOENT && errno !== E.STALE) {
      this.log.error({ inode: this.describe(inode), errno: errnoName(errno) }, 'post-op failed')
    }
    for (const fd of inode.fds) {
      const state = this.#fds.get(fd)
      if (state !== undefined) state.lost = true
    }
  }

  fdOpened(fd: Fd, bricks: number): void {
    this.#fds.set(fd, { opened: bricks, lost: false })
  }

  /**
   * Opens `fd` on those of `bricks` that were away when it was opened (ec_fix_open). Where that
   * fails the bricks are reached through anonymous fds, as they are meanwhile. When as many are
   * missing as hold the data the fd is not worth mending: stock leaves it, too.
   */
  async openWhereMissing(frame: Frame, fd: Fd, bricks: number): Promise<void> {
    const state = this.#fds.get(fd)
    const missing = state === undefined ? 0 : bricks & this.up & ~state.opened
    if (missing === 0 || count(missing) >= this.geometry.dataCount) return
    const flags = fd.flags & ~NOT_AGAIN
    await this.#openOn(frame, state!, missing, 'open', { loc: Loc.ofInode(fd.inode), fd, flags })
  }

  /** Opens a directory on those of `bricks` where it is not open; a listing needs one only. */
  async openDirectory(frame: Frame, fd: Fd, bricks: number): Promise<void> {
    const state = this.#fds.get(fd)
    const missing = state === undefined ? 0 : bricks & this.up & ~state.opened
    if (missing === 0) return
    await this.#openOn(frame, state!, missing, 'opendir', { loc: Loc.ofInode(fd.inode), fd })
  }

  async #openOn<K extends 'open' | 'opendir'>(
    frame: Frame,
    state: FdState,
    bricks: number,
    fop: K,
    req: Req<K>,
  ): Promise<void> {
    state.opened |= bricks
    const targets = bricksOf(bricks)
    const children = targets.map((brick) => this.children[brick]!)
    const root = frame.with({ uid: ROOT_CREDS.uid, gid: ROOT_CREDS.gid })
    const replies = await root.windAll(children, fop, () => req)
    replies.forEach(({ errno }, index) => {
      if (errno !== 0) state.opened &= ~bit(targets[index]!)
    })
  }

  /** Bricks the fd was opened on; all for one of somebody else's making. */
  openedOn(fd: Fd): number {
    return this.#fds.get(fd)?.opened ?? this.up
  }

  isLost(fd: Fd): boolean {
    return this.#fds.get(fd)?.lost ?? false
  }

  /** The brick that made a directory offset, `undefined` when it is none of ours. */
  childOfOffset(offset: bigint): Xlator | undefined {
    return childOfDirOffset(this.self, offset)
  }

  get #initialised(): { geometry: Geometry; codec: FragmentCodec; state: UpState } {
    assert(this.#parts !== undefined, 'disperse used before init')
    return this.#parts
  }

  get #state(): UpState {
    return this.#initialised.state
  }

  /** The brick has forgotten our locks with the connection. */
  #brickLost(brick: number): void {
    for (const lock of this.#locks.values()) lock.brickLost(brick)
  }

  #parseReadMask(given: OptionValues<typeof options>): number {
    const text = given['ec-read-mask']
    if (text === undefined || text === '') return ~0
    let mask = 0
    for (const part of text.split(':')) {
      const brick = /^\d+$/.test(part) ? Number(part) : -1
      if (brick < 0 || brick >= this.children.length || has(mask, brick)) {
        throw new GlusterError(
          'OPTION_INVALID',
          `volume '${this.name}': option ec-read-mask ${text}: '${part}' is not one of the ` +
            `bricks 0 to ${this.children.length - 1}, each once`,
        )
      }
      mask |= bit(brick)
    }
    if (count(mask) < this.geometry.dataCount) {
      throw new GlusterError(
        'OPTION_INVALID',
        `volume '${this.name}': option ec-read-mask ${text}: must name at least ` +
          `${this.geometry.dataCount} bricks`,
      )
    }
    return mask
  }

  #checkQuorum(given: OptionValues<typeof options>): void {
    const quorum = given['quorum-count']
    const { dataCount, brickCount } = this.geometry
    if (quorum === 0 || (quorum >= dataCount && quorum <= brickCount)) return
    throw new GlusterError(
      'OPTION_INVALID',
      `volume '${this.name}': option quorum-count ${quorum}: must be 0 or ${dataCount} to ` +
        `${brickCount}`,
    )
  }
}

export default defineXlator({
  type: 'cluster/disperse',
  class: Disperse,
  options,
  children: { min: 3, max: 31 },
})
