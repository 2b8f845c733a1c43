/**
 * `npm run soak -- embedded-kill [COUNT [SEED]]`: kill -9 of all bricks, the management server and
 * the client of a 4+2 volume at COUNT (100) random moments of a write load.
 */
import { Embedded, embeddedSkip } from '../lib/embedded.ts'
import { KillRounds } from '../lib/kill-rounds.ts'

const [count = '100', seed = '1'] = process.argv.slice(2)
const missing = embeddedSkip()
if (missing !== false) {
  console.error(`embedded-kill: ${missing}`)
  process.exit(1)
}
const volume = new Embedded(6)
try {
  await volume.start(['disperse', '6', 'redundancy', '2'])
  const rounds = new KillRounds(volume, Number(seed))
  const result = await rounds.run(Number(count), (round) => {
    if (round % 10 === 0) console.log(`${round} kills`)
  })
  const { files, unsure, slowestMs } = result
  console.log(`embedded-kill: ${result.rounds} kills of everything, seed ${seed}`)
  console.log(`${files} files acknowledged and all there; ${unsure} steps under way when killed`)
  console.log(`indices empty after heal; slowest restart to a readable mount ${slowestMs} ms`)
  console.log('embedded-kill: all held')
  await volume.end()
} catch (error) {
  console.error(error)
  console.error(`embedded-kill: FAILED; the volume is left in ${volume.directory}`)
  process.exit(1)
}
