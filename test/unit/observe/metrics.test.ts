import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { writeMetrics } from '../../../src/observe/metrics.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import { bench, linked, locOf, type ScriptedChild, stat as stats } from '../../lib/scripted.ts'

test('metrics: totals go on, the interval begins with each file', async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'metrics-'))
  try {
    const b = await bench(mdCache)
    const { script } = b.child as ScriptedChild
    script.statfs = () => ({ errno: 5 })
    script.stat = () => ({ errno: 0, stat: stats() })
    const loc = locOf(linked(b.graph, 'f'))
    const read = async (): Promise<string[]> => {
      const file = await writeMetrics(
        {
          commandLine: 'glusterfs /mnt',
          mountPoint: '/mnt',
          pool: b.graph.pool,
          graph: b.graph,
          bridge: undefined,
        },
        directory,
      )
      assert.match(file, /\/gmetrics\.\w{6}$/)
      assert.equal((await stat(file)).mode & 0o777, 0o600)
      return (await readFile(file, 'latin1')).split('\n')
    }
    await b.run('statfs', { loc })
    const first = await read()
    assert.equal(first[0], '## glusterfs /mnt')
    for (const line of [
      'total.stack.count 1',
      'child.total.STATFS.count 1',
      'child.interval.STATFS.count 1',
      'child.interval.STATFS.fail_count 1',
      'xl.stat_cache_miss_count 0',
      '# End of metrics',
    ]) {
      assert.ok(first.includes(line), line)
    }
    await b.run('stat', { loc })
    const second = await read()
    assert.ok(second.includes('child.total.STATFS.count 1'))
    assert.ok(!second.some((line) => line.startsWith('child.interval.STATFS')))
    assert.ok(second.includes('child.interval.STAT.count 1'))
    assert.ok(second.includes('child.total.fop-count 2'))
    assert.ok(second.includes('child.interval.fop-count 1'))
    assert.equal((await readdir(directory)).length, 2)
  } finally {
    await rm(directory, { recursive: true })
  }
})
