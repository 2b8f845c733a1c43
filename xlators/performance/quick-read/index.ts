/**
 * performance/quick-read: a lookup brings the content of a small file along, and reads within
 * cache-timeout seconds are answered from it. With open-behind a small file is then read without an
 * open, read or flush on the bricks.
 *
 * Unlike stock's, upcalls end content also without quick-read-cache-invalidation; that, or
 * cache-invalidation of md-cache, makes content believed that is older than an open.
 *
 * As in md-cache, a reply fills the cache only if nothing changed the file since its fop began.
 * Content whose length is not the file's size is not taken (a brick's part of a file).
 */
import { clock, NEVER } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import type { Fop, Rep, Req } from '../../../src/core/fop.ts'
import type { Freshness } from '../../../src/core/freshness.ts'
import { type Iatt, isReg, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { O_DIRECT } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { unpinned } from '../buffers.ts'
import { ContentCache } from '../content-cache.ts'
import { knownInode, look } from '../look.ts'
import { Priorities } from '../priority.ts'
import { type Evictable, WeightedLru } from '../weighted-lru.ts'

export const options = defineOptions({
  'max-file-size': {
    type: 'size',
    default: '64KB',
    min: 0,
    max: 1000 * 1024,
    description: 'Files up to this size are cached.',
  },
  'cache-timeout': {
    type: 'int',
    default: '1',
    min: 1,
    max: 60,
    description: 'Seconds that content is believed.',
  },
  'cache-size': {
    type: 'size',
    default: '128MB',
    min: 0,
    max: 32 * 2 ** 30,
    description: 'Bytes of all cached content.',
  },
  priority: {
    type: 'any',
    default: '',
    description: 'pattern:weight,…; higher weights stay longer, 0 is not cached.',
  },
  'quick-read-cache-invalidation': {
    type: 'bool',
    default: 'false',
    description: 'Upcalls of the bricks drop content others changed.',
  },
  'ctime-invalidation': {
    type: 'bool',
    default: 'false',
    description: 'Compare ctimes instead of mtimes.',
  },
})

const CONTENT_KEY = 'glusterfs.content'
/** Marks of replies that are not to be trusted. */
const BAD_KEYS = ['bad-inode', 'sh-failed']

class Content implements Evictable {
  readonly weight: number
  readonly data: Buffer
  readonly size: number
  stat: Iatt
  /** Stamp of the last fop that showed it unchanged. */
  refreshed: number
  readonly #evicted: () => void

  constructor(data: Buffer, stat: Iatt, seen: number, weight: number, evicted: () => void) {
    this.data = data
    this.size = data.length
    this.stat = stat
    this.weight = weight
    this.refreshed = seen
    this.#evicted = evicted
  }

  evict(): void {
    this.#evicted()
  }
}

interface Entry {
  content: Content | undefined
  /** Stamp of the last change. */
  changed: number
}

export class QuickRead extends ContentCache<typeof options> {
  readonly #entries = new InodeContext<Entry>(this)
  readonly #lru = new WeightedLru<Content>(this.options['cache-size'])
  #priorities = new Priorities(this.options.priority)
  #validFrom = NEVER
  #hits = 0
  #misses = 0
  #invalidations = 0
  /** Where it says that upcalls are on, they are for content, too. */
  #freshness: Freshness | undefined

  override init(): void {
    const { xlators } = this.graph
    this.#freshness = xlators.find((xl) => xl.freshness !== undefined)?.freshness
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    const { priority, 'max-file-size': max } = this.options
    this.#priorities = new Priorities(values.priority)
    super.reconfigure(values)
    this.#lru.bytesMax = values['cache-size']
    // What is kept was chosen by the rules of before.
    if (priority !== values.priority || max !== values['max-file-size']) this.#lru.clear()
    else this.#lru.shrink()
  }

  readv: Fop<'readv'> = (frame, req) => {
    const { fd, offset, size } = req
    const content = this.#believed(fd.inode)
    const direct = ((req.flags | fd.flags) & O_DIRECT) !== 0
    if (content !== undefined && offset < content.size && !direct) {
      this.#hits++
      this.#lru.touch(content)
      const end = Math.min(offset + size, content.size)
      const data = [content.data.subarray(offset, end)]
      const eof = end === content.size
      return { errno: 0, data, size: end - offset, stat: content.stat, eof }
    }
    this.#misses++
    const begin = this.stamps.next()
    return look(frame.wind(this.child, 'readv', req), (rep) => {
      if (rep.errno === 0 && rep.stat.ctime !== 0) this.saw(fd.inode, begin, rep.stat, false)
      return rep
    })
  }

  override lookup: Fop<'lookup'> = (frame, req) => {
    const { inode } = req.loc
    const { type } = inode
    const max = this.options['max-file-size']
    const wanted =
      max > 0 && (type === 0 || type === S_IFREG) && this.#entries.get(inode)?.content === undefined
    const begin = this.stamps.next()
    const asking = wanted && !req.xdata?.has(CONTENT_KEY) ? withContent(req, max) : req
    return look(frame.wind(this.child, 'lookup', asking), (rep) => {
      this.#lookedUp(req.loc, begin, rep)
      return rep
    })
  }

  override forget = (inode: Inode): void => {
    const content = this.#entries.get(inode)?.content
    if (content !== undefined) this.#lru.delete(content)
  }

  protected override contentChanged(inode: Inode): void {
    if (this.#entries.get(inode)?.content !== undefined) this.#invalidations++
    this.#drop(inode)
  }

  protected override connectionsChanged(): void {
    this.#validFrom = this.stamps.next()
  }

  /** The same file as the cached one, or it is dropped. */
  protected override saw(inode: Inode, begin: number, stat: Iatt, listed: boolean): void {
    const entry = this.#entries.get(inode)
    const content = entry?.content
    if (entry === undefined || content === undefined || entry.changed > begin) return
    const known = content.stat
    const same = this.options['ctime-invalidation']
      ? stat.ctime === known.ctime && stat.ctimeNsec === known.ctimeNsec
      : stat.mtime === known.mtime && stat.mtimeNsec === known.mtimeNsec
    if (!same || stat.size !== content.size) {
      this.#drop(inode)
      return
    }
    if (listed) return
    content.stat = stat
    content.refreshed = begin
  }

  override dump(sink: DumpSink): void {
    sink.section('xlator.performance.quick-read.priv')
    sink.pair('max_file_size', this.options['max-file-size'])
    sink.pair('cache_timeout', this.options['cache-timeout'])
    sink.pair('total_files_cached', this.#lru.count)
    sink.pair('total_cache_used', this.#lru.bytes)
    sink.pair('cache-hit', this.#hits)
    sink.pair('cache-miss', this.#misses)
    sink.pair('cache-invalidations', this.#invalidations)
  }

  #believed(inode: Inode): Content | undefined {
    const content = this.#entries.get(inode)?.content
    if (content === undefined || content.refreshed <= this.#validFrom) return undefined
    const told = this.options['quick-read-cache-invalidation'] || this.#freshness?.on === true
    // Close-to-open: what was there before an open may have been changed by others.
    if (!told && content.refreshed < inode.openedAt) return undefined
    const age = clock.now() - content.refreshed
    return age < this.options['cache-timeout'] * 1000 ? content : undefined
  }

  #lookedUp(loc: Loc, begin: number, rep: Rep<'lookup'>): void {
    if (rep.errno !== 0 || BAD_KEYS.some((key) => rep.xdata?.has(key) === true)) {
      this.#drop(loc.inode)
      return
    }
    const inode = knownInode(loc.inode, rep.stat.gfid)
    const bytes = rep.xdata?.getBytes(CONTENT_KEY)
    if (bytes === undefined || !isReg(rep.stat)) this.saw(inode, begin, rep.stat, false)
    else if (bytes.length === rep.stat.size) this.#keep(inode, loc, begin, bytes, rep.stat)
  }

  #keep(inode: Inode, loc: Loc, begin: number, bytes: Buffer, stat: Iatt): void {
    const entry = this.#entries.need(inode, () => ({ content: undefined, changed: NEVER }))
    if (entry.changed > begin) return
    const weight = this.#priorities.weight(loc.name ?? inode.dentries[0]?.name ?? '')
    if (weight === 0 || bytes.length === 0) return
    if (entry.content !== undefined) this.#lru.delete(entry.content)
    const evicted = (): void => {
      if (entry.content === content) entry.content = undefined
    }
    const content: Content = new Content(unpinned([bytes])[0]!, stat, begin, weight, evicted)
    entry.content = content
    this.#lru.add(content)
  }

  #drop(inode: Inode): void {
    const entry = this.#entries.need(inode, () => ({ content: undefined, changed: NEVER }))
    entry.changed = this.stamps.next()
    if (entry.content === undefined) return
    this.#lru.delete(entry.content)
    entry.content = undefined
  }
}

function withContent(req: Req<'lookup'>, max: number): Req<'lookup'> {
  const xdata = req.xdata === undefined ? new Dict() : req.xdata.clone()
  return { loc: req.loc, xdata: xdata.setUint(CONTENT_KEY, max) }
}

export default defineXlator({
  type: 'performance/quick-read',
  class: QuickRead,
  options,
  children: 1,
})
