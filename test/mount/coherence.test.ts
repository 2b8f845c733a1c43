/** Our mount and a stock mount of one volume at once: locks, what one sees of the other's work. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { Peer } from '../lib/peer.ts'
import { CACHED, enterSandbox, type Mount, ours, sleep, Volume } from '../lib/sandbox.ts'
import { LOCK, O } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const EAGAIN = -11
/** Entries and attributes are trusted for a second, by the kernel and once more by md-cache. */
const visibleMaxMs = 2500
/** Where bricks tell of changes an open asks nobody: what it reads may be as old as the message. */
const toldMaxMs = 500

for (const shape of ['2 bricks', '2 bricks, cache invalidation']) {
  describe(`beside a stock mount, ${shape}`, { skip, timeout: 120_000 }, () => {
    let mounts: Mount[]
    let ourPeer: Peer
    let ourSecond: Peer
    let stockPeer: Peer
    const told = shape.endsWith('cache invalidation')
    const at = (mount: number, name: string): string => `${mounts[mount]!.dir}/${name}`

    before(async () => {
      const set = shape === '2 bricks' ? {} : CACHED
      const name = shape === '2 bricks' ? 'plain' : 'cached'
      const volume = await Volume.create(name, { bricks: 2, set })
      mounts = [await volume.mount(ours), await volume.mount('stock'), await volume.mount(ours)]
      ourPeer = new Peer()
      ourSecond = new Peer()
      stockPeer = new Peer()
    })

    after(async () => {
      await Promise.all([ourPeer, ourSecond, stockPeer].map((peer) => peer.end()))
      for (const mount of mounts) await mount.unmount()
    })

    test('record locks conflict both ways', async () => {
      await ourPeer.must('writeFile', at(0, 'records'), 'x'.repeat(100), 0)
      const a = await ourPeer.open(at(0, 'records'), O.O_RDWR)
      const b = await stockPeer.open(at(1, 'records'), O.O_RDWR)
      assert.equal(await ourPeer.call('setlk', a, 'write', 10, 10), 0)
      assert.equal(await stockPeer.call('setlk', b, 'write', 15, 1), EAGAIN)
      assert.equal(await stockPeer.call('setlk', b, 'write', 20, 10), 0)
      assert.equal(await ourPeer.call('setlk', a, 'read', 29, 1), EAGAIN)
      const found = (await ourPeer.call('getlk', a, 'write', 0, 0)) as Record<string, unknown>
      assert.equal(found.start, 20)
      assert.equal(found.size, 10)
      assert.equal(await stockPeer.call('close', b), 0)
      assert.equal(await ourPeer.call('setlk', a, 'write', 0, 0), 0)
      await ourPeer.call('close', a)
    })

    test('flock conflicts both ways', async () => {
      await ourPeer.must('writeFile', at(0, 'flock'), 'x', 0)
      const a = await ourPeer.open(at(0, 'flock'), O.O_RDWR)
      const b = await stockPeer.open(at(1, 'flock'), O.O_RDWR)
      assert.equal(await ourPeer.call('flock', a, LOCK.EX | LOCK.NB), 0)
      assert.equal(await stockPeer.call('flock', b, LOCK.SH | LOCK.NB), EAGAIN)
      assert.equal(await ourPeer.call('flock', a, LOCK.SH | LOCK.NB), 0)
      assert.equal(await stockPeer.call('flock', b, LOCK.SH | LOCK.NB), 0)
      assert.equal(await ourPeer.call('flock', a, LOCK.EX | LOCK.NB), EAGAIN)
      // Not by a close, which returns before the kernel has told the client.
      assert.equal(await stockPeer.call('flock', b, LOCK.UN), 0)
      assert.equal(await ourPeer.call('flock', a, LOCK.EX | LOCK.NB), 0)
      await stockPeer.call('close', b)
      await ourPeer.call('close', a)
    })

    test('who waits for a lock gets it when the other mount lets go', async () => {
      await ourPeer.must('writeFile', at(0, 'waiting'), 'x', 0)
      const a = await ourPeer.open(at(0, 'waiting'), O.O_RDWR)
      const b = await stockPeer.open(at(1, 'waiting'), O.O_RDWR)
      for (const lock of ['flock', 'record']) {
        const take = (peer: Peer, fd: number): Promise<unknown> =>
          lock === 'flock' ? peer.call('flock', fd, LOCK.EX) : peer.call('setlkw', fd, 'write')
        const free = (peer: Peer, fd: number): Promise<unknown> =>
          lock === 'flock' ? peer.call('flock', fd, LOCK.UN) : peer.call('setlk', fd, 'unlock')
        for (const [holder, held, waiter, wanted] of [
          [stockPeer, b, ourPeer, a],
          [ourPeer, a, stockPeer, b],
        ] as const) {
          assert.equal(await take(holder, held), 0)
          let granted = false
          const waiting = take(waiter, wanted).then((result) => {
            granted = true
            return result
          })
          await sleep(200)
          assert.equal(granted, false, `${lock}: granted while held`)
          assert.equal(await free(holder, held), 0)
          assert.equal(await waiting, 0)
          assert.equal(await free(waiter, wanted), 0)
        }
      }
      await ourPeer.call('close', a)
      await stockPeer.call('close', b)
    })

    test('a waiter that is killed goes away and takes no lock', async () => {
      await ourPeer.must('writeFile', at(0, 'killed'), 'x', 0)
      const b = await stockPeer.open(at(1, 'killed'), O.O_RDWR)
      assert.equal(await stockPeer.call('flock', b, LOCK.EX), 0)
      const waiter = spawn('flock', [at(0, 'killed'), 'true'])
      await sleep(300)
      assert.equal(waiter.exitCode, null)
      const gone = new Promise((resolve) => waiter.on('exit', resolve))
      const killed = clock.now()
      waiter.kill('SIGKILL')
      await gone
      assert.ok(clock.now() - killed < 1000, `gone after ${clock.now() - killed} ms`)
      assert.equal(await stockPeer.call('flock', b, LOCK.UN), 0)
      assert.equal(await stockPeer.call('lockAndClose', at(1, 'killed'), 'flock', 1), 0)
      await stockPeer.call('close', b)
    })

    test('record locks are gone on the bricks before close returns', async () => {
      await ourPeer.must('writeFile', at(0, 'closing'), 'x', 0)
      for (let i = 0; i < 50; i++) {
        assert.equal(await ourPeer.call('lockAndClose', at(0, 'closing'), 'record', 1), 0)
        const taken = await stockPeer.call('lockAndClose', at(1, 'closing'), 'record', 1)
        assert.equal(taken, 0, `${i}: still held after close`)
        await sleep(5)
      }
    })

    test('a flock is gone soon after close', async () => {
      // the kernel sends the RELEASE that ends a flock after close(2) has returned
      await ourPeer.must('writeFile', at(0, 'closing flock'), 'x', 0)
      for (let i = 0; i < 20; i++) {
        assert.equal(await ourPeer.call('lockAndClose', at(0, 'closing flock'), 'flock', 1), 0)
        const closed = clock.now()
        let taken: unknown
        do {
          taken = await stockPeer.call('lockAndClose', at(1, 'closing flock'), 'flock', 1)
        } while (taken === EAGAIN && clock.now() - closed < 250)
        assert.equal(taken, 0, `${i}: still held after close`)
        // stock frees on release, too
        await sleep(20)
      }
    })

    test('locks of a process that died are gone', async () => {
      await ourPeer.must('writeFile', at(0, 'died'), 'x', 0)
      const dying = new Peer()
      const fd = await dying.open(at(0, 'died'), O.O_RDWR)
      assert.equal(await dying.call('setlk', fd, 'write', 0, 0), 0)
      assert.equal(await stockPeer.call('lockAndClose', at(1, 'died'), 'record', 1), EAGAIN)
      const gone = new Promise((resolve) => dying.child.on('exit', resolve))
      void dying.end()
      await gone
      await sleep(200)
      assert.equal(await stockPeer.call('lockAndClose', at(1, 'died'), 'record', 1), 0)
    })

    test('close to open: what the stock mount closed is what our open reads', async () => {
      for (let i = 0; i < 60; i++) {
        // the same length most times: size alone must not decide
        const text = `version ${String(i).padStart(4, '0')} ${'y'.repeat(i % 5 === 0 ? i : 0)}`
        assert.equal(await stockPeer.call('writeFile', at(1, 'shared'), text, O.O_TRUNC), 0)
        const closed = clock.now()
        let seen = await ourPeer.content(at(0, 'shared'))
        while (told && seen !== text && clock.now() - closed < toldMaxMs) {
          await sleep(5)
          seen = await ourPeer.content(at(0, 'shared'))
        }
        assert.equal(seen, text, `version ${i}`)
      }
    })

    test('close to open between two of our mounts', async () => {
      for (let i = 0; i < 40; i++) {
        const text = `version ${String(i).padStart(4, '0')}`
        const [writer, reader] = i % 2 === 0 ? [0, 2] : [2, 0]
        assert.equal(await ourPeer.call('writeFile', at(writer, 'turns'), text, 0), 0)
        assert.equal(await ourSecond.content(at(reader, 'turns')), text, `version ${i}`)
      }
    })

    test("the stock mount's changes show within the attribute timeout", async () => {
      await ourPeer.must('writeFile', at(0, 'seen'), 'x', 0)
      await ourPeer.call('stat', at(0, 'seen'))
      assert.equal(await stockPeer.call('chmod', at(1, 'seen'), 0o600), 0)
      assert.equal(await stockPeer.call('rename', at(1, 'seen'), at(1, 'moved')), 0)
      const changed = clock.now()
      let gone: unknown
      while (gone !== -2 && clock.now() - changed < visibleMaxMs) {
        await sleep(50)
        gone = await ourPeer.call('stat', at(0, 'seen'))
      }
      assert.equal(gone, -2)
      const moved = (await ourPeer.call('stat', at(0, 'moved'))) as { mode: number }
      assert.equal(moved.mode, 0o600)
    })

    test('a byte written through a mapping is not lost by concurrent writes', async () => {
      const size = 64 << 10
      const fd = await ourPeer.open(at(0, 'mapped'), O.O_RDWR | O.O_CREAT)
      await ourPeer.must('ftruncate', fd, size)
      const map = await ourPeer.must('map', fd, size)
      const other = await ourSecond.open(at(0, 'mapped'), O.O_RDWR)
      for (let round = 0; round < 3; round++) {
        await Promise.all([
          ourPeer.call('pokeEverySecond', map, 0, size / 8),
          ourSecond.call('writeEverySecond', other, 1, size / 8),
        ])
        // attributes expire, pages are looked at again
        await sleep(round === 1 ? 1200 : 100)
        await ourSecond.call('fstat', other)
      }
      assert.equal(await ourPeer.call('msync', map), 0)
      const expected = 'mw'.repeat(size / 16)
      const here = String(await ourPeer.content(at(0, 'mapped')))
      assert.equal(here.slice(0, size / 8), expected)
      await ourPeer.call('close', fd)
      await ourSecond.call('close', other)
      const there = String(await stockPeer.content(at(1, 'mapped')))
      assert.equal(there.slice(0, size / 8), expected)
    })

    test('appends from both mounts are all there', async () => {
      const count = 200
      const flags = O.O_CREAT | O.O_APPEND | O.O_WRONLY
      const a = await ourPeer.open(at(0, 'log'), flags)
      const b = await stockPeer.open(at(1, 'log'), flags)
      const done = await Promise.all([
        ourPeer.call('append', a, 'ours ', count),
        stockPeer.call('append', b, 'stock', count),
      ])
      assert.deepEqual(done, [0, 0])
      await ourPeer.call('close', a)
      await stockPeer.call('close', b)
      const lines = String(await ourPeer.content(at(0, 'log')))
        .split('\n')
        .slice(0, -1)
      for (const who of ['ours ', 'stock']) {
        const mine = lines.filter((line) => line.startsWith(who))
        const expected = Array.from(
          { length: count },
          (_, i) => `${who} ${String(i).padStart(6, '0')}`,
        )
        assert.deepEqual(mine, expected)
      }
      assert.equal(lines.length, 2 * count)
    })

    test('an open file lives on when the other mount unlinks or replaces it', async () => {
      await stockPeer.must('writeFile', at(1, 'open'), 'still here', 0)
      const fd = await ourPeer.open(at(0, 'open'), O.O_RDWR)
      assert.equal(await stockPeer.call('unlink', at(1, 'open')), 0)
      assert.equal(await ourPeer.call('pread', fd, 20, 0), 'still here')
      assert.equal(await ourPeer.call('pwrite', fd, { bytes: 'STILL' }, 0), 5)
      assert.equal(await ourPeer.call('pread', fd, 20, 0), 'STILL here')
      await ourPeer.call('close', fd)
      assert.equal(await stockPeer.call('writeFile', at(1, 'open'), 'new', 0), 0)
      assert.equal(await ourPeer.content(at(0, 'open')), 'new')
    })
  })
}
