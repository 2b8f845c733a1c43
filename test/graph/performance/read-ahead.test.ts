import assert from 'node:assert/strict'
import { E } from '../../../src/core/errno.ts'
import { UP_SIZE, UP_TIMES } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import readAhead from '../../../xlators/performance/read-ahead/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import { invalidation, linked, openFd, settle, stat } from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

const PAGE = 131072

interface Setup extends Bed {
  fd: Fd
  file: Buffer
}

const aheadTest = testsOf(readAhead, (bed): Setup => {
  const { b, child } = bed
  const file = Buffer.alloc(20 * PAGE + 500)
  for (let at = 0; at < file.length; at += 4) file.writeUInt32LE(at, at)
  child.script = {
    readv: async (_frame, { offset, size }) => {
      const data = [file.subarray(offset, offset + size)]
      const end = offset + data[0]!.length
      return { errno: 0, data, size: data[0]!.length, stat: stat(), eof: end >= file.length }
    },
    writev: (_frame, { size }) => ({ errno: 0, size, prestat: stat(), poststat: stat() }),
  }
  return { ...bed, fd: openFd(linked(b.graph, 'f')), file }
})

async function read(s: Setup, offset: number, size: number): Promise<void> {
  const rep = await s.b.ok('readv', { fd: s.fd, offset, size, flags: 0 })
  const wanted = s.file.subarray(offset, offset + size)
  assert.ok(Buffer.concat(rep.data).equals(wanted), `bytes at ${offset}+${size}`)
  assert.equal(rep.size, wanted.length)
  assert.equal(rep.eof, offset + size >= s.file.length)
}

const asked = (s: Setup) => s.child.named('readv').map(({ req }) => [req.offset, req.size])

aheadTest('a sequence is read ahead in a growing window', {}, async (s) => {
  await read(s, 0, PAGE)
  assert.deepEqual(asked(s), [
    [PAGE, PAGE],
    [0, PAGE],
  ])
  await settle()
  await read(s, PAGE, PAGE)
  assert.deepEqual(asked(s).slice(2), [[2 * PAGE, 2 * PAGE]])
  for (let page = 2; page < 20; page++) await read(s, page * PAGE, PAGE)
  const total = asked(s).length
  assert.ok(total <= 14, `${total} READs for 20 pages`)
  const clip = (at: number): number => Math.min(at, s.file.length)
  const ahead = asked(s).reduce((sum, [at, size]) => sum + clip(at! + size!) - clip(at!), 0)
  assert.ok(ahead <= s.file.length, 'nothing is read twice')
})

aheadTest('small reads are answered from what was read ahead, up to the end', {}, async (s) => {
  s.file = s.file.subarray(0, 3 * PAGE + 500)
  const { file } = s
  s.child.script.readv = async (_frame, { offset, size }) => {
    const data = [file.subarray(offset, offset + size)]
    const end = offset + data[0]!.length
    return { errno: 0, data, size: data[0]!.length, stat: stat(), eof: end >= file.length }
  }
  for (let at = 0; at < s.file.length; at += 10_000) await read(s, at, 10_000)
  assert.ok(asked(s).length < 20)
  await read(s, s.file.length, 100)
})

aheadTest('a jump drops the window', {}, async (s) => {
  await read(s, 0, PAGE)
  await read(s, 10 * PAGE, 100)
  await settle()
  assert.equal(asked(s).length, 3)
  await read(s, PAGE, 100)
  assert.deepEqual(asked(s).at(-1), [PAGE, 100])
})

aheadTest('a write drops what any fd read ahead', {}, async (s) => {
  await read(s, 0, PAGE)
  await settle()
  const other = openFd(s.fd.inode)
  await s.b.ok('writev', { fd: other, data: [], size: 0, offset: 0, flags: 0 })
  s.child.calls.length = 0
  await read(s, PAGE, 100)
  assert.deepEqual(asked(s).at(-1), [PAGE, 100])
})

aheadTest('old data is not used', {}, async (s) => {
  await read(s, 0, PAGE)
  await settle()
  s.manual.pass(1001)
  s.child.calls.length = 0
  await read(s, PAGE, PAGE)
  assert.ok(asked(s).some(([offset]) => offset === PAGE))
})

