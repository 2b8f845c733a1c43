/**
 * `npm run soak -- replicate-chaos [SEEDS [FIRST [arbiter]]]`: bricks lost and found under load, in
 * one process (test/lib/replicate-chaos.ts); SEEDS (100) volumes of some rounds each.
 */
import { noDisk } from '../lib/disk-store.ts'
import { ReplicateChaos } from '../lib/replicate-chaos.ts'

const ROUNDS = 5
const [seeds = '100', first = '1', shape = 'replica 3'] = process.argv.slice(2)
if (noDisk !== false) {
  console.error(`replicate-chaos: ${noDisk}`)
  process.exit(1)
}
let [steps, failed] = [0, 0]
for (let seed = Number(first); seed < Number(first) + Number(seeds); seed++) {
  const chaos = await ReplicateChaos.make(seed, shape === 'arbiter')
  try {
    for (let round = 0; round < ROUNDS; round++) await chaos.round()
  } catch (error) {
    failed++
    console.log(`seed ${seed}: ${(error as Error).stack}`)
  }
  steps += chaos.steps
  await chaos.end()
}
console.log(`replicate-chaos: ${seeds} seeds from ${first} on ${shape}, ${steps} steps`)
console.log(failed === 0 ? 'replicate-chaos: all held' : `replicate-chaos: ${failed} FAILED`)
process.exit(failed === 0 ? 0 : 1)
