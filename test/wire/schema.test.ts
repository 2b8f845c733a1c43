/** Codecs on their own: bytes on the wire, limits, and what malformed bytes are told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Gfid } from '../../src/core/gfid.ts'
import { NULL_GFID } from '../../src/core/gfid.ts'
import { Reader, XdrError } from '../../src/xdr/reader.ts'
import * as xdr from '../../src/xdr/schema.ts'
import { Writer } from '../../src/xdr/writer.ts'

function encode<T>(codec: xdr.Codec<T>, value: T): string {
  const w = new Writer(16)
  codec.encode(w, value)
  return w.take().toString('hex')
}

const decode = <T>(codec: xdr.Codec<T>, hex: string): T =>
  xdr.decodeAll(codec, Buffer.from(hex.replaceAll(' ', ''), 'hex'))

/** `value` travels as `hex`, and no shorter prefix of it decodes. */
function roundTrip<T>(codec: xdr.Codec<T>, value: T, hex: string): void {
  const bytes = hex.replaceAll(' ', '')
  assert.equal(encode(codec, value), bytes)
  assert.deepEqual(decode(codec, bytes), value)
  for (let size = 0; size < bytes.length / 2; size++) {
    assert.throws(() => decode(codec, bytes.slice(0, size * 2)), XdrError, `cut to ${size} bytes`)
  }
  assert.throws(() => decode(codec, `${bytes}00`), /1 bytes are left over/)
}

const gfid = '0123456789abcdef' as Gfid

test('scalars', () => {
  roundTrip(xdr.u32, 0, '00000000')
  roundTrip(xdr.u32, 0xffffffff, 'ffffffff')
  roundTrip(xdr.i32, -2, 'fffffffe')
  roundTrip(xdr.i32, 0x7fffffff, '7fffffff')
  roundTrip(xdr.u64n, 2 ** 53 - 1, '001fffff ffffffff')
  roundTrip(xdr.u64n, 0x1_0000_0001, '00000001 00000001')
  roundTrip(xdr.i64, -2, 'ffffffff fffffffe')
  roundTrip(xdr.i64, -(2 ** 32), 'ffffffff 00000000')
  roundTrip(xdr.i64, -(2 ** 53) + 1, 'ffe00000 00000001')
  roundTrip(xdr.i64, 2 ** 53 - 1, '001fffff ffffffff')
  roundTrip(xdr.i64, -(2 ** 53), 'ffe00000 00000000')
  roundTrip(xdr.u64near, 2 ** 60, '10000000 00000000')
  roundTrip(xdr.u64near, 2 ** 53 - 1, '001fffff ffffffff')
  assert.equal(decode(xdr.u64near, '0fffffffffffffff'), 2 ** 60)
  roundTrip(xdr.u64near, 2 ** 64, 'ffffffff ffffffff')
  roundTrip(xdr.u64, 0xfedcba9876543210n, 'fedcba98 76543210')
  roundTrip(xdr.double, -1.5, 'bff80000 00000000')
  roundTrip(xdr.gfid, gfid, '30313233 34353637 38396162 63646566')
  roundTrip(xdr.gfid, '\xff\x80'.repeat(8) as Gfid, 'ff80'.repeat(8))
  assert.equal(decode(xdr.gfid, '00'.repeat(16)), NULL_GFID)
})

test('64-bit integers a number cannot hold are refused', () => {
  assert.throws(() => decode(xdr.u64n, '0020000000000000'), /u64n at byte 0: beyond 2\^53/)
  assert.throws(() => decode(xdr.u64n, 'ffffffffffffffff'), /beyond/)
  assert.throws(() => decode(xdr.i64, '0020000000000000'), /beyond/)
  assert.throws(() => decode(xdr.i64, 'ffdfffffffffffff'), /beyond/)
})

test('values the wire cannot carry are refused when encoding', () => {
  const refused: [xdr.Codec<unknown>, unknown][] = [
    [xdr.u32, -1],
    [xdr.u32, 2 ** 32],
    [xdr.u32, 1.5],
    [xdr.u32, Number.NaN],
    [xdr.u32, undefined],
    [xdr.i32, 2 ** 31],
    [xdr.u64n, -1],
    [xdr.u64n, 2 ** 53],
    [xdr.u64n, 0.5],
    [xdr.u64n, 1n],
    [xdr.i64, -(2 ** 53) - 2],
    [xdr.u64near, -1],
    [xdr.u64near, 0.5],
    [xdr.u64near, Number.POSITIVE_INFINITY],
    [xdr.u64, -1n],
    [xdr.u64, 2n ** 64n],
    [xdr.u64, 1],
    [xdr.gfid, 'short'],
    [xdr.string(3), 'four'],
    [xdr.opaque(3), Buffer.alloc(4)],
    [xdr.bytes(3), Buffer.alloc(4)],
    [xdr.array(xdr.u32, 1), [1, 2]],
    [xdr.linkedList(xdr.u32, 1), [1, 2]],
  ]
  for (const [codec, value] of refused) {
    assert.throws(() => encode(codec, value), XdrError, `${codec.name} ${String(value)}`)
  }
})

