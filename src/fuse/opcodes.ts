/**
 * The opcode table: for each request of the kernel its name, its smallest body, how its body is
 * read and who answers it. Requests without an entry are answered ENOSYS.
 */
import * as abi from './abi.ts'
import { OP } from './abi.ts'
import type { FuseRequest } from './request.ts'

type Answer = void | Promise<void>
type Handler<T> = (request: FuseRequest, input: T) => Answer

/** What a file system implements: each handler answers its request exactly once. */
export interface FuseOps {
  init: Handler<abi.InitIn>
  destroy: Handler<undefined>
  lookup: Handler<string>
  /** Takes no answer, as `batchForget` and `interrupt`. */
  forget: Handler<number>
  batchForget: Handler<{ nodeid: number; nlookup: number }[]>
  interrupt: Handler<number>
  getattr: Handler<{ flags: number; fh: number }>
  setattr: Handler<abi.SetattrIn>
  readlink: Handler<undefined>
  symlink: Handler<{ first: string; second: string }>
  mknod: Handler<abi.MkIn>
  mkdir: Handler<abi.MkIn>
  unlink: Handler<string>
  rmdir: Handler<string>
  rename: Handler<abi.RenameIn>
  link: Handler<{ oldnodeid: number; name: string }>
  open: Handler<{ flags: number; openFlags: number }>
  create: Handler<abi.CreateIn>
  read: Handler<abi.ReadIn>
  write: Handler<abi.WriteIn>
  flush: Handler<{ fh: number; lockOwner: Buffer }>
  release: Handler<abi.ReleaseIn>
  fsync: Handler<{ fh: number; datasync: boolean }>
  fallocate: Handler<abi.FallocateIn>
  lseek: Handler<{ fh: number; offset: number; whence: number }>
  copyFileRange: Handler<abi.CopyIn>
  opendir: Handler<{ flags: number; openFlags: number }>
  readdir: Handler<{ fh: number; cookie: bigint; size: number }>
  readdirplus: Handler<{ fh: number; cookie: bigint; size: number }>
  releasedir: Handler<abi.ReleaseIn>
  fsyncdir: Handler<{ fh: number; datasync: boolean }>
  statfs: Handler<undefined>
  access: Handler<number>
  setxattr: Handler<abi.SetxattrIn>
  getxattr: Handler<{ size: number; name: string }>
  listxattr: Handler<{ size: number; name: string }>
  removexattr: Handler<string>
  getlk: Handler<abi.LkIn>
  setlk: Handler<abi.LkIn>
  setlkw: Handler<abi.LkIn>
}

export interface Opcode {
  readonly name: string
  /** Bytes a body has at least. */
  readonly min: number
  /** Reads the body and hands it to the file system. */
  readonly run: (ops: FuseOps, request: FuseRequest, message: Buffer, end: number) => Answer
  /** The kernel waits for no answer. */
  readonly oneWay: boolean
}

function op<T>(
  name: string,
  min: number,
  read: (message: Buffer, end: number) => T,
  handler: (ops: FuseOps) => Handler<T>,
  oneWay = false,
): Opcode {
  return {
    name,
    min,
    run: (ops, request, message, end) => handler(ops)(request, read(message, end)),
    oneWay,
  }
}

