/** The sample volfiles of every kind of volume become graphs. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { loadXlator } from '../../../src/cli/volume-graph.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import { CallPool } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { resolveOptions } from '../../../src/core/options.ts'
import { buildGraph, type Graph } from '../../../src/graph/build.ts'
import { parseVolfile } from '../../../src/graph/volfile.ts'
import { setLogLevel } from '../../../src/observe/log.ts'
import { testProcess } from '../../lib/scripted.ts'

const samples = fileURLToPath(new URL('../../../../volfiles/', import.meta.url))
const parsed = readdirSync(samples)
  .filter((name) => name.endsWith('.vol'))
  .map((name) => parseVolfile(readFileSync(samples + name, 'latin1'), name))

const build = (volfile: (typeof parsed)[number]): Promise<Graph> =>
  buildGraph({
    volfile,
    load: loadXlator,
    id: 0,
    volfileId: 'test',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: testProcess,
    autoload: [{ name: 'meta-autoload', type: 'meta' }],
  })

describe('sample volfiles', () => {
  before(() => setLogLevel('NONE'))
  after(() => setLogLevel('INFO'))

  for (const volfile of parsed) {
    // ssl.vol names key files that are not on every machine: what is missing is said
    test(`${volfile.source} builds`, async () => {
      const graph = await build(volfile).catch((error: unknown) => {
        assert.ok(error instanceof GlusterError, String(error))
        assert.match(error.message, /ssl|glusterfs\.(pem|key|ca)/, volfile.source)
      })
      if (graph === undefined) return
      assert.equal(graph.xlators.length, volfile.volumes.length + 1)
      assert.equal(graph.find(volfile.volumes.at(-1)!.name)?.type, 'debug/io-stats')
      await graph.stop()
    })
  }

  test('every option of a performance translator in them is known', async () => {
    const unknown: string[] = []
    for (const { volumes } of parsed) {
      for (const { type, options } of volumes) {
        if (!type.startsWith('performance/')) continue
        const definition = await loadXlator(type)
        assert.ok(definition !== undefined, type)
        for (const key of resolveOptions(definition.options, options).unknown) {
          unknown.push(`${type} ${key}`)
        }
      }
    }
    // glusterd repeats the volume's option there; nothing reads it
    const stray = 'performance/readdir-ahead performance.readdir-ahead'
    assert.deepEqual(
      unknown.filter((one) => one !== stray),
      [],
    )
  })
})
