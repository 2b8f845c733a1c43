import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import openBehind from '../../../xlators/performance/open-behind/index.ts'
import { withManualClock } from '../../lib/manual-clock.ts'
import { modelRuns } from '../../lib/model-run.ts'
import {
  type Bench,
  bench,
  isPending,
  linked,
  locOf,
  type ScriptedChild,
  settle,
  stat,
} from '../../lib/scripted.ts'

interface Setup {
  b: Bench
  child: ScriptedChild
  open: (flags?: number) => Promise<Fd>
  names: () => string[]
}

async function setup(given: Record<string, string> = {}): Promise<Setup> {
  const b = await bench(openBehind, given)
  const child = b.child as ScriptedChild
  const inode = linked(b.graph, 'f')
  const now = stat({ gfid: inode.gfid })
  const gone = { errno: 0, preparent: now, postparent: now } as const
  child.script = {
    open: (_frame, req) => ({ errno: 0, fd: req.fd }),
    readv: () => ({ errno: 0, data: [], size: 0, stat: now, eof: true }),
    fstat: () => ({ errno: 0, stat: now }),
    seek: () => ({ errno: 0, offset: 0 }),
    flush: () => ({ errno: 0 }),
    unlink: () => gone,
    setxattr: () => ({ errno: 0 }),
    setattr: () => ({ errno: 0, prestat: now, poststat: now }),
  }
  const open = async (flags = 0): Promise<Fd> => {
    const fd = new Fd(inode, flags, 1)
    await b.ok('open', { loc: locOf(inode), fd, flags })
    return fd.bind()
  }
  return { b, child, open, names: () => child.calls.map((call) => call.fop) }
}

const O_DIRECT = 0o40000
const read = (s: Setup, fd: Fd) => s.b.run('readv', { fd, size: 1, offset: 0, flags: 0 })

test('open, close: nothing is sent', async () => {
  const s = await setup()
  const fd = await s.open()
  assert.equal((await s.b.run('flush', { fd })).errno, 0)
  fd.release()
  await settle()
  assert.deepEqual(s.names(), [])
  await s.open()
  assert.deepEqual(s.names(), [], 'the count is back to none')
})

test('fops that need it share one open, by its opener', async () => {
  const s = await setup()
  s.b.creds = { ...s.b.creds, uid: 7 }
  const fd = await s.open()
  s.b.creds = { ...s.b.creds, uid: 0 }
  s.child.hold.add('open')
  const both = [s.b.run('seek', { fd, offset: 0, what: 0 }), s.b.run('fstat', { fd })]
  assert.equal(await isPending(both[0]), true)
  const call = s.child.take('open')
  assert.equal(call.creds.uid, 7)
  call.reply({ errno: 0, fd })
  for (const rep of both) assert.equal((await rep).errno, 0)
  assert.deepEqual(s.names(), ['open', 'seek', 'fstat'])
  await s.b.ok('flush', { fd })
  assert.equal(s.names().at(-1), 'flush')
})

test('a failed open is what later fops return; ENOTCONN is tried again', async () => {
  const s = await setup()
  const fd = await s.open()
  const use = () => s.b.run('fstat', { fd })
  s.child.script.open = () => ({ errno: E.NOTCONN })
  assert.equal((await use()).errno, E.NOTCONN)
  s.child.script.open = () => ({ errno: E.NOENT })
  assert.equal((await use()).errno, E.NOENT)
  assert.equal((await read(s, fd)).errno, E.NOENT)
  assert.deepEqual(s.names(), ['open', 'open'])
})

test('a file read and closed at once is never opened', () =>
  withManualClock(async (manual) => {
    const s = await setup()
    const fd = await s.open()
    await s.b.ok('readv', { fd, size: 1, offset: 0, flags: 0 })
    await s.b.ok('readv', { fd, size: 1, offset: 1, flags: 0 })
    await s.b.ok('flush', { fd })
    fd.release()
    manual.pass(1000)
    await settle()
    assert.deepEqual(s.names(), ['readv', 'readv'])
  }))

