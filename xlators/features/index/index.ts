/**
 * features/index: which inodes of a brick need healing. Watches xattrop: a file whose pending or
 * dirty counters become non-zero gets an entry in an index before they do, and loses it when they
 * are all zero again. The self-heal daemon reads the indices as directories whose gfids it asks for
 * with getxattr on the root. Not kept: `glusterfs.index-ia-type-get-req`.
 */
import { createHash } from 'node:crypto'
import { FdContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type DirEntry,
  type Fop,
  type FopError,
  type MaybePromise,
  type Rep,
  type Req,
  XATTROP_ADD_ARRAY,
  XATTROP_ADD_ARRAY_WITH_DEFAULT,
  XATTROP_ADD_ARRAY64,
  XATTROP_ADD_ARRAY64_WITH_DEFAULT,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, gfidToBytes, newGfid, parseGfid } from '../../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { readEntries, seekDir } from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD, errnoOf } from '../../../src/sys/libc.ts'
import type { Stat } from '../../../src/sys/stat.ts'
import { IndexStore, isGfidName, SUB_INDICES, type SubIndex } from './store.ts'

export const options = defineOptions({
  'index-base': { type: 'path', description: 'Where the index files are.' },
  'xattrop-pending-watchlist': {
    type: 'str',
    description: 'Prefixes of counters that mean a pending heal, comma-separated.',
  },
  'xattrop64-watchlist': {
    type: 'str',
    description: 'Prefixes of 64-bit counters that mean a pending heal.',
  },
  'xattrop-dirty-watchlist': {
    type: 'str',
    description: 'Prefixes of counters that mean an unfinished change.',
  },
})

const GFID_KEYS: ReadonlyMap<string, SubIndex> = new Map([
  ['glusterfs.xattrop_index_gfid', 'xattrop'],
  ['glusterfs.xattrop_dirty_gfid', 'dirty'],
  ['glusterfs.xattrop_entry_changes_gfid', 'entry-changes'],
])
const COUNT_KEYS: ReadonlyMap<string, SubIndex> = new Map([
  ['glusterfs.xattrop_index_count', 'xattrop'],
  ['glusterfs.xattrop_dirty_count', 'dirty'],
])
const LINK_COUNT = 'link-count'
const ENTRY_CREATE = 'glusterfs.xattrop-entry-create'
const ENTRY_DELETE = 'glusterfs.xattrop-entry-delete'
const PURGE = 'glusterfs.xattrop-purge-index'
const GET_TYPE = 'get-gfid-type'

const ENTRY_OVERHEAD_BYTES = 208
const NAME_BYTES_MAX = 255
/** Directories of entry-changes that were looked up and can be opened by gfid. */
const SUBDIRS_MAX = 4096
const DT_OF_TYPE = 12

/** An index directory behind a virtual gfid. */
interface Place {
  path: string
  sub: SubIndex
  /** Of a directory below entry-changes: the gfid it is about. */
  about: string | undefined
}

interface OpenIndex {
  fd: number
  place: Place
}

const prefixes = (text: string | undefined): readonly string[] =>
  (text ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '')

const fail = (result: number): FopError => ({ errno: errnoOf(result) })

export class Index extends Xlator<typeof options> {
  #store!: IndexStore
  readonly #places = new Map<Gfid, Place>()
  readonly #gfids = new Map<SubIndex, Gfid>()
  readonly #open = new FdContext<OpenIndex>(this as unknown as Xlator)
  /** The last xattrop under way of an inode that has to wait for something below. */
  readonly #busy = new Map<Gfid, Promise<unknown>>()

  override init(): void {
    const base = this.options['index-base']
    if (base === undefined) {
      throw new GlusterError('OPTION_INVALID', `volume '${this.name}': index-base is missing`)
    }
    this.#store = new IndexStore(base)
    for (const sub of SUB_INDICES) {
      const gfid = newGfid()
      this.#gfids.set(sub, gfid)
      this.#places.set(gfid, { path: this.#store.dir(sub), sub, about: undefined })
    }
  }

