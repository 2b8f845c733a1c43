import assert from 'node:assert/strict'
import { test } from 'node:test'
import { giveBackIdleInodes } from '../../../../../xlators/mount/fuse/idle.ts'
import type { FuseBridge } from '../../../../../xlators/mount/fuse/index.ts'

/** What the kernel is asked to forget, when it knows 10 idle inodes and so many requests wait. */
function asked(lruLimit: number, invalidateLimit: number, waiting: number): unknown[] {
  const names: unknown[] = []
  giveBackIdleInodes({
    options: { 'lru-limit': lruLimit, 'invalidate-limit': invalidateLimit },
    table: {
      knownToKernel: 10,
      idleVictims: (count: number) => Array.from({ length: count }, (_, i) => i),
    },
    invalidator: { waiting, names: (inode: unknown) => void names.push(inode) },
  } as unknown as FuseBridge)
  return names
}

test('lru-limit: the kernel is asked to forget what is beyond; 0 = nothing', () => {
  assert.deepEqual(asked(7, 0, 0), [0, 1, 2])
  assert.deepEqual(asked(10, 0, 0), [])
  assert.deepEqual(asked(0, 0, 0), [])
})

test('invalidate-limit: while so many requests wait nothing is asked; 0 = no limit', () => {
  assert.equal(asked(7, 5, 4).length, 3)
  assert.equal(asked(7, 5, 5).length, 0)
  assert.equal(asked(7, 0, 1000).length, 3)
})
