/**
 * `npm run soak -- replicate-flap [SECONDS [SHAPE [SEED [CLIENTS]]]]`: a random brick of a replica 3
 * volume is killed and restarted every 2 s for 5 minutes, under verified I/O from our client and the
 * stock one at once, or from CLIENTS: `stock,stock` shows what stock does to itself. See
 * test/lib/replicate-flap.ts.
 */
import { proveFlapping } from '../lib/replicate-flap.ts'
import { type ClientKind, enterSandbox } from '../lib/sandbox.ts'

const seconds = Number(process.argv[2] ?? 300)
const shape = process.argv[3] ?? '3'
const seed = Number(process.argv[4] ?? 1)
const clients = (process.argv[5] ?? 'ours,stock').split(',') as ClientKind[]
const missing = await enterSandbox(import.meta.url)
if (missing !== false) {
  console.error(`replicate-flap: ${missing}`)
  process.exit(1)
}
const summary = await proveFlapping(shape, seconds, seed, clients)
console.log(`replicate-flap: ${shape}, ${seconds} s, ${clients}: ${JSON.stringify(summary)}`)
const held = summary.problems.length === 0
console.log(held ? 'replicate-flap: all held' : 'replicate-flap: FAILED')
process.exit(held ? 0 : 1)
