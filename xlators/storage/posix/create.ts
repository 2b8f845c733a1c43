/**
 * Fops that make an entry: mknod, mkdir, symlink, create, link. Order on disk, stock's: entry, owner,
 * gfid2path, the xattrs of the request, gfid, handle, times. What has a gfid is complete then, and
 * what a crash left without one takes the next lookup's; where xattrs share a block with the inode,
 * as many more fit as on a stock brick. A step that fails takes the entry away again.
 */
import { clock } from '../../../src/core/clock.ts'
import { Dict, type DictValue } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { FopError, Ok, Rep, Req } from '../../../src/core/fop.ts'
import { type Creds, type Frame, failed } from '../../../src/core/frame.ts'
import { type Gfid, gfidToBytes, NULL_GFID } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, statAt } from '../../../src/sys/stat.ts'
import {
  getXattr,
  removeXattr,
  setXattr,
  type Target,
  XATTR_CREATE,
} from '../../../src/sys/xattr.ts'
import { GFID_KEY, gfidOf, stampParent, stampSelf, statTarget, toIatt } from './attributes.ts'
import { type Brick, handleName, OpenFile } from './brick.ts'
import { GFID2PATH_PREFIX, gfid2path } from './gfid2path.ts'
import { type Entry, entryOf, fail, objectOf, parentIatt } from './place.ts'
import { isXattrKey } from './xdata.ts'

const S_ISGID = 0o2000
const S_ISVTX = 0o1000
const O_CREAT = 0o100
const O_EXCL = 0o200
const O_TRUNC = 0o1000
const O_RDWR = 2
/** Links that get a gfid2path xattr (MAX_GFID2PATH_LINK_SUP). */
const GFID2PATH_LINKS_MAX = 500
/** PATH_MAX without its NUL. */
const LINK_BYTES_MAX = 4095
const EEXIST = -17

const PREOP_KEY = 'glusterfs.preop.parent.key'
const PREOP_FAILED_KEY = 'glusterfs.preop.check.failed'
const LINKTO_KEY = 'trusted.glusterfs.dht.linkto'

/** Checks before anything is made: space, gfid-req, the parent's state. */
interface Start extends Entry {
  gfid: Gfid
  preparent: Iatt
}

function begin(brick: Brick, frame: Frame, loc: Loc, xdata: Dict | undefined): Start | FopError {
  const at = entryOf(brick, loc)
  if (at.errno !== 0) return at
  const gfid = xdata?.getGfid('gfid-req') ?? NULL_GFID
  if (gfid === NULL_GFID) return { errno: E.INVAL }
  const refused = refusal(brick, frame.creds, xdata) ?? preopRefusal(frame, at, xdata)
  if (refused !== undefined) return refused
  const preparent = parentIatt(at)
  if (typeof preparent === 'number') return fail(preparent)
  return { ...at, gfid, preparent }
}

/** ENOSPC for clients when only the reserve is left. */
export function refusal(brick: Brick, creds: Creds, xdata: Dict | undefined): FopError | undefined {
  if (creds.pid < 0 || xdata?.has('glusterfs-internal-fop') === true) return undefined
  return brick.isFull(clock.now()) ? { errno: E.NOSPC } : undefined
}

/** The client's idea of an xattr of the parent (a layout) must be what is on disk. */
function preopRefusal(frame: Frame, at: Entry, xdata: Dict | undefined): FopError | undefined {
  const key = xdata?.getStr(PREOP_KEY)
  const wanted = key === undefined ? undefined : xdata?.getBytes(key)
  if (key === undefined || wanted === undefined) return undefined
  const found = getXattr(at.parentFd, key)
  if (typeof found === 'number') return fail(found)
  if (found.equals(wanted)) return undefined
  frame.xl.log.info(`${at.name}: ${key} of its directory is not what the client knows`)
  return { errno: E.IO, xdata: new Dict().setInt(PREOP_FAILED_KEY, 1) }
}

