/**
 * `npm run soak -- chaos [SEEDS [FIRST [SHAPE...]]]`: bricks lost and found under load, some at a time
 * and all at once, in one process (test/lib/chaos.ts); SEEDS (100) volumes of some rounds each.
 * Shapes: `replica 3`, `arbiter`, `4+2`, `2+1`; all of them unless told.
 */
import { Chaos, KINDS } from '../lib/chaos.ts'
import { noDisk } from '../lib/disk-store.ts'

const ROUNDS = 3
const [seeds = '100', first = '1', ...words] = process.argv.slice(2)
if (noDisk !== false) {
  console.error(`chaos: ${noDisk}`)
  process.exit(1)
}
let failed = 0
for (const shape of words.length > 0 ? [words.join(' ')] : Object.keys(KINDS)) {
  let steps = 0
  for (let seed = Number(first); seed < Number(first) + Number(seeds); seed++) {
    const chaos = await Chaos.make(seed, KINDS[shape]!)
    try {
      for (let round = 0; round < ROUNDS; round++) {
        await chaos.kill()
        await chaos.lose()
      }
    } catch (error) {
      failed++
      console.log(`${shape}, seed ${seed}: ${(error as Error).stack}`)
    }
    steps += chaos.steps
    await chaos.end()
  }
  const rounds = `${ROUNDS * Number(seeds)} kills of everything, as many losses`
  console.log(`chaos: ${shape}: ${seeds} seeds from ${first}: ${rounds}, ${steps} steps`)
}
console.log(failed === 0 ? 'chaos: all held' : `chaos: ${failed} FAILED`)
process.exit(failed === 0 ? 0 : 1)
