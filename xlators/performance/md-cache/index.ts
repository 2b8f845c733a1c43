/**
 * performance/md-cache (volume option performance.stat-prefetch): answers stat, fstat, lookup and
 * getxattr from what earlier replies showed, for md-cache-timeout seconds. With cache-invalidation
 * the bricks' upcalls drop what others changed, so that long timeouts are safe.
 *
 * Unlike stock's:
 * - Without upcalls nothing learned before an open is believed after it: the mount asks for the
 *   attributes then, so that close-to-open holds between clients.
 * - A name is believed only if it was itself seen within the timeout; stock goes on as long as the
 *   inode is in use.
 * - Of what bricks do not tell (files moved or linked into a directory, names given to other files)
 *   nothing is believed for more than a second, see store.ts. A brick is trusted to tell for 60 s
 *   from our last access until one says otherwise.
 * - Attributes in upcalls are not taken over, and entry fops update only the times of parents: they
 *   are one brick's view.
 * - xattr patterns are announced to the bricks but not cached, as absence cannot be known for them.
 */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, errnoName } from '../../../src/core/errno.ts'
import { type Event, UP_XATTR, UP_XATTR_RM, type Upcall } from '../../../src/core/event.ts'
import type { Fop, FopName, MaybePromise, Rep, Req, Statfs } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { Iatt, isDir } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { knownInode, look, PassThrough } from '../look.ts'
import { CacheableKeys } from './keys.ts'
import { Store } from './store.ts'
import { applyUpcall, Registration } from './upcalls.ts'

const SWITCH = { type: 'bool', default: 'false' } as const

export const options = defineOptions({
  'md-cache-timeout': {
    type: 'int',
    default: '1',
    min: 0,
    max: 600,
    description: 'Seconds that attributes are believed; above 60 only with cache-invalidation.',
  },
  'cache-posix-acl': { ...SWITCH, description: 'Cache POSIX ACLs (mount option acl).' },
  'cache-glusterfs-acl': { ...SWITCH, description: 'Cache the internal forms of ACLs.' },
  'cache-selinux': { ...SWITCH, description: 'Cache security.selinux (mount option selinux).' },
  'cache-capability-xattrs': {
    type: 'bool',
    default: 'true',
    description: 'Cache security.capability.',
  },
  'cache-ima-xattrs': { type: 'bool', default: 'true', description: 'Cache security.ima.' },
  'cache-swift-metadata': { ...SWITCH, description: 'Cache user.swift.metadata.' },
  'cache-samba-metadata': { ...SWITCH, description: "Cache Samba's xattrs." },
  'xattr-cache-list': {
    type: 'str',
    default: '',
    description: 'More xattr names to cache, comma-separated.',
  },
  'md-cache-statfs': { type: 'bool', default: 'off', description: 'Cache statfs.' },
  'force-readdirp': {
    type: 'bool',
    default: 'true',
    description: 'Read directories with attributes even where only names are asked for.',
  },
  'cache-invalidation': { ...SWITCH, description: 'Upcalls of the bricks drop what changed.' },
  'global-cache-invalidation': {
    type: 'bool',
    default: 'true',
    description: "Others' changes drop the kernel's pages of a file.",
  },
  'pass-through': { ...SWITCH, description: 'Do nothing.' },
})

type Options = OptionValues<typeof options>

/** Beyond it a timeout needs upcalls. */
const UNTOLD_TIMEOUT_MAX_MS = 60_000
const XATTRS = UP_XATTR | UP_XATTR_RM
/** GF_IPC_TARGET_UPCALL. */
const IPC_UPCALL = 2

