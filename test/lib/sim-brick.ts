/**
 * A simulated brick as a leaf translator (it takes protocol/client's place in a graph): answers the
 * fops from a SimStore with the semantics of a stock 10.3 brick that cluster translators rely on:
 * gfid-req, pre-operation checks, linkto rules, xattr requests in lookup and readdirp, xattrop,
 * locks. Replies come asynchronously. Scripting: `up` (ENOTCONN when false), `fail` (an errno per
 * fop), `gate` (awaited before a fop is carried out), `trace` (one line per fop). A brick that goes
 * down meanwhile may have done the fop, but the answer is ENOTCONN.
 */
import { assert } from '../../src/core/assert.ts'
import { FdContext } from '../../src/core/context.ts'
import { Dict } from '../../src/core/dict.ts'
import { E, type Errno } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import {
  type DirEntry,
  ENTRYLK_LOCK_NB,
  ENTRYLK_UNLOCK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type Fop,
  type FopError,
  type FopName,
  fopNames,
  type Rep,
  type Req,
} from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../src/core/iatt.ts'
import type { Loc } from '../../src/core/loc.ts'
import { O_APPEND, O_TRUNC } from '../../src/core/open-flags.ts'
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator } from '../../src/core/xlator.ts'
import { decodeRdev } from '../../src/fuse/abi.ts'
import { decodeDirOffset, encodeDirOffset, leavesOfGraph } from '../../src/graph/dir-offset.ts'
import { setattr } from './sim-attributes.ts'
import type { SimLock } from './sim-locks.ts'
import { SimNode, SimStore } from './sim-store.ts'
import {
  askedXattrs,
  counted,
  getxattr,
  INTERNAL,
  removexattr,
  setxattr,
  storedBytes,
  xattrop,
} from './sim-xattrs.ts'

const LINKTO = /\.linkto$/
const O_EXCL = 0o200

const options = defineOptions({})

const error = (errno: Errno, xdata?: Dict): FopError => ({ errno, xdata })

/** Request as trace lines show it. */
interface AnyReq {
  loc?: Loc
  oldloc?: Loc
  newloc?: Loc
  fd?: Fd
  name?: string
  volume?: string
  basename?: string
  cmd?: number
  type?: number
}

export class SimBrick extends Xlator<typeof options> {
  store = new SimStore()
  /** Distinguishes clients that share a store. */
  client = 'client-0'
  /** Keeps names and attributes, no data. */
  arbiter = false
  readonly trace: string[] = []
  /** The requests behind `trace`, for tests that look at xdata. */
  readonly requests: { fop: FopName; req: unknown; frame: Frame }[] = []
  fail: ((fop: FopName, req: AnyReq) => Errno | undefined) | undefined
  gate: ((fop: FopName, req: AnyReq) => Promise<void> | undefined) | undefined
  #up = true
  /** Counts connections lost: their answers are, too. */
  #connection = 0
  readonly #opened = new FdContext<SimNode>(this as unknown as Xlator)
  /** What counts are the flags this brick was given: a dispersed volume's never have O_APPEND. */
  readonly #appending = new WeakSet<Fd>()

