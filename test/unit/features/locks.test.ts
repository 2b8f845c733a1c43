/** features/locks over a brick: domains, order, contention, clients that go. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { type Clock, clock, setClock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  F_GETLK,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type Flock,
} from '../../../src/core/fop.ts'
import { type Creds, ROOT_CREDS } from '../../../src/core/frame.ts'
import { Loc } from '../../../src/core/loc.ts'
import { BrickBench, brickSkip, TestClient } from '../../lib/brick-bench.ts'
import { isPending } from '../../lib/scripted.ts'

const METADATA = (1n << 63n) - 2n

function flock(type: number, start = 0n, len = 0n): Flock {
  return { type, whence: 0, start, len, pid: 7, lkOwner: Buffer.alloc(0) }
}

function who(client: TestClient, owner: string, pid = 100): Creds {
  return { ...ROOT_CREDS, client, pid, lkOwner: Buffer.from(owner) }
}

describe('locks', { skip: brickSkip() }, () => {
  let brick: BrickBench
  let fd: Fd
  let loc: Loc
  let count = 0
  const a = new TestClient('a')
  const b = new TestClient('b')
  const system: Clock = clock

  before(async () => {
    brick = await BrickBench.make([['features/locks']])
  })
  after(() => {
    setClock(system)
    brick.destroy()
  })
  beforeEach(async () => {
    fd = await brick.create(brick.root, `file${count++}`)
    loc = Loc.ofInode(fd.inode)
    a.upcalls.length = 0
    b.upcalls.length = 0
  })

  const inodelk = (creds: Creds, cmd: number, lock: Flock, volume = 'd', xdata?: Dict) =>
    brick.run('inodelk', { loc, volume, cmd, flock: lock, xdata }, creds)
  const entrylk = (creds: Creds, cmd: number, basename: string | undefined, type = 1) =>
    brick.run('entrylk', { loc, volume: 'd', basename, cmd, type }, creds)
  const errno = async (rep: unknown): Promise<number> => ((await rep) as { errno: number }).errno

  test('inodelk: exclusion, exact unlock, errors of a stock brick', async () => {
    const [x, y] = [who(a, 'x'), who(b, 'x')]
    assert.equal(await errno(inodelk(x, F_SETLK, flock(F_WRLCK, 0n, 10n))), 0)
    assert.equal(await errno(inodelk(y, F_SETLK, flock(F_WRLCK, 9n, 1n))), E.AGAIN)
    assert.equal(await errno(inodelk(y, F_SETLK, flock(F_WRLCK, 10n, 1n))), 0)
    assert.equal(await errno(inodelk(y, F_SETLK, flock(F_WRLCK, 0n, 10n), 'other')), 0)
    // The same owner never excludes itself and may hold overlapping locks.
    assert.equal(await errno(inodelk(x, F_SETLK, flock(F_WRLCK, 5n, 2n))), 0)
    assert.equal(await errno(inodelk(x, F_SETLK, flock(F_UNLCK, 0n, 9n))), E.INVAL)
    assert.equal(await errno(inodelk(y, F_SETLK, flock(F_UNLCK, 0n, 10n))), E.INVAL)
    assert.equal(await errno(inodelk(x, F_SETLK, flock(F_UNLCK, 0n, 10n))), 0)
    assert.equal(await errno(inodelk(x, F_GETLK, flock(F_WRLCK))), E.OPNOTSUPP)
    assert.equal(await errno(inodelk(who(a, ''), F_SETLK, flock(F_WRLCK))), E.INVAL)
    assert.equal(await errno(inodelk(x, F_SETLK, flock(F_WRLCK, -1n, 1n))), E.INVAL)
  })

  test('inodelk: readers share, a waiting writer is not starved', async () => {
    assert.equal(await errno(inodelk(who(a, 'r1'), F_SETLK, flock(F_RDLCK))), 0)
    assert.equal(await errno(inodelk(who(b, 'r2'), F_SETLK, flock(F_RDLCK))), 0)
    const writer = inodelk(who(a, 'w'), F_SETLKW, flock(F_WRLCK))
    assert.ok(await isPending(writer))
    // A new reader waits behind the writer; one that holds a lock here does not.
    assert.equal(await errno(inodelk(who(b, 'r3'), F_SETLK, flock(F_RDLCK))), E.AGAIN)
    assert.equal(await errno(inodelk(who(b, 'r2'), F_SETLK, flock(F_RDLCK, 5n, 1n))), 0)
    const reader = inodelk(who(b, 'r3'), F_SETLKW, flock(F_RDLCK))
    await inodelk(who(a, 'r1'), F_SETLK, flock(F_UNLCK))
    await inodelk(who(b, 'r2'), F_SETLK, flock(F_UNLCK))
    assert.ok(await isPending(writer))
    await inodelk(who(b, 'r2'), F_SETLK, flock(F_UNLCK, 5n, 1n))
    assert.equal(await errno(writer), 0)
    assert.ok(await isPending(reader))
    await inodelk(who(a, 'w'), F_SETLK, flock(F_UNLCK))
    assert.equal(await errno(reader), 0)
  })

  test('inodelk: the metadata range is a domain of its own', async () => {
    assert.equal(await errno(inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK))), 0)
    assert.equal(await errno(inodelk(who(b, 'y'), F_SETLK, flock(F_WRLCK, METADATA))), 0)
    assert.equal(await errno(inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK, METADATA))), E.AGAIN)
    const upcall = b.upcalls[0]
    assert.ok(upcall?.type === 'inodelk-contention')
    assert.equal(upcall.domain, 'd:metadata')
    assert.equal(upcall.flock.start, METADATA)
  })

  test('contention: holders are told, once in five seconds', async () => {
    let now = 0
    setClock({ ...bound(system), now: () => now })
    assert.equal(await errno(inodelk(who(a, 'x', 55), F_SETLK, flock(F_WRLCK, 0n, 8n))), 0)
    await inodelk(who(b, 'y'), F_SETLK, flock(F_WRLCK))
    const blocked = inodelk(who(b, 'y'), F_SETLKW, flock(F_WRLCK))
    assert.equal(a.upcalls.length, 1)
    assert.deepEqual(a.upcalls[0], {
      type: 'inodelk-contention',
      gfid: fd.inode.gfid,
      flock: { type: F_WRLCK, whence: 0, start: 0n, len: 8n, pid: 0, lkOwner: Buffer.alloc(0) },
      pid: 55,
      domain: 'd',
    })
    now = 5000
    await inodelk(who(b, 'z'), F_SETLK, flock(F_WRLCK))
    assert.equal(a.upcalls.length, 2)
    setClock(system)
    await inodelk(who(a, 'x', 55), F_SETLK, flock(F_UNLCK, 0n, 8n))
    assert.equal(await errno(blocked), 0)
  })

  test('entrylk: names, all names, owner and type of an unlock', async () => {
    assert.equal(await errno(entrylk(who(a, 'x'), 0, 'n')), 0)
    assert.equal(await errno(entrylk(who(b, 'y'), 2, 'n', 0)), E.AGAIN)
    assert.equal(await errno(entrylk(who(b, 'y'), 2, 'm')), 0)
    assert.equal(await errno(entrylk(who(b, 'y'), 2, undefined)), E.AGAIN)
    const all = entrylk(who(b, 'all'), 0, undefined)
    assert.ok(await isPending(all))
    assert.equal(await errno(entrylk(who(a, 'x'), 1, 'n', 0)), E.INVAL)
    assert.equal(await errno(entrylk(who(a, 'x'), 1, 'n')), 0)
    assert.ok(await isPending(all))
    assert.equal(await errno(entrylk(who(b, 'y'), 1, 'm')), 0)
    assert.equal(await errno(all), 0)
    assert.equal(a.upcalls.length + b.upcalls.length, 0, 'entrylk contention is never sent')
  })

  test('a client that goes gives everything back; its waiters end with EAGAIN', async () => {
    const c = new TestClient('c')
    assert.equal(await errno(inodelk(who(c, 'x'), F_SETLK, flock(F_WRLCK))), 0)
    assert.equal(await errno(entrylk(who(c, 'x'), 0, 'n')), 0)
    assert.equal(await errno(entrylk(who(a, 'y'), 0, 'm')), 0)
    const lk = { fd, cmd: F_SETLK, flock: flock(F_WRLCK) }
    assert.equal(await errno(brick.run('lk', lk, who(c, 'x'))), 0)
    const inode = inodelk(who(a, 'y'), F_SETLKW, flock(F_WRLCK))
    const entry = entrylk(who(a, 'y'), 0, 'n')
    const posix = brick.run('lk', { ...lk, cmd: F_SETLKW }, who(a, 'y'))
    const own = entrylk(who(c, 'z'), 0, 'm')
    assert.ok(await isPending(inode))
    brick.graph.top.notify({ type: 'client-disconnected', client: c }, undefined)
    assert.deepEqual(await Promise.all([inode, entry, posix, own].map(errno)), [0, 0, 0, E.AGAIN])
  })

  test('posix locks: split, merge, conflict, close', async () => {
    const [x, y] = [who(a, 'x'), who(b, 'y')]
    const lk = (creds: Creds, cmd: number, lock: Flock, on = fd) =>
      brick.run('lk', { fd: on, cmd, flock: lock }, creds)
    assert.equal(await errno(lk(x, F_SETLK, flock(F_WRLCK, 0n, 100n))), 0)
    assert.equal(await errno(lk(x, F_SETLK, flock(F_UNLCK, 40n, 10n))), 0)
    assert.equal(await errno(lk(y, F_SETLK, flock(F_WRLCK, 40n, 10n))), 0)
    const found = await brick.ok('lk', { fd, cmd: F_GETLK, flock: flock(F_RDLCK, 60n, 1n) }, y)
    assert.deepEqual([found.flock.type, found.flock.start, found.flock.len], [F_WRLCK, 50n, 50n])
    const mine = await brick.ok('lk', { fd, cmd: F_GETLK, flock: flock(F_WRLCK, 0n, 40n) }, x)
    assert.equal(mine.flock.type, F_UNLCK)
    const waiting = lk(y, F_SETLKW, flock(F_RDLCK, 0n, 5n))
    assert.ok(await isPending(waiting))
    // Downgrading to a read lock lets a reader in.
    assert.equal(await errno(lk(x, F_SETLK, flock(F_RDLCK, 0n, 40n))), 0)
    assert.equal(await errno(waiting), 0)
    await brick.ok('flush', { fd }, x)
    assert.equal(await errno(lk(y, F_SETLK, flock(F_WRLCK))), 0)
    const other = await brick.open(fd.inode)
    assert.equal(await errno(lk(who(b, 'z'), F_SETLK, flock(F_WRLCK), other)), E.AGAIN)
    fd.release()
    assert.equal(await errno(lk(who(b, 'z'), F_SETLK, flock(F_WRLCK), other)), 0)
    other.release()
  })

  test('counts ride on other fops', async () => {
    await inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK))
    const blocked = inodelk(who(b, 'y'), F_SETLKW, flock(F_WRLCK))
    await inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK), 'e')
    const xdata = new Dict()
      .setInt('glusterfs.inodelk-count', 0)
      .setInt('glusterfs.entrylk-count', 0)
      .setInt('glusterfs.posixlk-count', 0)
    const rep = await brick.ok('lookup', { loc, xdata })
    assert.equal(rep.xdata?.getNumber('glusterfs.inodelk-count'), 3)
    assert.equal(rep.xdata?.getNumber('glusterfs.entrylk-count'), 0)
    const domain = new Dict().setStr('glusterfs.inodelk-dom-count', 'd')
    const stat = await brick.ok('fstat', { fd, xdata: domain })
    assert.equal(stat.xdata?.getNumber('glusterfs.inodelk-count'), 2)
    await inodelk(who(a, 'x'), F_SETLK, flock(F_UNLCK))
    await blocked
  })

  test('clear-locks and interrupts', async () => {
    await inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK))
    const blocked = inodelk(who(b, 'y'), F_SETLKW, flock(F_WRLCK))
    const get = async (name: string, creds = ROOT_CREDS) =>
      (await brick.ok('getxattr', { loc, name }, creds)).dict.getStr(name)
    const text = (await get('glusterfs.clrlk.tinode.kblocked')) ?? ''
    assert.ok(text.endsWith(`:${brick.path}/: inode blocked locks=1 granted locks=0`), text)
    assert.equal(await errno(blocked), E.AGAIN)
    assert.match((await get('glusterfs.clrlk.tinode.kgranted.0,0-0')) ?? '', /granted locks=1/)
    assert.equal(await get('glusterfs.clrlk.tinode.kall'), 'No locks cleared.')
    const lk = (cmd: number, creds: Creds) =>
      brick.run('lk', { fd, cmd, flock: flock(F_WRLCK, 3n, 4n) }, creds)
    await lk(F_SETLK, who(a, 'x'))
    const waiting = lk(F_SETLKW, who(b, 'y'))
    assert.equal(
      await get('glusterfs.intrlk.tposix.kblocked.0,3-4', who(a, 'q')),
      'No locks cleared.',
    )
    await get('glusterfs.intrlk.tposix.kblocked.0,3-4', who(b, 'q'))
    assert.equal(await errno(waiting), E.INTR)
  })

  test('locks follow an fd to the next graph of its client', async () => {
    const old = new TestClient('a, graph 0')
    const [x, y] = [who(old, 'x'), who(b, 'y')]
    const lk = (creds: Creds, on: Fd) =>
      errno(brick.run('lk', { fd: on, cmd: F_SETLK, flock: flock(F_WRLCK) }, creds))
    assert.equal(await lk(x, fd), 0)
    const { dict } = await brick.ok('fgetxattr', { fd, name: 'trusted.glusterfs.lockinfo' }, x)
    const next = new TestClient('a, graph 1')
    const moved = await brick.open(fd.inode)
    const set = { fd: moved, dict, flags: 0 }
    assert.equal(await errno(brick.run('fsetxattr', set, who(next, ''))), 0)
    fd.release()
    brick.graph.top.notify({ type: 'client-disconnected', client: old }, undefined)
    assert.equal(await lk(y, moved), E.AGAIN)
    assert.equal(await lk(who(next, 'x'), moved), 0)
    const nonsense = new Dict().setBytes('trusted.glusterfs.lockinfo', Buffer.from('nonsense'))
    assert.equal(await errno(brick.run('fsetxattr', { ...set, dict: nonsense }, x)), E.INVAL)
    moved.release()
  })

  test('a removal waits for the inode lock of another client', async () => {
    const name = fd.inode.dentries[0]!.name
    const entry = Loc.ofName(brick.root, name, fd.inode)
    await inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK))
    const removal = brick.run('unlink', { loc: entry, flags: 0 }, who(b, ''))
    assert.ok(await isPending(removal))
    // Applications wait for the removal, internal clients do not.
    assert.equal(await errno(inodelk(who(b, 'n'), F_SETLK, flock(F_WRLCK, 1n, 1n), 'e')), E.AGAIN)
    assert.equal(await errno(inodelk(who(b, 'n', -6), F_SETLK, flock(F_WRLCK, 1n, 1n), 'e')), 0)
    await inodelk(who(a, 'x'), F_SETLK, flock(F_UNLCK))
    assert.equal(await errno(removal), 0)
  })

  test('a client that leaves while it waits for a removal gets no lock', async () => {
    const name = fd.inode.dentries[0]!.name
    const c = new TestClient('c')
    await inodelk(who(a, 'x'), F_SETLK, flock(F_WRLCK))
    const unlink = { loc: Loc.ofName(brick.root, name, fd.inode), flags: 0 }
    const removal = brick.run('unlink', unlink, who(b, ''))
    const waiting = inodelk(who(c, 'n'), F_SETLKW, flock(F_WRLCK), 'e')
    assert.ok(await isPending(waiting))
    brick.graph.top.notify({ type: 'client-disconnected', client: c }, undefined)
    await inodelk(who(a, 'x'), F_SETLK, flock(F_UNLCK))
    assert.equal(await errno(removal), 0)
    assert.equal(await errno(waiting), E.AGAIN)
    assert.equal(await errno(inodelk(who(b, 'm'), F_SETLK, flock(F_WRLCK), 'e')), 0)
  })
})

/** The methods of the system clock, as an object to override one of. */
function bound(system: Clock): Clock {
  return {
    now: () => system.now(),
    realtime: () => system.realtime(),
    after: (delayMs, fn, unref) => system.after(delayMs, fn, unref),
    nextDeadline: () => system.nextDeadline(),
    random: () => system.random(),
  }
}