export class MdCache extends Xlator<typeof options> {
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  readonly #store = new Store(this as unknown as Xlator, (inode, stat) =>
    this.#foreignChange(inode, stat),
  )
  override readonly freshness = this.#store
  #keys = new CacheableKeys(keySwitches(this.options))
  #statfs: { value: Statfs; at: number } | undefined
  readonly #registration = new Registration()
  readonly #counts = {
    stat_hit_count: 0,
    stat_miss_count: 0,
    xattr_hit_count: 0,
    xattr_miss_count: 0,
    nameless_lookup_count: 0,
    negative_lookup_count: 0,
    stat_invalidations_received: 0,
    xattr_invalidations_received: 0,
  }

  override init(): void {
    this.#configure()
  }

  override reconfigure(values: Options): void {
    const told = values['cache-invalidation'] && !this.options['cache-invalidation']
    super.reconfigure(values)
    this.#configure()
    this.#dropAll()
    if (told) this.#announceKeys()
  }

  stat: Fop<'stat'> = (frame, req) => {
    const known = this.#statOf(req.loc.inode, req.xdata)
    if (known !== undefined) return { errno: 0, stat: known }
    const begin = this.#store.begin()
    // What is kept until bricks tell of changes must be all there is: nobody tells of a flush.
    const asked = this.#store.told ? { loc: req.loc, xdata: req.xdata } : req
    return look(frame.wind(this.child, 'stat', asked), (rep) => {
      if (rep.errno === 0) this.#store.saw(req.loc.inode, begin, rep.stat)
      else this.#store.failed(req.loc.inode, rep.errno)
      return rep
    })
  }

  readlink: Fop<'readlink'> = (frame, req) => {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, 'readlink', req), (rep) => {
      if (rep.errno === 0 && rep.stat.ctime !== 0) {
        this.#store.saw(req.loc.inode, begin, rep.stat)
      }
      return rep
    })
  }

  mknod: Fop<'mknod'> = (frame, req) => this.#making(frame, 'mknod', req)
  mkdir: Fop<'mkdir'> = (frame, req) => this.#making(frame, 'mkdir', req)

  unlink: Fop<'unlink'> = (frame, req) => this.#removing(frame, 'unlink', req)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#removing(frame, 'rmdir', req)
  symlink: Fop<'symlink'> = (frame, req) => this.#making(frame, 'symlink', req)

  rename: Fop<'rename'> = (frame, req) =>
    look(frame.wind(this.child, 'rename', req), (rep) => {
      for (const loc of [req.oldloc, req.newloc]) {
        this.#store.drop(loc.inode)
        this.#store.unnamed(loc.inode)
      }
      const [from, to] = [req.oldloc.parent, req.newloc.parent]
      // A directory takes its link to another parent, and not every reply shows both.
      if (rep.errno !== 0 || isDir(rep.stat)) {
        if (from !== undefined) this.#store.drop(from)
        if (to !== undefined) this.#store.drop(to)
        return rep
      }
      if (from !== undefined) this.#store.namesChanged(from, rep.preoldparent, rep.postoldparent)
      if (to !== undefined) this.#store.namesChanged(to, rep.prenewparent, rep.postnewparent)
      return rep
    })

  link: Fop<'link'> = (frame, req) => {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, 'link', req), (rep) => {
      if (rep.errno === 0) this.#store.changed(req.oldloc.inode, begin, undefined, rep.stat)
      this.#namesChanged(req.newloc, rep)
      return rep
    })
  }

  truncate: Fop<'truncate'> = (frame, req) => this.#changing(frame, 'truncate', req, req.loc.inode)

  open: Fop<'open'> = (frame, req) =>
    look(frame.wind(this.child, 'open', req), (rep) => {
      if (rep.errno !== 0) this.#store.failed(req.loc.inode, rep.errno)
      if ((req.flags & O_TRUNC) !== 0) this.#store.drop(req.loc.inode)
      return rep
    })

  readv: Fop<'readv'> = (frame, req) => {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, 'readv', req), (rep) => {
      // Layers below may answer without attributes; that says nothing about the file.
      if (rep.errno === 0 && rep.stat.ctime !== 0) {
        this.#store.saw(req.fd.inode, begin, rep.stat)
      } else if (rep.errno !== 0) this.#store.failed(req.fd.inode, rep.errno)
      return rep
    })
  }

  writev: Fop<'writev'> = (frame, req) => this.#changing(frame, 'writev', req, req.fd.inode)

  statfs: Fop<'statfs'> = (frame, req) => {
    if (!this.options['md-cache-statfs']) return frame.tail(this.child, 'statfs', req)
    const known = this.#statfs
    if (known !== undefined && clock.now() - known.at < this.#store.timeoutMs) {
      return { errno: 0, statfs: known.value }
    }
    return look(frame.wind(this.child, 'statfs', req), (rep) => {
      if (rep.errno === 0) this.#statfs = { value: rep.statfs, at: clock.now() }
      return rep
    })
  }

  fsync: Fop<'fsync'> = (frame, req) => {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, 'fsync', req), (rep) => {
      if (rep.errno === 0 && rep.poststat.ctime !== 0) {
        this.#store.saw(req.fd.inode, begin, rep.poststat)
      }
      return rep
    })
  }

  setxattr: Fop<'setxattr'> = (frame, req) =>
    this.#changingXattrs(frame, 'setxattr', req, req.loc.inode)

  getxattr: Fop<'getxattr'> = (frame, req) => {
    const known = this.#xattrOf(req.loc.inode, req.name, req.xdata)
    if (known !== undefined) return known
    return this.#getting(frame, 'getxattr', req, req.loc.inode)
  }

  removexattr: Fop<'removexattr'> = (frame, req) =>
    this.#changingXattrs(frame, 'removexattr', req, req.loc.inode)

  opendir: Fop<'opendir'> = (frame, req) => {
    // A readdir-ahead below asks with every entry for what its opendir asked for.
    const xdata = this.#keys.request(req.xdata, () => new Dict())
    return frame.tail(this.child, 'opendir', { ...req, xdata })
  }

  create: Fop<'create'> = (frame, req) => this.#making(frame, 'create', req)

  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#changing(frame, 'ftruncate', req, req.fd.inode)

  fstat: Fop<'fstat'> = (frame, req) => {
    const known = this.#statOf(req.fd.inode, req.xdata)
    if (known !== undefined) return { errno: 0, stat: known }
    const begin = this.#store.begin()
    return look(frame.wind(this.child, 'fstat', req), (rep) => {
      if (rep.errno === 0) this.#store.saw(req.fd.inode, begin, rep.stat)
      else this.#store.failed(req.fd.inode, rep.errno)
      return rep
    })
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    const hit = this.#lookupHit(req)
    if (hit !== undefined) return hit
    const begin = this.#store.begin()
    const xdata = this.#keys.request(req.xdata, () => new Dict())
    return look(frame.wind(this.child, 'lookup', { loc: req.loc, xdata }), (rep) => {
      this.#lookedUp(req.loc, begin, rep)
      return rep
    })
  }

  readdir: Fop<'readdir'> = (frame, req) => {
    if (!this.options['force-readdirp']) return frame.tail(this.child, 'readdir', req)
    return this.readdirp(frame, req)
  }

  xattrop: Fop<'xattrop'> = (frame, req) =>
    this.#changingXattrs(frame, 'xattrop', req, req.loc.inode)
  fxattrop: Fop<'fxattrop'> = (frame, req) =>
    this.#changingXattrs(frame, 'fxattrop', req, req.fd.inode)

  fgetxattr: Fop<'fgetxattr'> = (frame, req) => {
    const known = this.#xattrOf(req.fd.inode, req.name, req.xdata)
    if (known !== undefined) return known
    return this.#getting(frame, 'fgetxattr', req, req.fd.inode)
  }

  fsetxattr: Fop<'fsetxattr'> = (frame, req) =>
    this.#changingXattrs(frame, 'fsetxattr', req, req.fd.inode)

  // A new mode changes the ACL, a new owner takes capabilities away.
  setattr: Fop<'setattr'> = (frame, req) =>
    look(this.#changing(frame, 'setattr', req, req.loc.inode), (rep) => {
      this.#store.dropXattrs(req.loc.inode)
      return rep
    })
  fsetattr: Fop<'fsetattr'> = (frame, req) =>
    look(this.#changing(frame, 'fsetattr', req, req.fd.inode), (rep) => {
      this.#store.dropXattrs(req.fd.inode)
      return rep
    })

  readdirp: Fop<'readdirp'> = (frame, req) => {
    const begin = this.#store.begin()
    const xdata = this.#keys.request(req.xdata, () => new Dict())
    return look(frame.wind(this.child, 'readdirp', { ...req, xdata }), (rep) => {
      if (rep.errno !== 0) return rep
      for (const entry of rep.entries) {
        if (entry.inode === undefined || entry.stat === undefined) continue
        if (entry.stat.ctime === 0) continue
        const inode = knownInode(entry.inode, entry.stat.gfid)
        this.#store.saw(inode, begin, entry.stat)
        this.#store.sawXattrs(inode, begin, entry.xdata, this.#keys.names)
        this.#store.named(inode, entry.stat.gfid, begin, req.fd.inode, entry.name)
      }
      return rep
    })
  }

  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#changingXattrs(frame, 'fremovexattr', req, req.fd.inode)

  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#changing(frame, 'fallocate', req, req.fd.inode)
  discard: Fop<'discard'> = (frame, req) => this.#changing(frame, 'discard', req, req.fd.inode)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#changing(frame, 'zerofill', req, req.fd.inode)

  put: Fop<'put'> = (frame, req) => this.#making(frame, 'put', req)

  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    this.#changing(frame, 'copy_file_range', req, req.fdOut.inode)

  override notify(event: Event, from: Xlator | undefined): void {
    switch (event.type) {
      case 'child-down':
      case 'some-descendent-down':
        this.#dropAll()
        break
      case 'child-up':
      case 'some-descendent-up':
        // Upcalls may have been lost meanwhile.
        this.#dropAll()
        if (this.options['cache-invalidation']) this.#announceKeys()
        break
      case 'invalidate-inode':
        this.#store.drop(event.inode)
        break
      case 'upcall':
        this.#upcall(event.upcall)
        break
      default:
    }
    super.notify(event, from)
  }

  override dump(sink: DumpSink): void {
    sink.section(`performance/md-cache.${this.name}`)
    for (const [key, count] of Object.entries(this.#counts)) sink.pair(key, count)
  }

  #configure(): void {
    this.#keys = new CacheableKeys(keySwitches(this.options))
    const told = this.options['cache-invalidation']
    this.#store.told = told
    this.#limitTimeout()
    this.#statfs = undefined
    if (this.#passThrough.set(this.options['pass-through'])) this.#store.dropAll()
  }

  #dropAll(): void {
    this.#store.dropAll()
    this.notifyParents({ type: 'upcalls-lost' })
  }

  #limitTimeout(): void {
    const ms = this.options['md-cache-timeout'] * 1000
    const max = this.#store.told ? this.#registration.ms : UNTOLD_TIMEOUT_MAX_MS
    this.#store.timeoutMs = Math.min(ms, max)
  }

  #statOf(inode: Inode, xdata: Dict | undefined): Iatt | undefined {
    const known = xdata === undefined ? this.#store.stat(inode) : undefined
    if (known === undefined) this.#counts.stat_miss_count++
    else this.#counts.stat_hit_count++
    return known
  }

  #xattrOf(
    inode: Inode,
    name: string | undefined,
    xdata: Dict | undefined,
  ): Rep<'getxattr'> | undefined {
    if (name === undefined || xdata !== undefined || !this.#keys.names.has(name)) return undefined
    const known = this.#store.xattrs(inode)
    if (known === undefined) {
      this.#counts.xattr_miss_count++
      return undefined
    }
    this.#counts.xattr_hit_count++
    const value = known.get(name)
    return value === undefined
      ? { errno: E.NODATA }
      : { errno: 0, dict: new Dict().set(name, value) }
  }

  /** A get that goes down asks for all cacheable keys on the way. */
  #getting<K extends 'getxattr' | 'fgetxattr'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): MaybePromise<Rep<K>> {
    if (req.name === undefined || !this.#keys.names.has(req.name)) {
      return look(frame.wind(this.child, fop, req), (rep) => {
        if (rep.errno !== 0) this.#store.failed(inode, rep.errno)
        return rep
      })
    }
    const begin = this.#store.begin()
    const asking = { ...req, xdata: this.#keys.request(req.xdata, () => new Dict()) }
    return look(frame.wind(this.child, fop, asking), (rep) => {
      // Only a brick that filled the asked key in filled the others too.
      if (rep.errno === 0 && rep.xdata?.has(req.name!) === true) {
        this.#store.sawXattrs(inode, begin, rep.xdata, this.#keys.names)
      }
      return rep
    })
  }

  #lookupHit(req: Req<'lookup'>): Rep<'lookup'> | undefined {
    if (req.loc.name === undefined) {
      // The layers below want to see the inode: never answered here.
      this.#counts.nameless_lookup_count++
      return undefined
    }
    const { inode } = req.loc
    const stat = this.#store.stat(inode)
    const known =
      stat !== undefined &&
      // the layers below have not seen a lookup of what was only listed
      inode.lookedUpGraph === this.graph.id &&
      this.#store.isNamed(req.loc) &&
      (req.xdata === undefined ||
        (this.#keys.covers(req.xdata) && this.#store.xattrs(inode) !== undefined))
    if (!known) {
      this.#counts.stat_miss_count++
      return undefined
    }
    this.#counts.stat_hit_count++
    const postparent = new Iatt()
    if (req.xdata === undefined) return { errno: 0, stat, postparent }
    const xdata = new Dict()
    for (const [name, value] of this.#store.xattrs(inode)!) xdata.set(name, value)
    return { errno: 0, stat, postparent, xdata }
  }

  #lookedUp(loc: Loc, begin: number, rep: Rep<'lookup'>): void {
    if (rep.errno === 0) {
      const inode = knownInode(loc.inode, rep.stat.gfid)
      this.#store.saw(inode, begin, rep.stat)
      this.#store.sawXattrs(inode, begin, rep.xdata, this.#keys.names)
      const { gfid } = rep.stat
      if (loc.parent !== undefined) this.#store.named(inode, gfid, begin, loc.parent, loc.name)
      return
    }
    if (rep.errno === E.NOENT) this.#counts.negative_lookup_count++
    if (rep.errno === E.STALE && loc.parent !== undefined) this.#store.drop(loc.parent)
    this.#store.gone(loc.inode)
  }

  #making<K extends 'mknod' | 'mkdir' | 'symlink' | 'create' | 'put'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, fop, req), (rep) => {
      const { loc } = req
      const made = rep as Rep<'mknod'>
      this.#namesChanged(loc, made, fop === 'mkdir')
      if (made.errno !== 0) return rep
      const { stat } = made
      const inode = knownInode(loc.inode, stat.gfid)
      this.#store.changed(inode, begin, undefined, stat)
      this.#store.named(inode, stat.gfid, begin, loc.parent, loc.name)
      return rep
    })
  }

  #removing<K extends 'unlink' | 'rmdir'>(frame: Frame, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    return look(frame.wind(this.child, fop, req), (rep) => {
      this.#namesChanged(req.loc, rep as Rep<'unlink'>, fop === 'rmdir')
      this.#store.drop(req.loc.inode)
      this.#store.unnamed(req.loc.inode)
      return rep
    })
  }

  /** With `links` the parent's link count changed too. */
  #namesChanged(loc: Loc, rep: Rep<'unlink'>, links = false): void {
    if (loc.parent === undefined) return
    if (rep.errno !== 0) this.#store.drop(loc.parent)
    else this.#store.namesChanged(loc.parent, rep.preparent, rep.postparent, links)
  }

  #changing<K extends ChangingFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): MaybePromise<Rep<K>> {
    const begin = this.#store.begin()
    return look(frame.wind(this.child, fop, req), (rep) => {
      if (rep.errno !== 0) {
        this.#store.drop(inode)
        this.#store.failed(inode, rep.errno)
      } else {
        const { prestat, poststat } = rep as Extract<Rep<'truncate'>, { errno: 0 }>
        this.#store.changed(inode, begin, prestat, poststat)
      }
      return rep
    })
  }

  /** The ctime moves with the xattrs, and an ACL may move the mode. */
  #changingXattrs<K extends XattrFop>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    inode: Inode,
  ): MaybePromise<Rep<K>> {
    return look(frame.wind(this.child, fop, req), (rep) => {
      this.#store.drop(inode)
      this.#store.dropXattrs(inode)
      return rep
    })
  }

  #upcall(upcall: Upcall): void {
    if (upcall.type !== 'cache-invalidation' || !this.options['cache-invalidation']) return
    if (this.#registration.heard(upcall.expireTimeAttr)) this.#limitTimeout()
    if ((upcall.flags & XATTRS) !== 0) this.#counts.xattr_invalidations_received++
    const inode = applyUpcall(upcall, this.#store, this.graph.inodes, this.#keys.names)
    if (inode === undefined) return
    this.#counts.stat_invalidations_received++
    // the mount hears the upcall itself
  }

  #foreignChange(inode: Inode, stat: Iatt): void {
    if (!this.options['global-cache-invalidation']) return
    this.notifyParents({ type: 'invalidate-inode', inode, stat })
  }

  /** Bricks send xattr upcalls only for keys somebody asked them to. */
  #announceKeys(): void {
    const xdata = new Dict()
    for (const key of this.#keys.announced) xdata.setInt(key, 0)
    if (xdata.count === 0) return
    void this.graph.pool.background(this, 'IPC', ROOT_CREDS, async (frame) => {
      const rep = await frame.wind(this.child, 'ipc', { op: IPC_UPCALL, xdata })
      if (rep.errno === 0) return
      this.log.warn(`bricks were not told which xattrs are cached: ${errnoName(rep.errno)}`)
    })
  }
}

type ChangingFop =
  | 'truncate'
  | 'ftruncate'
  | 'writev'
  | 'setattr'
  | 'fsetattr'
  | 'fallocate'
  | 'discard'
  | 'zerofill'
  | 'copy_file_range'

type XattrFop = Extract<
  FopName,
  'setxattr' | 'fsetxattr' | 'removexattr' | 'fremovexattr' | 'xattrop' | 'fxattrop'
>

function keySwitches(values: Options) {
  return {
    posixAcl: values['cache-posix-acl'],
    glusterfsAcl: values['cache-glusterfs-acl'],
    selinux: values['cache-selinux'],
    capability: values['cache-capability-xattrs'],
    ima: values['cache-ima-xattrs'],
    swift: values['cache-swift-metadata'],
    samba: values['cache-samba-metadata'],
    list: values['xattr-cache-list'],
  }
}

export default defineXlator({ type: 'performance/md-cache', class: MdCache, options, children: 1 })
