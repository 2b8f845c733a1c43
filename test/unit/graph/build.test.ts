import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { pino } from 'pino'
import { takeSlot } from '../../../src/core/context.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import type { Event } from '../../../src/core/event.ts'
import { CallPool } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator, type XlatorDefinition } from '../../../src/core/xlator.ts'
import {
  type BuildInput,
  buildGraph,
  type Graph,
  globToRegExp,
  parseXlatorOption,
} from '../../../src/graph/build.ts'
import { reconfigureGraph, sameTopology } from '../../../src/graph/reconfigure.ts'
import { parseVolfile } from '../../../src/graph/volfile.ts'
import { setRootLog } from '../../../src/observe/log.ts'

const options = defineOptions({
  size: { type: 'size', default: '1KB', max: 4096, description: 'a size' },
  old: { type: 'str', description: 'nothing', noEffect: 'gone' },
})

/** What happened to the translators, in order. */
let events: string[] = []
/** Names of translators that refuse any reconfigure. */
const refusing = new Set<string>()

class Probe extends Xlator<typeof options> {
  override init(): void {
    events.push(`init ${this.name}`)
    if (this.name.startsWith('broken')) {
      throw new GlusterError('VOLFILE_INVALID', `${this.name} is broken`)
    }
  }

  override fini(): void {
    events.push(`fini ${this.name}`)
  }

  override reconfigure(next: OptionValues<typeof options>): void {
    if (refusing.has(this.name)) throw new GlusterError('OPTION_INVALID', `${this.name}: no`)
    events.push(`reconfigure ${this.name} ${next.size}`)
    this.options = next
  }

  override notify(event: Event, from: Xlator | undefined): void {
    events.push(`${event.type} ${this.name}`)
    super.notify(event, from)
  }
}

const definitions: Record<string, XlatorDefinition> = {
  'test/leaf': defineXlator({ type: 'test/leaf', class: Probe, options, children: 0 }),
  'test/one': defineXlator({ type: 'test/one', class: Probe, options, children: 1 }),
  'test/some': defineXlator({
    type: 'test/some',
    class: Probe,
    options,
    children: { min: 2, max: 3 },
  }),
}

const process = {
  uuid: 'u',
  hostname: 'h',
  processName: 'fuse',
  subdirMount: undefined,
  secureMgmt: false,
}

const TREE = `
volume a
  type test/leaf
  option size 2KB
end-volume
volume b
  type test/leaf
  option old x
end-volume
volume both
  type test/some
  subvolumes a b
end-volume
volume top
  type test/one
  subvolumes both
end-volume
`

function input(text: string, more: Partial<BuildInput> = {}): BuildInput {
  return {
    volfile: parseVolfile(text, 'test.vol'),
    load: async (type) => definitions[type],
    id: 0,
    volfileId: 'vol',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process,
    ...more,
  }
}

async function refused(text: string, more: Partial<BuildInput> = {}): Promise<GlusterError> {
  try {
    await buildGraph(input(text, more))
  } catch (error) {
    assert.ok(error instanceof GlusterError, String(error))
    return error
  }
  return assert.fail('the graph was built')
}

let logged: string[] = []

beforeEach(() => {
  events = []
  logged = []
  refusing.clear()
  setRootLog(
    pino(
      { level: 'info' },
      { write: (line: string) => void logged.push((JSON.parse(line) as { msg: string }).msg) },
    ),
  )
})

afterEach(() => setRootLog(pino({ level: 'silent' })))

const optionsOf = (graph: Graph, name: string) =>
  graph.find(name)!.options as OptionValues<typeof options>

