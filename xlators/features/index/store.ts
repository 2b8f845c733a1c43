/**
 * Index files of a brick: `.glusterfs/indices/{xattrop,dirty,entry-changes}`. An entry for an inode
 * is a hard link, named by its gfid, of the base file `<subdir>-<uuid>` (mode 0, empty): making one
 * costs no inode. In entry-changes there is a directory for each gfid with a link for each name.
 */
import { randomUUID } from 'node:crypto'
import { readEntries } from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, statAt } from '../../../src/sys/stat.ts'

export type SubIndex = 'xattrop' | 'dirty' | 'entry-changes'
export const SUB_INDICES: readonly SubIndex[] = ['xattrop', 'dirty', 'entry-changes']

const ENOENT = -2
const EEXIST = -17
const EMLINK = -31
const S_IFREG = 0o100000
const GFID_NAME = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export const isGfidName = (name: string): boolean => GFID_NAME.test(name)

export class IndexStore {
  readonly base: string
  readonly #bases = new Map<SubIndex, string>()
  /** Entries of each index. */
  readonly #counts = new Map<SubIndex, number>()

  constructor(base: string) {
    this.base = base
  }

  /** Makes the directories and counts what a former life left. Negative errno when it cannot. */
  start(): number {
    const made = entry.mkdirAt(AT_FDCWD, this.base, 0o600)
    if (made < 0 && made !== EEXIST) return made
    for (const sub of SUB_INDICES) {
      const rc = entry.mkdirAt(AT_FDCWD, this.dir(sub), 0o600)
      if (rc < 0 && rc !== EEXIST) return rc
      this.#bases.set(sub, `${sub}-${randomUUID()}`)
      this.#counts.set(sub, this.#clean(sub))
    }
    return 0
  }

  dir(sub: SubIndex): string {
    return `${this.base}/${sub}`
  }

  count(sub: SubIndex): number {
    return this.#counts.get(sub) ?? 0
  }

  stat(path: string): Stat | number {
    return statAt(AT_FDCWD, path)
  }

  /** Base files of former lives that nothing links to go; returns the number of entries. */
  #clean(sub: SubIndex): number {
    const dir = this.dir(sub)
    const fd = entry.openAt(AT_FDCWD, dir, entry.O_DIRECTORY)
    if (fd < 0) return 0
    let count = 0
    for (;;) {
      const batch = readEntries(fd)
      if (typeof batch === 'number' || batch.length === 0) break
      for (const { name } of batch) {
        if (isGfidName(name)) count++
        else this.dropStaleBase(sub, name)
      }
    }
    entry.close(fd)
    return count
  }

  dropStaleBase(sub: SubIndex, name: string): void {
    if (!name.startsWith(`${sub}-`) || name === this.#bases.get(sub)) return
    const path = `${this.dir(sub)}/${name}`
    const stat = this.stat(path)
    if (typeof stat !== 'number' && stat.nlink === 1) entry.unlinkAt(AT_FDCWD, path)
  }

  /** Links `path` to the index's base file. 0 also when it is there already. */
  #link(sub: SubIndex, path: string): number {
    for (let attempt = 0; attempt < 3; attempt++) {
      const base = `${this.dir(sub)}/${this.#bases.get(sub)}`
      const rc = entry.linkAt(AT_FDCWD, base, AT_FDCWD, path)
      if (rc === EMLINK) this.#bases.set(sub, `${sub}-${randomUUID()}`)
      else if (rc === ENOENT) {
        const made = entry.mknodAt(AT_FDCWD, base, S_IFREG, 0)
        if (made < 0 && made !== EEXIST) return made
      } else return rc
    }
    return EMLINK
  }

  add(sub: SubIndex, gfid: string): number {
    const rc = this.#link(sub, `${this.dir(sub)}/${gfid}`)
    if (rc === EEXIST) return 0
    if (rc >= 0) this.#counts.set(sub, this.count(sub) + 1)
    return rc
  }

  remove(sub: SubIndex, gfid: string): number {
    const rc = entry.unlinkAt(AT_FDCWD, `${this.dir(sub)}/${gfid}`)
    if (rc >= 0) this.#counts.set(sub, Math.max(0, this.count(sub) - 1))
    return rc === ENOENT ? 0 : rc
  }

  // --- entry-changes: names changed in a directory -----------------------------------------------

  entryDir(gfid: string): string {
    return `${this.dir('entry-changes')}/${gfid}`
  }

  addName(gfid: string, name: string): number {
    const rc = entry.mkdirAt(AT_FDCWD, this.entryDir(gfid), 0o600)
    if (rc < 0 && rc !== EEXIST) return rc
    const linked = this.#link('entry-changes', `${this.entryDir(gfid)}/${name}`)
    return linked === EEXIST ? 0 : linked
  }

  removeName(gfid: string, name: string): number {
    const rc = entry.unlinkAt(AT_FDCWD, `${this.entryDir(gfid)}/${name}`)
    return rc === ENOENT ? 0 : rc
  }

  /** The directory needs no heal: its names go; those left are set aside under a random name. */
  purge(gfid: string): number {
    const dir = this.entryDir(gfid)
    const rc = entry.rmdirAt(AT_FDCWD, dir)
    if (rc >= 0 || rc === ENOENT) return 0
    return entry.renameAt(AT_FDCWD, dir, AT_FDCWD, this.entryDir(randomUUID()))
  }

  removeEntryDir(gfid: string): number {
    return entry.rmdirAt(AT_FDCWD, this.entryDir(gfid))
  }
}
