/**
 * performance/io-cache: keeps pages of 128 KiB of files that were read, shared by all fds of a
 * file, bounded in all by cache-size; pages of low-weight names go first. After cache-timeout, and
 * after an open, a file's pages are used only if an fstat finds it unchanged. Written data is not
 * cached.
 *
 * Adjacent missing pages are fetched in one READ (stock: a READ each).
 */

import { clock, NEVER } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { O_DIRECT } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, type Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { stampText } from '../../../src/observe/log-format.ts'
import { sliceVector, unpinned } from '../buffers.ts'
import { ContentCache } from '../content-cache.ts'
import { PassThrough, wallSeconds } from '../look.ts'
import { Priorities } from '../priority.ts'
import { type Evictable, WeightedLru } from '../weighted-lru.ts'

export const options = defineOptions({
  'cache-size': {
    type: 'size',
    default: '32MB',
    min: 4 * 2 ** 20,
    max: 2 ** 40,
    description: 'Bytes of all pages.',
  },
  'cache-timeout': {
    type: 'int',
    default: '1',
    min: 0,
    max: 60,
    alias: ['force-revalidate-timeout'],
    description: 'Seconds after which a file is asked whether it changed.',
  },
  'min-file-size': {
    type: 'size',
    default: '0',
    min: 0,
    description: 'Smaller files are not cached.',
  },
  'max-file-size': {
    type: 'size',
    default: '0',
    min: 0,
    description: 'Larger files are not cached; 0 = no bound.',
  },
  priority: {
    type: 'any',
    default: '',
    description: 'pattern:weight,…; higher weights stay longer, 0 is not cached.',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Do nothing.' },
})

const PAGE_BYTES = 131072
/** Pages in one READ. */
const RUN_MAX = 8

class Page implements Evictable {
  readonly file: File
  readonly index: number
  readonly weight: number
  size = 0
  /** Undefined until it was read. Shorter than a page at the end of the file. */
  data: Buffer[] | undefined
  errno: Errno | 0 = 0
  ready: Promise<void> = Promise.resolve()

  constructor(file: File, index: number) {
    this.file = file
    this.index = index
    this.weight = file.weight
  }

  evict(): void {
    this.file.pages.delete(this.index)
  }
}

class File {
  readonly pages = new Map<number, Page>()
  readonly weight: number
  /** What its weight is by. */
  readonly priorities: Priorities
  /** As the pages' replies showed it. */
  stat: Iatt | undefined
  /** Stamp of the last fop that showed it unchanged. */
  validated = NEVER
  /** Stamp of the last change through this client. */
  changed = NEVER

  constructor(weight: number, priorities: Priorities) {
    this.weight = weight
    this.priorities = priorities
  }
}

export class IoCache extends ContentCache<typeof options> {
  readonly #files = new InodeContext<File>(this)
  readonly #cached = new Map<File, Inode>()
  readonly #lru = new WeightedLru<Page>(this.options['cache-size'])
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  #priorities = new Priorities(this.options.priority)

  override init(): void {
    checkSizes(this.options)
    this.#passThrough.set(this.options['pass-through'])
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    checkSizes(values)
    if (values.priority !== this.options.priority) {
      this.#priorities = new Priorities(values.priority)
      for (const file of this.#cached.keys()) this.#drop(file)
    }
    super.reconfigure(values)
    this.#lru.bytesMax = values['cache-size']
    this.#lru.shrink()
    if (!this.#passThrough.set(values['pass-through'])) return
    for (const file of this.#cached.keys()) this.#drop(file)
  }

  readv: Fop<'readv'> = (frame, req) => {
    const { fd } = req
    const file = this.#need(fd.inode)
    if (!this.#mayCache(file, req)) return frame.tail(this.child, 'readv', req)
    if (file.pages.size > 0 && !this.#isValid(fd.inode, file)) {
      return this.#revalidate(frame, req, file)
    }
    return this.#read(frame, req, file)
  }

  override forget = (inode: Inode): void => {
    const file = this.#files.get(inode)
    if (file !== undefined) this.#drop(file)
  }

  override dump(sink: DumpSink): void {
    sink.section('io-cache.priv')
    sink.pair('page_size', PAGE_BYTES)
    sink.pair('cache_size', this.options['cache-size'])
    sink.pair('cache_used', this.#lru.bytes)
    sink.pair('inode_count', this.#cached.size)
    sink.pair('cache_timeout', this.options['cache-timeout'])
    sink.pair('min-file-size', this.options['min-file-size'])
    sink.pair('max-file-size', this.options['max-file-size'])
  }

  override dumpInode(inode: Inode, sink: DumpSink): void {
    const file = this.#files.get(inode)
    if (file === undefined) return
    sink.section('io-cache.inode')
    sink.pair('inode.weight', file.weight)
    sink.pair('path', inodePath(inode))
    sink.pair('uuid', gfidText(inode.gfid))
    if (file.validated === NEVER) return
    const seen = stampText(wallSeconds(file.validated), 0, false)
    sink.pair('last-cache-validation-time', seen.replace(/\.\d+/, ''))
  }

  #need(inode: Inode): File {
    const known = this.#files.get(inode)
    if (known?.priorities === this.#priorities) return known
    const weight = this.#priorities.weight(inode.dentries[0]?.name ?? '')
    const file = new File(weight, this.#priorities)
    this.#files.set(inode, file)
    return file
  }

  #mayCache(file: File, req: Req<'readv'>): boolean {
    if (((req.fd.flags | req.flags) & O_DIRECT) !== 0 || file.weight === 0) return false
    if (req.size === 0) return false
    const size = file.stat?.size
    if (size === undefined) return true
    const max = this.options['max-file-size']
    return size >= this.options['min-file-size'] && (max === 0 || size <= max)
  }

  #isValid(inode: Inode, file: File): boolean {
    const age = clock.now() - file.validated
    return file.validated >= inode.openedAt && age < this.options['cache-timeout'] * 1000
  }

  async #revalidate(frame: Frame, req: Req<'readv'>, file: File): Promise<Rep<'readv'>> {
    const begin = this.stamps.next()
    const now = await frame.wind(this.child, 'fstat', { fd: req.fd })
    if (now.errno === 0) this.saw(req.fd.inode, begin, now.stat, false)
    else this.#drop(file)
    if (!this.#mayCache(file, req)) return frame.tail(this.child, 'readv', req)
    return this.#read(frame, req, file)
  }

  #read(frame: Frame, req: Req<'readv'>, file: File): MaybePromise<Rep<'readv'>> {
    const first = Math.floor(req.offset / PAGE_BYTES)
    const last = Math.floor((req.offset + req.size - 1) / PAGE_BYTES)
    const pages: Page[] = []
    let missing = false
    for (let index = first; index <= last; index++) {
      const page = file.pages.get(index) ?? this.#fetchRun(frame, req.fd, file, index, last)
      if (page.data === undefined) missing = true
      else this.#lru.touch(page)
      pages.push(page)
      // Behind a page that is not full there is nothing.
      if (page.data !== undefined && page.size < PAGE_BYTES) break
    }
    if (!missing) return assemble(req, pages, file.stat ?? new Iatt())
    return this.#whenReady(frame, req, file, pages)
  }

  async #whenReady(
    frame: Frame,
    req: Req<'readv'>,
    file: File,
    pages: readonly Page[],
  ): Promise<Rep<'readv'>> {
    for (const page of pages) await page.ready
    const failed = pages.find((page) => page.data === undefined)
    const stat = file.stat
    if (failed === undefined) return assemble(req, pages, stat ?? new Iatt())
    if (failed !== undefined && failed.errno !== 0) return { errno: failed.errno }
    return frame.tail(this.child, 'readv', req)
  }

  /** Requests the missing pages from `index` on in one READ; returns the first. */
  #fetchRun(frame: Frame, fd: Fd, file: File, index: number, last: number): Page {
    const run: Page[] = []
    for (let at = index; at <= last && run.length < RUN_MAX && !file.pages.has(at); at++) {
      const page = new Page(file, at)
      file.pages.set(at, page)
      run.push(page)
    }
    this.#cached.set(file, fd.inode)
    fd.hold()
    const begin = this.stamps.next()
    const ready = this.graph.pool.background(this, 'READ', frame.creds, async (reading) => {
      let rep: Rep<'readv'> = { errno: E.IO }
      try {
        const offset = index * PAGE_BYTES
        const req = { fd, offset, size: run.length * PAGE_BYTES, flags: fd.flags }
        rep = await reading.wind(this.child, 'readv', req)
      } finally {
        this.#arrived(fd.inode, file, run, begin, rep)
        fd.drop()
      }
    })
    for (const page of run) page.ready = ready
    return run[0]!
  }

  #arrived(inode: Inode, file: File, run: Page[], begin: number, rep: Rep<'readv'>): void {
    if (rep.errno === 0 && rep.stat.ctime !== 0) {
      this.saw(inode, begin, rep.stat, false)
      // A change meanwhile does not concern who asked before it: they get this.
      file.stat ??= rep.stat
    }
    for (const [at, page] of run.entries()) {
      const kept = file.pages.get(page.index) === page
      if (rep.errno !== 0) {
        page.errno = rep.errno
        if (kept) file.pages.delete(page.index)
        continue
      }
      const start = at * PAGE_BYTES
      page.size = Math.max(0, Math.min(rep.size - start, PAGE_BYTES))
      page.data = unpinned(sliceVector(rep.data, start, start + page.size))
      if (!kept) continue
      if (page.size === 0) file.pages.delete(page.index)
      else this.#lru.add(page)
    }
    if (file.pages.size === 0) this.#cached.delete(file)
  }

  /** Its pages are valid once more, or dropped. */
  protected override saw(inode: Inode, begin: number, stat: Iatt, listed: boolean): void {
    const file = this.#files.get(inode)
    if (file === undefined || file.changed > begin || stat.ctime === 0) return
    const known = file.stat
    const same =
      known === undefined ||
      (known.mtime === stat.mtime && known.mtimeNsec === stat.mtimeNsec && known.size === stat.size)
    if (!same) this.#drop(file)
    if (listed) return
    file.stat = stat
    file.validated = Math.max(file.validated, begin)
  }

  #drop(file: File): void {
    file.changed = this.stamps.next()
    for (const page of file.pages.values()) this.#lru.delete(page)
    file.pages.clear()
    file.stat = undefined
    this.#cached.delete(file)
  }

  protected override contentChanged(inode: Inode): void {
    const file = this.#files.get(inode)
    if (file !== undefined) this.#drop(file)
  }

  /** Pages stay, to be looked at again before they are used. */
  protected override connectionsChanged(): void {
    for (const file of this.#cached.keys()) file.validated = NEVER
  }
}

function assemble(req: Req<'readv'>, pages: readonly Page[], stat: Iatt): Rep<'readv'> {
  const data: Buffer[] = []
  let at = req.offset
  const end = req.offset + req.size
  let eof = false
  for (const page of pages) {
    const start = page.index * PAGE_BYTES
    const wanted = Math.min(end, start + page.size)
    if (wanted > at) {
      for (const part of sliceVector(page.data!, at - start, wanted - start)) data.push(part)
      at = wanted
    }
    if (page.size === PAGE_BYTES) continue
    eof = at >= start + page.size
    break
  }
  const whole = stat.ctime !== 0 && at >= stat.size
  return { errno: 0, data, size: at - req.offset, stat, eof: eof || whole }
}

function checkSizes(values: OptionValues<typeof options>): void {
  const { 'min-file-size': min, 'max-file-size': max } = values
  if (max === 0 || min <= max) return
  throw new GlusterError(
    'OPTION_INVALID',
    `option min-file-size ${min} is greater than max-file-size ${max}`,
  )
}

export default defineXlator({ type: 'performance/io-cache', class: IoCache, options, children: 1 })
