/**
 * performance/write-behind: answers writes before the bricks have them, gathers small ones, and
 * keeps several on their way. What was answered is still seen by everything that comes later:
 * reads, stats and changes wait for the older writes they overlap, fsync and flush for all.
 *
 * An error of an answered write is returned by the next write, flush or fsync of its fd; until a
 * flush or fsync has returned it, the data is kept and tried again when somebody needs it.
 *
 * Unlike stock's:
 * - A stream of small writes is gathered for up to 2 ms also while nothing is on its way: a WRITE
 *   costs more than the wait.
 * - seek, copy_file_range, xattr changes, open with O_TRUNC and unlocking wait for older writes.
 * - flush waits for the bricks where the inode has locks, so that they are gone when close returns,
 *   and on dispersed volumes after writes, as the size reaches the bricks with it.
 * - Another fd's flush does not swallow an error.
 */
import { clock, type Timer } from '../../../src/core/clock.ts'
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type DirEntry,
  F_GETLK,
  F_UNLCK,
  type Fop,
  type FopName,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { type Inode, inodePath, isDirInode } from '../../../src/core/inode.ts'
import { O_APPEND, O_DIRECT, O_DSYNC, O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { unpinned } from '../buffers.ts'
import { look } from '../look.ts'
import { FOREVER, type Lie, type NewLie, Pending, type Sync, type Writer } from './pending.ts'

export const options = defineOptions({
  'flush-behind': {
    type: 'bool',
    default: 'on',
    description: 'Answer a flush when the data is written, before the bricks have flushed.',
  },
  'cache-size': {
    type: 'size',
    default: '1MB',
    min: 512 * 1024,
    max: 2 ** 30,
    alias: ['window-size'],
    description: 'Unwritten bytes of a file beyond which writes wait.',
  },
  'aggregate-size': {
    type: 'size',
    default: '128KB',
    min: 1,
    max: 2 ** 30,
    description: 'Small writes are gathered up to this size.',
  },
  'trickling-writes': {
    type: 'bool',
    default: 'on',
    description: 'Do not hold data back while nothing of the file is on its way.',
  },
  'strict-O_DIRECT': {
    type: 'bool',
    default: 'off',
    description: 'Writes of O_DIRECT fds are answered by the bricks.',
  },
  'strict-write-ordering': {
    type: 'bool',
    default: 'off',
    description: 'Writes of a file reach the bricks in order even where they do not overlap.',
  },
  'resync-failed-syncs-after-fsync': {
    type: 'bool',
    default: 'off',
    description: 'Data an fsync could not write is tried again until the file is closed.',
  },
  'pass-through': { type: 'bool', default: 'off', description: 'Do nothing.' },
})

/** Flushes answered and on their way; beyond it they are waited for. */
const FLUSHES_BEHIND_MAX = 256
/** How long data waits to grow when trickling-writes is off. */
const HOLD_BACK_MS = 1000
/** How long small writes of a stream are gathered while nothing is on its way. */
const STREAM_MS = 2

/** Fops after which a file's attributes are what they were. */
const HARMLESS: ReadonlySet<FopName> = new Set(['readv', 'lookup', 'seek', 'rchecksum', 'lk'])

export class WriteBehind extends Xlator<typeof options> implements Writer {
  readonly #pending = new Map<Gfid, Pending>()
  /** Marks fds that wrote, so that their release is heard. */
  readonly #wrote = new FdContext<true>(this)
  /** Inodes on which locks were taken through this client. */
  readonly #locked = new InodeContext<true>(this)
  readonly #holdTimers = new Map<Pending, Timer>()
  /** Counts WRITEs done; orders them against readdirp. */
  #fulfilments = 0
  #readdirs = 0
  /** A readdirp under way may still need what a release would have let go. */
  #unswept = false
  #flushesBehind = 0
  /** Below, sizes reach the bricks with the flush: other clients must find them after close. */
  #sizeWithFlush = false

  get windowSize(): number {
    return this.options['cache-size']
  }
  get aggregateSize(): number {
    return this.options['aggregate-size']
  }
  get trickling(): boolean {
    return this.options['trickling-writes']
  }

  override init(): void {
    this.#sizeWithFlush = isAbove(this as unknown as Xlator, 'cluster/disperse')
  }

  stat: Fop<'stat'> = (frame, req) => this.#statAfter(req.loc.inode, frame, 'stat', req)

  rename: Fop<'rename'> = (frame, req) => {
    const source = this.#settle(req.oldloc.inode, 0, FOREVER)
    const victim = this.#settle(req.newloc.inode, 0, FOREVER)
    const move = () =>
      look(this.#onward(req.oldloc.inode, frame, 'rename', req), (rep) => {
        this.#pending.get(req.newloc.inode.gfid)?.touched()
        return rep
      })
    if (source === undefined && victim === undefined) return move()
    return Promise.all([source ?? 0, victim ?? 0]).then(([a, b]) => {
      const errno = a !== 0 ? a : b
      return errno !== 0 ? { errno: errno as Errno } : move()
    })
  }

  unlink: Fop<'unlink'> = (frame, req) => this.#onward(req.loc.inode, frame, 'unlink', req)

  link: Fop<'link'> = (frame, req) => this.#after(req.oldloc.inode, 0, FOREVER, frame, 'link', req)

  truncate: Fop<'truncate'> = (frame, req) =>
    this.#truncating(req.loc.inode, frame, 'truncate', req)

  open: Fop<'open'> = (frame, req) =>
    (req.flags & O_TRUNC) !== 0
      ? this.#truncating(req.loc.inode, frame, 'open', req)
      : frame.tail(this.child, 'open', req)

  readv: Fop<'readv'> = (frame, req) => {
    const { inode } = req.fd
    const pending = this.#pending.get(inode.gfid)
    const partial = pending !== undefined && pending.lies.length > 0
    const rep = this.#after(inode, req.offset, req.offset + req.size, frame, 'readv', req)
    if (!partial) return rep
    // Other parts may be unwritten: these are not the attributes the application has seen.
    return look(rep, (read) => (read.errno !== 0 ? read : { ...read, stat: new Iatt() }))
  }

  writev: Fop<'writev'> = (frame, req) => {
    const flags = req.flags | req.fd.flags
    const ordered = (flags & O_APPEND) !== 0
    if (!this.#mayLie(flags) || req.size === 0) return this.#writeThrough(frame, req, ordered)
    const pending = this.#need(req.fd)
    const errno = pending.takeFailure(req.fd)
    if (errno !== 0) return { errno: errno as Errno }
    const write: NewLie = {
      fd: req.fd,
      creds: frame.creds,
      flags: req.flags,
      xdata: req.xdata,
      ordered: ordered || this.options['strict-write-ordering'],
      offset: req.offset,
      size: req.size,
      data: unpinned(req.data),
    }
    if (pending.hasRoom) {
      pending.add(write)
      return acknowledged(req.size)
    }
    return pending
      .addWhenRoom(write)
      .then((full) => (full !== 0 ? { errno: full as Errno } : acknowledged(req.size)))
  }

  flush: Fop<'flush'> = (frame, req) => {
    const written = this.#settle(req.fd.inode, 0, FOREVER, this.#sync('flush', req.fd))
    if (written === undefined) return this.#flush(frame, req, 0)
    return written.then((errno) => this.#flush(frame, req, errno))
  }

  fsync: Fop<'fsync'> = (frame, req) => {
    const written = this.#settle(req.fd.inode, 0, FOREVER, this.#sync('fsync', req.fd))
    if (written === undefined) return frame.tail(this.child, 'fsync', req)
    return written.then((errno) =>
      errno !== 0 ? { errno: errno as Errno } : frame.tail(this.child, 'fsync', req),
    )
  }

  setxattr: Fop<'setxattr'> = (frame, req) => this.#afterAll(req.loc.inode, frame, 'setxattr', req)
  removexattr: Fop<'removexattr'> = (frame, req) =>
    this.#afterAll(req.loc.inode, frame, 'removexattr', req)

  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#truncating(req.fd.inode, frame, 'ftruncate', req)

  fstat: Fop<'fstat'> = (frame, req) => this.#statAfter(req.fd.inode, frame, 'fstat', req)

  lk: Fop<'lk'> = (frame, req) => {
    if (req.cmd === F_GETLK) return frame.tail(this.child, 'lk', req)
    this.#locked.set(req.fd.inode, true)
    // Whoever gets the lock next must find what was written under it.
    return req.flock.type === F_UNLCK
      ? this.#afterAll(req.fd.inode, frame, 'lk', req)
      : frame.tail(this.child, 'lk', req)
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    if (this.#pending.size === 0) return frame.tail(this.child, 'lookup', req)
    if (this.#pending.has(req.loc.gfid)) {
      return this.#after(req.loc.inode, 0, FOREVER, frame, 'lookup', req)
    }
    return this.#lookupUnknown(frame, req)
  }

  fsetxattr: Fop<'fsetxattr'> = (frame, req) =>
    this.#afterAll(req.fd.inode, frame, 'fsetxattr', req)

  rchecksum: Fop<'rchecksum'> = (frame, req) =>
    this.#after(req.fd.inode, req.offset, req.offset + req.len, frame, 'rchecksum', req)

  setattr: Fop<'setattr'> = (frame, req) =>
    this.#after(req.loc.inode, 0, FOREVER, frame, 'setattr', req)

  fsetattr: Fop<'fsetattr'> = (frame, req) =>
    this.#after(req.fd.inode, 0, FOREVER, frame, 'fsetattr', req)

  readdirp: Fop<'readdirp'> = async (frame, req) => {
    const begin = this.#fulfilments
    this.#readdirs++
    const rep = await frame.wind(this.child, 'readdirp', req)
    this.#readdirs--
    if (rep.errno === 0 && this.#pending.size > 0) this.#hideUnwritten(rep.entries, begin)
    if (this.#readdirs === 0 && this.#unswept) this.#sweep()
    return rep
  }

  /** Entries read while their data was not on the bricks, or came there since `begin`. */
  #hideUnwritten(entries: readonly DirEntry[], begin: number): void {
    for (const entry of entries) {
      if (entry.stat === undefined) continue
      const pending = this.#pending.get(entry.stat.gfid)
      if (pending === undefined) continue
      if (pending.lies.length === 0 && pending.fulfilledAt <= begin) continue
      // Its size and times are not those the application has seen: the kernel must ask.
      entry.stat = undefined
      entry.inode = undefined
    }
  }

  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#afterAll(req.fd.inode, frame, 'fremovexattr', req)

  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#after(req.fd.inode, 0, FOREVER, frame, 'fallocate', req)
  discard: Fop<'discard'> = (frame, req) =>
    this.#after(req.fd.inode, 0, FOREVER, frame, 'discard', req)
  zerofill: Fop<'zerofill'> = (frame, req) =>
    this.#after(req.fd.inode, 0, FOREVER, frame, 'zerofill', req)

  seek: Fop<'seek'> = (frame, req) =>
    this.#after(req.fd.inode, req.offset, FOREVER, frame, 'seek', req)

  lease: Fop<'lease'> = (frame, req) => {
    this.#locked.set(req.loc.inode, true)
    return frame.tail(this.child, 'lease', req)
  }

  copy_file_range: Fop<'copy_file_range'> = (frame, req) => {
    const source = this.#settle(req.fdIn.inode, req.offIn, req.offIn + req.size)
    const target = this.#settle(req.fdOut.inode, 0, FOREVER)
    const copy = () => this.#onward(req.fdOut.inode, frame, 'copy_file_range', req)
    if (source === undefined && target === undefined) return copy()
    return Promise.all([source ?? 0, target ?? 0]).then(([a, b]) => {
      const errno = a !== 0 ? a : b
      return errno !== 0 ? { errno: errno as Errno } : copy()
    })
  }

  override release = (fd: Fd): void => {
    const pending = this.#pending.get(fd.inode.gfid)
    if (pending !== undefined) this.#letGo(fd.inode, pending)
  }

  override fini(): void {
    for (const timer of this.#holdTimers.values()) timer.clear()
    this.#holdTimers.clear()
    for (const [gfid, pending] of this.#pending) {
      if (pending.windowCurrent === 0) continue
      this.log.error(`${gfidText(gfid)}: ${pending.windowCurrent} bytes were never written`)
    }
  }

  override dump(sink: DumpSink): void {
    sink.section('xlator.performance.write-behind.priv')
    sink.pair('aggregate_size', this.aggregateSize)
    sink.pair('window_size', this.windowSize)
    sink.pair('flush_behind', Number(this.options['flush-behind']))
    sink.pair('trickling_writes', Number(this.trickling))
    sink.pair('pending_inodes', this.#pending.size)
  }

  override dumpInode(inode: Inode, sink: DumpSink): void {
    if (isDirInode(inode)) return
    const pending = this.#pending.get(inode.gfid)
    sink.section('xlator.performance.write-behind.wb_inode')
    sink.pair('path', inodePath(inode))
    sink.pair('inode', inode.nodeid)
    sink.pair('gfid', gfidText(inode.gfid))
    sink.pair('window_conf', this.windowSize)
    sink.pair('window_current', pending?.windowCurrent ?? 0)
    sink.pair('transit-size', pending?.transitBytes ?? 0)
    sink.pair('dontsync', 0)
  }

  send(pending: Pending, lies: readonly Lie[]): void {
    const first = lies[0]!
    void this.graph.pool.background(this, 'WRITE', first.creds, async (frame) => {
      const size = lies.reduce((sum, lie) => sum + lie.size, 0)
      const data = lies.length === 1 ? first.data : lies.flatMap((lie) => lie.data)
      const { fd, offset, flags, xdata } = first
      const epoch = pending.sizeEpoch
      const turn = pending.beginWrite()
      let rep: Rep<'writev'> = { errno: E.IO }
      try {
        const req = { fd, data, size, offset, flags, xdata }
        rep = await frame.wind(this.child, 'writev', req)
      } finally {
        pending.fulfilledAt = ++this.#fulfilments
        pending.endWrite(turn, rep)
        if (rep.errno !== 0) pending.failed(lies, rep.errno)
        else if (rep.size <= 0) pending.failed(lies, E.IO)
        else {
          if (rep.poststat.ctime !== 0) pending.sawSize(rep.poststat.size, epoch)
          pending.written(lies, Math.min(rep.size, size))
        }
      }
    })
  }

  dropped(_pending: Pending, lie: Lie): void {
    const path = inodePath(lie.fd.inode)
    this.log.error(
      `${path}: ${lie.size} bytes at ${lie.offset} could not be written: ${errnoName(lie.errno)}`,
    )
  }

  holdBack(pending: Pending, streaming: boolean): void {
    if (this.#holdTimers.has(pending)) return
    const due = (): void => {
      this.#holdTimers.delete(pending)
      pending.flushIdle()
    }
    this.#holdTimers.set(pending, clock.after(streaming ? STREAM_MS : HOLD_BACK_MS, due))
  }

  drained(pending: Pending): void {
    this.#holdTimers.get(pending)?.clear()
    this.#holdTimers.delete(pending)
  }

  #mayLie(flags: number): boolean {
    if (this.options['pass-through'] || (flags & O_DSYNC) !== 0) return false
    return (flags & O_DIRECT) === 0 || !this.options['strict-O_DIRECT']
  }

  #sync(kind: Sync['kind'], fd: Fd): Sync {
    const keep = kind === 'fsync' && this.options['resync-failed-syncs-after-fsync']
    return { kind, fd, keep }
  }

  #need(fd: Fd): Pending {
    let pending = this.#pending.get(fd.inode.gfid)
    if (pending === undefined) {
      pending = new Pending(this)
      this.#pending.set(fd.inode.gfid, pending)
    }
    this.#wrote.set(fd, true)
    return pending
  }

  /** The last fd that wrote is gone: nothing is known of the inode any more. */
  #letGo(inode: Inode, pending: Pending): void {
    if (!pending.empty) return
    if (this.#readdirs > 0) {
      this.#unswept = true
      return
    }
    for (const fd of inode.fds) if (this.#wrote.get(fd) !== undefined) return
    this.#pending.delete(inode.gfid)
  }

  /** Lets go of what a readdirp kept. */
  #sweep(): void {
    this.#unswept = false
    for (const [gfid, pending] of this.#pending) {
      const inode = this.graph.inodes.byGfid(gfid)
      if (inode !== undefined) this.#letGo(inode, pending)
      else if (pending.empty) this.#pending.delete(gfid)
    }
  }

  /**
   * Attributes once the data is on the bricks. Where that was the work of one WRITE and no change
   * of ours came between, its answer has shown them.
   */
  #statAfter<K extends 'stat' | 'fstat'>(
    inode: Inode,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const pending = this.#pending.get(inode.gfid)
    const written = pending?.settle(0, FOREVER)
    if (pending === undefined || written === undefined) return frame.tail(this.child, fop, req)
    return written.then((errno) => {
      if (errno !== 0) return { errno: errno as Errno }
      const shown = req.xdata === undefined ? pending.shown : undefined
      return shown === undefined ? frame.tail(this.child, fop, req) : { errno: 0, stat: shown }
    }) as MaybePromise<Rep<K>>
  }

  #settle(inode: Inode, start: number, end: number, sync?: Sync): Promise<number> | undefined {
    return this.#pending.get(inode.gfid)?.settle(start, end, sync)
  }

  /** Sends a fop; what a WRITE shows is then not the last word on the inode. */
  #onward<K extends FopName>(
    inode: Inode,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    if (HARMLESS.has(fop)) return frame.tail(this.child, fop, req)
    this.#pending.get(inode.gfid)?.touched()
    return look(frame.wind(this.child, fop, req), (rep) => {
      // A WRITE begun meanwhile may or may not have seen the change.
      this.#pending.get(inode.gfid)?.touched()
      return rep
    })
  }

  /** Sends the fop when the older writes in [start, end) are on the bricks. */
  #after<K extends FopName>(
    inode: Inode,
    start: number,
    end: number,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const written = this.#settle(inode, start, end)
    if (written === undefined) return this.#onward(inode, frame, fop, req)
    return written.then((errno) =>
      errno !== 0 ? { errno: errno as Errno } : this.#onward(inode, frame, fop, req),
    )
  }

  /** As `#after`, for fops that do not depend on the data and so do not fail with it. */
  #afterAll<K extends FopName>(
    inode: Inode,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const written = this.#settle(inode, 0, FOREVER)
    if (written === undefined) return this.#onward(inode, frame, fop, req)
    return written.then(() => this.#onward(inode, frame, fop, req))
  }

  #truncating<K extends 'truncate' | 'ftruncate' | 'open'>(
    inode: Inode,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const pending = this.#pending.get(inode.gfid)
    if (pending === undefined) return this.#onward(inode, frame, fop, req)
    return this.#truncate(pending, frame, fop, req)
  }

  async #truncate<K extends 'truncate' | 'ftruncate' | 'open'>(
    pending: Pending,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    const errno = await pending.settle(0, FOREVER)
    if (errno !== undefined && errno !== 0) return { errno: errno as Errno }
    pending.touched()
    pending.beginTruncate()
    try {
      return await frame.wind(this.child, fop, req)
    } finally {
      pending.touched()
      pending.endTruncate()
    }
  }

  /** A write that the bricks answer. */
  #writeThrough(frame: Frame, req: Req<'writev'>, ordered: boolean): MaybePromise<Rep<'writev'>> {
    this.#wrote.set(req.fd, true)
    const pending = this.#pending.get(req.fd.inode.gfid)
    if (pending === undefined) return frame.tail(this.child, 'writev', req)
    const errno = pending.takeFailure(req.fd)
    if (errno !== 0) return { errno: errno as Errno }
    const all = ordered || this.options['strict-write-ordering']
    const start = all ? 0 : req.offset
    const end = all ? FOREVER : req.offset + req.size
    const partial = pending.lies.length > 0
    const rep = this.#after(req.fd.inode, start, end, frame, 'writev', req)
    if (!partial) return rep
    return look(rep, (done) => (done.errno !== 0 ? done : acknowledged(done.size)))
  }

  /** `errno`: that of data written through the fd, returned in the flush's place. */
  #flush(frame: Frame, req: Req<'flush'>, errno: number): MaybePromise<Rep<'flush'>> {
    const locked = this.#locked.get(req.fd.inode) !== undefined
    const sized = this.#sizeWithFlush && this.#wrote.get(req.fd) !== undefined
    const behind = this.options['flush-behind'] && !this.options['pass-through']
    if (behind && !locked && !sized && this.#flushesBehind < FLUSHES_BEHIND_MAX) {
      this.#flushBehind(frame, req)
      return errno !== 0 ? { errno: errno as Errno } : { errno: 0 }
    }
    if (errno === 0) return frame.tail(this.child, 'flush', req)
    const rep = frame.wind(this.child, 'flush', req)
    return rep instanceof Promise
      ? rep.then(() => ({ errno: errno as Errno }))
      : { errno: errno as Errno }
  }

  #flushBehind(frame: Frame, req: Req<'flush'>): void {
    this.#flushesBehind++
    req.fd.hold()
    void this.graph.pool.background(this, 'FLUSH', frame.creds, async (behind) => {
      try {
        const rep = await behind.wind(this.child, 'flush', req)
        if (rep.errno === 0) return
        const path = inodePath(req.fd.inode)
        this.log.warn(`${path}: flush after close failed: ${errnoName(rep.errno)}`)
      } finally {
        this.#flushesBehind--
        req.fd.drop()
      }
    })
  }

  /** The name may turn out to be an inode with unwritten data: then the answer is too old. */
  async #lookupUnknown(frame: Frame, req: Req<'lookup'>): Promise<Rep<'lookup'>> {
    const begin = this.#fulfilments
    const rep = await frame.wind(this.child, 'lookup', req)
    if (rep.errno !== 0) return rep
    const pending = this.#pending.get(rep.stat.gfid)
    if (pending === undefined) return rep
    if (pending.lies.length === 0 && pending.fulfilledAt <= begin) return rep
    const errno = await pending.settle(0, FOREVER)
    if (errno !== undefined && errno !== 0) return { errno: errno as Errno }
    return frame.wind(this.child, 'lookup', req)
  }
}

/** A translator of `type` is below `xl`. */
function isAbove(xl: Xlator, type: string): boolean {
  return xl.children.some((child) => child.type === type || isAbove(child, type))
}

/** Zero attributes: the caches above must ask again. */
function acknowledged(size: number): Rep<'writev'> {
  const none = new Iatt()
  return { errno: 0, size, prestat: none, poststat: none }
}

export default defineXlator({
  type: 'performance/write-behind',
  class: WriteBehind,
  options,
  children: 1,
})
