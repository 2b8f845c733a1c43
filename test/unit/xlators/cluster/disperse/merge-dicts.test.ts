import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../../src/core/dict.ts'
import { decodeLegacy, encodeLegacy, legacyDict } from '../../../../../src/xdr/dict.ts'
import { LOCKINFO_KEY, mergeDicts } from '../../../../../xlators/cluster/disperse/merge-dicts.ts'

const counters = (...values: bigint[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 8)
  for (const [index, value] of values.entries()) bytes.writeBigInt64BE(value, index * 8)
  return bytes
}

void test('quota sizes: the largest, bytes times K', () => {
  const key = 'trusted.glusterfs.quota.size.1'
  const merged = mergeDicts(
    [counters(1024n, 3n, 2n), counters(2048n, 2n, 2n)].map((one) => new Dict().setBytes(key, one)),
    4,
  )
  assert.deepEqual(merged.getBytes(key), counters(8192n, 3n, 2n))
  const odd = new Dict().setBytes(key, Buffer.alloc(5))
  assert.equal(mergeDicts([odd], 4).getBytes(key)!.length, 5)
})

void test('lock names: the union', () => {
  const of = (brick: string, fd: number) =>
    new Dict().setBytes(LOCKINFO_KEY, encodeLegacy(legacyDict({ [brick]: fd })))
  const broken = new Dict().setBytes(LOCKINFO_KEY, Buffer.from([0, 0, 0, 9]))
  const merged = mergeDicts([of('a', 1), broken, of('b', 2)], 2)
  const names = decodeLegacy(merged.getBytes(LOCKINFO_KEY)!, 0, 'test')
  assert.deepEqual(names, legacyDict({ a: 1, b: 2 }))
})

void test('counts and times: the largest; the rest is not touched', () => {
  const one = new Dict().setInt('glusterfs.open-fd-count', 3).setStr('user.a', 'x')
  const two = new Dict().setInt('glusterfs.open-fd-count', 1).setStr('user.a', 'x')
  const merged = mergeDicts([one, two], 2)
  assert.equal(merged.getNumber('glusterfs.open-fd-count'), 3)
  assert.equal(merged.getStr('user.a'), 'x')
  assert.equal(two.getNumber('glusterfs.open-fd-count'), 1)
  const time = 'trusted.glusterfs.0-1.xtime'
  const times = [counters(5n), counters(7n), counters(6n)].map((t) => new Dict().setBytes(time, t))
  assert.deepEqual(mergeDicts(times, 2).getBytes(time), counters(7n))
})
