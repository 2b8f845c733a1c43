/** Every option of the performance translators: its default, its bounds, and a change of it live. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { GlusterError } from '../../../src/core/errors.ts'
import type { FopName, Req } from '../../../src/core/fop.ts'
import type { XlatorDefinition } from '../../../src/core/xlator.ts'
import utime from '../../../xlators/features/utime/index.ts'
import ioCache from '../../../xlators/performance/io-cache/index.ts'
import ioThreads from '../../../xlators/performance/io-threads/index.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import nlCache from '../../../xlators/performance/nl-cache/index.ts'
import openBehind from '../../../xlators/performance/open-behind/index.ts'
import quickRead from '../../../xlators/performance/quick-read/index.ts'
import readAhead from '../../../xlators/performance/read-ahead/index.ts'
import readdirAhead from '../../../xlators/performance/readdir-ahead/index.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import { bench, linked, locOf, openFd, type ScriptedChild } from '../../lib/scripted.ts'

const [KB, MB, GB] = [2 ** 10, 2 ** 20, 2 ** 30]

/** Default; another value and what it is read as; values that are refused. */
type Row = [initial: unknown, text: string, value: unknown, ...refused: string[]]

const off: Row = [false, 'on', true, 'maybe']
const on: Row = [true, 'off', false, 'maybe']
const threads: Row = [16, '64', 64, '0', '65']

/** The options of GlusterFS 10. */
const tables: readonly [XlatorDefinition, Record<string, Row>][] = [
  [
    ioThreads,
    {
      'thread-count': threads,
      'high-prio-threads': threads,
      'normal-prio-threads': threads,
      'low-prio-threads': threads,
      'least-prio-threads': [1, '64', 64, '0', '65'],
      'enable-least-priority': off,
      'idle-time': [120, '5', 5, '0', 'soon'],
      'watchdog-secs': [0, '5', 5, '-1'],
      'cleanup-disconnected-reqs': off,
      'pass-through': off,
    },
  ],
  [
    mdCache,
    {
      'md-cache-timeout': [1, '600', 600, '601', '-1'],
      'cache-posix-acl': off,
      'cache-glusterfs-acl': off,
      'cache-selinux': off,
      'cache-capability-xattrs': on,
      'cache-ima-xattrs': on,
      'cache-swift-metadata': off,
      'cache-samba-metadata': off,
      'xattr-cache-list': ['', 'user.a,user.b*', 'user.a,user.b*'],
      'md-cache-statfs': off,
      'force-readdirp': on,
      'cache-invalidation': off,
      'global-cache-invalidation': on,
      'pass-through': off,
    },
  ],
  [
    quickRead,
    {
      'max-file-size': [64 * KB, '1000KB', 1000 * KB, '1001KB', 'big'],
      'cache-timeout': [1, '60', 60, '0', '61'],
      'cache-size': [128 * MB, '1MB', MB, '33GB'],
      priority: ['', '*.c:3,*:0', '*.c:3,*:0', '*.c', '*.c:x'],
      'quick-read-cache-invalidation': off,
      'ctime-invalidation': off,
    },
  ],
  [
    openBehind,
    { 'lazy-open': on, 'read-after-open': on, 'use-anonymous-fd': off, 'pass-through': off },
  ],
  [
    ioCache,
    {
      'cache-size': [32 * MB, '4MB', 4 * MB, '3MB'],
      'cache-timeout': [1, '60', 60, '61'],
      'force-revalidate-timeout': [undefined, '60', undefined, '61'],
      'min-file-size': [0, '1KB', KB, 'small'],
      'max-file-size': [0, '1GB', GB, 'big'],
      priority: ['', '*.c:3,*:0', '*.c:3,*:0', '*.c', '*.c:x'],
      'pass-through': off,
    },
  ],
  [
    readAhead,
    {
      'page-count': [4, '16', 16, '0', '17'],
      'page-size': [128 * KB, '64MB', 64 * MB, '4095', '65MB'],
      'force-atime-update': off,
      'pass-through': off,
    },
  ],
  [
    readdirAhead,
    {
      'rda-request-size': [128 * KB, '4096', 4096, '4095', '129KB'],
      'rda-low-wmark': [4096, '0', 0, 'low'],
      'rda-high-wmark': [128 * KB, '100MB', 100 * MB, '101MB'],
      'rda-cache-limit': [10 * MB, '1GB', GB, 'all'],
      'parallel-readdir': off,
      'pass-through': off,
    },
  ],
  [
    writeBehind,
    {
      'cache-size': [MB, '1GB', GB, '511KB', '2GB'],
      'window-size': [undefined, '512KB', undefined, '511KB', '2GB'],
      'aggregate-size': [128 * KB, '4KB', 4 * KB, 'all'],
      'flush-behind': on,
      'trickling-writes': on,
      'strict-O_DIRECT': off,
      'strict-write-ordering': off,
      'resync-failed-syncs-after-fsync': off,
      'pass-through': off,
    },
  ],
  [
    nlCache,
    {
      'nl-cache-limit': [128 * KB, '10MB', 10 * MB, '101MB'],
      'nl-cache-timeout': [60, '600', 600, '601'],
      'nl-cache-positive-entry': off,
      'pass-through': off,
    },
  ],
  [utime, { noatime: on }],
]

