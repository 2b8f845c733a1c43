/**
 * features/access-control: who may do what on a brick. Checks mode bits and POSIX ACLs for the
 * credential's user, group and groups, and applies the umask to what is made. Root and internal
 * clients (negative pid) pass. Unlike stock it keeps no copies of modes and ACLs: it asks the child
 * (10 us, only for those who are not root), so nothing can be stale. ACL inheritance is left to the
 * brick's file system, which does it when an entry is made below a default ACL.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fop, FopError, FopName, MaybePromise, Rep, Req } from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import {
  type Iatt,
  S_IFDIR,
  S_IFMT,
  SET_ATTR_ATIME,
  SET_ATTR_ATIME_NOW,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_MTIME,
  SET_ATTR_MTIME_NOW,
  SET_ATTR_UID,
} from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_ACCMODE, O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/core/open-flags.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import {
  ACCESS_ACL_KEY,
  DEFAULT_ACL_KEY,
  EXECUTE,
  inGroup,
  isPrivileged,
  isSticky,
  parseAcl,
  permits,
  READ,
  stickyForbids,
  WRITE,
} from './permission.ts'

export const options = defineOptions({})

/** Open for execution (FMODE_EXEC): execute permission does instead of read. */
const FMODE_EXEC = 0o40

export interface Attributes {
  errno: 0
  stat: Iatt
  xdata?: Dict | undefined
}

export class AccessControl extends Xlator<typeof options> {
  lookup: Fop<'lookup'> = (frame, req) =>
    isPrivileged(frame.creds) || req.loc.parent === undefined
      ? frame.tail(this.child, 'lookup', req)
      : this.inParent(frame, req.loc.parent, EXECUTE, 'lookup', req)
  readlink: Fop<'readlink'> = (frame, req) => this.on(frame, req.loc, READ, 'readlink', req)
  access: Fop<'access'> = (frame, req) => this.on(frame, req.loc, req.mask & 7, 'access', req)
  truncate: Fop<'truncate'> = (frame, req) => this.on(frame, req.loc, WRITE, 'truncate', req)
  opendir: Fop<'opendir'> = (frame, req) => this.on(frame, req.loc, READ, 'opendir', req)
  open: Fop<'open'> = (frame, req) => this.on(frame, req.loc, neededBy(req.flags), 'open', req)

  mknod: Fop<'mknod'> = (frame, req) => this.#create(frame, req.loc, 'mknod', req)
  mkdir: Fop<'mkdir'> = (frame, req) => this.#create(frame, req.loc, 'mkdir', req)
  create: Fop<'create'> = (frame, req) => this.#create(frame, req.loc, 'create', req)
  symlink: Fop<'symlink'> = (frame, req) =>
    this.inParent(frame, req.loc.parent, WRITE | EXECUTE, 'symlink', req)
  link: Fop<'link'> = (frame, req) =>
    this.inParent(frame, req.newloc.parent, WRITE | EXECUTE, 'link', req)

  unlink: Fop<'unlink'> = (frame, req) => this.#remove(frame, [req.loc], 'unlink', req)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#remove(frame, [req.loc], 'rmdir', req)
  rename: Fop<'rename'> = (frame, req) =>
    this.#remove(frame, [req.oldloc, req.newloc], 'rename', req)

