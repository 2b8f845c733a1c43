/**
 * features/gfid-access (mount option aux-gfid-mount): the virtual directory `.gfid` in the root of
 * the volume, found by its name only, where `.gfid/<gfid>` is the object of that gfid. For
 * geo-replication, which also makes entries with given gfids by setxattr (new-entry.ts).
 *
 * A file keeps its inode. A directory must not have two names, so there it has a made-up gfid, and
 * an inode that stands for the real one: fops on it and below it go to that. As in stock `.gfid`
 * and directories in it cannot be listed, and nothing can be made or removed in `.gfid` itself.
 * Unlike stock entries can be made through a directory also while the real one is in use.
 */
import { assert } from '../../../src/core/assert.ts'
import { InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fop, FopName, FopTable, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID, newGfid, parseGfid } from '../../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFMT, setInoFromGfid } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { type Xlator as AnyXlator, defineXlator, Xlator } from '../../../src/core/xlator.ts'
import { readHeal, readNewEntry } from './new-entry.ts'

export const options = defineOptions({})

const NAME = '.gfid'
const VIRTUAL_GFID = `${'\0'.repeat(15)}\x0d` as Gfid
const NEWFILE = 'glusterfs.gfid.newfile'
const HEAL = 'glusterfs.gfid.heal'

/** Fops on an object; on `.gfid` itself they are not served. */
const ON_OBJECT = [
  'setattr',
  'truncate',
  'open',
  'readlink',
  'getxattr',
  'removexattr',
  'opendir',
] as const satisfies readonly FopName[]
/** Fops that make or remove a name; in `.gfid` nobody may. */
const ON_NAME = [
  'mknod',
  'mkdir',
  'symlink',
  'create',
  'unlink',
  'rmdir',
] as const satisfies readonly FopName[]

export class GfidAccess extends Xlator<typeof options> {
  /** Of a directory below `.gfid`: the inode it stands for, which is held. */
  readonly #real = new InodeContext<Inode>(this as unknown as AnyXlator)

