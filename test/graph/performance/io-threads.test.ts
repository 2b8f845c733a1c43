import assert from 'node:assert/strict'
import test from 'node:test'
import type { MaybePromise, Rep } from '../../../src/core/fop.ts'
import ioThreads from '../../../xlators/performance/io-threads/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import {
  type Bench,
  bench,
  linked,
  locOf,
  openFd,
  type ScriptedChild,
  settle,
  stat,
} from '../../lib/scripted.ts'

/** Eight fops stand for a thread. */
const tight = {
  'thread-count': '2',
  'high-prio-threads': '1',
  'normal-prio-threads': '1',
  'low-prio-threads': '2',
}

async function setup(given: Record<string, string>) {
  const b = await bench(ioThreads, given)
  const child = b.child as ScriptedChild
  child.hold.add('readv').add('stat').add('lk')
  const fd = openFd(linked(b.graph, 'f'))
  return { b, child, fd }
}

const read = (b: Bench, fd: ReturnType<typeof openFd>, pid: number) =>
  b.run('readv', { fd, size: pid, offset: 0, flags: 0 }, { ...b.creds, pid })

const readRep: Rep<'readv'> = { errno: 0, data: [], size: 0, stat: stat(), eof: true }

test('outstanding fops are bounded by class; higher classes are served first', async () => {
  const { b, child, fd } = await setup(tight)
  const all: MaybePromise<unknown>[] = []
  for (let i = 0; i < 20; i++) all.push(read(b, fd, 1))
  assert.equal(child.calls.length, 16)
  all.push(b.run('stat', { loc: locOf(fd.inode) }))
  assert.equal(child.calls.length, 16, 'the total is used up')
  assert.equal(b.dump()['performance/io-threads.xl|low_priority_queued'], '4')
  child.take('readv').reply(readRep)
  await settle()
  assert.equal(child.calls.at(-1)!.fop, 'stat')
  child.take('stat').reply({ errno: 0, stat: stat() })
  await settle()
  while (child.held.length > 0) {
    child.take('readv').reply(readRep)
    await settle()
  }
  await Promise.all(all)
  assert.equal(child.calls.length, 21)
  assert.equal(b.dump()['performance/io-threads.xl|low_priority_outstanding'], '0')
})

test('callers take turns', async () => {
  const { b, child, fd } = await setup(tight)
  for (let i = 0; i < 19; i++) void read(b, fd, 1)
  void read(b, fd, 2)
  for (let i = 0; i < 2; i++) {
    child.take('readv').reply(readRep)
    await settle()
  }
  assert.deepEqual(
    child.calls.slice(16).map((call) => call.creds.pid),
    [1, 2],
  )
})

test('locks are not counted: what they wait for must get through', async () => {
  const { b, child, fd } = await setup(tight)
  const flock = { type: 1, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
  for (let i = 0; i < 40; i++) void b.run('lk', { fd, cmd: 2, flock })
  void b.run('stat', { loc: locOf(fd.inode) })
  assert.equal(child.named('lk').length, 40)
  assert.equal(child.named('stat').length, 1)
})

test('a raised limit lets waiting fops go; pass-through does not wait', async () => {
  const { b, child, fd } = await setup(tight)
  for (let i = 0; i < 30; i++) void read(b, fd, 1)
  assert.equal(child.calls.length, 16)
  b.reconfigure({})
  assert.equal(child.calls.length, 30)
  b.reconfigure({ ...tight, 'pass-through': 'on' })
  void read(b, fd, 1)
  assert.equal(child.calls.length, 31)
})

test('internal clients come last when asked for', async () => {
  const { b, child, fd } = await setup({ ...tight, 'enable-least-priority': 'on' })
  for (let i = 0; i < 10; i++) void read(b, fd, -6)
  assert.equal(child.calls.length, 8)
  assert.equal(b.dump()['performance/io-threads.xl|least_priority_queued'], '2')
})

modelRuns(ioThreads, [
  {},
  { ...tight, 'thread-count': '1', 'low-prio-threads': '1' },
  { 'pass-through': 'on' },
])
