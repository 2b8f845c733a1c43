/** The frame of the proofs by kill -9 (kill-rounds.ts): a volume, the rounds, a summary. */
import { parseType } from '../../src/server/shape.ts'
import { setWidth } from '../../src/server/volume.ts'
import { Embedded, embeddedSkip, layoutOf } from './embedded.ts'
import { type KillResult, KillRounds } from './kill-rounds.ts'

type Rounds = (
  rounds: KillRounds,
  count: number,
  progress: (text: string) => void,
) => Promise<KillResult>

/** Arguments: COUNT SEED SHAPE, such as `4+2`, `replica 3`, `arbiter`, `distribute`. */
export async function proveKills(name: string, rounds: Rounds): Promise<void> {
  const [count = '100', seed = '1', ...words] = process.argv.slice(2)
  const missing = embeddedSkip()
  if (missing !== false) {
    console.error(`${name}: ${missing}`)
    process.exit(1)
  }
  const type = words.length > 0 ? words.join(' ') : '4+2'
  const shape = parseType(type)
  const volume = new Embedded(Math.max(2, setWidth(shape)))
  try {
    await volume.start(layoutOf(shape))
    const run = new KillRounds(volume, Number(seed), shape)
    const result = await rounds(run, Number(count), (text) => console.log(text))
    console.log(`${name}: ${result.rounds} rounds on ${type}, seed ${seed}`)
    console.log(`${result.done} steps acknowledged, ${result.underWay} under way at kills`)
    console.log(`${result.files} files compared at the end; indices empty after heal`)
    if (result.slowestMs > 0) console.log(`slowest restart to a mount ${result.slowestMs} ms`)
    console.log(`${name}: all held`)
    await volume.end()
  } catch (error) {
    console.error(error)
    console.error(`${name}: FAILED; the volume is left in ${volume.directory}`)
    process.exit(1)
  }
}
