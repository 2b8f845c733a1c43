/**
 * What is known and changed while a lock on an inode is held: version, size and dirty counters
 * (ec_lock_t, ec_inode_t). Pre-op reads and marks them on the bricks, post-op settles them.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { type Ok, type Rep, XATTROP_ADD_ARRAY64 } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { bit, bricksOf, count } from '../common/mask.ts'
import type { Disperse } from './index.ts'
import { StripeCache } from './stripe-cache.ts'
import {
  configBytes,
  isHealing,
  isZero,
  readSize,
  readWords,
  WORD_DATA,
  WORD_METADATA,
  word,
  words,
  XATTR_CONFIG,
  XATTR_DIRTY,
  XATTR_SIZE,
  XATTR_VERSION,
} from './xattrs.ts'

/** What a fop needs of the pre-op. */
export interface PreopNeed {
  query: boolean
  /** Counters the fop changes. */
  updateData: boolean
  updateMetadata: boolean
  /** May skip marking dirty while every brick takes part. */
  optimistic: boolean
  /** Equal answers needed. */
  minimum: number
}

/** Changes of names in a directory from which it pays to know which bricks are good. */
const CHANGES_MIN = 4
const ABSENCES = { min: -2, max: 8 }

type Status = { errno: 0 } | { errno: Errno }

export class Session {
  readonly #ec: Disperse
  /** The inode by gfid. */
  readonly #loc: Loc
  readonly inode: Inode
  /** Bricks the lock is held on. */
  readonly held: number
  /** Bricks that agree and took every change since. */
  good: number
  /** Bricks that a data heal is rebuilding: they get writes but no vote. */
  healing = 0
  /** No further fop may join; the lock goes when those under way are done. */
  release = false
  /** A change found no quorum: the dirty marks must stay for the self-heal. */
  damaged = false
  /** An open file on the inode, if a fop brought one: lets counters be reached after unlink. */
  fd: Fd | undefined
  /** Fds that need not be opened on further bricks. */
  readonly opened = new WeakSet<Fd>()
  /** The unfinished repair of a brick was reported. */
  repairReported = false
  /**
   * Marks of changes that nobody finished were found, though no brick is behind: a client died
   * while it changed data. What lies behind the end of the file may be anything.
   */
  stale = false
  /** Cutting that off, once, before any change of data. */
  cutting: Promise<Errno | 0> | undefined
  readonly stripes: StripeCache
  /** True once version (and size of a regular file) were read. */
  known = false
  /** Stored version words; meaningful when `known`. */
  #version: [bigint, bigint] = [0n, 0n]
  /** Fops that changed data and metadata since the counters were last settled. */
  readonly #changes: [number, number] = [0, 0]
  /** Changes of data so far: in a directory, of names. */
  dataChanges = 0
  /** Of a directory: up with every lookup of a name that is not there, down with the others. */
  #absences = 0
  readonly #dirty: [boolean, boolean] = [false, false]
  /** User-visible size; of a regular file, when `known`. */
  size = 0
  /** Size on the bricks. */
  #storedSize = 0
  #preparing: Promise<Status> | undefined
  /** Bricks that may not come back into `good` or `healing`. */
  #excluded = 0

  constructor(ec: Disperse, loc: Loc, held: number) {
    this.#ec = ec
    this.#loc = loc
    this.inode = loc.inode
    this.held = held
    this.good = held
    this.stripes = new StripeCache(ec.options['stripe-cache'], ec.stripeStats)
  }

  get isRegular(): boolean {
    return this.inode.type === S_IFREG
  }

  /** Bricks to send a change to. */
  get writable(): number {
    return this.good | this.healing
  }

  /** A change succeeded on a quorum. */
  changed(data: boolean, metadata: boolean): void {
    if (data) {
      this.#changes[WORD_DATA]++
      this.dataChanges++
    }
    if (metadata) this.#changes[WORD_METADATA]++
  }

  /** A name of the directory was looked up. */
  lookedUp(found: boolean): void {
    const { min, max } = ABSENCES
    this.#absences = Math.max(min, Math.min(max, this.#absences + (found ? -2 : 1)))
  }

  /** Names are being made here, so that the next one looked up is probably not there yet. */
  get expectsAbsence(): boolean {
    return this.dataChanges >= CHANGES_MIN && this.#absences >= 0
  }

  /** `bricks` failed something the others did: they are out until the lock is taken anew. */
  exclude(bricks: number): void {
    this.#excluded |= bricks
    const lost = this.writable & bricks
    if (lost === 0) return
    this.good &= ~lost
    this.healing &= ~lost
    this.release = true
  }

