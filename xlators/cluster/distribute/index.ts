/**
 * cluster/distribute (DHT): joins subvolumes into one volume. A file is on the subvolume whose
 * range of the parent directory's layout holds the hash of its name, or a linkto file there says
 * where it is; a directory is on all of them.
 *
 * By topic: hash, munge, layout, compute-layout, fix-layout (placement) · lookup, directory-lookup,
 * discover, heal (finding and repairing) · create, mkdir, remove, rename (changing names) · file,
 * migration (data, and files that move meanwhile) · directory, xattr, virtual-xattr (attributes) ·
 * readdir · space · events · locks, linkto, parent, attributes, subvolumes (what they share).
 *
 * Kept of stock: everything other clients and rebalance see on the bricks, and the order of it.
 * Not kept: remembered times that hide a newer, earlier time; "no such file" for a name whose
 * subvolume is down. Files are not migrated by request (trusted.distribute.migrate-data).
 */
import { clock, type Timer } from '../../../src/core/clock.ts'
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import type { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import {
  type Event,
  isDownEvent,
  UP_EXPLICIT_LOOKUP,
  type Upcall,
  type UpEvent,
} from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type Fop,
  type FopName,
  type FopTable,
  fopNames,
  type MaybePromise,
} from '../../../src/core/fop.ts'
import { type Gfid, gfidText, NULL_GFID } from '../../../src/core/gfid.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { type OptionValues, parseBool } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import { leafOfDirOffset, leavesBelow, leavesOfGraph } from '../../../src/graph/dir-offset.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { hasLinktoMode } from './attributes.ts'
import type { LayoutPolicy } from './compute-layout.ts'
import { DhtFd, DhtInode, timesOf } from './context.ts'
import { create, link, mknod, symlink } from './create.ts'
import { accessDirectory, everywhere, setattrDirectory, statDirectory } from './directory.ts'
import { dumpDhtInode, dumpDistribute } from './dump.ts'
import { ChildStates } from './events.ts'
import { cachedSub, copyWithin, fileFop, flush, isDirectory, lk, open } from './file.ts'
import { type DhtKeys, dhtKeys } from './keys.ts'
import type { Layout } from './layout.ts'
import { lockFop } from './lock-fops.ts'
import { lookup } from './lookup.ts'
import { mkdir, mkdirAlone } from './mkdir.ts'
import { DEFAULT_RSYNC_REGEX, isValidRegex, NameHasher } from './munge.ts'
import { type LookupUnhashed, options } from './options.ts'
import { opendir, readdir, readdirp } from './readdir.ts'
import { rmdir, unlink } from './remove.ts'
import { rename, renameAlone } from './rename.ts'
import { SpaceCache, statfs } from './space.ts'
import { changeXattr, getxattr, getxattrAlone, xattrop } from './xattr.ts'

export { options }

/** How long subvolumes that say nothing hold up the mount. */
const SILENT_MS = 10_000

type Options = OptionValues<typeof options>

