import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allocateData } from '../../../src/core/data-memory.ts'
import { sleep } from '../../lib/sandbox.ts'

const MIB = 2 ** 20

test('of a stream of large buffers few are held after their use', async () => {
  const inUse: Buffer[] = []
  let peak = 0
  for (let i = 0; i < 400; i++) {
    inUse.push(allocateData(MIB))
    if (inUse.length > 3) inUse.shift()
    if (i % 20 === 0) await sleep(0)
    peak = Math.max(peak, process.memoryUsage().arrayBuffers)
  }
  // Left to itself V8 holds twice as much.
  assert.ok(peak < 24 * MIB, `${peak / MIB} MiB`)
})
