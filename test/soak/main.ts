/**
 * `npm run soak -- NAME [ARGUMENT...]`: the long proofs, one file each beside this one. A proof
 * prints one summary and ends with exit status 0 when all of it held.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.js') && file !== 'main.js')
  .map((file) => file.slice(0, -'.js'.length))
const [name, ...rest] = process.argv.slice(2)
if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run soak -- NAME [ARGUMENT...]; proofs: ${names.join(', ')}`)
  process.exit(1)
}
const proof = spawn(process.execPath, [`${import.meta.dirname}/${name}.js`, ...rest], {
  stdio: 'inherit',
  // Proofs that look at many files at a time.
  env: { UV_THREADPOOL_SIZE: '12', ...process.env },
})
proof.on('exit', (code) => process.exit(code ?? 1))