  override init(): void {
    const table = this as unknown as Record<FopName, Fop<FopName>>
    const own = this.#fops as unknown as Partial<Record<FopName, Fop<FopName>>>
    for (const fop of fopNames) {
      table[fop] = async (frame: Frame, req: Req<FopName>) => {
        await undefined
        if (!this.#up) return error(E.NOTCONN)
        const connection = this.#connection
        this.#note(fop, req as AnyReq, frame)
        const errno = this.fail?.(fop, req as AnyReq)
        if (errno !== undefined) return error(errno)
        await this.gate?.(fop, req as AnyReq)
        if (connection !== this.#connection) return error(E.NOTCONN)
        const rep = await (this.store.disk
          ? this.store.disk.carryOut(frame, this.client, fop, req)
          : (own[fop]?.(frame, req) ?? error(E.NOSYS)))
        return connection === this.#connection ? rep : error(E.NOTCONN)
      }
    }
  }

  override notify(event: { type: string }): void {
    if (event.type === 'parent-up') this.notifyParents({ type: 'child-up' })
  }

  override release(_fd: Fd): void {
    const node = this.#opened.get(_fd)
    if (node !== undefined) node.openCount--
  }

  get up(): boolean {
    return this.#up
  }

  /** Brings the brick up or down and tells the graph. */
  set up(up: boolean) {
    this.#up = up
    if (!up) this.#connection++
    if (!up) (this.store.disk ?? this.store.locks).disconnected(this.client)
    this.notifyParents({ type: up ? 'child-up' : 'child-down' })
  }

  isOpen(fd: Fd): boolean {
    return this.store.disk?.isOpen(fd) ?? this.#opened.get(fd) !== undefined
  }

  #note(fop: FopName, req: AnyReq, frame: Frame): void {
    const parts: string[] = [fop]
    const where = (loc: Loc): string =>
      loc.name !== undefined
        ? `${gfidPath(this.store, loc.pargfid)}/${loc.name}`
        : gfidPath(this.store, loc.gfid)
    if (req.loc !== undefined) parts.push(where(req.loc))
    if (req.oldloc !== undefined) parts.push(where(req.oldloc), '->', where(req.newloc!))
    if (req.fd !== undefined) parts.push(gfidPath(this.store, req.fd.inode.gfid))
    if (req.volume !== undefined) parts.push(req.volume)
    if (req.basename !== undefined) parts.push(req.basename)
    this.trace.push(parts.join(' '))
    this.requests.push({ fop, req, frame })
  }

  // -- resolution ---------------------------------------------------------------------------------

  #node(loc: Loc): SimNode | undefined {
    if (loc.gfid !== NULL_GFID) return this.store.resolve(loc.gfid)
    return this.#named(loc)
  }

