import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IO_BYTES_MAX, SLAB_BYTES } from '../../../../src/fuse/device.ts'
import { unpinned } from '../../../../xlators/performance/buffers.ts'

void test('the largest write of the kernel is kept as it is, a small part of its slab is copied', () => {
  const slab = Buffer.alloc(SLAB_BYTES, 's')
  const largest = [slab.subarray(80, 80 + IO_BYTES_MAX)]
  assert.equal(unpinned(largest), largest)
  const small = [slab.subarray(80, 80 + 4096)]
  const copy = unpinned(small)
  assert.deepEqual(copy, small)
  assert.notEqual(copy[0]!.buffer, slab.buffer)
})
