/**
 * Two clients on a dispersed volume (edit-proof.ts): after the heal fragments are as the reference
 * encoding gives them, counters clean and equal.
 */
import { DisperseVolume, parseShape } from './disperse-volume.ts'
import { type EditsPlan, type EditsResult, proveEditsOn, uncached } from './edit-proof.ts'

export async function proveEdits(plan: EditsPlan): Promise<EditsResult> {
  const name = `e${plan.shape.replaceAll(/\W/g, '')}`
  const target = await DisperseVolume.create(name, parseShape(plan.shape), uncached)
  return proveEditsOn(target, plan)
}