  setattr: Fop<'setattr'> = (frame, req) =>
    this.#change(frame, req.loc, 'setattr', req, (stat, acl) =>
      setattrForbidden(frame, req, stat, acl),
    )
  fsetattr: Fop<'fsetattr'> = (frame, req) =>
    this.#change(frame, Loc.ofInode(req.fd.inode), 'fsetattr', req, (stat, acl) =>
      setattrForbidden(frame, req, stat, acl),
    )
  setxattr: Fop<'setxattr'> = (frame, req) =>
    this.#change(frame, req.loc, 'setxattr', req, (stat, acl) =>
      xattrForbidden(frame, [...req.dict.entries.keys()], stat, acl),
    )
  fsetxattr: Fop<'fsetxattr'> = (frame, req) =>
    this.#change(frame, Loc.ofInode(req.fd.inode), 'fsetxattr', req, (stat, acl) =>
      xattrForbidden(frame, [...req.dict.entries.keys()], stat, acl),
    )
  removexattr: Fop<'removexattr'> = (frame, req) =>
    this.#change(frame, req.loc, 'removexattr', req, (stat, acl) =>
      xattrForbidden(frame, [req.name], stat, acl),
    )
  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#change(frame, Loc.ofInode(req.fd.inode), 'fremovexattr', req, (stat, acl) =>
      xattrForbidden(frame, [req.name], stat, acl),
    )

  /** An object's attributes and ACLs as they are now. */
  protected ask(
    frame: Frame,
    loc: Loc,
    keys: readonly string[],
  ): MaybePromise<Attributes | FopError> {
    const xdata = new Dict()
    for (const key of keys) xdata.setInt(key, 0)
    const bare = new Loc(loc.inode, undefined, undefined, loc.gfid)
    return frame.with(ROOT_CREDS).wind(this.child, 'lookup', { loc: bare, xdata })
  }

  #tail<K extends FopName>(frame: Frame, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    return frame.tail(this.child, fop, req)
  }

  /** Needs permission on the object itself. */
  protected on<K extends FopName>(
    frame: Frame,
    loc: Loc,
    wanted: number,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    if (isPrivileged(frame.creds)) return this.#tail(frame, fop, req)
    return this.#change(frame, loc, fop, req, (stat, acl) =>
      permits(frame.creds, stat, acl, wanted) ? 0 : E.ACCES,
    )
  }

  /** Needs permission on the directory. */
  protected inParent<K extends FopName>(
    frame: Frame,
    parent: Inode | undefined,
    wanted: number,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    if (parent === undefined) return { errno: E.INVAL }
    return this.on(frame, Loc.ofInode(parent), wanted, fop, req)
  }

  async #change<K extends FopName>(
    frame: Frame,
    loc: Loc,
    fop: K,
    req: Req<K>,
    forbidden: (stat: Iatt, acl: ReturnType<typeof parseAcl>) => 0 | FopError['errno'],
  ): Promise<Rep<K>> {
    if (isPrivileged(frame.creds)) return this.#tail(frame, fop, req)
    const errno = await this.#judge(frame, loc, forbidden)
    return errno !== 0 ? { errno } : this.#tail(frame, fop, req)
  }

  async #judge(
    frame: Frame,
    loc: Loc,
    forbidden: (stat: Iatt, acl: ReturnType<typeof parseAcl>) => 0 | FopError['errno'],
  ): Promise<0 | FopError['errno']> {
    const asked = await this.ask(frame, loc, [ACCESS_ACL_KEY])
    if (asked.errno !== 0) return asked.errno
    return forbidden(asked.stat, aclOf(asked.xdata, ACCESS_ACL_KEY))
  }

  /** May the caller do `wanted` to the object? 0 or the errno. */
  protected check(frame: Frame, loc: Loc, wanted: number): Promise<0 | FopError['errno']> {
    return this.#judge(frame, loc, (stat, acl) =>
      permits(frame.creds, stat, acl, wanted) ? 0 : E.ACCES,
    )
  }

  // --- entries -----------------------------------------------------------------------------------

  /**
   * Write permission in the directory; the mode loses the umask's bits, below a default ACL not.
   */
  #create<K extends 'mknod' | 'mkdir' | 'create'>(
    frame: Frame,
    loc: Loc,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const umask = req.xdata?.getNumber('umask') ?? req.umask
    const mode = req.xdata?.getNumber('mode') ?? req.mode
    if (isPrivileged(frame.creds) && (mode & umask) === 0) {
      return this.#tail(frame, fop, withMode(req, mode))
    }
    return this.#createChecked(frame, loc, fop, req, mode, umask)
  }

  async #createChecked<K extends 'mknod' | 'mkdir' | 'create'>(
    frame: Frame,
    loc: Loc,
    fop: K,
    req: Req<K>,
    mode: number,
    umask: number,
  ): Promise<Rep<K>> {
    if (loc.parent === undefined) return { errno: E.INVAL }
    const keys = [ACCESS_ACL_KEY, DEFAULT_ACL_KEY]
    const parent = await this.ask(frame, Loc.ofInode(loc.parent), keys)
    if (parent.errno !== 0) {
      return { errno: parent.errno === E.NOENT ? E.STALE : parent.errno }
    }
    const acl = aclOf(parent.xdata, ACCESS_ACL_KEY)
    if (!permits(frame.creds, parent.stat, acl, WRITE | EXECUTE)) return { errno: E.ACCES }
    const inherits = parent.xdata?.has(DEFAULT_ACL_KEY) === true
    return this.#tail(frame, fop, withMode(req, inherits ? mode : mode & ~umask))
  }

  /** Write permission in every directory, and the sticky rule for every entry that is there. */
  #remove<K extends 'unlink' | 'rmdir' | 'rename'>(
    frame: Frame,
    locs: readonly Loc[],
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    if (isPrivileged(frame.creds)) return this.#tail(frame, fop, req)
    return this.#removeChecked(frame, locs, fop, req)
  }

  async #removeChecked<K extends 'unlink' | 'rmdir' | 'rename'>(
    frame: Frame,
    locs: readonly Loc[],
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    for (const loc of locs) {
      if (loc.parent === undefined) return { errno: E.INVAL }
      const parent = await this.ask(frame, Loc.ofInode(loc.parent), [ACCESS_ACL_KEY])
      if (parent.errno !== 0) return parent
      const acl = aclOf(parent.xdata, ACCESS_ACL_KEY)
      if (!permits(frame.creds, parent.stat, acl, WRITE | EXECUTE)) return { errno: E.ACCES }
      if (!isSticky(parent.stat)) continue
      const entry = await frame.with(ROOT_CREDS).wind(this.child, 'lookup', { loc })
      if (entry.errno === 0 && stickyForbids(frame.creds, parent.stat, entry.stat)) {
        return { errno: E.ACCES }
      }
    }
    return this.#tail(frame, fop, req)
  }
}

