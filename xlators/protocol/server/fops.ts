/**
 * Every fop as a brick serves it: how a request of the wire becomes one of the graph, and a reply
 * one of the wire; the mirror of protocol/client's table, in its order.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Flock, FopError, FopName, Ok, Req, Statfs } from '../../../src/core/fop.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFREG } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { gfFlagsToFlags } from '../../../src/xdr/glusterfs-fops.ts'
import { FOP, type Procedure } from '../../../src/xdr/programs.ts'

/** What the table needs of the client whose call it is. */
export interface Callee {
  /** The client's fd of this number, or one by gfid. EBADF for an unknown number. */
  fd(number: number, gfid: Gfid): Fd
  /** An object by gfid. */
  loc(gfid: Gfid): Loc
  /** A name in a directory. */
  entry(pargfid: Gfid, name: string): Loc
  /** An fd that is to be opened. */
  newFd(gfid: Gfid, type: number, flags: number): Fd
  /** An fd that was opened gets its number. */
  opened(fd: Fd): number
}

/** Thrown while a request is made: the call fails with this errno. Never leaves the server. */
export class Refusal extends Error {
  readonly errno: Errno

  constructor(errno: Errno) {
    super(`refused with errno ${errno}`)
    this.errno = errno
  }
}

interface Status {
  op_ret: number
  op_errno: number
  xdata: Dict | undefined
}

/** What a reply has beside status and xdata, and op_ret or op_errno where they say something. */
type Fields<P> = Omit<P, 'op_ret' | 'op_errno' | 'xdata'> &
  Partial<Pick<Status, 'op_ret' | 'op_errno'>>

export interface ServedFop<K extends FopName = FopName, Q = unknown, P = unknown> {
  readonly procedure: Procedure<Q, P & Status>
  readonly fop: K
  /** `gfid`: an object that is not there is ESTALE instead of ENOENT. */
  readonly by: 'gfid' | 'name' | 'fd'
  /** Throws Refusal. */
  request(body: Q, callee: Callee, payload: Buffer[]): Req<K>
  reply(rep: Ok<K>, callee: Callee, req: Req<K>): Fields<P>
}

const NO_STAT = new Iatt()
const NO_FLOCK: Flock = { type: 0, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: Buffer.alloc(0) }
const NO_STATFS: Statfs = {
  bsize: 0,
  frsize: 0,
  blocks: 0,
  bfree: 0,
  bavail: 0,
  files: 0,
  ffree: 0,
  favail: 0,
  fsid: 0n,
  flag: 0,
  namemax: 0,
}

/** Fields of all replies as a failed fop has them. */
const NOTHING = {
  stat: NO_STAT,
  buf: NO_STAT,
  prestat: NO_STAT,
  poststat: NO_STAT,
  preparent: NO_STAT,
  postparent: NO_STAT,
  preoldparent: NO_STAT,
  postoldparent: NO_STAT,
  prenewparent: NO_STAT,
  postnewparent: NO_STAT,
  dict: undefined,
  path: '',
  fd: 0,
  size: 0,
  offset: 0,
  flags: 0,
  weak_checksum: 0,
  strong_checksum: Buffer.alloc(0),
  flock: NO_FLOCK,
  statfs: NO_STATFS,
  lease: { cmd: 0, leaseType: 0, leaseId: Buffer.alloc(16), leaseFlags: 0 },
  reply: [],
}

export const failure = (rep: FopError): object => ({
  ...NOTHING,
  op_ret: -1,
  op_errno: rep.errno,
  xdata: rep.xdata,
})

export const success = (fields: object, xdata: Dict | undefined): object => ({
  op_ret: 0,
  op_errno: 0,
  ...fields,
  xdata,
})