export class Distribute extends Xlator<typeof options> {
  readonly #self = this as unknown as Xlator
  readonly inodes = new InodeContext<DhtInode>(this.#self)
  readonly fds = new FdContext<DhtFd>(this.#self)
  /** Directories whose xattrs are being healed. */
  readonly healing = new Set<Gfid>()
  readonly space = new SpaceCache(this)
  /** Grows whenever a subvolume comes up: what is known of older generations is asked again. */
  generation = 1
  /** The root's commit hash; directories that carry it too have no misplaced names. */
  volumeCommitHash = 0
  // Set in init, from options and children.
  states = new ChildStates(0)
  /** Runs from parent-up until every subvolume has reported. */
  #silence: Timer | undefined
  keys: DhtKeys = dhtKeys('')
  hasher = new NameHasher(undefined, undefined)
  lookupUnhashed: LookupUnhashed = 'on'
  #subsByName = new Map<string, Xlator>()
  #decommissioned = new Set<Xlator>()
  /** Child index of each leaf of the graph; made when first asked for, the graph is whole then. */
  #childOfLeaf: number[] | undefined

  readonly layoutPolicy: LayoutPolicy = policyOf(this)

  override init(): void {
    this.states = new ChildStates(this.children.length)
    this.#subsByName = new Map(this.children.map((sub) => [sub.name, sub]))
    this.keys = dhtKeys(this.options['xattr-name'])
    this.#apply(this.options)
    if (this.children.length === 1) this.#passThrough()
  }

  override reconfigure(values: Options): void {
    this.#apply(values)
    super.reconfigure(values)
  }

  /** Takes over what is derived from options. Throws before anything is changed. */
  #apply(values: Options): void {
    const unhashed = values['lookup-unhashed']
    const bool = parseBool(unhashed)
    if (bool === undefined && unhashed !== 'auto') {
      throw new GlusterError(
        'OPTION_INVALID',
        `option lookup-unhashed ${unhashed}: must be on, off or auto`,
      )
    }
    const decommissioned = new Set<Xlator>()
    for (const name of (values['decommissioned-bricks'] ?? '').split(',')) {
      const sub = this.#subsByName.get(name.trim())
      if (sub !== undefined) decommissioned.add(sub)
    }
    for (const key of ['rsync-hash-regex', 'extra-hash-regex'] as const) {
      const expression = values[key]
      if (expression !== undefined && !isValidRegex(expression)) {
        this.log.warn({ [key]: expression }, 'the expression is not valid and is ignored')
      }
    }
    this.lookupUnhashed = bool === undefined ? 'auto' : bool ? 'on' : 'off'
    this.#decommissioned = decommissioned
    this.hasher = new NameHasher(
      values['rsync-hash-regex'] ?? DEFAULT_RSYNC_REGEX,
      values['extra-hash-regex'],
    )
  }

  /** One subvolume: everything is there. Only what other clients must see is still done. */
  #passThrough(): void {
    const alone: Partial<FopTable> = {
      mkdir: (frame, req) => mkdirAlone(this, frame, req),
      rename: (frame, req) => renameAlone(this, frame, req),
      getxattr: (frame, req) => getxattrAlone(this, frame, 'getxattr', req),
      fgetxattr: (frame, req) => getxattrAlone(this, frame, 'fgetxattr', req),
    }
    const table = this as unknown as Record<FopName, Fop<FopName>>
    for (const fop of fopNames) {
      const own = alone[fop] as Fop<FopName> | undefined
      table[fop] = own ?? ((frame, req) => frame.tail(this.child, fop, req))
    }
  }

  // -- fops -------------------------------------------------------------------------------------

  override stat: Fop<'stat'> = (frame, req) =>
    isDirectory(this, req.loc.inode)
      ? statDirectory(this, frame, 'stat', req, req.loc.inode)
      : fileFop(this, frame, 'stat', req, req.loc.inode)

  override readlink: Fop<'readlink'> = (frame, req) =>
    fileFop(this, frame, 'readlink', req, req.loc.inode)

  override mknod: Fop<'mknod'> = (frame, req) => mknod(this, frame, req)
  override mkdir: Fop<'mkdir'> = (frame, req) => mkdir(this, frame, req)
  override unlink: Fop<'unlink'> = (frame, req) => unlink(this, frame, req)
  override rmdir: Fop<'rmdir'> = (frame, req) => rmdir(this, frame, req)
  override symlink: Fop<'symlink'> = (frame, req) => symlink(this, frame, req)
  override rename: Fop<'rename'> = (frame, req) => rename(this, frame, req)
  override link: Fop<'link'> = (frame, req) => link(this, frame, req)

  override truncate: Fop<'truncate'> = (frame, req) =>
    fileFop(this, frame, 'truncate', req, req.loc.inode)

  override open: Fop<'open'> = (frame, req) => open(this, frame, req)

  override readv: Fop<'readv'> = (frame, req) =>
    fileFop(this, frame, 'readv', req, req.fd.inode, req.fd)

  override writev: Fop<'writev'> = (frame, req) =>
    fileFop(this, frame, 'writev', req, req.fd.inode, req.fd)

  override statfs: Fop<'statfs'> = (frame, req) => statfs(this, frame, req)
  override flush: Fop<'flush'> = (frame, req) => flush(this, frame, req)

  override fsync: Fop<'fsync'> = (frame, req) =>
    fileFop(this, frame, 'fsync', req, req.fd.inode, req.fd)

  override setxattr: Fop<'setxattr'> = (frame, req) => changeXattr(this, frame, 'setxattr', req)
  override getxattr: Fop<'getxattr'> = (frame, req) => getxattr(this, frame, 'getxattr', req)

