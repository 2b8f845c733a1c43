/**
 * The syscall matrix on dispersed volumes, with all bricks there and with as many missing as may
 * be.
 */
import { parseShape, volumeInState } from '../lib/disperse-volume.ts'
import { enterSandbox, type Volume } from '../lib/sandbox.ts'
import type { Difference } from './matrix/compare.ts'
import { knownOnDisperse } from './matrix/known.ts'
import { matrixOn } from './matrix/two-volumes.ts'

/**
 * DISPERSE_SHAPES=4+2 runs one; after the shape may come `degraded` (R bricks are killed) and `lazy`
 * (without eager locks). `npm run soak -- disperse-matrix` runs all.
 */
const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2 degraded']
/** One shape, on a busy machine. */
const shapeMaxMs = 10 * 60_000

const skip = await enterSandbox(import.meta.url, shapes.length * shapeMaxMs)

for (const shape of shapes) {
  const degraders = new Map<Volume, () => Promise<void>>()
  const create = async (name: string): Promise<Volume> => {
    const { volume, degrade } = await volumeInState(name, shape)
    degraders.set(volume, degrade)
    return volume
  }
  const degrade = (volume: Volume): Promise<void> => degraders.get(volume)!()
  const known = (difference: Difference): boolean => knownOnDisperse(difference, parseShape(shape))
  matrixOn({ shape, create, degrade, known }, skip)
}
