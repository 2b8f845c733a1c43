/** Requests as the kernel sends them, byte for byte, through the opcode table. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CallPool, ROOT_CREDS } from '../../../src/core/frame.ts'
import { OP } from '../../../src/fuse/abi.ts'
import type { FuseDevice } from '../../../src/fuse/device.ts'
import { type FuseOps, opcodes, refusedOpcodes } from '../../../src/fuse/opcodes.ts'
import { FuseRequest } from '../../../src/fuse/request.ts'

/** len filled in, opcode, unique 0x10, nodeid 3, uid 1000, gid 100, pid 77. */
function message(opcode: number, body: string): Buffer {
  const bytes = Buffer.from(body.replace(/\s|\/\/.*$/gm, ''), 'hex')
  const header = Buffer.from(
    '00000000 00000000 1000000000000000 0300000000000000 e8030000 64000000 4d000000 00000000'.replaceAll(
      ' ',
      '',
    ),
    'hex',
  )
  header.writeUInt32LE(header.length + bytes.length, 0)
  header.writeUInt32LE(opcode, 4)
  // What follows a message in the buffer belongs to an older one.
  return Buffer.concat([header, bytes, Buffer.from('garbage\0')])
}

/** What the handler was given. */
function decode(
  opcode: number,
  body: string,
): { handler: string; request: FuseRequest; input: unknown } {
  let seen: { handler: string; request: FuseRequest; input: unknown } | undefined
  const ops = new Proxy(
    {},
    {
      get: (_, handler: string) => (request: FuseRequest, input: unknown) => {
        seen = { handler, request, input }
      },
    },
  ) as FuseOps
  const bytes = message(opcode, body)
  const frame = new CallPool().begin(undefined as never, 'test', ROOT_CREDS)
  const request = new FuseRequest(undefined as unknown as FuseDevice, bytes, frame, undefined)
  void opcodes[opcode]!.run(ops, request, bytes, bytes.readUInt32LE(0))
  return seen!
}

