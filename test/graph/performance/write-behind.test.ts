import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_GETLK, F_SETLK, F_WRLCK, type FopName, type Req } from '../../../src/core/fop.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_TRUNC } from '../../../src/core/open-flags.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import { LIES_MAX, SENT_MAX } from '../../../xlators/performance/write-behind/pending.ts'
import { withManualClock } from '../../lib/manual-clock.ts'
import { modelRuns } from '../../lib/model-run.ts'
import {
  type Bench,
  bench,
  benchStack,
  isPending,
  linked,
  locOf,
  openFd,
  type ScriptedChild,
  scripted,
  settle,
  stat,
} from '../../lib/scripted.ts'

interface Setup {
  b: Bench
  child: ScriptedChild
  fd: Fd
}

async function setup(given: Record<string, string> = {}): Promise<Setup> {
  const b = await bench(writeBehind, given)
  const child = b.child as ScriptedChild
  child.hold.add('writev')
  const attributes = stat({ size: 0 })
  const changed = { errno: 0, prestat: attributes, poststat: attributes } as const
  child.script = {
    flush: () => ({ errno: 0 }),
    fsync: () => changed,
    stat: () => ({ errno: 0, stat: attributes }),
    fstat: () => ({ errno: 0, stat: attributes }),
    setattr: () => changed,
    ftruncate: () => changed,
    readv: () => ({ errno: 0, data: [], size: 0, stat: attributes, eof: true }),
    lk: (_frame, req) => ({ errno: 0, flock: req.flock }),
  }
  return { b, child, fd: openFd(linked(b.graph, 'f')) }
}

const write = (s: Setup, offset: number, size: number, fd = s.fd, flags = 0) =>
  s.b.run('writev', { fd, offset, data: [Buffer.alloc(size, 1)], size, flags })

const read = (s: Setup, offset: number, size: number) =>
  s.b.run('readv', { fd: s.fd, offset, size, flags: 0 })

function done(s: Setup, size?: number): void {
  const call = s.child.take('writev')
  const written = size ?? call.req.size
  const poststat = stat({ size: call.req.offset + written })
  call.reply({ errno: 0, size: written, prestat: new Iatt(), poststat })
}

const fail = (s: Setup, errno: (typeof E)[keyof typeof E]): void =>
  s.child.take('writev').reply({ errno })

test('a write is answered at once, with empty attributes', async () => {
  const s = await setup()
  const rep = write(s, 0, 100)
  assert.ok(!(rep instanceof Promise))
  assert.ok(rep.errno === 0 && rep.size === 100 && rep.poststat.ctime === 0)
  assert.equal(s.child.held.length, 1)
})

test('small writes are gathered while one is on its way', async () => {
  const s = await setup()
  for (let i = 0; i < 64; i++) await write(s, i * 4096, 4096)
  const sizes = s.child.named('writev').map((call) => call.req.size)
  assert.deepEqual(sizes, [4096, 128 * 1024])
  done(s)
  done(s)
  await settle()
  const last = s.child.named('writev').at(-1)!.req
  assert.deepEqual([last.offset, last.size], [33 * 4096, 31 * 4096])
})

test('a stream is gathered for a moment also when nothing is on its way', async () => {
  await withManualClock(async (manual) => {
    const s = await setup()
    await write(s, 0, 4096)
    done(s)
    await settle()
    await write(s, 4096, 4096)
    await write(s, 8192, 4096)
    assert.equal(s.child.held.length, 0)
    manual.pass(2)
    assert.deepEqual([s.child.held.length, s.child.calls.length], [1, 2])
    done(s)
    await settle()
    await write(s, 12288, 4096)
    void s.b.run('fsync', { fd: s.fd, datasync: false })
    assert.equal(s.child.held.length, 1, 'a sync does not wait')
    done(s)
    await settle()
    await write(s, 100_000, 4096)
    assert.equal(s.child.held.length, 1, 'elsewhere it is no stream')
  })
})

test('adjacent gathered writes go in one WRITE', async () => {
  const s = await setup()
  await write(s, 0, 128 * 1024)
  // These overlap the first and one another's ends: they wait, then travel together.
  for (let i = 0; i < 4; i++) await write(s, 1000 + i * 100_000, 100_000)
  const before = s.child.calls.length
  done(s)
  await settle()
  assert.ok(before <= 4 && s.child.calls.length === before + 1)
})

