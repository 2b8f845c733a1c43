/** State dumps of the performance translators have stock's sections and keys, in stock's order. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { Loc } from '../../../src/core/loc.ts'
import type { XlatorDefinition } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import ioCache from '../../../xlators/performance/io-cache/index.ts'
import ioThreads from '../../../xlators/performance/io-threads/index.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import nlCache from '../../../xlators/performance/nl-cache/index.ts'
import openBehind from '../../../xlators/performance/open-behind/index.ts'
import quickRead from '../../../xlators/performance/quick-read/index.ts'
import readAhead from '../../../xlators/performance/read-ahead/index.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import { bench, linked, locOf, openFd, stat } from '../../lib/scripted.ts'
import simBrick from '../../lib/sim-brick.ts'

/** The dump as its lines. */
class Lines implements DumpSink {
  text = ''
  section(name: string): void {
    this.text += `[${name}]\n`
  }
  pair(key: string): void {
    this.text += `${key}\n`
  }
}

/** Keys by section. */
function sections(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>()
  let keys: string[] = []
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const name = /^\[(.*)\]$/.exec(line)?.[1]
    if (name === undefined) keys.push(line.replace(/=.*/, ''))
    else {
      keys = []
      if (!found.has(name)) found.set(name, keys)
    }
  }
  return found
}

const vectors = new URL('../../../../test/vectors/introspection/performance.txt', import.meta.url)
const wanted = sections(readFileSync(vectors, 'latin1'))

const translators: readonly [XlatorDefinition, string[]][] = [
  [ioCache, ['io-cache.priv', 'io-cache.inode']],
  [ioThreads, ['performance/io-threads.xl-io-threads']],
  [mdCache, ['performance/md-cache.xl-md-cache']],
  [nlCache, ['performance/nl-cache.xl-nl-cache', 'xlator.performance.nl-cache.nlc_inode']],
  [openBehind, ['xlator.performance.open-behind.priv']],
  [quickRead, ['xlator.performance.quick-read.priv']],
  [readAhead, ['xlator.performance.read-ahead.priv', 'xlator.performance.read-ahead.file']],
  [
    writeBehind,
    ['xlator.performance.write-behind.priv', 'xlator.performance.write-behind.wb_inode'],
  ],
]

for (const [definition, names] of translators) {
  test(`${definition.type}: the dump has the keys of stock's`, async () => {
    const b = await bench(definition, {}, simBrick)
    const root = b.graph.inodes.root
    const inode = linked(b.graph, 'f', { gfid: stat().gfid })
    const fd = openFd(inode)
    // something to show: an absent name, a file that was read
    await b.run('lookup', { loc: locOf(linked(b.graph, 'g')) })
    const absent = b.graph.inodes.newInode()
    await b.run('lookup', { loc: Loc.ofName(root, 'none', absent) })
    await b.run('readv', { fd, offset: 0, size: 10, flags: 0 })
    const sink = new Lines()
    b.xl.dump?.(sink)
    for (const one of [root, inode]) b.xl.dumpInode?.(one, sink)
    b.xl.dumpFd?.(fd, sink)
    const found = sections(sink.text)
    for (const name of names) {
      const own = name.replace(/\.xl-.*/, '.xl')
      const keys = (wanted.get(name) ?? assert.fail(`no ${name} in the vectors`)).filter(
        // of pages only, which an empty file has none of
        (key) => key !== 'last-cache-validation-time',
      )
      const ours = found.get(own) ?? assert.fail(`no section ${own}:\n${sink.text}`)
      assert.deepEqual(
        ours.filter((key) => keys.includes(key)).filter((key, at, all) => all.indexOf(key) === at),
        keys,
        own,
      )
    }
  })
}