export const opcodes: Readonly<Record<number, Opcode>> = {
  [OP.LOOKUP]: op('LOOKUP', 1, abi.nameIn, (ops) => ops.lookup),
  [OP.FORGET]: op('FORGET', 8, abi.forgetIn, (ops) => ops.forget, true),
  [OP.GETATTR]: op('GETATTR', 16, abi.getattrIn, (ops) => ops.getattr),
  [OP.SETATTR]: op('SETATTR', 88, abi.setattrIn, (ops) => ops.setattr),
  [OP.READLINK]: op('READLINK', 0, abi.nothing, (ops) => ops.readlink),
  [OP.SYMLINK]: op('SYMLINK', 2, abi.twoNamesIn, (ops) => ops.symlink),
  [OP.MKNOD]: op('MKNOD', 17, abi.mknodIn, (ops) => ops.mknod),
  [OP.MKDIR]: op('MKDIR', 9, abi.mkdirIn, (ops) => ops.mkdir),
  [OP.UNLINK]: op('UNLINK', 1, abi.nameIn, (ops) => ops.unlink),
  [OP.RMDIR]: op('RMDIR', 1, abi.nameIn, (ops) => ops.rmdir),
  [OP.RENAME]: op('RENAME', 10, abi.renameIn, (ops) => ops.rename),
  [OP.LINK]: op('LINK', 9, abi.linkIn, (ops) => ops.link),
  [OP.OPEN]: op('OPEN', 8, abi.openIn, (ops) => ops.open),
  [OP.READ]: op('READ', 40, abi.readIn, (ops) => ops.read),
  [OP.WRITE]: op('WRITE', 40, abi.writeIn, (ops) => ops.write),
  [OP.STATFS]: op('STATFS', 0, abi.nothing, (ops) => ops.statfs),
  [OP.RELEASE]: op('RELEASE', 24, abi.releaseIn, (ops) => ops.release),
  [OP.FSYNC]: op('FSYNC', 16, abi.fsyncIn, (ops) => ops.fsync),
  [OP.SETXATTR]: op('SETXATTR', 9, abi.setxattrIn, (ops) => ops.setxattr),
  [OP.GETXATTR]: op('GETXATTR', 9, abi.getxattrIn, (ops) => ops.getxattr),
  [OP.LISTXATTR]: op('LISTXATTR', 8, abi.getxattrIn, (ops) => ops.listxattr),
  [OP.REMOVEXATTR]: op('REMOVEXATTR', 1, abi.nameIn, (ops) => ops.removexattr),
  [OP.FLUSH]: op('FLUSH', 24, abi.flushIn, (ops) => ops.flush),
  [OP.INIT]: op('INIT', 16, abi.initIn, (ops) => ops.init),
  [OP.OPENDIR]: op('OPENDIR', 8, abi.openIn, (ops) => ops.opendir),
  [OP.READDIR]: op('READDIR', 40, abi.readdirIn, (ops) => ops.readdir),
  [OP.RELEASEDIR]: op('RELEASEDIR', 24, abi.releaseIn, (ops) => ops.releasedir),
  [OP.FSYNCDIR]: op('FSYNCDIR', 16, abi.fsyncIn, (ops) => ops.fsyncdir),
  [OP.GETLK]: op('GETLK', 48, abi.lkIn, (ops) => ops.getlk),
  [OP.SETLK]: op('SETLK', 48, abi.lkIn, (ops) => ops.setlk),
  [OP.SETLKW]: op('SETLKW', 48, abi.lkIn, (ops) => ops.setlkw),
  [OP.ACCESS]: op('ACCESS', 8, abi.accessIn, (ops) => ops.access),
  [OP.CREATE]: op('CREATE', 17, abi.createIn, (ops) => ops.create),
  [OP.INTERRUPT]: op('INTERRUPT', 8, abi.interruptIn, (ops) => ops.interrupt, true),
  [OP.DESTROY]: op('DESTROY', 0, abi.nothing, (ops) => ops.destroy),
  [OP.BATCH_FORGET]: op('BATCH_FORGET', 8, abi.batchForgetIn, (ops) => ops.batchForget, true),
  [OP.FALLOCATE]: op('FALLOCATE', 32, abi.fallocateIn, (ops) => ops.fallocate),
  [OP.READDIRPLUS]: op('READDIRPLUS', 40, abi.readdirIn, (ops) => ops.readdirplus),
  [OP.LSEEK]: op('LSEEK', 24, abi.lseekIn, (ops) => ops.lseek),
  [OP.COPY_FILE_RANGE]: op('COPY_FILE_RANGE', 56, abi.copyIn, (ops) => ops.copyFileRange),
}

/** Requests answered ENOSYS on purpose, with what the kernel makes of it. */
export const refusedOpcodes: Readonly<Record<number, { name: string; because: string }>> = {
  [OP.RENAME2]: {
    name: 'RENAME2',
    because:
      'no GlusterFS fop renames without replacing, or exchanges, in one step; callers see EINVAL ' +
      'and fall back (mv -n checks first), as with the stock client',
  },
  [OP.TMPFILE]: { name: 'TMPFILE', because: 'a GlusterFS file has a name; callers see EOPNOTSUPP' },
  [OP.COPY_FILE_RANGE_64]: {
    name: 'COPY_FILE_RANGE_64',
    because: 'the kernel asks again with COPY_FILE_RANGE; bricks count in 32 bits',
  },
  [OP.STATX]: {
    name: 'STATX',
    because:
      'asked for each file whose birth time somebody wants (libuv, Rust), however fresh its ' +
      'attributes are: a request more for nearly every stat(2) of such programs; callers see no ' +
      'birth time, as with the stock client',
  },
  [OP.SYNCFS]: { name: 'SYNCFS', because: 'only sent to servers the kernel trusts' },
  [OP.IOCTL]: { name: 'IOCTL', because: 'there are none; callers see ENOTTY' },
  [OP.POLL]: { name: 'POLL', because: 'regular files are always ready, which is the default' },
  [OP.BMAP]: { name: 'BMAP', because: 'files have no block device' },
}