const refuses = (key: string, text: string) => (error: unknown) =>
  error instanceof GlusterError &&
  error.code === 'OPTION_INVALID' &&
  error.message.includes(key) &&
  error.message.includes(text)

for (const [definition, rows] of tables) {
  test(`${definition.type}: every option`, async () => {
    const aliases = Object.values(definition.options).flatMap(({ alias }) => alias ?? [])
    const known = [...Object.keys(definition.options), ...aliases]
    assert.deepEqual(known.sort(), Object.keys(rows).sort())
    const b = await bench(definition)
    const now = (key: string): unknown => (b.xl.options as Record<string, unknown>)[key]
    for (const [key, [initial, text, value, ...refused]] of Object.entries(rows)) {
      assert.equal(now(key), initial, `${key} unless told`)
      for (const bad of refused) {
        const name = definition.options[key] === undefined ? '' : key
        assert.throws(() => b.reconfigure({ [key]: bad }), refuses(name, bad), `${key} ${bad}`)
        await assert.rejects(bench(definition, { [key]: bad }), `${key} ${bad}`)
        assert.equal(now(key), initial, `${key} after a refusal`)
      }
      b.reconfigure({ [key]: text })
      assert.equal(now(key), value, key)
      b.reconfigure({})
      assert.equal(now(key), initial, `${key} taken back`)
    }
  })
}

test('an alias is the option', async () => {
  for (const [definition, alias, text, key, value] of [
    [ioCache, 'force-revalidate-timeout', '60', 'cache-timeout', 60],
    [writeBehind, 'window-size', '512KB', 'cache-size', 512 * KB],
  ] as const) {
    const b = await bench(definition)
    b.reconfigure({ [alias]: text })
    assert.equal((b.xl.options as Record<string, unknown>)[key], value)
  }
})

for (const [definition, rows] of tables) {
  if (rows['pass-through'] === undefined) continue
  test(`${definition.type}: pass-through, switched live, forwards what comes as it is`, async () => {
    const b = await bench(definition)
    const child = b.child as ScriptedChild
    b.reconfigure({ 'pass-through': 'on' })
    const inode = linked(b.graph, 'f')
    const fd = openFd(inode)
    const dir = openFd(b.graph.inodes.root)
    const requests: { [K in FopName]?: Req<K> } = {
      lookup: { loc: locOf(inode) },
      stat: { loc: locOf(inode) },
      getxattr: { loc: locOf(inode), name: 'security.ima' },
      open: { loc: locOf(inode), flags: 0, fd },
      fstat: { fd },
      readv: { fd, offset: 0, size: 10, flags: 0 },
      writev: { fd, data: [Buffer.alloc(10)], size: 10, offset: 0, flags: 0 },
      flush: { fd },
      opendir: { loc: locOf(b.graph.inodes.root), fd: dir },
      readdir: { fd: dir, size: 4096, off: 0n },
      readdirp: { fd: dir, size: 4096, off: 0n },
    }
    for (const [fop, req] of Object.entries(requests) as [FopName, Req<FopName>][]) {
      child.calls.length = 0
      await b.run(fop, req)
      assert.deepEqual(
        child.calls.map((call) => call.fop),
        [fop],
      )
      assert.equal(child.calls[0]!.req, req, `${fop}: another request`)
    }
  })
}
