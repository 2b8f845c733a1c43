/**
 * features/shard: large files are kept as many files of shard-block-size, so that each of them can
 * be placed, healed and moved by itself. The first block is the file users see, the others are
 * `/.shard/<gfid>.N`. Size and block count of the whole are xattrs of the first.
 *
 * As in stock: no seek for data and holes, no fallocate that keeps the size, and the mtime on disk
 * is the first block's. Unlike stock: an append locks the file, so that of clients of this kind
 * none overwrites the other's; absent blocks are read as zeros instead of being made; a size that
 * another client changed meanwhile is noticed when ours is added to it.
 */
import { InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  FALLOC_FL_KEEP_SIZE,
  type Fop,
  type FopName,
  type FopTable,
  type MaybePromise,
  type Ok,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import { type Creds, type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { type Iatt, isReg, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { type Xlator as AnyXlator, defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { asRoot, Blocks } from './blocks.ts'
import { Deletion } from './deletion.ts'
import { askedNow, ShardFile } from './file.ts'
import {
  asking,
  blockSizeOf,
  CONTENT_KEY,
  fileSizeOf,
  hasKeys,
  hideKeys,
  isHidden,
  isInternal,
  SHARD_DIR,
  setSharded,
  XATTR_PREFIX,
} from './keys.ts'
import { readv } from './read.ts'
import { forgetRemoved, removing } from './remove.ts'
import { truncate } from './truncate.ts'
import { fsync, range, writev } from './write.ts'

export const options = defineOptions({
  'shard-block-size': {
    type: 'size',
    default: '64MB',
    min: 4 * 2 ** 20,
    max: 4 * 2 ** 40,
    description: 'Bytes in a block of the files made from now on.',
  },
  'shard-lru-limit': {
    type: 'int',
    default: '16384',
    min: 20,
    description: 'Blocks that are remembered.',
  },
  'shard-deletion-rate': {
    type: 'int',
    default: '100',
    min: 1,
    description: 'Blocks of removed files that are deleted at the same time.',
  },
})

/** Files without a block size are below as they are above. */
const WHOLE = 'whole'
/** Fops that make or remove a name. */
const NAMING = ['mkdir', 'symlink', 'rmdir', 'icreate', 'namelink', 'put'] as const
const PRESTAT = 'virt-gf-prestat'
const POSTSTAT = 'virt-gf-poststat'

export class Shard extends Xlator<typeof options> {
  readonly blocks = new Blocks(this as unknown as AnyXlator)
  readonly deletion = new Deletion(this)
  readonly #files = new InodeContext<ShardFile | typeof WHOLE>(this as unknown as AnyXlator)
  #owners = 0
  #started = false

  override init(): void {
    for (const fop of NAMING) {
      this.#serve(fop, (frame: Frame, req: Req<typeof fop>): MaybePromise<Rep<typeof fop>> => {
        return isHidden(req.loc) ? { errno: E.PERM } : frame.tail(this.child, fop, req)
      })
    }
  }

  override async drain(): Promise<void> {
    const dirty = this.blocks.dirty()
    if (dirty.length === 0) return
    await this.graph.pool.background(this, 'fsync of blocks', ROOT_CREDS, async (frame) => {
      for (const { fd } of dirty) await frame.wind(this.child, 'fsync', { fd, datasync: false })
    })
  }

  override fini(): void {
    this.deletion.end()
    this.blocks.fini()
  }

  /** Bricks tell sizes of base files and of blocks: what is above may only learn of a change. */
  override notify(event: Event, from: AnyXlator | undefined): void {
    if (event.type === 'upcall' && event.upcall.type === 'cache-invalidation') {
      const inode = this.graph.inodes.byGfid(event.upcall.gfid)
      const file = inode === undefined ? undefined : this.#files.get(inode)
      if (inode !== undefined && file !== undefined && file !== WHOLE) {
        this.notifyParents({ type: 'invalidate-inode', inode })
        return
      }
    }
    if (event.type === 'invalidate-inode' && event.stat !== undefined) {
      const file = this.#files.get(event.inode)
      if (file !== undefined && file !== WHOLE) {
        this.notifyParents({ type: 'invalidate-inode', inode: event.inode })
        return
      }
    }
    super.notify(event, from)
  }

  override forget = (inode: Inode): void => {
    const file = this.#files.get(inode)
    if (file === undefined || file === WHOLE) return
    this.blocks.forget(file)
    if (file.removed) forgetRemoved(this, inode.gfid, file)
  }

  override dump = (sink: DumpSink): void => {
    const { options } = this
    sink.section(`${this.type}.${this.name}`)
    sink.pair('shard-block-size', options['shard-block-size'])
    sink.pair('inode-count', this.blocks.count)
    sink.pair('lru-max-limit', options['shard-lru-limit'])
    sink.pair('deletion-rate', options['shard-deletion-rate'])
    sink.pair('deletion', this.deletion.state)
  }

  // -- attributes

  stat: Fop<'stat'> = (frame, req) => {
    const { inode } = req.loc
    if (this.#isWhole(inode)) return frame.tail(this.child, 'stat', req)
    return this.#stat(frame, 'stat', { ...req, xdata: asking(req.xdata) }, inode)
  }

  fstat: Fop<'fstat'> = (frame, req) => {
    const { inode } = req.fd
    if (this.#isWhole(inode)) return frame.tail(this.child, 'fstat', req)
    return this.#stat(frame, 'fstat', { ...req, xdata: asking(req.xdata) }, inode)
  }

  setattr: Fop<'setattr'> = (frame, req) => {
    const { inode } = req.loc
    if (this.#isWhole(inode)) return frame.tail(this.child, 'setattr', req)
    return this.#changed(frame, 'setattr', req, inode)
  }

  fsetattr: Fop<'fsetattr'> = (frame, req) => {
    const { inode } = req.fd
    if (this.#isWhole(inode)) return frame.tail(this.child, 'fsetattr', req)
    return this.#changed(frame, 'fsetattr', req, inode)
  }

  lookup: Fop<'lookup'> = async (frame, req) => {
    const { inode } = req.loc
    if (isHidden(req.loc) || isInternal(req.loc.gfid)) return { errno: E.PERM }
    if (inode.type === S_IFDIR) {
      this.#begin()
      return frame.tail(this.child, 'lookup', req)
    }
    const xdata = asking(req.xdata)
    // The first block's content is not the file's.
    xdata.delete(CONTENT_KEY)
    const asked = askedNow()
    const rep = await frame.wind(this.child, 'lookup', { ...req, xdata })
    if (rep.errno !== 0) return rep
    return { ...rep, stat: this.#learn(inode, rep.stat, rep.xdata, asked) }
  }

  readdirp: Fop<'readdirp'> = async (frame, req) => {
    const asked = askedNow()
    const rep = await this.#list(frame, 'readdirp', { ...req, xdata: asking(req.xdata) })
    if (rep.errno !== 0) return rep
    for (const entry of rep.entries) {
      const { stat, inode } = entry
      if (stat === undefined || (stat.mode & S_IFMT) !== S_IFREG) continue
      const file = inode === undefined ? undefined : this.#files.get(inode)
      if (file === WHOLE) continue
      const size = fileSizeOf(entry.xdata)
      if (inode !== undefined && size !== undefined && blockSizeOf(entry.xdata) !== 0) {
        entry.stat = this.#learn(inode, stat, entry.xdata, asked)
      } else if (file !== undefined) {
        entry.stat = file.show(stat)
      } else {
        // Not every translator below tells xattrs in listings: the mount looks the name up.
        entry.inode = undefined
        if (size !== undefined) entry.stat = Object.assign(stat.clone(), size)
      }
    }
    return rep
  }

  readdir: Fop<'readdir'> = (frame, req) => {
    return req.fd.inode.isRoot
      ? this.#list(frame, 'readdir', req)
      : frame.tail(this.child, 'readdir', req)
  }

  // -- names

  create: Fop<'create'> = async (frame, req) => {
    if (isHidden(req.loc)) return { errno: E.PERM }
    const blockSize = this.options['shard-block-size']
    const xdata = setSharded(req.xdata?.clone() ?? new Dict(), blockSize, 0)
    const rep = await frame.wind(this.child, 'create', { ...req, xdata })
    if (rep.errno === 0) this.#made(req.loc.inode, rep.stat, blockSize)
    return rep
  }

  mknod: Fop<'mknod'> = async (frame, req) => {
    if (isHidden(req.loc)) return { errno: E.PERM }
    const blockSize = this.options['shard-block-size']
    const xdata = setSharded(req.xdata?.clone() ?? new Dict(), blockSize, 0)
    const rep = await frame.wind(this.child, 'mknod', { ...req, xdata })
    if (rep.errno === 0 && isReg(rep.stat)) this.#made(req.loc.inode, rep.stat, blockSize)
    return rep
  }

  link: Fop<'link'> = async (frame, req) => {
    if (isHidden(req.newloc) || isHidden(req.oldloc)) return { errno: E.PERM }
    const rep = await frame.wind(this.child, 'link', req)
    return rep.errno === 0 ? this.#shown(req.oldloc.inode, rep) : rep
  }

  unlink: Fop<'unlink'> = async (frame, req) => {
    if (isHidden(req.loc)) return { errno: E.PERM }
    const { inode } = req.loc
    const file = await this.#need(frame, inode)
    if (file === WHOLE) return frame.wind(this.child, 'unlink', req)
    if (typeof file === 'number') return { errno: file }
    const act = () => frame.wind(this.child, 'unlink', req)
    if (file.size > file.blockSize) return removing(this, frame, inode, file, act)
    // No block but the first, unless another client wrote more.
    const errno = await this.refresh(frame, inode, file, undefined)
    if (errno !== 0) return { errno }
    if (file.size > file.blockSize) return removing(this, frame, inode, file, act)
    const rep = await act()
    if (rep.errno === 0 && file.stat.nlink <= 1) file.removed = true
    return rep
  }

  rename: Fop<'rename'> = async (frame, req) => {
    if (isHidden(req.oldloc) || isHidden(req.newloc)) return { errno: E.PERM }
    const target = req.newloc.inode
    const source = req.oldloc.inode
    const act = async (): Promise<Rep<'rename'>> => {
      const rep = await frame.wind(this.child, 'rename', req)
      return rep.errno === 0 ? this.#shown(source, rep) : rep
    }
    // Two names of one file: the rename takes none away.
    if (target.gfid === NULL_GFID || target.type !== S_IFREG || target === source) return act()
    const file = await this.#need(frame, target)
    if (file === WHOLE || file === E.NOENT || file === E.STALE) return act()
    if (typeof file === 'number') return { errno: file }
    const errno = await this.refresh(frame, target, file, undefined)
    if (errno === E.NOENT || errno === E.STALE) return act()
    if (errno !== 0) return { errno }
    if (file.size > file.blockSize) return removing(this, frame, target, file, act)
    const rep = await act()
    if (rep.errno === 0 && file.stat.nlink <= 1) file.removed = true
    return rep
  }

  // -- data

  open: Fop<'open'> = (frame, req) => {
    const { inode } = req.loc
    if (isInternal(inode.gfid)) return { errno: E.PERM }
    if ((req.flags & O_TRUNC) === 0 || this.#isWhole(inode)) {
      return frame.tail(this.child, 'open', req)
    }
    return this.#openTruncating(frame, req)
  }

  async #openTruncating(frame: Frame, req: Req<'open'>): Promise<Rep<'open'>> {
    const { inode } = req.loc
    const file = await this.#need(frame, inode)
    if (file === WHOLE) return frame.wind(this.child, 'open', req)
    if (typeof file === 'number') return { errno: file }
    const flags = req.flags & ~O_TRUNC
    const rep = await frame.wind(this.child, 'open', { ...req, flags })
    if (rep.errno !== 0) return rep
    const cut = await truncate(this, frame, inode, undefined, file, 0)
    return cut.errno === 0 ? rep : { errno: cut.errno }
  }

  opendir: Fop<'opendir'> = (frame, req) =>
    isInternal(req.loc.gfid) ? { errno: E.PERM } : frame.tail(this.child, 'opendir', req)

  readv: Fop<'readv'> = (frame, req) =>
    this.#onData(frame, 'readv', req, (file) => readv(this, frame, req, file))

  writev: Fop<'writev'> = (frame, req) =>
    this.#onData(frame, 'writev', req, (file) => writev(this, frame, req, file))

  fsync: Fop<'fsync'> = (frame, req) =>
    this.#onData(frame, 'fsync', req, (file) => fsync(this, frame, req, file))

  truncate: Fop<'truncate'> = async (frame, req) => {
    const { inode } = req.loc
    const file = await this.#need(frame, inode)
    if (file === WHOLE) return frame.wind(this.child, 'truncate', req)
    if (typeof file === 'number') return { errno: file }
    return truncate(this, frame, inode, undefined, file, req.offset)
  }

  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#onData<'ftruncate'>(frame, 'ftruncate', req, (file) =>
      truncate(this, frame, req.fd.inode, req.fd, file, req.offset),
    )

  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#onData(frame, 'fallocate', req, (file) => {
      if ((req.mode & FALLOC_FL_KEEP_SIZE) !== 0 || req.mode !== 0) return { errno: E.OPNOTSUPP }
      return range(this, frame, 'fallocate', req, file)
    })

  discard: Fop<'discard'> = (frame, req) =>
    this.#onData(frame, 'discard', req, (file) => range(this, frame, 'discard', req, file))

  zerofill: Fop<'zerofill'> = (frame, req) =>
    this.#onData(frame, 'zerofill', req, (file) => range(this, frame, 'zerofill', req, file))

  /** Stock refuses it for every file of such a volume. */
  seek: Fop<'seek'> = () => ({ errno: E.OPNOTSUPP })

  rchecksum: Fop<'rchecksum'> = (frame, req) =>
    this.#onData(frame, 'rchecksum', req, () => ({ errno: E.OPNOTSUPP }))

  /** The kernel copies by reading and writing then. */
  copy_file_range: Fop<'copy_file_range'> = (frame, req) => {
    const whole = this.#isWhole(req.fdIn.inode) && this.#isWhole(req.fdOut.inode)
    return whole ? frame.tail(this.child, 'copy_file_range', req) : { errno: E.XDEV }
  }

  // -- xattrs

  getxattr: Fop<'getxattr'> = async (frame, req) => {
    if (req.name?.startsWith(XATTR_PREFIX) === true) return { errno: E.NODATA }
    return hideKeys(await frame.wind(this.child, 'getxattr', req))
  }

  fgetxattr: Fop<'fgetxattr'> = async (frame, req) => {
    if (req.name?.startsWith(XATTR_PREFIX) === true) return { errno: E.NODATA }
    return hideKeys(await frame.wind(this.child, 'fgetxattr', req))
  }

  setxattr: Fop<'setxattr'> = async (frame, req) => {
    if (hasKeys(req.dict)) return { errno: E.PERM }
    return this.#inXdata(req.loc.inode, await frame.wind(this.child, 'setxattr', req))
  }

  fsetxattr: Fop<'fsetxattr'> = async (frame, req) => {
    if (hasKeys(req.dict)) return { errno: E.PERM }
    return this.#inXdata(req.fd.inode, await frame.wind(this.child, 'fsetxattr', req))
  }

  removexattr: Fop<'removexattr'> = async (frame, req) => {
    if (req.name.startsWith(XATTR_PREFIX)) return { errno: E.PERM }
    return this.#inXdata(req.loc.inode, await frame.wind(this.child, 'removexattr', req))
  }

  fremovexattr: Fop<'fremovexattr'> = async (frame, req) => {
    if (req.name.startsWith(XATTR_PREFIX)) return { errno: E.PERM }
    return this.#inXdata(req.fd.inode, await frame.wind(this.child, 'fremovexattr', req))
  }

  // -- for the other parts

  /** Learns the size the bricks have now. */
  async refresh(
    frame: Frame,
    inode: Inode,
    file: ShardFile,
    fd: Fd | undefined,
  ): Promise<Errno | 0> {
    const asked = askedNow()
    const xdata = asking(undefined)
    const root = asRoot(frame)
    const rep =
      fd === undefined
        ? await root.wind(this.child, 'lookup', { loc: Loc.ofInode(inode), xdata })
        : await root.wind(this.child, 'fstat', { fd, xdata })
    if (rep.errno !== 0) return rep.errno
    const size = fileSizeOf(rep.xdata)
    if (size === undefined) {
      this.log.error(`${inode.gfid === NULL_GFID ? '' : Loc.ofInode(inode).path}: no file-size`)
      return E.IO
    }
    file.learn(rep.stat, size, asked)
    return 0
  }

  /** A view with a lock owner of its own. */
  owned(frame: Frame): Frame {
    return frame.with(this.ownedCreds(ROOT_CREDS))
  }

  ownedCreds(creds: Creds): Creds {
    const lkOwner = Buffer.alloc(8)
    lkOwner.writeUInt32LE(this.slot + 1, 4)
    this.#owners = (this.#owners + 1) >>> 0
    lkOwner.writeUInt32LE(this.#owners, 0)
    return { ...creds, lkOwner }
  }

  // -- files

  #isWhole(inode: Inode): boolean {
    if (inode.type === S_IFDIR || inode.type === S_IFLNK) return true
    return inode.type !== S_IFREG || this.#files.get(inode) === WHOLE
  }

  /** From a reply that tells both xattrs of a file that has them. Attributes as users see them. */
  #learn(given: Inode, stat: Iatt, xdata: Dict | undefined, asked: number): Iatt {
    const inode = this.graph.inodes.byGfid(stat.gfid) ?? given
    const blockSize = blockSizeOf(xdata)
    const size = fileSizeOf(xdata)
    let file = this.#files.get(inode)
    if (!isReg(stat)) return stat
    if (file === undefined || file === WHOLE) {
      if (blockSize === 0 || size === undefined) {
        this.#files.set(inode, WHOLE)
        return stat
      }
      file = new ShardFile(blockSize)
      this.#files.set(inode, file)
    }
    file.learn(stat, size, asked)
    return file.show(stat)
  }

  #made(asked: Inode, stat: Iatt, blockSize: number): void {
    const inode = this.graph.inodes.byGfid(stat.gfid) ?? asked
    if (this.#files.get(inode) !== undefined) return
    // An object that was there before and only was opened tells its size with the next lookup.
    if (stat.size > 0) return
    const file = new ShardFile(blockSize)
    file.learn(stat, { size: 0, blocks: 0 }, 0)
    this.#files.set(inode, file)
  }

  /** What is known of the file, asked for where nothing is. */
  async #need(frame: Frame, inode: Inode): Promise<ShardFile | typeof WHOLE | Errno> {
    if (this.#isWhole(inode)) return WHOLE
    const known = this.#files.get(inode)
    if (known !== undefined) return known
    const xdata = asking(undefined)
    const loc = Loc.ofInode(inode)
    const asked = askedNow()
    const rep = await asRoot(frame).wind(this.child, 'lookup', { loc, xdata })
    if (rep.errno !== 0) return rep.errno
    this.#learn(inode, rep.stat, rep.xdata, asked)
    return this.#files.get(inode) ?? WHOLE
  }

  #onData<K extends 'readv' | 'writev' | 'fsync' | 'ftruncate' | 'fallocate' | DataFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    work: (file: ShardFile) => MaybePromise<Rep<K>>,
  ): MaybePromise<Rep<K>> {
    const { inode } = (req as Req<'fstat'>).fd
    const known = this.#files.get(inode)
    if (known === WHOLE) return frame.tail(this.child, fop, req)
    if (known !== undefined) return work(known)
    return this.#onUnknown(frame, fop, req, inode, work)
  }

  async #onUnknown<K extends FopName>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
    work: (file: ShardFile) => MaybePromise<Rep<K>>,
  ): Promise<Rep<K>> {
    const file = await this.#need(frame, inode)
    if (file === WHOLE) return frame.wind(this.child, fop, req)
    return typeof file === 'number' ? ({ errno: file } as Rep<K>) : work(file)
  }

  async #stat<K extends 'stat' | 'fstat'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): Promise<Rep<K>> {
    const file = await this.#need(frame, inode)
    const asked = askedNow()
    const rep = (await frame.wind(this.child, fop, req)) as Rep<'stat'>
    if (rep.errno !== 0 || typeof file !== 'object') return rep as Rep<K>
    file.learn(rep.stat, fileSizeOf(rep.xdata), asked)
    return { ...rep, stat: file.show(rep.stat) } as Rep<K>
  }

  async #changed<K extends 'setattr' | 'fsetattr'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): Promise<Rep<K>> {
    const file = await this.#need(frame, inode)
    const rep = (await frame.wind(this.child, fop, req)) as Rep<'setattr'>
    if (rep.errno !== 0 || typeof file !== 'object') return rep as Rep<K>
    file.stat = rep.poststat
    return { ...rep, prestat: file.show(rep.prestat), poststat: file.show(rep.poststat) } as Rep<K>
  }

  #shown<R extends { stat: Iatt }>(inode: Inode, rep: R): R {
    const file = this.#files.get(inode)
    if (file === undefined || file === WHOLE) return rep
    file.stat = rep.stat
    return { ...rep, stat: file.show(rep.stat) }
  }

  /** Attributes that come along with a reply. */
  #inXdata<R extends { xdata?: Dict | undefined }>(inode: Inode, rep: R): R {
    const file = this.#files.get(inode)
    if (rep.xdata === undefined || file === undefined || file === WHOLE) return rep
    const xdata = rep.xdata.clone()
    for (const key of [PRESTAT, POSTSTAT]) {
      const stat = xdata.getIatt(key)
      if (stat !== undefined) xdata.setIatt(key, file.show(stat))
    }
    return { ...rep, xdata }
  }

  /** A page of a listing, without the directory of blocks. */
  async #list<K extends 'readdir' | 'readdirp'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    let { off } = req
    for (;;) {
      const rep = await frame.wind(this.child, fop, { ...req, off } as Req<K>)
      if (rep.errno !== 0 || !req.fd.inode.isRoot) return rep
      const page = rep as Ok<'readdirp'>
      const entries = page.entries.filter((entry) => entry.name !== SHARD_DIR)
      const last = page.entries.at(-1)
      // A page without entries would end the listing.
      if (entries.length > 0 || page.eof || last === undefined) {
        return { ...page, entries } as unknown as Rep<K>
      }
      off = last.off
    }
  }

  /** Markers that are left from earlier mounts. */
  #begin(): void {
    if (this.#started) return
    this.#started = true
    this.deletion.start()
  }

  #serve<K extends FopName>(fop: K, serve: (f: Frame, req: Req<K>) => MaybePromise<Rep<K>>): void {
    Object.assign(this as unknown as FopTable, { [fop]: serve })
  }
}

type DataFop = 'discard' | 'zerofill' | 'rchecksum'

export default defineXlator({ type: 'features/shard', class: Shard, options, children: 1 })
