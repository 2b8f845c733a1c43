/** What is done before the next request asks for it, and what waits for the next request. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { F_SETLK, F_SETLKW } from '../../../../src/core/fop.ts'
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
import { settle } from '../../../lib/scripted.ts'

/** New files that are written before the next is prepared for a write. */
const WRITTEN = 4
const O_CREAT = 0o100

/** Files made and written, so that the next one is expected to be. */
async function trained(input: ReplicateInput = {}): Promise<ReplicateGraph> {
  const volume = await replicateGraph(input)
  for (let i = 0; i < WRITTEN; i++) await volume.mount.writeFile(`/f${i}`, 'content')
  await letGo(volume)
  takeCounts(volume)
  return volume
}

const each = <T>(what: T): T[] => [what, what, what]
const count = (volume: ReplicateGraph, fop: string): number[] =>
  takeCounts(volume).map((counts) => counts[fop] ?? 0)

const dirty = ({ bricks }: ReplicateGraph, path: string): number[] =>
  bricks.map((brick) => mark(brick, path, 'dirty')[0]!)

void describe('a new file, after some that were written', () => {
  void test('is locked and marked before its first write', async () => {
    const volume = await trained()
    const fd = await volume.mount.create('/new')
    await settle()
    assert.deepEqual(dirty(volume, '/new'), each(1))
    assert.deepEqual(
      takeCounts(volume).map(({ finodelk, fxattrop }) => [finodelk, fxattrop]),
      each([1, 1]),
    )
    await volume.mount.write(fd, 0, 'text')
    assert.deepEqual(takeCounts(volume), each({ writev: 1 }))
    await close(volume, fd)
    await letGo(volume)
    assert.deepEqual(takeCounts(volume), each({ flush: 1, fxattrop: 1, finodelk: 1, entrylk: 1 }))
    assert.deepEqual(dirty(volume, '/new'), each(0))
    noLocks(volume)
  })

  void test('its write may come before that is done', async () => {
    const volume = await trained()
    const fd = await volume.mount.create('/new')
    await volume.mount.write(fd, 0, 'text')
    await close(volume, fd)
    await letGo(volume)
    const counts = { entrylk: 2, create: 1, writev: 1, flush: 1, finodelk: 2, fxattrop: 2 }
    assert.deepEqual(takeCounts(volume), each(counts))
    assert.deepEqual(dirty(volume, '/new'), each(0))
    noLocks(volume)
  })

  void test('that is closed without a write is let go, and the next is waited with', async () => {
    const volume = await trained()
    await close(volume, await volume.mount.create('/unwritten'))
    await withManualClock(async () => {
      await settle()
      // Not by a timer.
      await volume.mount.lookup('/')
      await settle()
      assert.deepEqual(dirty(volume, '/unwritten'), each(0))
      // Names may still be locked.
      assert.equal(volume.afr.dataLock(volume.bricks[0]!.store.at('/unwritten')!.gfid), undefined)
    })
    takeCounts(volume)
    await volume.mount.create('/next')
    await settle()
    assert.deepEqual(count(volume, 'finodelk'), each(0))
  })

  void test('that is flushed late is let go then', async () => {
    const volume = await trained()
    const fd = await volume.mount.create('/unwritten')
    await settle()
    assert.deepEqual(dirty(volume, '/unwritten'), each(1))
    await close(volume, fd)
    await settle()
    assert.deepEqual(dirty(volume, '/unwritten'), each(0))
    await letGo(volume)
    noLocks(volume)
  })

  void test('that cannot be written through its fd is not', async () => {
    const volume = await trained()
    await volume.mount.create('/read-only', 0o444, O_CREAT)
    await settle()
    assert.deepEqual(count(volume, 'finodelk'), each(0))
  })

  void test('with a brick missing is not', async () => {
    const volume = await trained()
    volume.bricks[2]!.up = false
    await volume.mount.create('/degraded')
    await settle()
    assert.deepEqual(count(volume, 'finodelk'), each(0))
  })

  void test('a brick that cannot mark it is blamed once it is written', async () => {
    const volume = await trained()
    volume.bricks[1]!.fail = (name) => (name === 'fxattrop' ? E.IO : undefined)
    const fd = await volume.mount.create('/new')
    await settle()
    await volume.mount.write(fd, 0, 'text')
    await close(volume, fd)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/new', 1), [1, 0, 0])
    assert.deepEqual(mark(volume.bricks[2]!, '/new', 1), [1, 0, 0])
    assert.deepEqual(dirty(volume, '/new'), each(0))
  })
})