const cases: [opcode: number, handler: string, body: string, input: unknown][] = [
  [OP.LOOKUP, 'lookup', '66ff6f00', 'f\xffo'],
  [OP.FORGET, 'forget', '0500000000000000', 5],
  [OP.GETATTR, 'getattr', '01000000 00000000 0900000000000000', { flags: 1, fh: 9 }],
  [OP.SYMLINK, 'symlink', '6c00 2f7400', { first: 'l', second: '/t' }],
  [
    OP.MKNOD,
    'mknod',
    'a4810000 03050000 12000000 00000000 6e00',
    { mode: 0o100644, rdev: 0x503, umask: 0o22, name: 'n' },
  ],
  [OP.MKDIR, 'mkdir', 'ed010000 12000000 6400', { mode: 0o755, rdev: 0, umask: 0o22, name: 'd' }],
  [
    OP.RENAME,
    'rename',
    '0700000000000000 6f6c6400 6e657700',
    { newdir: 7, oldname: 'old', newname: 'new' },
  ],
  [OP.LINK, 'link', '0700000000000000 6c00', { oldnodeid: 7, name: 'l' }],
  [OP.OPEN, 'open', '02800000 01000000', { flags: 0x8002, openFlags: 1 }],
  [
    OP.CREATE,
    'create',
    '42800000 a4810000 12000000 00000000 6300',
    { flags: 0x8042, mode: 0o100644, umask: 0o22, name: 'c' },
  ],
  [
    OP.READ,
    'read',
    // fh, offset 2^32+1, size, no owner, owner, flags, padding
    '0100000000000000 0100000001000000 00001000 00000000 ffffffffffffffff 00800000 00000000',
    { fh: 1, offset: 2 ** 32 + 1, size: 1 << 20, lockOwner: undefined, flags: 0x8000 },
  ],
  [
    OP.WRITE,
    'write',
    '0100000000000000 0002000000000000 03000000 06000000 0102030405060708 01000000 00000000 616263',
    {
      fh: 1,
      offset: 512,
      size: 3,
      writeFlags: 6,
      lockOwner: Buffer.from('0102030405060708', 'hex'),
      flags: 1,
    },
  ],
  [
    OP.RELEASE,
    'release',
    '0100000000000000 02000000 02000000 0807060504030201',
    { fh: 1, flags: 2, releaseFlags: 2, lockOwner: Buffer.from('0807060504030201', 'hex') },
  ],
  [
    OP.FLUSH,
    'flush',
    '0100000000000000 00000000 00000000 0807060504030201',
    { fh: 1, lockOwner: Buffer.from('0807060504030201', 'hex') },
  ],
  [OP.FSYNC, 'fsync', '0100000000000000 01000000 00000000', { fh: 1, datasync: true }],
  [
    OP.SETXATTR,
    'setxattr',
    '03000000 01000000 757365722e6100 760077',
    { name: 'user.a', flags: 1, value: Buffer.from('v\0w') },
  ],
  [OP.GETXATTR, 'getxattr', '00010000 00000000 757365722e6100', { size: 256, name: 'user.a' }],
  [OP.LISTXATTR, 'listxattr', '00010000 00000000', { size: 256, name: '' }],
  [
    OP.READDIRPLUS,
    'readdirplus',
    '0100000000000000 ffffffffffffffff 00800000 00000000 0000000000000000 00000000 00000000',
    { fh: 1, cookie: 0xffffffffffffffffn, size: 32768 },
  ],
  [
    OP.SETLKW,
    'setlkw',
    '0100000000000000 0102030405060708 0a00000000000000 ffffffffffffff7f 01000000 4d000000' +
      '00000000 00000000',
    {
      fh: 1,
      lockOwner: Buffer.from('0102030405060708', 'hex'),
      start: 10n,
      end: 0x7fffffffffffffffn,
      type: 1,
      pid: 77,
      lkFlags: 0,
    },
  ],
  [OP.INTERRUPT, 'interrupt', '0e00000000000000', 14],
  [
    OP.BATCH_FORGET,
    'batchForget',
    // A count larger than what follows is the kernel's bug, not a reason to read on.
    '03000000 00000000 0300000000000000 0100000000000000 0400000000000000 0200000000000000',
    [
      { nodeid: 3, nlookup: 1 },
      { nodeid: 4, nlookup: 2 },
    ],
  ],
  [
    OP.FALLOCATE,
    'fallocate',
    '0100000000000000 0010000000000000 0020000000000000 03000000 00000000',
    { fh: 1, offset: 4096, length: 8192, mode: 3 },
  ],
  [
    OP.LSEEK,
    'lseek',
    '0100000000000000 0010000000000000 04000000 00000000',
    { fh: 1, offset: 4096, whence: 4 },
  ],
  [
    OP.INIT,
    'init',
    // 7.45, read-ahead 128 KiB, flags as 6.18 offers them
    '07000000 2d000000 00000200 fbffff73 fd050000',
    { major: 7, minor: 45, maxReadahead: 131072, flags: 0x73fffffb, flags2: 0x5fd },
  ],
]

describe('opcode table', () => {
  for (const [opcode, handler, body, input] of cases) {
    test(`${opcodes[opcode]!.name} is read`, () => {
      const seen = decode(opcode, body)
      assert.equal(seen.handler, handler)
      assert.deepEqual(seen.input, input)
    })
  }

  test('SETATTR is read, times before 1970 too', () => {
    const body = `
      ff000000 00000000 0200000000000000 0010000000000000 0102030405060708
      ffffffffffffffff 0a00000000000000 0000000000000000
      05000000 06000000 07000000 a4010000 00000000 e8030000 64000000 00000000`
    const { input } = decode(OP.SETATTR, body) as { input: Record<string, unknown> }
    assert.equal(input.valid, 0xff)
    assert.equal(input.size, 4096)
    assert.equal(input.atime, -1)
    assert.equal(input.mtime, 10)
    assert.deepEqual([input.atimeNsec, input.mtimeNsec, input.ctimeNsec], [5, 6, 7])
    assert.deepEqual([input.mode, input.uid, input.gid], [0o644, 1000, 100])
  })

  test('the header is read', () => {
    const { request } = decode(OP.LOOKUP, '6100')
    const { unique, nodeid, uid, gid, pid } = request
    assert.deepEqual(
      { unique, nodeid, uid, gid, pid },
      {
        unique: 16,
        nodeid: 3,
        uid: 1000,
        gid: 100,
        pid: 77,
      },
    )
  })

  test('every opcode of the protocol is served or refused for a reason', () => {
    for (const [name, opcode] of Object.entries(OP)) {
      if (name === 'NOTIFY_REPLY') continue
      assert.ok((opcodes[opcode] !== undefined) !== (refusedOpcodes[opcode] !== undefined), name)
    }
  })
})