/** Types an entry: everything follows from the fop's name and the procedure. */
function serve<K extends FopName, Q, P extends Status>(
  fop: K,
  by: ServedFop['by'],
  procedure: Procedure<Q, P>,
  request: ServedFop<NoInfer<K>, NoInfer<Q>, NoInfer<P>>['request'],
  reply: ServedFop<NoInfer<K>, NoInfer<Q>, NoInfer<P>>['reply'],
): ServedFop {
  return { procedure, fop, by, request, reply } as unknown as ServedFop
}

// -- what several fops share

const plain = (): object & Record<never, never> => ({})
const oneStat = (rep: { stat: Iatt }) => ({ stat: rep.stat })
const prePost = (rep: { prestat: Iatt; poststat: Iatt }) => ({
  prestat: rep.prestat,
  poststat: rep.poststat,
})
const parents = (rep: { preparent: Iatt; postparent: Iatt }) => ({
  prestat: rep.preparent,
  poststat: rep.postparent,
})
const newEntry = (rep: { stat: Iatt; preparent: Iatt; postparent: Iatt }) => ({
  stat: rep.stat,
  preparent: rep.preparent,
  postparent: rep.postparent,
})
const withDict = (rep: { dict: Dict }) => ({ dict: rep.dict, prestat: NO_STAT, poststat: NO_STAT })

/** op_ret is the size of the value asked for. */
function withValue(rep: { dict: Dict }, _: Callee, req: { name: string | undefined }) {
  const value = req.name === undefined ? undefined : rep.dict.getBytes(req.name)
  return { ...withDict(rep), op_ret: value?.length ?? rep.dict.count }
}

const entries = (rep: Ok<'readdir'>) => ({
  reply: rep.entries,
  op_ret: rep.entries.length,
  // ENOENT says that the directory ends here.
  op_errno: rep.eof ? E.NOENT : 0,
})

interface OnFd {
  gfid: Gfid
  fd: number
  xdata: Dict | undefined
}
interface OnGfid {
  gfid: Gfid
  xdata: Dict | undefined
}

const onFd = (body: OnFd, callee: Callee) => ({
  fd: callee.fd(body.fd, body.gfid),
  xdata: body.xdata,
})
const onGfid = (body: OnGfid, callee: Callee) => ({ loc: callee.loc(body.gfid), xdata: body.xdata })

/** The type stands beside the lock; the one in it is not looked at (server4_inodelk). */
const rangeLock = (body: { type: number; cmd: number; flock: Flock; volume: string }) => ({
  volume: body.volume,
  cmd: body.cmd,
  flock: { ...body.flock, type: body.type, ...signed(body.flock) },
})
const nameLock = (body: { type: number; cmd: number; name: string; volume: string }) => ({
  volume: body.volume,
  cmd: body.cmd,
  type: body.type,
  basename: body.name === '' ? undefined : body.name,
})
const signed = ({ start, len }: Flock) => ({
  start: BigInt.asIntN(64, start),
  len: BigInt.asIntN(64, len),
})
const unsigned = (flock: Flock): Flock => ({
  ...flock,
  start: BigInt.asUintN(64, flock.start),
  len: BigInt.asUintN(64, flock.len),
  pid: flock.pid >>> 0,
})
const nameOrAll = (name: string): string | undefined => (name === '' ? undefined : name)
const readdirRequest = (body: OnFd & { offset: bigint; size: number }, callee: Callee) => ({
  ...onFd(body, callee),
  size: body.size,
  off: body.offset,
})
const rangeOf = (body: OnFd & { offset: number; size: number }, callee: Callee) => ({
  ...onFd(body, callee),
  offset: body.offset,
  len: body.size,
})

