import assert from 'node:assert/strict'
import { E } from '../../../src/core/errno.ts'
import { UP_SIZE, UP_TIMES } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import ioCache from '../../../xlators/performance/io-cache/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import { bench, invalidation, linked, locOf, openFd, settle, stat } from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

const PAGE = 131072

interface Setup extends Bed {
  fd: Fd
  file: Buffer
  mtime: number
}

const cacheTest = testsOf(ioCache, (bed): Setup => {
  const { b, child } = bed
  const file = Buffer.alloc(5 * PAGE + 500)
  for (let at = 0; at + 4 <= file.length; at += 4) file.writeUInt32LE(at, at)
  const s: Setup = { ...bed, fd: openFd(linked(b.graph, 'f.h')), file, mtime: 1 }
  const now = () => stat({ size: s.file.length, mtime: s.mtime, ctime: s.mtime })
  child.script = {
    readv: async (_frame, { offset, size }) => {
      const data = [s.file.subarray(offset, offset + size)]
      const eof = offset + data[0]!.length >= s.file.length
      return { errno: 0, data, size: data[0]!.length, stat: now(), eof }
    },
    fstat: () => ({ errno: 0, stat: now() }),
    stat: () => ({ errno: 0, stat: now() }),
    writev: (_frame, { size }) => ({ errno: 0, size, prestat: now(), poststat: now() }),
  }
  return s
})

async function read(s: Setup, offset: number, size: number): Promise<void> {
  const rep = await s.b.ok('readv', { fd: s.fd, offset, size, flags: 0 })
  const wanted = s.file.subarray(offset, offset + size)
  assert.ok(Buffer.concat(rep.data).equals(wanted), `bytes at ${offset}+${size}`)
  assert.equal(rep.eof, offset + size >= s.file.length)
}

const asked = (s: Setup) => s.child.named('readv').map(({ req }) => [req.offset, req.size])

cacheTest('missing pages come in one READ, then from memory at once', {}, async (s) => {
  await read(s, PAGE + 10, 2 * PAGE)
  assert.deepEqual(asked(s), [[PAGE, 3 * PAGE]])
  const hit = s.b.run('readv', { fd: openFd(s.fd.inode), offset: PAGE, size: 5, flags: 0 })
  assert.ok(!(hit instanceof Promise))
  await read(s, 0, s.file.length)
  assert.deepEqual(asked(s).slice(1), [
    [0, PAGE],
    [4 * PAGE, 2 * PAGE],
  ])
  await read(s, 5 * PAGE + 100, 1000)
  await read(s, s.file.length + 5, 10)
  assert.equal(asked(s).length, 3)
})

cacheTest('a second reader waits for the page on its way', {}, async (s) => {
  await Promise.all([read(s, 0, 10), read(s, 20, 10)])
  assert.equal(asked(s).length, 1)
})

cacheTest('after the timeout and after an open the file is asked', {}, async (s) => {
  await read(s, 0, 10)
  s.manual.pass(1000)
  await read(s, 0, 10)
  assert.equal(s.child.named('fstat').length, 1)
  s.manual.pass(1)
  s.fd.inode.openedAt = s.manual.now()
  await read(s, 0, 10)
  assert.equal(s.child.named('fstat').length, 2)
  assert.equal(asked(s).length, 1)
  s.manual.pass(1000)
  s.mtime = 2
  s.file = Buffer.alloc(3 * PAGE, 7)
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2)
})

cacheTest('a listing refutes the pages and does not confirm them', {}, async (s) => {
  const fd = openFd(s.b.graph.inodes.root)
  s.child.script.readdirp = () => {
    const listed = stat({ size: s.file.length, mtime: s.mtime, ctime: s.mtime })
    const entry = { name: 'f.h', inoHi: 0, inoLo: 2, off: 1n, type: 8, inode: s.fd.inode }
    return { errno: 0, entries: [{ ...entry, stat: listed }], eof: true }
  }
  const list = () => s.b.ok('readdirp', { fd, size: 4096, off: 0n })
  await read(s, 0, 10)
  s.manual.pass(600)
  await list()
  s.manual.pass(600)
  await read(s, 0, 10)
  assert.equal(s.child.named('fstat').length, 1)
  s.mtime = 2
  s.file = Buffer.alloc(3 * PAGE, 7)
  await list()
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2)
})

