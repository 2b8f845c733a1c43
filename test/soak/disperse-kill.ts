/**
 * `npm run soak -- disperse-kill [COUNT [SHAPE [SEED [STOCK]]]]`: our client is killed 200 times at
 * random moments of a write load on a 4+2 volume; the stock one, to compare, 20 times. See
 * test/lib/disperse-kill.ts.
 */
import { KillProof, type KillResult } from '../lib/disperse-kill.ts'
import { enterSandbox } from '../lib/sandbox.ts'

const timeMaxMs = 60 * 60_000

const count = Number(process.argv[2] ?? 200)
const shape = process.argv[3] ?? '4+2'
const seed = Number(process.argv[4] ?? 1)
/** To compare: how many kills of the stock client. */
const stockCount = Number(process.argv[5] ?? Math.ceil(count / 10))
const missing = await enterSandbox(import.meta.url, timeMaxMs)
if (missing !== false) {
  console.error(`disperse-kill: ${missing}`)
  process.exit(1)
}
const told = (who: string) => (result: KillResult) =>
  console.log(`disperse-kill: ${who} on ${shape}, so far: ${JSON.stringify(result)}`)
const stock = await KillProof.run(shape, 'stock', stockCount, seed + 1, told('stock'))
console.log(`disperse-kill: stock on ${shape}: ${JSON.stringify(stock)}`)
const ours = await KillProof.run(shape, 'ours', count, seed, told('ours'))
console.log(`disperse-kill: ours on ${shape}: ${JSON.stringify(ours)}`)
const held = ours.problems.length === 0 && ours.tornStripes === 0 && ours.appendErrors === 0
console.log(held ? 'disperse-kill: all held' : 'disperse-kill: FAILED')
process.exit(held ? 0 : 1)
