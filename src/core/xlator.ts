import type { DumpSink } from '../observe/dump.ts'
import { type Log, logFor } from '../observe/log.ts'
import type { Observed } from '../observe/observed.ts'
import { takeSlot } from './context.ts'
import type { Event } from './event.ts'
import { isDownEvent } from './event.ts'
import type { Fd } from './fd.ts'
import { type Fop, type FopName, type FopTable, fopNames } from './fop.ts'
import type { CallPool, Frame } from './frame.ts'
import type { Freshness } from './freshness.ts'
import type { Inode, InodeTable } from './inode.ts'
import type { OptionTable, OptionValues } from './options.ts'

/** What a translator may know of the process and graph it lives in. */
export interface GraphContext {
  /** Number of the graph within the process, from 0; part of the client identity on bricks. */
  readonly id: number
  /** The volume as the administrator names it (volfile id without a leading slash). */
  readonly volfileId: string
  readonly pool: CallPool
  readonly inodes: InodeTable
  readonly process: ProcessContext
  /** Every translator of the graph, in volfile order (children before parents). */
  readonly xlators: readonly Xlator[]
}

/** Facts of the running command that translators need. */
export interface ProcessContext {
  /** Random UUID of this client process (CTX_ID). */
  readonly uuid: string
  readonly hostname: string
  /** `fuse`, shown by `gluster volume status VOL client-list`. */
  readonly processName: string
  /** `--subdir-mount`, sent to the bricks. */
  readonly subdirMount: string | undefined
  /** TLS towards glusterd. */
  readonly secureMgmt: boolean
  /** Host the volfile came from; absent or `undefined` when it came from a file. */
  readonly volfileServer?: () => string | undefined
  /** What state dumps and `.meta` show of the process; absent where there is no mount. */
  readonly observed?: Observed
}

/** Per-fop counters of one translator. */
export interface FopStats {
  count: number
  errors: number
  /** `count` and `errors` when the latencies were shown last. */
  countShown: number
  errorsShown: number
  /** Latencies since they were shown last: how many, and milliseconds. */
  timed: number
  total: number
  min: number
  max: number
}

/** What the graph builder hands to a translator's constructor. */
export interface XlatorInit<T extends OptionTable> {
  name: string
  type: string
  options: OptionValues<T>
  /** Volfile texts as given, for `.meta` and SETVOLUME. */
  givenOptions: ReadonlyMap<string, string>
  graph: GraphContext
}

// Fops live on the class as arrow-function fields; the ones it lacks are filled in as tails.
export interface Xlator extends Partial<FopTable> {}

/** A node of the graph: takes fops from parents, winds them to children. */
export abstract class Xlator<T extends OptionTable = OptionTable> {
  readonly name: string
  readonly type: string
  readonly graph: GraphContext
  readonly log: Log
  /** Index of this translator's contexts on inodes and fds. */
  readonly slot: number
  readonly children: Xlator[] = []
  readonly parents: Xlator[] = []
  readonly stats = new Map<FopName, FopStats>()
  /** It stands above the graphs: what it winds from a request's root frame counts as its own. */
  readonly isBridge: boolean = false
  options: OptionValues<T>
  givenOptions: ReadonlyMap<string, string>

  constructor(init: XlatorInit<T>) {
    this.name = init.name
    this.type = init.type
    this.graph = init.graph
    this.options = init.options
    this.givenOptions = init.givenOptions
    this.log = logFor(init.name)
    this.slot = takeSlot(this as unknown as Xlator)
  }

  /** The first subvolume. */
  get child(): Xlator {
    return this.children[0]!
  }

  /** Checks what depends on other translators. Throws GlusterError; runs parents first. */
  init(): void {}

  /**
   * The graph will stop and no request comes any more: settles what is kept for later (eager locks,
   * delayed writes). Bounded by the graph.
   */
  drain?(): Promise<void>

  /** The graph is let go: timers, sockets and buffers end here. */
  fini(): void {}

  /** New option values, already validated. `this.options` still holds the old ones. */
  reconfigure(options: OptionValues<T>): void {
    this.options = options
  }

  /** Default: events from above go to the children, events from below to the parents. */
  notify(event: Event, _from: Xlator | undefined): void {
    if (isDownEvent(event)) this.notifyChildren(event)
    else this.notifyParents(event)
  }

  notifyParents(event: Event): void {
    for (const parent of this.parents) parent.notify(event, this as unknown as Xlator)
  }

  notifyChildren(event: Event): void {
    for (const child of this.children) child.notify(event, this as unknown as Xlator)
  }

  /** The inode leaves the table; called only if this translator has a context on it. */
  forget?(inode: Inode): void
  /** The file is closed for good; called only if this translator has a context on the fd. */
  release?(fd: Fd): void
  releasedir?(fd: Fd): void
  /** Private state for the state dump and `.meta`. */
  dump?(sink: DumpSink): void
  /** State kept on one inode, for the state dump. */
  dumpInode?(inode: Inode, sink: DumpSink): void
  /** State kept on one open file, for the state dump. */
  dumpFd?(fd: Fd, sink: DumpSink): void
  /** It knows how long the kernel may keep what was answered. */
  readonly freshness?: Freshness

  /** Options as `.meta` shows them: those given, and what was added to tell the peer. */
  shownOptions(): ReadonlyMap<string, string> {
    return this.givenOptions
  }

  /** A frame of this translator ended, or one a bridge wound to. */
  account(frame: Frame, errno: number): void {
    if (frame.fop === undefined) return
    let stats = this.stats.get(frame.fop)
    if (stats === undefined) {
      stats = newFopStats()
      this.stats.set(frame.fop, stats)
    }
    stats.count++
    if (errno !== 0) stats.errors++
    if (frame.begin === 0 || frame.end === 0) return
    const elapsed = frame.end - frame.begin
    stats.timed++
    stats.total += elapsed
    if (stats.min === 0 || elapsed < stats.min) stats.min = elapsed
    if (elapsed > stats.max) stats.max = elapsed
  }
}

function newFopStats(): FopStats {
  return {
    count: 0,
    errors: 0,
    countShown: 0,
    errorsShown: 0,
    timed: 0,
    total: 0,
    min: 0,
    max: 0,
  }
}

/** Gives `xl` a tail to its first child for every fop it does not implement. */
export function fillDefaultFops(xl: Xlator): void {
  const table = xl as Partial<Record<FopName, unknown>>
  for (const fop of fopNames) {
    if (table[fop] !== undefined) continue
    table[fop] = defaultFop(fop)
  }
}

function defaultFop<K extends FopName>(fop: K): Fop<K> {
  return (frame, req) => frame.tail(frame.xl.child, fop, req)
}

export interface XlatorDefinition<T extends OptionTable = OptionTable> {
  /** Volfile type, `category/name`. */
  readonly type: string
  readonly class: new (init: XlatorInit<T>) => Xlator<T>
  readonly options: T
  /** Keys beside those of the table that it reads from `givenOptions` (named after bricks, users). */
  readonly namedOptions?: RegExp
  /** Exact number of subvolumes, or a range. */
  readonly children: number | { min: number; max: number }
}

/** What a translator module exports by default. */
export function defineXlator<T extends OptionTable>(
  definition: XlatorDefinition<T>,
): XlatorDefinition {
  return definition as unknown as XlatorDefinition
}
