/** A test of test/mount as a long proof: the same file with other numbers in its environment. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Runs `test/mount/NAME.test.ts`; its exit status comes back. */
export function runTestFile(name: string, env: Record<string, string>): Promise<number> {
  const file = fileURLToPath(new URL(`../mount/${name}.test.js`, import.meta.url))
  const proof = spawn(process.execPath, ['--test', '--test-reporter=spec', file], {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  })
  return new Promise((resolve) => proof.on('exit', (code) => resolve(code ?? 1)))
}
