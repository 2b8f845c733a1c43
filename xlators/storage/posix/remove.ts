/** Fops that take a name away: unlink, rmdir, rename. */
import { close as closeAsync } from 'node:fs'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { FopError, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID } from '../../../src/core/gfid.ts'
import { S_IFDIR, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { type Stat, sameFile, statAt } from '../../../src/sys/stat.ts'
import { setXattr, XATTR_CREATE } from '../../../src/sys/xattr.ts'
import { gfidOf, iattOf, stampParent, stampSelf, toIatt } from './attributes.ts'
import type { Brick } from './brick.ts'
import { dropGfid2path, isLinkto } from './create.ts'
import { gfid2path } from './gfid2path.ts'
import { type Entry, entryOf, fail, parentIatt } from './place.ts'
import { orNothing } from './xdata.ts'

/** Freeing this much takes long enough to leave it to another thread. */
const LARGE_BYTES = 64 * 1024 * 1024
const ENOTEMPTY = -39
const EEXIST = -17

export function unlink(brick: Brick, frame: Frame, req: Req<'unlink'>): Rep<'unlink'> {
  const at = entryOf(brick, req.loc)
  if (at.errno !== 0) return at
  const stat = statAt(at.parentFd, at.name)
  if (typeof stat === 'number') return fail(stat)
  if ((stat.mode & S_IFMT) === S_IFDIR) return { errno: E.ISDIR }
  const gfid = gfidOf(at.target)
  const busy = whyBusy(brick, at, stat, gfid, req.xdata)
  if (busy !== undefined) return busy
  const preparent = parentIatt(at)
  if (typeof preparent === 'number') return fail(preparent)
  const xdata = unlinkXdata(brick, at, stat, gfid, req.xdata)
  const rc = dropName(brick, frame, at, stat, gfid, () => entry.unlinkAt(at.parentFd, at.name))
  if (rc < 0) return fail(rc)
  stampParent(at.parentFd, frame.creds)
  const postparent = parentIatt(at)
  if (typeof postparent === 'number') return fail(postparent)
  return { errno: 0, preparent, postparent, xdata }
}

function whyBusy(
  brick: Brick,
  at: Entry,
  stat: Stat,
  gfid: Gfid,
  xdata: Dict | undefined,
): FopError | undefined {
  if (xdata === undefined) return undefined
  if (xdata.has('dont-unlink-for-open-fd') && brick.openCount(gfid) > 0) return { errno: E.BUSY }
  if (xdata.has('unlink-only-if-dht-linkto-file') && !isLinkto(stat, at.target)) {
    return { errno: E.BUSY }
  }
  return undefined
}

/** What the client wants to know of the file that goes; link counts are those after. */
function unlinkXdata(
  brick: Brick,
  at: Entry,
  stat: Stat,
  gfid: Gfid,
  req: Dict | undefined,
): Dict | undefined {
  if (req === undefined) return undefined
  const reply = new Dict()
  const iatt = toIatt(stat, gfid, at.target)
  if (req.has('dht-get-iatt-in-xattr')) reply.setIatt('dht-get-iatt-in-xattr', iatt)
  if (req.has('get-link-count')) reply.setUint('get-link-count', iatt.nlink)
  if (req.has('gf_request_link_count')) reply.setUint('gf_response_link_count', iatt.nlink)
  if (req.has('gf_get_file_block_count')) reply.setUint('gf_get_file_block_count', iatt.blocks)
  if (req.has('glusterfs.open-fd-count')) {
    reply.setUint('glusterfs.open-fd-count', brick.openCount(gfid))
  }
  return orNothing(reply)
}

/**
 * One name of a non-directory goes by `drop`. With the last name goes the handle: at once, or with
 * the last close.
 */
function dropName(
  brick: Brick,
  frame: Frame,
  at: Entry,
  stat: Stat,
  gfid: Gfid,
  drop: () => number,
): number {
  if (gfid === NULL_GFID) return drop()
  const handle = brick.handle(gfid)
  if (stat.nlink > 2) {
    const rc = drop()
    if (rc < 0) return rc
    dropGfid2path(handle, at.pargfid, at.name)
    stampSelf(handle, frame.creds)
    return rc
  }
  const open = brick.openCount(gfid) > 0
  const large =
    !open && (stat.mode & S_IFMT) === S_IFREG && stat.size >= LARGE_BYTES
      ? entry.openAt(at.parentFd, at.name, entry.O_NOFOLLOW)
      : -1
  const rc = drop()
  if (rc >= 0) {
    if (open) {
      stampSelf(handle, frame.creds)
      dropGfid2path(handle, at.pargfid, at.name)
      brick.keepUntilClosed(gfid)
    } else removeOwnHandle(brick, gfid, stat)
  }
  // Closing the last reference frees the blocks, on a thread of the pool.
  if (large >= 0) closeAsync(large)
  return rc
}

/** The handle, if it is of this very file. */
function removeOwnHandle(brick: Brick, gfid: Gfid, stat: Stat): void {
  const present = statAt(AT_FDCWD, brick.handle(gfid))
  if (typeof present !== 'number' && sameFile(present, stat)) brick.removeHandle(gfid)
}

export function rmdir(brick: Brick, frame: Frame, req: Req<'rmdir'>): Rep<'rmdir'> {
  const at = entryOf(brick, req.loc)
  if (at.errno !== 0) return at
  const stat = statAt(at.parentFd, at.name)
  if (typeof stat === 'number') return fail(stat)
  if ((stat.mode & S_IFMT) !== S_IFDIR) return { errno: E.NOTDIR }
  const gfid = gfidOf(at.target)
  const preparent = parentIatt(at)
  if (typeof preparent === 'number') return fail(preparent)
  const rc = req.flags === 0 ? entry.rmdirAt(at.parentFd, at.name) : toLandfill(brick, at, gfid)
  if (rc === EEXIST) return fail(ENOTEMPTY)
  if (rc < 0) return fail(rc)
  dropDirHandle(brick, gfid, at)
  stampParent(at.parentFd, frame.creds)
  const postparent = parentIatt(at)
  if (typeof postparent === 'number') return fail(postparent)
  return { errno: 0, preparent, postparent }
}

/** The whole tree goes at once; the janitor takes it apart later. */
function toLandfill(brick: Brick, at: Entry, gfid: Gfid): number {
  const to = `.glusterfs/landfill/${gfidText(gfid)}`
  const rc = entry.renameAt(at.parentFd, at.name, brick.rootFd, to)
  if (rc >= 0) brick.landfillUsed = true
  return rc
}

/** The handle of a removed directory, unless it leads to another place by now. */
function dropDirHandle(brick: Brick, gfid: Gfid, at: Entry): void {
  if (gfid === NULL_GFID) return
  brick.forgetDir(gfid)
  const link = entry.readlinkAt(AT_FDCWD, brick.handle(gfid))
  if (typeof link !== 'number' && link.endsWith(`/${gfidText(at.pargfid)}/${at.name}`)) {
    brick.removeHandle(gfid)
  }
}

export function rename(brick: Brick, frame: Frame, req: Req<'rename'>): Rep<'rename'> {
  const from = entryOf(brick, req.oldloc)
  if (from.errno !== 0) return from
  const to = entryOf(brick, req.newloc)
  if (to.errno !== 0) return to
  const stat = statAt(from.parentFd, from.name)
  if (typeof stat === 'number') return fail(stat)
  const gfid = gfidOf(from.target)
  const victim = statAt(to.parentFd, to.name)
  const preoldparent = parentIatt(from)
  const prenewparent = parentIatt(to)
  if (typeof preoldparent === 'number') return fail(preoldparent)
  if (typeof prenewparent === 'number') return fail(prenewparent)
  // Two names of one file: rename(2) leaves both.
  const sameObject = typeof victim !== 'number' && sameFile(victim, stat)
  if (!sameObject) {
    const rc = move(brick, frame, from, to, typeof victim === 'number' ? undefined : victim)
    if (rc < 0) return fail(rc === EEXIST ? ENOTEMPTY : rc)
    const moved = renamed(brick, from, to, stat, gfid)
    if (moved < 0) return fail(moved)
  }
  stampSelf(to.target, frame.creds)
  stampParent(from.parentFd, frame.creds)
  if (to.pargfid !== from.pargfid) stampParent(to.parentFd, frame.creds)
  const iatt = iattOf(to.target, gfid)
  const postoldparent = parentIatt(from)
  const postnewparent = parentIatt(to)
  if (typeof iatt === 'number') return fail(iatt)
  if (typeof postoldparent === 'number') return fail(postoldparent)
  if (typeof postnewparent === 'number') return fail(postnewparent)
  const stats = { preoldparent, postoldparent, prenewparent, postnewparent }
  return { errno: 0, stat: iatt, ...stats }
}

/** rename(2) with what the victim leaves behind. */
function move(
  brick: Brick,
  frame: Frame,
  from: Entry,
  to: Entry,
  victim: Stat | undefined,
): number {
  const rename2 = (): number => entry.renameAt(from.parentFd, from.name, to.parentFd, to.name)
  if (victim === undefined) return rename2()
  const gfid = gfidOf(to.target)
  if ((victim.mode & S_IFMT) !== S_IFDIR) return dropName(brick, frame, to, victim, gfid, rename2)
  const rc = rename2()
  if (rc >= 0) dropDirHandle(brick, gfid, to)
  return rc
}

/** Handle and gfid2path follow the object to its new name. */
function renamed(brick: Brick, from: Entry, to: Entry, stat: Stat, gfid: Gfid): number {
  if (gfid === NULL_GFID) return 0
  if ((stat.mode & S_IFMT) === S_IFDIR) {
    return brick.addHandle(gfid, to.parentFd, to.name, stat, to.pargfid)
  }
  dropGfid2path(to.target, from.pargfid, from.name)
  if (brick.options.gfid2path) {
    const { key, value } = gfid2path(to.pargfid, to.name)
    setXattr(to.target, key, value, XATTR_CREATE)
  }
  return 0
}
