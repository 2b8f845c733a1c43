/**
 * Dispersed volumes edited by our client and the stock one in turn (test/lib/edit-proof.ts): a
 * short version of `npm run soak -- disperse-edits`.
 */
import { describe, test } from 'node:test'
import { proveEdits } from '../lib/disperse-edits.ts'
import { enterSandbox } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2']
const scripts = Number(process.env.DISPERSE_SCRIPTS ?? 6)
const seed = Number(process.env.DISPERSE_SEED ?? 1)

void describe('disperse: edits by both clients', { skip, timeout: 600_000 }, () => {
  for (const shape of shapes) {
    void test(shape, async (t) => {
      const result = await proveEdits({ shape, scripts, seed, edits: [10, 4, 3], choicesMax: 2 })
      t.diagnostic(JSON.stringify(result))
    })
  }
})
