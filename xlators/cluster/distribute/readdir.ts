/**
 * Listing a directory: one subvolume after the other, each name from one of them. Unlike stock the
 * subvolumes begin together, and short replies are joined.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { DirEntry, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { isDir } from '../../../src/core/iatt.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { fixDirSize, hasMigratingMode, hideMigration, isLinkto } from './attributes.ts'
import type { Distribute } from './index.ts'
import { FILTER_DIRECTORIES, LINKTO_REQUEST_BYTES } from './keys.ts'
import type { Layout } from './layout.ts'
import { gfidLoc } from './locks.ts'
import { anyOk, worstError } from './subvolumes.ts'

/** Subvolumes that are read at once when a listing begins. */
const AT_ONCE_MAX = 8
const NOTHING_READ: ReadonlyMap<number, Rep<'readdirp'>> = new Map()
/** dirent.h */
const DT_DIR = 4
/** Names of directories kept from listings of one directory. */
const LISTED_MAX = 1024
/** struct fuse_dirent without the name, and struct fuse_entry_out. */
const DIRENT_BYTES = 24
const ENTRY_BYTES = 128

export async function opendir(
  dht: Distribute,
  frame: Frame,
  req: Req<'opendir'>,
): Promise<Rep<'opendir'>> {
  const xdata = listingXdata(dht, req.xdata)
  const replies = await frame.windAll(dht.children, 'opendir', () => ({ ...req, xdata }))
  return anyOk<'opendir'>(replies) ?? worstError<'opendir'>(replies)
}

function listingXdata(dht: Distribute, given: Dict | undefined): Dict {
  return (given?.clone() ?? new Dict()).setUint(dht.keys.linkto, LINKTO_REQUEST_BYTES)
}

export function readdirp(
  dht: Distribute,
  frame: Frame,
  req: Req<'readdirp'>,
): Promise<Rep<'readdirp'>> {
  return list(dht, frame, 'readdirp', req)
}

/** readdir: read with attributes where only they tell linktos and misplaced directories. */
export async function readdir(
  dht: Distribute,
  frame: Frame,
  req: Req<'readdir'>,
): Promise<Rep<'readdir'>> {
  const plus = dht.options['use-readdirp'] || !dht.states.allUp
  const rep = await list(dht, frame, plus ? 'readdirp' : 'readdir', req)
  if (rep.errno !== 0) return rep
  for (const entry of rep.entries) {
    entry.stat = undefined
    entry.xdata = undefined
    entry.inode = undefined
  }
  return rep
}

/** A place in the listing. */
interface Position {
  child: number
  off: bigint
}

async function list(
  dht: Distribute,
  frame: Frame,
  fop: 'readdir' | 'readdirp',
  req: Req<'readdirp'>,
): Promise<Rep<'readdirp'>> {
  const layout = dht.inodes.get(req.fd.inode)?.layout
  const xdata = fop === 'readdirp' ? listingXdata(dht, req.xdata) : req.xdata
  const read = (child: number, off: bigint): MaybePromise<Rep<'readdirp'>> =>
    readFrom(dht, frame, dht.children[child]!, fop, {
      ...req,
      off,
      xdata: xdataFor(dht, child, xdata),
    })
  let position = startOf(dht, req)
  const starts = req.off === 0n ? await readStarts(dht, read) : NOTHING_READ
  const joined: DirEntry[] = []
  let bytes = 0
  let before: Dict | undefined
  // Every turn adds to the answer, goes to the next subvolume, or moves on in this one.
  while (position !== undefined) {
    const { child, off }: Position = position
    const start = off === 0n ? starts.get(child) : undefined
    // What can be shown does not wait for more.
    if (joined.length > 0 && start === undefined) break
    const batch = start ?? (await read(child, off))
    if (batch.errno !== 0) {
      if (joined.length > 0) break
      if (batch.errno !== E.NOTCONN && batch.errno !== E.NOENT) return batch
      const next: Position | undefined = nextOf(dht, child)
      if (next === undefined && batch.errno === E.NOTCONN && !dht.states.anyUp) return batch
      position = next
      continue
    }
    const last = batch.entries.at(-1)
    const kept = batch.entries.filter((entry) => keep(dht, layout, child, entry, fop))
    bytes += bytesOf(kept, fop)
    if (joined.length > 0 && bytes > req.size) break
    joined.push(...kept)
    before ??= batch.xdata
    if (batch.eof || last === undefined) {
      position = nextOf(dht, child)
      continue
    }
    position = { child, off: last.off }
    if (joined.length > 0) break
  }
  remember(dht, req, joined, position)
  noteDirectories(dht, req, joined)
  return { errno: 0, entries: joined, eof: position === undefined, xdata: before }
}

/**
 * The first replies of the subvolumes, read at once. Whatever does not fit into this answer is read
 * anew by the request for it: kept, its attributes could be older than changes of ours.
 */
