/**
 * `npm run soak -- embedded-types [TYPE...]`: `npm start` with every type of volume, to the end: a
 * file is written, a brick killed, written on, brought back, healed, another killed, Ctrl-C; a second
 * start shows the same.
 */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { clock } from '../../src/core/clock.ts'
import { Demo } from '../lib/demo.ts'
import { embeddedSkip, eventually } from '../lib/embedded.ts'
import { projectRoot, run } from '../lib/sandbox.ts'

const ALL = ['4+2', 'disperse 2+1', 'replica 3', 'replicate', 'arbiter', 'distribute']
const missing = embeddedSkip()
if (missing !== false) {
  console.error(`embedded-types: ${missing}`)
  process.exit(1)
}

async function prove(type: string): Promise<number> {
  const demo = new Demo()
  const gluster = async (...words: string[]): Promise<string> =>
    (await run([`${projectRoot}/bin/gluster-ts`, '-d', demo.directory, ...words])).stdout
  const row = / (\d+|N\/A) +([YN]) +(\d+|N\/A)$/gm
  const pids = async (): Promise<string[]> =>
    [...(await gluster('status', 'demo')).matchAll(row)].map(([, , , pid]) => pid!)
  const kill = async (brick: number): Promise<void> => {
    process.kill(Number((await pids())[brick]), 'SIGKILL')
    await eventually('it is known to be down', async () => (await pids())[brick] === 'N/A')
  }
  const heals = type !== 'distribute'
  const began = clock.now()
  await demo.start('--type', type)
  await demo.ready()
  const startMs = Math.round(clock.now() - began)
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  for (const name of names) writeFileSync(demo.at(name), name.repeat(100_000))
  await kill(1)
  for (const name of heals ? names : [])
    writeFileSync(demo.at(name), `${name} again`, { flag: 'a' })
  await gluster('start', 'demo', 'force')
  if (heals) {
    assert.match(await gluster('heal', 'demo'), /volume heal: demo: success/)
    assert.doesNotMatch(await gluster('heal', 'demo', 'info'), /entries: [1-9]/)
    await kill(0)
  }
  const expected = (name: string): string => name.repeat(100_000) + (heals ? `${name} again` : '')
  const check = (): void => {
    for (const name of names) assert.equal(readFileSync(demo.at(name), 'utf8'), expected(name))
  }
  const isThere = (): boolean => {
    try {
      check()
      return true
    } catch {
      return false
    }
  }
  await eventually('the mount has found the brick that is back, and shows all files', isThere)
  for (const again of [false, true]) {
    if (again) {
      await demo.start('--type', type)
      await demo.ready()
      check()
    }
    demo.ctrlC()
    assert.equal(await demo.ended, 0)
    assert.equal(await demo.left(), '')
  }
  rmSync(join(demo.directory), { recursive: true })
  return startMs
}

const wanted = process.argv.slice(2)
for (const type of wanted.length > 0 ? wanted : ALL) {
  console.log(`${type}: held; mounted after ${await prove(type)} ms`)
}
console.log('embedded-types: all held')