aheadTest('a chunk that failed is read again for its reader', {}, async (s) => {
  const { readv } = s.child.script
  s.child.script.readv = (frame, req) => (req.offset >= PAGE ? { errno: E.IO } : readv!(frame, req))
  await read(s, 0, PAGE)
  await settle()
  s.child.script.readv = readv!
  await read(s, PAGE, 1000)
  assert.deepEqual(asked(s).at(-1), [PAGE, 1000])
})

aheadTest('upcalls and lost connections drop what was read ahead', {}, async (s) => {
  const upcall = invalidation(s.fd.inode.gfid, UP_SIZE | UP_TIMES)
  for (const event of [{ type: 'upcall', upcall }, { type: 'child-down' }] as const) {
    for (let at = 0; at < 4; at++) await read(s, at * PAGE, PAGE)
    await settle()
    s.child.calls.length = 0
    s.child.notifyParents(event)
    await read(s, 4 * PAGE, 10)
    const offsets = asked(s).map(([offset]) => offset)
    assert.ok(offsets.includes(4 * PAGE), event.type)
    s.fd = openFd(s.fd.inode)
  }
})

aheadTest('O_DIRECT and write-only fds are left alone', {}, async (s) => {
  s.fd = openFd(s.fd.inode, 0o40000)
  await read(s, 0, PAGE)
  await read(s, PAGE, PAGE)
  assert.equal(asked(s).length, 2)
})

aheadTest('force-atime-update reads a byte', { 'force-atime-update': 'on' }, async (s) => {
  await read(s, 0, PAGE)
  await settle()
  await read(s, PAGE, 100)
  assert.deepEqual(asked(s).at(-1), [PAGE, 1])
})

aheadTest('the fd lives until what was read ahead is there', {}, async (s) => {
  await read(s, 0, 100)
  s.child.hold.add('readv')
  void s.b.run('readv', { fd: s.fd, offset: 100, size: PAGE, flags: 0 })
  await settle()
  assert.equal(s.child.held.length, 2)
  s.fd.release()
  assert.equal(s.fd.released, false)
  for (let i = 0; i < 2; i++) s.child.take('readv').reply({ errno: E.IO })
  await settle()
  assert.equal(s.fd.released, true)
})

aheadTest('what was read of another state of the file is not used', {}, async (s) => {
  await read(s, 0, PAGE)
  await settle()
  const before = asked(s).length
  s.child.script.fstat = () => ({ errno: 0, stat: stat({ mtime: 100 }) })
  await s.b.ok('fstat', { fd: s.fd })
  await read(s, PAGE, 1000)
  assert.equal(asked(s).filter(([at, size]) => at === PAGE && size === 1000).length, 0)
  assert.ok(asked(s).length >= before)
  s.child.script.fstat = () => ({ errno: 0, stat: stat({ mtime: 101 }) })
  s.manual.pass(1)
  await s.b.ok('fstat', { fd: s.fd })
  await read(s, PAGE + 1000, 1000)
  assert.equal(asked(s).filter(([at, size]) => at === PAGE + 1000 && size === 1000).length, 1)
})

aheadTest('nor what was asked for before that state was seen', {}, async (s) => {
  const { readv } = s.child.script
  s.child.hold.add('readv')
  const first = s.b.run('readv', { fd: s.fd, offset: 0, size: PAGE, flags: 0 })
  await settle()
  s.manual.pass(1)
  s.child.script.fstat = () => ({ errno: 0, stat: stat({ mtime: 101 }) })
  await s.b.ok('fstat', { fd: s.fd })
  s.child.hold.clear()
  for (const call of s.child.held.splice(0)) {
    call.reply(await readv!(s.b.graph.pool.begin(s.b.xl, 'x', s.b.creds), call.req as never))
  }
  await first
  await settle()
  await read(s, PAGE, 1000)
  assert.equal(asked(s).filter(([at, size]) => at === PAGE && size === 1000).length, 1)
})

modelRuns(readAhead, [
  {},
  { 'page-size': '4096', 'page-count': '16' },
  { 'force-atime-update': 'on', 'page-size': '8192' },
])