/** A new entry belongs to the caller; its group comes from a setgid directory. */
function give(at: Start, creds: Creds, target: Target, mode: number): number {
  const gid = (at.preparent.mode & S_ISGID) !== 0 ? at.preparent.gid : creds.gid
  const rc =
    typeof target === 'number'
      ? entry.chownFd(target, creds.uid, gid)
      : entry.chownPath(target, creds.uid, gid)
  if (rc < 0 || (mode & 0o6000) === 0) return rc
  // Changing the owner cleared these bits.
  return typeof target === 'number'
    ? entry.chmodFd(target, mode & 0o7777)
    : entry.chmodPath(target, mode & 0o7777)
}

/** Everything after the entry exists; `target` reaches it. Returns its attributes. */
function finish(
  brick: Brick,
  frame: Frame,
  at: Start,
  target: Target,
  mode: number,
  xdata: Dict | undefined,
): Ok<'mkdir'> | FopError {
  const isDir = (mode & S_IFMT) === S_IFDIR
  const made = name(brick, frame, at, target, mode, xdata)
  if (made < 0) {
    if (isDir) entry.rmdirAt(at.parentFd, at.name)
    else entry.unlinkAt(at.parentFd, at.name)
    return fail(made)
  }
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  return reply(frame, at, target, stat, at.gfid)
}

function reply(
  frame: Frame,
  at: Start,
  target: Target,
  stat: Stat,
  gfid: Gfid,
): Ok<'mkdir'> | FopError {
  const iatt = toIatt(stat, gfid, target)
  stampParent(at.parentFd, frame.creds)
  const postparent = parentIatt(at)
  if (typeof postparent === 'number') return fail(postparent)
  return { errno: 0, stat: iatt, preparent: at.preparent, postparent }
}

/** Owner, gfid2path, xattrs, gfid, handle, times. */
function name(
  brick: Brick,
  frame: Frame,
  at: Start,
  target: Target,
  mode: number,
  xdata: Dict | undefined,
): number {
  let rc = give(at, frame.creds, target, mode)
  if (rc < 0) return rc
  const stat = statTarget(target)
  if (typeof stat === 'number') return stat
  if ((mode & S_IFMT) !== S_IFDIR) addGfid2path(brick, target, at, stat.nlink)
  rc = plant(target, xdata)
  if (rc < 0) return rc
  rc = setXattr(target, GFID_KEY, gfidToBytes(at.gfid), XATTR_CREATE)
  if (rc < 0) return rc
  rc = brick.addHandle(at.gfid, at.parentFd, at.name, stat, at.pargfid)
  if (rc < 0) return rc
  stampSelf(target, frame.creds)
  return 0
}

function addGfid2path(brick: Brick, target: Target, at: Entry, links: number): void {
  if (!brick.options.gfid2path || links > GFID2PATH_LINKS_MAX) return
  const { key, value } = gfid2path(at.pargfid, at.name)
  setXattr(target, key, value, XATTR_CREATE)
}

/** A value as stock stores it: text and numbers with their NUL. */
export function storedBytes(value: DictValue): Buffer | undefined {
  switch (value.type) {
    case 'ptr':
    case 'strOld':
      return value.value
    case 'gfid':
      return Buffer.from(value.value, 'latin1')
    case 'str':
    case 'int':
    case 'uint':
      return Buffer.from(`${value.value}\0`, 'latin1')
    default:
      return undefined
  }
}

/** The xattrs a client wants on the new entry from the start (layouts, linkto, ACLs). */
function plant(target: Target, xdata: Dict | undefined): number {
  if (xdata === undefined) return 0
  const preop = xdata.getStr(PREOP_KEY)
  // The wire has the newest first.
  for (const [key, value] of [...xdata.entries].reverse()) {
    if (key === preop || key === GFID_KEY || !isXattrKey(key)) continue
    if (key.startsWith(GFID2PATH_PREFIX) || key === 'trusted.glusterfs.volume-id') continue
    const bytes = storedBytes(value)
    if (bytes === undefined) continue
    // The file system may have inherited an ACL already.
    const rc = setXattr(target, key, bytes, key.startsWith('system.') ? 0 : XATTR_CREATE)
    if (rc < 0 && rc !== EEXIST) return rc
  }
  return 0
}

