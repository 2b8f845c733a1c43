/**
 * `npm run soak -- thin-arbiter`: two bricks and a thin arbiter, our client and the stock one on the
 * same volume (test/mount/thin-arbiter.test.ts).
 */
import { runTestFile } from '../lib/test-file.ts'

process.exit(await runTestFile('thin-arbiter', { THIN_ARBITER: '1' }))
