/**
 * What md-cache knows of inodes, and when it may be believed.
 *
 * Every fop draws a stamp when it starts. A reply may fill the cache only if nothing changed the
 * inode after the fop started: otherwise it may show the time before the change.
 */
import { clock, NEVER } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import type { Dict, DictValue } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Freshness } from '../../../src/core/freshness.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { type Iatt, isDir, isReg, timeLater } from '../../../src/core/iatt.ts'
import { type Inode, isDirInode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { Stamps } from '../look.ts'

class Entry {
  stat: Iatt | undefined
  /** Stamp of the fop that showed it. */
  statAt = NEVER
  xattrs: ReadonlyMap<string, DictValue> | undefined
  xattrsAt = NEVER
  /** Stamp of the last change of the attributes and of the xattrs. */
  statChanged = NEVER
  xattrsChanged = NEVER
  /** The name it was last seen under, and when. */
  parent: Inode | undefined
  name: string | undefined
  namedAt = NEVER
  /** Stamp of the last time the name was lost. */
  unnamedAt = NEVER
  /** Of a directory: when another client last changed names in it. */
  sharedAt = NEVER
}

/**
 * Bricks do not tell of files that are linked or moved into a directory: its attributes are
 * believed no longer than this, ms.
 */
const DIRECTORY_MS = 1000
/**
 * Nor do they tell of a name that is given to another file while its old one has further names or
 * is open. Whoever does that has as a rule made the new file in the same directory: names in it are
 * believed for DIRECTORY_MS only, for so long, ms.
 */
const SHARED_MS = 60_000
/** Unknown inodes that changed lately; beyond it nothing asked for before is believed. */
const STRANGERS_MAX = 4096

export class Store implements Freshness {
  readonly #entries: InodeContext<Entry>
  readonly #stamps = new Stamps()
  /** What is older is not believed: connections were lost since. */
  #validFrom = NEVER
  timeoutMs = 0
  /** Upcalls tell of others' changes: what was learned before an open is true after it. */
  told = false
  /** Inodes not in the table that others changed: stamp of the change, oldest first. */
  readonly #strangers = new Map<Gfid, number>()
  /** What was begun before it may have been changed by somebody forgotten. */
  #strangersFrom = NEVER
  /** An inode's content was changed by somebody else; it is now as `stat` shows. */
  readonly #onForeignChange: (inode: Inode, stat: Iatt) => void

  constructor(xl: Xlator, onForeignChange: (inode: Inode, stat: Iatt) => void) {
    this.#entries = new InodeContext<Entry>(xl)
    this.#onForeignChange = onForeignChange
  }

  /** The stamp of a fop that starts. */
  begin(): number {
    return this.#stamps.next()
  }

  /** Nothing known so far is believed any more. */
  dropAll(): void {
    this.#validFrom = this.#stamps.next()
  }

  /**
   * For how long something learned at `at` is still believed, ms, if `limitMs` is the longest;
   * close-to-open: not past an open.
   */
  #left(inode: Inode, at: number, limitMs: number): number {
    if (at <= this.#validFrom || (!this.told && at < inode.openedAt)) return 0
    return Math.max(0, at + limitMs - clock.now())
  }

  #statLeft(inode: Inode, entry: Entry): number {
    const limit = isDirInode(inode) && this.told ? DIRECTORY_MS : Number.POSITIVE_INFINITY
    return this.#left(inode, entry.statAt, Math.min(this.timeoutMs, limit))
  }

  #nameLeft(entry: Entry, parent: Inode, name: string | undefined, inode: Inode): number {
    if (entry.parent !== parent || entry.name !== name) return 0
    const shared = this.#entries.get(parent)?.sharedAt ?? NEVER
    if (entry.namedAt <= shared) return 0
    const limit = entry.namedAt - shared < SHARED_MS ? DIRECTORY_MS : Number.POSITIVE_INFINITY
    return this.#left(inode, entry.namedAt, Math.min(this.timeoutMs, limit))
  }

  stat(inode: Inode): Iatt | undefined {
    const entry = this.#entries.get(inode)
    return entry?.stat !== undefined && this.#statLeft(inode, entry) > 0 ? entry.stat : undefined
  }

  xattrs(inode: Inode): ReadonlyMap<string, DictValue> | undefined {
    const entry = this.#entries.get(inode)
    if (entry?.xattrs === undefined) return undefined
    return this.#left(inode, entry.xattrsAt, this.timeoutMs) > 0 ? entry.xattrs : undefined
  }

  /** The inode was seen under this name not long ago. */
  isNamed({ inode, parent, name }: Loc): boolean {
    const entry = this.#entries.get(inode)
    if (entry === undefined || parent === undefined) return false
    return this.#nameLeft(entry, parent, name, inode) > 0
  }

  get on(): boolean {
    return this.told && this.timeoutMs > 0
  }

  /** Of files with several names nobody tells everything: see SHARED_MS. */
  attributes(inode: Inode, stat: Iatt): number {
    const entry = this.#entries.get(inode)
    if (!this.told || entry?.stat === undefined || !isSame(entry.stat, stat)) return 0
    return hasNames(entry.stat) ? 0 : this.#statLeft(inode, entry)
  }

  name(parent: Inode, name: string, inode: Inode): number {
    const entry = this.#entries.get(inode)
    if (!this.told || entry?.stat === undefined || hasNames(entry.stat)) return 0
    return this.#nameLeft(entry, parent, name, inode)
  }

  listed(parent: Inode, name: string, inode: Inode): { stat: Iatt; at: number } | undefined {
    const entry = this.#entries.get(inode)
    if (entry?.stat === undefined || this.#statLeft(inode, entry) <= 0) return undefined
    if (this.#nameLeft(entry, parent, name, inode) <= 0) return undefined
    return { stat: entry.stat, at: Math.min(entry.statAt, entry.namedAt) }
  }

  /** Another client made, removed or moved names in the directory. */
  shared(directory: Inode): void {
    this.#entries.need(directory, () => new Entry()).sharedAt = this.#stamps.next()
    this.drop(directory)
  }

  /** Another client changed an inode that is not in the table: an answer may be under way. */
  stranger(gfid: Gfid): void {
    this.#strangers.delete(gfid)
    this.#strangers.set(gfid, this.#stamps.next())
    if (this.#strangers.size <= STRANGERS_MAX) return
    const [oldest, at] = this.#strangers.entries().next().value!
    this.#strangers.delete(oldest)
    this.#strangersFrom = at
  }

  /** What was asked for at `begin` may have been changed since by somebody else. */
  #isOvertaken(gfid: Gfid, begin: number): boolean {
    if (begin <= this.#strangersFrom) return true
    return this.#strangers.size > 0 && (this.#strangers.get(gfid) ?? 0) > begin
  }

  /** A reply to a fop begun at `begin` shows these attributes. */
  saw(inode: Inode, begin: number, stat: Iatt): void {
    if (stat.ctime === 0) {
      this.drop(inode)
      return
    }
    if (this.#isOvertaken(stat.gfid, begin)) return
    const entry = this.#entries.need(inode, () => new Entry())
    if (entry.statChanged > begin) return
    const known = entry.stat
    if (known !== undefined) {
      const older = timeLater(known.ctime, known.ctimeNsec, stat.ctime, stat.ctimeNsec)
      if (older && this.#statLeft(inode, entry) > 0) return
      if (isReg(stat) && differs(known, stat)) this.#onForeignChange(inode, stat)
    }
    entry.stat = stat
    entry.statAt = begin
  }

  /** A change of ours begun at `begin` is done; it left these attributes. */
  changed(inode: Inode, begin: number, prestat: Iatt | undefined, poststat: Iatt): void {
    const entry = this.#entries.need(inode, () => new Entry())
    const overlapped = entry.statChanged > begin || this.#isOvertaken(poststat.gfid, begin)
    entry.statChanged = this.#stamps.next()
    if (overlapped || poststat.ctime === 0) {
      // Which of two changes was the last cannot be told from their replies.
      entry.stat = undefined
      return
    }
    const known = entry.stat
    if (known !== undefined && prestat !== undefined && prestat.ctime !== 0) {
      if (isReg(poststat) && differs(known, prestat)) this.#onForeignChange(inode, prestat)
    }
    entry.stat = poststat
    entry.statAt = begin
  }

  /**
   * A name in the directory came or went; the reply showed it before and after. Only the times are
   * taken from it: it is one brick's view, and the rest is no older than before. With `links` the
   * link count changed, too; the size does now and then, and is asked for then.
   */
  namesChanged(directory: Inode, before: Iatt, after: Iatt, links = false): void {
    const entry = this.#entries.need(directory, () => new Entry())
    entry.statChanged = this.#stamps.next()
    const { stat } = entry
    if (stat === undefined) return
    const resized = before.size !== after.size || before.blocks !== after.blocks
    if (after.ctime === 0 || (before.ctime === 0 ? links : resized)) {
      entry.stat = undefined
      return
    }
    const newLinks = links ? after.nlink - before.nlink : 0
    if (!timeLater(after.ctime, after.ctimeNsec, stat.ctime, stat.ctimeNsec)) {
      // Whether what is known has the new link already cannot be told.
      if (newLinks !== 0) entry.stat = undefined
      return
    }
    const now = stat.clone()
    now.ctime = after.ctime
    now.ctimeNsec = after.ctimeNsec
    now.mtime = after.mtime
    now.mtimeNsec = after.mtimeNsec
    now.nlink += newLinks
    entry.stat = now
  }

  /** A fop on the inode failed: with these errors it is not there. */
  failed(inode: Inode, errno: Errno): void {
    if (errno === E.STALE || errno === E.NOENT) this.gone(inode)
  }

  /** The object is not there, or not under its name. */
  gone(inode: Inode): void {
    this.drop(inode)
    this.unnamed(inode)
  }

  /** The attributes are not what they were. */
  drop(inode: Inode): void {
    const entry = this.#entries.need(inode, () => new Entry())
    entry.stat = undefined
    entry.statChanged = this.#stamps.next()
  }

  dropXattrs(inode: Inode): void {
    const entry = this.#entries.need(inode, () => new Entry())
    entry.xattrs = undefined
    entry.xattrsChanged = this.#stamps.next()
  }

  /** A reply to a fop that asked for all cacheable keys; `names` are those. */
  sawXattrs(
    inode: Inode,
    begin: number,
    found: Dict | undefined,
    names: ReadonlySet<string>,
  ): void {
    const entry = this.#entries.need(inode, () => new Entry())
    if (entry.xattrsChanged > begin) return
    if (found?.has('glusterfs.skip-cache') === true) {
      entry.xattrs = undefined
      return
    }
    entry.xattrs = pick(found, names)
    entry.xattrsAt = begin
  }

  /** Keys changed (`to` undefined: removed) by somebody who told us. */
  patchXattrs(inode: Inode, to: Dict | undefined, keys: Dict, names: ReadonlySet<string>): void {
    const entry = this.#entries.get(inode)
    if (entry === undefined) return
    entry.xattrsChanged = this.#stamps.next()
    if (entry.xattrs === undefined) return
    const patched = new Map(entry.xattrs)
    for (const key of keys.entries.keys()) {
      const value = to?.get(key)
      if (value === undefined) patched.delete(key)
      else if (names.has(key)) patched.set(key, value)
    }
    entry.xattrs = patched
  }

  named(
    inode: Inode,
    gfid: Gfid,
    begin: number,
    parent: Inode | undefined,
    name: string | undefined,
  ): void {
    const entry = this.#entries.need(inode, () => new Entry())
    if (entry.unnamedAt > begin || this.#isOvertaken(gfid, begin)) return
    entry.parent = parent
    entry.name = name
    entry.namedAt = begin
  }

  unnamed(inode: Inode): void {
    const entry = this.#entries.get(inode)
    if (entry === undefined) return
    entry.parent = undefined
    entry.unnamedAt = this.#stamps.next()
  }
}

/** A file with more than one name. */
const hasNames = (stat: Iatt): boolean => !isDir(stat) && stat.nlink > 1

function isSame(a: Iatt, b: Iatt): boolean {
  if (a === b) return true
  return a.ctime === b.ctime && a.ctimeNsec === b.ctimeNsec && !differs(a, b)
}

function differs(a: Iatt, b: Iatt): boolean {
  return a.size !== b.size || a.mtime !== b.mtime || a.mtimeNsec !== b.mtimeNsec
}

function pick(found: Dict | undefined, names: ReadonlySet<string>): Map<string, DictValue> {
  const kept = new Map<string, DictValue>()
  if (found === undefined) return kept
  for (const name of names) {
    const value = found.get(name)
    if (value !== undefined) kept.set(name, value)
  }
  return kept
}