  /** Reads and marks what `need` asks for, once per session and piece. */
  async prepare(frame: Frame, need: PreopNeed): Promise<Status> {
    for (;;) {
      if (this.#preparing !== undefined) {
        const status = await this.#preparing
        if (status.errno !== 0) return status
        continue
      }
      const query = need.query && !this.known
      const dirtyData = need.updateData && this.#mustMark(WORD_DATA, need)
      const dirtyMetadata = need.updateMetadata && this.#mustMark(WORD_METADATA, need)
      if (!query && !dirtyData && !dirtyMetadata) return { errno: 0 }
      this.#preparing = this.#preop(frame, query, dirtyData, dirtyMetadata, need.minimum)
      const status = await this.#preparing
      this.#preparing = undefined
      if (status.errno !== 0) return status
    }
  }

  #mustMark(which: typeof WORD_DATA | typeof WORD_METADATA, need: PreopNeed): boolean {
    if (this.#dirty[which]) return false
    const everywhere = count(this.good) === this.#ec.geometry.brickCount
    return !(need.optimistic && everywhere && this.#ec.options['optimistic-change-log'])
  }

  async #preop(
    frame: Frame,
    query: boolean,
    dirtyData: boolean,
    dirtyMetadata: boolean,
    minimum: number,
  ): Promise<Status> {
    const withSize = query && (this.isRegular || this.inode.type === 0)
    const dict = new Dict()
    if (query) dict.setBytes(XATTR_VERSION, words(0, 0))
    if (withSize) {
      dict.setBytes(XATTR_SIZE, word(0))
      dict.setBytes(XATTR_CONFIG, word(0))
    }
    // Asked for with the size, though zero: marks that are there tell of a client that died.
    if (dirtyData || dirtyMetadata || withSize) {
      dict.setBytes(XATTR_DIRTY, words(dirtyData ? 1 : 0, dirtyMetadata ? 1 : 0))
    }
    const replies = await this.#xattrop(frame, this.good & this.#ec.up, dict)
    const agreed = this.#agree(replies, query, minimum)
    if (agreed.errno !== 0) {
      this.release = true
      return agreed
    }
    const [marks] = readWords(agreed.dict.getBytes(XATTR_DIRTY))
    const everywhere = count(this.good) === this.#ec.geometry.brickCount
    if (withSize && everywhere && marks > (dirtyData ? 1n : 0n)) this.stale = true
    if (dirtyData) this.#dirty[WORD_DATA] = true
    if (dirtyMetadata) this.#dirty[WORD_METADATA] = true
    return query ? this.#learn(agreed.dict, withSize) : { errno: 0 }
  }

