/** A short version of `npm run soak -- disperse-kill` (test/lib/disperse-kill.ts). */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KillProof } from '../lib/disperse-kill.ts'
import { enterSandbox, ours } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)
const kills = 5

void describe('disperse: the client is killed', { skip, timeout: 300_000 }, () => {
  void test('files stay what they were but for writes under way, and heal', async (t) => {
    const result = await KillProof.run('4+2', ours, kills, 1)
    t.diagnostic(JSON.stringify(result))
    assert.deepEqual(result.problems, [])
  })
})
