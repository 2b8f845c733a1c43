/** The syscall matrix on replicated volumes, with all bricks there and with one missing. */
import { replicatedInState } from '../lib/replicate-volume.ts'
import { enterSandbox, type Volume } from '../lib/sandbox.ts'
import { matrixOn } from './matrix/two-volumes.ts'

/**
 * REPLICATE_STATES=2 runs one of 2, 3, 3a1 (an arbiter) and 2x3, each with ` without 1` (that brick
 * of each set is missing) if wanted. `npm run soak -- replicate-matrix` runs all.
 */
const states = process.env.REPLICATE_STATES?.split(',') ?? ['3']
/** One state, on a busy machine. */
const stateMaxMs = 10 * 60_000

const skip = await enterSandbox(import.meta.url, states.length * stateMaxMs)

for (const shape of states) {
  const degraders = new Map<Volume, () => Promise<void>>()
  const create = async (name: string): Promise<Volume> => {
    const { volume, degrade } = await replicatedInState(name, shape)
    degraders.set(volume, degrade)
    return volume
  }
  const degrade = (volume: Volume): Promise<void> => degraders.get(volume)!()
  matrixOn({ shape, create, degrade, known: () => false }, skip)
}
