import assert from 'node:assert/strict'
import test from 'node:test'
import { E } from '../../../src/core/errno.ts'
import { setLogLevel } from '../../../src/observe/log.ts'
import delayGen from '../../../xlators/debug/delay-gen/index.ts'
import errorGen from '../../../xlators/debug/error-gen/index.ts'
import trace from '../../../xlators/debug/trace/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import { bench, isPending, linked, locOf, stat } from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

const prepare = (bed: Bed): Bed => {
  bed.child.script = { stat: () => ({ errno: 0, stat: stat() }), readlink: () => ({ errno: E.IO }) }
  return bed
}
const errorTest = testsOf(errorGen, prepare)
const delayTest = testsOf(delayGen, prepare)
const ask = ({ b }: Bed, fop: 'stat' | 'readlink' = 'stat') =>
  b.run(fop, { loc: locOf(linked(b.graph, 'f')), size: 1 } as never)

// the manual clock's random number is 0.5
errorTest('error-gen: so many percent of the chosen fops fail', {}, async (s) => {
  assert.equal((await ask(s)).errno, 0)
  s.b.reconfigure({ failure: '51' })
  assert.equal((await ask(s)).errno, E.IO)
  s.b.reconfigure({ failure: '50' })
  assert.equal((await ask(s)).errno, 0)
  s.b.reconfigure({ failure: '100', enable: 'read, Stat', 'error-no': 'ENOSPC' })
  assert.equal((await ask(s)).errno, E.NOSPC)
  assert.equal((await ask(s, 'readlink')).errno, E.IO)
  assert.throws(() => s.b.reconfigure({ enable: 'stat,dance' }), /'dance' is no fop/)
  await assert.rejects(bench(errorGen, { 'error-no': 'EFOO' }), /must be one of/)
})

delayTest('delay-gen: they wait', { 'delay-percentage': '51' }, async (s) => {
  const rep = ask(s)
  s.manual.pass(99)
  assert.equal(await isPending(rep), true)
  s.manual.pass(1)
  assert.equal((await rep).errno, 0)
  s.b.reconfigure({ 'delay-percentage': '100', enable: 'unlink' })
  assert.equal(await isPending(ask(s)), false)
})

test('trace: a line for each fop that is included and not excluded', async () => {
  const b = await bench(trace, { 'log-file': 'on', 'exclude-ops': 'readlink' })
  const lines: string[] = []
  const { log } = b.xl as unknown as { log: { info: (fields: unknown, text: string) => void } }
  log.info = (_fields, text) => lines.push(text)
  const loc = locOf(linked(b.graph, 'f'))
  await b.run('stat', { loc })
  await b.run('readlink', { loc, size: 1 })
  assert.deepEqual(lines, ['stat /f: ENOSYS'])
  b.reconfigure({ 'log-file': 'on', 'include-ops': 'readlink' })
  await b.run('stat', { loc })
  await b.run('readlink', { loc, size: 1 })
  assert.deepEqual(lines, ['stat /f: ENOSYS', 'readlink /f: ENOSYS'])
  b.reconfigure({})
  await b.run('readlink', { loc, size: 1 })
  assert.equal(lines.length, 2)
})

setLogLevel('WARNING')
modelRuns(trace, [{}, { 'log-file': 'on' }])
