/** Requests about attributes: GETATTR, SETATTR, READLINK, STATFS, ACCESS. */

import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopError, MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { ROOT_GFID } from '../../../src/core/gfid.ts'
import {
  Iatt,
  SET_ATTR_ATIME,
  SET_ATTR_ATIME_NOW,
  SET_ATTR_CTIME,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_MTIME,
  SET_ATTR_MTIME_NOW,
  SET_ATTR_UID,
} from '../../../src/core/iatt.ts'
import { type Inode, isDirInode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import * as abi from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import type { FuseBridge } from './index.ts'
import { isPrivileged, stale } from './rules.ts'

type Ops = Pick<FuseOps, 'getattr' | 'setattr' | 'readlink' | 'statfs' | 'access'>
type Stated = { errno: 0; stat: Iatt } | FopError

/** Longest link text, as stock asks for it. */
const READLINK_SIZE = 4096

/** FATTR_* bits that are attributes of setattr, with the fop's bits. */
const SET_BITS: readonly [fattr: number, setAttr: number][] = [
  [abi.FATTR_MODE, SET_ATTR_MODE],
  [abi.FATTR_UID, SET_ATTR_UID],
  [abi.FATTR_GID, SET_ATTR_GID],
  [abi.FATTR_ATIME, SET_ATTR_ATIME],
  [abi.FATTR_MTIME, SET_ATTR_MTIME],
  [abi.FATTR_CTIME, SET_ATTR_CTIME],
  [abi.FATTR_ATIME_NOW, SET_ATTR_ATIME_NOW],
  [abi.FATTR_MTIME_NOW, SET_ATTR_MTIME_NOW],
]

const BY_FD_NOT = abi.FATTR_ATIME | abi.FATTR_MTIME | abi.FATTR_CTIME

export class AttrOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  readonly #stat = async (
    request: FuseRequest,
    inode: Inode,
    input: { flags: number; fh: number },
  ): Promise<Stated> => {
    const { frame } = request
    if (inode.isRoot) {
      const loc = Loc.ofInode(inode)
      const xdata = new Dict().setGfid('gfid-req', ROOT_GFID)
      return frame.wind(request.top, 'lookup', { loc, xdata })
    }
    // the file decides on the graph
    const fd = openFdFor(this.#bridge, request, inode, input)
    if (fd !== undefined) return frame.wind(request.top, 'fstat', { fd })
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return { errno }
    const rep = await frame.wind(request.top, 'stat', { loc: Loc.ofInode(inode) })
    return rep.errno === 0 ? rep : { errno: stale(rep.errno) }
  }

  getattr: Ops['getattr'] = async (request, input) => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    const rep = await this.#stat(request, inode, input)
    if (rep.errno !== 0) return void request.error(rep.errno)
    this.#bridge.replyAttr(request, inode, rep.stat)
  }

  setattr: Ops['setattr'] = async (request, input) => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    const rep = await setattr(this.#bridge, request, inode, input)
    if (rep.errno !== 0) return void request.error(rep.errno)
    this.#bridge.replyAttr(request, inode, rep.stat)
  }

  readlink: Ops['readlink'] = async (request) => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return void request.error(errno)
    const loc = Loc.ofInode(inode)
    const rep = await request.frame.wind(request.top, 'readlink', { loc, size: READLINK_SIZE })
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    const text = Buffer.from(rep.path, 'latin1')
    request.data([text], text.length)
  }

  statfs: Ops['statfs'] = async (request) => {
    const inode = this.#bridge.inodeOf(request) ?? this.#bridge.table.root
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return void request.error(errno)
    const rep = await request.frame.wind(request.top, 'statfs', { loc: Loc.ofInode(inode) })
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    request.statfs(rep.statfs)
  }

  access: Ops['access'] = async (request, mask) => {
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return void request.error(errno)
    const loc = Loc.ofInode(inode)
    const rep = await request.frame.wind(request.top, 'access', { loc, mask })
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    request.ok()
  }
}

/**
 * The open file to ask for attributes: the one named, else one of the same process, else any. An
 * unlinked file has no other way, and written data is flushed on the way.
 */
function openFdFor(
  bridge: FuseBridge,
  request: FuseRequest,
  inode: Inode,
  input: { flags: number; fh: number },
): Fd | undefined {
  let found: Fd | undefined
  if ((input.flags & abi.GETATTR_FH) !== 0) found = bridge.files.get(input.fh)?.fd
  if (found === undefined && !isDirInode(inode)) {
    for (const fd of inode.fds) {
      if (fd.pid === request.pid) {
        found = fd
        break
      }
      found ??= fd
    }
  }
  if (found === undefined) return undefined
  const file = bridge.files.of(found)
  if (file === undefined) return undefined
  bridge.hold(request, file)
  return found
}