const octal = (text: string): number => Number.parseInt(text, 8) || 0

/** Mode bits after the administrator's masks (create-mask, force-create-mode …). */
function maskedMode(brick: Brick, mode: number, isDir: boolean): number {
  const { options } = brick
  const mask = octal(isDir ? options['create-directory-mask'] : options['create-mask'])
  const force = octal(isDir ? options['force-directory-mode'] : options['force-create-mode'])
  // The masks speak of permissions; setuid, setgid and sticky are not theirs.
  return (mode & ~0o777) | (mode & 0o777 & mask) | force
}

export function mkdir(brick: Brick, frame: Frame, req: Req<'mkdir'>): Rep<'mkdir'> {
  const at = begin(brick, frame, req.loc, req.xdata)
  if (at.errno !== 0) return at
  const inherited = at.preparent.mode & S_ISGID
  const mode = maskedMode(brick, (req.mode & 0o7777) | inherited, true)
  const present = statAt(at.parentFd, at.name)
  if (typeof present !== 'number') return { errno: E.EXIST }
  const rc = entry.mkdirAt(at.parentFd, at.name, mode & (0o777 | S_ISVTX))
  if (rc < 0) return fail(rc)
  const fd = entry.openAt(at.parentFd, at.name, entry.O_DIRECTORY | entry.O_NOFOLLOW)
  if (fd < 0) return fail(fd)
  const rep = finish(brick, frame, at, fd, S_IFDIR | mode, req.xdata)
  entry.close(fd)
  // The same gfid may have been another directory until now: its handle has moved here.
  brick.forgetDir(at.gfid)
  return rep
}

export function mknod(brick: Brick, frame: Frame, req: Req<'mknod'>): Rep<'mknod'> {
  const at = begin(brick, frame, req.loc, req.xdata)
  if (at.errno !== 0) return at
  const type = (req.mode & S_IFMT) === 0 ? S_IFREG : req.mode & S_IFMT
  const mode = type | maskedMode(brick, req.mode & 0o7777, false)
  if (req.xdata?.has('glusterfs-internal-fop') === true) {
    const linked = relink(brick, frame, at, req.xdata)
    if (linked !== undefined) return linked
  }
  if (req.xdata?.has('force-replace') === true) dropLinkto(brick, at)
  const rc = entry.mknodAt(at.parentFd, at.name, mode, req.rdev)
  if (rc < 0) return fail(rc)
  return finish(brick, frame, at, at.target, mode, req.xdata)
}

/** DHT and AFR recreate a name: the file is there by its gfid already, so the name is linked. */
function relink(brick: Brick, frame: Frame, at: Start, xdata: Dict): Rep<'mknod'> | undefined {
  const target = brick.resolve(at.gfid)
  if (typeof target !== 'string') return undefined
  const rc = entry.linkAt(AT_FDCWD, target, at.parentFd, at.name)
  if (rc < 0) return fail(rc)
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  addGfid2path(brick, target, at, stat.nlink)
  const planted = plant(target, xdata)
  if (planted < 0) return fail(planted)
  stampSelf(target, frame.creds)
  return reply(frame, at, target, stat, at.gfid)
}

/** A DHT link file of the same name gives way (force-replace). */
function dropLinkto(brick: Brick, at: Entry): void {
  const stat = statAt(at.parentFd, at.name)
  if (typeof stat === 'number' || !isLinkto(stat, at.target)) return
  const gfid = gfidOf(at.target)
  if (entry.unlinkAt(at.parentFd, at.name) >= 0 && gfid !== NULL_GFID) brick.removeHandle(gfid)
}

/** A DHT link file: mode ---------T and the linkto xattr. */
export function isLinkto(stat: Stat, target: Target): boolean {
  return (
    (stat.mode & (S_IFMT | 0o7777)) === (S_IFREG | S_ISVTX) &&
    typeof getXattr(target, LINKTO_KEY) !== 'number'
  )
}

