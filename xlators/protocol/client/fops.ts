/**
 * Every fop as a remote procedure: how its request and reply map to the wire's. One entry per fop,
 * in the order of FopMap. PUT, SETACTIVELK and NAMELINK are missing: bricks do not serve the first
 * and may die of the others.
 */
import { Dict } from '../../../src/core/dict.ts'
import {
  type DirEntry,
  ENTRYLK_LOCK,
  F_SETLKW,
  F_UNLCK,
  type FopName,
  type Ok,
  type Req,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { S_IFMT } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { decodeDirOffset, encodeDirOffset } from '../../../src/graph/dir-offset.ts'
import { gfFlagsFromFlags } from '../../../src/xdr/glusterfs-fops.ts'
import { FOP, type Procedure } from '../../../src/xdr/programs.ts'
import { XdrError } from '../../../src/xdr/reader.ts'
import type { RemoteFds } from './fds.ts'

/** What the table needs of the translator. */
export interface WireContext {
  readonly fds: RemoteFds
  /** Our index among the graph's leaves, and their number. */
  readonly leaf: number
  readonly leaves: number
}

/** Fields every reply has. */
interface Status {
  op_ret: number
  op_errno: number
  xdata: Dict | undefined
}

/**
 * How the fd of a request is sent when its remote fd was lost with a connection: `anonymous` works
 * on the file itself instead, `strict` is EBADFD.
 */
export type FdUse = 'none' | 'anonymous' | 'strict'

/** `Q`, `P`: the procedure's request and reply. */
export interface FopEntry<K extends FopName = FopName, Q = unknown, P extends Status = Status> {
  readonly procedure: Procedure<Q, P>
  readonly fd: FdUse
  /** The request; `fd` is the remote fd. `undefined`: an fd was lost (EBADFD). */
  request(req: Req<K>, fd: number, context: WireContext): Q | undefined
  /** The fop's reply, made of a successful one. Throws XdrError when it makes no sense. */
  reply(rsp: P, req: Req<K>, context: WireContext, frame: Frame, payload: Buffer[]): Ok<K>
  /** Raw bytes after the request. */
  payload?(req: Req<K>): Buffer[]
  /** Raw bytes the reply may have. */
  payloadSize?(req: Req<K>): number
  /** It may wait for somebody else's unlock. */
  blocks?(req: Req<K>): boolean
}

type Extra = 'payload' | 'payloadSize' | 'blocks'

/** Types an entry: everything follows from the fop's name and the procedure. */
function entry<K extends FopName, Q, P extends Status>(
  _fop: K,
  procedure: Procedure<Q, P>,
  fd: FdUse,
  request: FopEntry<NoInfer<K>, NoInfer<Q>, NoInfer<P>>['request'],
  reply: FopEntry<NoInfer<K>, NoInfer<Q>, NoInfer<P>>['reply'],
  more: Pick<FopEntry<NoInfer<K>, NoInfer<Q>, NoInfer<P>>, Extra> = {},
): FopEntry<K> {
  return { procedure, fd, request, reply, ...more } as unknown as FopEntry<K>
}

// -- replies that several fops share

type Plain = { op_ret: number; op_errno: number; xdata: Dict | undefined }
type OneStat = Plain & { stat: Ok<'stat'>['stat'] }
type TwoStats = Plain & { prestat: Ok<'stat'>['stat']; poststat: Ok<'stat'>['stat'] }
type ThreeStats = OneStat & { preparent: Ok<'stat'>['stat']; postparent: Ok<'stat'>['stat'] }
type WithDict = Plain & { dict: Dict | undefined }

const plain = (rsp: Plain): Ok<'flush'> => ({ errno: 0, xdata: rsp.xdata })
const oneStat = (rsp: OneStat): Ok<'stat'> => ({ errno: 0, stat: rsp.stat, xdata: rsp.xdata })
const prePost = (rsp: TwoStats): Ok<'truncate'> => ({
  errno: 0,
  prestat: rsp.prestat,
  poststat: rsp.poststat,
  xdata: rsp.xdata,
})
const parents = (rsp: TwoStats): Ok<'unlink'> => ({
  errno: 0,
  preparent: rsp.prestat,
  postparent: rsp.poststat,
  xdata: rsp.xdata,
})
const newEntry = (rsp: ThreeStats): Ok<'mkdir'> => ({
  errno: 0,
  stat: rsp.stat,
  preparent: rsp.preparent,
  postparent: rsp.postparent,
  xdata: rsp.xdata,
})
const withDict = (rsp: WithDict): Ok<'getxattr'> => ({
  errno: 0,
  dict: rsp.dict ?? new Dict(),
  xdata: rsp.xdata,
})

/** The name of a loc that must have one. */
const nameOf = (loc: Loc): string => loc.name ?? ''
/** Names are announced by a one instead of their length (client_pre_getxattr and others). */
const nameFlag = (name: string | undefined): number => (name === undefined ? 0 : 1)

/** Offsets become the graph's; readdirp's entries get their inodes. */
function entries(
  rsp: Plain & { reply: DirEntry[] },
  req: Req<'readdir'>,
  context: WireContext,
): Ok<'readdir'> {
  const { leaf, leaves } = context
  const { table } = req.fd.inode
  for (const dirent of rsp.reply) {
    dirent.off = encodeDirOffset(dirent.off, leaf, leaves)
    const { stat } = dirent
    if (stat === undefined || stat.gfid === NULL_GFID) continue
    if (dirent.name === '.' || dirent.name === '..') continue
    dirent.inode = table.findOrNew(stat.gfid, stat.mode & S_IFMT)
  }
  // The brick says ENOENT when the directory ends with this batch.
  return { errno: 0, entries: rsp.reply, eof: rsp.op_errno === 2, xdata: rsp.xdata }
}

const readdirRequest = (req: Req<'readdir'>, fd: number, { leaves }: WireContext) => ({
  gfid: req.fd.inode.gfid,
  fd,
  offset: decodeDirOffset(req.off, leaves),
  size: req.size,
  xdata: req.xdata,
})

const inodelkFields = (req: Req<'inodelk'> | Req<'finodelk'>) => ({
  cmd: req.cmd,
  type: req.flock.type,
  flock: req.flock,
  volume: req.volume,
  xdata: req.xdata,
})
const entrylkFields = (req: Req<'entrylk'> | Req<'fentrylk'>) => ({
  cmd: req.cmd,
  type: req.type,
  namelen: nameFlag(req.basename),
  name: req.basename ?? '',
  volume: req.volume,
  xdata: req.xdata,
})
const waitsForRange = (req: { cmd: number; flock: { type: number } }): boolean =>
  req.cmd === F_SETLKW && req.flock.type !== F_UNLCK
const waitsForEntry = (req: { cmd: number }): boolean => req.cmd === ENTRYLK_LOCK

/** By fop name. */
export const fopTable: { readonly [K in FopName]?: FopEntry<K> } = {
  stat: entry(
    'stat',
    FOP.STAT,
    'none',
    (req) => ({ gfid: req.loc.gfid, xdata: req.xdata }),
    oneStat,
  ),
  readlink: entry(
    'readlink',
    FOP.READLINK,
    'none',
    (req) => ({ gfid: req.loc.gfid, size: req.size, xdata: req.xdata }),
    (rsp) => ({ errno: 0, path: rsp.path, stat: rsp.buf, xdata: rsp.xdata }),
  ),
  mknod: entry(
    'mknod',
    FOP.MKNOD,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      dev: req.rdev,
      mode: req.mode,
      umask: req.umask,
      bname: nameOf(req.loc),
      xdata: req.xdata,
    }),
    newEntry,
  ),
  mkdir: entry(
    'mkdir',
    FOP.MKDIR,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      mode: req.mode,
      umask: req.umask,
      bname: nameOf(req.loc),
      xdata: req.xdata,
    }),
    newEntry,
  ),
  unlink: entry(
    'unlink',
    FOP.UNLINK,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      bname: nameOf(req.loc),
      xflags: req.flags,
      xdata: req.xdata,
    }),
    parents,
  ),
  rmdir: entry(
    'rmdir',
    FOP.RMDIR,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      xflags: req.flags,
      bname: nameOf(req.loc),
      xdata: req.xdata,
    }),
    parents,
  ),
  symlink: entry(
    'symlink',
    FOP.SYMLINK,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      bname: nameOf(req.loc),
      umask: req.umask,
      linkname: req.linkpath,
      xdata: req.xdata,
    }),
    newEntry,
  ),
  rename: entry(
    'rename',
    FOP.RENAME,
    'none',
    (req) => ({
      oldgfid: req.oldloc.pargfid,
      newgfid: req.newloc.pargfid,
      oldbname: nameOf(req.oldloc),
      newbname: nameOf(req.newloc),
      xdata: req.xdata,
    }),
    (rsp) => ({
      errno: 0,
      stat: rsp.stat,
      preoldparent: rsp.preoldparent,
      postoldparent: rsp.postoldparent,
      prenewparent: rsp.prenewparent,
      postnewparent: rsp.postnewparent,
      xdata: rsp.xdata,
    }),
  ),
  link: entry(
    'link',
    FOP.LINK,
    'none',
    (req) => ({
      oldgfid: req.oldloc.gfid,
      newgfid: req.newloc.pargfid,
      newbname: nameOf(req.newloc),
      xdata: req.xdata,
    }),
    newEntry,
  ),
  truncate: entry(
    'truncate',
    FOP.TRUNCATE,
    'none',
    (req) => ({ gfid: req.loc.gfid, offset: req.offset, xdata: req.xdata }),
    prePost,
  ),
  open: entry(
    'open',
    FOP.OPEN,
    'none',
    (req) => ({ gfid: req.loc.gfid, flags: gfFlagsFromFlags(req.flags), xdata: req.xdata }),
    (rsp, req, { fds }) => {
      fds.opened(req.fd, rsp.fd, req.flags)
      return { errno: 0, fd: req.fd, xdata: rsp.xdata }
    },
  ),
  readv: entry(
    'readv',
    FOP.READ,
    'anonymous',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      size: req.size,
      flag: req.flags,
      xdata: req.xdata,
    }),
    (rsp, req, _context, _frame, payload) => {
      let size = 0
      for (const part of payload) size += part.length
      if (size !== rsp.op_ret || size > req.size) {
        throw new XdrError('payload', 0, `${size} bytes, op_ret ${rsp.op_ret} of ${req.size}`)
      }
      return {
        errno: 0,
        data: payload,
        size,
        stat: rsp.stat,
        eof: rsp.op_errno === 2,
        xdata: rsp.xdata,
      }
    },
    { payloadSize: (req) => req.size },
  ),
  writev: entry(
    'writev',
    FOP.WRITE,
    'anonymous',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      size: req.size,
      flag: req.flags,
      xdata: req.xdata,
    }),
    (rsp) => ({
      errno: 0,
      size: rsp.op_ret,
      prestat: rsp.prestat,
      poststat: rsp.poststat,
      xdata: rsp.xdata,
    }),
    { payload: (req) => req.data },
  ),
  statfs: entry(
    'statfs',
    FOP.STATFS,
    'none',
    (req) => ({ gfid: req.loc.gfid, xdata: req.xdata }),
    (rsp) => ({ errno: 0, statfs: rsp.statfs, xdata: rsp.xdata }),
  ),
  flush: entry(
    'flush',
    FOP.FLUSH,
    'strict',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, xdata: req.xdata }),
    (rsp, req, { fds }, frame) => {
      fds.flushed(req.fd, frame.creds.lkOwner)
      return plain(rsp)
    },
  ),
  fsync: entry(
    'fsync',
    FOP.FSYNC,
    'anonymous',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      data: req.datasync ? 1 : 0,
      xdata: req.xdata,
    }),
    prePost,
  ),
  setxattr: entry(
    'setxattr',
    FOP.SETXATTR,
    'none',
    (req) => ({ gfid: req.loc.gfid, flags: req.flags, dict: req.dict, xdata: req.xdata }),
    plain,
  ),
  getxattr: entry(
    'getxattr',
    FOP.GETXATTR,
    'none',
    (req) => ({
      gfid: req.loc.gfid,
      namelen: nameFlag(req.name),
      name: req.name ?? '',
      xdata: req.xdata,
    }),
    withDict,
  ),
  removexattr: entry(
    'removexattr',
    FOP.REMOVEXATTR,
    'none',
    (req) => ({ gfid: req.loc.gfid, name: req.name, xdata: req.xdata }),
    plain,
  ),
  opendir: entry(
    'opendir',
    FOP.OPENDIR,
    'none',
    (req) => ({ gfid: req.loc.gfid, xdata: req.xdata }),
    (rsp, req, { fds }) => {
      fds.opened(req.fd, rsp.fd, req.fd.flags)
      return { errno: 0, fd: req.fd, xdata: rsp.xdata }
    },
  ),
  fsyncdir: entry(
    'fsyncdir',
    FOP.FSYNCDIR,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      data: req.datasync ? 1 : 0,
      xdata: req.xdata,
    }),
    plain,
  ),
  access: entry(
    'access',
    FOP.ACCESS,
    'none',
    (req) => ({ gfid: req.loc.gfid, mask: req.mask, xdata: req.xdata }),
    plain,
  ),
  create: entry(
    'create',
    FOP.CREATE,
    'none',
    (req) => ({
      pargfid: req.loc.pargfid,
      flags: gfFlagsFromFlags(req.flags),
      mode: req.mode,
      umask: req.umask,
      bname: nameOf(req.loc),
      xdata: req.xdata,
    }),
    (rsp, req, { fds }) => {
      fds.opened(req.fd, rsp.fd, req.flags, rsp.stat.gfid)
      return { ...newEntry(rsp), fd: req.fd }
    },
  ),
  ftruncate: entry(
    'ftruncate',
    FOP.FTRUNCATE,
    'strict',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, offset: req.offset, xdata: req.xdata }),
    prePost,
  ),
  fstat: entry(
    'fstat',
    FOP.FSTAT,
    'strict',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, xdata: req.xdata }),
    oneStat,
  ),
  lk: entry(
    'lk',
    FOP.LK,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      cmd: req.cmd,
      type: req.flock.type,
      flock: req.flock,
      xdata: req.xdata,
    }),
    (rsp, req, { fds }, frame) => {
      fds.locked(req.fd, frame.creds.lkOwner, req.cmd, req.flock)
      return { errno: 0, flock: rsp.flock, xdata: rsp.xdata }
    },
    { blocks: waitsForRange },
  ),
  lookup: entry(
    'lookup',
    FOP.LOOKUP,
    'none',
    (req) => ({
      gfid: req.loc.gfid,
      pargfid: req.loc.name === undefined ? NULL_GFID : req.loc.pargfid,
      flags: 0,
      bname: nameOf(req.loc),
      xdata: req.xdata,
    }),
    (rsp) => ({ errno: 0, stat: rsp.prestat, postparent: rsp.poststat, xdata: rsp.xdata }),
  ),
  readdir: entry('readdir', FOP.READDIR, 'strict', readdirRequest, entries),
  inodelk: entry(
    'inodelk',
    FOP.INODELK,
    'none',
    (req) => ({ gfid: req.loc.gfid, ...inodelkFields(req) }),
    plain,
    { blocks: waitsForRange },
  ),
  finodelk: entry(
    'finodelk',
    FOP.FINODELK,
    'anonymous',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, ...inodelkFields(req) }),
    plain,
    { blocks: waitsForRange },
  ),
  entrylk: entry(
    'entrylk',
    FOP.ENTRYLK,
    'none',
    (req) => ({ gfid: req.loc.gfid, ...entrylkFields(req) }),
    plain,
    { blocks: waitsForEntry },
  ),
  fentrylk: entry(
    'fentrylk',
    FOP.FENTRYLK,
    'strict',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, ...entrylkFields(req) }),
    plain,
    { blocks: waitsForEntry },
  ),
  xattrop: entry(
    'xattrop',
    FOP.XATTROP,
    'none',
    (req) => ({ gfid: req.loc.gfid, flags: req.op, dict: req.dict, xdata: req.xdata }),
    withDict,
  ),
  fxattrop: entry(
    'fxattrop',
    FOP.FXATTROP,
    'anonymous',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      flags: req.op,
      dict: req.dict,
      xdata: req.xdata,
    }),
    withDict,
  ),
  fgetxattr: entry(
    'fgetxattr',
    FOP.FGETXATTR,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      namelen: nameFlag(req.name),
      name: req.name ?? '',
      xdata: req.xdata,
    }),
    withDict,
  ),
  fsetxattr: entry(
    'fsetxattr',
    FOP.FSETXATTR,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      flags: req.flags,
      dict: req.dict,
      xdata: req.xdata,
    }),
    plain,
  ),
  rchecksum: entry(
    'rchecksum',
    FOP.RCHECKSUM,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      len: req.len,
      flags: 0,
      xdata: req.xdata,
    }),
    (rsp) => ({
      errno: 0,
      weak: rsp.weak_checksum,
      strong: rsp.strong_checksum,
      flags: rsp.flags,
      xdata: rsp.xdata,
    }),
  ),
  setattr: entry(
    'setattr',
    FOP.SETATTR,
    'none',
    (req) => ({ gfid: req.loc.gfid, stbuf: req.stat, valid: req.valid, xdata: req.xdata }),
    prePost,
  ),
  fsetattr: entry(
    'fsetattr',
    FOP.FSETATTR,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      stbuf: req.stat,
      valid: req.valid,
      xdata: req.xdata,
    }),
    prePost,
  ),
  readdirp: entry('readdirp', FOP.READDIRP, 'strict', readdirRequest, entries),
  fremovexattr: entry(
    'fremovexattr',
    FOP.FREMOVEXATTR,
    'strict',
    (req, fd) => ({ gfid: req.fd.inode.gfid, fd, name: req.name, xdata: req.xdata }),
    plain,
  ),
  fallocate: entry(
    'fallocate',
    FOP.FALLOCATE,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      flags: req.mode,
      offset: req.offset,
      size: req.len,
      xdata: req.xdata,
    }),
    prePost,
  ),
  discard: entry(
    'discard',
    FOP.DISCARD,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      size: req.len,
      xdata: req.xdata,
    }),
    prePost,
  ),
  zerofill: entry(
    'zerofill',
    FOP.ZEROFILL,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      size: req.len,
      xdata: req.xdata,
    }),
    prePost,
  ),
  ipc: entry('ipc', FOP.IPC, 'none', (req) => ({ op: req.op, xdata: req.xdata }), plain),
  seek: entry(
    'seek',
    FOP.SEEK,
    'strict',
    (req, fd) => ({
      gfid: req.fd.inode.gfid,
      fd,
      offset: req.offset,
      what: req.what,
      xdata: req.xdata,
    }),
    (rsp) => ({ errno: 0, offset: rsp.offset, xdata: rsp.xdata }),
  ),
  lease: entry(
    'lease',
    FOP.LEASE,
    'none',
    (req) => ({ gfid: req.loc.gfid, lease: req.lease, xdata: req.xdata }),
    (rsp) => ({ errno: 0, lease: rsp.lease, xdata: rsp.xdata }),
  ),
  getactivelk: entry(
    'getactivelk',
    FOP.GETACTIVELK,
    'none',
    (req) => ({ gfid: req.loc.gfid, xdata: req.xdata }),
    (rsp) => ({ errno: 0, locks: rsp.reply, xdata: rsp.xdata }),
  ),
  icreate: entry(
    'icreate',
    FOP.ICREATE,
    'none',
    (req) => ({ gfid: req.gfid, mode: req.mode, xdata: req.xdata }),
    oneStat,
  ),
  copy_file_range: entry(
    'copy_file_range',
    FOP.COPY_FILE_RANGE,
    'none',
    (req, _fd, { fds }) => {
      const fdIn = fds.remote(req.fdIn, true)
      const fdOut = fds.remote(req.fdOut, true)
      if (fdIn === undefined || fdOut === undefined) return undefined
      return {
        gfid1: req.fdIn.inode.gfid,
        gfid2: req.fdOut.inode.gfid,
        fd_in: fdIn,
        fd_out: fdOut,
        off_in: req.offIn,
        off_out: req.offOut,
        size: req.size,
        flag: req.flags,
        xdata: req.xdata,
      }
    },
    (rsp) => ({
      errno: 0,
      size: rsp.op_ret,
      stat: rsp.stat,
      prestat: rsp.preparent,
      poststat: rsp.postparent,
      xdata: rsp.xdata,
    }),
  ),
}