test('with trickling-writes off data waits to grow until somebody needs it', async () => {
  const s = await setup({ 'trickling-writes': 'off' })
  await write(s, 0, 100)
  await settle()
  assert.equal(s.child.calls.length, 0)
  const synced = s.b.run('fsync', { fd: s.fd, datasync: false })
  assert.equal(s.child.calls.length, 1)
  done(s)
  assert.equal((await synced).errno, 0)
})

test('reads wait for the older writes they overlap, not for others', async () => {
  const s = await setup()
  await write(s, 0, 100)
  done(s)
  await settle()
  await write(s, 10_000, 100)
  assert.equal(await isPending(read(s, 0, 50)), false)
  const near = read(s, 10_050, 10)
  assert.equal(await isPending(near), true)
  const hole = read(s, 5000, 10)
  assert.equal(await isPending(hole), true, 'the hole is not there before the write behind it')
  done(s)
  assert.equal((await near).errno, 0)
  assert.equal((await hole).errno, 0)
})

test('stat, setattr, truncate and fsync wait; writes after them do not hold them up', async () => {
  const s = await setup()
  const { b, fd } = s
  await write(s, 0, 200_000)
  const waiting = [
    b.run('stat', { loc: locOf(fd.inode) }),
    b.run('setattr', { loc: locOf(fd.inode), stat: new Iatt(), valid: 0 }),
    b.run('ftruncate', { fd, offset: 100 }),
    b.run('fsync', { fd, datasync: false }),
  ]
  await write(s, 300_000, 200_000)
  for (const rep of waiting) assert.equal(await isPending(rep), true)
  done(s)
  for (const rep of waiting) assert.equal((await rep).errno, 0)
  assert.equal(s.child.held.length, 1)
})

type Sent = { [K in FopName]?: Req<K> }

/** What must not be sent before the older writes of the file, by fop. */
function conflicting({ b, fd }: Setup): Sent[] {
  const { inode } = fd
  const [loc, other] = [locOf(inode), linked(b.graph, 'other')]
  const to = locOf(other)
  const [offset, len, size] = [0, 10, 10]
  const named = new Loc(inode, b.graph.inodes.root, 'new')
  const attributes = { stat: new Iatt(), valid: 0 }
  const copy = { flags: 0, size }
  return [
    { stat: { loc } },
    { fstat: { fd } },
    { lookup: { loc } },
    { truncate: { loc, offset: 100 } },
    { ftruncate: { fd, offset: 100 } },
    { open: { loc, flags: O_TRUNC, fd: openFd(inode) } },
    { setattr: { loc, ...attributes } },
    { fsetattr: { fd, ...attributes } },
    { setxattr: { loc, dict: new Dict(), flags: 0 } },
    { fsetxattr: { fd, dict: new Dict(), flags: 0 } },
    { link: { oldloc: loc, newloc: named } },
    { rename: { oldloc: loc, newloc: named } },
    { rename: { oldloc: to, newloc: loc } },
    { fallocate: { fd, mode: 0, offset, len } },
    { discard: { fd, offset, len } },
    { zerofill: { fd, offset, len } },
    { seek: { fd, offset, what: 0 } },
    { rchecksum: { fd, offset, len } },
    { copy_file_range: { fdIn: fd, offIn: 0, fdOut: openFd(other), offOut: 0, ...copy } },
    { copy_file_range: { fdIn: openFd(other), offIn: 0, fdOut: fd, offOut: 0, ...copy } },
    { fsync: { fd, datasync: true } },
    { flush: { fd } },
  ]
}

test('conflicting fops reach the bricks after the older writes, and wait for no younger', async () => {
  const count = conflicting(await setup()).length
  for (let i = 0; i < count; i++) {
    const s = await setup()
    const [[fop, req]] = Object.entries(conflicting(s)[i]!) as [[FopName, Req<FopName>]]
    await write(s, 0, 200_000)
    const rep = s.b.run(fop, req)
    await write(s, 300_000, 200_000)
    assert.equal(await isPending(rep), true, `${fop} (${i}) does not wait`)
    assert.deepEqual(s.child.named(fop), [], `${fop} (${i}) was sent`)
    done(s)
    await rep
    assert.equal(s.child.named(fop).length, 1, `${fop} (${i})`)
    assert.equal(s.child.held.length, 1, 'the younger write is under way')
  }
})

