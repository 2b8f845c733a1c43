/**
 * `npm run soak -- replicate-matrix [STATE...]`: the syscall matrix on replicated volumes of four
 * shapes, healthy and without each brick in turn (test/mount/replicate-matrix.test.ts).
 */
import { everyReplicateState } from '../lib/replicate-volume.ts'
import { runTestFile } from '../lib/test-file.ts'

const wanted = process.argv.slice(2)
const states = wanted.length > 0 ? wanted : everyReplicateState
process.exit(await runTestFile('replicate-matrix', { REPLICATE_STATES: states.join() }))
