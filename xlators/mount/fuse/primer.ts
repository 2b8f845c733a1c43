/**
 * Names looked up one after the other cost a round trip each. When several of a directory were, it
 * is listed in the background, and further LOOKUPs are answered from the listing as READDIRPLUS
 * would have answered them: for what is left of the mount's timeouts, not as "looked up".
 *
 * What is answered is what md-cache would believe of the listing, see `Freshness.listed`: nothing
 * that we changed since it began, that upcalls tell of, or that was learned before an open.
 */
import { clock, NEVER, type Timer } from '../../../src/core/clock.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { DirEntry } from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import type { Freshness } from '../../../src/core/freshness.ts'
import { type Inode, isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { FuseRequest, Serving } from '../../../src/fuse/request.ts'
import type { Graph } from '../../../src/graph/build.ts'
import { giveBackIdleInodes } from './idle.ts'
import type { FuseBridge } from './index.ts'
import { Seen } from './seen.ts'

/** So many LOOKUPs, each begun so soon after the answer to the one before, start a listing. */
const RUN_MIN = 4
const RUN_GAP_MS = 100
/** A listing is believed for the mount's timeouts, and no longer than this. */
const AGE_MAX_MS = 1000
/** An answer with less than this left would only make the kernel ask again. */
const LEFT_MIN_MS = 100
/** One reply of the bricks; the next is asked for when a part of the names so far was of use. */
const PAGE_BYTES = 128 * 1024
const USED_PART = 1 / 4
/** A directory whose listing was of no use is not listed again for so long. */
const REST_MS = 30_000
/** Listings at a time, and names kept of all of them. */
const LISTINGS_MAX = 16
const NAMES_MAX = 8192
/** How often what is too old is looked for, while there is anything. */
const SWEEP_MS = 250

/**
 * What lies between the mount and md-cache and does not keep changes back. Names of its own are in
 * no listing of md-cache.
 */
const TRANSPARENT: ReadonlySet<string> = new Set([
  'meta',
  'debug/io-stats',
  'features/snapview-client',
  'performance/io-threads',
])

/** LOOKUPs of names in one directory that the bricks answered. */
export class LookupRun {
  count = 0
  /** When the last one was answered, monotonic ms, and its name. */
  at = NEVER
  name = ''
  /** No listing before then. */
  restUntil = NEVER
}

interface Listing {
  readonly directory: Inode
  readonly serving: Serving
  readonly creds: Creds
  readonly pid: number
  /** Each is held in the table. */
  readonly names: Map<string, Inode>
  /** Open on the bricks. */
  fd: Fd | undefined
  off: bigint
  /** A page is under way. */
  reading: boolean
  /** The last page has been read. */
  complete: boolean
  ended: boolean
  /** When the last page was asked for. */
  at: number
  found: number
  used: number
}

export class Primer {
  readonly counts = { listings: 0, pages: 0, names: 0, answered: 0, useless: 0 }
  readonly #bridge: FuseBridge
  readonly #validMs: number
  readonly #listings = new Map<Inode, Listing>()
  #freshness: Freshness | undefined
  /** Listings that have ended but for their last page. */
  #leaving = 0
  #kept = 0
  #timer: Timer | undefined
  /** Requests of ours that change names: under way, and ended so far. */
  #changing = 0
  #changes = 0

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
    const { options } = bridge
    const seconds = Math.min(options['entry-timeout'], options['attribute-timeout'])
    const on = options['prime-lookups'] && options['use-readdirp']
    this.#validMs = on ? Math.min(seconds * 1000, AGE_MAX_MS) : 0
  }

  /** Names kept now. */
  get kept(): number {
    return this.#kept
  }

  use(graph: Graph): void {
    this.#freshness = this.#validMs > LEFT_MIN_MS ? freshnessBelow(graph.top) : undefined
  }

  /** Nothing listed so far is believed. */
  dropAll(): void {
    for (const listing of [...this.#listings.values()]) this.#end(listing)
  }

  /** Runs a request that changes names: listings begun before its end may show the old ones. */
  async whileChanging(change: () => Promise<void>): Promise<void> {
    this.#changing++
    try {
      await change()
    } finally {
      this.#changing--
      this.#changes++
    }
  }

  /** The bricks answered a LOOKUP: the name exists and is no directory. */
  lookedUp(request: FuseRequest, directory: Inode, name: string): void {
    if (this.#freshness === undefined) return
    const seen = this.#bridge.seen.need(directory, () => new Seen())
    seen.run ??= new LookupRun()
    const { run } = seen
    if (name === run.name) return
    const now = clock.now()
    run.count = request.frame.stack.begin - run.at <= RUN_GAP_MS ? run.count + 1 : 1
    run.at = now
    run.name = name
    if (run.count < RUN_MIN || now < run.restUntil || this.#listings.has(directory)) return
    this.#begin(request, directory)
  }

  /** Who opens what it looks up needs the lookups. */
  opened(inode: Inode): void {
    const parent = inode.dentries[0]?.parent
    const run = parent === undefined ? undefined : this.#bridge.seen.get(parent)?.run
    if (run !== undefined) run.count = 0
  }

  /** Answers a LOOKUP, if a listing can. Each name is good for one answer. */
  answer(request: FuseRequest, directory: Inode, name: string): boolean {
    if (this.#kept === 0) return false
    const listing = this.#listings.get(directory)
    const inode = listing?.names.get(name)
    if (listing === undefined || inode === undefined) return false
    listing.names.delete(name)
    this.#kept--
    const answered = this.#answer(request, listing, name, inode)
    this.#bridge.table.unref(inode)
    if (!answered) return false
    this.counts.answered++
    listing.used++
    if (!listing.reading && !listing.complete && isUseful(listing)) this.#read(listing)
    return true
  }

  #answer(request: FuseRequest, listing: Listing, name: string, inode: Inode): boolean {
    const bridge = this.#bridge
    const { directory } = listing
    if (request.serving !== listing.serving) return false
    if (inode.fds.size > 0 || bridge.table.child(directory, name) !== inode) return false
    const listed = this.#freshness?.listed(directory, name, inode)
    if (listed === undefined) return false
    const leftMs = listed.at + this.#validMs - clock.now()
    if (leftMs < LEFT_MIN_MS) return false
    const { stat } = listed
    bridge.table.countLookup(inode)
    bridge.observe(inode, stat)
    const taken = request.entry({
      nodeid: inode.nodeid,
      gfid: inode.gfid,
      stat,
      entryValid: bridge.kernelCache.entry(directory, name, inode, leftMs),
      attrValid: bridge.kernelCache.attributes(inode, stat, leftMs),
    })
    if (!taken) bridge.takeBack(inode)
    else giveBackIdleInodes(bridge)
    return true
  }

  #begin(request: FuseRequest, directory: Inode): void {
    const { serving, frame, pid } = request
    const full = this.#listings.size + this.#leaving >= LISTINGS_MAX || this.#kept >= NAMES_MAX
    if (serving === undefined || full || this.#changing > 0) return
    const listing: Listing = {
      directory,
      serving,
      creds: frame.creds,
      pid,
      names: new Map(),
      fd: undefined,
      off: 0n,
      reading: false,
      complete: false,
      ended: false,
      at: NEVER,
      found: 0,
      used: 0,
    }
    this.#bridge.table.ref(directory)
    this.#listings.set(directory, listing)
    this.counts.listings++
    this.#read(listing)
    this.#sweepLater()
  }

  /** Reads the next page, of a listing that goes on. The graph is kept as for a request. */
  #read(listing: Listing): void {
    const bridge = this.#bridge
    const { serving, creds } = listing
    listing.reading = true
    listing.at = clock.now()
    serving.requests++
    const { pool } = bridge.graph
    void pool
      .background(bridge as unknown as Xlator, 'PRIME', creds, (frame) =>
        this.#readPage(frame, listing, serving.graph.top),
      )
      .finally(() => {
        listing.reading = false
        if (listing.ended) {
          this.#leaving--
          this.#close(listing)
        }
        bridge.leave(serving)
      })
  }

  async #readPage(frame: Frame, listing: Listing, top: Xlator): Promise<void> {
    const changes = this.#changes
    let { fd } = listing
    if (fd === undefined) {
      fd = new Fd(listing.directory, 0, listing.pid)
      const loc = Loc.ofInode(listing.directory)
      const opened = await frame.wind(top, 'opendir', { loc, fd })
      if (opened.errno !== 0) return this.#end(listing)
      listing.fd = fd.bind()
    }
    if (listing.ended) return
    listing.at = clock.now()
    const rep = await frame.wind(top, 'readdirp', { fd, size: PAGE_BYTES, off: listing.off })
    this.counts.pages++
    if (listing.ended) return
    if (rep.errno !== 0 || changes !== this.#changes || this.#changing > 0) {
      return this.#end(listing)
    }
    for (const entry of rep.entries) this.#keep(listing, entry)
    const last = rep.entries.at(-1)
    listing.complete = rep.eof || last === undefined
    if (last !== undefined) listing.off = last.off
    if (listing.complete) this.#close(listing)
  }

  #keep(listing: Listing, { name, inode, stat }: DirEntry): void {
    if (inode === undefined || stat === undefined || isDirInode(inode)) return
    if (this.#kept >= NAMES_MAX || inode.fds.size > 0 || listing.names.has(name)) return
    const { table } = this.#bridge
    const { directory } = listing
    const known = table.child(directory, name)
    if ((known ?? inode) !== inode || (table.byGfid(stat.gfid) ?? inode) !== inode) return
    // Also says that md-cache has seen the listing, and nobody between has changed it.
    if (this.#freshness?.listed(directory, name, inode)?.stat.gfid !== stat.gfid) return
    if (table.link(inode, directory, name, stat) !== inode) return
    table.ref(inode)
    listing.names.set(name, inode)
    listing.found++
    this.counts.names++
    this.#kept++
  }

  #sweepLater(): void {
    this.#timer ??= clock.after(SWEEP_MS, () => this.#sweep(), true)
  }

  #sweep(): void {
    this.#timer = undefined
    const oldest = clock.now() - this.#validMs
    for (const listing of [...this.#listings.values()]) {
      if (listing.at <= oldest) this.#end(listing)
    }
    if (this.#listings.size > 0) this.#sweepLater()
  }

  #end(listing: Listing): void {
    if (listing.ended) return
    listing.ended = true
    const { seen, table } = this.#bridge
    const { directory } = listing
    this.#listings.delete(directory)
    this.#kept -= listing.names.size
    for (const inode of listing.names.values()) table.unref(inode)
    listing.names.clear()
    if (!isUseful(listing)) {
      this.counts.useless++
      const run = seen.get(directory)?.run
      if (run !== undefined) run.restUntil = clock.now() + REST_MS
    }
    if (listing.reading) this.#leaving++
    else this.#close(listing)
    table.unref(directory)
  }

  #close(listing: Listing): void {
    const { fd } = listing
    if (fd === undefined) return
    listing.fd = undefined
    fd.release()
    this.#bridge.table.retireIfIdle(fd.inode)
  }
}

const isUseful = ({ found, used }: Listing): boolean => found > 0 && used >= found * USED_PART

/** Of md-cache, if what it knows is all there is to know: nothing else above it has changes. */
function freshnessBelow(top: Xlator): Freshness | undefined {
  for (let xl: Xlator | undefined = top; xl !== undefined; xl = xl.children[0]) {
    if (xl.freshness !== undefined) return xl.freshness
    if (!TRANSPARENT.has(xl.type)) return undefined
  }
  return undefined
}