test('a file read and kept open is opened soon, once', () =>
  withManualClock(async (manual) => {
    const s = await setup()
    const fd = await s.open()
    await s.b.ok('readv', { fd, size: 1, offset: 0, flags: 0 })
    manual.pass(20)
    await settle()
    await s.b.ok('readv', { fd, size: 1, offset: 1, flags: 0 })
    manual.pass(1000)
    await settle()
    assert.deepEqual(s.names(), ['readv', 'open', 'readv'])
  }))

test('a read that finds nothing by gfid opens and tries again; so does O_DIRECT', async () => {
  const s = await setup()
  const fd = await s.open()
  const found = s.child.script.readv!
  let tries = 0
  s.child.script.readv = (...call) => (++tries === 1 ? { errno: E.NOENT } : found(...call))
  assert.equal((await read(s, fd)).errno, 0)
  assert.deepEqual(s.names(), ['readv', 'open', 'readv'])
  const direct = await setup()
  assert.equal((await read(direct, await direct.open(O_DIRECT))).errno, 0)
  assert.deepEqual(direct.names(), ['open', 'readv'])
})

test('O_TRUNC, writing and further opens are sent, after the first', async () => {
  const s = await setup()
  await s.open()
  await s.open()
  assert.deepEqual(s.names(), ['open', 'open'])
  for (const flags of [0o1000, 1, 2, 0o2001]) {
    const other = await setup()
    await other.open(flags)
    assert.deepEqual(other.names(), ['open'])
  }
})

test('unlink, setattr, setxattr and being replaced open first; an ACL does not', async () => {
  const acl = new Dict().setBytes('system.posix_acl_access', Buffer.alloc(4))
  const user = new Dict().setBytes('user.x', Buffer.alloc(4))
  const cases: [string, (s: Setup, fd: Fd) => unknown][] = [
    ['unlink', (s, fd) => s.b.run('unlink', { loc: locOf(fd.inode), flags: 0 })],
    [
      'setattr',
      (s, fd) => s.b.run('setattr', { loc: locOf(fd.inode), stat: new Iatt(), valid: 1 }),
    ],
    ['setxattr', (s, fd) => s.b.run('setxattr', { loc: locOf(fd.inode), dict: user, flags: 0 })],
    [
      'rename',
      (s, fd) =>
        s.b.run('rename', { oldloc: locOf(linked(s.b.graph, 'g')), newloc: locOf(fd.inode) }),
    ],
  ]
  for (const [name, run] of cases) {
    const s = await setup()
    await run(s, await s.open())
    assert.deepEqual(s.names(), ['open', name])
  }
  const s = await setup()
  const fd = await s.open()
  await s.b.run('setxattr', { loc: locOf(fd.inode), dict: acl, flags: 0 })
  assert.deepEqual(s.names(), ['setxattr'])
})

test('lazy-open off opens right away, without holding the answer up', async () => {
  const s = await setup({ 'lazy-open': 'off' })
  s.child.hold.add('open')
  const fd = await s.open()
  await settle()
  assert.deepEqual(s.names(), ['open'])
  fd.release()
  assert.equal(fd.released, false)
  s.child.take('open').reply({ errno: 0, fd })
  await settle()
  assert.equal(fd.released, true)
})

test('use-anonymous-fd: fstat and seek need no open, reads by read-after-open', () =>
  withManualClock(async (manual) => {
    const s = await setup({ 'use-anonymous-fd': 'yes' })
    const fd = await s.open()
    await s.b.run('fstat', { fd })
    await s.b.run('seek', { fd, offset: 0, what: 0 })
    assert.deepEqual(s.names(), ['fstat', 'seek'])
    s.b.reconfigure({ 'use-anonymous-fd': 'yes', 'read-after-open': 'no' })
    await s.b.ok('readv', { fd, size: 1, offset: 0, flags: 0 })
    manual.pass(1000)
    await settle()
    assert.equal(s.names().at(-1), 'readv')
    s.b.reconfigure({ 'use-anonymous-fd': 'yes' })
    await s.b.ok('readv', { fd, size: 1, offset: 0, flags: 0 })
    manual.pass(20)
    await settle()
    assert.deepEqual(s.names().slice(-2), ['readv', 'open'])
  }))

modelRuns(openBehind, [
  {},
  { 'lazy-open': 'no' },
  { 'use-anonymous-fd': 'yes', 'read-after-open': 'no' },
  { 'pass-through': 'on' },
])
