/**
 * performance/open-behind: answers the first open of a file at once, and opens it on the bricks
 * when a fop needs it there. A file read from caches and closed again costs no open, flush or
 * release.
 *
 * A first read goes to the bricks by gfid, and the open follows while the file stays open.
 * Opens for writing are sent at once, unlike stock's: a write will need them, and the file lives on
 * when another client unlinks it. An open that fails is reported by the fops that needed it; after
 * ENOTCONN the next one tries again (stock keeps the error).
 */
import { clock, type Timer } from '../../../src/core/clock.ts'
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop, FopName, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { O_ACCMODE, O_DIRECT, O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { look } from '../look.ts'

export const options = defineOptions({
  'lazy-open': {
    type: 'bool',
    default: 'yes',
    description: 'Open when a fop needs it, not right after answering.',
  },
  'read-after-open': {
    type: 'bool',
    default: 'yes',
    description:
      'Reads need the open, but for those of the first 20 ms; with use-anonymous-fd, too.',
  },
  'use-anonymous-fd': {
    type: 'bool',
    default: 'no',
    description: 'fstat and seek (and reads, see read-after-open) work without the open.',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Open at once.' },
})

type OpenState =
  /** Answered, not sent. */
  | { state: 'lazy' }
  /** Sent; resolves to 0 or the errno. */
  | { state: 'opening'; done: Promise<number> }
  | { state: 'open' }
  | { state: 'failed'; errno: Errno }

class OpenFile {
  readonly req: Req<'open'> | undefined
  readonly creds: Creds
  now: OpenState
  /** Stands in the queue of those to open soon. */
  awaited = false

  constructor(req: Req<'open'> | undefined, creds: Creds) {
    this.req = req
    this.creds = creds
    this.now = req === undefined ? { state: 'open' } : { state: 'lazy' }
  }
}

/**
 * A file that is read is opened this much later, ms, unless it was closed by then: most small files
 * are read in one go, and bricks find those by gfid as well.
 */
const SOON_MS = 20
/** Files that wait for it; more are opened now. */
const SOON_MAX = 256

/** Fds on an inode; at most one was answered before it was open. */
interface Opens {
  count: number
  delayed: Fd | undefined
}

/** xattrs whose setting is no reason to open. */
const QUIET_XATTR = /^(system\.posix_acl_|glusterfs\.posix\.|security\.selinux)/

export class OpenBehind extends Xlator<typeof options> {
  readonly #files = new FdContext<OpenFile>(this)
  readonly #opens = new InodeContext<Opens>(this)
  /** Files being read that no brick was asked to open yet. */
  readonly #soon: { fd: Fd; file: OpenFile }[] = []
  #timer: Timer | undefined

  unlink: Fop<'unlink'> = (frame, req) => this.#opened(req.loc.inode, frame, 'unlink', req)
  rename: Fop<'rename'> = (frame, req) => this.#opened(req.newloc.inode, frame, 'rename', req)

  open: Fop<'open'> = (frame, req) => {
    const { fd, flags } = req
    const opens = this.#opens.need(fd.inode, () => ({ count: 0, delayed: undefined }))
    const writes = (flags & O_ACCMODE) !== 0 || (flags & O_TRUNC) !== 0
    if (writes || opens.count > 0 || this.options['pass-through']) {
      return this.#openNow(frame, req, opens)
    }
    opens.count++
    opens.delayed = fd
    const file = new OpenFile(req, frame.creds)
    this.#files.set(fd, file)
    if (!this.options['lazy-open']) void this.#trigger(fd, file)
    return { errno: 0, fd }
  }

  readv: Fop<'readv'> = (frame, req) => {
    if (this.options['use-anonymous-fd'] && !this.options['read-after-open']) {
      return frame.tail(this.child, 'readv', req)
    }
    const file = this.#files.get(req.fd)
    if (file?.now.state !== 'lazy' || (req.fd.flags & O_DIRECT) !== 0) {
      return this.#onFd(frame, 'readv', req)
    }
    if (!file.awaited) this.#openSoon(req.fd, file)
    return look(frame.wind(this.child, 'readv', req), (rep) =>
      // What is not there by gfid may be, or be refused, by opening it.
      rep.errno === 0 ? rep : this.#onFd(frame, 'readv', req),
    ) as MaybePromise<Rep<'readv'>>
  }

  writev: Fop<'writev'> = (frame, req) => this.#onFd(frame, 'writev', req)

  flush: Fop<'flush'> = (frame, req) =>
    this.#files.get(req.fd)?.now.state === 'lazy' ? { errno: 0 } : this.#onFd(frame, 'flush', req)

  fsync: Fop<'fsync'> = (frame, req) => this.#onFd(frame, 'fsync', req)

  setxattr: Fop<'setxattr'> = (frame, req) => {
    for (const key of req.dict.entries.keys()) {
      if (!QUIET_XATTR.test(key)) return this.#opened(req.loc.inode, frame, 'setxattr', req)
    }
    return frame.tail(this.child, 'setxattr', req)
  }

  create: Fop<'create'> = (frame, req) =>
    look(frame.wind(this.child, 'create', req), (rep) => {
      if (rep.errno === 0) this.#count(req.fd, frame.creds)
      return rep
    })

  ftruncate: Fop<'ftruncate'> = (frame, req) => this.#onFd(frame, 'ftruncate', req)

  fstat: Fop<'fstat'> = (frame, req) =>
    this.options['use-anonymous-fd']
      ? frame.tail(this.child, 'fstat', req)
      : this.#onFd(frame, 'fstat', req)

  lk: Fop<'lk'> = (frame, req) => this.#onFd(frame, 'lk', req)
  finodelk: Fop<'finodelk'> = (frame, req) => this.#onFd(frame, 'finodelk', req)
  fentrylk: Fop<'fentrylk'> = (frame, req) => this.#onFd(frame, 'fentrylk', req)
  fxattrop: Fop<'fxattrop'> = (frame, req) => this.#onFd(frame, 'fxattrop', req)
  fgetxattr: Fop<'fgetxattr'> = (frame, req) => this.#onFd(frame, 'fgetxattr', req)
  fsetxattr: Fop<'fsetxattr'> = (frame, req) => this.#onFd(frame, 'fsetxattr', req)
  rchecksum: Fop<'rchecksum'> = (frame, req) => this.#onFd(frame, 'rchecksum', req)
  setattr: Fop<'setattr'> = (frame, req) => this.#opened(req.loc.inode, frame, 'setattr', req)
  fsetattr: Fop<'fsetattr'> = (frame, req) => this.#onFd(frame, 'fsetattr', req)
  fremovexattr: Fop<'fremovexattr'> = (frame, req) => this.#onFd(frame, 'fremovexattr', req)
  fallocate: Fop<'fallocate'> = (frame, req) => this.#onFd(frame, 'fallocate', req)
  discard: Fop<'discard'> = (frame, req) => this.#onFd(frame, 'discard', req)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#onFd(frame, 'zerofill', req)

  seek: Fop<'seek'> = (frame, req) =>
    this.options['use-anonymous-fd']
      ? frame.tail(this.child, 'seek', req)
      : this.#onFd(frame, 'seek', req)

  copy_file_range: Fop<'copy_file_range'> = (frame, req) => {
    const source = this.#ready(req.fdIn)
    const target = this.#ready(req.fdOut)
    if (source === 0 && target === 0) return frame.tail(this.child, 'copy_file_range', req)
    return Promise.all([source, target]).then(([a, b]) => {
      const errno = a !== 0 ? a : b
      return errno !== 0
        ? { errno: errno as Errno }
        : frame.tail(this.child, 'copy_file_range', req)
    })
  }

  override fini(): void {
    this.#timer?.clear()
  }

  override release = (fd: Fd): void => {
    const opens = this.#opens.get(fd.inode)
    if (opens === undefined) return
    opens.count--
    if (opens.delayed === fd) opens.delayed = undefined
  }

  override dump(sink: DumpSink): void {
    sink.section('xlator.performance.open-behind.priv')
    sink.pair('use_anonymous_fd', Number(this.options['use-anonymous-fd']))
    sink.pair('lazy_open', Number(this.options['lazy-open']))
  }

  /** A file that is read and not closed at once is opened after all. */
  #openSoon(fd: Fd, file: OpenFile): void {
    file.awaited = true
    this.#soon.push({ fd, file })
    if (this.#soon.length >= SOON_MAX) this.#openWaiting()
    else this.#timer ??= clock.after(SOON_MS, () => this.#openWaiting(), true)
  }

  #openWaiting(): void {
    this.#timer?.clear()
    this.#timer = undefined
    for (const { fd, file } of this.#soon.splice(0)) {
      file.awaited = false
      if (!fd.released && file.now.state === 'lazy') void this.#trigger(fd, file)
    }
  }

  async #openNow(frame: Frame, req: Req<'open'>, opens: Opens): Promise<Rep<'open'>> {
    if (opens.delayed !== undefined) await this.#ready(opens.delayed)
    const rep = await frame.wind(this.child, 'open', req)
    if (rep.errno === 0) this.#count(req.fd, frame.creds)
    return rep
  }

  #count(fd: Fd, creds: Creds): void {
    this.#files.set(fd, new OpenFile(undefined, creds))
    this.#opens.need(fd.inode, () => ({ count: 0, delayed: undefined })).count++
  }

  #onFd<K extends FdFop>(frame: Frame, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    const ready = this.#ready((req as Req<'flush'>).fd)
    if (ready === 0) return frame.tail(this.child, fop, req)
    return look(ready, (errno) =>
      errno === 0 ? frame.tail(this.child, fop, req) : { errno: errno as Errno },
    ) as MaybePromise<Rep<K>>
  }

  /** For fops after which the open could no longer be made: makes it first. */
  #opened<K extends FopName>(
    inode: Inode,
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const delayed = this.#opens.get(inode)?.delayed
    const ready = delayed === undefined ? 0 : this.#ready(delayed)
    if (!(ready instanceof Promise)) return frame.tail(this.child, fop, req)
    return ready.then(() => frame.tail(this.child, fop, req))
  }

  /** Opens `fd` if that was not done yet: 0, or why it cannot be used. */
  #ready(fd: Fd): MaybePromise<number> {
    const file = this.#files.get(fd)
    if (file === undefined) return 0
    switch (file.now.state) {
      case 'open':
        return 0
      case 'failed':
        return file.now.errno
      case 'opening':
        return file.now.done
      case 'lazy':
        return this.#trigger(fd, file)
    }
  }

  #trigger(fd: Fd, file: OpenFile): Promise<number> {
    fd.hold()
    const done = this.#send(file).then((rep) => {
      if (rep.errno === 0) file.now = { state: 'open' }
      else if (rep.errno === E.NOTCONN) file.now = { state: 'lazy' }
      else file.now = { state: 'failed', errno: rep.errno }
      const opens = this.#opens.get(fd.inode)
      if (rep.errno !== E.NOTCONN && opens?.delayed === fd) opens.delayed = undefined
      fd.drop()
      return rep.errno
    })
    file.now = { state: 'opening', done }
    return done
  }

  async #send(file: OpenFile): Promise<Rep<'open'>> {
    let rep: Rep<'open'> = { errno: E.IO }
    await this.graph.pool.background(this, 'OPEN', file.creds, async (frame) => {
      rep = await frame.wind(this.child, 'open', file.req!)
    })
    return rep
  }
}

type FdFop =
  | 'readv'
  | 'writev'
  | 'flush'
  | 'fsync'
  | 'ftruncate'
  | 'fstat'
  | 'lk'
  | 'finodelk'
  | 'fentrylk'
  | 'fxattrop'
  | 'fgetxattr'
  | 'fsetxattr'
  | 'rchecksum'
  | 'fsetattr'
  | 'fremovexattr'
  | 'fallocate'
  | 'discard'
  | 'zerofill'
  | 'seek'

export default defineXlator({
  type: 'performance/open-behind',
  class: OpenBehind,
  options,
  children: 1,
})