  /** The directories are below the brick's own, which exists once the brick is up. */
  override notify(event: Event, from: Xlator | undefined): void {
    if (event.type === 'child-up') {
      const rc = this.#store.start()
      if (rc < 0) {
        this.log.fatal(`index-base ${this.#store.base} cannot be made: errno ${-rc}`)
        this.notifyParents({ type: 'child-down' })
        return
      }
    }
    super.notify(event, from)
  }

  // --- watching ----------------------------------------------------------------------------------

  xattrop: Fop<'xattrop'> = (frame, req) => {
    const go = (): MaybePromise<Rep<'xattrop'>> => frame.wind(this.child, 'xattrop', req)
    return this.#watched(frame, req.loc.gfid, req, go)
  }

  fxattrop: Fop<'fxattrop'> = (frame, req) => {
    const go = (): MaybePromise<Rep<'fxattrop'>> => frame.wind(this.child, 'fxattrop', req)
    return this.#watched(frame, req.fd.inode.gfid, req, go)
  }

  #watched(
    frame: Frame,
    gfid: Gfid,
    req: { op: number; dict: Dict; xdata?: Dict | undefined },
    go: () => MaybePromise<Rep<'xattrop'>>,
  ): MaybePromise<Rep<'xattrop'>> {
    const kinds = isAdd(req.op) ? this.#kindsIn(req.dict) : new Map<SubIndex, boolean>()
    if (kinds.size === 0 && !namesEntry(req.xdata)) return this.#withLinkCount(req.xdata, go())
    const busy = this.#busy.get(gfid)
    const run = (): MaybePromise<Rep<'xattrop'>> => this.#carryOut(frame, gfid, req, kinds, go)
    const rep = busy === undefined ? run() : busy.then(run, run)
    if (rep instanceof Promise) {
      this.#busy.set(gfid, rep)
      const finished = (): void => {
        if (this.#busy.get(gfid) === rep) this.#busy.delete(gfid)
      }
      rep.then(finished, finished)
    }
    return this.#withLinkCount(req.xdata, rep)
  }

  /** Entry before, counters, entry away if they are zero. */
  #carryOut(
    frame: Frame,
    gfid: Gfid,
    req: { xdata?: Dict | undefined },
    kinds: ReadonlyMap<SubIndex, boolean>,
    go: () => MaybePromise<Rep<'xattrop'>>,
  ): MaybePromise<Rep<'xattrop'>> {
    const text = gfidText(gfid)
    for (const [sub, isAdding] of kinds) {
      const rc = isAdding ? this.#store.add(sub, text) : 0
      if (rc < 0) return fail(rc)
    }
    const named = this.#nameChanges(frame, text, req.xdata)
    if (named < 0) return fail(named)
    const rep = go()
    const settle = (answer: Rep<'xattrop'>): Rep<'xattrop'> => {
      if (answer.errno === 0) {
        for (const [sub, isZero] of this.#zeroKinds(answer.dict)) {
          if (isZero) this.#store.remove(sub, text)
          else if (kinds.get(sub) !== true) this.#store.add(sub, text)
        }
      }
      return answer
    }
    return rep instanceof Promise ? rep.then(settle) : settle(rep)
  }

  /** Names that changed in a directory while a copy was away (granular entry heal). */
  #nameChanges(frame: Frame, gfid: string, xdata: Dict | undefined): number {
    if (xdata === undefined) return 0
    const created = xdata.getStr(ENTRY_CREATE)
    const deleted = xdata.getStr(ENTRY_DELETE)
    for (const name of [created, deleted]) {
      if (name !== undefined && !isEntryName(name)) return -E.INVAL
    }
    let rc = 0
    if (created !== undefined) rc = this.#store.addName(gfid, created)
    if (rc >= 0 && deleted !== undefined) rc = this.#store.removeName(gfid, deleted)
    if (rc >= 0 && xdata.has(PURGE)) rc = this.#store.purge(gfid)
    if (rc < 0) frame.xl.log.warn(`entry-changes of ${gfid}: errno ${-rc}`)
    return rc
  }

  #kindOf(key: string): SubIndex | undefined {
    const starts = (list: string | undefined): boolean =>
      prefixes(list).some((prefix) => key.startsWith(prefix))
    if (starts(this.options['xattrop-dirty-watchlist'])) return 'dirty'
    if (starts(this.options['xattrop-pending-watchlist'])) return 'xattrop'
    return starts(this.options['xattrop64-watchlist']) ? 'xattrop' : undefined
  }

  /** Watched kinds in a request, with whether any addend is not zero. */
  #kindsIn(dict: Dict): Map<SubIndex, boolean> {
    const kinds = new Map<SubIndex, boolean>()
    for (const [sub, isZero] of this.#zeroKinds(dict)) kinds.set(sub, !isZero)
    return kinds
  }

  /** Watched kinds in a dictionary of counters, with whether all of them are zero. */
  #zeroKinds(dict: Dict): Map<SubIndex, boolean> {
    const kinds = new Map<SubIndex, boolean>()
    for (const key of dict.entries.keys()) {
      const sub = this.#kindOf(key)
      if (sub === undefined) continue
      const isZero = dict.getBytes(key)?.every((byte) => byte === 0) ?? true
      kinds.set(sub, (kinds.get(sub) ?? true) && isZero)
    }
    return kinds
  }

  // --- link-count --------------------------------------------------------------------------------

  /** Whether anything is pending rides on replies, failed lookups included. */
  #withLinkCount<R extends { xdata?: Dict | undefined }>(
    req: Dict | undefined,
    rep: MaybePromise<R>,
  ): MaybePromise<R> {
    // The key's value names the index.
    const sub = COUNT_KEYS.get(req?.getStr(LINK_COUNT) ?? '')
    if (sub === undefined) return rep
    const add = (answer: R): R => {
      const xdata = answer.xdata ?? new Dict()
      xdata.setInt(LINK_COUNT, this.#store.count(sub) > 0 ? 1 : 0)
      return { ...answer, xdata }
    }
    return rep instanceof Promise ? rep.then(add) : add(rep)
  }

  fstat: Fop<'fstat'> = (frame, req) => {
    const open = this.#open.get(req.fd)
    if (open !== undefined) {
      const stat = this.#statDir(open.place, req.fd.inode.gfid)
      return typeof stat === 'number' ? fail(stat) : { errno: 0, stat }
    }
    if (req.xdata?.has(LINK_COUNT) !== true) return frame.tail(this.child, 'fstat', req)
    return this.#withLinkCount(req.xdata, frame.wind(this.child, 'fstat', req))
  }

  // --- indices as directories --------------------------------------------------------------------

  lookup: Fop<'lookup'> = (frame, req) => {
    const parent = this.#places.get(req.loc.pargfid)
    if (parent !== undefined && req.loc.name !== undefined) {
      return this.#lookupIn(parent, req.loc.pargfid, req.loc.name)
    }
    const place = req.loc.name === undefined ? this.#places.get(req.loc.gfid) : undefined
    if (place !== undefined) {
      const stat = this.#statDir(place, req.loc.gfid)
      return typeof stat === 'number' ? fail(stat) : { errno: 0, stat, postparent: new Iatt() }
    }
    if (req.xdata?.has(LINK_COUNT) !== true) return frame.tail(this.child, 'lookup', req)
    return this.#withLinkCount(req.xdata, frame.wind(this.child, 'lookup', req))
  }

  #lookupIn(parent: Place, pargfid: Gfid, name: string): Rep<'lookup'> {
    if (!isEntryName(name)) return { errno: E.INVAL }
    const path = `${parent.path}/${name}`
    const stat = this.#store.stat(path)
    if (typeof stat === 'number') return fail(stat)
    const gfid = virtualGfid(pargfid, name)
    if ((stat.mode & S_IFMT) === S_IFDIR) {
      this.#places.set(gfid, { path, sub: parent.sub, about: name })
      this.#limitPlaces()
    }
    const postparent = this.#statDir(parent, pargfid)
    if (typeof postparent === 'number') return fail(postparent)
    return { errno: 0, stat: virtualIatt(stat, gfid), postparent }
  }

  /** The oldest directories of entry-changes are forgotten; the indices themselves never. */
  #limitPlaces(): void {
    if (this.#places.size <= SUBDIRS_MAX) return
    for (const [gfid, place] of this.#places) {
      if (place.about === undefined) continue
      this.#places.delete(gfid)
      return
    }
  }

  #statDir(place: Place, gfid: Gfid): Iatt | number {
    const stat = this.#store.stat(place.path)
    return typeof stat === 'number' ? stat : virtualIatt(stat, gfid)
  }

  stat: Fop<'stat'> = (frame, req) => {
    const place = this.#places.get(req.loc.gfid)
    if (place === undefined) return frame.tail(this.child, 'stat', req)
    const stat = this.#statDir(place, req.loc.gfid)
    return typeof stat === 'number' ? fail(stat) : { errno: 0, stat }
  }

  opendir: Fop<'opendir'> = (frame, req) => {
    const place = this.#places.get(req.loc.gfid)
    if (place === undefined) return frame.tail(this.child, 'opendir', req)
    const fd = entry.openAt(AT_FDCWD, place.path, entry.O_DIRECTORY)
    if (fd < 0) return fail(fd)
    this.#open.set(req.fd, { fd, place })
    return { errno: 0, fd: req.fd }
  }

  readdir: Fop<'readdir'> = (frame, req) => {
    const open = this.#open.get(req.fd)
    if (open === undefined) {
      const place = this.#places.get(req.fd.inode.gfid)
      if (place === undefined) return frame.tail(this.child, 'readdir', req)
      const fd = entry.openAt(AT_FDCWD, place.path, entry.O_DIRECTORY)
      if (fd < 0) return fail(fd)
      const rep = this.#list({ fd, place }, req)
      entry.close(fd)
      return this.#withTypes(frame, req, rep)
    }
    return this.#withTypes(frame, req, this.#list(open, req))
  }

  readdirp: Fop<'readdirp'> = (frame, req) =>
    this.#open.get(req.fd) === undefined && !this.#places.has(req.fd.inode.gfid)
      ? frame.tail(this.child, 'readdirp', req)
      : this.readdir(frame, req)

  #list(open: OpenIndex, req: Req<'readdir'>): Rep<'readdir'> {
    const { fd, place } = open
    const rc = seekDir(fd, req.off)
    if (rc < 0 && req.off < 1n << 53n) return fail(rc)
    const entries: DirEntry[] = []
    let room = req.size
    for (;;) {
      const batch = readEntries(fd)
      if (typeof batch === 'number') return fail(batch)
      if (batch.length === 0) return { errno: 0, entries, eof: true }
      for (const raw of batch) {
        const { name, inoHi, inoLo, off, type } = raw
        if (name === '.' || name === '..') continue
        if (place.about === undefined && !isGfidName(name)) {
          this.#store.dropStaleBase(place.sub, name)
          continue
        }
        room -= ENTRY_OVERHEAD_BYTES + name.length + 1
        if (room < 0) return { errno: 0, entries, eof: false }
        entries.push({ name, inoHi, inoLo, off, type })
      }
    }
  }

  /** `get-gfid-type`: the type of the inode an entry is about, as the entry's type. */
  async #withTypes(
    frame: Frame,
    req: Req<'readdir'>,
    rep: Rep<'readdir'>,
  ): Promise<Rep<'readdir'>> {
    if (rep.errno !== 0 || req.xdata?.has(GET_TYPE) !== true) return rep
    for (const one of rep.entries) {
      const gfid = parseGfid(one.name)
      if (gfid === undefined) continue
      const loc = Loc.ofGfid(this.graph.inodes, gfid)
      const found = await frame.wind(this.child, 'lookup', { loc })
      one.type = found.errno === 0 ? (found.stat.mode & S_IFMT) >> DT_OF_TYPE : 0
    }
    return rep
  }

  unlink: Fop<'unlink'> = (frame, req) => {
    const place = this.#places.get(req.loc.pargfid)
    const name = req.loc.name
    if (place === undefined || name === undefined) return frame.tail(this.child, 'unlink', req)
    if (!isEntryName(name)) return { errno: E.INVAL }
    const preparent = this.#statDir(place, req.loc.pargfid)
    if (typeof preparent === 'number') return fail(preparent)
    const rc = this.#removeEntry(place, name)
    if (rc < 0) return fail(rc)
    const postparent = this.#statDir(place, req.loc.pargfid)
    return typeof postparent === 'number' ? fail(postparent) : { errno: 0, preparent, postparent }
  }

  #removeEntry(place: Place, name: string): number {
    if (place.about !== undefined) return this.#store.removeName(place.about, name)
    if (!isGfidName(name)) return -E.INVAL
    return place.sub === 'entry-changes'
      ? this.#store.purge(name)
      : this.#store.remove(place.sub, name)
  }

  rmdir: Fop<'rmdir'> = (frame, req) => {
    const place = this.#places.get(req.loc.pargfid)
    const name = req.loc.name
    if (place === undefined || name === undefined) return frame.tail(this.child, 'rmdir', req)
    if (place.sub !== 'entry-changes' || !isGfidName(name)) return { errno: E.INVAL }
    const preparent = this.#statDir(place, req.loc.pargfid)
    if (typeof preparent === 'number') return fail(preparent)
    const rc = this.#store.removeEntryDir(name)
    if (rc < 0) return fail(rc)
    const postparent = this.#statDir(place, req.loc.pargfid)
    return typeof postparent === 'number' ? fail(postparent) : { errno: 0, preparent, postparent }
  }

  getxattr: Fop<'getxattr'> = (frame, req) => {
    const { name } = req
    if (name === undefined) return frame.tail(this.child, 'getxattr', req)
    const vgfid = GFID_KEYS.get(name)
    if (vgfid !== undefined) {
      const dict = new Dict().setBytes(name, gfidToBytes(this.#gfids.get(vgfid)!))
      return { errno: 0, dict }
    }
    const counted = COUNT_KEYS.get(name)
    if (counted === undefined) return frame.tail(this.child, 'getxattr', req)
    return { errno: 0, dict: new Dict().setUint(name, this.#store.count(counted)) }
  }

  override releasedir(fd: Fd): void {
    const open = this.#open.get(fd)
    if (open !== undefined) entry.close(open.fd)
  }

  override release(fd: Fd): void {
    this.releasedir(fd)
  }

  override dump(sink: DumpSink): void {
    for (const sub of SUB_INDICES) sink.pair(`${sub}-count`, this.#store.count(sub))
  }
}

const isAdd = (op: number): boolean =>
  op === XATTROP_ADD_ARRAY ||
  op === XATTROP_ADD_ARRAY64 ||
  op === XATTROP_ADD_ARRAY_WITH_DEFAULT ||
  op === XATTROP_ADD_ARRAY64_WITH_DEFAULT

const namesEntry = (xdata: Dict | undefined): boolean =>
  xdata !== undefined && (xdata.has(ENTRY_CREATE) || xdata.has(ENTRY_DELETE) || xdata.has(PURGE))

/** A single name that stays inside its directory. */
const isEntryName = (name: string): boolean =>
  name !== '' &&
  name !== '.' &&
  name !== '..' &&
  name.length <= NAME_BYTES_MAX &&
  !name.includes('/') &&
  !name.includes('\0')

/** Identity of something below an index: the same at each lookup, equal to no real gfid. */
function virtualGfid(parent: Gfid, name: string): Gfid {
  const digest = createHash('sha1').update(parent, 'latin1').update(name, 'latin1').digest()
  return digest.latin1Slice(0, 16) as Gfid
}

function virtualIatt(stat: Stat, gfid: Gfid): Iatt {
  const iatt = new Iatt()
  iatt.gfid = gfid
  iatt.flags = 0x17ff
  iatt.inoHi = 0xffffffff
  iatt.inoLo = 0xffffffff
  iatt.mode = (stat.mode & S_IFMT) === S_IFDIR ? stat.mode : S_IFREG | (stat.mode & 0o7777)
  iatt.nlink = stat.nlink
  iatt.uid = stat.uid
  iatt.gid = stat.gid
  iatt.size = stat.size
  iatt.blksize = stat.blksize
  iatt.blocks = stat.blocks
  iatt.atime = stat.atime
  iatt.atimeNsec = stat.atimeNsec
  iatt.mtime = stat.mtime
  iatt.mtimeNsec = stat.mtimeNsec
  iatt.ctime = stat.ctime
  iatt.ctimeNsec = stat.ctimeNsec
  return iatt
}

export default defineXlator({ type: 'features/index', class: Index, options, children: 1 })