cacheTest('a changed mtime in any reply drops the pages', {}, async (s) => {
  await read(s, 0, 10)
  s.mtime = 2
  s.file = Buffer.alloc(3 * PAGE, 7)
  await s.b.ok('stat', { loc: locOf(s.fd.inode) })
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2)
})

cacheTest('a write drops pages, also those on their way', {}, async (s) => {
  s.child.hold.add('readv')
  const slow = s.b.run('readv', { fd: s.fd, offset: 0, size: 10, flags: 0 })
  await s.b.ok('writev', { fd: s.fd, data: [], size: 0, offset: 0, flags: 0 })
  const old = { data: [Buffer.alloc(PAGE, 9)], size: PAGE, stat: stat(), eof: false }
  s.child.take('readv').reply({ errno: 0, ...old })
  await slow
  s.child.hold.clear()
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2)
})

const four = { 'cache-size': '4MB', priority: '*.h:2,*.o:0' }
cacheTest('the cache is bounded', four, async (s) => {
  s.file = Buffer.alloc(6 * 2 ** 20, 1)
  for (let at = 0; at < s.file.length; at += 2 ** 20) await read(s, at, 2 ** 20)
  const used = Number(s.b.dump()['io-cache.priv|cache_used'])
  assert.ok(used <= 4 * 2 ** 20 && used > 3 * 2 ** 20)
  assert.equal(s.b.dump()['io-cache.inode|inode.weight'], '2')
  s.fd = openFd(linked(s.b.graph, 'x.o'))
  s.child.calls.length = 0
  await read(s, 0, 10)
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2, 'weight 0 is not cached')
})

cacheTest('a changed priority is for what is kept, too', {}, async (s) => {
  await read(s, 0, 10)
  s.b.reconfigure({ priority: '*:0' })
  assert.equal(s.b.dump()['io-cache.priv|cache_used'], '0')
  await read(s, 0, 10)
  await read(s, 0, 10)
  assert.equal(asked(s).length, 3)
})

cacheTest('O_DIRECT reads go down; after a lost connection the file is asked', {}, async (s) => {
  await read(s, 0, 10)
  const direct = openFd(s.fd.inode, 0o40002)
  await s.b.ok('readv', { fd: direct, offset: 0, size: 10, flags: 0 })
  assert.equal(asked(s).length, 2)
  s.child.notifyParents({ type: 'some-descendent-down' })
  await read(s, 0, 10)
  assert.equal(s.child.named('fstat').length, 1)
})

cacheTest('an upcall drops the pages', {}, async (s) => {
  await read(s, 0, 10)
  const upcall = invalidation(s.fd.inode.gfid, UP_SIZE | UP_TIMES)
  s.child.notifyParents({ type: 'upcall', upcall })
  await read(s, 0, 10)
  assert.equal(asked(s).length, 2)
})

cacheTest('file sizes outside the bounds are left alone', { 'max-file-size': '1KB' }, async (s) => {
  await read(s, 0, 10)
  await read(s, 0, 10)
  await read(s, 0, 10)
  assert.ok(asked(s).length >= 2)
  await assert.rejects(bench(ioCache, { 'min-file-size': '2KB', 'max-file-size': '1KB' }))
})

cacheTest('an error is returned and not kept', {}, async (s) => {
  const { readv } = s.child.script
  s.child.script.readv = () => ({ errno: E.IO })
  assert.equal((await s.b.run('readv', { fd: s.fd, offset: 0, size: 1, flags: 0 })).errno, E.IO)
  s.child.script.readv = readv!
  await read(s, 0, 10)
  s.fd.release()
  await settle()
  assert.equal(s.fd.released, true)
})

modelRuns(ioCache, [{}, { 'cache-timeout': '0' }, { 'cache-size': '4MB', 'min-file-size': '20KB' }])
