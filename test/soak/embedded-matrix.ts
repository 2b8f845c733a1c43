/**
 * `npm run soak -- embedded-matrix [SHAPE...]`: the syscall matrix on embedded volumes of every type
 * (test/mount/embedded-matrix.test.ts), through the stock client and through ours.
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../mount/embedded-matrix.test.js', import.meta.url))
const shapes = process.argv.slice(2)
const proof = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
  stdio: 'inherit',
  env: {
    ...process.env,
    EMBEDDED_SHAPES: (shapes.length > 0
      ? shapes
      : ['distribute', '4+2', 'replica 3', 'arbiter']
    ).join(),
    EMBEDDED_CLIENTS: 'stock,ours',
  },
})
proof.on('exit', (code) => process.exit(code ?? 1))
