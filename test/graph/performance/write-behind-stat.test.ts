/** write-behind answers stat and fstat with what a WRITE has shown, when that is the last word. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import writeBehind from '../../../xlators/performance/write-behind/index.ts'
import {
  type Bench,
  bench,
  isPending,
  linked,
  locOf,
  openFd,
  type ScriptedChild,
  settle,
  stat,
} from '../../lib/scripted.ts'

interface Setup {
  b: Bench
  child: ScriptedChild
  fd: Fd
}

const ASKED = 77
const now = (size: number): Iatt => stat({ size, ctime: 5, mtime: 5 })

async function setup(): Promise<Setup> {
  const b = await bench(writeBehind, {})
  const child = b.child as ScriptedChild
  child.hold.add('writev')
  child.script = {
    stat: () => ({ errno: 0, stat: now(ASKED) }),
    fstat: () => ({ errno: 0, stat: now(ASKED) }),
    setattr: () => ({ errno: 0, prestat: now(1), poststat: now(1) }),
    unlink: () => ({ errno: 0, preparent: now(1), postparent: now(1) }),
  }
  return { b, child, fd: openFd(linked(b.graph, 'f')) }
}

const write = (s: Setup, offset: number, size: number) =>
  s.b.run('writev', { fd: s.fd, offset, data: [Buffer.alloc(size, 1)], size, flags: 0 })

function done(s: Setup, poststat?: Iatt): void {
  const { req, reply } = s.child.take('writev')
  reply({
    errno: 0,
    size: req.size,
    prestat: new Iatt(),
    poststat: poststat ?? now(req.offset + req.size),
  })
}

/** The size an fstat shows that was waiting for the last WRITE. */
async function sizeAfter(s: Setup, poststat?: Iatt, xdata?: Dict): Promise<number> {
  const asking = s.b.run('fstat', { fd: s.fd, xdata })
  assert.equal(await isPending(asking), true)
  done(s, poststat)
  const rep = await asking
  assert.ok(rep.errno === 0)
  return rep.stat.size
}

test('one WRITE on its way: its answer is the answer', async () => {
  const s = await setup()
  await write(s, 0, 100)
  assert.equal(await sizeAfter(s), 100)
  await write(s, 100, 50)
  const asking = s.b.run('stat', { loc: locOf(s.fd.inode) })
  assert.equal(await isPending(asking), true)
  done(s)
  const rep = await asking
  assert.ok(rep.errno === 0 && rep.stat.size === 150)
  assert.ok(s.child.calls.every(({ fop }) => fop === 'writev'))
})

test('with nothing on its way, xdata or no attributes in the answer it is asked for', async () => {
  const s = await setup()
  await write(s, 0, 100)
  assert.equal(await sizeAfter(s, undefined, new Dict().setInt('x', 1)), ASKED)
  await write(s, 0, 100)
  assert.equal(await sizeAfter(s, new Iatt()), ASKED)
  await write(s, 0, 100)
  done(s)
  await settle()
  const rep = await s.b.run('fstat', { fd: s.fd })
  assert.ok(rep.errno === 0 && rep.stat.size === ASKED)
})

test('of two WRITEs side by side neither shows the last word', async () => {
  const s = await setup()
  await write(s, 0, 100)
  await write(s, 1 << 20, 1 << 20)
  assert.equal(s.child.held.length, 2)
  const asking = s.b.run('fstat', { fd: s.fd })
  done(s)
  done(s)
  const rep = await asking
  assert.ok(rep.errno === 0 && rep.stat.size === ASKED)
})

test('a change that ran beside the WRITE may be missing in its answer', async () => {
  const s = await setup()
  s.child.hold.add('setattr')
  const changing = s.b.run('setattr', { loc: locOf(s.fd.inode), stat: new Iatt(), valid: 1 })
  await write(s, 0, 100)
  s.child.take('setattr').reply({ errno: 0, prestat: now(1), poststat: now(1) })
  await changing
  assert.equal(await sizeAfter(s), ASKED)
})

test('as may a name that went', async () => {
  const s = await setup()
  await write(s, 0, 100)
  await s.b.run('unlink', { loc: locOf(s.fd.inode), flags: 0 })
  assert.equal(await sizeAfter(s), ASKED)
})

test('a WRITE that fails is what the stat returns', async () => {
  const s = await setup()
  await write(s, 0, 100)
  const asking = s.b.run('fstat', { fd: s.fd })
  s.child.take('writev').reply({ errno: E.NOSPC })
  assert.equal((await asking).errno, E.NOSPC)
})
