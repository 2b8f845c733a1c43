/** Bricks that fail: what users are told, what is put on record first, what is read afterwards. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import { E } from '../../../../src/core/errno.ts'
import type { Fd } from '../../../../src/core/fd.ts'
import type { FopName } from '../../../../src/core/fop.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { S_IFREG, SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import { simStores } from '../../../lib/disk-store.ts'
import { withManualClock } from '../../../lib/manual-clock.ts'
import {
  close,
  letGo,
  mark,
  noLocks,
  type ReplicateGraph,
  type ReplicateInput,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'
import { isPending, settle } from '../../../lib/scripted.ts'
import { SimNode } from '../../../lib/sim-store.ts'

async function prepared(input: ReplicateInput = {}): Promise<ReplicateGraph> {
  const volume = await replicateGraph(input)
  await volume.mount.mkdir('/dir')
  await volume.mount.writeFile('/old', 'old content')
  await letGo(volume)
  takeCounts(volume)
  return volume
}

const failing =
  (fop: FopName, errno: (typeof E)[keyof typeof E]) =>
  (name: FopName): (typeof E)[keyof typeof E] | undefined =>
    name === fop ? errno : undefined

async function write(volume: ReplicateGraph, fd: Fd, text: string, offset = 0): Promise<number> {
  const data = Buffer.from(text)
  const req = { fd, data: [data], size: data.length, offset, flags: 0 }
  return (await volume.mount.fop('writev', req)).errno
}

const content = ({ bricks }: ReplicateGraph, brick: number, path = '/old'): string | undefined =>
  bricks[brick]!.store.at(path)?.data.toString()

void describe('writes', () => {
  void test('a brick that fails one is blamed by the others; its mark stays', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[1]!.fail = failing('writev', E.IO)
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
    for (const brick of [0, 2]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 1), [1, 0, 0])
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 'dirty'), [0, 0, 0])
      assert.equal(content(volume, brick), 'new content')
    }
    assert.deepEqual(mark(volume.bricks[1]!, '/old', 'dirty'), [1, 0, 0])
    noLocks(volume)
  })

  void test('the user is told only when the failure is on record', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'first'), 0)
    volume.bricks[1]!.fail = failing('writev', E.NOSPC)
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    volume.bricks[0]!.gate = (fop) => (fop === 'fxattrop' ? gate : undefined)
    const answer = write(volume, fd, 'second')
    assert.ok(await isPending(answer))
    open()
    assert.equal(await answer, 0)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 1), [1, 0, 0])
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 1), [1, 0, 0])
    await letGo(volume)
  })

  void test('of several under way every one waits for the record', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'first'), 0)
    volume.bricks[2]!.fail = failing('writev', E.IO)
    const writes = [0, 10, 20, 30].map((offset) => write(volume, fd, 'x', offset))
    assert.deepEqual(await Promise.all(writes), [0, 0, 0, 0])
    assert.ok(mark(volume.bricks[0]!, '/old', 2)[0]! > 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 'dirty'), [0, 0, 0])
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 'dirty'), [1, 0, 0])
    noLocks(volume)
  })

  void test('an error all bricks agree on blames nobody, not even a missing brick', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[2]!.up = false
    for (const brick of volume.bricks) brick.fail = failing('writev', E.FBIG)
    assert.equal(await write(volume, fd, 'new'), E.FBIG)
    await letGo(volume)
    for (const brick of [0, 1]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 2), [0, 0, 0])
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 'dirty'), [0, 0, 0])
    }
    noLocks(volume)
  })

  void test('errors that differ leave the mark for a heal', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[0]!.fail = failing('writev', E.IO)
    volume.bricks[1]!.fail = failing('writev', E.NOSPC)
    volume.bricks[2]!.fail = failing('writev', E.IO)
    assert.equal(await write(volume, fd, 'new'), E.NOSPC)
    await letGo(volume)
    for (const brick of volume.bricks) {
      assert.deepEqual(mark(brick, '/old', 'dirty'), [1, 0, 0])
      assert.deepEqual(mark(brick, '/old', 1), [0, 0, 0])
    }
    noLocks(volume)
  })

  void test('one success of three is a failure, and the mark stays', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[0]!.fail = failing('writev', E.NOSPC)
    volume.bricks[1]!.fail = failing('writev', E.NOSPC)
    assert.equal(await write(volume, fd, 'new'), E.NOSPC)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 'dirty'), [1, 0, 0])
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 0), [0, 0, 0])
    noLocks(volume)
  })

  void test('a shorter write than the best is a failure', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    const brick = volume.bricks[1]!
    const writev = (brick as unknown as { writev: (...args: unknown[]) => unknown }).writev
    Object.assign(brick, {
      writev: async (...args: unknown[]) => ({ ...((await writev(...args)) as object), size: 1 }),
    })
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 1), [1, 0, 0])
  })

  void test('the only good copy that fails is not blamed', async () => {
    const volume = await prepared({ bricks: 2 })
    volume.bricks[1]!.up = false
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'one'), 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 1), [1, 0, 0])
    volume.bricks[1]!.up = true
    volume.bricks[0]!.fail = failing('writev', E.IO)
    assert.equal(await write(volume, fd, 'two'), E.IO)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[1]!, '/old', 0), [0, 0, 0])
    noLocks(volume)
  })

  void test('writes at once that fail on different bricks never blame every copy', async () => {
    for (const failures of [
      [0, 1],
      [0, 2],
      [2, 1],
      [0, 2, 1],
    ]) {
      const volume = await prepared()
      // Brick 1 is behind already.
      volume.bricks[1]!.up = false
      const fd = await volume.mount.open('/old')
      assert.equal(await write(volume, fd, 'first'), 0)
      await letGo(volume)
      volume.bricks[1]!.up = true
      assert.equal(await write(volume, fd, 'second'), 0)
      failures.forEach((brick, index) => {
        volume.bricks[brick]!.fail = (fop, req) => {
          const { offset } = req as unknown as { offset: number }
          return fop === 'writev' && offset === 100 * (index + 1) ? E.IO : undefined
        }
      })
      const writes = [100, 200, 300, 400].map((offset) => write(volume, fd, 'x', offset))
      await Promise.all(writes)
      await letGo(volume)
      const blamed = [0, 1, 2].filter((whom) =>
        [0, 1, 2].some((by) => mark(volume.bricks[by]!, '/old', whom)[0] !== 0),
      )
      assert.ok(blamed.length < 3, `${failures}: everybody is blamed`)
      noLocks(volume)
    }
  })

  void test('the only good brick, lost once it has a write, is not blamed for it', async () => {
    for (const options of [{}, { 'arbiter-count': '1' }] as Record<string, string>[]) {
      const volume = await prepared({ options })
      // Brick 0 is behind, and without an arbiter brick 2 too.
      for (const down of options['arbiter-count'] === '1' ? [0] : [0, 2]) {
        volume.bricks[down]!.up = false
        const fd = await volume.mount.open('/old')
        assert.equal(await write(volume, fd, 'first'), 0)
        await letGo(volume)
        volume.bricks[down]!.up = true
      }
      const fd = await volume.mount.open('/old')
      let open = (): void => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      volume.bricks[2]!.gate = (fop) => (fop === 'writev' ? gate : undefined)
      const answer = write(volume, fd, 'second')
      await settle()
      volume.bricks[1]!.up = false
      open()
      await answer
      await letGo(volume)
      for (const by of [0, 2]) assert.deepEqual(mark(volume.bricks[by]!, '/old', 1), [0, 0, 0])
      noLocks(volume)
    }
  })

  void test('a brick lost between two writes is blamed from the second on', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'one'), 0)
    volume.bricks[2]!.up = false
    assert.equal(await write(volume, fd, 'two'), 0)
    await letGo(volume)
    for (const brick of [0, 1]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 2), [1, 0, 0])
      assert.deepEqual(mark(volume.bricks[brick]!, '/old', 'dirty'), [0, 0, 0])
    }
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 'dirty'), [1, 0, 0])
    noLocks(volume)
  })

  void test('a brick that comes back in the middle has missed what went before', async () => {
    const volume = await prepared()
    volume.bricks[2]!.up = false
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'one'), 0)
    volume.bricks[2]!.up = true
    assert.equal(await write(volume, fd, 'two'), 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 2), [1, 0, 0])
    assert.equal(content(volume, 2), 'two content')
    noLocks(volume)
  })

  void test('a brick without the file is blamed, not an error', async () => {
    const volume = await prepared({ stores: simStores(3) })
    const { store } = volume.bricks[1]!
    store.remove(store.root, 'old')
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 1), [1, 0, 0])
    noLocks(volume)
  })

  void test('a mark that cannot be made on one brick blames it', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[1]!.fail = failing('fxattrop', E.IO)
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
    assert.equal(content(volume, 1), 'old content')
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 1), [1, 0, 0])
    noLocks(volume)
  })

  void test('nothing is written without a quorum', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    volume.bricks[0]!.up = false
    volume.bricks[2]!.up = false
    takeCounts(volume)
    assert.equal(await write(volume, fd, 'new'), E.NOTCONN)
    const loc = await volume.mount.loc('/dir')
    assert.equal((await volume.mount.fop('stat', { loc })).errno, E.NOTCONN)
    assert.equal((await volume.mount.fop('statfs', { loc })).errno, E.NOTCONN)
    assert.equal((await volume.mount.fop('lookup', { loc })).errno, E.NOTCONN)
    assert.equal((await volume.mount.fop('rmdir', { loc, flags: 0 })).errno, E.NOTCONN)
    assert.deepEqual(takeCounts(volume), [{}, {}, {}])
    volume.bricks[0]!.up = true
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
  })

  void test('a quorum lost while the lock is taken: nothing is written', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    for (const brick of [0, 1]) {
      volume.bricks[brick]!.gate = (fop) => {
        if (fop === 'finodelk') volume.bricks[brick]!.up = false
        return undefined
      }
    }
    assert.equal(await write(volume, fd, 'new'), E.NOTCONN)
    await letGo(volume)
    assert.equal(content(volume, 2), 'old content')
    assert.deepEqual(mark(volume.bricks[2]!, '/old', 'dirty'), [0, 0, 0])
    noLocks(volume)
  })
})

void describe('the lock of a file', () => {
  void test('is kept for a second, and the mark with it', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    await withManualClock(async (manual) => {
      assert.equal(await write(volume, fd, 'one'), 0)
      manual.pass(999)
      await settle()
      assert.deepEqual(mark(volume.bricks[0]!, '/old', 'dirty'), [1, 0, 0])
      assert.equal(await write(volume, fd, 'two'), 0)
      manual.pass(999)
      await settle()
      assert.equal(volume.bricks[0]!.store.locks.held.length, 1)
      manual.pass(1)
      await settle()
      assert.deepEqual(mark(volume.bricks[0]!, '/old', 'dirty'), [0, 0, 0])
      noLocks(volume)
    })
  })

  void test('goes back at once when another client waits', async () => {
    const ours = await prepared()
    const stores = ours.bricks.map(({ store }) => store)
    const theirs = await replicateGraph({ stores, client: 'client-1' })
    const [a, b] = [await ours.mount.open('/old'), await theirs.mount.open('/old')]
    assert.equal(await write(ours, a, 'one'), 0)
    const waiting = write(theirs, b, 'two')
    assert.ok(await isPending(waiting))
    // The reply to the next write says that somebody waits.
    assert.equal(await write(ours, a, 'ONE'), 0)
    assert.equal(await waiting, 0)
    for (const brick of [0, 1, 2]) assert.equal(content(ours, brick), 'two content')
    await letGo(ours)
    await letGo(theirs)
    noLocks(ours)
  })

  void test('is settled by the flush of the file', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    assert.equal(await write(volume, fd, 'one'), 0)
    await close(volume, fd)
    await settle()
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 'dirty'), [0, 0, 0])
    // The unlock travels with the next request, whatever that is about.
    await volume.mount.lookup('/')
    await settle()
    noLocks(volume)
  })

  void test('two clients writing at once leave equal bricks', async () => {
    const ours = await prepared()
    const stores = ours.bricks.map(({ store }) => store)
    const theirs = await replicateGraph({ stores, client: 'client-1' })
    const [a, b] = [await ours.mount.open('/old'), await theirs.mount.open('/old')]
    const writes: Promise<number>[] = []
    for (let i = 0; i < 40; i++) {
      const [volume, fd] = i % 2 === 0 ? ([ours, a] as const) : ([theirs, b] as const)
      writes.push(write(volume, fd, `${i}`.repeat(7), (i * 5) % 23))
      if (i % 7 === 0) await settle()
    }
    const done = Promise.all(writes)
    // Idle locks end as if their time were over.
    while (await isPending(done)) for (const { afr } of [ours, theirs]) afr.releaseLocks()
    assert.deepEqual(await done, new Array(40).fill(0))
    await letGo(ours)
    await letGo(theirs)
    const [first, ...rest] = [0, 1, 2].map((brick) => content(ours, brick))
    for (const other of rest) assert.equal(other, first)
    for (const brick of ours.bricks) assert.deepEqual(mark(brick, '/old', 'dirty'), [0, 0, 0])
    noLocks(ours)
  })
})

void describe('names', () => {
  void test('a brick that cannot make a file is blamed on the file and on the directory', async () => {
    const volume = await prepared({ options: { 'granular-entry-heal': 'on' } })
    volume.bricks[1]!.fail = failing('create', E.NOSPC)
    const fd = await volume.mount.create('/dir/new')
    await close(volume, fd)
    await letGo(volume)
    for (const brick of [0, 2]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir/new', 1), [1, 1, 0])
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir', 1), [0, 0, 1])
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir', 'dirty'), [0, 0, 0])
    }
    noLocks(volume)
  })

  void test('a brick that had another file of the name is outvoted and blamed', async () => {
    const volume = await prepared({ stores: simStores(3) })
    const { store } = volume.bricks[1]!
    volume.bricks[0]!.up = false
    volume.bricks[2]!.up = false
    // What is left of a creation that found no quorum.
    const left = new SimNode(newGfid(), S_IFREG | 0o644)
    store.add(store.root, 'same', left)
    volume.bricks[0]!.up = true
    volume.bricks[2]!.up = true
    const fd = await volume.mount.create('/same')
    assert.equal(await write(volume, fd, 'mine'), 0)
    await close(volume, fd)
    await letGo(volume)
    for (const brick of [0, 2]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/', 1), [0, 0, 1])
      assert.ok(mark(volume.bricks[brick]!, '/same', 1)[0]! > 0)
    }
    assert.equal(await volume.mount.readFile('/same'), 'mine')
    volume.mount.table.unlinkName(volume.mount.table.root, 'same')
    assert.equal((await volume.mount.lookup('/same')).stat.gfid, fd.inode.gfid)
    assert.equal(await volume.mount.readFile('/same'), 'mine')
    noLocks(volume)
  })

  void test('a directory a quorum removed: the brick where it is not empty is behind', async () => {
    const volume = await prepared()
    volume.bricks[1]!.fail = failing('rmdir', E.NOTEMPTY)
    const loc = await volume.mount.loc('/dir')
    assert.equal((await volume.mount.fop('rmdir', { loc, flags: 0 })).errno, 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/', 1), [0, 0, 1])
    assert.deepEqual(mark(volume.bricks[2]!, '/', 1), [0, 0, 1])
    assert.deepEqual(mark(volume.bricks[1]!, '/', 0), [0, 0, 0])
    noLocks(volume)
  })

  void test('a directory that all who removed it had missed names of blames nobody', async () => {
    const volume = await prepared()
    const { xattrs } = volume.bricks[1]!.store.at('/dir')!
    const missed = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    for (const brick of [0, 2]) xattrs.set(`trusted.afr.V-client-${brick}`, missed)
    volume.bricks[1]!.fail = failing('rmdir', E.NOTEMPTY)
    const loc = await volume.mount.loc('/dir')
    assert.equal((await volume.mount.fop('rmdir', { loc, flags: 0 })).errno, 0)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/', 1), [0, 0, 0])
    noLocks(volume)
  })

  void test('one success of three is a failure and marks the directory', async () => {
    const volume = await prepared()
    volume.bricks[0]!.fail = failing('unlink', E.IO)
    volume.bricks[1]!.fail = failing('unlink', E.IO)
    const loc = await volume.mount.loc('/old')
    assert.equal((await volume.mount.fop('unlink', { loc, flags: 0 })).errno, E.IO)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[2]!, '/', 'dirty'), [0, 0, 1])
    assert.deepEqual(mark(volume.bricks[2]!, '/', 0), [0, 0, 0])
    noLocks(volume)
  })

  void test('two clients making one name: one of them gets it, on all bricks', async () => {
    const ours = await prepared()
    const stores = ours.bricks.map(({ store }) => store)
    const theirs = await replicateGraph({ stores, client: 'client-1' })
    const results = await Promise.allSettled([
      ours.mount.mkdir('/same'),
      theirs.mount.mkdir('/same'),
    ])
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    await letGo(ours)
    await letGo(theirs)
    const gfids = stores.map((store) => store.at('/same')?.gfid)
    assert.equal(new Set(gfids).size, 1)
    noLocks(ours)
  })
})

void describe('attributes', () => {
  void test('a brick that fails is blamed', async () => {
    const volume = await prepared()
    volume.bricks[2]!.fail = failing('setattr', E.IO)
    await volume.mount.setattr('/old', { mode: 0o600 }, SET_ATTR_MODE)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 2), [0, 1, 0])
    assert.deepEqual(mark(volume.bricks[0]!, '/old', 'dirty'), [0, 0, 0])
    noLocks(volume)
  })

  void test('an error all agree on needs no new look at the copies', async () => {
    const volume = await prepared()
    await volume.mount.lookup('/old')
    const loc = await volume.mount.loc('/old')
    takeCounts(volume)
    const rep = await volume.mount.fop('removexattr', { loc, name: 'user.none' })
    assert.equal(rep.errno, E.NODATA)
    await letGo(volume)
    const expected = { inodelk: 2, removexattr: 1 }
    assert.deepEqual(takeCounts(volume), [expected, expected, expected])
  })

  void test('the change log is nobody else’s', async () => {
    const volume = await prepared()
    const loc = await volume.mount.loc('/old')
    const name = 'trusted.afr.V-client-1'
    const dict = new Dict().setBytes(name, Buffer.alloc(12))
    assert.equal((await volume.mount.fop('setxattr', { loc, dict, flags: 0 })).errno, E.PERM)
    assert.equal((await volume.mount.fop('removexattr', { loc, name })).errno, E.PERM)
    assert.equal((await volume.mount.fop('getxattr', { loc, name })).errno, E.NODATA)
  })
})

void describe('reads', () => {
  void test('go to another copy when one fails', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    assert.equal(await volume.mount.read(fd), 'old content')
    const reader = volume.bricks.findIndex(({ trace }) => trace.some((line) => /^readv/.test(line)))
    volume.bricks[reader]!.fail = failing('readv', E.IO)
    assert.equal(await volume.mount.read(fd), 'old content')
  })

  void test('leave out a brick that came back without what it missed', async () => {
    const volume = await prepared()
    for (const down of [0, 1, 2]) {
      const path = `/file-${down}`
      await volume.mount.writeFile(path, 'before')
      await letGo(volume)
      volume.bricks[down]!.up = false
      const fd = await volume.mount.open(path)
      await write(volume, fd, 'after!')
      await close(volume, fd)
      await letGo(volume)
      volume.bricks[down]!.up = true
      assert.equal(await volume.mount.readFile(path), 'after!')
    }
  })

  void test('an fd goes on while bricks come and go', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    for (const down of [0, 1, 2]) {
      volume.bricks[down]!.up = false
      assert.equal(await volume.mount.read(fd), 'old content')
      volume.bricks[down]!.up = true
    }
    assert.equal(await volume.mount.read(fd), 'old content')
  })

  void test('an fd that most bricks have lost is no good', async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('/old')
    // With client.strict-locks, when its locks are gone.
    const lost = new Set<FopName>(['finodelk', 'fstat', 'readv'])
    for (const brick of [0, 1]) {
      volume.bricks[brick]!.fail = (fop) => (lost.has(fop) ? E.BADFD : undefined)
    }
    assert.equal(await write(volume, fd, 'new'), E.BADFD)
    volume.afr.doubt(fd.inode)
    const read = await volume.mount.fop('readv', { fd, offset: 0, size: 9, flags: 0 })
    assert.equal(read.errno, E.BADFD)
    assert.equal((await volume.mount.fop('fstat', { fd })).errno, E.BADFD)
    noLocks(volume)
  })

  void test('an fd opened without a brick is opened there when the brick is back', async () => {
    const volume = await prepared()
    volume.bricks[1]!.up = false
    const fd = await volume.mount.open('/old')
    volume.bricks[1]!.up = true
    assert.equal(await write(volume, fd, 'new'), 0)
    await letGo(volume)
    assert.ok(volume.bricks[1]!.isOpen(fd))
  })
})
