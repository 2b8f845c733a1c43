/**
 * `npm run soak -- hang`: 1,000 calls pending on stopped bricks of a distributed, a dispersed and a
 * replicated volume: dump in time with every section, `.meta/frames` readable, the log names who
 * waits for which brick (test/mount/hang.test.ts on each).
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const test = fileURLToPath(new URL('../mount/hang.test.js', import.meta.url))
let failed = 0
for (const kind of ['distribute', 'disperse', 'replicate']) {
  const { status, stdout } = spawnSync(process.execPath, ['--test', test], {
    env: { ...process.env, HANG_LAYOUT: kind },
    encoding: 'utf8',
  })
  const passed = /^# pass (\d+)$/m.exec(stdout)?.[1] ?? '0'
  console.log(`${kind}: ${passed} of 4 tests pass`)
  if (status === 0 && passed === '4') continue
  failed++
  console.log(stdout)
}
console.log(failed === 0 ? 'hang: held on all volumes' : `hang: FAILED on ${failed} volumes`)
process.exit(failed === 0 ? 0 : 1)