  override removexattr: Fop<'removexattr'> = (frame, req) =>
    changeXattr(this, frame, 'removexattr', req)

  override opendir: Fop<'opendir'> = (frame, req) => opendir(this, frame, req)
  override fsyncdir: Fop<'fsyncdir'> = (frame, req) => everywhere(this, frame, 'fsyncdir', req)

  override access: Fop<'access'> = (frame, req) =>
    isDirectory(this, req.loc.inode)
      ? accessDirectory(this, frame, req)
      : fileFop(this, frame, 'access', req, req.loc.inode)

  override create: Fop<'create'> = (frame, req) => create(this, frame, req)

  override ftruncate: Fop<'ftruncate'> = (frame, req) =>
    fileFop(this, frame, 'ftruncate', req, req.fd.inode, req.fd)

  override fstat: Fop<'fstat'> = (frame, req) =>
    isDirectory(this, req.fd.inode)
      ? statDirectory(this, frame, 'fstat', req, req.fd.inode)
      : fileFop(this, frame, 'fstat', req, req.fd.inode, req.fd)

  override lk: Fop<'lk'> = (frame, req) => lk(this, frame, req)
  override lookup: Fop<'lookup'> = (frame, req) => lookup(this, frame, req)
  override readdir: Fop<'readdir'> = (frame, req) => readdir(this, frame, req)

  override inodelk: Fop<'inodelk'> = (frame, req) =>
    lockFop(this, frame, 'inodelk', req, req.loc.inode)

  override finodelk: Fop<'finodelk'> = (frame, req) =>
    lockFop(this, frame, 'finodelk', req, req.fd.inode)

  override entrylk: Fop<'entrylk'> = (frame, req) =>
    lockFop(this, frame, 'entrylk', req, req.loc.inode)

  override fentrylk: Fop<'fentrylk'> = (frame, req) =>
    lockFop(this, frame, 'fentrylk', req, req.fd.inode)

  override xattrop: Fop<'xattrop'> = (frame, req) => xattrop(this, frame, 'xattrop', req)
  override fxattrop: Fop<'fxattrop'> = (frame, req) => xattrop(this, frame, 'fxattrop', req)
  override fgetxattr: Fop<'fgetxattr'> = (frame, req) => getxattr(this, frame, 'fgetxattr', req)
  override fsetxattr: Fop<'fsetxattr'> = (frame, req) => changeXattr(this, frame, 'fsetxattr', req)

  override rchecksum: Fop<'rchecksum'> = (frame, req) =>
    fileFop(this, frame, 'rchecksum', req, req.fd.inode, req.fd)

  override setattr: Fop<'setattr'> = (frame, req) =>
    isDirectory(this, req.loc.inode)
      ? setattrDirectory(this, frame, 'setattr', req, req.loc.inode)
      : fileFop(this, frame, 'setattr', req, req.loc.inode)

  override fsetattr: Fop<'fsetattr'> = (frame, req) =>
    isDirectory(this, req.fd.inode)
      ? setattrDirectory(this, frame, 'fsetattr', req, req.fd.inode)
      : fileFop(this, frame, 'fsetattr', req, req.fd.inode, req.fd)

  override readdirp: Fop<'readdirp'> = (frame, req) => readdirp(this, frame, req)

  override fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    changeXattr(this, frame, 'fremovexattr', req)

  override fallocate: Fop<'fallocate'> = (frame, req) =>
    fileFop(this, frame, 'fallocate', req, req.fd.inode, req.fd)

  override discard: Fop<'discard'> = (frame, req) =>
    fileFop(this, frame, 'discard', req, req.fd.inode, req.fd)

  override zerofill: Fop<'zerofill'> = (frame, req) =>
    fileFop(this, frame, 'zerofill', req, req.fd.inode, req.fd)

  override ipc: Fop<'ipc'> = (frame, req) => everywhere(this, frame, 'ipc', req)

  override seek: Fop<'seek'> = (frame, req) =>
    fileFop(this, frame, 'seek', req, req.fd.inode, req.fd)

  override lease: Fop<'lease'> = (frame, req) => fileFop(this, frame, 'lease', req, req.loc.inode)

  override getactivelk: Fop<'getactivelk'> = (frame, req) =>
    fileFop(this, frame, 'getactivelk', req, req.loc.inode)