test('what does not depend on the data does not wait: unlink, getxattr, asking for a lock', async () => {
  const s = await setup()
  await write(s, 0, 100)
  const loc = locOf(s.fd.inode)
  const flock = { type: F_WRLCK, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
  assert.equal(await isPending(s.b.run('unlink', { loc, flags: 0 })), false)
  assert.equal(await isPending(s.b.run('getxattr', { loc, name: 'user.x' })), false)
  assert.equal(await isPending(s.b.run('lk', { fd: s.fd, cmd: F_GETLK, flock })), false)
})

test('neither unlink nor the last close drops what was answered', async () => {
  const s = await setup()
  await write(s, 0, 200_000)
  await write(s, 100_000, 200_000)
  await s.b.run('unlink', { loc: locOf(s.fd.inode), flags: 0 })
  s.fd.release()
  await settle()
  assert.equal(s.fd.released, false, 'the bricks need it')
  done(s)
  await settle()
  assert.equal(s.child.named('writev').at(-1)!.req.offset, 100_000)
  done(s)
  await settle()
  assert.equal(s.fd.released, true)
})

test('only what one owner wrote through one fd is gathered', async () => {
  const s = await setup()
  await write(s, 0, 200_000)
  const other = openFd(s.fd.inode)
  const owner = { ...s.b.creds, lkOwner: Buffer.from('12345678') }
  const data = [Buffer.alloc(100)]
  await write(s, 200_000, 100)
  await write(s, 200_100, 100, other)
  await s.b.run('writev', { fd: other, offset: 200_200, data, size: 100, flags: 0 }, owner)
  void s.b.run('fsync', { fd: other, datasync: false })
  const sent = s.child.named('writev').slice(1)
  assert.deepEqual(
    sent.map(({ req, creds }) => [req.fd === other, creds.lkOwner.length, req.size]),
    [
      [false, 0, 100],
      [true, 0, 100],
      [true, 8, 100],
    ],
  )
})

test('many small writes all over a file wait, too, however large the window', async () => {
  const s = await setup({ 'window-size': '1GB' })
  for (let i = 0; i < LIES_MAX; i++) assert.ok(!(write(s, i * 1000, 1) instanceof Promise), `${i}`)
  const next = write(s, LIES_MAX * 1000, 1)
  assert.equal(await isPending(next), true)
  assert.equal(s.child.held.length, SENT_MAX)
  done(s)
  assert.equal((await next).errno, 0)
})

test('overlapping writes keep their order', async () => {
  const s = await setup()
  await write(s, 0, 200_000)
  await write(s, 100_000, 200_000)
  await write(s, 500_000, 200_000)
  const offsets = () => s.child.named('writev').map((call) => call.req.offset)
  assert.deepEqual(offsets(), [0, 500_000])
  done(s)
  await settle()
  assert.deepEqual(offsets(), [0, 500_000, 100_000])
})

test('appends and strict ordering: one after the other', async () => {
  const append = await setup()
  await write(append, 0, 200_000, append.fd, 0o2000)
  await write(append, 200_000, 200_000, append.fd, 0o2000)
  assert.equal(append.child.calls.length, 1)
  done(append)
  await settle()
  assert.equal(append.child.calls.length, 2)
  const strict = await setup({ 'strict-write-ordering': 'on' })
  await write(strict, 0, 200_000)
  await write(strict, 400_000, 200_000)
  assert.equal(strict.child.calls.length, 1)
})

test('the window bounds what is unwritten; one write may exceed it', async () => {
  const s = await setup({ 'window-size': '512KB' })
  const size = 256 * 1024
  for (let i = 0; i < 3; i++) assert.equal(await isPending(write(s, i * size, size)), false)
  const fourth = write(s, 3 * size, size)
  assert.equal(await isPending(fourth), true)
  done(s)
  assert.equal((await fourth).errno, 0)
  assert.equal(s.b.dump()['xlator.performance.write-behind.wb_inode|window_current'], `${3 * size}`)
})

test('O_SYNC, O_DIRECT with strict-O_DIRECT and pass-through: the bricks answer', async () => {
  const cases: [Record<string, string>, number, boolean][] = [
    [{}, 0o4010000, true],
    [{}, 0o10000, true],
    [{}, 0o40000, false],
    [{ 'strict-O_DIRECT': 'on' }, 0o40000, true],
    [{ 'pass-through': 'on' }, 0, true],
  ]
  for (const [given, flags, waits] of cases) {
    const s = await setup(given)
    assert.equal(await isPending(write(s, 0, 100, s.fd, flags)), waits, `flags ${flags}`)
  }
})

test('an error is returned by the next write of that fd, once', async () => {
  const s = await setup()
  const other = openFd(s.fd.inode)
  await write(s, 0, 100)
  fail(s, E.NOSPC)
  await settle()
  assert.equal((await write(s, 1_000_000, 100, other)).errno, 0)
  assert.equal((await write(s, 200, 100)).errno, E.NOSPC)
})

test('an error is returned by flush, and the data is dropped', async () => {
  const s = await setup()
  await write(s, 0, 100)
  fail(s, E.DQUOT)
  await settle()
  const flushed = s.b.run('flush', { fd: s.fd })
  assert.equal(s.child.named('writev').length, 2, 'tried again')
  fail(s, E.DQUOT)
  assert.equal((await flushed).errno, E.DQUOT)
  assert.equal((await s.b.run('flush', { fd: s.fd })).errno, 0)
  assert.equal((await read(s, 0, 10)).errno, 0)
})

test('data that can be written at the second try is not an error', async () => {
  const s = await setup()
  await write(s, 0, 100)
  fail(s, E.NOTCONN)
  await settle()
  const synced = s.b.run('fsync', { fd: s.fd, datasync: true })
  done(s)
  assert.equal((await synced).errno, 0)
})

test('an fsync of any fd hears of it; a flush of another fd neither hears nor drops', async () => {
  const s = await setup()
  const other = openFd(s.fd.inode)
  await write(s, 0, 100)
  const flushed = s.b.run('flush', { fd: other })
  const synced = s.b.run('fsync', { fd: other, datasync: false })
  fail(s, E.IO)
  assert.equal((await flushed).errno, 0)
  assert.equal((await synced).errno, E.IO)
  const own = s.b.run('fsync', { fd: s.fd, datasync: false })
  fail(s, E.IO)
  assert.equal((await own).errno, E.IO)
  assert.equal((await s.b.run('fsync', { fd: s.fd, datasync: false })).errno, 0)
})

test('resync-failed-syncs-after-fsync keeps the data until flush', async () => {
  const s = await setup({ 'resync-failed-syncs-after-fsync': 'on' })
  await write(s, 0, 100)
  const synced = s.b.run('fsync', { fd: s.fd, datasync: false })
  fail(s, E.NOSPC)
  assert.equal((await synced).errno, E.NOSPC)
  const flushed = s.b.run('flush', { fd: s.fd })
  done(s)
  assert.equal((await flushed).errno, 0)
})

test('reads of failed data fail with its errno, and so do those of data stuck behind', async () => {
  const s = await setup()
  await write(s, 0, 200_000)
  await write(s, 100_000, 200_000)
  const stuck = read(s, 250_000, 10)
  fail(s, E.IO)
  assert.equal((await stuck).errno, E.IO)
  const flushed = s.b.run('flush', { fd: s.fd })
  fail(s, E.IO)
  await settle()
  done(s)
  assert.equal((await flushed).errno, E.IO)
  assert.equal(s.b.dump()['xlator.performance.write-behind.wb_inode|window_current'], '0')
})

test('a failure lets waiting writers go', async () => {
  const s = await setup({ 'window-size': '512KB' })
  await write(s, 0, 600_000)
  const waiting = write(s, 700_000, 100)
  fail(s, E.NOSPC)
  assert.equal((await waiting).errno, E.NOSPC)
})

test('the rest of a short write is sent again', async () => {
  const s = await setup()
  await write(s, 0, 200_000)
  done(s, 150_000)
  await settle()
  const again = s.child.named('writev').at(-1)!.req
  assert.deepEqual([again.offset, again.size], [150_000, 50_000])
  assert.equal(Buffer.concat(again.data).length, 50_000)
})

test('flush-behind answers before the brick; the fd lives until it did', async () => {
  const s = await setup()
  s.child.hold.add('flush')
  const flushed = s.b.run('flush', { fd: s.fd })
  assert.ok(!(flushed instanceof Promise))
  s.fd.release()
  assert.equal(s.fd.released, false)
  s.child.take('flush').reply({ errno: 0 })
  await settle()
  assert.equal(s.fd.released, true)
  assert.equal(s.b.graph.pool.count, 0)
})

test('flush waits for the brick when off, and on inodes with locks', async () => {
  const off = await setup({ 'flush-behind': 'off' })
  off.child.hold.add('flush')
  assert.equal(await isPending(off.b.run('flush', { fd: off.fd })), true)
  const s = await setup()
  const flock = { type: F_WRLCK, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
  await s.b.ok('lk', { fd: s.fd, cmd: F_SETLK, flock })
  s.child.hold.add('flush')
  assert.equal(await isPending(s.b.run('flush', { fd: s.fd })), true)
})

class Passing extends Xlator {}

test('on a dispersed volume the flush of a written fd waits: others find the size', async () => {
  const type = 'cluster/disperse'
  const disperse = defineXlator({ type, class: Passing, options: {}, children: 1 })
  const layers: Parameters<typeof benchStack>[0] = [
    [disperse, {}],
    [writeBehind, {}],
  ]
  const b = await benchStack(layers, scripted)
  const child = b.child as ScriptedChild
  child.script.writev = async (_frame, req) => {
    const now = stat({ size: req.size })
    return { errno: 0, size: req.size, prestat: now, poststat: now }
  }
  child.hold.add('flush')
  const inode = linked(b.graph, 'f')
  const s: Setup = { b, child, fd: openFd(inode) }
  await write(s, 0, 100)
  assert.equal(await isPending(b.run('flush', { fd: s.fd })), true)
  assert.equal(await isPending(b.run('flush', { fd: openFd(inode, 0) })), false)
})

test('unlocking waits for what was written under the lock', async () => {
  const s = await setup()
  await write(s, 0, 100)
  const flock = { type: 2, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
  const unlocked = s.b.run('lk', { fd: s.fd, cmd: F_SETLK, flock })
  assert.equal(await isPending(unlocked), true)
  done(s)
  assert.equal((await unlocked).errno, 0)
})

test('replies beside unwritten data have no attributes', async () => {
  const s = await setup()
  await write(s, 0, 100)
  done(s)
  await settle()
  await write(s, 10_000, 100)
  const beside = await read(s, 0, 50)
  assert.ok(beside.errno === 0 && beside.stat.ctime === 0)
  const synced = write(s, 0, 10, s.fd, 0o10000)
  await settle()
  const through = s.child.held.splice(1, 1)[0]!
  through.reply({ errno: 0, size: 10, prestat: stat(), poststat: stat() } as never)
  const rep = await synced
  assert.ok(rep.errno === 0 && rep.poststat.ctime === 0)
})

test('readdirp hides attributes of files with unwritten data, also written meanwhile', async () => {
  const s = await setup()
  s.child.hold.add('readdirp')
  const dir = openFd(s.b.graph.inodes.root)
  await write(s, 0, 100)
  const listed = s.b.run('readdirp', { fd: dir, size: 4096, off: 0n })
  done(s)
  await settle()
  const entries = ['f', 'g'].map((name) => {
    const inode = name === 'f' ? s.fd.inode : linked(s.b.graph, name)
    const common = { name, inoHi: 0, inoLo: 0, off: 1n, type: 8 }
    return { ...common, inode, stat: stat({ gfid: inode.gfid }) }
  })
  s.child.take('readdirp').reply({ errno: 0, entries, eof: true })
  const rep = await listed
  assert.ok(rep.errno === 0)
  const hidden = rep.entries.filter((one) => one.stat === undefined && one.inode === undefined)
  assert.deepEqual(
    hidden.map((one) => one.name),
    ['f'],
  )
})

test('small writes do not pin the buffers they came in', async () => {
  const s = await setup()
  const data = [Buffer.alloc(1024 * 1024).subarray(0, 4096)]
  await s.b.run('writev', { fd: s.fd, offset: 0, data, size: 4096, flags: 0 })
  assert.ok(s.child.take('writev').req.data[0]!.buffer.byteLength < 65536)
})

test('nothing is kept of closed files', async () => {
  const s = await setup()
  await write(s, 0, 100)
  done(s)
  await s.b.run('flush', { fd: s.fd })
  s.fd.release()
  await settle()
  assert.equal(s.fd.released, true)
  assert.equal(s.b.dump()['xlator.performance.write-behind.priv|pending_inodes'], '0')
})

modelRuns(writeBehind, [
  {},
  { 'trickling-writes': 'off', 'flush-behind': 'off' },
  { 'strict-write-ordering': 'on', 'window-size': '512KB' },
  { 'aggregate-size': '8KB', 'strict-O_DIRECT': 'on' },
  { 'pass-through': 'on' },
])
