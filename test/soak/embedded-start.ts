/**
 * `npm run soak -- embedded-start [COUNT]`: Ctrl-C at COUNT (100) moments of `npm start`, each of
 * which must leave no process and no mount (test/mount/npm-start.test.ts).
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../mount/npm-start.test.js', import.meta.url))
const proof = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
  stdio: 'inherit',
  env: { ...process.env, NPM_START_INTERRUPTS: process.argv[2] ?? '100' },
})
proof.on('exit', (code) => process.exit(code ?? 1))
