/**
 * `npm run soak -- option-sets [COUNT] [SEED]`: the syscall matrix, verified load and the death of a
 * brick (on 2+1) with COUNT random sets of volume options, 50 unless told, and with every
 * performance translator off. Prints a line per set; exit status 0 when all held.
 */
import { allOff, drawOptions, layouts, OptionProof, type OptionSet } from '../lib/option-sets.ts'
import { enterSandbox } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'

const count = Number(process.argv[2] ?? 50)
const first = Number(process.argv[3] ?? 1)
const missing = await enterSandbox(import.meta.url, (count + 5) * 180_000)
if (missing !== false) {
  console.error(`option-sets: ${missing}`)
  process.exit(1)
}

const proofs = Object.keys(layouts).map((layout) => ({
  layout,
  proof: new OptionProof(layout, { loadSeconds: 3 }),
}))
let failures = 0

async function prove(name: string, at: number, set: OptionSet, seed: number): Promise<void> {
  const { layout, proof } = proofs[at % proofs.length]!
  const problems = await proof
    .run(set, seed)
    .catch((error: unknown) => [error instanceof Error ? (error.stack ?? '') : String(error)])
  console.log(
    `${name}, ${layout}, ${Object.keys(set).length} options: ${problems.length === 0 ? 'held' : 'FAILED'}`,
  )
  if (problems.length === 0) return
  failures++
  const shown = Object.entries(set).map(([key, value]) => `${key} ${value}`)
  console.log([...problems, ...shown].map((line) => `  ${line}`).join('\n'))
}

for (const at of proofs.keys()) await prove('all off', at, allOff, first)
for (let seed = first; seed < first + count; seed++) {
  await prove(`set ${seed}`, seed, drawOptions(seeded(seed * 7919)), seed)
}
console.log(`option-sets: ${count} sets and all off on each layout: ${failures} failed`)
process.exit(failures === 0 ? 0 : 1)
