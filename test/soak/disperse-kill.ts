/**
 * `npm run soak -- disperse-kill [COUNT [SHAPE [CLIENT]]]`: our client (or the stock one, to
 * compare) is killed 200 times at random moments of a write load on a 4+2 volume. See
 * test/lib/disperse-kill.ts.
 */
import { KillProof } from '../lib/disperse-kill.ts'
import { type ClientKind, enterSandbox } from '../lib/sandbox.ts'

const timeMaxMs = 60 * 60_000

const count = Number(process.argv[2] ?? 200)
const shape = process.argv[3] ?? '4+2'
const client: ClientKind = process.argv[4] === 'stock' ? 'stock' : 'ours'
const missing = await enterSandbox(import.meta.url, timeMaxMs)
if (missing !== false) {
  console.error(`disperse-kill: ${missing}`)
  process.exit(1)
}
const result = await KillProof.run(shape, client, count, 1)
console.log(`disperse-kill: ${client} on ${shape}: ${JSON.stringify(result)}`)
const held = result.badSlots === 0 && result.readErrors.length === 0
console.log(held ? 'disperse-kill: all held' : 'disperse-kill: FAILED')
process.exit(held ? 0 : 1)
