/**
 * `npm run soak -- disperse-programs [SHAPE...]`: real programs on dispersed volumes of four shapes,
 * healthy and with R bricks dead, with and without eager locks (test/mount/programs.test.ts).
 */
import { everyState } from '../lib/disperse-volume.ts'
import { runTestFile } from '../lib/test-file.ts'

const wanted = process.argv.slice(2)
let failed = 0
for (const shape of wanted.length > 0 ? wanted : everyState) {
  const status = await runTestFile('programs', { PROGRAMS_SHAPE: shape, PROGRAMS_FILES: '4000' })
  console.log(`disperse-programs: ${shape}: ${status === 0 ? 'all held' : 'FAILED'}`)
  if (status !== 0) failed++
}
process.exit(failed === 0 ? 0 : 1)
