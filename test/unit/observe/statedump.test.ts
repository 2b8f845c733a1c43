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
import { parseChoice, statedumpText } from '../../../src/observe/statedump.ts'
import { TextSink } from '../../../src/observe/text-sink.ts'

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
    const frames = (index: number) =>
      found
        .get(`global.callpool.stack.1.frame.${index}`)!
        .filter((line) => !/^(frame-creation-time|timings|frame)=/.test(line))
    assert.ok(stack.includes('path=/'))
    assert.ok(stack.includes('waits-in=l.access'))
    assert.deepEqual(frames(1), [
      'ref_count=1',
      'translator=l',
      'complete=0',
      'parent=t',
      'wind_from=t.access',
      'wind_to=l.access',
      'unwind_to=t.access',
    ])
    assert.deepEqual(frames(3), ['ref_count=1', 'translator=t', 'complete=0'])
  })

  test('a name with a newline forges no line', async () => {
    const input = await pendingGraph()
    const { inodes } = input.graph
    const loc = new Loc(inodes.newInode(), inodes.root, 'a\n[forged]\nx=y')
    const frame = input.pool.begin(input.graph.top, 'ACCESS', ROOT_CREDS)
    void frame.wind(input.graph.top, 'access', { loc, mask: 0 })
    const text = statedumpText(input)
    assert.match(text, /^path=\/a\\x0a\[forged\]\\x0ax=y$/m)
    assert.ok(!sections(text).has('forged'))
  })

  test('every translator, top first, with its private section', async () => {
    const found = sections(statedumpText(await pendingGraph()))
    const names = [...found.keys()]
    const graphAt = names.indexOf('active graph - 4')
    assert.deepEqual(names.slice(graphAt + 1), [
      't.latency',
      'test/top.t - Memory usage',
      'l.latency',
      'test/leaf.l - Memory usage',
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
    assert.ok(found.get('test/top.t - Memory usage')!.includes('dump-error=Error: a bug'))
    assert.ok(found.has('xlator.test.leaf.l.priv'))
  })

  test('glusterdump.options chooses', async () => {
    const on = (text: string): string[] =>
      Object.entries(parseChoice(text)).flatMap(([key, value]) => (value === true ? key : []))
    // As the stock client does: a file that switches nothing on leaves memory and calls.
    for (const text of ['', 'path=/x', 'inode=no', 'bogus=1']) {
      assert.deepEqual(on(text), ['mem', 'callpool'])
    }
    assert.equal(parseChoice('path=/x').directory, '/x')
    assert.deepEqual(on('priv=yes\nmem=no'), ['priv'])
    assert.equal(on('all=yes').length, 8)
    const choice = parseChoice('callpool=yes\npriv=no\npath=relative\n')
    assert.equal(choice.directory, '/var/run/gluster')
    const found = sections(statedumpText(await pendingGraph(), choice))
    assert.ok(found.has('global.callpool'))
    assert.ok(!found.has('xlator.test.leaf.l.priv'))
  })

  test('the same for .meta, with another separator', () => {
    const sink = new TextSink('meta')
    sink.section('a')
    sink.pair('k', 1n)
    assert.equal(sink.text, '[a]\nk = 1\n')
  })
})
