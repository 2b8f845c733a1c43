/** Dictionaries, typed and legacy: forms the golden records lack, and lies. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../src/core/dict.ts'
import { ROOT_GFID } from '../../src/core/gfid.ts'
import { Iatt } from '../../src/core/iatt.ts'
import { gfx_dict, legacy_dict, legacyDict, legacyText } from '../../src/xdr/dict.ts'
import { gfx_iattx } from '../../src/xdr/iatt.ts'
import { XdrError } from '../../src/xdr/reader.ts'
import * as xdr from '../../src/xdr/schema.ts'
import { Writer } from '../../src/xdr/writer.ts'

function encode<T>(codec: xdr.Codec<T>, value: T): string {
  const w = new Writer()
  codec.encode(w, value)
  return w.take().toString('hex')
}

const clean = (hex: string): string => hex.replace(/#.*|\s/g, '')

const decodeHex = <T>(codec: xdr.Codec<T>, hex: string): T =>
  xdr.decodeAll(codec, Buffer.from(clean(hex), 'hex'))

test('absent and empty dictionaries', () => {
  assert.equal(encode(gfx_dict, undefined), clean('00000000 ffffffff 00000000'))
  assert.equal(encode(gfx_dict, new Dict()), clean('00000000 00000000 00000000'))
  assert.equal(decodeHex(gfx_dict, '00000000 ffffffff 00000000'), undefined)
  assert.equal(decodeHex(gfx_dict, '00000000 00000000 00000000')?.count, 0)
})

test('every type of value', () => {
  const stat = new Iatt()
  stat.gfid = ROOT_GFID
  stat.mtime = -5
  const dict = Dict.of({
    int: { type: 'int', value: -7 },
    exact: { type: 'int', value: -(2 ** 53) },
    int64: { type: 'int', value: -(2n ** 63n) },
    uint: { type: 'uint', value: 7 },
    uint64: { type: 'uint', value: 2n ** 64n - 1n },
    double: { type: 'double', value: 0.25 },
    str: { type: 'str', value: 'text' },
    ptr: { type: 'ptr', value: Buffer.from([1, 0, 2]) },
    old: { type: 'strOld', value: Buffer.from('x\0') },
    gfid: { type: 'gfid', value: ROOT_GFID },
    stat: { type: 'iatt', value: stat },
    mdata: {
      type: 'mdata',
      value: { atime: 1, mtime: 2, ctime: 3, atimeNsec: 4, mtimeNsec: 5, ctimeNsec: 6 },
    },
  })
  const hex = encode(gfx_dict, dict)
  const back = decodeHex(gfx_dict, hex)
  assert.deepEqual(back, dict)
  assert.equal(encode(gfx_dict, back), hex)
  assert.equal(Number.parseInt(hex.slice(0, 8), 16), hex.length / 2 - 12)
  const bytes = Buffer.from(hex, 'hex')
  for (let size = 0; size < bytes.length; size++) {
    assert.throws(() => xdr.decodeAll(gfx_dict, bytes.subarray(0, size)), XdrError)
  }
})

test('the order of keys survives', () => {
  const dict = new Dict().setInt('z', 1).setInt('10', 2).setInt('2', 3).setInt('a', 4)
  const back = decodeHex(gfx_dict, encode(gfx_dict, dict))
  assert.deepEqual([...(back?.entries.keys() ?? [])], ['z', '10', '2', 'a'])
})

test('text arrives with or without its NUL', () => {
  const one = (value: string): string | undefined =>
    decodeHex(gfx_dict, `00000014 00000001 00000001 00000002 6b000000 00000005 ${value}`)?.getStr(
      'k',
    )
  assert.equal(one('00000003 79657300'), 'yes')
  assert.equal(one('00000004 79657300'), 'yes')
})

test('dictionaries that lie are refused', () => {
  const pair = '00000002 6b000000 00000002 0000000000000001' // k = int 1, 20 bytes
  const lies: Record<string, RegExp> = {
    [`00000010 00000001 00000001 ${pair}`]: /xdr_size 16, the pairs have 20/,
    [`00000018 00000001 00000001 ${pair} 00000000`]: /xdr_size 24, the pairs have 20/,
    [`00000000 00000001 00000001 ${pair}`]: /xdr_size 0/,
    [`00000014 00000002 00000001 ${pair}`]: /count 2, 1 pairs/,
    [`00000014 ffffffff 00000001 ${pair}`]: /count -1, 1 pairs/,
    '00000000 00000000 7fffffff': /pairs/,
    '00000000 7fffffff 7fffffff': /pairs/,
    '00000004 ffffffff 00000000': /count -1/,
    '00000000 fffffffe 00000000': /count -2/,
    '00000014 00000001 00000001 00000002 6b6b0000 00000002 0000000000000001': /without its NUL/,
    '00000010 00000001 00000001 00000000 00000002 0000000000000001': /without its NUL/,
    '0000000c 00000001 00000001 00000002 6b000000 0000000a': /k at byte 20: .*unknown type 10/,
    '00000014 00000001 00000001 00000002 6b000000 00000006 7fffffff 00000000': /allowed|left/,
  }
  for (const [hex, why] of Object.entries(lies)) {
    assert.throws(
      () => decodeHex(gfx_dict, hex),
      (error) => {
        assert.ok(error instanceof XdrError, String(error))
        assert.match(error.message, why)
        return true
      },
    )
  }
})

test('a value of type "unknown" is skipped', () => {
  const dict = decodeHex(gfx_dict, '0000000c 00000001 00000001 00000002 6b000000 00000000')
  assert.equal(dict?.count, 0)
})

test('attributes: 148 bytes, negative times, opaque device and inode numbers', () => {
  const stat = new Iatt()
  stat.gfid = ROOT_GFID
  stat.inoHi = 0xffffffff
  stat.inoLo = 0xfffffffe
  stat.devHi = 0x80000000
  stat.rdev = 8 * 2 ** 32 + 3
  stat.atime = -1
  stat.mode = 0o100644
  const hex = encode(gfx_iattx, stat)
  assert.equal(hex.length, 296)
  assert.deepEqual(decodeHex(gfx_iattx, hex), stat)
  assert.ok(decodeHex(gfx_iattx, hex) instanceof Iatt)
})

test('a size beyond 2^53 does not make the attributes unreadable', () => {
  const stat = new Iatt()
  stat.size = 2 ** 62
  stat.blocks = 2 ** 53
  assert.equal(decodeHex(gfx_iattx, encode(gfx_iattx, stat)).size, 2 ** 62)
})

test('legacy dictionaries', () => {
  assert.equal(encode(legacy_dict, undefined), '00000000')
  assert.equal(decodeHex(legacy_dict, '00000000'), undefined)
  const dict = legacyDict({ a: 'xy', port: 24007 })
  const bytes = clean(`00000024             # 36 bytes
    00000002                                # pairs
    00000001 00000003 61 00 787900          # a
    00000004 00000006 706f7274 00 323430303700 # port`)
  assert.equal(encode(legacy_dict, dict), bytes)
  const back = decodeHex(legacy_dict, bytes)
  assert.deepEqual(back, dict)
  assert.equal(legacyText(back, 'port'), '24007')
  assert.equal(legacyText(back, 'none'), undefined)
  assert.equal(legacyText(undefined, 'a'), undefined)
})

test('legacy dictionaries that lie are refused', () => {
  const lies: Record<string, RegExp> = {
    '00000002 00000000': /dictionary of 2 bytes/,
    '00000004 ffffffff': /-1 pairs/,
    '00000004 7fffffff': /pairs in 4 bytes/,
    '00000004 00000001': /1 pairs in 4 bytes/,
    '0000000d 00000001 ffffffff 00000000 00000000': /key of -1/,
    '0000000d 00000001 00000000 7fffffff 00000000': /value of 2147483647/,
    '0000000f 00000001 00000001 00000000 61 62 00 00': /without its NUL/,
    '00000010 00000001 00000000 00000000 00 000000': /3 bytes after the last pair/,
    '000000ff 00000000': /left/,
  }
  for (const [hex, why] of Object.entries(lies)) {
    assert.throws(
      () => decodeHex(legacy_dict, hex),
      (error) => {
        assert.ok(error instanceof XdrError, String(error))
        assert.match(error.message, why)
        return true
      },
    )
  }
})
