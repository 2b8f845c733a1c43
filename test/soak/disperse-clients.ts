/**
 * `npm run soak -- disperse-clients [SCALE [SHAPE]]`: two clients at one file, ten times as long as
 * in npm test (test/mount/disperse-clients.test.ts).
 */
import { runTestFile } from '../lib/test-file.ts'

const status = await runTestFile('disperse-clients', {
  DISPERSE_SCALE: process.argv[2] ?? '10',
  DISPERSE_SHAPE: process.argv[3] ?? '4+2',
})
process.exit(status)
