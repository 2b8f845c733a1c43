/**
 * `npm run soak -- disperse-matrix [SHAPE...]`: the syscall matrix on dispersed volumes of four
 * shapes, healthy and with R bricks dead, with and without eager locks
 * (test/mount/disperse-matrix.test.ts).
 */
import { runTestFile } from '../lib/test-file.ts'

const shapes = ['2+1', '4+2', '8+3', '2x(4+2)']
const states = ['', ' degraded', ' lazy', ' degraded lazy']
const all = shapes.flatMap((shape) => states.map((state) => shape + state))
const wanted = process.argv.slice(2)
runTestFile('disperse-matrix', { DISPERSE_SHAPES: (wanted.length > 0 ? wanted : all).join() })
