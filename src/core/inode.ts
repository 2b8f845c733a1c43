import { NEVER } from './clock.ts'
import { slotOwner } from './context.ts'
import type { Fd } from './fd.ts'
import { type Gfid, gfidText, NULL_GFID, ROOT_GFID } from './gfid.ts'
import { type Iatt, S_IFDIR, S_IFMT } from './iatt.ts'

/** One name of an inode. */
export interface Dentry {
  readonly parent: Inode
  /** Raw name bytes as latin1. */
  readonly name: string
  readonly inode: Inode
}

/**
 * A file system object as this process knows it. A new one has no gfid until a reply names it and
 * `InodeTable.link` makes it the table's inode of that gfid (or hands back the one already there).
 */
export class Inode {
  readonly table: InodeTable
  gfid: Gfid = NULL_GFID
  /** S_IFMT bits; 0 until known. Never changes afterwards. */
  type = 0
  /** The number the kernel knows it by; 0 = not told to the kernel. */
  nodeid = 0
  /** How often the kernel was handed this inode minus its FORGETs. */
  nlookup = 0
  /** Fops under way and open fds that need it to stay in the table. */
  refs = 0
  /** Id of the graph whose translators have seen a lookup of it; -1 = none ("needs lookup"). */
  lookedUpGraph = -1
  /**
   * When an application opened it last, monotonic ms. What was learned of its content and
   * attributes before must be asked again: whoever opens sees what others had closed
   * (close-to-open).
   */
  openedAt = NEVER
  /** Named by the kernel since the last search for idle inodes. */
  used = false
  /** Open fds on it, in order of opening. */
  readonly fds = new Set<Fd>()
  /** Its names. Several for hard links, at most one for a directory. */
  readonly dentries: Dentry[] = []
  /** Of a directory: known children by name. */
  children: Map<string, Dentry> | undefined
  /** Translator contexts by slot; use InodeContext. */
  readonly contexts: unknown[] = []

  constructor(table: InodeTable) {
    this.table = table
  }

  get isRoot(): boolean {
    return this.gfid === ROOT_GFID
  }
}

export function isDirInode(inode: Inode): boolean {
  return inode.type === S_IFDIR
}

/**
 * Path from the volume root, latin1 bytes: `/`, `/a/b`; `<gfid:…>` for an inode without a known
 * name and `<gfid:…>/b` below one, as stock logs write it.
 */
export function inodePath(inode: Inode): string {
  if (inode.isRoot) return '/'
  let path = ''
  let at = inode
  // A cycle cannot form (link refuses it); the bound keeps a bug from becoming a hang.
  for (let depth = 0; depth < 4096; depth++) {
    if (at.isRoot) return path
    const dentry = at.dentries[0]
    if (dentry === undefined) return `<gfid:${gfidText(at.gfid)}>${path}`
    path = `/${dentry.name}${path}`
    at = dentry.parent
  }
  return `<gfid:${gfidText(inode.gfid)}>`
}

/** Inodes one search for idle ones looks at. */
const IDLE_LOOKS_MAX = 512

/** All inodes of a mount: by gfid, by kernel node id, and their names. */
export class InodeTable {
  readonly root: Inode
  readonly #byGfid = new Map<Gfid, Inode>()
  readonly #byNodeid = new Map<number, Inode>()
  /** Never used twice, so that every generation is 0. */
  #nextNodeid = 2
  #hand: Iterator<Inode> | undefined

  constructor() {
    this.root = new Inode(this)
    this.root.gfid = ROOT_GFID
    this.root.type = S_IFDIR
    this.root.nodeid = 1
    this.root.nlookup = 1
    this.#byGfid.set(ROOT_GFID, this.root)
    this.#byNodeid.set(1, this.root)
  }

  get size(): number {
    return this.#byGfid.size
  }

  inodes(): IterableIterator<Inode> {
    return this.#byGfid.values()
  }

  /** The inode the kernel means. Counts as use of it. */
  byNodeid(nodeid: number): Inode | undefined {
    const inode = this.#byNodeid.get(nodeid)
    if (inode !== undefined) inode.used = true
    return inode
  }

  /** Inodes with a node id. */
  get knownToKernel(): number {
    return this.#byNodeid.size
  }

  /**
   * Up to `count` inodes that the kernel knows, nobody uses and that were not named for a while:
   * second chance, in order of node ids, each call going on where the last one stopped.
   */
  idleVictims(count: number): Inode[] {
    const victims: Inode[] = []
    for (let looked = 0; looked < IDLE_LOOKS_MAX && victims.length < count; looked++) {
      let next = this.#hand?.next()
      if (next === undefined || next.done === true) {
        this.#hand = this.#byNodeid.values()
        next = this.#hand.next()
        if (next.done === true) break
      }
      const inode: Inode = next.value
      if (inode === this.root || inode.refs > 0 || inode.fds.size > 0) continue
      if (inode.children !== undefined && inode.children.size > 0) continue
      if (inode.used) inode.used = false
      else victims.push(inode)
    }
    return victims
  }

  byGfid(gfid: Gfid): Inode | undefined {
    return this.#byGfid.get(gfid)
  }

