/** The syscall matrix on replicated volumes, with all bricks there and with one missing. */
import assert from 'node:assert/strict'
import { enterSandbox, Volume } from '../lib/sandbox.ts'
import { matrixOn } from './matrix/two-volumes.ts'

const skip = await enterSandbox(import.meta.url)

/**
 * REPLICATE_SHAPES=2 runs one of 2, 3, 3a1 (an arbiter) and 2x3, each with ` degraded` (brick 1 of
 * each set is missing) if wanted; they teach little beyond this one.
 */
const shapes = process.env.REPLICATE_SHAPES?.split(',') ?? ['3']

for (const shape of shapes) {
  const match = /^(?:(\d+)x)?(\d)(a1)?/.exec(shape)
  assert.ok(match !== null, `shape ${shape}`)
  const sets = Number(match[1] ?? 1)
  const copies = Number(match[2])
  const layout = ['replica', String(copies), ...(match[3] === undefined ? [] : ['arbiter', '1'])]
  const bricks = sets * copies
  const degrade = async (volume: Volume): Promise<void> => {
    for (let set = 0; set < sets; set++) await volume.killBrick(set * copies + 1)
  }
  const kind = { shape, create: (name: string) => Volume.create(name, { bricks, layout }) }
  const lost = shape.endsWith('degraded') ? { degrade } : {}
  matrixOn({ ...kind, ...lost, known: () => false }, skip)
}
