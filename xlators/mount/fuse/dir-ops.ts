/** Requests about directories: OPENDIR, READDIR, READDIRPLUS, RELEASEDIR, FSYNCDIR. */
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { DirEntry } from '../../../src/core/fop.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import * as abi from '../../../src/fuse/abi.ts'
import { DIRENT_BYTES, direntSize, ENTRY_OUT_BYTES } from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import { leafNames, moveDirOffset } from '../../../src/graph/dir-offset.ts'
import { useFile } from './file-ops.ts'
import type { OpenFile } from './files.ts'
import { giveBackIdleInodes } from './idle.ts'
import type { FuseBridge } from './index.ts'
import { openLate } from './listings.ts'
import { stale } from './rules.ts'

type Ops = Pick<FuseOps, 'opendir' | 'readdir' | 'readdirplus' | 'releasedir' | 'fsyncdir'>
type ReaddirIn = { fh: number; cookie: bigint; size: number }

export class DirOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  readonly #read = async (request: FuseRequest, input: ReaddirIn, plus: boolean): Promise<void> => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const errno = await openLate(request, file)
    if (errno !== 0) return void request.error(errno)
    // It stays ended until it is read from elsewhere.
    if (file.endsAfter === input.cookie) return void request.data([], 0)
    // Two threads may list by one handle: each takes what the other has not.
    let entries = file.restAfter === input.cookie ? file.rest : []
    file.rest = []
    file.restAfter = -1n
    if (entries.length === 0) {
      const fop = this.#bridge.options['use-readdirp'] ? 'readdirp' : 'readdir'
      const { size } = input
      const off = offsetFor(request, file, input.cookie)
      const rep = await request.frame.wind(request.top, fop, { fd: file.fd, size, off })
      if (rep.errno !== 0) return void request.error(rep.errno)
      file.leaves = leafNames(request.top)
      entries = rep.entries
      const last = entries.at(-1)
      file.endsAfter = rep.eof && last !== undefined ? BigInt.asUintN(64, last.off) : -1n
    }
    const page = new Page(this.#bridge, file.fd.inode, input.size, plus)
    let count = 0
    while (count < entries.length && page.add(entries[count]!)) count++
    keepRest(file, entries, count)
    // The smallest buffer the kernel sends holds the longest name; no entry ends the listing.
    if (request.data([page.bytes()], page.used)) giveBackIdleInodes(this.#bridge)
    else page.takeBack()
  }

  /** What the kernel may do with a listing: see Listings.flags. */
  readonly #keptListing = async (request: FuseRequest, inode: Inode): Promise<number> => {
    const { kernelCache, listings, options } = this.#bridge
    if (!kernelCache.leasing || options['fopen-keep-cache'] === false) return 0
    const now = await request.frame.wind(request.top, 'stat', { loc: Loc.ofInode(inode) })
    return listings.flags(inode, now)
  }

  opendir: Ops['opendir'] = async (request, { flags }) => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return void request.error(errno)
    const fopen = await this.#keptListing(request, inode)
    const fd = new Fd(inode, flags, request.pid)
    const unopened = (fopen & abi.FOPEN_KEEP_CACHE) !== 0
    if (!unopened) {
      const loc = Loc.ofInode(inode)
      const rep = await request.frame.wind(request.top, 'opendir', { loc, fd })
      if (rep.errno !== 0) return void request.error(stale(rep.errno))
    }
    const file = this.#bridge.files.add(fd)
    file.unopened = unopened
    if (!request.opened(file.fh, fopen)) this.#bridge.files.close(file)
  }

  readdir: Ops['readdir'] = (request, input) => {
    return this.#read(request, input, false)
  }

  readdirplus: Ops['readdirplus'] = (request, input) => {
    return this.#read(request, input, true)
  }

  releasedir: Ops['releasedir'] = (request, { fh }) => {
    const file = this.#bridge.files.get(fh)
    request.ok()
    if (file !== undefined) this.#bridge.files.close(file)
  }

  fsyncdir: Ops['fsyncdir'] = async (request, { fh, datasync }) => {
    const file = useFile(this.#bridge, request, fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const errno = await openLate(request, file)
    if (errno !== 0) return void request.error(errno)
    const rep = await request.frame.wind(request.top, 'fsyncdir', { fd: file.fd, datasync })
    if (rep.errno !== 0) return void request.error(rep.errno)
    request.ok()
  }
}

