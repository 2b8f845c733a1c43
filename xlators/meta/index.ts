/**
 * meta: the top of every client's graph. Serves the virtual directory `.meta` in the root of the
 * volume, which is found by its name only and shows what the process is doing; everything else
 * passes through. Content is made when a file is opened, size is always 0, opens bypass the page
 * cache.
 *
 * Unlike stock: reachable while bricks do not answer (the root's attributes are then those last
 * seen), changes are refused with EPERM, credentials of the volume are shown to root only.
 */
import { clock, type Timer } from '../../src/core/clock.ts'
import { FdContext } from '../../src/core/context.ts'
import { Dict } from '../../src/core/dict.ts'
import { E, type Errno } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import type { DirEntry, Fop, FopName, MaybePromise, Rep, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import type { Gfid } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR } from '../../src/core/iatt.ts'
import type { Inode } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import { O_ACCMODE } from '../../src/core/open-flags.ts'
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator } from '../../src/core/xlator.ts'
import { Observed } from '../../src/observe/observed.ts'
import { attributes, find, gfidOfPath, type MetaDirectory, type MetaNode } from './node.ts'
import { metaTree } from './tree.ts'

/** The name in the volume's root. */
const META_NAME = '.meta'
/** From here on a lookup of the root is answered with what was last seen of it. */
const ROOT_WAIT_MS = 1000
/** The least a directory entry takes of a listing's size. */
const ENTRY_BYTES = 24

export const options = defineOptions({
  'meta-dir-name': {
    type: 'str',
    default: META_NAME,
    description: 'Name of the virtual directory.',
  },
})

/** Fops on inodes of `.meta` that nobody may do. */
const REFUSED = [
  'mknod',
  'mkdir',
  'unlink',
  'rmdir',
  'symlink',
  'create',
  'setxattr',
  'removexattr',
  'setattr',
] as const satisfies readonly FopName[]
const REFUSED_FD = [
  'fsetxattr',
  'fremovexattr',
  'fsetattr',
  'fallocate',
  'discard',
  'zerofill',
] as const satisfies readonly FopName[]
type RefusedFop = (typeof REFUSED)[number] | (typeof REFUSED_FD)[number]

