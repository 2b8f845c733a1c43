/** Data in memory that is used again: given only to those who borrow, and given back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { codecMemory } from '../../../../xlators/cluster/disperse/codec/memory.ts'
import { disperseGraph, newFile } from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'

const SIZE = 200_000

void test('reads are lent to borrowers only; writes give their memory back', async () => {
  const volume = await disperseGraph(4, 2)
  const fd = await newFile(volume, 'f')
  const free = codecMemory().freeSlots
  const content = vectorBytes(7, SIZE)
  assert.equal(await volume.mount.write(fd, 0, content), 0)
  assert.equal(codecMemory().freeSlots, free)
  const request = { fd, size: SIZE, offset: 11, flags: 0 }
  const kept = await volume.bench.ok('readv', request)
  assert.equal(kept.loan, undefined)
  const lent = await volume.bench.ok('readv', { ...request, borrows: true })
  assert.ok(lent.loan !== undefined)
  assert.equal(codecMemory().freeSlots, free - 1)
  for (const { data } of [kept, lent]) {
    assert.ok(Buffer.concat(data).equals(content.subarray(11)))
  }
  lent.loan.drop()
  assert.equal(codecMemory().freeSlots, free)
  // A brick that is gone holds nothing either.
  volume.bricks[5]!.up = false
  assert.equal(await volume.mount.write(fd, 0, content), 0)
  assert.equal(codecMemory().freeSlots, free)
})
