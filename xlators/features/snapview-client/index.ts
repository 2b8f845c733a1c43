/**
 * features/snapview-client (features.uss): every directory has a directory `.snaps` in which the
 * volume's snapshots are seen, read-only. The first child is the volume, the second leads to the
 * snapshot daemon, which makes up the objects there and their gfids.
 *
 * What is behind `.snaps` is told by a context on its inode; an inode without one is the volume's,
 * so that requests for those pass at no cost. A real entry of that name is hidden. Unlike in stock,
 * fops that snapd does not serve are not sent to bricks that know nothing of the object.
 */
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Event } from '../../../src/core/event.ts'
import { isDownEvent } from '../../../src/core/event.ts'
import {
  type DirEntry,
  type Fop,
  type FopName,
  type FopTable,
  type MaybePromise,
  type Ok,
  type Rep,
  type Req,
  SEEK_DATA,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import {
  type Xlator as AnyXlator,
  defineXlator,
  Xlator,
  type XlatorInit,
} from '../../../src/core/xlator.ts'

export const options = defineOptions({
  'snapshot-directory': {
    type: 'str',
    default: '.snaps',
    description: 'Name of the directory, in every directory, that has the snapshots.',
  },
  'snapdir-entry-path': {
    type: 'str',
    default: '',
    description: 'Path of the directory that lists it if show-snapshot-directory is set.',
  },
  'show-snapshot-directory': {
    type: 'bool',
    default: 'off',
    description: 'List it in the directory at snapdir-entry-path.',
  },
})

type Options = OptionValues<typeof options>

/** Tells snapd that the name is the way in, not a name in a snapshot. */
const ENTRY_POINT = 'entry-point'
const REAL_NAME = 'glusterfs.get_real_filename:'
const NAME_MAX = 255
const DT_DIR = 4
/** The offset after the entry that is added to a listing: no brick ends one there. */
const AFTER_ADDED = 0x7fff_ffff_ffff_fffen

/** Fops snapd serves. */
const READING = ['stat', 'access', 'readlink', 'opendir'] as const satisfies readonly FopName[]
const READING_FD = ['fstat', 'readv', 'flush', 'fgetxattr'] as const satisfies readonly FopName[]
/** Fops on an object behind the name, and what they answer. */
const REFUSED = {
  setattr: E.ROFS,
  truncate: E.ROFS,
  setxattr: E.ROFS,
  removexattr: E.ROFS,
  xattrop: E.ROFS,
  inodelk: E.ROFS,
  entrylk: E.ROFS,
  setactivelk: E.ROFS,
  getactivelk: E.OPNOTSUPP,
  lease: E.OPNOTSUPP,
} as const satisfies Partial<Record<FopName, Errno>>
const REFUSED_FD = {
  writev: E.ROFS,
  ftruncate: E.ROFS,
  fsync: E.ROFS,
  fsetattr: E.ROFS,
  fsetxattr: E.ROFS,
  fremovexattr: E.ROFS,
  fxattrop: E.ROFS,
  fallocate: E.ROFS,
  discard: E.ROFS,
  zerofill: E.ROFS,
  finodelk: E.ROFS,
  fentrylk: E.ROFS,
  fsyncdir: E.BADFD,
  lk: E.INVAL,
  rchecksum: E.OPNOTSUPP,
} as const satisfies Partial<Record<FopName, Errno>>
/** Fops that make or remove a name. */
const NAMING = [
  'mknod',
  'mkdir',
  'symlink',
  'create',
  'put',
  'icreate',
  'namelink',
  'unlink',
  'rmdir',
] as const satisfies readonly FopName[]

type OnLoc = (typeof READING)[number] | keyof typeof REFUSED | (typeof NAMING)[number]
type OnFd = (typeof READING_FD)[number] | keyof typeof REFUSED_FD

export class SnapviewClient extends Xlator<typeof options> {
  /** Of objects behind the name. */
  readonly #behind = new InodeContext<true>(this as unknown as AnyXlator)
  /** Listings that have shown the name already. */
  readonly #shown = new FdContext<true>(this as unknown as AnyXlator)

  constructor(init: XlatorInit<typeof options>) {
    super(init)
    check(this.options)
    for (const fop of READING) this.#onLoc(fop, undefined)
    for (const fop of READING_FD) this.#onFd(fop, undefined)
    for (const fop of keysOf(REFUSED)) this.#onLoc(fop, REFUSED[fop])
    for (const fop of keysOf(REFUSED_FD)) this.#onFd(fop, REFUSED_FD[fop])
    for (const fop of NAMING) this.#naming(fop)
  }

  override reconfigure(options: Options): void {
    check(options)
    super.reconfigure(options)
    // Names and listings that the kernel was told to keep may be others now.
    this.notifyParents({ type: 'upcalls-lost' })
  }

  /** Snapd comes and goes without the volume above noticing. */
  override notify(event: Event, from: AnyXlator | undefined): void {
    if (from !== this.#snapd || isDownEvent(event)) super.notify(event, from)
    else if (event.type === 'auth-failed') this.log.warn(`snapd refuses us: ${event.reason}`)
  }

  // -- fops

  rename: Fop<'rename'> = (frame, req) => {
    const { oldloc, newloc } = req
    if (this.#isReadOnly(oldloc) || this.#isReadOnly(newloc)) return { errno: E.ROFS }
    return frame.tail(this.child, 'rename', req)
  }

  link: Fop<'link'> = (frame, req) => {
    const { oldloc, newloc } = req
    if (this.#isBehind(oldloc.inode) || this.#isReadOnly(newloc)) return { errno: E.ROFS }
    return frame.tail(this.child, 'link', req)
  }

  open: Fop<'open'> = (frame, req) => {
    if (!this.#isBehind(req.loc.inode)) return frame.tail(this.child, 'open', req)
    // stock's errno for it (gf_svc_open); O_TRUNC would also change a file opened for reading
    if ((req.flags & (O_ACCMODE | O_TRUNC)) !== 0) return { errno: E.INVAL }
    return frame.tail(this.#snapd, 'open', req)
  }

  /** Of the directory itself snapd has nothing to say: what the volume has. */
  statfs: Fop<'statfs'> = (frame, req) => {
    const { inode, name } = req.loc
    if (!this.#isBehind(inode)) return frame.tail(this.child, 'statfs', req)
    if ((name ?? inode.dentries[0]?.name) !== this.options['snapshot-directory']) {
      return frame.tail(this.#snapd, 'statfs', req)
    }
    return frame.tail(this.child, 'statfs', { ...req, loc: Loc.ofInode(inode.table.root) })
  }

  /** Also answers Samba, which asks how a name that is given in other case is written. */
  getxattr: Fop<'getxattr'> = (frame, req) => {
    const { name } = req
    if (name?.startsWith(REAL_NAME) === true) {
      const entry = this.options['snapshot-directory']
      if (name.slice(REAL_NAME.length).toLowerCase() === entry.toLowerCase()) {
        const value = Buffer.from(`${entry}\0`, 'latin1')
        return { errno: 0, dict: new Dict().setBytes(name, value) }
      }
    }
    return frame.tail(this.#childOf(req.loc.inode), 'getxattr', req)
  }

  lookup: Fop<'lookup'> = (frame, req) => {
    const { inode, parent, name } = req.loc
    if (parent === undefined || name === undefined) return this.#byGfid(frame, req)
    if (this.#isBehind(parent)) return this.#lookBehind(frame, req)
    const isEntry = name === this.options['snapshot-directory']
    const isKnown = inode.gfid !== NULL_GFID
    // The name was an object's of the other side: whoever knows that asks as for the first time.
    if (isKnown && isEntry !== this.#isBehind(inode)) return { errno: E.NOENT }
    if (!isEntry) return frame.tail(this.child, 'lookup', req)
    return this.#lookBehind(frame, entryPoint(req))
  }

  readdir: Fop<'readdir'> = (frame, req) => this.#list(frame, 'readdir', req)
  readdirp: Fop<'readdirp'> = (frame, req) => this.#list(frame, 'readdirp', req)

  seek: Fop<'seek'> = (frame, req) => {
    if (!this.#isBehind(req.fd.inode)) return frame.tail(this.child, 'seek', req)
    return this.#seekBehind(frame, req)
  }

  copy_file_range: Fop<'copy_file_range'> = (frame, req) => {
    if (this.#isBehind(req.fdOut.inode)) return { errno: E.ROFS }
    // The kernel copies by reading and writing then.
    if (this.#isBehind(req.fdIn.inode)) return { errno: E.XDEV }
    return frame.tail(this.child, 'copy_file_range', req)
  }

  /** Snapd does not tell of holes: all is data, and the only hole is at the end. */
  async #seekBehind(frame: Frame, { fd, offset, what }: Req<'seek'>): Promise<Rep<'seek'>> {
    const rep = await frame.wind(this.#snapd, 'fstat', { fd })
    if (rep.errno !== 0) return rep
    if (offset >= rep.stat.size) return { errno: E.NXIO }
    return { errno: 0, offset: what === SEEK_DATA ? offset : rep.stat.size }
  }

  // -- which side

  get #snapd(): AnyXlator {
    return this.children[1]!
  }

  #isBehind(inode: Inode): boolean {
    return this.#behind.get(inode) !== undefined
  }

  #childOf(inode: Inode): AnyXlator {
    return this.#isBehind(inode) ? this.#snapd : this.child
  }

  /** The name may not be made, removed or replaced. */
  #isReadOnly({ inode, parent, name }: Loc): boolean {
    if (name === this.options['snapshot-directory'] || this.#isBehind(inode)) return true
    return parent !== undefined && this.#isBehind(parent)
  }

  #onLoc<K extends OnLoc>(fop: K, refusal: Errno | undefined): void {
    this.#serve(fop, (frame: Frame, req: Req<K>): MaybePromise<Rep<K>> => {
      if (!this.#isBehind(req.loc.inode)) return frame.tail(this.child, fop, req)
      return refusal === undefined ? frame.tail(this.#snapd, fop, req) : { errno: refusal }
    })
  }

  #onFd<K extends OnFd>(fop: K, refusal: Errno | undefined): void {
    this.#serve(fop, (frame: Frame, req: Req<K>): MaybePromise<Rep<K>> => {
      if (!this.#isBehind(req.fd.inode)) return frame.tail(this.child, fop, req)
      return refusal === undefined ? frame.tail(this.#snapd, fop, req) : { errno: refusal }
    })
  }

  #naming<K extends (typeof NAMING)[number]>(fop: K): void {
    this.#serve(fop, (frame: Frame, req: Req<K>): MaybePromise<Rep<K>> => {
      return this.#isReadOnly(req.loc) ? { errno: E.ROFS } : frame.tail(this.child, fop, req)
    })
  }

  #serve<K extends FopName>(fop: K, serve: (f: Frame, req: Req<K>) => MaybePromise<Rep<K>>): void {
    Object.assign(this as unknown as FopTable, { [fop]: serve })
  }

  // -- lookups

  /** Which side has it is seen from the inode, or found out: a new graph has no contexts. */
  #byGfid(frame: Frame, req: Req<'lookup'>): MaybePromise<Rep<'lookup'>> {
    const { inode } = req.loc
    if (inode.isRoot || this.#isOfVolume(inode)) return frame.tail(this.child, 'lookup', req)
    if (this.#isBehind(inode)) return this.#lookBehind(frame, req)
    return this.#search(frame, req)
  }

  async #search(frame: Frame, req: Req<'lookup'>): Promise<Rep<'lookup'>> {
    const rep = await frame.wind(this.child, 'lookup', req)
    if (rep.errno !== E.NOENT && rep.errno !== E.STALE) return rep
    const behind = await this.#lookBehind(frame, req)
    return behind.errno === 0 ? behind : rep
  }

  async #lookBehind(frame: Frame, req: Req<'lookup'>): Promise<Rep<'lookup'>> {
    const { inode } = req.loc
    const rep = await frame.wind(this.#snapd, 'lookup', req)
    if (rep.errno !== 0) return rep
    // Another object than the one known: the mount asks for it as for the first time.
    if (inode.gfid !== NULL_GFID && inode.gfid !== rep.stat.gfid) return { errno: E.STALE }
    const known = inode.table.byGfid(rep.stat.gfid)
    if (!this.#mark(inode) || (known !== undefined && !this.#mark(known))) return { errno: E.IO }
    return rep
  }

  /** The inode is behind the name from now on. False: it cannot be, it is one of the volume. */
  #mark(inode: Inode): boolean {
    if (this.#isBehind(inode)) return true
    if (inode.isRoot || this.#isOfVolume(inode)) {
      this.log.error(`snapd gave an object the gfid of ${inodePath(inode)}`)
      return false
    }
    this.#behind.set(inode, true)
    return true
  }

  #isOfVolume(inode: Inode): boolean {
    return inode.lookedUpGraph === this.graph.id && !this.#isBehind(inode)
  }

  // -- listings

  async #list<K extends 'readdir' | 'readdirp'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    const { inode } = req.fd
    if (this.#isBehind(inode)) return this.#listBehind(frame, fop, req)
    if (req.off === AFTER_ADDED && this.#shown.get(req.fd) === true) {
      return { errno: 0, entries: [], eof: true } as unknown as Rep<K>
    }
    let { off } = req
    for (;;) {
      const rep = await frame.wind(this.child, fop, { ...req, off } as Req<K>)
      if (rep.errno !== 0) return rep
      const page = rep as Ok<'readdirp'>
      const last = page.entries.at(-1)
      const name = this.options['snapshot-directory']
      const entries = page.entries.filter((entry) => entry.name !== name)
      // A page without entries would end the listing.
      if (entries.length > 0 || page.eof || last === undefined) {
        if (page.eof && this.#isShownIn(inode)) entries.push(...(await this.#added(frame, req)))
        return { ...page, entries } as unknown as Rep<K>
      }
      off = last.off
    }
  }

  async #listBehind<K extends 'readdir' | 'readdirp'>(
    frame: Frame,
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    const rep = await frame.wind(this.#snapd, fop, req)
    if (rep.errno !== 0) return rep
    for (const entry of (rep as Ok<'readdirp'>).entries) {
      const { name, inode } = entry
      if (inode === undefined || name === '.' || name === '..') continue
      if (!this.#mark(inode)) entry.inode = undefined
    }
    return rep
  }

  #isShownIn(directory: Inode): boolean {
    const { options } = this
    if (!options['show-snapshot-directory'] || options['snapdir-entry-path'] === '') return false
    return inodePath(directory) === options['snapdir-entry-path']
  }

  /** The entry at the end of a listing; none where snapd does not answer. */
  async #added(frame: Frame, { fd }: Req<'readdir'>): Promise<DirEntry[]> {
    const { table } = fd.inode
    const name = this.options['snapshot-directory']
    const known = table.child(fd.inode, name)
    const inode = known !== undefined && this.#isBehind(known) ? known : table.newInode()
    let loc = Loc.ofName(fd.inode, name, inode)
    let rep = await this.#lookBehind(frame, entryPoint({ loc }))
    if (rep.errno === E.STALE && inode === known) {
      loc = Loc.ofName(fd.inode, name, table.newInode())
      rep = await this.#lookBehind(frame, entryPoint({ loc }))
    }
    if (rep.errno !== 0) return []
    this.#shown.set(fd, true)
    return [addedEntry(name, table.byGfid(rep.stat.gfid) ?? loc.inode, rep.stat)]
  }
}

const O_ACCMODE = 0o3

const keysOf = <T extends object>(table: T): (keyof T)[] => Object.keys(table) as (keyof T)[]

function entryPoint(req: Req<'lookup'>): Req<'lookup'> {
  const xdata = (req.xdata?.clone() ?? new Dict()).setStr(ENTRY_POINT, 'true')
  return { ...req, xdata }
}

function addedEntry(name: string, inode: Inode, stat: Iatt): DirEntry {
  const { inoHi, inoLo } = stat
  return { name, inoHi, inoLo, off: AFTER_ADDED, type: DT_DIR, stat, inode }
}

/** Throws GlusterError. */
function check(options: Options): void {
  const name = options['snapshot-directory']
  if (
    !name.startsWith('.') ||
    name.length > NAME_MAX ||
    name.includes('/') ||
    /^\.\.?$/.test(name)
  ) {
    throw new GlusterError(
      'OPTION_INVALID',
      `option snapshot-directory ${name}: a name that begins with a dot is needed`,
    )
  }
  if (options['snapdir-entry-path'].includes(name)) {
    throw new GlusterError(
      'OPTION_INVALID',
      `option snapdir-entry-path ${options['snapdir-entry-path']}: it may not be in ${name}`,
    )
  }
}

export default defineXlator({
  type: 'features/snapview-client',
  class: SnapviewClient,
  options,
  children: 2,
})