describe('buildGraph', () => {
  test('links children and parents, types options, inits parents first', async () => {
    const graph = await buildGraph(input(TREE))
    assert.equal(graph.top.name, 'top')
    assert.deepEqual(
      graph.find('both')!.children.map((xl) => xl.name),
      ['a', 'b'],
    )
    assert.deepEqual(
      graph.find('a')!.parents.map((xl) => xl.name),
      ['both'],
    )
    assert.equal(optionsOf(graph, 'a').size, 2048)
    assert.equal(optionsOf(graph, 'b').size, 1024)
    assert.deepEqual(events, ['init top', 'init both', 'init b', 'init a'])
    assert.match(logged.join('\n'), /'b' \(test\/leaf\): option 'old' has no effect: gone/)
  })

  test('a fop nobody implements goes to the first child, down to the leaf', async () => {
    const graph = await buildGraph(input(TREE))
    const seen: string[] = []
    graph.find('a')!.stat = (frame) => {
      seen.push(frame.xl.name)
      return { errno: 2 }
    }
    const frame = graph.pool.begin(graph.top, 'STAT', { ...creds })
    const rep = await frame.wind(graph.top, 'stat', {} as never)
    assert.deepEqual([rep.errno, seen], [2, ['a']])
  })

  test('start and stop reach every translator and give the slots back', async () => {
    const graph = await buildGraph(input(TREE))
    events = []
    graph.start()
    assert.deepEqual(events, ['parent-up top', 'parent-up both', 'parent-up a', 'parent-up b'])
    await graph.stop()
    assert.deepEqual(events.slice(-4), ['fini a', 'fini b', 'fini both', 'fini top'])
    const next = takeSlot(graph.top)
    assert.ok(graph.xlators.some((xl) => xl.slot === next))
  })

  test('autoloaded volumes wrap the top', async () => {
    const autoload = [{ name: 'over', type: 'test/one' }]
    const graph = await buildGraph(input(TREE, { autoload }))
    assert.equal(graph.top.name, 'over')
    assert.equal(graph.top.child.name, 'top')
  })

  test('xlator options go to the names that match and override the volfile', async () => {
    const overrides = [parseXlatorOption('?.size=3KB'), parseXlatorOption('*o*.size=4KB')]
    const graph = await buildGraph(input(TREE, { overrides }))
    assert.deepEqual(
      ['a', 'b', 'both', 'top'].map((name) => optionsOf(graph, name).size),
      [3072, 3072, 4096, 4096],
    )
  })

  test('unknown type: the error says which volume and line', async () => {
    const error = await refused(TREE.replace('test/some', 'cluster/nothing'))
    assert.equal(error.code, 'UNKNOWN_TYPE')
    assert.match(error.message, /^test.vol:10: volume 'both': type 'cluster\/nothing'/)
  })

  test('an unknown performance translator is passed through, with one warning a type', async () => {
    const wrapped = `${TREE}
      volume p1
        type performance/none
        subvolumes top
      end-volume
      volume p2
        type performance/none
        subvolumes p1
      end-volume
      volume over
        type test/one
        subvolumes p2
      end-volume`
    const graph = await buildGraph(input(wrapped))
    assert.equal(graph.find('over')!.child.name, 'top')
    assert.deepEqual(
      logged.filter((line) => line.includes('performance/none')),
      ["volume 'p1': performance/none is not available here; passed through"],
    )
  })

  const wrong: [string, string, RegExp, GlusterError['code']][] = [
    [
      'too few children',
      TREE.replace('subvolumes a b', 'subvolumes a'),
      /1 subvolumes, needs 2 to 3/,
      'VOLFILE_INVALID',
    ],
    [
      'children of a leaf',
      TREE.replace('option old x', 'subvolumes a'),
      /1 subvolumes, needs 0/,
      'VOLFILE_INVALID',
    ],
    [
      'a value of the wrong type',
      TREE.replace('2KB', 'big'),
      /volume 'a' \(test\/leaf\): option size big: invalid size/,
      'OPTION_INVALID',
    ],
    [
      'a value out of range',
      TREE.replace('2KB', '1MB'),
      /out of range \[-inf - 4096\]/,
      'OPTION_INVALID',
    ],
    ['a failing init', TREE.replaceAll('both', 'broken'), /broken is broken/, 'VOLFILE_INVALID'],
  ]
  for (const [what, text, message, code] of wrong) {
    test(`refused: ${what}; no slot is lost`, async () => {
      const before = takeSlot({} as Xlator)
      const error = await refused(text)
      assert.equal(error.code, code)
      assert.match(error.message, message)
      assert.equal(takeSlot({} as Xlator), before + 1)
    })
  }

  test('an option nobody knows is said and ignored', async () => {
    await buildGraph(input(TREE.replace('option old x', 'option nonsense x')))
    assert.match(
      logged.join('\n'),
      /volume 'b' \(test\/leaf\): option 'nonsense' is not recognized/,
    )
  })
})

