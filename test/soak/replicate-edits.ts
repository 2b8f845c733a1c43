/**
 * `npm run soak -- replicate-edits [COUNT [SEED [SHAPE]]]`: 500 random edit scripts, run by our
 * client and the stock one in turn, on replicated volumes of four shapes, or all on one of them. See
 * test/lib/edit-proof.ts.
 */
import { proveReplicateEdits } from '../lib/replicate-edits.ts'
import { enterSandbox } from '../lib/sandbox.ts'

/** Shapes, and how many of the scripts each gets. */
const shares: readonly (readonly [string, number])[] = [
  ['3', 0.3],
  ['3a1', 0.3],
  ['2', 0.2],
  ['2x3', 0.2],
]
const timeMaxMs = 60 * 60_000

const count = Number(process.argv[2] ?? 500)
const seed = Number(process.argv[3] ?? 1)
const only = process.argv[4]
const missing = await enterSandbox(import.meta.url, timeMaxMs)
if (missing !== false) {
  console.error(`replicate-edits: ${missing}`)
  process.exit(1)
}
let [scripts, edits, choices] = [0, 0, 0]
for (const [index, [shape, share]] of (only === undefined
  ? shares
  : [[only, 1] as const]
).entries()) {
  const plan = { shape, scripts: Math.ceil(count * share), seed: seed + index * 10_000 }
  const result = await proveReplicateEdits({ ...plan, edits: [15, 5, 4] })
  scripts += result.scripts
  edits += result.edits
  choices += result.choices
  console.log(
    `replicate-edits: ${shape}: ${result.scripts} scripts, ${result.edits} edits, ` +
      `${result.choices} dead bricks, ${result.seconds} s: all equal`,
  )
}
console.log(
  `replicate-edits: ${scripts} scripts, ${edits} edits, ${choices} dead bricks: all held ` +
    `(seed ${seed})`,
)
