/**
 * performance/readdir-ahead: reads a directory on from the moment it is opened, in large requests,
 * and answers readdirp from the buffer.
 *
 * A buffer is filled while it is below rda-high-wmark, and again when it falls to rda-low-wmark;
 * all buffers together are bounded by rda-cache-limit. A request elsewhere than where the last one
 * ended turns the fd to plain forwarding, except a rewind. Names are those of the time of opendir
 * or later, as POSIX has it; attributes of what was changed after it was read, through this client
 * or as bricks tell, are taken out, so that the kernel asks for them.
 */

import { clock } from '../../../src/core/clock.ts'
import { FdContext } from '../../../src/core/context.ts'
import type { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { connectionsChanged, type Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { DirEntry, Fop, FopName, MaybePromise, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { look, PassThrough } from '../look.ts'

export const options = defineOptions({
  'rda-request-size': {
    type: 'size',
    default: '131072',
    min: 4096,
    max: 131072,
    description: 'Size of the requests to the bricks.',
  },
  'rda-low-wmark': {
    type: 'size',
    default: '4096',
    min: 0,
    max: 10 * 2 ** 20,
    description: 'Read on when the buffer falls to this many bytes.',
  },
  'rda-high-wmark': {
    type: 'size',
    default: '128KB',
    min: 0,
    max: 100 * 2 ** 20,
    description: 'Stop reading on at this many bytes.',
  },
  'rda-cache-limit': {
    type: 'size',
    default: '10MB',
    min: 0,
    description: 'Bytes in all buffers.',
  },
  'parallel-readdir': {
    type: 'bool',
    default: 'off',
    description: 'One instance below distribute for each of its subvolumes.',
    noEffect: 'the volfile places the instances',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Do nothing.' },
})

/** What an entry takes in memory, about, besides its name. */
const ENTRY_BYTES = 512
/** What an entry takes of a request's size, besides its name (stock's gf_dirent_t with padding). */
const ENTRY_WIRE_BYTES = 200
/** Files changed while something is buffered; beyond it no buffered attributes are given out. */
const CHANGED_MAX = 4096
/** Older entries may have been changed by other clients. */
const AGE_MAX_MS = 1000

interface Waiting {
  readonly size: number
  readonly resolve: (rep: MaybePromise<Rep<'readdirp'>>) => void
  /** Asks the bricks for it. */
  readonly forward: () => MaybePromise<Rep<'readdirp'>>
}

type Entries = Ok<'readdirp'>

class Directory {
  readonly inode: Inode
  /** Read and not yet asked for. */
  entries: DirEntry[] = []
  bytes = 0
  /** Where the next request begins that can be answered from here. */
  expected = 0n
  /** Where the next request to the bricks begins. */
  next = 0n
  state: 'reading' | 'full' | 'end' | 'bypass' = 'full'
  /** Asked of the bricks, not answered. */
  asking = false
  /** What ended it: 0 at the directory's end. */
  errno: Errno | 0 = 0
  waiting: Waiting | undefined
  readonly creds: Creds
  /** xattr requests given at opendir, for every entry. */
  readonly xdata: Dict | undefined
  /** Monotonic ms when the oldest buffered entry was asked for. */
  since = 0

  /** Names changed since something buffered was read: its entries go out without attributes. */
  distrusted = false
  /** Counts fresh starts; an answer to a request from before one is not taken. */
  generation = 0

  constructor(inode: Inode, creds: Creds, xdata: Dict | undefined) {
    this.inode = inode
    this.creds = creds
    this.xdata = xdata
  }
}

export class ReaddirAhead extends Xlator<typeof options> {
  readonly #directories = new FdContext<Directory>(this)
  readonly #open = new Set<Directory>()
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  /** Files changed since the oldest buffered entry was read. */
  readonly #changed = new Set<Gfid>()
  /** Changes under way: what is read meanwhile may be from before or after. */
  readonly #changing = new Map<Gfid, number>()
  /** Directories whose names are being changed: how many fops. */
  readonly #naming = new Map<Inode, number>()
  #bytes = 0

  override init(): void {
    this.#passThrough.set(this.options['pass-through'])
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values)
    if (!this.#passThrough.set(values['pass-through'])) return
    for (const directory of this.#open) this.#bypass(directory)
  }

  truncate: Fop<'truncate'> = (frame, req) => this.#change(frame, 'truncate', req, req.loc.inode)

  open: Fop<'open'> = (frame, req) =>
    (req.flags & O_TRUNC) === 0
      ? frame.tail(this.child, 'open', req)
      : this.#change(frame, 'open', req, req.loc.inode)

  writev: Fop<'writev'> = (frame, req) => this.#change(frame, 'writev', req, req.fd.inode)
  setxattr: Fop<'setxattr'> = (frame, req) => this.#change(frame, 'setxattr', req, req.loc.inode)
  removexattr: Fop<'removexattr'> = (frame, req) =>
    this.#change(frame, 'removexattr', req, req.loc.inode)

  opendir: Fop<'opendir'> = (frame, req) =>
    look(frame.wind(this.child, 'opendir', req), (rep) => {
      if (rep.errno !== 0) return rep
      const directory = new Directory(req.fd.inode, frame.creds, req.xdata)
      this.#directories.set(req.fd, directory)
      this.#open.add(directory)
      this.#readOn(req.fd, directory)
      return rep
    })

  ftruncate: Fop<'ftruncate'> = (frame, req) => this.#change(frame, 'ftruncate', req, req.fd.inode)
  fsetxattr: Fop<'fsetxattr'> = (frame, req) => this.#change(frame, 'fsetxattr', req, req.fd.inode)
  setattr: Fop<'setattr'> = (frame, req) => this.#change(frame, 'setattr', req, req.loc.inode)
  fsetattr: Fop<'fsetattr'> = (frame, req) => this.#change(frame, 'fsetattr', req, req.fd.inode)

  readdirp: Fop<'readdirp'> = (frame, req) => {
    const directory = this.#directories.get(req.fd)
    if (directory === undefined) return frame.tail(this.child, 'readdirp', req)
    if (!this.#follow(directory, req)) return frame.tail(this.child, 'readdirp', req)
    const ready =
      directory.bytes >= req.size || directory.state !== 'reading' || directory.asking === false
    if (ready && (directory.entries.length > 0 || directory.state === 'end')) {
      return this.#serve(req.fd, directory, req.size)
    }
    this.#readOn(req.fd, directory)
    return new Promise((resolve) => {
      const forward = () => frame.tail(this.child, 'readdirp', req)
      directory.waiting = { size: req.size, resolve, forward }
    })
  }

  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#change(frame, 'fremovexattr', req, req.fd.inode)
  fallocate: Fop<'fallocate'> = (frame, req) => this.#change(frame, 'fallocate', req, req.fd.inode)
  discard: Fop<'discard'> = (frame, req) => this.#change(frame, 'discard', req, req.fd.inode)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#change(frame, 'zerofill', req, req.fd.inode)

  // Entries that come and go: the kernel must not learn attributes of the old ones.
  mknod: Fop<'mknod'> = (frame, req) => this.#name(frame, 'mknod', req, req.loc.parent)
  mkdir: Fop<'mkdir'> = (frame, req) => this.#name(frame, 'mkdir', req, req.loc.parent)
  symlink: Fop<'symlink'> = (frame, req) => this.#name(frame, 'symlink', req, req.loc.parent)
  create: Fop<'create'> = (frame, req) => this.#name(frame, 'create', req, req.loc.parent)
  link: Fop<'link'> = (frame, req) => this.#name(frame, 'link', req, req.newloc.parent)
  unlink: Fop<'unlink'> = (frame, req) => this.#name(frame, 'unlink', req, req.loc.parent)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#name(frame, 'rmdir', req, req.loc.parent)
  rename: Fop<'rename'> = (frame, req) =>
    this.#name(frame, 'rename', req, req.oldloc.parent, req.newloc.parent)

  override releasedir = (fd: Fd): void => {
    const directory = this.#directories.get(fd)
    if (directory === undefined) return
    this.#empty(directory)
    this.#open.delete(directory)
  }

  override notify(event: Event, from: Xlator | undefined): void {
    if (connectionsChanged(event)) this.#distrust()
    switch (event.type) {
      case 'invalidate-inode':
        this.#isNew(event.inode.gfid)
        break
      case 'upcall': {
        const { upcall } = event
        if (upcall.type !== 'cache-invalidation' || this.#open.size === 0) break
        this.#isNew(upcall.gfid)
        this.#distrust(upcall.gfid, upcall.parentStat.gfid, upcall.oldParentStat.gfid)
        break
      }
      default:
        break
    }
    super.notify(event, from)
  }

  override dump(sink: DumpSink): void {
    sink.section(`performance/readdir-ahead.${this.name}`)
    sink.pair('rda-request-size', this.options['rda-request-size'])
    sink.pair('cache-size', this.#bytes)
    sink.pair('cache-limit', this.options['rda-cache-limit'])
    sink.pair('directories', this.#open.size)
  }

  /** Whether the buffer can answer the request; else the fd is forwarded from now on. */
  #follow(directory: Directory, req: Req<'readdirp'>): boolean {
    if (directory.state === 'bypass') return false
    const old = clock.now() - directory.since > AGE_MAX_MS && directory.entries.length > 0
    const drained = directory.state === 'end' && directory.entries.length === 0
    if (old) this.#restart(directory, directory.expected)
    else if (req.off === 0n && drained) this.#restart(directory, 0n)
    if (
      req.off === directory.expected &&
      directory.waiting === undefined &&
      coversKeys(directory.xdata, req.xdata)
    ) {
      return true
    }
    this.#bypass(directory)
    return false
  }

  #bypass(directory: Directory): void {
    this.#empty(directory)
    directory.state = 'bypass'
    const { waiting } = directory
    directory.waiting = undefined
    waiting?.resolve(waiting.forward())
  }

  /** Forgets the buffer, to be read again from `off`. */
  #restart(directory: Directory, off: bigint): void {
    directory.generation++
    this.#empty(directory)
    directory.asking = false
    directory.distrusted = false
    directory.expected = off
    directory.next = off
    directory.errno = 0
    directory.state = 'full'
  }

  #empty(directory: Directory): void {
    this.#bytes -= directory.bytes
    directory.bytes = 0
    directory.entries = []
    this.#forgetChanges()
  }

  /** Asks for more unless the buffer is full enough. */
  #readOn(fd: Fd, directory: Directory): void {
    if (directory.asking || directory.state === 'end' || directory.state === 'bypass') return
    if (this.#bytes >= this.options['rda-cache-limit'] && directory.entries.length > 0) return
    directory.state = 'reading'
    directory.asking = true
    if (directory.entries.length === 0) directory.since = clock.now()
    if (this.#naming.has(directory.inode)) directory.distrusted = true
    const { generation } = directory
    fd.hold()
    void this.graph.pool.background(this, 'READDIRP', directory.creds, async (frame) => {
      let rep: Rep<'readdirp'> = { errno: E.IO }
      try {
        const size = this.options['rda-request-size']
        const req = { fd, size, off: directory.next, xdata: directory.xdata }
        rep = await frame.wind(this.child, 'readdirp', req)
      } finally {
        if (directory.generation === generation) this.#fill(fd, directory, rep)
        fd.drop()
      }
    })
  }

  #fill(fd: Fd, directory: Directory, rep: Rep<'readdirp'>): void {
    directory.asking = false
    if (directory.state === 'bypass') return
    if (rep.errno !== 0 || rep.entries.length === 0) {
      directory.state = 'end'
      directory.errno = rep.errno
    } else {
      for (const entry of rep.entries) this.#put(directory, entry)
      directory.next = rep.entries.at(-1)!.off
      if (rep.eof) directory.state = 'end'
      else if (directory.bytes >= this.options['rda-high-wmark']) directory.state = 'full'
    }
    this.#answer(fd, directory)
    if (directory.entries.length === 0) directory.distrusted = this.#naming.has(directory.inode)
    if (directory.state === 'reading') this.#readOn(fd, directory)
  }

  #put(directory: Directory, entry: DirEntry): void {
    const bytes = ENTRY_BYTES + entry.name.length
    directory.entries.push(entry)
    directory.bytes += bytes
    this.#bytes += bytes
  }

  /** Answers the waiting request when there is enough for it. */
  #answer(fd: Fd, directory: Directory): void {
    const { waiting } = directory
    if (waiting === undefined) return
    const more = directory.state === 'reading' && directory.bytes < waiting.size
    if (more && this.#bytes < this.options['rda-cache-limit']) return
    directory.waiting = undefined
    waiting.resolve(this.#serve(fd, directory, waiting.size))
  }

  #serve(fd: Fd, directory: Directory, size: number): Rep<'readdirp'> {
    const entries: DirEntry[] = []
    let left = size
    for (const entry of directory.entries) {
      left -= ENTRY_WIRE_BYTES + entry.name.length
      if (left < 0 && entries.length > 0) break
      const strange = directory.distrusted || this.#isChanged(entry)
      entries.push(strange ? { ...entry, stat: undefined, inode: undefined } : entry)
      directory.bytes -= ENTRY_BYTES + entry.name.length
      this.#bytes -= ENTRY_BYTES + entry.name.length
    }
    directory.entries.splice(0, entries.length)
    if (entries.length > 0) directory.expected = entries.at(-1)!.off
    const drained = directory.entries.length === 0
    if (drained && !directory.asking) {
      directory.distrusted = this.#naming.has(directory.inode)
      this.#forgetChanges()
    }
    if (directory.bytes <= this.options['rda-low-wmark']) this.#readOn(fd, directory)
    const ended = drained && directory.state === 'end'
    if (ended && entries.length === 0 && directory.errno !== 0 && directory.errno !== E.NOENT) {
      const { errno } = directory
      directory.state = 'bypass'
      return { errno }
    }
    const rep: Entries = { errno: 0, entries, eof: ended && directory.errno === 0 }
    return rep
  }

  #isChanged({ stat }: DirEntry): boolean {
    return stat !== undefined && (this.#changed.has(stat.gfid) || this.#changing.has(stat.gfid))
  }

  /** A fop that changes attributes: entries read before its end do not show them. */
  #change<K extends ChangingFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): MaybePromise<Rep<K>> {
    if (this.#open.size === 0) return frame.tail(this.child, fop, req)
    const { gfid } = inode
    this.#changing.set(gfid, (this.#changing.get(gfid) ?? 0) + 1)
    return look(frame.wind(this.child, fop, req), (rep) => {
      const left = this.#changing.get(gfid)! - 1
      if (left === 0) this.#changing.delete(gfid)
      else this.#changing.set(gfid, left)
      this.#isNew(gfid)
      return rep
    })
  }

  /** What was read of the file before now is old. */
  #isNew(gfid: Gfid): void {
    this.#changed.add(gfid)
    if (this.#changed.size > CHANGED_MAX) {
      this.#distrust()
      this.#changed.clear()
    }
    this.#forgetChanges()
  }

  /** A fop that changes names: attributes read before its end may be of what had them before. */
  #name<K extends NamingFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    ...parents: (Inode | undefined)[]
  ): MaybePromise<Rep<K>> {
    if (this.#open.size === 0) return frame.tail(this.child, fop, req)
    for (const parent of parents) {
      if (parent !== undefined) this.#naming.set(parent, (this.#naming.get(parent) ?? 0) + 1)
    }
    const gfids = parents.flatMap((parent) => parent?.gfid ?? [])
    this.#distrust(...gfids)
    return look(frame.wind(this.child, fop, req), (rep) => {
      for (const parent of parents) {
        if (parent === undefined) continue
        const left = this.#naming.get(parent)! - 1
        if (left === 0) this.#naming.delete(parent)
        else this.#naming.set(parent, left)
      }
      this.#distrust(...gfids)
      return rep
    })
  }

  /** Attributes read so far of what is in these directories, in all unless told, may be wrong. */
  #distrust(...gfids: Gfid[]): void {
    for (const directory of this.#open) {
      const busy = directory.entries.length > 0 || directory.asking
      const concerned = gfids.length === 0 || gfids.includes(directory.inode.gfid)
      if (busy && concerned) directory.distrusted = true
    }
  }

  /** Changes matter only to what is buffered or on its way. */
  #forgetChanges(): void {
    if (this.#changed.size === 0) return
    for (const directory of this.#open) {
      if (directory.entries.length > 0 || directory.asking) return
    }
    this.#changed.clear()
  }
}

/** Entries read with the requests `given` have what `wanted` asks for. */
function coversKeys(given: Dict | undefined, wanted: Dict | undefined): boolean {
  if (wanted === undefined) return true
  for (const key of wanted.entries.keys()) if (given?.has(key) !== true) return false
  return true
}

type ChangingFop = Extract<
  FopName,
  | 'truncate'
  | 'open'
  | 'writev'
  | 'ftruncate'
  | 'setattr'
  | 'fsetattr'
  | 'setxattr'
  | 'fsetxattr'
  | 'removexattr'
  | 'fremovexattr'
  | 'fallocate'
  | 'discard'
  | 'zerofill'
>

type NamingFop = 'mknod' | 'mkdir' | 'symlink' | 'create' | 'link' | 'unlink' | 'rmdir' | 'rename'

export default defineXlator({
  type: 'performance/readdir-ahead',
  class: ReaddirAhead,
  options,
  children: 1,
})