  override setactivelk: Fop<'setactivelk'> = (frame, req) =>
    fileFop(this, frame, 'setactivelk', req, req.loc.inode)

  // Nothing above sends these, and bricks of 10.3 do not serve them to DHT.
  override put: Fop<'put'> = () => ({ errno: E.OPNOTSUPP })
  override icreate: Fop<'icreate'> = () => ({ errno: E.OPNOTSUPP })
  override namelink: Fop<'namelink'> = () => ({ errno: E.OPNOTSUPP })

  override copy_file_range: Fop<'copy_file_range'> = async (frame, req) => {
    const from = await cachedSub(this, frame, req.fdIn.inode)
    if (typeof from === 'number') return { errno: from }
    const to = await cachedSub(this, frame, req.fdOut.inode)
    if (typeof to === 'number') return { errno: to }
    // A brick copies within itself; the caller copies between bricks.
    if (from !== to) return { errno: E.XDEV }
    return copyWithin(frame, from, req)
  }

  // -- events -----------------------------------------------------------------------------------

  override notify(event: Event, from: Xlator | undefined): void {
    if (isDownEvent(event)) {
      if (event.type === 'parent-down') this.#silence?.clear()
      if (event.type === 'parent-up') {
        this.#silence = clock.after(SILENT_MS, () => this.#tell(this.states.waitNoLonger()))
      }
      this.notifyChildren(event)
      return
    }
    const index = from === undefined ? -1 : this.children.indexOf(from)
    switch (event.type) {
      case 'child-up':
      case 'child-down':
      case 'child-connecting':
        if (index >= 0) this.#childChanged(index, event.type)
        return
      case 'upcall':
        this.notifyParents({ type: 'upcall', upcall: this.#upcall(event.upcall) })
        return
      default:
        this.notifyParents(event)
    }
  }

  #childChanged(index: number, type: 'child-up' | 'child-down' | 'child-connecting'): void {
    const state = type === 'child-up' ? 'up' : type === 'child-down' ? 'down' : 'connecting'
    const tell = this.states.report(index, state)
    if (state === 'up') {
      this.generation++
      if (this.children.length > 1) this.space.refresh()
    }
    this.#tell(tell)
  }

  #tell(event: UpEvent | undefined): void {
    if (this.states.complete) this.#silence?.clear()
    if (event !== undefined) this.notifyParents(event)
  }

