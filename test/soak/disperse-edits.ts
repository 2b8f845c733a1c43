/**
 * `npm run soak -- disperse-edits [COUNT [SEED [SHAPE [CHOICES]]]]`: 500 random edit scripts, run by
 * our client and the stock one in turn, on dispersed volumes of four shapes, or one shape's share of
 * them; then read without every choice of R bricks, or without CHOICES of them (8+3 has 165, which
 * take half an hour). See test/lib/edit-proof.ts.
 */
import { proveEdits } from '../lib/disperse-edits.ts'
import { enterSandbox } from '../lib/sandbox.ts'

/** Shapes, and how many of the scripts each gets. */
const shares: readonly (readonly [string, number])[] = [
  ['2+1', 0.34],
  ['4+2', 0.34],
  ['2x(4+2)', 0.24],
  ['8+3', 0.08],
]
const timeMaxMs = 60 * 60_000

const count = Number(process.argv[2] ?? 500)
const seed = Number(process.argv[3] ?? 1)
const only = process.argv[4]
const limit = process.argv[5] === undefined ? {} : { choicesMax: Number(process.argv[5]) }
const missing = await enterSandbox(import.meta.url, timeMaxMs)
if (missing !== false) {
  console.error(`disperse-edits: ${missing}`)
  process.exit(1)
}
let [scripts, edits, choices] = [0, 0, 0]
for (const [index, [shape, share]] of shares.entries()) {
  if (only !== undefined && only !== shape) continue
  const plan = { shape, scripts: Math.ceil(count * share), seed: seed + index * 10_000 }
  const result = await proveEdits({ ...plan, edits: [15, 5, 4], ...limit })
  scripts += result.scripts
  edits += result.edits
  choices += result.choices
  console.log(
    `disperse-edits: ${shape}: ${result.scripts} scripts, ${result.edits} edits, ` +
      `${result.choices} choices of dead bricks, ${result.seconds} s: all equal`,
  )
}
console.log(
  `disperse-edits: ${scripts} scripts, ${edits} edits, ${choices} choices: all held (seed ${seed})`,
)
