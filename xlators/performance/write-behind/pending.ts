/**
 * The acknowledged but unwritten data of one inode, and who waits for it.
 *
 *   lies      writes answered to the application and not yet on the bricks, in the order of their
 *             acknowledgement; idle (held back, or behind an overlapping one), sent or failed
 *   waiters   fops that must see the lies older than themselves
 *   blocked   writes that wait for room in the window
 *
 * Only lies acknowledged before a fop arrived concern it: everything else is concurrent with it and
 * may take any order. Two lies that overlap keep theirs. (wb_inode_t: todo, temptation, liability
 * and wip are the idle, blocked, all and sent ones here.)
 */
import type { Dict } from '../../../src/core/dict.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Creds } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'

/** Lies of one inode; bounds the cost of comparing ranges when the window is large. */
export const LIES_MAX = 1024
/** WRITEs of one inode on their way. */
export const SENT_MAX = 64
/** While WRITEs are on their way, so many lies, or bytes of an aggregate, are sent at once. */
const GATHERED_MAX = 8
/** Adjacent lies that go in one WRITE. */
const GROUP_MAX = 8
/** Largest WRITE made of several lies, bytes. */
const GROUP_BYTES_MAX = 2 ** 20

export const FOREVER = Number.MAX_SAFE_INTEGER

export interface Lie {
  /** Position in the order of acknowledgements. */
  readonly id: number
  /** Held until the data is written or dropped. */
  readonly fd: Fd
  readonly creds: Creds
  readonly flags: number
  readonly xdata: Dict | undefined
  /** Its place on the brick is not known (O_APPEND), or it may pass nothing (strict ordering). */
  readonly ordered: boolean
  offset: number
  size: number
  data: Buffer[]
  /** What it takes of the window. */
  window: number
  state: 'idle' | 'sent' | 'failed'
  /** Why it failed last; 0 = it never did. */
  errno: number
  /** It began where the write before it ended: more is likely to follow. */
  readonly streaming: boolean
  /** The failure was returned by a write. */
  reported: boolean
}

export type NewLie = Pick<
  Lie,
  'fd' | 'creds' | 'flags' | 'xdata' | 'ordered' | 'offset' | 'size' | 'data'
>

/** A flush or fsync: it learns of failures and ends them. */
export interface Sync {
  readonly kind: 'flush' | 'fsync'
  readonly fd: Fd
  /** Failed data stays for another try (resync-failed-syncs-after-fsync). */
  readonly keep: boolean
}

interface Waiter {
  readonly start: number
  readonly end: number
  /** Lies up to this id concern it. */
  readonly until: number
  readonly sync: Sync | undefined
  errno: number
  readonly resolve: (errno: number) => void
}

interface Blocked {
  readonly write: NewLie
  readonly resolve: (errno: number) => void
}

/** What the translator does for the queue. */
export interface Writer {
  readonly windowSize: number
  readonly aggregateSize: number
  readonly trickling: boolean
  /** Sends `lies` (adjacent, one fd) as one WRITE; answers through `written` or `failed`. */
  send(pending: Pending, lies: readonly Lie[]): void
  /** Acknowledged data is lost; somebody was told unless the fd is gone. */
  dropped(pending: Pending, lie: Lie): void
  /**
   * The last idle data waits to grow, in a stream of small writes or because trickling-writes is
   * off: `flushIdle` is due later.
   */
  holdBack(pending: Pending, streaming: boolean): void
  /** Nothing is pending any more. */
  drained(pending: Pending): void
}

export class Pending {
  readonly lies: Lie[] = []
  readonly #idle: Lie[] = []
  readonly #waiters: Waiter[] = []
  readonly #blocked: Blocked[] = []
  readonly #writer: Writer
  #nextId = 1
  /** Lies in state failed. */
  #failures = 0
  /** Lies that failed once, also those being tried again. */
  #tainted = 0
  #pumping = false
  /** Where the last write ended. */
  #lastEnd = Number.NaN
  #forced = false
  /** Bytes acknowledged and not written. */
  windowCurrent = 0
  /** WRITEs on their way, and their bytes. */
  sent = 0
  transitBytes = 0
  /** Size on the bricks, at least; undefined = not known. */
  knownSize: number | undefined
  /** Truncations under way; a size seen meanwhile says nothing. */
  #truncating = 0
  sizeEpoch = 0
  /** WRITEs begun, and other fops that change attributes. */
  #turns = 0
  #writesUnderWay = 0
  #shown: { readonly turn: number; readonly stat: Iatt } | undefined
  /** Value of the translator's clock of fulfilments when data was written last. */
  fulfilledAt = 0