/** In the order of FopMap. */
export const servedFops: readonly ServedFop[] = [
  serve('stat', 'gfid', FOP.STAT, onGfid, oneStat),
  serve(
    'readlink',
    'gfid',
    FOP.READLINK,
    (body, callee) => ({ ...onGfid(body, callee), size: body.size }),
    (rep) => ({ buf: rep.stat, path: rep.path, op_ret: rep.path.length }),
  ),
  serve(
    'mknod',
    'name',
    FOP.MKNOD,
    (body, callee) => ({
      loc: callee.entry(body.pargfid, body.bname),
      mode: body.mode,
      rdev: body.dev,
      umask: body.umask,
      xdata: body.xdata,
    }),
    newEntry,
  ),
  serve(
    'mkdir',
    'name',
    FOP.MKDIR,
    (body, callee) => ({
      loc: callee.entry(body.pargfid, body.bname),
      mode: body.mode,
      umask: body.umask,
      xdata: body.xdata,
    }),
    newEntry,
  ),
  serve(
    'unlink',
    'name',
    FOP.UNLINK,
    (body, callee) => ({
      loc: callee.entry(body.pargfid, body.bname),
      flags: body.xflags,
      xdata: body.xdata,
    }),
    parents,
  ),
  serve(
    'rmdir',
    'name',
    FOP.RMDIR,
    (body, callee) => ({
      loc: callee.entry(body.pargfid, body.bname),
      flags: body.xflags,
      xdata: body.xdata,
    }),
    parents,
  ),
  serve(
    'symlink',
    'name',
    FOP.SYMLINK,
    (body, callee) => ({
      loc: callee.entry(body.pargfid, body.bname),
      linkpath: body.linkname,
      umask: body.umask,
      xdata: body.xdata,
    }),
    newEntry,
  ),
  serve(
    'rename',
    'name',
    FOP.RENAME,
    (body, callee) => ({
      oldloc: callee.entry(body.oldgfid, body.oldbname),
      newloc: callee.entry(body.newgfid, body.newbname),
      xdata: body.xdata,
    }),
    (rep) => ({
      stat: rep.stat,
      preoldparent: rep.preoldparent,
      postoldparent: rep.postoldparent,
      prenewparent: rep.prenewparent,
      postnewparent: rep.postnewparent,
    }),
  ),
  serve(
    'link',
    'gfid',
    FOP.LINK,
    (body, callee) => ({
      oldloc: callee.loc(body.oldgfid),
      newloc: callee.entry(body.newgfid, body.newbname),
      xdata: body.xdata,
    }),
    newEntry,
  ),
  serve(
    'truncate',
    'gfid',
    FOP.TRUNCATE,
    (body, callee) => ({ ...onGfid(body, callee), offset: body.offset }),
    prePost,
  ),
  serve(
    'open',
    'gfid',
    FOP.OPEN,
    (body, callee) => {
      const flags = gfFlagsToFlags(body.flags)
      return { ...onGfid(body, callee), fd: callee.newFd(body.gfid, S_IFREG, flags), flags }
    },
    (rep, callee) => ({ fd: callee.opened(rep.fd) }),
  ),
  serve(
    'readv',
    'fd',
    FOP.READ,
    (body, callee) => ({
      ...onFd(body, callee),
      size: body.size,
      offset: body.offset,
      flags: body.flag,
    }),
    (rep) => ({
      stat: rep.stat,
      size: rep.size,
      op_ret: rep.size,
      op_errno: rep.eof ? E.NOENT : 0,
    }),
  ),
  serve(
    'writev',
    'fd',
    FOP.WRITE,
    (body, callee, payload) => ({
      ...onFd(body, callee),
      data: payload,
      size: body.size,
      offset: body.offset,
      flags: body.flag,
    }),
    (rep) => ({ ...prePost(rep), op_ret: rep.size }),
  ),
  serve('statfs', 'gfid', FOP.STATFS, onGfid, (rep) => ({ statfs: rep.statfs })),
  serve('flush', 'fd', FOP.FLUSH, onFd, plain),
  serve(
    'fsync',
    'fd',
    FOP.FSYNC,
    (body, callee) => ({ ...onFd(body, callee), datasync: body.data !== 0 }),
    prePost,
  ),
  serve(
    'setxattr',
    'gfid',
    FOP.SETXATTR,
    (body, callee) => ({
      ...onGfid(body, callee),
      dict: body.dict ?? new Dict(),
      flags: body.flags,
    }),
    plain,
  ),
  serve(
    'getxattr',
    'gfid',
    FOP.GETXATTR,
    (body, callee) => ({ ...onGfid(body, callee), name: nameOrAll(body.name) }),
    withValue,
  ),
  serve(
    'removexattr',
    'gfid',
    FOP.REMOVEXATTR,
    (body, callee) => ({ ...onGfid(body, callee), name: body.name }),
    plain,
  ),
  serve(
    'opendir',
    'gfid',
    FOP.OPENDIR,
    (body, callee) => ({ ...onGfid(body, callee), fd: callee.newFd(body.gfid, S_IFDIR, 0) }),
    (rep, callee) => ({ fd: callee.opened(rep.fd) }),
  ),
  serve(
    'fsyncdir',
    'fd',
    FOP.FSYNCDIR,
    (body, callee) => ({ ...onFd(body, callee), datasync: body.data !== 0 }),
    plain,
  ),
  serve(
    'access',
    'gfid',
    FOP.ACCESS,
    (body, callee) => ({ ...onGfid(body, callee), mask: body.mask }),
    plain,
  ),
  serve(
    'create',
    'name',
    FOP.CREATE,
    (body, callee) => {
      const flags = gfFlagsToFlags(body.flags)
      const gfid = body.xdata?.getGfid('gfid-req') ?? NULL_GFID
      const fd = callee.newFd(gfid, S_IFREG, flags)
      const { parent } = callee.entry(body.pargfid, body.bname)
      return {
        loc: new Loc(fd.inode, parent, body.bname),
        fd,
        flags,
        mode: body.mode,
        umask: body.umask,
        xdata: body.xdata,
      }
    },
    (rep, callee) => {
      // A file that was there keeps its own gfid.
      rep.fd.inode.gfid = rep.stat.gfid
      return { ...newEntry(rep), fd: callee.opened(rep.fd) }
    },
  ),
  serve(
    'ftruncate',
    'fd',
    FOP.FTRUNCATE,
    (body, callee) => ({ ...onFd(body, callee), offset: body.offset }),
    prePost,
  ),
  serve('fstat', 'fd', FOP.FSTAT, onFd, oneStat),
  serve(
    'lk',
    'fd',
    FOP.LK,
    (body, callee) => ({
      ...onFd(body, callee),
      cmd: body.cmd,
      flock: { ...body.flock, type: body.type, ...signed(body.flock) },
    }),
    (rep) => ({ flock: unsigned(rep.flock) }),
  ),
  serve(
    'lookup',
    'name',
    FOP.LOOKUP,
    (body, callee) => ({
      loc: body.bname === '' ? callee.loc(body.gfid) : callee.entry(body.pargfid, body.bname),
      xdata: body.xdata,
    }),
    (rep) => ({ prestat: rep.stat, poststat: rep.postparent }),
  ),
  serve('readdir', 'fd', FOP.READDIR, readdirRequest, entries),
  serve(
    'inodelk',
    'gfid',
    FOP.INODELK,
    (body, callee) => ({ ...onGfid(body, callee), ...rangeLock(body) }),
    plain,
  ),
  serve(
    'finodelk',
    'fd',
    FOP.FINODELK,
    (body, callee) => ({ ...onFd(body, callee), ...rangeLock(body) }),
    plain,
  ),
  serve(
    'entrylk',
    'gfid',
    FOP.ENTRYLK,
    (body, callee) => ({ ...onGfid(body, callee), ...nameLock(body) }),
    plain,
  ),
  serve(
    'fentrylk',
    'fd',
    FOP.FENTRYLK,
    (body, callee) => ({ ...onFd(body, callee), ...nameLock(body) }),
    plain,
  ),
  serve(
    'xattrop',
    'gfid',
    FOP.XATTROP,
    (body, callee) => ({
      ...onGfid(body, callee),
      op: body.flags,
      dict: body.dict ?? new Dict(),
    }),
    withDict,
  ),
  serve(
    'fxattrop',
    'fd',
    FOP.FXATTROP,
    (body, callee) => ({ ...onFd(body, callee), op: body.flags, dict: body.dict ?? new Dict() }),
    withDict,
  ),
  serve(
    'fgetxattr',
    'fd',
    FOP.FGETXATTR,
    (body, callee) => ({ ...onFd(body, callee), name: nameOrAll(body.name) }),
    withValue,
  ),
  serve(
    'fsetxattr',
    'fd',
    FOP.FSETXATTR,
    (body, callee) => ({
      ...onFd(body, callee),
      dict: body.dict ?? new Dict(),
      flags: body.flags,
    }),
    plain,
  ),
  serve(
    'rchecksum',
    'fd',
    FOP.RCHECKSUM,
    (body, callee) => ({ ...onFd(body, callee), offset: body.offset, len: body.len }),
    (rep) => ({ flags: rep.flags, weak_checksum: rep.weak, strong_checksum: rep.strong }),
  ),
  serve(
    'setattr',
    'gfid',
    FOP.SETATTR,
    (body, callee) => ({ ...onGfid(body, callee), stat: body.stbuf, valid: body.valid }),
    prePost,
  ),
  serve(
    'fsetattr',
    'fd',
    FOP.FSETATTR,
    (body, callee) => ({ ...onFd(body, callee), stat: body.stbuf, valid: body.valid }),
    prePost,
  ),
  serve('readdirp', 'fd', FOP.READDIRP, readdirRequest, (rep) => ({
    ...entries(rep),
    // An entry that could not be looked at goes without attributes.
    reply: rep.entries.map((entry) =>
      entry.stat === undefined ? { ...entry, stat: NO_STAT } : entry,
    ),
  })),
  serve(
    'fremovexattr',
    'fd',
    FOP.FREMOVEXATTR,
    (body, callee) => ({ ...onFd(body, callee), name: body.name }),
    plain,
  ),
  serve(
    'fallocate',
    'fd',
    FOP.FALLOCATE,
    (body, callee) => ({ ...rangeOf(body, callee), mode: body.flags }),
    prePost,
  ),
  serve('discard', 'fd', FOP.DISCARD, rangeOf, prePost),
  serve('zerofill', 'fd', FOP.ZEROFILL, rangeOf, prePost),
  serve('ipc', 'name', FOP.IPC, (body) => ({ op: body.op, xdata: body.xdata }), plain),
  serve(
    'seek',
    'fd',
    FOP.SEEK,
    (body, callee) => ({ ...onFd(body, callee), offset: body.offset, what: body.what }),
    (rep) => ({ offset: rep.offset }),
  ),
  serve(
    'lease',
    'gfid',
    FOP.LEASE,
    (body, callee) => ({ ...onGfid(body, callee), lease: body.lease }),
    (rep) => ({ lease: rep.lease }),
  ),
  serve('getactivelk', 'gfid', FOP.GETACTIVELK, onGfid, (rep) => ({
    reply: rep.locks.map((lock) => ({ ...lock, flock: unsigned(lock.flock) })),
    op_ret: rep.locks.length,
  })),
  serve(
    'copy_file_range',
    'fd',
    FOP.COPY_FILE_RANGE,
    (body, callee) => ({
      fdIn: callee.fd(body.fd_in, body.gfid1),
      offIn: body.off_in,
      fdOut: callee.fd(body.fd_out, body.gfid2),
      offOut: body.off_out,
      size: body.size,
      flags: body.flag,
      xdata: body.xdata,
    }),
    (rep) => ({
      stat: rep.stat,
      preparent: rep.prestat,
      postparent: rep.poststat,
      op_ret: rep.size,
    }),
  ),
]
