/**
 * `npm run soak -- replicate-programs [STATE...]`: real programs on replicated volumes of four
 * shapes, healthy and without each brick in turn (test/mount/programs.test.ts).
 */
import { everyReplicateState } from '../lib/replicate-volume.ts'
import { runTestFile } from '../lib/test-file.ts'

const wanted = process.argv.slice(2)
let failed = 0
for (const state of wanted.length > 0 ? wanted : everyReplicateState) {
  const env = { PROGRAMS_SHAPE: `replica ${state}`, PROGRAMS_FILES: '4000' }
  const status = await runTestFile('programs', env)
  console.log(`replicate-programs: ${state}: ${status === 0 ? 'all held' : 'FAILED'}`)
  if (status !== 0) failed++
}
process.exit(failed === 0 ? 0 : 1)
