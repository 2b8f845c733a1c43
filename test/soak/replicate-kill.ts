/**
 * `npm run soak -- replicate-kill [COUNT [SHAPE [SEED]]]`: our client is killed 200 times at random
 * moments of a write load on a replica 3 volume; the stock one, to compare, 20 times. See
 * test/lib/replicate-kill.ts.
 */
import { ReplicateKill } from '../lib/replicate-kill.ts'
import { enterSandbox } from '../lib/sandbox.ts'

const timeMaxMs = 60 * 60_000

const count = Number(process.argv[2] ?? 200)
const shape = process.argv[3] ?? '3'
const seed = Number(process.argv[4] ?? 1)
const missing = await enterSandbox(import.meta.url, timeMaxMs)
if (missing !== false) {
  console.error(`replicate-kill: ${missing}`)
  process.exit(1)
}
const stock = await ReplicateKill.run(shape, 'stock', Math.ceil(count / 10), seed + 1)
console.log(`replicate-kill: stock on ${shape}: ${JSON.stringify(stock)}`)
const ours = await ReplicateKill.run(shape, 'ours', count, seed)
console.log(`replicate-kill: ours on ${shape}: ${JSON.stringify(ours)}`)
const held = ours.problems.length === 0
console.log(held ? 'replicate-kill: all held' : 'replicate-kill: FAILED')
process.exit(held ? 0 : 1)
