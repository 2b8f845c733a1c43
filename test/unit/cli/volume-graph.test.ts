import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { ClientSetup } from '../../../src/cli/client-setup.ts'
import { parseCommandLine } from '../../../src/cli/options.ts'
import { VolumeGraph } from '../../../src/cli/volume-graph.ts'
import { CallPool } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { setLogLevel, startLog } from '../../../src/observe/log.ts'

const samples = fileURLToPath(new URL('../../../../volfiles/', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'volume-graph-'))
after(() => rmSync(directory, { recursive: true }))

function load(path: string, ...words: string[]) {
  const { values, given, noEffect } = parseCommandLine(words)
  const setup: ClientSetup = {
    values,
    given,
    noEffect,
    foreground: true,
    mountPoint: '/mnt',
    origin: { kind: 'file', path },
    overrides: [],
    logFile: undefined,
    logLevel: 'NONE',
    pidFile: undefined,
    secureMgmt: false,
    managementDepth: 1,
  }
  const volume = new VolumeGraph(setup, () => undefined)
  const context = {
    uuid: '',
    hostname: 'h',
    processName: 'fuse',
    subdirMount: undefined,
    secureMgmt: false,
  }
  return volume.load(context, new CallPool(), new InodeTable())
}

function file(text: string): string {
  const path = join(directory, 'test.vol')
  writeFileSync(path, text)
  return path
}

describe('the graph of a mount', () => {
  test('meta is on top of the last volume of the file', async () => {
    const graph = await load(`${samples}default-distribute.vol`)
    assert.deepEqual([graph.top.name, graph.top.type], ['meta-autoload', 'meta'])
    assert.equal(graph.top.child.type, 'debug/io-stats')
  })

  test('--volume-name: that volume and what it needs', async () => {
    const path = `${samples}default-distribute.vol`
    const whole = await load(path)
    const dht = whole.xlators.find((xl) => xl.type === 'cluster/distribute')!
    const graph = await load(path, `--volume-name=/${dht.name}`)
    assert.deepEqual(
      graph.xlators.map((xl) => xl.type),
      ['protocol/client', 'protocol/client', 'cluster/distribute', 'meta'],
    )
    await assert.rejects(load(path, '--volume-name=/none'), /has no volume 'none'/)
    const ignored = await load(path, '--volume-name=none')
    assert.equal(ignored.volumes.length, whole.volumes.length)
  })

  test('what lets a client in is not logged', async () => {
    const lines: string[] = []
    startLog({ write: (line) => void lines.push(line) }, 'TRACE', {
      json: false,
      localtime: false,
      repeatWindowMs: 0,
    })
    await load(
      file(
        'volume c\ntype protocol/client\noption remote-host h\noption remote-subvolume /b\n' +
          'option username sesame-u\noption password sesame-p\nend-volume\n',
      ),
    )
    setLogLevel('NONE')
    const text = lines.join('')
    assert.match(text, /option username \*\*\*/)
    assert.match(text, /option remote-host h/)
    assert.ok(!text.includes('sesame'))
  })

  test('a file may run commands; mount/fuse has no place in it', async () => {
    const client = 'type protocol/client\noption remote-subvolume /b\n'
    const path = file(`volume c\n${client}option remote-host \`echo h\`\nend-volume\n`)
    const graph = await load(path)
    assert.equal(graph.find('c')!.givenOptions.get('remote-host'), 'h')
    const fuse = file(`volume f\ntype mount/fuse\noption a b\nend-volume\n`)
    await assert.rejects(load(fuse), /:1: volume 'f': mount\/fuse cannot be in a volfile/)
  })

  test('a file that is not there', async () => {
    await assert.rejects(load('/nowhere.vol'), /cannot read the volfile \/nowhere.vol: ENOENT/)
  })
})