/** Marks go along with the request for the lock. */
void describe('a new file that somebody else has locked', () => {
  /** `meanwhile`: done by him, who is met by the first request for the lock, before he gives it up. */
  async function contended(meanwhile: (volume: ReplicateGraph) => void): Promise<ReplicateGraph> {
    const volume = await trained({ stores: simStores(3) })
    const met = new Set<number>()
    let hasWaited = false
    for (const [index, brick] of volume.bricks.entries()) {
      brick.fail = (name, { cmd }) => {
        if (name !== 'finodelk' || cmd !== F_SETLK || met.has(index)) return undefined
        met.add(index)
        return E.AGAIN
      }
      brick.gate = (name, { cmd }) => {
        if (name !== 'finodelk' || cmd !== F_SETLKW || hasWaited) return undefined
        hasWaited = true
        meanwhile(volume)
        return undefined
      }
    }
    const fd = await volume.mount.create('/new')
    await settle()
    assert.deepEqual([met.size, hasWaited], [3, true])
    assert.deepEqual(dirty(volume, '/new'), each(1))
    await volume.mount.write(fd, 0, 'text')
    await close(volume, fd)
    await letGo(volume)
    assert.deepEqual(dirty(volume, '/new'), each(0))
    noLocks(volume)
    return volume
  }

  const takeBack = ({ bricks }: ReplicateGraph, which: readonly number[]): void => {
    for (const index of which) {
      assert.deepEqual(mark(bricks[index]!, '/new', 'dirty'), [1, 0, 0])
      bricks[index]!.store.at('/new')!.xattrs.set('trusted.afr.dirty', Buffer.alloc(12))
    }
  }

  void test('is not marked twice', async () => {
    const volume = await contended(() => undefined)
    // The mark, a look whether it is still there, its end.
    assert.deepEqual(count(volume, 'fxattrop'), each(3))
  })

  void test('is marked again where a heal took the mark back', async () => {
    const everywhere = await contended((volume) => takeBack(volume, [0, 1, 2]))
    assert.deepEqual(count(everywhere, 'fxattrop'), each(4))
    const onOne = await contended((volume) => takeBack(volume, [1]))
    assert.deepEqual(count(onOne, 'fxattrop'), [3, 4, 3])
  })
})

void describe('a new file whose lock is refused', () => {
  void test('by all keeps the marks for a heal to look at', async () => {
    const volume = await trained()
    for (const brick of volume.bricks) {
      brick.fail = (name, { cmd }) => (name === 'finodelk' && cmd === F_SETLK ? E.IO : undefined)
    }
    await volume.mount.create('/new')
    await settle()
    assert.deepEqual(dirty(volume, '/new'), each(1))
    await letGo(volume)
    assert.deepEqual(dirty(volume, '/new'), each(1))
    noLocks(volume)
  })

  void test('by one is written on the others, which blame it', async () => {
    const volume = await trained()
    volume.bricks[1]!.fail = (name) => (name === 'finodelk' ? E.IO : undefined)
    const fd = await volume.mount.create('/new')
    await settle()
    await volume.mount.write(fd, 0, 'text')
    await close(volume, fd)
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/new', 1), [1, 0, 0])
    assert.deepEqual(mark(volume.bricks[2]!, '/new', 1), [1, 0, 0])
    assert.deepEqual(dirty(volume, '/new'), [0, 1, 0])
    noLocks(volume)
  })
})

void describe('after a flush the lock', () => {
  async function flushed(): Promise<ReplicateGraph> {
    const volume = await replicateGraph()
    const fd = await volume.mount.create('/f')
    await volume.mount.write(fd, 0, 'one')
    await close(volume, fd)
    await settle()
    assert.deepEqual(dirty(volume, '/f'), each(0))
    return volume
  }

  const isLocked = ({ bricks }: ReplicateGraph): boolean =>
    bricks.every(({ store }) => store.locks.held.length > 0)

  void test('is given back with the next request, or a few milliseconds later', async () => {
    await withManualClock(async () => {
      const volume = await flushed()
      assert.ok(isLocked(volume))
      await volume.mount.lookup('/')
      await settle()
      noLocks(volume)
    })
    await withManualClock(async (manual) => {
      const volume = await flushed()
      assert.ok(isLocked(volume))
      manual.pass(5)
      await settle()
      noLocks(volume)
    })
  })

  void test('is given back at once when the file is written again', async () => {
    await withManualClock(async () => {
      const volume = await flushed()
      const fd = await volume.mount.open('/f')
      await volume.mount.write(fd, 0, 'two')
      assert.equal(volume.bricks[0]!.store.at('/f')!.data.toString(), 'two')
    })
  })

  void test('is given back at once when another client asks for it', async () => {
    await withManualClock(async () => {
      const volume = await flushed()
      volume.afr.dataLock(volume.bricks[0]!.store.at('/f')!.gfid)!.contended()
      await settle()
      noLocks(volume)
    })
  })
})