/** setattr and truncate as asked for; the last reply's attributes count. */
async function setattr(
  bridge: FuseBridge,
  request: FuseRequest,
  inode: Inode,
  input: abi.SetattrIn,
): Promise<Stated> {
  const { valid } = input
  const file = (valid & abi.FATTR_FH) !== 0 ? bridge.files.get(input.fh) : undefined
  if (file !== undefined) bridge.hold(request, file)
  if (file === undefined || (valid & BY_FD_NOT) !== 0) {
    const errno = await bridge.ready(request, inode)
    if (errno !== 0 && bridge.files.openOn(inode) === undefined) return { errno }
  }

  let bits = 0
  for (const [fattr, setAttr] of SET_BITS) if ((valid & fattr) !== 0) bits |= setAttr
  const sizeSet = (valid & abi.FATTR_SIZE) !== 0
  // The kernel sets times along with the size it truncates to; the brick does so itself.
  const alone = valid & (abi.FATTR_MODE | abi.FATTR_UID | abi.FATTR_GID | BY_FD_NOT)

  let last: Stated | undefined
  if (bits !== 0 && !(sizeSet && alone === 0)) {
    const fd = (valid & BY_FD_NOT) === 0 ? file?.fd : undefined
    const { frame, top } = request
    last = await setAttributes(frame, top, inode, fd, statOf(input), bits)
    const other = isGone(last.errno) ? bridge.files.openOn(inode) : undefined
    if (other !== undefined && fd === undefined) {
      bridge.hold(request, other)
      const above = other.home?.graph.top ?? top
      last = await setAttributes(frame, above, inode, other.fd, statOf(input), bits)
    }
    if (last.errno !== 0) return { errno: fd === undefined ? stale(last.errno) : last.errno }
  }
  if (sizeSet) {
    last = await truncate(bridge, request, inode, file?.fd, input)
    if (last.errno !== 0) return last
  }
  // Nothing of ours to set: answer with what is.
  if (last === undefined) {
    return request.frame.wind(request.top, 'stat', { loc: Loc.ofInode(inode) })
  }
  return last
}

const isGone = (errno: number): boolean => errno === E.NOENT || errno === E.STALE

function statOf(input: abi.SetattrIn): Iatt {
  const stat = new Iatt()
  stat.mode = input.mode
  stat.uid = input.uid
  stat.gid = input.gid
  stat.atime = input.atime
  stat.atimeNsec = input.atimeNsec
  stat.mtime = input.mtime
  stat.mtimeNsec = input.mtimeNsec
  stat.ctime = input.ctime
  stat.ctimeNsec = input.ctimeNsec
  return stat
}

async function setAttributes(
  frame: Frame,
  top: FuseRequest['top'],
  inode: Inode,
  fd: Fd | undefined,
  stat: Iatt,
  valid: number,
): Promise<Stated> {
  const winding: MaybePromise<Rep<'setattr'>> =
    fd === undefined
      ? frame.wind(top, 'setattr', { loc: Loc.ofInode(inode), stat, valid })
      : frame.wind(top, 'fsetattr', { fd, stat, valid })
  const rep = await winding
  return rep.errno === 0 ? { errno: 0, stat: rep.poststat } : rep
}

async function truncate(
  bridge: FuseBridge,
  request: FuseRequest,
  inode: Inode,
  fd: Fd | undefined,
  input: abi.SetattrIn,
): Promise<Stated> {
  const offset = input.size
  if (offset > Number.MAX_SAFE_INTEGER) return { errno: E.FBIG }
  const kill = (input.valid & abi.FATTR_KILL_SUIDGID) !== 0
  if (kill) {
    const errno = await dropPrivileges(bridge, request, inode, fd)
    if (errno !== 0) return { errno }
  }
  const frame =
    (input.valid & abi.FATTR_LOCKOWNER) !== 0
      ? request.frame.with({ lkOwner: input.lockOwner })
      : request.frame
  const rep = await (fd === undefined
    ? frame.wind(request.top, 'truncate', { loc: Loc.ofInode(inode), offset })
    : frame.wind(request.top, 'ftruncate', { fd, offset }))
  if (rep.errno !== 0) return { errno: fd === undefined ? stale(rep.errno) : rep.errno }
  return { errno: 0, stat: rep.poststat }
}

/**
 * HANDLE_KILLPRIV_V2: a write or truncate by somebody without CAP_FSETID ends set-uid and set-gid.
 * Costs nothing for the files that have neither. Bricks do it themselves for chown, not for data.
 */
export async function dropPrivileges(
  bridge: FuseBridge,
  request: FuseRequest,
  inode: Inode,
  fd: Fd | undefined,
): Promise<0 | Errno> {
  if (!bridge.mayBePrivileged(inode)) return 0
  // The writer need not own the file, so this is done by root, on the mode as it is now.
  const frame = request.frame.with({ uid: 0, gid: 0, groups: [] })
  const now = await (fd === undefined
    ? frame.wind(request.top, 'stat', { loc: Loc.ofInode(inode) })
    : frame.wind(request.top, 'fstat', { fd }))
  if (now.errno !== 0) return stale(now.errno)
  if (!isPrivileged(now.stat.mode)) {
    bridge.sawMode(inode, now.stat.mode)
    return 0
  }
  const stat = new Iatt()
  stat.mode = now.stat.mode & ~((now.stat.mode & 0o010) !== 0 ? 0o6000 : 0o4000)
  const set = await setAttributes(frame, request.top, inode, fd, stat, SET_ATTR_MODE)
  if (set.errno !== 0) return stale(set.errno)
  bridge.sawMode(inode, set.stat.mode)
  // The kernel does not know that the mode changed under its feet.
  bridge.invalidator.inode(inode, false)
  return 0
}