  constructor(writer: Writer) {
    this.#writer = writer
  }

  get empty(): boolean {
    return this.lies.length === 0 && this.#waiters.length === 0 && this.#blocked.length === 0
  }

  /** The attributes the last WRITE left, if nothing of ours has changed the inode since. */
  get shown(): Iatt | undefined {
    return this.#shown?.turn === this.#turns ? this.#shown.stat : undefined
  }

  /** A fop other than a WRITE may change the attributes. */
  touched(): void {
    this.#turns++
  }

  /** For `endWrite`; 0 when another one is under way. */
  beginWrite(): number {
    this.#turns++
    return this.#writesUnderWay++ === 0 ? this.#turns : 0
  }

  /** The WRITE begun as `turn` is done. What it shows is the last word if it was alone. */
  endWrite(turn: number, rep: Rep<'writev'>): void {
    this.#writesUnderWay--
    const valid = turn === this.#turns && rep.errno === 0 && rep.poststat.ctime !== 0
    this.#shown = valid ? { turn, stat: rep.poststat } : undefined
  }

  /** A write may be acknowledged now; it may exceed the window by itself. */
  get hasRoom(): boolean {
    return this.#blocked.length === 0 && this.#isOpen
  }

  get #isOpen(): boolean {
    return this.windowCurrent <= this.#writer.windowSize && this.lies.length < LIES_MAX
  }

  /** Takes an acknowledged write, merged into the last one when that is still growing. */
  add(write: NewLie): void {
    this.#admit(write)
    this.pump()
  }

  #admit(write: NewLie): void {
    this.windowCurrent += write.size
    const streaming = write.offset === this.#lastEnd && write.offset > 0
    this.#lastEnd = write.offset + write.size
    if (this.#merge(write)) return
    const lie: Lie = {
      id: this.#nextId++,
      fd: write.fd,
      creds: write.creds,
      flags: write.flags,
      xdata: write.xdata,
      ordered: write.ordered,
      offset: write.offset,
      size: write.size,
      data: write.data,
      window: write.size,
      state: 'idle',
      errno: 0,
      streaming,
      reported: false,
    }
    lie.fd.hold()
    this.lies.push(lie)
    this.#idle.push(lie)
  }

  #merge(write: NewLie): boolean {
    const last = this.lies.at(-1)
    if (last === undefined || last.state !== 'idle' || last.errno !== 0) return false
    if (last.fd !== write.fd || last.offset + last.size !== write.offset) return false
    if (last.size + write.size > this.#writer.aggregateSize) return false
    if (last.flags !== write.flags || last.ordered !== write.ordered) return false
    if (last.xdata !== undefined || write.xdata !== undefined) return false
    if (!last.creds.lkOwner.equals(write.creds.lkOwner)) return false
    // Whoever waits for the last one must not wait for this one too: it is younger.
    for (const waiter of this.#waiters) if (waiter.until >= last.id) return false
    for (const buffer of write.data) last.data.push(buffer)
    last.size += write.size
    last.window += write.size
    return true
  }

  /** Resolves to 0 when the window had room and took the write, else to what keeps it full. */
  addWhenRoom(write: NewLie): Promise<number> {
    this.#retry()
    return new Promise((resolve) => {
      this.#blocked.push({ write, resolve })
      this.pump()
    })
  }

  /** The errno of a failed write of `fd` that no write of it has returned yet, else 0. */
  takeFailure(fd: Fd): number {
    if (this.#tainted === 0) return 0
    let errno = 0
    for (const lie of this.lies) {
      if (lie.errno === 0 || lie.fd !== fd || lie.reported) continue
      lie.reported = true
      if (errno === 0) errno = lie.errno
    }
    this.#retry()
    this.pump()
    return errno
  }

  /**
   * Waits for the lies that overlap [start, end): `undefined` when there are none; else 0, or the
   * errno of data that could not be written. With `sync`, for all lies.
   */
  settle(start: number, end: number, sync?: Sync): Promise<number> | undefined {
    if (!this.lies.some((lie) => sync !== undefined || this.#touches(lie, start, end))) {
      return undefined
    }
    this.#retry()
    return new Promise((resolve) => {
      const until = this.#nextId - 1
      this.#waiters.push({ start, end, until, sync, errno: 0, resolve })
      this.pump()
    })
  }

  /** Sends what may be sent. */
  pump(): void {
    // Answers come in a later turn; this is for a writer that breaks that.
    if (this.#pumping || this.#isGathering()) return
    this.#pumping = true
    for (let at = 0; at < this.#idle.length && this.sent < SENT_MAX; ) {
      const lie = this.#idle[at]!
      if (this.#isGrowing(lie) || this.#isBehind(lie)) {
        at++
        continue
      }
      const group = this.#group(at)
      this.#idle.splice(at, group.length)
      for (const one of group) {
        one.state = 'sent'
        this.transitBytes += one.size
      }
      this.sent++
      this.#writer.send(this, group)
    }
    this.#pumping = false
    if (this.empty) this.#writer.drained(this)
  }

  /**
   * More is likely to come before what is on its way is answered: requests that leave together cost
   * us and the bricks less.
   */
  #isGathering(): boolean {
    if (this.sent === 0 || this.#forced || !this.#writer.trickling) return false
    if (this.#waiters.length > 0 || this.#blocked.length > 0 || this.#tainted > 0) return false
    if (this.#idle.length >= GATHERED_MAX) return false
    let bytes = 0
    for (const lie of this.#idle) bytes += lie.size
    return bytes < this.#writer.aggregateSize
  }

  /** Sends the last lie although it could still grow. */
  flushIdle(): void {
    this.#forced = true
    this.pump()
    this.#forced = false
  }

  /** `lies` are on the bricks, the first `size` bytes of them. */
  written(lies: readonly Lie[], size: number): void {
    this.sent--
    let left = size
    let isPartial = false
    for (const lie of lies) {
      this.transitBytes -= lie.size
      if (left >= lie.size) {
        left -= lie.size
        this.#remove(lie)
        continue
      }
      cutFront(lie, left)
      left = 0
      lie.state = 'idle'
      isPartial = true
    }
    if (isPartial) this.#collectIdle()
    this.#wake()
  }

  failed(lies: readonly Lie[], errno: number): void {
    this.sent--
    for (const lie of lies) {
      this.transitBytes -= lie.size
      this.#fail(lie, errno)
    }
    // What overlaps failed data cannot be written before it.
    for (const lie of [...this.lies]) {
      if (lie.state !== 'idle') continue
      const blocking = this.lies.find((one) => one.state === 'failed' && isBefore(one, lie))
      if (blocking !== undefined) this.#fail(lie, blocking.errno)
    }
    this.#collectIdle()
    this.#refuse()
    this.#wake()
  }

  #fail(lie: Lie, errno: number): void {
    lie.state = 'failed'
    if (lie.errno === 0) this.#tainted++
    lie.errno = errno
    this.#failures++
    if (!this.#tellSyncs(lie) && !lie.fd.closing) return
    this.#writer.dropped(this, lie)
    this.#remove(lie)
  }

  beginTruncate(): void {
    this.#truncating++
    this.sizeEpoch++
    this.knownSize = undefined
  }

  endTruncate(): void {
    this.#truncating--
    this.sizeEpoch++
  }

  /** A WRITE sent in size epoch `epoch` found the file this large. */
  sawSize(size: number, epoch: number): void {
    if (this.#truncating > 0 || epoch !== this.sizeEpoch) return
    if (this.knownSize === undefined || size > this.knownSize) this.knownSize = size
  }

  /** May grow by the next write, so it is worth holding back. */
  #isGrowing(lie: Lie): boolean {
    if (this.#forced || lie !== this.lies.at(-1) || lie.size >= this.#writer.aggregateSize) {
      return false
    }
    if (this.#waiters.length > 0 || this.#blocked.length > 0 || lie.errno !== 0) return false
    if (this.#writer.trickling && this.sent > 0) return true
    const streaming = this.#writer.trickling && lie.streaming
    if (this.#writer.trickling && !streaming) return false
    this.#writer.holdBack(this, streaming)
    return true
  }

  /** An older lie overlaps it. */
  #isBehind(lie: Lie): boolean {
    for (const older of this.lies) {
      if (older === lie) return false
      if (isBefore(older, lie)) return true
    }
    return false
  }

  /** The idle lie at `at` and those right behind it that can travel in the same WRITE. */
  #group(at: number): Lie[] {
    const first = this.#idle[at]!
    const group = [first]
    let bytes = first.size
    for (let next = at + 1; next < this.#idle.length && group.length < GROUP_MAX; next++) {
      const lie = this.#idle[next]!
      const before = group.at(-1)!
      if (lie.id !== before.id + 1 || lie.fd !== first.fd || lie.flags !== first.flags) break
      if (lie.offset !== before.offset + before.size || lie.ordered || first.ordered) break
      if (bytes + lie.size > GROUP_BYTES_MAX || lie.xdata !== first.xdata) break
      if (!lie.creds.lkOwner.equals(first.creds.lkOwner)) break
      if (this.#isGrowing(lie) || this.#isBehind(lie)) break
      group.push(lie)
      bytes += lie.size
    }
    return group
  }

  /** A fop on [start, end) of the file would see `lie`. A write behind the end fills the hole. */
  #touches(lie: Lie, start: number, end: number): boolean {
    if (lie.ordered) return true
    const extends_ = this.knownSize === undefined || lie.offset > this.knownSize
    const from = extends_ ? (this.knownSize ?? 0) : lie.offset
    return from < end && start < lie.offset + lie.size
  }

  /** Failed data is tried again. */
  #retry(): void {
    if (this.#failures === 0) return
    this.#failures = 0
    for (const lie of this.lies) if (lie.state === 'failed') lie.state = 'idle'
    this.#collectIdle()
  }

  #collectIdle(): void {
    this.#idle.length = 0
    for (const lie of this.lies) if (lie.state === 'idle') this.#idle.push(lie)
  }

  #remove(lie: Lie): void {
    if (lie.state === 'failed') this.#failures--
    if (lie.errno !== 0) this.#tainted--
    this.lies.splice(this.lies.indexOf(lie), 1)
    this.windowCurrent -= lie.window
    lie.fd.drop()
  }

  /** Hands the failure to waiting flushes and fsyncs; true when the data need not be kept. */
  #tellSyncs(lie: Lie): boolean {
    let drop = false
    for (const waiter of this.#waiters) {
      const { sync } = waiter
      if (sync === undefined || waiter.until < lie.id) continue
      const own = sync.fd === lie.fd
      // Another fd's flush is not told: its application did not write this.
      if (!own && sync.kind === 'flush') continue
      if (waiter.errno === 0) waiter.errno = lie.errno
      if (own && !sync.keep) drop = true
    }
    return drop
  }

  /** Fails the fops that cannot go on because of failed data. */
  #refuse(): void {
    if (this.#failures === 0) return
    const failed = this.lies.filter((lie) => lie.state === 'failed')
    takeWhere(this.#waiters, (waiter) => {
      if (waiter.sync !== undefined) return false
      const lie = failed.find(
        (one) => one.id <= waiter.until && this.#touches(one, waiter.start, waiter.end),
      )
      if (lie === undefined) return false
      waiter.resolve(lie.errno)
      return true
    })
    takeWhere(this.#blocked, ({ write, resolve }) => {
      const own = failed.filter((lie) => lie.fd === write.fd && !lie.reported)
      // Writes of other fds wait on, unless nothing is left that could make room.
      if (own.length === 0 && (this.sent > 0 || this.#idle.length > 0 || this.#isOpen)) return false
      for (const lie of own) lie.reported = true
      resolve((own[0] ?? failed[0])!.errno)
      return true
    })
  }

  /** Lets go on whoever has nothing to wait for any more. */
  #wake(): void {
    takeWhere(this.#waiters, (waiter) => {
      if (this.lies.some((lie) => this.#concerns(waiter, lie))) return false
      waiter.resolve(waiter.errno)
      return true
    })
    while (this.#blocked.length > 0 && this.#isOpen) {
      const { write, resolve } = this.#blocked.shift()!
      this.#admit(write)
      resolve(0)
    }
    this.pump()
  }

  #concerns(waiter: Waiter, lie: Lie): boolean {
    if (lie.id > waiter.until) return false
    if (waiter.sync !== undefined) return lie.state !== 'failed'
    return this.#touches(lie, waiter.start, waiter.end)
  }
}

/** `lie` must reach the brick after `older`. */
function isBefore(older: Lie, lie: Lie): boolean {
  if (older.id >= lie.id) return false
  if (lie.ordered || older.ordered) return true
  return older.offset < lie.offset + lie.size && lie.offset < older.offset + older.size
}

/** Removes the items `taken` accepts, in order; it may act on them. */
function takeWhere<T>(items: T[], taken: (item: T) => boolean): void {
  let kept = 0
  for (const item of items.splice(0)) {
    if (taken(item)) continue
    items[kept++] = item
  }
}

/** The first `size` bytes of `lie` are written. */
function cutFront(lie: Lie, size: number): void {
  lie.offset += size
  lie.size -= size
  let left = size
  while (left > 0) {
    const first = lie.data[0]!
    if (first.length > left) {
      lie.data[0] = first.subarray(left)
      return
    }
    left -= first.length
    lie.data.shift()
  }
}