function aclOf(xdata: Dict | undefined, key: string): ReturnType<typeof parseAcl> {
  const bytes = xdata?.getBytes(key)
  return bytes === undefined ? undefined : parseAcl(bytes)
}

/** The request with the mode that counts; the xdata keys that overrode it are used up. */
function withMode<K extends 'mknod' | 'mkdir' | 'create'>(req: Req<K>, mode: number): Req<K> {
  let xdata = req.xdata
  if (xdata?.has('umask') === true || xdata?.has('mode') === true) {
    xdata = xdata.clone()
    xdata.delete('umask')
    xdata.delete('mode')
  }
  return { ...req, mode, umask: 0, xdata }
}

function neededBy(flags: number): number {
  const access = flags & O_ACCMODE
  let wanted = access === O_WRONLY ? WRITE : access === O_RDWR ? READ | WRITE : READ
  if (access === 0 && (flags & FMODE_EXEC) !== 0) wanted = EXECUTE
  return (flags & O_TRUNC) !== 0 ? wanted | WRITE : wanted
}

/** chmod and explicit times are the owner's, chown root's, chgrp to own groups the owner's. */
function setattrForbidden(
  frame: Frame,
  req: { stat: Iatt; valid: number },
  stat: Iatt,
  acl: ReturnType<typeof parseAcl>,
): 0 | FopError['errno'] {
  const { creds } = frame
  const isOwner = creds.uid === stat.uid
  const { valid } = req
  if ((valid & SET_ATTR_MODE) !== 0 && !isOwner) return E.PERM
  if ((valid & SET_ATTR_UID) !== 0 && req.stat.uid !== stat.uid) return E.PERM
  if ((valid & SET_ATTR_UID) !== 0 && !isOwner) return E.PERM
  if ((valid & SET_ATTR_GID) !== 0) {
    if (!isOwner) return E.PERM
    if (req.stat.gid !== stat.gid && !inGroup(creds, req.stat.gid)) return E.PERM
  }
  const isExact = (given: number, now: number): boolean =>
    (valid & given) !== 0 && (valid & now) === 0
  if (isExact(SET_ATTR_ATIME, SET_ATTR_ATIME_NOW) || isExact(SET_ATTR_MTIME, SET_ATTR_MTIME_NOW)) {
    return isOwner ? 0 : E.PERM
  }
  const touches = (valid & (SET_ATTR_ATIME_NOW | SET_ATTR_MTIME_NOW)) !== 0
  return !touches || isOwner || permits(creds, stat, acl, WRITE) ? 0 : E.ACCES
}

/**
 * ACLs are the owner's; user.* needs write permission; other namespaces are the kernel's to guard.
 */
function xattrForbidden(
  frame: Frame,
  keys: readonly string[],
  stat: Iatt,
  acl: ReturnType<typeof parseAcl>,
): 0 | FopError['errno'] {
  for (const key of keys) {
    if (key === ACCESS_ACL_KEY || key === DEFAULT_ACL_KEY) {
      if (frame.creds.uid !== stat.uid) return E.PERM
      if (key === DEFAULT_ACL_KEY && (stat.mode & S_IFMT) !== S_IFDIR) return E.PERM
    } else if (key.startsWith('user.') && !permits(frame.creds, stat, acl, WRITE)) return E.ACCES
  }
  return 0
}

export default defineXlator({
  type: 'features/access-control',
  class: AccessControl,
  options,
  children: 1,
})