/** Where the listing goes on; other bricks than at the last reply number their offsets anew. */
function offsetFor(request: FuseRequest, file: OpenFile, cookie: bigint): bigint {
  const before = file.leaves
  const now = leafNames(request.top)
  if (before === undefined || before === now || before.join() === now.join()) return cookie
  return moveDirOffset(cookie, before, now)
}

/** Entries that did not fit are for the next request, which goes on where this one ended. */
function keepRest(file: OpenFile, entries: DirEntry[], sent: number): void {
  if (sent === 0 || sent === entries.length) return
  file.rest = entries.slice(sent)
  file.restAfter = BigInt.asUintN(64, entries[sent - 1]!.off)
}

/** One reply of READDIR or READDIRPLUS: whole records up to the size asked for. */
class Page {
  readonly #bridge: FuseBridge
  readonly #directory: Inode
  readonly #plus: boolean
  readonly #buffer: Buffer
  /** Inodes the page hands to the kernel. */
  readonly #counted: Inode[] = []
  used = 0

  constructor(bridge: FuseBridge, directory: Inode, size: number, plus: boolean) {
    this.#bridge = bridge
    this.#directory = directory
    this.#plus = plus
    this.#buffer = Buffer.allocUnsafe(size)
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.used)
  }

  /** False when the entry does not fit. */
  add(entry: DirEntry): boolean {
    const fixed = this.#plus ? ENTRY_OUT_BYTES + DIRENT_BYTES : DIRENT_BYTES
    const size = direntSize(fixed, entry.name.length)
    if (this.used + size > this.#buffer.length) return false
    const { style } = this.#bridge.device
    let at = this.used
    if (this.#plus) {
      this.#putEntry(entry, at)
      at += ENTRY_OUT_BYTES
    }
    const dirent = {
      gfid: this.#gfidOf(entry),
      inoHi: entry.inoHi,
      inoLo: entry.inoLo,
      off: entry.off,
      type: entry.type,
    }
    abi.putDirent(this.#buffer, at, this.used + size - at, dirent, entry.name, style)
    this.used += size
    return true
  }

  #gfidOf(entry: DirEntry): Gfid | undefined {
    if (entry.name === '.') return this.#directory.gfid
    if (entry.name === '..') return (this.#directory.dentries[0]?.parent ?? this.#directory).gfid
    const gfid = entry.stat?.gfid
    return gfid === undefined || gfid === NULL_GFID ? undefined : gfid
  }

  /** The entry_out of a direntplus; all zero (nodeid 0) leaves the kernel to look the name up. */
  #putEntry(entry: DirEntry, at: number): void {
    const linked = this.#link(entry)
    if (linked === undefined) {
      this.#buffer.fill(0, at, at + ENTRY_OUT_BYTES)
      return
    }
    const bridge = this.#bridge
    const stat = entry.stat!
    // Translators zero ctime where they know that the attributes are not the true ones.
    const trusted = stat.ctime !== 0
    const out = {
      nodeid: linked.nodeid,
      gfid: linked.gfid,
      stat,
      entryValid: bridge.kernelCache.entry(this.#directory, entry.name, linked),
      attrValid: trusted ? bridge.kernelCache.attributes(linked, stat) : abi.NO_VALIDITY,
    }
    abi.putEntry(this.#buffer, at, out, bridge.device.style)
    if (trusted) bridge.observe(linked, stat)
  }

  #link(entry: DirEntry): Inode | undefined {
    const { inode, stat, name } = entry
    if (inode === undefined || stat === undefined || stat.gfid === NULL_GFID) return undefined
    if (name === '.' || name === '..') return undefined
    const { table } = this.#bridge
    const linked = table.link(inode, this.#directory, name, stat)
    if (linked === undefined) return undefined
    table.countLookup(linked)
    this.#counted.push(linked)
    return linked
  }

  /** The kernel did not take the page: nor the inodes. */
  takeBack(): void {
    for (const inode of this.#counted) this.#bridge.takeBack(inode)
  }
}
