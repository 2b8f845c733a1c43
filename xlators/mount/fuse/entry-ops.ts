/** Requests about names: LOOKUP, the creating ones, UNLINK, RMDIR, RENAME, LINK. */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Ok, Rep } from '../../../src/core/fop.ts'
import { newGfid } from '../../../src/core/gfid.ts'
import { type Iatt, isDir } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import type { CreateIn, MkIn } from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import { openFlagsFor } from './file-ops.ts'
import type { OpenFile } from './files.ts'
import { giveBackIdleInodes } from './idle.ts'
import type { FuseBridge } from './index.ts'
import { brickFlags, stale } from './rules.ts'

const O_CREAT = 0o100
const O_EXCL = 0o200

type Ops = Pick<
  FuseOps,
  'lookup' | 'mknod' | 'mkdir' | 'symlink' | 'create' | 'unlink' | 'rmdir' | 'rename' | 'link'
>

/** The gfid a new object shall get. */
const withNewGfid = (): Dict => new Dict().setGfid('gfid-req', newGfid())

export class EntryOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  /** The parent directory a request names, known to the graph; or the errno to answer. */
  readonly #parentOf = async (request: FuseRequest, nodeid: number): Promise<Inode | Errno> => {
    const parent = this.#bridge.table.byNodeid(nodeid)
    if (parent === undefined) return E.STALE
    const errno = await this.#bridge.ready(request, parent)
    return errno !== 0 ? errno : parent
  }

  /** Mode and umask as the fop wants them: with ACLs the brick decides whether umask counts. */
  readonly #creationMode = (input: { mode: number; umask: number }) => {
    const xdata = withNewGfid()
    if (!this.#bridge.acl) return { mode: input.mode & ~input.umask, umask: 0, xdata }
    xdata.setInt('umask', input.umask).setInt('mode', input.mode)
    return { mode: input.mode & ~input.umask, umask: input.umask, xdata }
  }

  readonly #naming = (change: () => Promise<void>): Promise<void> =>
    this.#bridge.listings.primer.whileChanging(change)

  /** A creating request: the new name's loc goes to `make`, its reply to the kernel. */
  readonly #makeEntry = (
    request: FuseRequest,
    name: string,
    make: (loc: Loc) => Rep<'mknod'> | Promise<Rep<'mknod'>>,
  ): Promise<void> => this.#naming(() => this.#make(request, name, make))

  readonly #make = async (
    request: FuseRequest,
    name: string,
    make: (loc: Loc) => Rep<'mknod'> | Promise<Rep<'mknod'>>,
  ): Promise<void> => {
    const parent = await this.#parentOf(request, request.nodeid)
    if (typeof parent === 'number') return void request.error(parent)
    const loc = Loc.ofName(parent, name, this.#bridge.table.newInode())
    const rep = await make(loc)
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    this.#bridge.replyEntry(request, loc.inode, parent, name, rep.stat)
  }

  readonly #removeEntry = (
    request: FuseRequest,
    name: string,
    fop: 'unlink' | 'rmdir',
  ): Promise<void> => this.#naming(() => this.#remove(request, name, fop))

  readonly #remove = async (
    request: FuseRequest,
    name: string,
    fop: 'unlink' | 'rmdir',
  ): Promise<void> => {
    const parent = await this.#parentOf(request, request.nodeid)
    if (typeof parent === 'number') return void request.error(parent)
    // The kernel has looked the name up; where we forgot it, translators still need its inode.
    const inode = await this.#resolveName(request, parent, name)
    if (typeof inode === 'number') return void request.error(inode)
    const loc = Loc.ofName(parent, name, inode)
    const rep = await request.frame.wind(request.top, fop, { loc, flags: 0 })
    if (rep.errno === 0) this.#bridge.table.unlinkName(parent, name)
    else this.#bridge.table.retireIfIdle(inode)
    if (rep.errno !== 0) request.error(rep.errno)
    else request.ok()
  }

  /** The inode behind (parent, name), looked up when it is not in the this.#bridge.table. */
  readonly #resolveName = async (
    request: FuseRequest,
    parent: Inode,
    name: string,
  ): Promise<Inode | Errno> => {
    const known = this.#bridge.table.child(parent, name)
    if (known !== undefined) {
      const errno = await this.#bridge.ready(request, known)
      if (errno !== 0) return errno
      return known
    }
    const fresh = this.#bridge.table.newInode()
    const loc = Loc.ofName(parent, name, fresh)
    const rep = await request.frame.wind(request.top, 'lookup', { loc })
    if (rep.errno !== 0) return rep.errno
    const linked = this.#bridge.table.link(fresh, parent, name, rep.stat)
    if (linked === undefined) return E.IO
    linked.lookedUpGraph = request.top.graph.id
    return linked
  }

  readonly #found = (
    request: FuseRequest,
    inode: Inode,
    parent: Inode,
    name: string,
    stat: Iatt,
  ): void => {
    const { seen, table } = this.#bridge
    this.#bridge.replyEntry(request, inode, parent, name, stat)
    const known = table.byGfid(stat.gfid)
    if (known === undefined) return
    seen.get(known)?.lookedUp(request.pid, request.frame.stack.begin, clock.now())
  }

  lookup: Ops['lookup'] = async (request, name) => {
    const parent = await this.#parentOf(request, request.nodeid)
    if (typeof parent === 'number') return void request.error(parent)
    const { primer } = this.#bridge.listings
    if (primer.answer(request, parent, name)) return
    const known = this.#bridge.table.child(parent, name)
    if (known !== undefined) {
      const loc = Loc.ofName(parent, name, known)
      const asking = request.frame.wind(request.top, 'lookup', { loc })
      const rep = await asking
      if (rep.errno === 0) {
        this.#found(request, known, parent, name, rep.stat)
        const wasAsked = asking instanceof Promise
        if (wasAsked && !isDir(rep.stat)) primer.lookedUp(request, parent, name)
        return
      }
      if (rep.errno === E.NOENT) this.#bridge.table.unlinkName(parent, name)
    }
    // Nothing known, or what was known is no longer true: ask as for the first time.
    const loc = Loc.ofName(parent, name, this.#bridge.table.newInode())
    const rep = await request.frame.wind(request.top, 'lookup', { loc, xdata: withNewGfid() })
    if (rep.errno === 0) {
      this.#found(request, loc.inode, parent, name, rep.stat)
      if (!isDir(rep.stat)) primer.lookedUp(request, parent, name)
      return
    }
    const { negativeValid } = this.#bridge
    if (rep.errno === E.NOENT && negativeValid.sec + negativeValid.nsec > 0) {
      request.negativeEntry(negativeValid)
    } else request.error(rep.errno)
  }

  mknod: Ops['mknod'] = (request, input: MkIn) => {
    return this.#makeEntry(request, input.name, (loc) =>
      request.frame.wind(request.top, 'mknod', {
        loc,
        // the kernel's form is glibc's dev_t, which is what mknod carries on the wire
        rdev: input.rdev,
        ...this.#creationMode(input),
      }),
    )
  }

  mkdir: Ops['mkdir'] = (request, input: MkIn) => {
    return this.#makeEntry(request, input.name, (loc) =>
      request.frame.wind(request.top, 'mkdir', { loc, ...this.#creationMode(input) }),
    )
  }

  symlink: Ops['symlink'] = (request, { first, second }) => {
    return this.#makeEntry(request, first, (loc) =>
      request.frame.wind(request.top, 'symlink', {
        loc,
        linkpath: second,
        umask: 0,
        xdata: withNewGfid(),
      }),
    )
  }

  create: Ops['create'] = (request, input) => this.#naming(() => this.#create(request, input))

  readonly #create = async (
    request: FuseRequest,
    input: Parameters<Ops['create']>[1],
  ): Promise<void> => {
    const flags = brickFlags(input.flags, this.#bridge.writeback)
    const parent = await this.#parentOf(request, request.nodeid)
    if (typeof parent === 'number') return void request.error(parent)
    const loc = Loc.ofName(parent, input.name, this.#bridge.table.newInode())
    const fd = new Fd(loc.inode, flags, request.pid)
    const rep = await request.frame.wind(request.top, 'create', {
      loc,
      fd,
      flags,
      ...this.#creationMode(input),
    })
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    await replyCreated(this.#bridge, request, input, loc, rep)
  }

  unlink: Ops['unlink'] = (request, name) => {
    return this.#removeEntry(request, name, 'unlink')
  }

  rmdir: Ops['rmdir'] = (request, name) => {
    return this.#removeEntry(request, name, 'rmdir')
  }

  rename: Ops['rename'] = (request, input) => this.#naming(() => this.#rename(request, input))

  readonly #rename = async (
    request: FuseRequest,
    { newdir, oldname, newname }: Parameters<Ops['rename']>[1],
  ): Promise<void> => {
    const oldParent = await this.#parentOf(request, request.nodeid)
    if (typeof oldParent === 'number') return void request.error(oldParent)
    const newParent = await this.#parentOf(request, newdir)
    if (typeof newParent === 'number') return void request.error(newParent)
    const source = await this.#resolveName(request, oldParent, oldname)
    if (typeof source === 'number') return void request.error(stale(source))
    // The kernel has just looked for the target: what the table lacks does not exist.
    const target = this.#bridge.table.child(newParent, newname)
    if (target !== undefined) await this.#bridge.ready(request, target)
    const oldloc = Loc.ofName(oldParent, oldname, source)
    const newInode = target ?? this.#bridge.table.newInode()
    const newloc = Loc.ofName(newParent, newname, newInode)
    const rep = await request.frame.wind(request.top, 'rename', { oldloc, newloc })
    if (rep.errno !== 0) return void request.error(rep.errno)
    // Two names of one file: rename(2) does nothing and both stay.
    if (source !== newInode)
      this.#bridge.table.rename(oldParent, oldname, newParent, newname, source)
    request.ok()
  }

  link: Ops['link'] = (request, input) => this.#naming(() => this.#link(request, input))

  readonly #link = async (
    request: FuseRequest,
    { oldnodeid, name }: Parameters<Ops['link']>[1],
  ): Promise<void> => {
    const source = await this.#parentOf(request, oldnodeid)
    if (typeof source === 'number') return void request.error(stale(source))
    const parent = await this.#parentOf(request, request.nodeid)
    if (typeof parent === 'number') return void request.error(stale(parent))
    const oldloc = Loc.ofInode(source)
    const newloc = Loc.ofName(parent, name, source)
    const rep = await request.frame.wind(request.top, 'link', { oldloc, newloc })
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    // Its names were handed out as the only ones, which are kept for longer.
    if (this.#bridge.kernelCache.leasing) this.#bridge.invalidator.names(source)
    this.#bridge.replyEntry(request, source, parent, name, rep.stat)
  }
}

/** Answers a successful create, which made the file or found one. */
async function replyCreated(
  bridge: FuseBridge,
  request: FuseRequest,
  input: CreateIn,
  loc: Loc,
  rep: Ok<'create'>,
): Promise<void> {
  const parent = loc.parent!
  const linked = bridge.linkEntry(request, loc.inode, parent, input.name, rep.stat)
  if (linked === undefined) {
    rep.fd.release()
    return void request.error(E.IO)
  }
  let { fd } = rep
  if (linked !== fd.inode) {
    // Somebody else created it first and it is known already: its own inode must hold the fd.
    fd.release()
    const flags = fd.flags & ~(O_CREAT | O_EXCL | O_TRUNC)
    fd = new Fd(linked, flags, request.pid)
    const opened = await request.frame.wind(request.top, 'open', {
      loc: Loc.ofInode(linked),
      fd,
      flags,
    })
    if (opened.errno !== 0) {
      bridge.takeBack(linked)
      return void request.error(stale(opened.errno))
    }
  }
  const file: OpenFile = bridge.files.add(fd)
  const entry = {
    nodeid: linked.nodeid,
    gfid: linked.gfid,
    stat: rep.stat,
    entryValid: bridge.kernelCache.entry(parent, input.name, linked),
    attrValid: bridge.kernelCache.attributes(linked, rep.stat),
  }
  if (request.created(entry, file.fh, openFlagsFor(bridge, file, rep.xdata))) {
    giveBackIdleInodes(bridge)
    return
  }
  bridge.files.close(file)
  bridge.takeBack(linked)
}