  #named(loc: Loc): SimNode | undefined {
    if (loc.name === undefined) return undefined
    return this.store.resolve(loc.pargfid)?.children.get(loc.name)?.node
  }

  /** An fd's object; anonymous where it was not opened. */
  #fdNode(fd: Fd): SimNode | undefined {
    return this.#opened.get(fd) ?? this.store.resolve(fd.inode.gfid)
  }

  #parents(parent: SimNode | undefined): { preparent: Iatt; postparent: Iatt } {
    const stat = parent?.iatt() ?? new Iatt()
    return { preparent: stat, postparent: stat.clone() }
  }

  // -- xattrs ---------------------------------------------------------------------------------------

  /** The parent's xattr still has the value the client believes in. */
  #preop(parent: SimNode, xdata: Dict | undefined): 'ok' | 'absent' | 'differs' {
    const key = xdata?.getStr('glusterfs.preop.parent.key')
    if (key === undefined) return 'ok'
    const disk = parent.xattrs.get(key)
    if (disk === undefined) return 'absent'
    return disk.equals(xdata?.getBytes(key) ?? Buffer.alloc(0)) ? 'ok' : 'differs'
  }

  #plant(node: SimNode, xdata: Dict | undefined): void {
    const preop = xdata?.getStr('glusterfs.preop.parent.key')
    for (const key of xdata?.entries.keys() ?? []) {
      if (INTERNAL.has(key) || key === preop) continue
      // A stock brick fails to set such a key, stops there, and answers success all the same.
      assert(/^(trusted|user|security|system)\./.test(key), `${key} is planted as an xattr`)
      node.xattrs.set(key, storedBytes(xdata!, key))
    }
  }

  /** Common part of create, mknod, mkdir, symlink. */
  #make(
    frame: Frame,
    req: { loc: Loc; xdata?: Dict | undefined },
    mode: number,
  ): SimNode | FopError {
    const parent = this.store.resolve(req.loc.pargfid)
    if (parent === undefined) return error(E.STALE)
    const name = req.loc.name!
    const gfid = req.xdata?.getGfid('gfid-req')
    if (gfid === undefined || gfid === NULL_GFID) return error(E.INVAL)
    const present = parent.children.get(name)?.node
    if (present !== undefined) {
      if (!req.xdata?.has('force-replace') || !isLinkto(present)) return error(E.EXIST)
      this.store.remove(parent, name)
    }
    const known = this.store.resolve(gfid)
    if (known !== undefined && !known.isDir && req.xdata?.has('glusterfs-internal-fop')) {
      known.nlink++
      this.store.add(parent, name, known)
      return known
    }
    const node = new SimNode(gfid, mode)
    node.uid = frame.creds.uid
    node.gid = (parent.mode & 0o2000) !== 0 ? parent.gid : frame.creds.gid
    node.atime = node.mtime = node.ctime = this.store.now()
    this.store.add(parent, name, node)
    this.#plant(node, req.xdata)
    return node
  }

  #entryReply(node: SimNode, loc: Loc, xdata?: Dict) {
    const parent = this.store.resolve(loc.pargfid)
    return { errno: 0 as const, stat: node.iatt(), ...this.#parents(parent), xdata }
  }

  // -- attributes and data ----------------------------------------------------------------------

  /** Changes a file's bytes; the reply has the iatts before and after. */
  #modify(node: SimNode | undefined, change: (node: SimNode) => void) {
    if (node === undefined) return error(E.NOENT)
    const prestat = node.iatt()
    change(node)
    node.mtime = node.ctime = this.store.now()
    return { errno: 0 as const, prestat, poststat: node.iatt() }
  }

  #resize(node: SimNode, size: number): void {
    if (this.arbiter) return
    const data = Buffer.alloc(size)
    node.data.copy(data)
    node.data = data
  }

  #entries(req: Req<'readdir'>, plus: boolean): Rep<'readdir'> {
    const dir = this.#fdNode(req.fd)
    if (dir === undefined) return error(E.NOENT)
    const leaves = leavesOfGraph(this.graph)
    const leaf = leaves.indexOf(this as unknown as Xlator)
    const after = decodeDirOffset(req.off, leaves.length)
    const entries: DirEntry[] = []
    const all: [string, SimNode, bigint][] = [
      ['.', dir, 1n],
      ['..', dir.parent ?? dir, 2n],
    ]
    for (const [name, { node, cookie }] of dir.children) all.push([name, node, cookie])
    let budget = req.size
    let eof = true
    for (const [name, node, cookie] of all) {
      if (cookie <= after) continue
      if (node.isDir && req.xdata?.getNumber('readdir-filter-directories')) continue
      budget -= 209 + name.length
      if (budget < 0) {
        eof = false
        break
      }
      const stat = node.iatt()
      const entry: DirEntry = {
        name,
        inoHi: stat.inoHi,
        inoLo: stat.inoLo,
        off: encodeDirOffset(cookie, leaf, leaves.length),
        type: dirType(node),
      }
      if (plus) {
        entry.stat = stat
        entry.xdata = askedXattrs(node, req.xdata)
        if (name !== '.' && name !== '..') {
          entry.inode = this.graph.inodes.findOrNew(node.gfid, node.mode & S_IFMT)
        }
      }
      entries.push(entry)
    }
    return { errno: 0, entries, eof }
  }

  #owner(frame: Frame): string {
    return `${this.client}:${frame.creds.lkOwner.toString('hex')}`
  }

  async #inodelk(
    frame: Frame,
    gfid: Gfid,
    req: { volume: string; cmd: number; flock: Req<'inodelk'>['flock'] },
  ): Promise<Rep<'inodelk'>> {
    const unlocking = req.flock.type === F_UNLCK
    // A removed object keeps its locks until they are given back.
    if (!unlocking && this.store.resolve(gfid) === undefined) return error(E.STALE)
    if (frame.creds.lkOwner.length === 0) return error(E.INVAL)
    const { start, len, type } = req.flock
    const lock: SimLock = {
      kind: 'inodelk',
      domain: req.volume,
      object: gfid,
      name: '',
      write: type === F_WRLCK,
      start,
      end: len === 0n ? -1n : start + len,
      owner: this.#owner(frame),
    }
    if (unlocking) return this.store.locks.unlock(lock) ? { errno: 0 } : error(E.INVAL)
    const granted = await this.store.locks.lock(lock, req.cmd === F_SETLKW)
    return granted ? { errno: 0 } : error(E.AGAIN)
  }

  async #entrylk(
    frame: Frame,
    gfid: Gfid,
    req: { volume: string; basename: string | undefined; cmd: number },
  ): Promise<Rep<'entrylk'>> {
    const unlocking = req.cmd === ENTRYLK_UNLOCK
    if (!unlocking && this.store.resolve(gfid) === undefined) return error(E.STALE)
    if (frame.creds.lkOwner.length === 0) return error(E.INVAL)
    const lock: SimLock = {
      kind: 'entrylk',
      domain: req.volume,
      object: gfid,
      name: req.basename ?? '',
      write: true,
      start: 0n,
      end: -1n,
      owner: this.#owner(frame),
    }
    if (unlocking) {
      return this.store.locks.unlock(lock) ? { errno: 0 } : error(E.INVAL)
    }
    const granted = await this.store.locks.lock(lock, req.cmd !== ENTRYLK_LOCK_NB)
    return granted ? { errno: 0 } : error(E.AGAIN)
  }

  #open(fd: Fd, node: SimNode, flags: number): void {
    if ((flags & O_APPEND) !== 0) this.#appending.add(fd)
    if (this.#opened.get(fd) === undefined && !node.isDir) node.openCount++
    this.#opened.set(fd, node)
  }

  // -- the fops ---------------------------------------------------------------------------------

  readonly #fops: { [K in FopName]?: Fop<K> } = {
    lookup: (_frame, { loc, xdata }) => {
      if (loc.name === undefined) {
        const node = this.store.resolve(loc.gfid)
        if (node === undefined) return error(E.NOENT)
        const asked = counted(this.store, node, xdata, askedXattrs(node, xdata))
        return { errno: 0, stat: node.iatt(), postparent: new Iatt(), xdata: asked }
      }
      const parent = this.store.resolve(loc.pargfid)
      if (parent === undefined) return error(E.STALE)
      const node = parent.children.get(loc.name)?.node
      if (node === undefined) return error(E.NOENT)
      if (node.gfid === NULL_GFID) return error(E.NODATA)
      const asked = counted(this.store, node, xdata, askedXattrs(node, xdata))
      return { errno: 0, stat: node.iatt(), postparent: parent.iatt(), xdata: asked }
    },
    stat: (_frame, { loc, xdata }) => {
      const node = this.#node(loc)
      if (node === undefined) return error(E.STALE)
      return { errno: 0, stat: node.iatt(), xdata: askedXattrs(node, xdata) }
    },
    fstat: (_frame, { fd, xdata }) => {
      const node = this.#fdNode(fd)
      if (node === undefined) return error(E.NOENT)
      const asked = counted(this.store, node, xdata, askedXattrs(node, xdata))
      return { errno: 0, stat: node.iatt(), xdata: asked }
    },
    mknod: (frame, req) => {
      const made = this.#make(frame, req, req.mode & ~req.umask)
      if (!(made instanceof SimNode)) return made
      made.rdev = decodeRdev(req.rdev)
      return this.#entryReply(made, req.loc)
    },
    mkdir: (frame, req) => {
      const parent = this.store.resolve(req.loc.pargfid)
      if (parent?.children.has(req.loc.name!)) return error(E.EXIST)
      const preop = parent === undefined ? 'ok' : this.#preop(parent, req.xdata)
      if (preop === 'absent') return error(E.NODATA)
      if (preop === 'differs') {
        return error(E.IO, new Dict().setInt('glusterfs.preop.check.failed', 1))
      }
      const made = this.#make(frame, req, S_IFDIR | (req.mode & ~req.umask & 0o7777))
      return made instanceof SimNode ? this.#entryReply(made, req.loc) : made
    },
    symlink: (frame, req) => {
      const made = this.#make(frame, req, S_IFLNK | 0o777)
      if (!(made instanceof SimNode)) return made
      made.linkpath = req.linkpath
      made.data = Buffer.from(req.linkpath, 'latin1')
      return this.#entryReply(made, req.loc)
    },
    create: (frame, req) => {
      const parent = this.store.resolve(req.loc.pargfid)
      if (parent === undefined) return error(E.STALE)
      const preop = this.#preop(parent, req.xdata)
      if (preop === 'absent') return error(E.NODATA)
      if (preop === 'differs') {
        return error(E.IO, new Dict().setInt('glusterfs.preop.check.failed', 1))
      }
      const present = parent.children.get(req.loc.name!)?.node
      const exists = present !== undefined && !(req.flags & O_EXCL) && !isLinkto(present)
      const made = exists
        ? present
        : this.#make(frame, req, S_IFREG | (req.mode & ~req.umask & 0o7777))
      if (!(made instanceof SimNode)) return made
      this.#open(req.fd, made, req.flags)
      return { ...this.#entryReply(made, req.loc), fd: req.fd }
    },
    unlink: (_frame, { loc, xdata }) => {
      const parent = this.store.resolve(loc.pargfid)
      if (parent === undefined) return error(E.STALE)
      const node = parent.children.get(loc.name!)?.node
      if (node === undefined) return error(E.NOENT)
      if (node.isDir) return error(E.ISDIR)
      if (xdata?.has('unlink-only-if-dht-linkto-file') && !isLinkto(node)) return error(E.BUSY)
      if (xdata?.has('dont-unlink-for-open-fd') && node.openCount > 0) return error(E.BUSY)
      this.store.remove(parent, loc.name!)
      return { errno: 0, ...this.#parents(parent) }
    },
    rmdir: (_frame, { loc, flags }) => {
      const parent = this.store.resolve(loc.pargfid)
      if (parent === undefined) return error(E.STALE)
      const node = parent.children.get(loc.name!)?.node
      if (node === undefined) return error(E.NOENT)
      if (!node.isDir) return error(E.NOTDIR)
      if (node.children.size > 0 && flags === 0) return error(E.NOTEMPTY)
      this.store.remove(parent, loc.name!)
      return { errno: 0, ...this.#parents(parent) }
    },
    rename: (_frame, { oldloc, newloc }) => this.#rename(oldloc, newloc),
    link: (_frame, { oldloc, newloc, xdata }) => {
      const node = this.#node(oldloc)
      const parent = this.store.resolve(newloc.pargfid)
      if (node === undefined || parent === undefined) return error(E.STALE)
      const present = parent.children.get(newloc.name!)?.node
      if (present !== undefined) {
        if (!xdata?.has('force-replace') || !isLinkto(present)) return error(E.EXIST)
        this.store.remove(parent, newloc.name!)
      }
      node.nlink++
      node.ctime = this.store.now()
      this.store.add(parent, newloc.name!, node)
      return this.#entryReply(node, newloc)
    },
    readlink: (_frame, { loc }) => {
      const node = this.#node(loc)
      return node === undefined
        ? error(E.STALE)
        : { errno: 0, path: node.linkpath, stat: node.iatt() }
    },
    open: (_frame, { loc, fd, flags }) => {
      const node = this.#node(loc)
      if (node === undefined) return error(E.NOENT)
      if ((flags & O_TRUNC) !== 0) this.#resize(node, 0)
      this.#open(fd, node, flags)
      return { errno: 0, fd }
    },
    opendir: (_frame, { loc, fd }) => {
      const node = this.#node(loc)
      if (node === undefined) return error(E.NOENT)
      if (!node.isDir) return error(E.NOTDIR)
      this.#open(fd, node, 0)
      return { errno: 0, fd }
    },
    readv: (_frame, { fd, offset, size }) => {
      if (this.arbiter) return error(E.NOSYS)
      const node = this.#fdNode(fd)
      if (node === undefined) return error(E.NOENT)
      const data = node.data.subarray(offset, offset + size)
      const eof = offset + data.length >= node.data.length
      return { errno: 0, data: [Buffer.from(data)], size: data.length, stat: node.iatt(), eof }
    },
    writev: (_frame, { fd, data, size, offset, xdata }) => {
      const node = this.#fdNode(fd)
      const rep = this.#modify(node, () => {
        const at = this.#appending.has(fd) ? node!.data.length : offset
        if (at + size > node!.data.length) this.#resize(node!, at + size)
        if (!this.arbiter) Buffer.concat(data).copy(node!.data, at)
      })
      return { ...rep, size, xdata: node && counted(this.store, node, xdata, undefined) }
    },
    truncate: (_frame, { loc, offset }) =>
      this.#modify(this.#node(loc), (node) => this.#resize(node, offset)),
    ftruncate: (_frame, { fd, offset }) =>
      this.#modify(this.#fdNode(fd), (node) => this.#resize(node, offset)),
    fallocate: (_frame, { fd, offset, len, mode }) =>
      this.#modify(this.#fdNode(fd), (node) => {
        if ((mode & 1) === 0 && offset + len > node.data.length) this.#resize(node, offset + len)
      }),
    discard: (_frame, { fd, offset, len }) =>
      this.#modify(this.#fdNode(fd), (node) => {
        node.data.subarray(offset, offset + len).fill(0)
      }),
    zerofill: (_frame, { fd, offset, len }) =>
      this.#modify(this.#fdNode(fd), (node) => {
        if (offset + len > node.data.length) this.#resize(node, offset + len)
        node.data.fill(0, offset, offset + len)
      }),
    statfs: () => {
      const { blocks, bavail, files, ffree } = this.store
      const space = { bsize: 4096, frsize: 4096, blocks, bfree: bavail, bavail }
      const inodes = { files, ffree, favail: ffree, fsid: 0n, flag: 0, namemax: 255 }
      return { errno: 0, statfs: { ...space, ...inodes } }
    },
    flush: () => ({ errno: 0 }),
    fsync: (_frame, { fd }) => {
      const node = this.#fdNode(fd)
      if (node === undefined) return error(E.NOENT)
      return { errno: 0, prestat: node.iatt(), poststat: node.iatt() }
    },
    fsyncdir: () => ({ errno: 0 }),
    access: (_frame, { loc }) => (this.#node(loc) === undefined ? error(E.STALE) : { errno: 0 }),
    setattr: (_frame, { loc, stat, valid }) => setattr(this.store, this.#node(loc), stat, valid),
    fsetattr: (_frame, { fd, stat, valid }) => setattr(this.store, this.#fdNode(fd), stat, valid),
    setxattr: (_f, { loc, dict, flags, xdata }) =>
      setxattr(this.store, this.#node(loc), dict, flags, xdata),
    fsetxattr: (_f, { fd, dict, flags, xdata }) =>
      setxattr(this.store, this.#fdNode(fd), dict, flags, xdata),
    getxattr: (_frame, { loc, name }) => getxattr(this.store, this.name, this.#node(loc), name),
    fgetxattr: (_frame, { fd, name }) => getxattr(this.store, this.name, this.#fdNode(fd), name),
    removexattr: (_frame, { loc, name, xdata }) =>
      removexattr(this.store, this.#node(loc), name, xdata),
    fremovexattr: (_frame, { fd, name, xdata }) =>
      removexattr(this.store, this.#fdNode(fd), name, xdata),
    xattrop: (_frame, { loc, op, dict, xdata }) => xattrop(this.#node(loc), op, dict, xdata),
    fxattrop: (_frame, { fd, op, dict, xdata }) => xattrop(this.#fdNode(fd), op, dict, xdata),
    readdir: (_frame, req) => this.#entries(req, false),
    readdirp: (_frame, req) => this.#entries(req, true),
    inodelk: (frame, req) => this.#inodelk(frame, req.loc.gfid, req),
    finodelk: (frame, req) => this.#inodelk(frame, req.fd.inode.gfid, req),
    entrylk: (frame, req) => this.#entrylk(frame, req.loc.gfid, req),
    fentrylk: (frame, req) => this.#entrylk(frame, req.fd.inode.gfid, req),
    lk: (_frame, { flock }) => ({ errno: 0, flock }),
    seek: (_frame, { fd, offset }) => {
      const node = this.#fdNode(fd)
      if (node === undefined) return error(E.NOENT)
      return offset >= node.data.length ? error(E.NXIO) : { errno: 0, offset }
    },
    ipc: () => ({ errno: 0 }),
  }

  #rename(oldloc: Loc, newloc: Loc): Rep<'rename'> {
    const from = this.store.resolve(oldloc.pargfid)
    const to = this.store.resolve(newloc.pargfid)
    if (from === undefined || to === undefined) return error(E.STALE)
    const node = from.children.get(oldloc.name!)?.node
    if (node === undefined) return error(E.NOENT)
    const victim = to.children.get(newloc.name!)?.node
    if (victim !== undefined && victim !== node) {
      if (victim.isDir && !node.isDir) return error(E.ISDIR)
      if (!victim.isDir && node.isDir) return error(E.NOTDIR)
      if (victim.isDir && victim.children.size > 0) return error(E.NOTEMPTY)
      this.store.remove(to, newloc.name!)
    }
    // rename(2) of two links of one file leaves both names in place.
    if (victim !== node) {
      from.children.delete(oldloc.name!)
      from.mtime = from.ctime = this.store.now()
      this.store.add(to, newloc.name!, node)
      node.ctime = this.store.now()
    }
    return {
      errno: 0,
      stat: node.iatt(),
      preoldparent: from.iatt(),
      postoldparent: from.iatt(),
      prenewparent: to.iatt(),
      postnewparent: to.iatt(),
    }
  }
}

function gfidPath(store: SimStore, gfid: Gfid): string {
  const node = store.resolve(gfid)
  if (node === undefined) return gfidText(gfid)
  return node === store.root ? '' : store.pathOf(node)
}

function isLinkto(node: SimNode): boolean {
  return (node.mode & 0o7777) === 0o1000 && [...node.xattrs.keys()].some((key) => LINKTO.test(key))
}

function dirType(node: SimNode): number {
  return (node.mode & S_IFMT) >>> 12
}

export default defineXlator({ type: 'protocol/client', class: SimBrick, options, children: 0 })
