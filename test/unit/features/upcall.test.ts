/** features/upcall: who is told what, and when no more. Flags: posix vectors. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { type Clock, clock, setClock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { FopName, Req } from '../../../src/core/fop.ts'
import { type Creds, ROOT_CREDS } from '../../../src/core/frame.ts'
import { newGfid } from '../../../src/core/gfid.ts'
import { Iatt, SET_ATTR_MODE, SET_ATTR_MTIME } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { BrickBench, brickSkip, gfidReq, TestClient } from '../../lib/brick-bench.ts'
import { settle } from '../../lib/scripted.ts'

const { upcall_flags: flags } = JSON.parse(
  readFileSync(
    join(import.meta.dirname, '../../../../test/vectors/posix/brick_behaviour.json'),
    'utf8',
  ),
) as { upcall_flags: Record<string, number> }

describe('upcall', { skip: brickSkip() }, () => {
  let brick: BrickBench
  let fd: Fd
  let count = 0
  const a = new TestClient('a')
  const b = new TestClient('b')
  const by = (client: TestClient): Creds => ({ ...ROOT_CREDS, client })
  const system: Clock = clock

  before(async () => {
    brick = await BrickBench.make([['features/upcall', { 'cache-invalidation': 'on' }]])
  })
  after(() => {
    setClock(system)
    brick.destroy()
  })
  beforeEach(async () => {
    brick.creds = by(a)
    fd = await brick.create(brick.root, `f${count++}`)
    await brick.ok('lookup', { loc: Loc.ofInode(brick.root) })
    a.upcalls.length = 0
    b.upcalls.length = 0
  })

  /** b does it; the flags a is told for the inode. */
  async function told<K extends FopName>(fop: K, req: Req<K>, gfid = fd.inode.gfid) {
    a.upcalls.length = 0
    await brick.ok(fop, req, by(b))
    await settle()
    return a.upcalls
      .filter((upcall) => upcall.gfid === gfid)
      .map((upcall) => (upcall.type === 'cache-invalidation' ? upcall.flags : -1))
  }

  const name = (): string => fd.inode.dentries[0]!.name

  test('flags of each change, as stock sends them', async () => {
    const loc = Loc.ofInode(fd.inode)
    const data = [Buffer.from('x')]
    const write = { fd, data, size: 1, offset: 0, flags: 0 }
    assert.deepEqual(await told('writev', write), [flags.write])
    assert.deepEqual(await told('truncate', { loc, offset: 0 }), [flags.truncate])
    const stat = Object.assign(new Iatt(), { mode: 0o600, mtime: 5 })
    const chmod = { loc, stat, valid: SET_ATTR_MODE }
    assert.deepEqual(await told('setattr', chmod), [flags.setattr_mode])
    assert.deepEqual(await told('setattr', { loc, stat, valid: SET_ATTR_MTIME }), [
      flags.setattr_times,
    ])
    assert.deepEqual(await told('readv', { fd, size: 1, offset: 0, flags: 0 }), [])
    const newloc = brick.fresh(brick.root, `${name()}-link`)
    assert.deepEqual(await told('link', { oldloc: loc, newloc }), [flags.link])
    const oldloc = Loc.ofName(brick.root, name(), fd.inode)
    const moved = brick.fresh(brick.root, `${name()}-moved`)
    assert.deepEqual(await told('rename', { oldloc, newloc: moved }), [flags.rename])
    const unlink = (suffix: string) => ({
      loc: Loc.ofName(brick.root, `${name()}-${suffix}`, fd.inode),
      flags: 0,
    })
    assert.deepEqual(await told('unlink', unlink('moved')), [flags.unlink])
    fd.release()
    assert.deepEqual(await told('unlink', unlink('link')), [flags.unlink, flags.inode_forget])
    const mknod = {
      loc: brick.fresh(brick.root, `${name()}-new`),
      mode: 0o100644,
      rdev: 0,
      umask: 0,
      xdata: gfidReq(newGfid()),
    }
    assert.deepEqual(await told('mknod', mknod, brick.root.gfid), [flags.mknod_parent])
  })

  test('the one who changes is not told, nor one who has been away for too long', async () => {
    const write = { fd, data: [Buffer.from('x')], size: 1, offset: 0, flags: 0 }
    await brick.ok('writev', write, by(a))
    assert.equal(a.upcalls.length, 0)
    let now = system.now()
    setClock({
      now: () => now,
      realtime: () => system.realtime(),
      after: (delayMs, fn, unref) => system.after(delayMs, fn, unref),
      nextDeadline: () => system.nextDeadline(),
      random: () => system.random(),
    })
    await brick.ok('fstat', { fd }, by(a))
    now += 59_000
    assert.deepEqual(await told('writev', write), [flags.write])
    now += 2000
    assert.deepEqual(await told('writev', write), [])
    setClock(system)
  })

  test('xattrs: only those announced', async () => {
    const loc = Loc.ofInode(fd.inode)
    const set = { loc, dict: new Dict().setBytes('user.k', Buffer.from('v')), flags: 0 }
    assert.deepEqual(await told('setxattr', set), [])
    await brick.ok('ipc', { op: 2, xdata: new Dict().setInt('user.*', 1) }, by(a))
    await brick.ok('fstat', { fd }, by(a))
    assert.deepEqual(await told('setxattr', set), [0x400])
    assert.deepEqual(await told('removexattr', { loc, name: 'user.k' }), [0x800])
  })

  test('a client that is gone is not told', async () => {
    await brick.ok('fstat', { fd }, by(a))
    brick.graph.top.notify({ type: 'client-disconnected', client: a }, undefined)
    const write = { fd, data: [Buffer.from('x')], size: 1, offset: 0, flags: 0 }
    assert.deepEqual(await told('writev', write), [])
  })
})