test('strings and opaques: length, bytes, padding to four', () => {
  roundTrip(xdr.string(8), '', '00000000')
  roundTrip(xdr.string(8), 'abc', '00000003 61626300')
  roundTrip(xdr.string(8), 'abcd', '00000004 61626364')
  roundTrip(xdr.string(99), '\xff'.repeat(41), `00000029 ${'ff'.repeat(41)}000000`)
  roundTrip(xdr.opaque(8), Buffer.from([1, 2, 3, 4, 5]), '00000005 01020304 05000000')
  roundTrip(xdr.bytes(5), Buffer.from([1, 2, 3, 4, 5]), '01020304 05000000')
  assert.throws(() => decode(xdr.string(2), '00000003 61626300'), /3 bytes, at most 2 allowed/)
})

test('composites', () => {
  const pair = xdr.struct({ a: xdr.u32, b: xdr.string(4) })
  roundTrip(xdr.array(pair, 4), [], '00000000')
  roundTrip(xdr.array(pair, 4), [{ a: 1, b: 'x' }], '00000001 00000001 00000001 78000000')
  roundTrip(xdr.linkedList(xdr.u32, 4), [7, 8], '00000001 00000007 00000001 00000008 00000000')
  roundTrip(xdr.optional(xdr.u32), undefined, '00000000')
  roundTrip(xdr.optional(xdr.u32), 5, '00000001 00000005')
  roundTrip(xdr.nothing, {}, '')
})

test('a structure mixes fixed runs and varying fields', () => {
  const codec = xdr.struct({
    first: xdr.u32,
    second: xdr.i64,
    text: xdr.string(8),
    inner: xdr.struct({ gfid: xdr.gfid, dev: xdr.u64 }),
    'odd-name': xdr.i32,
  })
  const value = {
    first: 1,
    second: -2,
    text: 'ab',
    inner: { gfid, dev: 3n },
    'odd-name': -1,
  }
  const hex = `00000001 fffffffffffffffe 00000002 61620000
    30313233343536373839616263646566 0000000000000003 ffffffff`.replace(/\s/g, '')
  roundTrip(codec, value, hex)
  assert.equal(codec.minSize, 4 + 8 + 4 + 24 + 4)
})

test('errors name the field and its place', () => {
  const codec = xdr.struct({ a: xdr.u32, b: xdr.u64n, c: xdr.string(4) })
  const told = (hex: string): Partial<XdrError> => {
    try {
      decode(codec, hex)
    } catch (error) {
      assert.ok(error instanceof XdrError)
      return { field: error.field, offset: error.offset, why: error.why }
    }
    return {}
  }
  assert.deepEqual(told('00000001 0000'), {
    field: 'b',
    offset: 4,
    why: 'needs 8 bytes, 2 are left',
  })
  assert.deepEqual(told('00000001 ffffffffffffffff'), {
    field: 'b',
    offset: 4,
    why: 'beyond 2^53',
  })
  assert.deepEqual(told('00000001 0000000000000000 00000009'), {
    field: 'c',
    offset: 12,
    why: '9 bytes, at most 4 allowed',
  })
  assert.throws(
    () => encode(codec, { a: 1, b: 0.5, c: '' }),
    /^XdrError: b at byte .*cannot be sent/,
  )
})

test('counts and lengths are checked before anything is allocated', () => {
  const lies: [xdr.Codec<unknown>, string][] = [
    [xdr.opaque(2 ** 32), '7ffffff0 00000000'],
    [xdr.opaque(2 ** 32), 'ffffffff 00000000'],
    [xdr.string(2 ** 32), 'fffffffd 00000000'],
    [xdr.array(xdr.u32, 2 ** 32), 'ffffffff 00000000'],
    [xdr.array(xdr.u32, 2), '00000003 000000010000000200000003'],
    [xdr.linkedList(xdr.u32, 1), '00000001 00000001 00000001 00000002 00000000'],
    [xdr.linkedList(xdr.u32, 9), '00000002 00000001 00000000'],
    [xdr.optional(xdr.u32), 'ffffffff 00000001'],
  ]
  const before = process.memoryUsage().arrayBuffers
  for (const [codec, hex] of lies) assert.throws(() => decode(codec, hex), XdrError, hex)
  assert.ok(process.memoryUsage().arrayBuffers - before < 1e6)
})

test('a reader keeps to its end', () => {
  const bytes = Buffer.from('0000000100000002', 'hex')
  assert.throws(() => xdr.u64.decode(new Reader(bytes, 0, 4)), XdrError)
  assert.equal(xdr.u32.decode(new Reader(bytes, 4)), 2)
})

test('decoded bytes do not refer to the record', () => {
  const record = Buffer.from('0000000361626300', 'hex')
  const value = xdr.decodeAll(xdr.opaque(8), record)
  record.fill(0)
  assert.equal(value.toString(), 'abc')
})

test('a writer grows, and what it handed out stays as it is', () => {
  const w = new Writer(8)
  xdr.string(100).encode(w, 'first')
  const first = w.take()
  assert.equal(w.position, 0)
  for (let i = 0; i < 1000; i++) w.u32(i)
  w.patchU32(0, 0xaabbccdd)
  w.patchU32(4 * 999, 7)
  assert.equal(w.position, 4000)
  const second = w.take()
  w.u32(0xffffffff)
  w.reset()
  w.u32(5)
  w.u32(6)
  w.reset(4)
  assert.equal(w.take().toString('hex'), '00000005')
  assert.equal(first.toString('hex'), '0000000566697273740000' + '00')
  assert.equal(second.readUInt32BE(0), 0xaabbccdd)
  assert.equal(second.readUInt32BE(4), 1)
  assert.equal(second.readUInt32BE(3996), 7)
})