  /**
   * The largest group of bricks with the same counters becomes `good`. Bricks that a heal is
   * rebuilding stand apart.
   */
  #agree(
    replies: Map<number, Rep<'xattrop'>>,
    query: boolean,
    minimum: number,
  ): { errno: 0; dict: Dict } | { errno: Errno } {
    const groups = new Map<string, { mask: number; dict: Dict }>()
    const errors = new Map<Errno, number>()
    let healing = 0
    for (const [brick, reply] of replies) {
      if (reply.errno !== 0) {
        errors.set(reply.errno, (errors.get(reply.errno) ?? 0) + 1)
        continue
      }
      const version = reply.dict.getBytes(XATTR_VERSION)
      if (query && isHealing(version)) {
        healing |= bit(brick)
        continue
      }
      const key = [XATTR_VERSION, XATTR_SIZE, XATTR_CONFIG]
        .map((name) => reply.dict.getBytes(name)?.latin1Slice() ?? '-')
        .join('|')
      const group = groups.get(key)
      if (group === undefined) groups.set(key, { mask: bit(brick), dict: reply.dict })
      else group.mask |= bit(brick)
    }
    let best: { mask: number; dict: Dict } | undefined
    for (const group of groups.values()) {
      if (best === undefined || count(group.mask) > count(best.mask)) best = group
    }
    if (best === undefined || count(best.mask) < minimum) {
      for (const [errno, votes] of errors) if (votes >= minimum) return { errno }
      return { errno: E.IO }
    }
    // What was lost while the others answered stays out: it may have forgotten the lock since.
    this.good = best.mask & ~this.#excluded
    if (query) this.healing = healing & ~this.#excluded
    return { errno: 0, dict: best.dict }
  }

  #learn(dict: Dict, withSize: boolean): Status {
    this.#version = readWords(dict.getBytes(XATTR_VERSION))
    if (withSize) {
      const config = dict.getBytes(XATTR_CONFIG)
      const valid = config?.equals(configBytes(this.#ec.geometry)) ?? false
      const size = readSize(dict.getBytes(XATTR_SIZE))
      if (this.isRegular && (!valid || size === undefined)) {
        this.#ec.log.error(
          { gfid: this.#ec.describe(this.inode), config: config?.toString('hex') },
          'file does not have the configuration of this volume',
        )
        this.release = true
        return { errno: E.INVAL }
      }
      this.size = size ?? 0
      this.#storedSize = this.size
    }
    this.known = true
    return { errno: 0 }
  }

  /** Before an fsync: versions and size reach the bricks; dirty marks stay. */
  async settle(frame: Frame): Promise<Status> {
    const dict = this.#unsettled()
    return dict.count === 0 ? { errno: 0 } : this.#store(frame, dict)
  }

  /**
   * Before a flush, with nothing else under way: versions and size reach the bricks and, while all
   * of them are equal, the dirty marks go along (stock sends them later, in their own request).
   */
  async settleForClose(frame: Frame): Promise<Status> {
    const dict = this.#unsettled()
    const [data, metadata] = this.#dirty
    if (dict.count === 0 || !(data || metadata) || !this.#isEverywhere()) {
      return dict.count === 0 ? { errno: 0 } : this.#store(frame, dict)
    }
    dict.setBytes(XATTR_DIRTY, words(data ? -1 : 0, metadata ? -1 : 0))
    const status = await this.#store(frame, dict)
    this.#dirty.fill(false)
    // A brick missed it: the marks are set again, and the others get a version of their own.
    if (!this.#isEverywhere()) this.changed(data, metadata)
    return status
  }

  #unsettled(): Dict {
    const dict = new Dict()
    const [data, metadata] = this.#changes
    if (data !== 0 || metadata !== 0) dict.setBytes(XATTR_VERSION, words(data, metadata))
    if (dict.count > 0 && this.size !== this.#storedSize) {
      dict.setBytes(XATTR_SIZE, word(this.size - this.#storedSize))
    }
    return dict
  }

  /** Every brick is there and took every change. */
  #isEverywhere(): boolean {
    const all = count(this.good | (this.dataChanges > 0 ? this.healing : 0))
    const { up, geometry } = this.#ec
    return all === geometry.brickCount && count(up) === all && !this.damaged
  }

  /**
   * Before the unlock: when all bricks are equal the dirty marks go, otherwise they stay (or are
   * set now) and the versions tell who is behind.
   */
  async finish(frame: Frame): Promise<Status> {
    const everywhere = this.#isEverywhere()
    const [data, metadata] = this.#changes
    const dict = new Dict()
    const version: [number, number] = [0, 0]
    const dirty: [number, number] = [0, 0]
    for (const which of [WORD_DATA, WORD_METADATA] as const) {
      const change = which === WORD_DATA ? data : metadata
      if (everywhere) {
        if (!this.known || this.#version[which] === 0n) version[which] = change
        if (this.#dirty[which]) dirty[which] = -1
      } else {
        version[which] = change
        if (change > 0 && !this.#dirty[which]) dirty[which] = 1
      }
    }
    if (version[0] !== 0 || version[1] !== 0) dict.setBytes(XATTR_VERSION, words(...version))
    if (dirty[0] !== 0 || dirty[1] !== 0) dict.setBytes(XATTR_DIRTY, words(...dirty))
    if (this.known && this.size !== this.#storedSize) {
      dict.setBytes(XATTR_SIZE, word(this.size - this.#storedSize))
    }
    if (dict.count === 0) return { errno: 0 }
    return this.#store(frame, dict)
  }

  async #store(frame: Frame, dict: Dict): Promise<Status> {
    const targets = this.writable & this.#ec.up
    const replies = await this.#xattrop(frame, targets, dict)
    let stored = 0
    let reply: Ok<'xattrop'> | undefined
    let errno: Errno = E.IO
    for (const [brick, answer] of replies) {
      if (answer.errno !== 0) {
        errno = answer.errno
      } else {
        stored |= bit(brick)
        if ((this.good & bit(brick)) !== 0) reply = answer
      }
    }
    this.#changes[WORD_DATA] = 0
    this.#changes[WORD_METADATA] = 0
    this.#storedSize = this.size
    this.exclude(targets & ~stored)
    if (reply === undefined || count(stored & this.good) < this.#ec.geometry.dataCount) {
      this.damaged = true
      return { errno }
    }
    const version = reply.dict.getBytes(XATTR_VERSION)
    if (version !== undefined && !isZero(version)) this.#version = readWords(version)
    return { errno: 0 }
  }

  async #xattrop(frame: Frame, targets: number, dict: Dict): Promise<Map<number, Rep<'xattrop'>>> {
    const bricks = bricksOf(targets)
    const root = frame.with({ uid: 0, gid: 0 })
    const children = bricks.map((brick) => this.#ec.children[brick]!)
    const fd = this.fd
    const loc = this.#loc
    if (fd === undefined) {
      const byGfid = { loc, op: XATTROP_ADD_ARRAY64, dict }
      const replies = await root.windAll(children, 'xattrop', () => byGfid)
      return new Map(bricks.map((brick, index) => [brick, replies[index]!]))
    }
    // A brick that is told of the close meanwhile answers EBADF. A closed fd is an anonymous one.
    const held = !fd.released
    if (held) fd.hold()
    const byFd = { fd, op: XATTROP_ADD_ARRAY64, dict }
    const replies = await root.windAll(children, 'fxattrop', () => byFd)
    if (held) fd.drop()
    return new Map(bricks.map((brick, index) => [brick, replies[index]!]))
  }
}
