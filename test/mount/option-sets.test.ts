/** A few sets of volume options; `npm run soak -- option-sets` tries many. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { allOff, drawOptions, OptionProof } from '../lib/option-sets.ts'
import { enterSandbox } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'

const skip = await enterSandbox(import.meta.url)

const cases = ['times', 'append', 'unlinked', 'rename-links', 'holes', 'shared-mapping', 'direct']

describe('options of the performance translators', { skip, timeout: 180_000 }, () => {
  test('all off, and two random sets', async () => {
    const proof = new OptionProof('2 bricks', { cases, loadSeconds: 1 })
    const sets = [allOff, ...[11, 12].map((seed) => drawOptions(seeded(seed * 7919)))]
    for (const [seed, set] of sets.entries()) {
      const problems = await proof.run(set, seed)
      assert.deepEqual(problems, [], `${JSON.stringify(set)}\n${problems.join('\n')}`)
    }
  })
})
