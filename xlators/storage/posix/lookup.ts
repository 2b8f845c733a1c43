/** lookup, readdir, readdirp. */
import { clock } from '../../../src/core/clock.ts'
import type { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { DirEntry, FopError, Rep, Req } from '../../../src/core/fop.ts'
import { type Gfid, gfidToBytes, NULL_GFID, ROOT_GFID } from '../../../src/core/gfid.ts'
import { IATT_GFID, IATT_INO, Iatt, S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'
import { type RawEntry, readEntries, seekDir } from '../../../src/sys/data.ts'
import { close } from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, statAt } from '../../../src/sys/stat.ts'
import { setXattr, type Target, XATTR_CREATE } from '../../../src/sys/xattr.ts'
import { GFID_KEY, gfidOf, statTarget, toIatt } from './attributes.ts'
import { type Brick, OpenFile } from './brick.ts'
import { closeNamed, type Entry, entryOf, fail, openNamed, parentIatt } from './place.ts'
import { xdataFor } from './xdata.ts'

const DT_DIR = 4
/** What stock budgets for an entry besides its name and NUL (its in-memory structure). */
const ENTRY_OVERHEAD_BYTES = 208
/**
 * Entries of one answer, however much the client has room for: describing one takes 20 us, and
 * nobody else is served meanwhile.
 */
const ENTRIES_MAX = 512
/** An entry without gfid this young is about to get one from whoever makes it. */
const UNNAMED_GRACE_SECONDS = 1

export function lookup(brick: Brick, req: Req<'lookup'>): Rep<'lookup'> {
  return req.loc.name === undefined || req.loc.parent === undefined
    ? lookupGfid(brick, req.loc.gfid, req.xdata)
    : lookupName(brick, req)
}

function lookupName(brick: Brick, req: Req<'lookup'>): Rep<'lookup'> {
  const at = entryOf(brick, req.loc)
  if (at.errno !== 0) return at
  const stat = statAt(at.parentFd, at.name)
  if (typeof stat === 'number') return fail(stat)
  const target = openNamed(at.parentFd, at.name, stat)
  const rep = lookupTarget(brick, at, stat, target, req.xdata)
  closeNamed(target)
  return rep
}

function lookupTarget(
  brick: Brick,
  at: Entry,
  stat: Stat,
  target: Target,
  xdata: Dict | undefined,
): Rep<'lookup'> {
  let gfid = gfidOf(target)
  if (gfid === NULL_GFID) {
    const given = giveGfid(brick, at, stat, xdata)
    if (typeof given !== 'string') return given
    gfid = given
  } else healHandle(brick, at, stat, gfid)
  const iatt = toIatt(stat, gfid, target)
  const postparent = parentIatt(at)
  if (typeof postparent === 'number') return fail(postparent)
  return { errno: 0, stat: iatt, postparent, xdata: xdataFor(brick, target, gfid, iatt, xdata) }
}

/** An entry that nobody named yet takes the gfid the client brings (posix_gfid_heal). */
function giveGfid(brick: Brick, at: Entry, stat: Stat, xdata: Dict | undefined): Gfid | FopError {
  const wanted = xdata?.getGfid('gfid-req')
  if (wanted === undefined || wanted === NULL_GFID) {
    return xdata?.has('gfidless-lookup') === true ? NULL_GFID : { errno: E.NODATA }
  }
  const now = clock.realtime().sec
  if (now - stat.ctime <= UNNAMED_GRACE_SECONDS) return { errno: E.NOENT }
  const rc = setXattr(at.target, GFID_KEY, gfidToBytes(wanted), XATTR_CREATE)
  if (rc < 0) return fail(rc)
  const linked = brick.addHandle(wanted, at.parentFd, at.name, stat, at.pargfid)
  return linked < 0 ? fail(linked) : wanted
}

/** Re-enters a handle that is missing: a brick restored from elsewhere, a crash half-way. */
function healHandle(brick: Brick, at: Entry, stat: Stat, gfid: Gfid): void {
  const missing = (stat.mode & S_IFMT) === S_IFDIR ? brick.dir(gfid) < 0 : stat.nlink === 1
  if (!missing) return
  const rc = brick.addHandle(gfid, at.parentFd, at.name, stat, at.pargfid)
  if (rc < 0) brick.xl.log.warn(`handle of ${at.name} could not be made: errno ${-rc}`)
}

function lookupGfid(brick: Brick, gfid: Gfid, xdata: Dict | undefined): Rep<'lookup'> {
  if (gfid === NULL_GFID) return { errno: E.INVAL }
  if (brick.isUnlinked(gfid)) return lookupUnlinked(brick, gfid, xdata)
  const target = brick.resolve(gfid)
  if (typeof target === 'number' && target < 0) return fail(target)
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  if (stat.nlink === 0) {
    brick.forgetDir(gfid)
    return { errno: E.NOENT }
  }
  if (typeof target === 'string' && stat.nlink === 1 && brick.openCount(gfid) === 0) {
    // Only the handle is left: the entry was removed without it.
    brick.removeHandle(gfid)
    return { errno: E.NOENT }
  }
  const iatt = toIatt(stat, gfid, target)
  // Without a name there is no parent to describe.
  const postparent = new Iatt()
  return { errno: 0, stat: iatt, postparent, xdata: xdataFor(brick, target, gfid, iatt, xdata) }
}

function lookupUnlinked(brick: Brick, gfid: Gfid, xdata: Dict | undefined): Rep<'lookup'> {
  if (xdata?.getNumber('unlinked-lookup') !== 1) return { errno: E.NOENT }
  const path = brick.unlinkedPath(gfid)
  const stat = statAt(AT_FDCWD, path)
  if (typeof stat === 'number') return fail(stat)
  const iatt = toIatt(stat, NULL_GFID, path)
  // Without a gfid the number is the file system's, and neither counts as valid.
  iatt.flags &= ~(IATT_GFID | IATT_INO)
  iatt.inoHi = stat.inoHi
  iatt.inoLo = stat.inoLo
  return { errno: 0, stat: iatt, postparent: new Iatt() }
}

// --- directories ---------------------------------------------------------------------------------

type Fill = (entry: DirEntry) => void

export function readdir(brick: Brick, req: Req<'readdir'>): Rep<'readdir'> {
  return list(brick, req, () => () => {})
}

export function readdirp(brick: Brick, req: Req<'readdirp'>): Rep<'readdirp'> {
  return list(brick, req, (file, fd) => (entry) => describe(brick, req.xdata, file, fd, entry))
}

function list(
  brick: Brick,
  req: Req<'readdir'>,
  fillWith: (file: OpenFile, fd: number) => Fill,
): Rep<'readdir'> {
  const known = brick.files.get(req.fd)
  if (known !== undefined) return listOpen(req, known, fillWith(known, known.fd))
  const gfid = req.fd.inode.gfid
  const fd = brick.openAnonymous(gfid)
  if (fd < 0) return fail(fd)
  const file = new OpenFile(fd, gfid, 0)
  const rep = listOpen(req, file, fillWith(file, fd))
  close(fd)
  return rep
}

/** Entries from the cookie `req.off` while they fit `req.size`. */
function listOpen(req: Req<'readdir'>, file: OpenFile, fill: Fill): Rep<'readdir'> {
  if (req.off === 0n || req.off !== file.position) {
    const rc = seekDir(file.fd, req.off)
    if (rc < 0 && req.off < 1n << 53n) return fail(rc)
    file.pending = []
    file.position = req.off
  }
  const dirsSkipped = req.xdata?.has('readdir-filter-directories') === true
  const entries: DirEntry[] = []
  let room = req.size
  for (;;) {
    if (file.pending.length === 0) {
      const batch = readEntries(file.fd)
      if (typeof batch === 'number') return fail(batch)
      if (batch.length === 0) return { errno: 0, entries, eof: true }
      file.pending = batch
    }
    let taken = 0
    for (const raw of file.pending) {
      const hidden = raw.name === '.glusterfs' && file.gfid === ROOT_GFID
      if (!hidden && !(dirsSkipped && isSubdirectory(raw))) {
        room -= ENTRY_OVERHEAD_BYTES + raw.name.length + 1
        if (room < 0 || entries.length === ENTRIES_MAX) {
          file.pending.splice(0, taken)
          return { errno: 0, entries, eof: false }
        }
        const { name, inoHi, inoLo, off, type } = raw
        const entry: DirEntry = { name, inoHi, inoLo, off, type }
        fill(entry)
        entries.push(entry)
      }
      taken++
      file.position = raw.off
    }
    file.pending = []
  }
}

const isSubdirectory = (raw: RawEntry): boolean =>
  raw.type === DT_DIR && raw.name !== '.' && raw.name !== '..'

/** Adds to an entry what a lookup of it would have answered, unless it is gone or nameless. */
function describe(
  brick: Brick,
  xdata: Dict | undefined,
  file: OpenFile,
  fd: number,
  entry: DirEntry,
): void {
  const stat = statAt(fd, entry.name)
  if (typeof stat === 'number') return
  if (entry.name === '..' && file.gfid === ROOT_GFID) {
    // The root's parent lies outside the brick.
    entry.stat = toIatt(stat, NULL_GFID, undefined)
    entry.stat.flags &= ~IATT_GFID
    entry.stat.inoHi = 0xffffffff
    entry.stat.inoLo = 0xffffffff
    entry.inoHi = 0xffffffff
    entry.inoLo = 0xffffffff
    return
  }
  const target = openNamed(fd, entry.name, stat)
  const gfid = gfidOf(target)
  if (gfid !== NULL_GFID) {
    entry.stat = toIatt(stat, gfid, target)
    entry.inoHi = entry.stat.inoHi
    entry.inoLo = entry.stat.inoLo
    entry.xdata = xdataFor(brick, target, gfid, entry.stat, xdata)
  }
  closeNamed(target)
}
