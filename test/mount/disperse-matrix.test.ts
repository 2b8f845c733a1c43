/**
 * The syscall matrix on dispersed volumes, with all bricks there and with as many missing as may
 * be.
 */
import { DisperseVolume, parseShape } from '../lib/disperse-volume.ts'
import { enterSandbox, type Volume } from '../lib/sandbox.ts'
import type { Difference } from './matrix/compare.ts'
import { knownOnDisperse } from './matrix/known.ts'
import { matrixOn } from './matrix/two-volumes.ts'

const skip = await enterSandbox(import.meta.url)

/**
 * DISPERSE_SHAPES=4+2 runs one; after the shape may come `degraded` (R bricks are killed) and `lazy`
 * (without eager locks). `npm run soak -- disperse-matrix` runs all.
 */
const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2 degraded']

for (const words of shapes) {
  const { data, redundancy } = parseShape(words)
  const [shape, ...states] = words.split(' ')
  const set: Record<string, string> = states.includes('lazy')
    ? { 'disperse.eager-lock': 'off', 'disperse.other-eager-lock': 'off' }
    : {}
  const create = async (name: string): Promise<Volume> =>
    (await DisperseVolume.create(name, parseShape(shape!), set)).volume
  const degrade = async (volume: Volume): Promise<void> => {
    const target = new DisperseVolume(parseShape(shape!), volume)
    await target.kill(Array.from({ length: redundancy }, (_, i) => 2 * i + 1))
  }
  const lost = states.includes('degraded') ? { degrade } : {}
  const known = (difference: Difference): boolean =>
    knownOnDisperse(difference, { data, redundancy })
  matrixOn({ shape: words, create, ...lost, known }, skip)
}