export function symlink(brick: Brick, frame: Frame, req: Req<'symlink'>): Rep<'symlink'> {
  const at = begin(brick, frame, req.loc, req.xdata)
  if (at.errno !== 0) return at
  if (req.linkpath === '' || req.linkpath.includes('\0')) return { errno: E.INVAL }
  if (req.linkpath.length > LINK_BYTES_MAX) return { errno: E.NAMETOOLONG }
  const rc = entry.symlinkAt(req.linkpath, at.parentFd, at.name)
  if (rc < 0) return fail(rc)
  return finish(brick, frame, at, at.target, S_IFLNK, req.xdata)
}

export function create(brick: Brick, frame: Frame, req: Req<'create'>): Rep<'create'> {
  const at = begin(brick, frame, req.loc, req.xdata)
  if (at.errno !== 0) return at
  const wanted = req.flags === 0 ? O_RDWR | O_EXCL : req.flags
  const flags = openFlags(wanted)
  const mode = maskedMode(brick, req.mode & 0o7777, false)
  const fresh = entry.openAt(
    at.parentFd,
    at.name,
    flags | O_CREAT | O_EXCL | entry.O_NOFOLLOW,
    mode,
  )
  const existed = fresh === EEXIST && (wanted & O_EXCL) === 0
  if (fresh < 0 && !existed) return fail(fresh)
  const fd = existed
    ? entry.openAt(at.parentFd, at.name, flags | entry.O_NOFOLLOW | (wanted & O_TRUNC))
    : fresh
  if (fd < 0) return fail(fd)
  const rep = existed
    ? openExisting(frame, at, fd)
    : finish(brick, frame, at, fd, S_IFREG | mode, req.xdata)
  if (failed(rep)) {
    entry.close(fd)
    return rep
  }
  brick.opened(req.fd, new OpenFile(fd, rep.stat.gfid, flags))
  return { ...rep, fd: req.fd }
}

function openExisting(frame: Frame, at: Start, fd: number): Ok<'mkdir'> | FopError {
  const gfid = gfidOf(fd)
  if (gfid === NULL_GFID) return { errno: E.NODATA }
  const stat = statTarget(fd)
  if (typeof stat === 'number') return fail(stat)
  if ((stat.mode & S_IFMT) !== S_IFREG) return { errno: E.INVAL }
  return reply(frame, at, fd, stat, gfid)
}

/** What of a client's open flags the brick's own descriptor gets. */
export function openFlags(flags: number): number {
  // Access mode, O_APPEND, O_SYNC with O_DSYNC, O_NOATIME. O_DIRECT would demand aligned memory.
  return flags & (0o3 | 0o2000 | 0o4010000 | 0o1000000)
}

export function link(brick: Brick, frame: Frame, req: Req<'link'>): Rep<'link'> {
  const at = entryOf(brick, req.newloc)
  if (at.errno !== 0) return at
  const object = objectOf(brick, req.oldloc)
  if (object.errno !== 0) return object
  const { target, gfid } = object
  if (typeof target === 'number') return { errno: E.PERM }
  const before = statTarget(target)
  if (typeof before === 'number') return fail(before)
  const linksMax = brick.options['max-hardlinks']
  if (linksMax > 0 && before.nlink >= linksMax) return { errno: E.MLINK }
  const refused = refusal(brick, frame.creds, req.xdata)
  if (refused !== undefined) return refused
  const preparent = parentIatt(at)
  if (typeof preparent === 'number') return fail(preparent)
  const rc = entry.linkAt(brick.rootFd, handleName(gfid), at.parentFd, at.name)
  if (rc < 0) return fail(rc)
  addGfid2path(brick, target, at, before.nlink + 1)
  stampSelf(target, frame.creds)
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  return reply(frame, { ...at, gfid, preparent }, target, stat, gfid)
}

/** The name no longer leads to the file. */
export function dropGfid2path(target: Target, pargfid: Gfid, basename: string): void {
  removeXattr(target, gfid2path(pargfid, basename).key)
}
