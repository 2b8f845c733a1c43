/**
 * `npm run soak -- embedded-takeover`: the same bricks served by our servers and by stock's in turn,
 * distributed and dispersed (test/mount/embedded-takeover.test.ts).
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../mount/embedded-takeover.test.js', import.meta.url))
const proof = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
  stdio: 'inherit',
  env: { ...process.env, EMBEDDED_SHAPES: 'distributed,dispersed' },
})
proof.on('exit', (code) => process.exit(code ?? 1))
