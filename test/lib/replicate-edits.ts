/** Two clients on a replicated volume (edit-proof.ts): after the heal all copies are equal. */
import { type EditsPlan, type EditsResult, proveEditsOn, uncached } from './edit-proof.ts'
import { createReplicated, parseReplicateShape, ReplicateVolume } from './replicate-volume.ts'

export async function proveReplicateEdits(plan: EditsPlan): Promise<EditsResult> {
  const shape = parseReplicateShape(plan.shape)
  const volume = await createReplicated(`r${plan.shape.replaceAll(/\W/g, '')}`, shape, uncached)
  return proveEditsOn(new ReplicateVolume(shape, volume), plan)
}
