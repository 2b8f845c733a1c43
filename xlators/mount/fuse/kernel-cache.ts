/** What the kernel may keep of names and attributes, and making it forget. */
import { clock, type Timer } from '../../../src/core/clock.ts'
import type { Freshness } from '../../../src/core/freshness.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { FUSE_AUTO_INVAL_DATA, type Validity, validity } from '../../../src/fuse/abi.ts'
import type { Graph } from '../../../src/graph/build.ts'
import type { FuseBridge } from './index.ts'

/** The kernel interface from which one notification ends all names (FUSE_NOTIFY_INC_EPOCH). */
const EPOCH_MINOR = 44
/** Changed inodes that are looked at together; beyond it their pages are dropped unseen. */
const CHANGED_MAX = 4096

/**
 * Validities of replies: the mount's timeouts, or longer where the graph leases (upcalls tell of
 * others' changes). A timeout given on the command line is kept to.
 */
export class KernelCache {
  readonly #bridge: FuseBridge
  readonly #entry: Validity
  readonly #attr: Validity
  readonly #entryMs: number
  readonly #attrMs: number
  readonly #mayLeaseEntries: boolean
  readonly #mayLeaseAttributes: boolean
  #freshness: Freshness | undefined
  /** Something longer than the timeouts was handed out since the last `lost`. */
  #leased = false
  /** Inodes somebody else changed, with the state they were found in. */
  readonly #changed = new Map<Inode, Iatt>()
  #timer: Timer | undefined
  /** How often everything was dropped; what was cached before is not there any more. */
  generation = 0

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
    const { options, givenOptions } = bridge
    this.#entry = validity(options['entry-timeout'])
    this.#attr = validity(options['attribute-timeout'])
    this.#entryMs = options['entry-timeout'] * 1000
    this.#attrMs = options['attribute-timeout'] * 1000
    this.#mayLeaseEntries = !givenOptions.has('entry-timeout')
    this.#mayLeaseAttributes = !givenOptions.has('attribute-timeout')
  }

  /** The graph's translators answer from now on; what others leased ends. */
  use(graph: Graph): void {
    this.lost()
    this.#freshness = graph.xlators.find((xl) => xl.freshness !== undefined)?.freshness
    this.#bridge.listings.primer.use(graph)
  }

  /** Others' changes are told, so that listings may be kept. */
  get leasing(): boolean {
    const allowed = this.#mayLeaseEntries && this.#mayLeaseAttributes
    return allowed && this.#freshness?.on === true
  }

  /** For attributes just answered; `leftMs`: what is left of the timeouts if they were not. */
  attributes(inode: Inode, stat: Iatt, leftMs?: number): Validity {
    const unleased = leftMs === undefined ? this.#attr : validity(leftMs / 1000)
    if (this.#freshness === undefined || !this.#mayLeaseAttributes) return unleased
    const ms = this.#freshness.attributes(inode, stat)
    return ms <= this.#attrMs ? unleased : this.#lease(ms)
  }

  /** For a name just answered; `leftMs` likewise. */
  entry(parent: Inode, name: string, inode: Inode, leftMs?: number): Validity {
    const unleased = leftMs === undefined ? this.#entry : validity(leftMs / 1000)
    if (this.#freshness === undefined || !this.#mayLeaseEntries) return unleased
    const ms = this.#freshness.name(parent, name, inode)
    return ms <= this.#entryMs ? unleased : this.#lease(ms)
  }

  #lease(ms: number): Validity {
    this.#leased = true
    return validity(ms / 1000)
  }

  /** Changes may have gone untold: the kernel forgets everything that was leased. */
  lost(): void {
    this.generation++
    this.#bridge.listings.primer.dropAll()
    if (!this.#leased) return
    this.#leased = false
    const { table, invalidator, protoMinor } = this.#bridge
    const epoch = protoMinor >= EPOCH_MINOR
    if (epoch) invalidator.epoch()
    for (const inode of table.inodes()) {
      if (inode.nodeid === 0) continue
      invalidator.inode(inode, true)
      if (!epoch) invalidator.names(inode)
    }
  }

  /**
   * Somebody else changed the file, which is now as `stat` shows. If a reply does not tell the
   * kernel so right now, its pages are dropped.
   */
  changed(inode: Inode, stat: Iatt): void {
    if (inode.nodeid === 0) return
    if (this.#changed.size >= CHANGED_MAX) this.#dropChanged()
    this.#changed.set(inode, stat)
    this.#timer ??= clock.after(1, () => this.#dropChanged(), true)
  }

  #dropChanged(): void {
    this.#timer?.clear()
    this.#timer = undefined
    const { seen, initFlags, invalidator } = this.#bridge
    // With this flag the kernel drops pages by itself when it is told another mtime.
    const told = (initFlags & FUSE_AUTO_INVAL_DATA) !== 0
    for (const [inode, stat] of this.#changed) {
      if (!told || seen.get(inode)?.covers(stat) !== true) invalidator.inode(inode, true)
    }
    this.#changed.clear()
  }

  stop(): void {
    this.#timer?.clear()
    this.#bridge.listings.primer.dropAll()
  }
}
