/**
 * `npm run soak -- option-sets [KIND] [COUNT] [SEED]`: everything with every performance translator
 * on, with all off, and with COUNT random sets of volume options. KIND is one of
 *
 * - `matrix` (unless told; 50 sets): the syscall matrix, verified load and, where there is redundancy,
 *   the death of a brick under it, against what stock's client returned;
 * - `programs` (8 sets): test/mount/programs.test.ts;
 * - `faults` (8 sets): test/mount/faults.test.ts, a brick's death and return, a volume that grows.
 *
 * Prints a line per set; exit status 0 when all held.
 */
import {
  allOff,
  allOn,
  drawOptions,
  layouts,
  OptionProof,
  type OptionSet,
} from '../lib/option-sets.ts'
import { enterSandbox } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'
import { runTestFile } from '../lib/test-file.ts'

const kinds = ['matrix', 'programs', 'faults'] as const
type Kind = (typeof kinds)[number]

const words = process.argv.slice(2)
const kind: Kind = kinds.find((one) => one === words[0]) ?? 'matrix'
if (kind === words[0]) words.shift()
const count = Number(words[0] ?? (kind === 'matrix' ? 50 : 8))
const first = Number(words[1] ?? 1)
let failures = 0

/** What is tried; from a later seed only the random ones. */
const sets: [name: string, OptionSet][] = [
  ...(first === 1
    ? ([
        ['all on', allOn],
        ['all off', allOff],
      ] as [string, OptionSet][])
    : []),
  ...Array.from({ length: count }, (_, i): [string, OptionSet] => {
    const seed = first + i
    return [`set ${seed}`, drawOptions(seeded(seed * 7919))]
  }),
]

function told(name: string, set: OptionSet, problems: readonly string[]): void {
  const held = problems.length === 0
  console.log(`${kind}, ${name}, ${Object.keys(set).length} options: ${held ? 'held' : 'FAILED'}`)
  if (held) return
  failures++
  const shown = Object.entries(set).map(([key, value]) => `${key} ${value}`)
  console.log([...problems, ...shown].map((line) => `  ${line}`).join('\n'))
}

async function proveMatrix(): Promise<void> {
  const missing = await enterSandbox(import.meta.url, (count + 5) * 180_000)
  if (missing !== false) {
    console.error(`option-sets: ${missing}`)
    process.exit(1)
  }
  const proofs = Object.keys(layouts).map((layout) => ({
    layout,
    proof: new OptionProof(layout, { loadSeconds: 3 }),
  }))
  for (const [at, [name, set]] of sets.entries()) {
    const every = name.startsWith('all')
    for (const { layout, proof } of every ? proofs : [proofs[(first + at) % proofs.length]!]) {
      const problems = await proof
        .run(set, first + at)
        .catch((error: unknown) => [error instanceof Error ? (error.stack ?? '') : String(error)])
      told(`${name}, ${layout}`, set, problems)
    }
  }
}

async function proveTests(test: Exclude<Kind, 'matrix'>): Promise<void> {
  for (const [name, set] of sets) {
    const env = { VOLUME_OPTIONS: JSON.stringify(set), PROGRAMS_FILES: '4000' }
    const status = await runTestFile(test, env)
    told(name, set, status === 0 ? [] : [`exit status ${status}`])
  }
}

if (kind === 'matrix') await proveMatrix()
else await proveTests(kind)
console.log(`option-sets: ${kind}, ${sets.length} sets: ${failures} failed`)
process.exit(failures === 0 ? 0 : 1)