describe('xlator options on the command line', () => {
  test('split at the first dot and the first equals sign', () => {
    assert.deepEqual(parseXlatorOption('*-dht.key.with.dots=a=b'), {
      pattern: '*-dht',
      key: 'key.with.dots',
      value: 'a=b',
    })
    for (const text of ['nodot=1', 'a.b', 'a.b=', '.b=1']) {
      assert.throws(() => parseXlatorOption(text), /expected VOLUME-NAME.OPTION=VALUE/)
    }
  })

  test('patterns are those of fnmatch', () => {
    const cases: [string, string, boolean][] = [
      ['*replicate*', 'vol-replicate-0', true],
      ['*-md-cache', 'vol-md-cache', true],
      ['*-md-cache', 'vol-md-cache2', false],
      ['vol-client-?', 'vol-client-1', true],
      ['vol-client-?', 'vol-client-10', false],
      ['vol-client-[0-2]', 'vol-client-2', true],
      ['vol-client-[!0-2]', 'vol-client-2', false],
      ['a.b', 'axb', false],
      ['a[b', 'a[b', true],
    ]
    for (const [pattern, name, matches] of cases) {
      assert.equal(globToRegExp(pattern).test(name), matches, `${pattern} ${name}`)
    }
  })
})

describe('reconfigure', () => {
  async function change(from: string, to: string, more: Partial<BuildInput> = {}) {
    const graph = await buildGraph(input(from, more))
    events = []
    return { graph, next: input(to, more) }
  }

  test('only what changed is told, children first', async () => {
    const to = TREE.replace('2KB', '3KB').replace(
      'subvolumes both',
      'option size 4KB\nsubvolumes both',
    )
    const { graph, next } = await change(TREE, to)
    assert.ok(sameTopology(graph.volumes, next.volfile.volumes))
    assert.equal(await reconfigureGraph(graph, next), 2)
    assert.deepEqual(events, ['reconfigure a 3072', 'reconfigure top 4096'])
    assert.equal(graph.find('a')!.givenOptions.get('size'), '3KB')
  })

  test('a key that is gone goes back to its default', async () => {
    const { graph, next } = await change(TREE, TREE.replace('option size 2KB', 'option old y'))
    await reconfigureGraph(graph, next)
    assert.equal(optionsOf(graph, 'a').size, 1024)
  })

  test('xlator options go on overriding', async () => {
    const more = { overrides: [parseXlatorOption('a.size=3KB')] }
    const { graph, next } = await change(TREE, TREE.replace('2KB', '1KB'), more)
    assert.equal(await reconfigureGraph(graph, next), 0)
    assert.equal(optionsOf(graph, 'a').size, 3072)
  })

  test('one bad value, and nobody is told anything', async () => {
    const to = TREE.replace('2KB', '3KB').replace('option old x', 'option size 1MB')
    const { graph, next } = await change(TREE, to)
    await assert.rejects(reconfigureGraph(graph, next), /volume 'b'.*out of range/)
    assert.deepEqual(events, [])
    assert.equal(optionsOf(graph, 'a').size, 2048)
  })

  test('one that refuses makes the others go back', async () => {
    const to = TREE.replace('2KB', '3KB').replace('option old x', 'option size 4KB')
    const { graph, next } = await change(TREE, to)
    refusing.add('b')
    await assert.rejects(reconfigureGraph(graph, next), /b: no/)
    assert.deepEqual(events, ['reconfigure a 3072', 'reconfigure a 2048'])
    assert.equal(graph.find('a')!.givenOptions.get('size'), '2KB')
  })

  test('another shape is told from other options', () => {
    const shape = (text: string) => parseVolfile(text, 'x').volumes
    const same = shape(TREE)
    assert.ok(sameTopology(same, shape(TREE.replace('2KB', '9KB'))))
    for (const other of [
      TREE.replace('subvolumes a b', 'subvolumes b a'),
      TREE.replace('test/some', 'test/other'),
      TREE.replace(/volume top[\s\S]*/, ''),
      TREE.replaceAll('both', 'all'),
    ]) {
      assert.ok(!sameTopology(same, shape(other)), other)
    }
  })
})

const creds = {
  uid: 0,
  gid: 0,
  pid: 0,
  groups: [],
  lkOwner: Buffer.alloc(0),
  timeFlags: 0,
  timeSec: 0,
  timeNsec: 0,
}