  /** Another client's change that says a layout or a file's place is no longer what it was. */
  #upcall(upcall: Upcall): Upcall {
    if (upcall.type !== 'cache-invalidation' || this.children.length === 1) return upcall
    const relaid = upcall.xdata?.has(this.keys.layout) ?? false
    if (!relaid && !hasLinktoMode(upcall.stat)) return upcall
    const inode = this.graph.inodes.byGfid(upcall.gfid)
    const state = inode === undefined ? undefined : this.inodes.get(inode)
    if (state !== undefined) {
      state.generation = 0
      state.layout = state.layout?.clone(0)
    }
    return { ...upcall, flags: upcall.flags | UP_EXPLICIT_LOOKUP }
  }

  // -- what is known ----------------------------------------------------------------------------

  override forget(_inode: Inode): void {}
  override release(_fd: Fd): void {}
  override releasedir(_fd: Fd): void {}

  override dump(sink: DumpSink): void {
    dumpDistribute(this, sink)
  }

  override dumpInode(inode: Inode, sink: DumpSink): void {
    dumpDhtInode(this, inode, sink)
  }

  inodeState(inode: Inode): DhtInode {
    return this.inodes.need(inode, () => new DhtInode())
  }

  fdState(fd: Fd): DhtFd {
    return this.fds.need(fd, () => new DhtFd())
  }

  /** The data of the file is on `cached`: noted on the inode at hand and on the table's. */
  rememberFile(inode: Inode, gfid: Gfid, cached: Xlator): void {
    for (const each of this.#holders(inode, gfid)) {
      const state = this.inodeState(each)
      if (state.cached !== cached) state.migration = undefined
      state.cached = cached
      state.generation = this.generation
    }
  }

  rememberDirectory(inode: Inode, stat: Iatt, layout: Layout, mds: Xlator | undefined): void {
    for (const each of this.#holders(inode, stat.gfid)) {
      const state = this.inodeState(each)
      state.layout = layout
      if (mds !== undefined) state.mds = mds
      state.times = timesOf(stat)
    }
  }

  /** A lookup may be made on a fresh inode of an object the table already knows. */
  #holders(inode: Inode, gfid: Gfid): Inode[] {
    const known = gfid === NULL_GFID ? undefined : inode.table.byGfid(gfid)
    if (known === undefined || known === inode) return [inode]
    return inode.gfid === NULL_GFID || inode.gfid === gfid ? [inode, known] : [known]
  }

  subByName(name: string): Xlator | undefined {
    return this.#subsByName.get(name)
  }

  isUp(sub: Xlator): boolean {
    return this.states.isUp(this.children.indexOf(sub))
  }

  /** Index of the first subvolume that is up, 0 when none is. */
  firstUp(): number {
    for (let i = 0; i < this.children.length; i++) if (this.states.isUp(i)) return i
    return 0
  }

  /** Stands for the hashed subvolume of the root, which has no name. */
  longestUp(): Xlator | undefined {
    return this.children[this.states.longestUp()]
  }

  isDecommissioned(sub: Xlator): boolean {
    return this.#decommissioned.has(sub)
  }

  /** Where a new file of `parent` goes that is meant for `sub`: there, if it is not full. */
  place(sub: Xlator, parent: Inode): MaybePromise<Xlator> {
    if (!this.space.isFilled(sub)) return sub
    const layout = this.inodes.get(parent)?.layout
    return layout === undefined ? sub : this.space.substitute(layout, sub)
  }

  decommission(sub: Xlator): void {
    this.#decommissioned.add(sub)
  }

  /** Where a name hashes to by its parent's layout; `undefined` when that is not known. */
  hashedSub(parent: Inode | undefined, name: string | undefined): Xlator | undefined {
    if (parent === undefined || name === undefined) return undefined
    return this.inodes.get(parent)?.layout?.find(this.hasher.hash(name))
  }

  /** `name@<this volume>:<subvolume>` asks for a subvolume by hand. */
  subvolFilter(name: string | undefined): { name: string; sub: Xlator } | undefined {
    if (name === undefined) return undefined
    const mark = `@${this.name}:`
    const at = name.lastIndexOf(mark)
    if (at <= 0) return undefined
    const sub = this.#subsByName.get(name.slice(at + mark.length))
    return sub === undefined ? undefined : { name: name.slice(0, at), sub }
  }

  /** What rotates a directory's ranges among the subvolumes. */
  directoryHash(path: string, gfid: Gfid): number {
    const byGfid = this.options['randomize-hash-range-by-gfid']
    return this.hasher.hash(byGfid ? gfidText(gfid) : path)
  }

  sawMisplaced(parent: Inode | undefined): boolean {
    return parent !== undefined && (this.inodes.get(parent)?.misplaced ?? false)
  }

  /** The root carries the commit hash of the last rebalance as decimal text. */
  learnCommitHash(xdata: Dict | undefined): void {
    const text = xdata?.getStr(this.keys.commitHash)
    if (text === undefined || !/^\d+$/.test(text)) return
    const hash = Number(text)
    if (hash <= 0xffff_ffff) this.volumeCommitHash = hash
  }

  /** The child whose leaf made a directory offset. */
  childOfOffset(off: bigint): number {
    if (this.#childOfLeaf === undefined) {
      const leaves = leavesOfGraph(this.graph)
      const below = this.children.map((sub) => new Set(leavesBelow(sub)))
      this.#childOfLeaf = leaves.map((leaf) => below.findIndex((set) => set.has(leaf)))
    }
    const child = this.#childOfLeaf[leafOfDirOffset(off, this.#childOfLeaf.length)]
    return child === undefined || child < 0 ? 0 : child
  }
}

function policyOf(dht: Distribute): LayoutPolicy {
  return {
    get spread() {
      return dht.options['directory-layout-spread']
    },
    get weighted() {
      return dht.options['weighted-rebalance']
    },
    chunks: (sub) => dht.space.chunks(sub),
    decommissioned: (sub) => dht.isDecommissioned(sub),
  }
}

export default defineXlator({
  type: 'cluster/distribute',
  class: Distribute,
  options,
  children: { min: 1, max: 65536 },
})
