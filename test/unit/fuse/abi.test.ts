/** Replies as the kernel reads them, byte for byte. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Gfid, ROOT_GFID } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import * as abi from '../../../src/fuse/abi.ts'

const style = { ino32: false }
const gfid = '\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18' as Gfid

const stat = Object.assign(new Iatt(), {
  size: 2 ** 40 + 5,
  blocks: 9,
  atime: -2,
  mtime: 1_700_000_000,
  ctime: 2 ** 32 + 1,
  atimeNsec: 1,
  mtimeNsec: 2,
  ctimeNsec: 3,
  mode: 0o100644,
  nlink: 2,
  uid: 1000,
  gid: 100,
  rdev: 8 * 2 ** 32 + 0x123,
})

const hex = (text: string): string => text.replace(/\s|\/\/.*$/gm, '')

const attrHex = `
  1817161514131211 // ino: the last 8 gfid bytes, big-endian
  0500000000010000 0900000000000000
  feffffffffffffff 00f1536500000000 0100000001000000
  01000000 02000000 03000000
  a4810000 02000000 e8030000 64000000
  23081000 // rdev 8:0x123
  00000200 00000000 // blksize 131072, flags`

describe('replies', () => {
  const out = Buffer.alloc(400, 0xee)

  test('attr', () => {
    abi.putAttr(out, 0, gfid, stat, style)
    assert.equal(out.toString('hex', 0, abi.ATTR_BYTES), hex(attrHex))
  })

  test('entry_out', () => {
    const valid = abi.validity(1.5)
    const entry = { nodeid: 2 ** 32 + 2, gfid, stat, entryValid: valid, attrValid: abi.NO_VALIDITY }
    abi.putEntry(out, 0, entry, style)
    const head = `
      0200000001000000 0000000000000000
      0100000000000000 0000000000000000 0065cd1d 00000000`
    assert.equal(out.toString('hex', 0, abi.ENTRY_OUT_BYTES), hex(head + attrHex))
  })

  test('the root is inode 1; 32-bit inode numbers fold', () => {
    abi.putIno(out, 0, ROOT_GFID, style)
    assert.equal(out.readBigUInt64LE(0), 1n)
    abi.putIno(out, 0, gfid, { ino32: true })
    assert.equal(out.readBigUInt64LE(0), BigInt((0x11121314 ^ 0x15161718) >>> 0))
  })

  test('device numbers survive', () => {
    for (const [major, minor] of [
      [8, 1],
      [259, 65537],
      [0xfff, 0xfffff],
    ] as const) {
      const rdev = major * 2 ** 32 + minor
      assert.equal(abi.decodeRdev(abi.encodeRdev(rdev)), rdev)
    }
  })

  test('dirent is padded to 8 and its padding is zero', () => {
    out.fill(0xee)
    const size = abi.direntSize(abi.DIRENT_BYTES, 3)
    assert.equal(size, 32)
    const dirent = { gfid: undefined, inoHi: 1, inoLo: 2, off: -1n, type: 8 }
    abi.putDirent(out, 0, size, dirent, 'a\xffb', style)
    const expected = '0200000001000000 ffffffffffffffff 03000000 08000000 61ff62 0000000000'
    assert.equal(out.toString('hex', 0, size), hex(expected))
    assert.equal(out[size], 0xee)
  })

  test('init_out', () => {
    abi.putInit(out, 0, {
      minor: 45,
      maxReadahead: 1 << 20,
      flags: abi.FUSE_INIT_EXT | 0x80000000,
      flags2: 0x10,
      maxBackground: 64,
      congestionThreshold: 48,
      maxWrite: 1 << 20,
      timeGran: 1,
      maxPages: 256,
    })
    const expected = `
      07000000 2d000000 00001000 000000c0 4000 3000 00001000 01000000 0001 0000 10000000
      ${'00'.repeat(28)}`
    assert.equal(out.toString('hex', 0, abi.INIT_OUT_BYTES), hex(expected))
  })

  test('notifications', () => {
    assert.equal(
      abi.invalInode(7, true).toString('hex'),
      hex('28000000 02000000 0000000000000000 0700000000000000 0000000000000000 0000000000000000'),
    )
    assert.equal(
      abi.invalInode(7, false).toString('hex', 24),
      hex('ffffffffffffffff 0000000000000000'),
    )
    assert.equal(
      abi.invalEntry(1, 'a\xff').toString('hex'),
      hex('23000000 03000000 0000000000000000 0100000000000000 02000000 00000000 61ff00'),
    )
  })
})
