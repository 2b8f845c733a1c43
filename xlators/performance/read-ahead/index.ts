/**
 * performance/read-ahead: reads on while an fd is read in sequence, and answers from what it has.
 * The window grows with the length of the sequence up to page-count pages.
 *
 * Unlike stock's: what it read ahead is in chunks of several pages, one READ each; a sequence may
 * begin anywhere in the file; data older than a second is not used; a chunk that failed is read
 * again for the reader who wants it.
 */
import { clock, NEVER } from '../../../src/core/clock.ts'
import { FdContext } from '../../../src/core/context.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import { type Inode, inodePath, isDirInode } from '../../../src/core/inode.ts'
import { O_ACCMODE, O_DIRECT, O_WRONLY } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, type Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { sliceVector } from '../buffers.ts'
import { ContentCache } from '../content-cache.ts'
import { PassThrough } from '../look.ts'

export const options = defineOptions({
  'page-count': {
    type: 'int',
    default: '4',
    min: 1,
    max: 16,
    description: 'Pages read ahead at most.',
  },
  'page-size': {
    type: 'size',
    default: '131072',
    min: 4096,
    max: 64 * 2 ** 20,
    description: 'Size of a page.',
  },
  'force-atime-update': {
    type: 'bool',
    default: 'false',
    description: 'Reads answered here also read a byte on the bricks.',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Do nothing.' },
})

/** Largest READ made for several pages, bytes. */
const CHUNK_BYTES_MAX = 2 ** 20
/** Older data may have been changed by other clients. */
const CHUNK_AGE_MAX_MS = 1000

/** One read ahead; `ready` fulfils when it was answered, also with an error. */
interface Chunk {
  readonly start: number
  readonly end: number
  ready: Promise<void>
  rep: Rep<'readv'> | undefined
  /** Monotonic ms when it was sent. */
  readonly at: number
}

class File {
  /** Where a sequential read would begin. */
  expected = 0
  /** Bytes read in sequence. */
  run = 0
  /** The file as it was shown last, by a fop begun at `seenAt`. */
  seen: Iatt | undefined
  seenAt = NEVER
  /** Adjacent or with gaps, by start, never overlapping. */
  chunks: Chunk[] = []
  /** The file ends here, as far as reads have shown. */
  end = Number.POSITIVE_INFINITY

  reset(): void {
    this.chunks = []
    this.end = Number.POSITIVE_INFINITY
  }

  /** Lets go of what was read of another state of the file than `stat`. */
  keep(begin: number, stat: Iatt): void {
    this.seen = stat
    this.seenAt = begin
    if (this.chunks.length === 0) return
    const current = ({ rep }: Chunk): boolean =>
      rep === undefined || rep.errno !== 0 || rep.stat.ctime === 0 || isSame(rep.stat, stat)
    if (!this.chunks.every(current)) this.reset()
  }

  /** The reply to a READ begun at `begin` shows another state than a later fop did. */
  isOld(begin: number, rep: Rep<'readv'>): boolean {
    if (this.seen === undefined || this.seenAt < begin || rep.errno !== 0) return false
    return rep.stat.ctime !== 0 && !isSame(rep.stat, this.seen)
  }

  covers(offset: number): boolean {
    return this.chunks.some((chunk) => chunk.start <= offset && offset < chunk.end)
  }
}

const isSame = (a: Iatt, b: Iatt): boolean =>
  a.size === b.size && a.mtime === b.mtime && a.mtimeNsec === b.mtimeNsec

export class ReadAhead extends ContentCache<typeof options> {
  readonly #files = new FdContext<File>(this)
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  readonly #active = new Set<Fd>()

  override init(): void {
    this.#passThrough.set(this.options['pass-through'])
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values)
    if (!this.#passThrough.set(values['pass-through'])) return
    for (const fd of this.#active) this.#files.get(fd)?.reset()
  }

  readv: Fop<'readv'> = (frame, req) => {
    const { fd, offset, size } = req
    const flags = fd.flags | req.flags
    if ((flags & O_DIRECT) !== 0 || (fd.flags & O_ACCMODE) === O_WRONLY || size === 0) {
      return frame.tail(this.child, 'readv', req)
    }
    const file = this.#files.need(fd, () => new File())
    this.#active.add(fd)
    this.#follow(file, offset, size)
    const used = this.#usable(file, offset, offset + size)
    this.#readOn(frame, fd, file, offset + size)
    if (used.length === 0) return frame.tail(this.child, 'readv', req)
    return this.#assemble(frame, req, file, used)
  }

  override release = (fd: Fd): void => {
    this.#active.delete(fd)
  }

  override dump(sink: DumpSink): void {
    sink.section('xlator.performance.read-ahead.priv')
    sink.pair('page_size', this.options['page-size'])
    sink.pair('page_count', this.options['page-count'])
    sink.pair('force_atime_update', Number(this.options['force-atime-update']))
  }

  override dumpFd(fd: Fd, sink: DumpSink): void {
    if (isDirInode(fd.inode)) return
    sink.section('xlator.performance.read-ahead.file')
    sink.pair('path', inodePath(fd.inode))
    sink.pair('fd', fd.inode.nodeid)
    if ((fd.flags & O_DIRECT) !== 0 || (fd.flags & O_ACCMODE) === O_WRONLY) {
      sink.pair('disabled', 'yes')
      return
    }
    const file = this.#files.get(fd) ?? new File()
    sink.pair('disabled', 'no')
    sink.pair('page-size', this.options['page-size'])
    sink.pair('page-count', Math.max(1, this.#window(file) / this.options['page-size']))
    sink.pair('next-expected-offset-for-sequential-reads', file.expected)
    for (const [index, { start, end, rep }] of file.chunks.entries()) {
      sink.pair('page', index)
      sink.pair('offset', start)
      sink.pair('size', end - start)
      sink.pair('dirty', 0)
      sink.pair('poisoned', 0)
      sink.pair('ready', Number(rep !== undefined))
    }
  }

  /** Notes whether the read goes on where the last one ended. */
  #follow(file: File, offset: number, size: number): void {
    // The kernel may send the reads of one sequence in another order: what is here is no jump.
    if (offset === file.expected || file.covers(offset)) {
      file.run += size
      file.expected = Math.max(file.expected, offset + size)
      return
    }
    file.run = 0
    file.expected = offset + size
    file.reset()
  }

  /** Bytes to have ahead of the reader. */
  #window(file: File): number {
    const pageSize = this.options['page-size']
    return Math.min(Math.floor(file.run / pageSize), this.options['page-count']) * pageSize
  }

  /** The chunks that overlap [offset, end) and are fresh; passed and old ones are let go. */
  #usable(file: File, offset: number, end: number): Chunk[] {
    const oldest = clock.now() - CHUNK_AGE_MAX_MS
    file.chunks = file.chunks.filter((chunk) => chunk.at >= oldest && chunk.end > offset)
    return file.chunks.filter((chunk) => chunk.start < end)
  }

  /** Requests what the window lacks, when half of it is used up. */
  #readOn(frame: Frame, fd: Fd, file: File, from: number): void {
    const window = this.#window(file)
    if (window === 0) return
    let at = Math.max(from, file.chunks.at(-1)?.end ?? from)
    const target = Math.min(from + window, file.end)
    if (at - from > window / 2 || at >= target) return
    while (at < target) {
      const end = Math.min(at + Math.max(CHUNK_BYTES_MAX, this.options['page-size']), target)
      file.chunks.push(this.#fetch(frame, fd, file, at, end))
      at = end
    }
  }

  #fetch(frame: Frame, fd: Fd, file: File, start: number, end: number): Chunk {
    const chunk: Chunk = { start, end, ready: Promise.resolve(), rep: undefined, at: clock.now() }
    fd.hold()
    chunk.ready = this.graph.pool.background(this, 'READ', frame.creds, async (ahead) => {
      try {
        const req = { fd, offset: start, size: end - start, flags: fd.flags }
        const rep = await ahead.wind(this.child, 'readv', req)
        // An answer from before what was seen meanwhile counts as failed.
        chunk.rep = file.isOld(chunk.at, rep) ? { errno: E.AGAIN } : rep
        const short = rep.errno === 0 && rep.size < end - start
        if (short && file.chunks.includes(chunk)) file.end = start + rep.size
      } finally {
        chunk.rep ??= { errno: E.IO }
        fd.drop()
      }
    })
    return chunk
  }

  /** Puts the answer together from chunks and, where there are none, the bricks. */
  async #assemble(
    frame: Frame,
    req: Req<'readv'>,
    file: File,
    used: readonly Chunk[],
  ): Promise<Rep<'readv'>> {
    const end = req.offset + req.size
    const data: Buffer[] = []
    let at = req.offset
    let stat: Iatt | undefined
    let eof = false
    while (at < end && !eof) {
      const chunk = used.find((one) => one.start <= at && at < one.end)
      if (chunk !== undefined) await chunk.ready
      let rep = chunk?.rep
      let start = chunk?.start ?? at
      let wanted = Math.min(chunk?.end ?? end, end)
      if (rep === undefined || rep.errno !== 0) {
        const next = used.find((one) => one.start > at)
        wanted = Math.min(chunk?.end ?? next?.start ?? end, end)
        start = at
        const rest = { ...req, offset: at, size: wanted - at, borrows: false }
        rep = await frame.wind(this.child, 'readv', rest)
        if (rep.errno !== 0) return rep
      }
      for (const part of sliceVector(rep.data, at - start, wanted - start)) data.push(part)
      const reached = Math.max(at, Math.min(wanted, start + rep.size))
      stat = rep.stat
      eof = reached < wanted || (rep.eof && reached === start + rep.size)
      at = reached
    }
    if (this.options['force-atime-update']) this.#touch(frame, req.fd, req.offset)
    // A passed chunk is not needed again.
    file.chunks = file.chunks.filter((chunk) => chunk.end > end)
    return { errno: 0, data, size: at - req.offset, stat: stat!, eof }
  }

  #touch(frame: Frame, fd: Fd, offset: number): void {
    fd.hold()
    void this.graph.pool.background(this, 'READ', frame.creds, async (read) => {
      await read.wind(this.child, 'readv', { fd, offset, size: 1, flags: fd.flags })
      fd.drop()
    })
  }

  /** What was read before a change, or while it is under way, is out of date. */
  protected override contentChanged(inode: Inode): void {
    for (const fd of inode.fds) this.#files.get(fd)?.reset()
  }

  protected override connectionsChanged(): void {
    for (const fd of this.#active) this.#files.get(fd)?.reset()
  }

  /** Chunks that show another state of the file are not the ones to answer with from now on. */
  protected override saw(inode: Inode, begin: number, stat: Iatt): void {
    for (const fd of inode.fds) this.#files.get(fd)?.keep(begin, stat)
  }
}

export default defineXlator({
  type: 'performance/read-ahead',
  class: ReadAhead,
  options,
  children: 1,
})
