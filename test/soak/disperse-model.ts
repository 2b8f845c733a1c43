/**
 * `npm run soak -- disperse-model [SEEDS [FIRST]]`: random changes by two clients while simulated
 * bricks come and go, in several shapes (test/lib/disperse-model.ts).
 */
import { DisperseModel, lazy } from '../lib/disperse-model.ts'

const count = Number(process.argv[2] ?? 100)
const first = Number(process.argv[3] ?? 1)
let failed = 0
for (let seed = first; seed < first + count; seed++) {
  for (const [data, redundancy] of [
    [2, 1],
    [4, 2],
    [8, 3],
  ] as const) {
    for (const given of [{}, lazy]) {
      try {
        await DisperseModel.run({ data, redundancy, given, seed })
      } catch (error) {
        failed++
        const locks = given === lazy ? ' without eager locks' : ''
        console.error(`disperse-model: ${data}+${redundancy}${locks}: ${String(error)}`)
      }
    }
  }
}
const said = failed === 0 ? 'all held' : `FAILED: ${failed}`
console.log(`disperse-model: ${6 * count} runs from seed ${first}: ${said}`)
process.exit(failed === 0 ? 0 : 1)