  constructor(init: ConstructorParameters<typeof Xlator<typeof options>>[0]) {
    super(init)
    for (const fop of ON_OBJECT) this.#serve(fop, ({ inode }) => this.#notHere(inode, fop))
    for (const fop of ON_NAME) {
      this.#serve(fop, ({ parent, name }) =>
        isVirtual(parent) || (parent?.isRoot === true && name === NAME) ? E.PERM : 0,
      )
    }
  }

  override forget(inode: Inode): void {
    const real = this.#real.get(inode)
    if (real !== undefined) inode.table.unref(real)
  }

  stat: Fop<'stat'> = (frame, req) => {
    if (isVirtual(req.loc.inode)) return { errno: 0, stat: virtualStat() }
    return frame.tail(this.child, 'stat', { ...req, loc: this.#map(req.loc) })
  }

  access: Fop<'access'> = (frame, req) => {
    if (isVirtual(req.loc.inode)) return { errno: 0 }
    return frame.tail(this.child, 'access', { ...req, loc: this.#map(req.loc) })
  }

  statfs: Fop<'statfs'> = (frame, req) => {
    const { loc } = req
    const asked = isVirtual(loc.inode) ? Loc.ofInode(loc.inode.table.root) : this.#map(loc)
    return frame.tail(this.child, 'statfs', { ...req, loc: asked })
  }

  setxattr: Fop<'setxattr'> = (frame, req) => {
    const { inode } = req.loc
    if (isVirtual(inode)) return { errno: E.OPNOTSUPP }
    const made = req.dict.getBytes(NEWFILE)
    if (made !== undefined) return this.#newEntry(frame, this.#realOf(inode), made)
    const healed = req.dict.getBytes(HEAL)
    if (healed !== undefined) return this.#heal(frame, this.#realOf(inode), healed)
    return frame.tail(this.child, 'setxattr', { ...req, loc: this.#map(req.loc) })
  }

  rename: Fop<'rename'> = (frame, req) => {
    const { oldloc, newloc } = req
    for (const { parent, name } of [oldloc, newloc]) {
      if (isVirtual(parent) || (parent?.isRoot === true && name === NAME)) return { errno: E.PERM }
    }
    const moved = { ...req, oldloc: this.#map(oldloc), newloc: this.#map(newloc) }
    return frame.tail(this.child, 'rename', moved)
  }

  /** The file itself may have been found below `.gfid`; its new name may not be there. */
  link: Fop<'link'> = (frame, req) => {
    if (isVirtual(req.newloc.parent)) return { errno: E.PERM }
    const linked = { ...req, oldloc: this.#map(req.oldloc), newloc: this.#map(req.newloc) }
    return frame.tail(this.child, 'link', linked)
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    const { loc } = req
    const isOurs = loc.parent?.isRoot === true && loc.name === NAME
    if (isOurs || loc.gfid === VIRTUAL_GFID) {
      return { errno: 0, stat: virtualStat(), postparent: new Iatt() }
    }
    if (isVirtual(loc.parent)) return this.#byGfid(frame, loc)
    const real = this.#real.get(loc.inode)
    if (real !== undefined && loc.parent === undefined) return this.#standIn(frame, loc.inode, real)
    return frame.tail(this.child, 'lookup', { ...req, loc: this.#map(loc) })
  }

  /** `.gfid/<gfid>`. */
  async #byGfid(frame: Frame, loc: Loc): Promise<Rep<'lookup'>> {
    const gfid = parseGfid(loc.name ?? '')
    if (gfid === undefined || gfid === NULL_GFID) return { errno: E.NOENT }
    const { table } = loc.inode
    const wanted = Loc.ofGfid(table, gfid)
    const rep = await frame.wind(this.child, 'lookup', { loc: wanted })
    if (rep.errno !== 0) return rep.errno === E.STALE ? { errno: E.NOENT } : rep
    const real = table.link(wanted.inode, undefined, undefined, rep.stat)
    if (real === undefined) return { errno: E.IO }
    if ((rep.stat.mode & S_IFMT) !== S_IFDIR) return rep
    this.#bind(loc.inode, real)
    return { ...rep, stat: standInStat(rep.stat, loc.inode) }
  }

  /** A directory below `.gfid`, asked for once more. */
  async #standIn(frame: Frame, inode: Inode, real: Inode): Promise<Rep<'lookup'>> {
    const rep = await frame.wind(this.child, 'lookup', { loc: Loc.ofInode(real) })
    return rep.errno === 0 ? { ...rep, stat: standInStat(rep.stat, inode) } : rep
  }

  #bind(inode: Inode, real: Inode): void {
    const before = this.#real.get(inode)
    if (before === real) return
    real.table.ref(real)
    this.#real.set(inode, real)
    if (before !== undefined) before.table.unref(before)
  }

  #realOf(inode: Inode): Inode {
    return this.#real.get(inode) ?? inode
  }

  /** The loc as the translators below know it. */
  #map(loc: Loc): Loc {
    const inode = this.#realOf(loc.inode)
    const parent = loc.parent === undefined ? undefined : this.#realOf(loc.parent)
    if (inode === loc.inode && parent === loc.parent) return loc
    return new Loc(inode, parent, loc.name, loc.gfid)
  }

  #notHere(inode: Inode, fop: FopName): 0 | Errno {
    if (isVirtual(inode)) return E.OPNOTSUPP
    return fop === 'opendir' && this.#real.get(inode) !== undefined ? E.OPNOTSUPP : 0
  }

  /** Fops that differ in nothing but whose loc is forbidden. */
  #serve<K extends (typeof ON_OBJECT)[number] | (typeof ON_NAME)[number]>(
    fop: K,
    forbidden: (loc: Loc) => 0 | Errno,
  ): void {
    const serve = (frame: Frame, req: Req<K>): MaybePromise<Rep<K>> => {
      const errno = forbidden(req.loc)
      if (errno !== 0) return { errno }
      return frame.tail(this.child, fop, { ...req, loc: this.#map(req.loc) })
    }
    Object.assign(this as unknown as FopTable, { [fop]: serve })
  }

  /** Acts for the owner named; the gfid is the one given. */
  async #newEntry(frame: Frame, parent: Inode, bytes: Buffer): Promise<Rep<'setxattr'>> {
    if (parent.type !== S_IFDIR) return { errno: E.PERM }
    const entry = readNewEntry(bytes)
    if (entry === undefined) return { errno: E.INVAL }
    const { uid, gid, name, gfid } = entry
    const owner = frame.with({ uid, gid })
    const loc = Loc.ofName(parent, name, parent.table.newInode())
    const xdata = new Dict().setGfid('gfid-req', gfid)
    const { child } = this
    if (entry.kind === 'link') {
      const linkpath = entry.target
      return shortReply(await owner.wind(child, 'symlink', { loc, linkpath, umask: 0, xdata }))
    }
    const { umask } = entry
    const mode = entry.mode & ~umask
    if (entry.kind === 'directory') {
      return shortReply(await owner.wind(child, 'mkdir', { loc, mode, umask, xdata }))
    }
    const { rdev } = entry
    return shortReply(await owner.wind(child, 'mknod', { loc, mode, rdev, umask, xdata }))
  }

  async #heal(frame: Frame, parent: Inode, bytes: Buffer): Promise<Rep<'setxattr'>> {
    const named = readHeal(bytes)
    if (named === undefined) return { errno: E.INVAL }
    const loc = Loc.ofName(parent, named.name, parent.table.newInode())
    const xdata = new Dict().setGfid('gfid-req', named.gfid)
    const rep = await frame.wind(this.child, 'lookup', { loc, xdata })
    return rep.errno === E.NOENT ? { errno: E.STALE } : shortReply(rep)
  }
}

const isVirtual = (inode: Inode | undefined): boolean => inode?.gfid === VIRTUAL_GFID

const shortReply = (rep: { errno: 0 } | { errno: Errno }): Rep<'setxattr'> =>
  rep.errno === 0 ? { errno: 0 } : { errno: rep.errno }

function virtualStat(): Iatt {
  const stat = new Iatt()
  stat.gfid = VIRTUAL_GFID
  setInoFromGfid(stat)
  stat.mode = S_IFDIR | 0o755
  stat.nlink = 2
  // Attributes without ctime count as unknown.
  stat.ctime = 1
  return stat
}

/** The directory's attributes under the gfid that `inode` has, or now gets. */
function standInStat(real: Iatt, inode: Inode): Iatt {
  const stat = real.clone()
  stat.gfid = inode.gfid === NULL_GFID ? newGfid() : inode.gfid
  assert(stat.gfid !== real.gfid, 'a directory stands for itself')
  setInoFromGfid(stat)
  return stat
}

export default defineXlator({
  type: 'features/gfid-access',
  class: GfidAccess,
  options,
  children: 1,
})
