import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fd } from '../../../src/core/fd.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import { type DumpedBridge, statedumpText } from '../../../src/observe/statedump.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import { bench, dirStat, linked, locOf, openFd } from '../../lib/scripted.ts'

async function dumped(files: number) {
  const b = await bench(writeBehind)
  const directory = linked(b.graph, 'd', dirStat())
  const inodes = Array.from({ length: files }, (_, i) => linked(b.graph, `f${i}`, {}, directory))
  const bridge = Object.assign(Object.create(b.graph.top), {
    name: 'fuse',
    tableLimits: { lruLimit: 65536, invalidateSize: 7 },
    dumpFiles: () => undefined,
  }) as DumpedBridge
  return {
    b,
    inodes,
    text: () => statedumpText({ pool: b.graph.pool, root: bridge, graph: b.graph }),
  }
}

test('inodes in use and idle ones, with what translators keep on them', async () => {
  const { b, inodes, text } = await dumped(2)
  const fd = openFd(inodes[1]!)
  b.graph.inodes.countLookup(inodes[1]!)
  const dump = text()
  const itable = 'xlator.mount.fuse.itable'
  // the root, the directory with its two children, the open file; the other file is idle
  assert.match(dump, new RegExp(`${itable}.active_size=3\n${itable}.lru_size=1\n`))
  assert.match(dump, new RegExp(`${itable}.invalidate_size=7\n`))
  const entry = (section: string) =>
    new RegExp(`\\[${itable.replaceAll('.', '\\.')}\\.${section}\\]\n((?:.+\n)+)`).exec(dump)?.[1]
  assert.equal(
    entry('active.3'),
    `gfid=${gfidText(inodes[1]!.gfid)}\nnlookup=2\nfd-count=1\nactive-fd-count=1\nref=1\n` +
      'invalidate-sent=0\nia_type=1\n',
  )
  assert.match(entry('active.2')!, /^ref=2$/m)
  assert.match(entry('active.2')!, /^ia_type=2$/m)
  assert.match(entry('lru.1')!, /^nlookup=1\nfd-count=0$/m)
  const after = dump.slice(dump.indexOf('itable.lru.1]'))
  assert.match(after, /^\[xlator\.performance\.write-behind\.wb_inode\]\npath=\/d\/f0\n/m)
  fd.release()
})

test('a full table and a thousand calls are dumped in time', async () => {
  const { b, inodes, text } = await dumped(65536)
  for (let i = 0; i < 1000; i++) {
    const frame = b.graph.pool.begin(b.graph.top, 'READ', ROOT_CREDS)
    const fd = new Fd(inodes[i]!, 0, 1)
    void frame.wind(b.graph.top, 'readv', { fd, size: 1, offset: 0, flags: 0 })
    void frame.wind(b.graph.top, 'stat', { loc: locOf(inodes[i]!) })
  }
  // CPU time: the machine may have other things to do
  const before = process.cpuUsage()
  const dump = text()
  const used = process.cpuUsage(before)
  const ms = (used.user + used.system) / 1000
  assert.ok(ms < 1500, `${ms} ms`)
  assert.match(dump, /itable\.lru_size=65536\n/)
  assert.equal(dump.match(/^\[global\.callpool\.stack\.\d+\]$/gm)!.length, 1000)
})