export class Meta extends Xlator<typeof options> {
  readonly #observed = this.graph.process.observed ?? this.#observeOnly()
  readonly #tree: MetaDirectory = metaTree({
    observed: this.#observed,
    pool: this.graph.pool,
    uuid: this.graph.process.uuid,
  })
  /** Lookups of the root that bricks have not answered in time: no more are sent meanwhile. */
  #lateLookups = 0
  /** Content of open files. */
  readonly #contents = new FdContext<Buffer>(this)

  constructor(init: ConstructorParameters<typeof Xlator<typeof options>>[0]) {
    super(init)
    const table = this as unknown as Record<RefusedFop, (frame: Frame, req: never) => unknown>
    for (const fop of REFUSED) table[fop] = this.#refusing(fop, (req) => this.#isOurs(req.loc))
    for (const fop of REFUSED_FD) {
      table[fop] = this.#refusing(fop, (req) => this.#pathOf(req.fd.inode) !== undefined)
    }
  }

  override init(): void {
    this.#observed.add(this.graph)
  }

  override fini(): void {
    this.#observed.remove(this.graph)
  }

  // -- attributes and names

  lookup: Fop<'lookup'> = (frame, req) => {
    const { loc } = req
    if (loc.inode.isRoot && loc.name === undefined) return this.#lookupRoot(frame, req)
    const path = loc.name === undefined ? this.#pathOf(loc.inode) : this.#childPath(loc)
    if (path === undefined) return frame.tail(this.child, 'lookup', req)
    const found = this.#stat(path)
    if (found === undefined) return { errno: loc.name === undefined ? E.STALE : E.NOENT }
    return { errno: 0, stat: found, postparent: this.#parentStat(loc) }
  }

  stat: Fop<'stat'> = (frame, req) => {
    const path = this.#pathOf(req.loc.inode)
    return path === undefined ? frame.tail(this.child, 'stat', req) : this.#stated(path)
  }

  fstat: Fop<'fstat'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    return path === undefined ? frame.tail(this.child, 'fstat', req) : this.#stated(path)
  }

  access: Fop<'access'> = (frame, req) =>
    this.#pathOf(req.loc.inode) === undefined ? frame.tail(this.child, 'access', req) : { errno: 0 }

  readlink: Fop<'readlink'> = (frame, req) => {
    const path = this.#pathOf(req.loc.inode)
    if (path === undefined) return frame.tail(this.child, 'readlink', req)
    const node = this.#node(path)
    if (node === undefined) return { errno: E.STALE }
    if (node.kind !== 'link') return { errno: E.INVAL }
    return { errno: 0, path: node.target(), stat: this.#attributes(node, path) }
  }

  /** The kernel's `statfs` names some inode; the answer is the volume's. */
  statfs: Fop<'statfs'> = (frame, req) => {
    if (this.#pathOf(req.loc.inode) === undefined) return frame.tail(this.child, 'statfs', req)
    const loc = Loc.ofInode(this.graph.inodes.root)
    return frame.tail(this.child, 'statfs', { ...req, loc })
  }

  getxattr: Fop<'getxattr'> = (frame, req) =>
    this.#pathOf(req.loc.inode) === undefined
      ? frame.tail(this.child, 'getxattr', req)
      : this.#noXattr(req.name)

  fgetxattr: Fop<'fgetxattr'> = (frame, req) =>
    this.#pathOf(req.fd.inode) === undefined
      ? frame.tail(this.child, 'fgetxattr', req)
      : this.#noXattr(req.name)

  rename: Fop<'rename'> = (frame, req) =>
    this.#isOurs(req.oldloc) || this.#isOurs(req.newloc)
      ? { errno: E.PERM }
      : frame.tail(this.child, 'rename', req)

  link: Fop<'link'> = (frame, req) =>
    this.#isOurs(req.oldloc) || this.#isOurs(req.newloc)
      ? { errno: E.PERM }
      : frame.tail(this.child, 'link', req)

  // -- files

  open: Fop<'open'> = (frame, req) => {
    const path = this.#pathOf(req.loc.inode)
    if (path === undefined) return frame.tail(this.child, 'open', req)
    const node = this.#node(path)
    if (node?.kind !== 'file') return { errno: node === undefined ? E.STALE : E.INVAL }
    // With --acl the kernel does not look at modes.
    if ((req.flags & O_ACCMODE) !== 0 && frame.creds.uid !== 0) return { errno: E.ACCES }
    this.#contents.set(req.fd, Buffer.from(node.read(frame.creds.uid), 'latin1'))
    return { errno: 0, fd: req.fd, xdata: new Dict().setInt('direct-io-mode', 1) }
  }

  readv: Fop<'readv'> = (frame, req) => {
    const content = this.#contents.get(req.fd)
    if (content === undefined) return frame.tail(this.child, 'readv', req)
    const data = content.subarray(req.offset, req.offset + req.size)
    const stat = this.#statOf(req.fd.inode)
    const eof = req.offset + req.size >= content.length
    return { errno: 0, data: data.length === 0 ? [] : [data], size: data.length, stat, eof }
  }

  writev: Fop<'writev'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    if (path === undefined) return frame.tail(this.child, 'writev', req)
    const node = this.#node(path)
    if (node?.kind !== 'file' || node.write === undefined) return { errno: E.PERM }
    const errno = node.write(Buffer.concat(req.data).latin1Slice(0, req.size))
    if (errno !== 0) return { errno }
    this.log.info(`${META_NAME}/${path} was written`)
    const stat = this.#attributes(node, path)
    return { errno: 0, size: req.size, prestat: stat, poststat: stat }
  }

  /** `echo 8 > loglevel` truncates first. */
  truncate: Fop<'truncate'> = (frame, req) => {
    const path = this.#pathOf(req.loc.inode)
    return path === undefined ? frame.tail(this.child, 'truncate', req) : this.#truncated(path)
  }

  ftruncate: Fop<'ftruncate'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    return path === undefined ? frame.tail(this.child, 'ftruncate', req) : this.#truncated(path)
  }

  flush: Fop<'flush'> = (frame, req) =>
    this.#pathOf(req.fd.inode) === undefined ? frame.tail(this.child, 'flush', req) : { errno: 0 }

  fsync: Fop<'fsync'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    return path === undefined ? frame.tail(this.child, 'fsync', req) : this.#truncated(path)
  }

  fsyncdir: Fop<'fsyncdir'> = (frame, req) =>
    this.#pathOf(req.fd.inode) === undefined
      ? frame.tail(this.child, 'fsyncdir', req)
      : { errno: 0 }

  /** There is nothing to lock. */
  lk: Fop<'lk'> = (frame, req) =>
    this.#pathOf(req.fd.inode) === undefined
      ? frame.tail(this.child, 'lk', req)
      : { errno: E.OPNOTSUPP }

  seek: Fop<'seek'> = (frame, req) =>
    this.#pathOf(req.fd.inode) === undefined ? frame.tail(this.child, 'seek', req) : NO_SUCH

  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    this.#pathOf(req.fdIn.inode) === undefined && this.#pathOf(req.fdOut.inode) === undefined
      ? frame.tail(this.child, 'copy_file_range', req)
      : NO_SUCH

  // -- directories

  opendir: Fop<'opendir'> = (frame, req) => {
    const path = this.#pathOf(req.loc.inode)
    if (path === undefined) return frame.tail(this.child, 'opendir', req)
    const node = this.#node(path)
    if (node === undefined) return { errno: E.STALE }
    return node.kind === 'directory' ? { errno: 0, fd: req.fd } : { errno: E.NOTDIR }
  }

  readdir: Fop<'readdir'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    return path === undefined
      ? frame.tail(this.child, 'readdir', req)
      : this.#list(path, req, false)
  }

  readdirp: Fop<'readdirp'> = (frame, req) => {
    const path = this.#pathOf(req.fd.inode)
    return path === undefined
      ? frame.tail(this.child, 'readdirp', req)
      : this.#list(path, req, true)
  }

  // -- the tree

  #observeOnly(): Observed {
    const observed = new Observed('', undefined)
    observed.active = () => this.graph
    return observed
  }

  /** Path of a virtual inode, `undefined` for one of the volume. */
  #pathOf(inode: Inode): string | undefined {
    return this.#observed.metaPaths.size === 0
      ? undefined
      : this.#observed.metaPaths.get(inode.gfid)
  }

  /** Path that a name in a directory would have, `undefined` outside of `.meta`. */
  #childPath({ parent, name }: Loc): string | undefined {
    if (parent === undefined || name === undefined) return undefined
    if (parent.isRoot) return name === this.options['meta-dir-name'] ? '' : undefined
    const above = this.#pathOf(parent)
    if (above === undefined) return undefined
    return above === '' ? name : `${above}/${name}`
  }

  #isOurs(loc: Loc): boolean {
    return this.#pathOf(loc.inode) !== undefined || this.#childPath(loc) !== undefined
  }

  #node(path: string): MetaNode | undefined {
    return find(this.#tree, path)
  }

  #attributes(node: MetaNode, path: string): Iatt {
    const gfid = this.#gfid(node, path)
    return attributes(node, gfid, clock.realtime())
  }

  /**
   * Known from now on by its gfid, too. A link that leads elsewhere is another object: the kernel
   * keeps the text of one.
   */
  #gfid(node: MetaNode, path: string): Gfid {
    const gfid = gfidOfPath(node.kind === 'link' ? `${path}\0${node.target()}` : path)
    this.#observed.metaPaths.set(gfid, path)
    return gfid
  }

  #stat(path: string): Iatt | undefined {
    const node = this.#node(path)
    return node === undefined ? undefined : this.#attributes(node, path)
  }

  #statOf(inode: Inode): Iatt {
    const path = this.#pathOf(inode)
    return (path === undefined ? undefined : this.#stat(path)) ?? new Iatt()
  }

  #stated(path: string): Rep<'stat'> {
    const stat = this.#stat(path)
    return stat === undefined ? { errno: E.STALE } : { errno: 0, stat }
  }

  #parentStat(loc: Loc): Iatt {
    return loc.parent === undefined || loc.parent.isRoot
      ? (this.#observed.root ?? new Iatt())
      : this.#statOf(loc.parent)
  }

  #truncated(path: string): Rep<'ftruncate'> {
    const stat = this.#stat(path)
    return stat === undefined ? { errno: E.STALE } : { errno: 0, prestat: stat, poststat: stat }
  }

  #noXattr(name: string | undefined): Rep<'getxattr'> {
    return name === undefined ? { errno: 0, dict: new Dict() } : { errno: E.NODATA }
  }

  /** Entries that fit; a cookie is the index of the next one. */
  #list(path: string, req: Req<'readdirp'>, plus: boolean): Rep<'readdirp'> {
    const node = this.#node(path)
    if (node?.kind !== 'directory') return { errno: E.STALE }
    const names: [string, MetaNode][] = [
      ['.', node],
      ['..', node],
    ]
    for (const [name, child] of node.entries()) names.push([name, child()])
    const entries: DirEntry[] = []
    let size = 0
    for (let at = Number(req.off); at < names.length; at++) {
      const [name, child] = names[at]!
      size += ENTRY_BYTES + name.length
      if (size > req.size && entries.length > 0) break
      const dots = name === '.' || name === '..'
      entries.push(
        this.#entry(dots ? path : joined(path, name), name, child, at + 1, plus && !dots),
      )
    }
    const last = entries.at(-1)
    return { errno: 0, entries, eof: last === undefined || last.off === BigInt(names.length) }
  }

  #entry(path: string, name: string, node: MetaNode, next: number, plus: boolean): DirEntry {
    const stat = this.#attributes(node, path)
    const { inoHi, inoLo, mode } = stat
    const entry: DirEntry = { name, inoHi, inoLo, off: BigInt(next), type: mode >>> 12 }
    if (!plus) return entry
    entry.stat = stat
    entry.inode = this.graph.inodes.findOrNew(stat.gfid, mode & 0o170000)
    return entry
  }

  // -- the volume's root

  /**
   * Whoever walks to `.meta` while a brick hangs needs the root's attributes on the way, and the
   * bricks will not tell: after a while they are those seen last. What has to wait still waits in
   * the fops that follow.
   */
  #lookupRoot(frame: Frame, req: Req<'lookup'>): MaybePromise<Rep<'lookup'>> {
    const seen = this.#observed.root
    if (seen !== undefined && this.#lateLookups > 0) return lastSeen(seen)
    const rep = frame.wind(this.child, 'lookup', req)
    if (!(rep instanceof Promise)) return this.#sawRoot(rep)
    if (seen === undefined) return rep.then((answer) => this.#sawRoot(answer))
    return new Promise((resolve) => {
      let late = false
      const timer: Timer = clock.after(ROOT_WAIT_MS, () => {
        late = true
        this.#lateLookups++
        frame.stack.hold()
        resolve(lastSeen(seen))
      })
      void rep.then((answer) => {
        timer.clear()
        if (late) {
          this.#lateLookups--
          frame.stack.drop()
        }
        resolve(this.#sawRoot(answer))
      })
    })
  }

  #sawRoot(rep: Rep<'lookup'>): Rep<'lookup'> {
    if (rep.errno === 0 && (rep.stat.mode & S_IFDIR) !== 0) this.#observed.root = rep.stat
    return rep
  }

  #refusing<K extends RefusedFop>(
    fop: K,
    ours: (req: { loc: Loc; fd: Fd }) => boolean,
  ): (frame: Frame, req: never) => unknown {
    return (frame, req) =>
      ours(req) ? { errno: E.PERM } : frame.tail(this.child, fop, req as Req<K>)
  }
}

const lastSeen = (stat: Iatt): Rep<'lookup'> => ({
  errno: 0,
  stat: stat.clone(),
  postparent: stat.clone(),
})

const NO_SUCH: { errno: Errno } = { errno: E.OPNOTSUPP }

const joined = (path: string, name: string): string => (path === '' ? name : `${path}/${name}`)

export default defineXlator({ type: 'meta', class: Meta, options, children: 1 })
