import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Iatt } from '../../../../../src/core/iatt.ts'
import { Seen } from '../../../../../xlators/mount/fuse/seen.ts'

function stat(ctime: number, ctimeNsec: number, size = 10): Iatt {
  return Object.assign(new Iatt(), { ctime, ctimeNsec, size })
}

describe('mount/fuse: what the kernel was told of an inode', () => {
  test('covers the same state and those before it', () => {
    const seen = new Seen()
    seen.set(stat(100, 50))
    assert.ok(seen.covers(stat(100, 50)))
    assert.ok(seen.covers(stat(100, 49, 0)))
    assert.ok(seen.covers(stat(99, 60)))
    assert.ok(!seen.covers(stat(100, 51)))
    assert.ok(!seen.covers(stat(101, 0)))
    // two changes within one tick of the clock
    assert.ok(!seen.covers(stat(100, 50, 11)))
  })

  test('covers nothing when nothing was told, nor attributes that are missing', () => {
    const seen = new Seen()
    assert.ok(!seen.covers(stat(1, 0)))
    seen.set(stat(100, 50))
    assert.ok(!seen.covers(stat(0, 0)))
    seen.clear()
    assert.ok(!seen.covers(stat(99, 0)))
  })
})
