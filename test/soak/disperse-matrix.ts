/**
 * `npm run soak -- disperse-matrix [SHAPE...]`: the syscall matrix on dispersed volumes of four
 * shapes, healthy and with R bricks dead, with and without eager locks
 * (test/mount/disperse-matrix.test.ts).
 */
import { everyState } from '../lib/disperse-volume.ts'
import { runTestFile } from '../lib/test-file.ts'

const wanted = process.argv.slice(2)
const shapes = wanted.length > 0 ? wanted : everyState
process.exit(await runTestFile('disperse-matrix', { DISPERSE_SHAPES: shapes.join() }))
