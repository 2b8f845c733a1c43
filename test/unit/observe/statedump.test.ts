import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CallPool, ROOT_CREDS } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator, type XlatorDefinition } from '../../../src/core/xlator.ts'
import { buildGraph } from '../../../src/graph/build.ts'
import { parseVolfile } from '../../../src/graph/volfile.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { parseChoice, statedumpText, TextSink } from '../../../src/observe/statedump.ts'

const options = defineOptions({})

class Leaf extends Xlator<typeof options> {
  override dump(sink: DumpSink): void {
    sink.section(`xlator.test.leaf.${this.name}.priv`)
    sink.pair('up', true)
    sink.pair('mask', '11')
  }
}

class Top extends Xlator<typeof options> {}

const definitions: Record<string, XlatorDefinition> = {
  'test/leaf': defineXlator({ type: 'test/leaf', class: Leaf, options, children: 0 }),
  'test/top': defineXlator({ type: 'test/top', class: Top, options, children: 1 }),
}

async function pendingGraph() {
  const pool = new CallPool()
  const inodes = new InodeTable()
  const graph = await buildGraph({
    volfile: parseVolfile(
      'volume l\ntype test/leaf\noption a b\nend-volume\n' +
        'volume t\ntype test/top\nsubvolumes l\nend-volume\n',
      'x',
    ),
    load: async (type) => definitions[type],
    id: 3,
    volfileId: 'v',
    pool,
    inodes,
    process: {
      uuid: '',
      hostname: '',
      processName: '',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
  graph.find('l')!.access = () => new Promise(() => undefined)
  const creds = { ...ROOT_CREDS, uid: 7, pid: 42, lkOwner: Buffer.from('d283', 'hex') }
  const frame = pool.begin(graph.top, 'ACCESS', creds, 240)
  void frame.wind(graph.top, 'access', { loc: Loc.ofInode(inodes.root), mask: 0 })
  return { pool, graph, root: undefined }
}

/** Sections by name, each a list of lines. */
function sections(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>()
  let lines: string[] = []
  for (const line of text.split('\n')) {
    const name = /^\[(.*)\]$/.exec(line)?.[1]
    if (name !== undefined) {
      lines = []
      found.set(name, lines)
    } else if (line !== '' && !line.startsWith('DUMP-')) lines.push(line)
  }
  return found
}

describe('state dump', () => {
  test('begins and ends as readers expect', async () => {
    const text = statedumpText(await pendingGraph())
    const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \+0000`
    assert.match(text, new RegExp(`^DUMP-START-TIME: ${time}\n\n\\[`))
    assert.match(text, new RegExp(`\n\nDUMP-END-TIME: ${time}$`))
  })

  test('pending calls: who asks, and where it waits, newest frame first', async () => {
    const found = sections(statedumpText(await pendingGraph()))
    assert.ok(found.get('global.callpool')!.includes('callpool.cnt=1'))
    const stack = found.get('global.callpool.stack.1')!
    for (const line of ['uid=7', 'pid=42', 'unique=240', 'lk-owner=d283', 'op=ACCESS', 'cnt=3']) {
      assert.ok(stack.includes(line), line)
    }
    assert.deepEqual(found.get('global.callpool.stack.1.frame.1'), [
      'translator=l',
      'complete=0',
      'parent=t',
      'wind_from=t.access',
      'wind_to=l.access',
      'unwind_to=t.access',
    ])
    assert.deepEqual(found.get('global.callpool.stack.1.frame.3'), ['translator=t', 'complete=0'])
  })

  test('every translator, top first, with its private section', async () => {
    const found = sections(statedumpText(await pendingGraph()))
    const names = [...found.keys()]
    const graphAt = names.indexOf('active graph - 3')
    assert.deepEqual(names.slice(graphAt + 1), [
      't.latency',
      'l.latency',
      'xlator.test.leaf.l.priv',
    ])
    assert.deepEqual(found.get('xlator.test.leaf.l.priv'), ['up=1', 'mask=11'])
  })

  test('a translator that cannot be dumped does not hide the others', async () => {
    const input = await pendingGraph()
    input.graph.find('t')!.dump = () => {
      throw new Error('a bug')
    }
    const found = sections(statedumpText(input))
    assert.ok(found.get('t.latency')!.includes('dump-error=Error: a bug'))
    assert.ok(found.has('xlator.test.leaf.l.priv'))
  })

  test('glusterdump.options chooses', async () => {
    assert.deepEqual(parseChoice('path=/x\n'), { directory: '/x', callpool: true, priv: true })
    const choice = parseChoice('callpool=yes\npriv=no\npath=relative\n')
    assert.deepEqual(choice, { directory: '/var/run/gluster', callpool: true, priv: false })
    assert.equal(parseChoice('all=yes').priv, true)
    const found = sections(statedumpText(await pendingGraph(), choice))
    assert.ok(found.has('global.callpool'))
    assert.ok(!found.has('xlator.test.leaf.l.priv'))
  })

  test('the same for .meta, with another separator', () => {
    const sink = new TextSink(' = ')
    sink.section('a')
    sink.pair('k', 1n)
    assert.equal(sink.text, '[a]\nk = 1\n')
  })
})