async function readStarts(
  dht: Distribute,
  read: (child: number, off: bigint) => MaybePromise<Rep<'readdirp'>>,
): Promise<ReadonlyMap<number, Rep<'readdirp'>>> {
  const children: number[] = []
  let next = nextOf(dht, -1)
  while (next !== undefined && children.length < AT_ONCE_MAX) {
    children.push(next.child)
    next = nextOf(dht, next.child)
  }
  const replies = await Promise.all(children.map((child) => read(child, 0n)))
  return new Map(children.map((child, i) => [child, replies[i]!]))
}

/** What the entries take in an answer to the kernel. */
function bytesOf(entries: readonly DirEntry[], fop: 'readdir' | 'readdirp'): number {
  let bytes = 0
  for (const { name } of entries) {
    bytes += DIRENT_BYTES + Math.ceil(name.length / 8) * 8 + (fop === 'readdirp' ? ENTRY_BYTES : 0)
  }
  return bytes
}

/** Where the listing continues: encoded in the offset, or known from the answer before. */
function startOf(dht: Distribute, req: Req<'readdirp'>): Position | undefined {
  if (req.off === 0n) return nextOf(dht, -1)
  const state = dht.fds.get(req.fd)
  if (state?.ended !== undefined && state.ended.off === req.off) return { ...state.ended.next }
  return { child: dht.childOfOffset(req.off), off: req.off }
}

/** The subvolume after `child` that is up. */
function nextOf(dht: Distribute, child: number): Position | undefined {
  for (let next = child + 1; next < dht.children.length; next++) {
    if (dht.states.isUp(next)) return { child: next, off: 0n }
  }
  return undefined
}

/** Where a subvolume ended with this answer the next request need not ask it again. */
function remember(
  dht: Distribute,
  req: Req<'readdirp'>,
  entries: readonly DirEntry[],
  next: Position | undefined,
): void {
  const last = entries.at(-1)
  const state = dht.fdState(req.fd)
  const starts = next !== undefined && next.off === 0n
  state.ended = starts && last !== undefined ? { off: last.off, next } : undefined
}

/** Their lookups will come, and then ask all subvolumes at once. */
function noteDirectories(dht: Distribute, { fd, off }: Req<'readdirp'>, entries: DirEntry[]): void {
  const state = dht.inodes.get(fd.inode)
  if (state === undefined) return
  if (off === 0n) state.listedDirectories = undefined
  for (const { name, type, stat } of entries) {
    if (stat === undefined ? type !== DT_DIR : !isDir(stat)) continue
    if (name === '.' || name === '..') continue
    state.listedDirectories ??= new Set()
    if (state.listedDirectories.size >= LISTED_MAX) return
    state.listedDirectories.add(name)
  }
}

/** A subvolume that came up after opendir does not know the fd: it is opened there now. */
async function readFrom(
  _dht: Distribute,
  frame: Frame,
  sub: Xlator,
  fop: 'readdir' | 'readdirp',
  req: Req<'readdirp'>,
): Promise<Rep<'readdirp'>> {
  const rep = await frame.wind(sub, fop, req)
  if (rep.errno !== E.BADF && rep.errno !== E.BADFD) return rep
  const opened = await frame.wind(sub, 'opendir', { loc: gfidLoc(req.fd.inode), fd: req.fd })
  return opened.errno === 0 ? frame.wind(sub, fop, req) : rep
}

function xdataFor(dht: Distribute, child: number, xdata: Dict | undefined): Dict | undefined {
  if (!dht.options['readdir-optimize'] || child === dht.firstUp()) return xdata
  return (xdata?.clone() ?? new Dict()).setInt(FILTER_DIRECTORIES, 1)
}

/** Is this entry shown from this subvolume? Completes those that are. */
function keep(
  dht: Distribute,
  layout: Layout | undefined,
  child: number,
  entry: DirEntry,
  fop: 'readdir' | 'readdirp',
): boolean {
  const sub = dht.children[child]!
  if (fop === 'readdir') {
    const hashed = layout?.find(dht.hasher.hash(entry.name))
    return hashed === undefined || hashed === sub
  }
  const { stat } = entry
  // A subvolume with copies that are behind leaves attributes to a lookup.
  if (stat === undefined) {
    return entry.type !== DT_DIR || keepDirectory(dht, layout, child, entry.name)
  }
  if (isDir(stat)) {
    if (!keepDirectory(dht, layout, child, entry.name)) return false
    entry.inode = undefined
    fixDirSize(stat)
    return true
  }
  if (isLinkto(stat, entry.xdata, dht.keys)) return false
  if (hasMigratingMode(stat) && entry.xdata?.has(dht.keys.linkto)) hideMigration(stat)
  const { inode } = entry
  if (inode !== undefined && dht.inodes.get(inode) === undefined) {
    dht.rememberFile(inode, stat.gfid, sub)
  }
  return true
}

/** A directory is everywhere: it is shown from where its name hashes to, else from the first. */
function keepDirectory(
  dht: Distribute,
  layout: Layout | undefined,
  child: number,
  name: string,
): boolean {
  if (!dht.options['readdir-optimize']) {
    const hashed = layout?.find(dht.hasher.hash(name))
    const index = hashed === undefined ? -1 : dht.children.indexOf(hashed)
    if (index >= 0 && dht.states.isUp(index)) return index === child
  }
  return child === dht.firstUp()
}
