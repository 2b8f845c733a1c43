/**
 * `npm run soak -- embedded-takeover [SHAPE...]`: the same bricks served by our servers and by
 * stock's in turn, on every kind of volume (test/mount/embedded-takeover.test.ts).
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../mount/embedded-takeover.test.js', import.meta.url))
const shapes = process.argv.slice(2)
const proof = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
  stdio: 'inherit',
  env: { ...process.env, EMBEDDED_SHAPES: shapes.length > 0 ? shapes.join() : 'all' },
})
proof.on('exit', (code) => process.exit(code ?? 1))