  /** An inode not yet in the table. */
  newInode(): Inode {
    return new Inode(this)
  }

  /** The known inode of `gfid`, or a fresh one carrying it (not in the table until linked). */
  findOrNew(gfid: Gfid, type: number): Inode {
    const known = this.#byGfid.get(gfid)
    if (known !== undefined) return known
    const inode = new Inode(this)
    inode.gfid = gfid
    inode.type = type
    return inode
  }

  child(parent: Inode, name: string): Inode | undefined {
    return parent.children?.get(name)?.inode
  }

  /**
   * Enters the object a reply described under (parent, name) and returns the table's inode for its
   * gfid: `inode` itself, or the one already known. Without a parent only the gfid is entered.
   * Returns `undefined` when the known inode has another file type (a broken brick).
   */
  link(
    inode: Inode,
    parent: Inode | undefined,
    name: string | undefined,
    stat: Iatt,
  ): Inode | undefined {
    const type = stat.mode & S_IFMT
    let known = this.#byGfid.get(stat.gfid)
    if (known === undefined) {
      known = inode.gfid === NULL_GFID || inode.gfid === stat.gfid ? inode : new Inode(this)
      known.gfid = stat.gfid
      known.type = type
      this.#byGfid.set(stat.gfid, known)
    } else if (known.type !== type) {
      return undefined
    }
    if (parent !== undefined && name !== undefined && known !== this.root) {
      this.#addName(parent, name, known)
    }
    return known
  }

  /** The name is gone (unlink, rmdir, failed revalidate). */
  unlinkName(parent: Inode, name: string): void {
    const dentry = parent.children?.get(name)
    if (dentry === undefined) return
    parent.children!.delete(name)
    const names = dentry.inode.dentries
    names.splice(names.indexOf(dentry), 1)
    this.retireIfIdle(dentry.inode)
    this.retireIfIdle(parent)
  }

  /** `inode` now has the name (newParent, newName) instead of (oldParent, oldName). */
  rename(oldParent: Inode, oldName: string, newParent: Inode, newName: string, inode: Inode): void {
    this.#addName(newParent, newName, inode)
    if (oldParent !== newParent || oldName !== newName) {
      if (oldParent.children?.get(oldName)?.inode === inode) this.unlinkName(oldParent, oldName)
    }
  }

  /** The kernel was handed `inode` in one more entry reply. Gives it a node id if it has none. */
  countLookup(inode: Inode): void {
    if (inode.nodeid === 0) {
      inode.nodeid = this.#nextNodeid++
      this.#byNodeid.set(inode.nodeid, inode)
    }
    inode.nlookup++
  }

  /** The kernel's FORGET of `count` lookups. */
  forget(inode: Inode, count: number): void {
    if (inode === this.root) return
    inode.nlookup = Math.max(0, inode.nlookup - count)
    this.retireIfIdle(inode)
  }

  ref(inode: Inode): void {
    inode.refs++
  }

  unref(inode: Inode): void {
    inode.refs--
    if (inode.refs === 0) this.retireIfIdle(inode)
  }

  /** Drops an inode nobody needs: unknown to the kernel, unused, without known children. */
  retireIfIdle(inode: Inode): void {
    if (inode === this.root || inode.nlookup > 0 || inode.refs > 0 || inode.fds.size > 0) return
    if (inode.children !== undefined && inode.children.size > 0) return
    if (this.#byGfid.get(inode.gfid) === inode) this.#byGfid.delete(inode.gfid)
    if (inode.nodeid !== 0) this.#byNodeid.delete(inode.nodeid)
    inode.nodeid = 0
    for (const dentry of inode.dentries.splice(0)) {
      dentry.parent.children?.delete(dentry.name)
      this.retireIfIdle(dentry.parent)
    }
    for (let slot = 0; slot < inode.contexts.length; slot++) {
      if (inode.contexts[slot] !== undefined) slotOwner(slot)?.forget?.(inode)
    }
    inode.contexts.length = 0
  }

  /** Forgets what the translators of a retired graph (by slot) kept on inodes and open fds. */
  dropContexts(slots: readonly number[]): void {
    for (const inode of this.#byGfid.values()) {
      for (const fd of inode.fds) fd.dropContexts(slots)
      for (const slot of slots) {
        if (inode.contexts[slot] === undefined) continue
        slotOwner(slot)?.forget?.(inode)
        inode.contexts[slot] = undefined
      }
    }
  }

  #addName(parent: Inode, name: string, inode: Inode): void {
    parent.children ??= new Map()
    const present = parent.children.get(name)
    if (present?.inode === inode) return
    if (present !== undefined) this.unlinkName(parent, name)
    if (inode.type === S_IFDIR) {
      // A directory has one name: a new one means it was moved, here or by another client.
      for (const old of [...inode.dentries]) this.unlinkName(old.parent, old.name)
      for (let at: Inode | undefined = parent; at !== undefined; at = at.dentries[0]?.parent) {
        if (at === inode) return
      }
    }
    // unlinkName may have retired the parent's last child and with it the map.
    parent.children ??= new Map()
    const dentry = { parent, name, inode }
    parent.children.set(name, dentry)
    inode.dentries.push(dentry)
  }
}
