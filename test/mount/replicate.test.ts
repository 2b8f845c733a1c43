/**
 * Replicated volumes edited by our client and the stock one in turn (test/lib/edit-proof.ts): a
 * short version of `npm run soak -- replicate-edits`.
 */
import { describe, test } from 'node:test'
import { proveReplicateEdits } from '../lib/replicate-edits.ts'
import { enterSandbox } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const shapes = process.env.REPLICATE_SHAPES?.split(',') ?? ['3', '3a1']
const scripts = Number(process.env.REPLICATE_SCRIPTS ?? 5)
const seed = Number(process.env.REPLICATE_SEED ?? 1)

void describe('replicate: edits by both clients', { skip, timeout: 600_000 }, () => {
  for (const shape of shapes) {
    void test(shape, async (t) => {
      const plan = { shape, scripts, seed, choicesMax: 1 }
      const result = await proveReplicateEdits({ ...plan, edits: [10, 4, 3] })
      t.diagnostic(JSON.stringify(result))
    })
  }
})
