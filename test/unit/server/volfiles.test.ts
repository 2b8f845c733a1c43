/** What bricks are told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brickVolfile } from '../../../src/server/volfiles.ts'

void test('bricks that share a file system share its space', () => {
  const bricks = ['/proc/self', '/proc', '/', '/nowhere/at/all']
  const volume = { name: 'vol', id: '00000000-0000-4000-8000-000000000000', bricks, started: false }
  const shared = bricks.map((path) => {
    const found = /shared-brick-count (\d+)/.exec(brickVolfile(volume, path, '127.0.0.1'))
    return Number(found?.[1])
  })
  assert.deepEqual(shared, [2, 2, 1, 1])
})
