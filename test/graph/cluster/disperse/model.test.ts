/**
 * Random changes by two clients while bricks come and go (test/lib/disperse-model.ts). The seeds are
 * those that found something; `npm run soak -- disperse-model` takes others.
 */
import { test } from 'node:test'
import { DisperseModel, lazy } from '../../../lib/disperse-model.ts'

void test('with eager locks', async () => {
  for (const seed of [1, 4]) await DisperseModel.run({ data: 2, redundancy: 1, seed })
  for (const seed of [2, 5]) await DisperseModel.run({ data: 4, redundancy: 2, seed })
})

void test('without eager locks: a brick being healed may miss a write', async () => {
  await DisperseModel.run({ data: 4, redundancy: 2, given: lazy, seed: 3 })
  for (const seed of [1, 2]) await DisperseModel.run({ data: 8, redundancy: 3, given: lazy, seed })
})
