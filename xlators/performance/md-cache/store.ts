/**
 * What md-cache knows of inodes, and when it may be believed.
 *
 * Every fop draws a stamp when it starts. A reply may fill the cache only if nothing changed the
 * inode after the fop started: otherwise it may show the time before the change.
 */
import { clock } from '../../../src/core/clock.ts'
import { InodeContext } from '../../../src/core/context.ts'
import type { Dict, DictValue } from '../../../src/core/dict.ts'
import { type Iatt, isReg, timeLater } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { Stamps } from '../look.ts'

class Entry {
  stat: Iatt | undefined
  /** Stamp of the fop that showed it. */
  statAt = 0
  xattrs: ReadonlyMap<string, DictValue> | undefined
  xattrsAt = 0
  /** Stamp of the last change of the attributes and of the xattrs. */
  statChanged = 0
  xattrsChanged = 0
  /** The name it was last seen under, and when. */
  parent: Inode | undefined
  name: string | undefined
  namedAt = 0
}

export class Store {
  readonly #entries: InodeContext<Entry>
  readonly #stamps = new Stamps()
  /** What is older is not believed: connections were lost since. */
  #validFrom = 0
  timeoutMs = 0
  /** Upcalls tell of others' changes: what was learned before an open is true after it. */
  told = false
  /** An inode's content was changed by somebody else. */
  readonly #onForeignChange: (inode: Inode) => void

  constructor(xl: Xlator, onForeignChange: (inode: Inode) => void) {
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

  /** Something learned at `at` is still believed; close-to-open: not past an open. */
  #valid(inode: Inode, at: number): boolean {
    if (at <= this.#validFrom || clock.now() - at >= this.timeoutMs) return false
    return this.told || at >= inode.openedAt
  }

  stat(inode: Inode): Iatt | undefined {
    const entry = this.#entries.get(inode)
    return entry?.stat !== undefined && this.#valid(inode, entry.statAt) ? entry.stat : undefined
  }

  xattrs(inode: Inode): ReadonlyMap<string, DictValue> | undefined {
    const entry = this.#entries.get(inode)
    return entry?.xattrs !== undefined && this.#valid(inode, entry.xattrsAt)
      ? entry.xattrs
      : undefined
  }

  /** The inode was seen under this name not long ago. */
  isNamed(loc: Loc): boolean {
    const entry = this.#entries.get(loc.inode)
    if (entry === undefined || loc.parent === undefined) return false
    return (
      entry.parent === loc.parent &&
      entry.name === loc.name &&
      this.#valid(loc.inode, entry.namedAt)
    )
  }

  /** A reply to a fop begun at `begin` shows these attributes. */
  saw(inode: Inode, begin: number, stat: Iatt): void {
    if (stat.ctime === 0) {
      this.drop(inode)
      return
    }
    const entry = this.#entries.need(inode, () => new Entry())
    if (entry.statChanged > begin) return
    const known = entry.stat
    if (known !== undefined) {
      const older = timeLater(known.ctime, known.ctimeNsec, stat.ctime, stat.ctimeNsec)
      if (older && this.#valid(inode, entry.statAt)) return
      if (isReg(stat) && differs(known, stat)) this.#onForeignChange(inode)
    }
    entry.stat = stat
    entry.statAt = begin
  }

  /** A change of ours begun at `begin` is done; it left these attributes. */
  changed(inode: Inode, begin: number, prestat: Iatt | undefined, poststat: Iatt): void {
    const entry = this.#entries.need(inode, () => new Entry())
    const overlapped = entry.statChanged > begin
    entry.statChanged = this.#stamps.next()
    if (overlapped || poststat.ctime === 0) {
      // Which of two changes was the last cannot be told from their replies.
      entry.stat = undefined
      return
    }
    const known = entry.stat
    if (known !== undefined && prestat !== undefined && prestat.ctime !== 0) {
      if (isReg(poststat) && differs(known, prestat)) this.#onForeignChange(inode)
    }
    entry.stat = poststat
    entry.statAt = begin
  }

  /**
   * A name in the directory came or went; the reply showed `after`. Only the times are taken from
   * it: it is one brick's view, and the rest is no older than before.
   */
  namesChanged(directory: Inode, after: Iatt): void {
    const entry = this.#entries.need(directory, () => new Entry())
    entry.statChanged = this.#stamps.next()
    const { stat } = entry
    if (stat === undefined) return
    if (after.ctime === 0) {
      entry.stat = undefined
      return
    }
    if (!timeLater(after.ctime, after.ctimeNsec, stat.ctime, stat.ctimeNsec)) return
    const now = stat.clone()
    now.ctime = after.ctime
    now.ctimeNsec = after.ctimeNsec
    now.mtime = after.mtime
    now.mtimeNsec = after.mtimeNsec
    entry.stat = now
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

  named(inode: Inode, begin: number, parent: Inode | undefined, name: string | undefined): void {
    const entry = this.#entries.need(inode, () => new Entry())
    entry.parent = parent
    entry.name = name
    entry.namedAt = begin
  }

  unnamed(inode: Inode): void {
    const entry = this.#entries.get(inode)
    if (entry !== undefined) entry.parent = undefined
  }
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
