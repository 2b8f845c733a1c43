/** What a name stands for while bricks that know better are away. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { letGo, replicateGraph } from '../../../lib/replicate-graph.ts'

void test('a name only one of two bricks has is not taken for free', async () => {
  const volume = await replicateGraph()
  volume.bricks[2]!.up = false
  await volume.mount.writeFile('/new', 'acknowledged')
  await letGo(volume)
  volume.bricks[1]!.up = false
  volume.bricks[2]!.up = true
  await assert.rejects(volume.mount.lookup('/new'), { errno: E.NOTCONN })
  await assert.rejects(volume.mount.lookup('/free'), { errno: E.NOENT })
})
