/**
 * `npm run soak -- disperse-loss [MIB]`: a brick dies in the middle of a write of 1 GiB; more than R
 * die (test/mount/disperse-loss.test.ts).
 */
import { runTestFile } from '../lib/test-file.ts'

process.exit(await runTestFile('disperse-loss', { DISPERSE_MIB: process.argv[2] ?? '1024' }))
