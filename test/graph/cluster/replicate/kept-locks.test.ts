/** Locks kept for the next change: of all names of a directory, and of an object's metadata. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import { type ManualClock, withManualClock } from '../../../lib/manual-clock.ts'
import {
  letGo,
  mark,
  noLocks,
  type ReplicateGraph,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'
import { isPending, settle } from '../../../lib/scripted.ts'

/** Changes after which the next is expected, and their lock requests to each brick. */
const STREAM_LENGTH = 4
const SINGLE_LOCKS = 2 * STREAM_LENGTH

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await settle()
}

async function prepared(): Promise<ReplicateGraph> {
  const volume = await replicateGraph()
  await volume.mount.mkdir('/dir')
  await letGo(volume)
  takeCounts(volume)
  return volume
}

/** Enough changes that the last ones are made under a kept lock. */
async function stream({ mount }: ReplicateGraph, count = STREAM_LENGTH + 6): Promise<void> {
  for (let i = 0; i < count; i++) {
    await mount.mkdir(`/dir/${i}`)
    await settled()
  }
}

const entrylks = (volume: ReplicateGraph): number[] =>
  takeCounts(volume).map(({ entrylk }) => entrylk ?? 0)

const each = (count: number): number[] => [count, count, count]

async function others(volume: ReplicateGraph): Promise<ReplicateGraph> {
  const stores = volume.bricks.map(({ store }) => store)
  return replicateGraph({ stores, client: 'client-1' })
}

/** Time passes until `done`. */
async function passUntil(manual: ManualClock, done: Promise<unknown>): Promise<number> {
  let passed = 0
  for (; await isPending(done); passed += 5) {
    assert.ok(passed < 10_000, 'it never ends')
    manual.pass(5)
    await settled()
  }
  return passed
}

void describe('names of a directory', () => {
  void test('a stream of changes locks all names once', async () => {
    const volume = await prepared()
    await withManualClock(async (manual) => {
      await stream(volume)
      assert.deepEqual(entrylks(volume), each(SINGLE_LOCKS + 1))
      manual.pass(40)
      await settled()
      assert.deepEqual(entrylks(volume), each(1))
      noLocks(volume)
    })
  })

  void test('a few changes, or slow ones, lock their own names', async () => {
    const volume = await prepared()
    await withManualClock(async (manual) => {
      for (let i = 0; i < 20; i++) {
        manual.pass(150)
        await volume.mount.mkdir(`/dir/${i}`)
        await settled()
        noLocks(volume)
      }
      assert.deepEqual(entrylks(volume), each(40))
    })
  })

  void test('it is given back in time, however long the stream', async () => {
    const volume = await prepared()
    await withManualClock(async (manual) => {
      await stream(volume)
      entrylks(volume)
      for (let i = 0; i < 30; i++) {
        manual.pass(10)
        await volume.mount.mkdir(`/dir/more-${i}`)
        await settled()
      }
      // 300 ms: given back and taken again about every 100.
      for (const count of entrylks(volume)) assert.ok(count >= 4 && count <= 6, `${count}`)
    })
  })

  void test('another client waits a moment, and is then left in peace', {
    skip: noDisk,
  }, async () => {
    const ours = await prepared()
    const theirs = await others(ours)
    await withManualClock(async (manual) => {
      await stream(ours)
      const waiting = theirs.mount.mkdir('/dir/theirs')
      await settled()
      assert.ok(await isPending(waiting))
      // More changes of ours do not put it off.
      const passed = await passUntil(manual, waiting)
      assert.ok(passed <= 100, `${passed} ms`)
      entrylks(ours)
      await streamAgain(ours)
      assert.deepEqual(entrylks(ours), each(20))
      noLocks(ours)
    })
    for (const { store } of ours.bricks) assert.ok(store.at('/dir/theirs') !== undefined)
  })

  void test('where others hold a name, ours are locked one by one', async () => {
    const ours = await prepared()
    const theirs = await others(ours)
    await withManualClock(async () => {
      for (let i = 0; i < STREAM_LENGTH; i++) {
        await ours.mount.mkdir(`/dir/${i}`)
        await settled()
      }
      let proceed = (): void => {}
      const hold = new Promise<void>((resolve) => {
        proceed = resolve
      })
      theirs.bricks[0]!.gate = (fop) => (fop === 'mkdir' ? hold : undefined)
      const held = theirs.mount.mkdir('/dir/theirs')
      await settled()
      entrylks(ours)
      await streamAgain(ours)
      // One attempt on all names, given back where it succeeded.
      for (const count of entrylks(ours)) assert.ok(count <= 22, `${count}`)
      proceed()
      await held
      await settled()
      noLocks(ours)
    })
  })

  void test('a change of two directories gets through, and so does the removal', async () => {
    const volume = await prepared()
    const { mount } = volume
    await mount.mkdir('/other')
    await withManualClock(async () => {
      await stream(volume)
      await mount.rename('/dir/0', '/other/0')
      await mount.rename('/dir/1', '/dir/one')
      for (let i = 2; i < STREAM_LENGTH + 6; i++) await mount.rmdir(`/dir/${i}`)
      await mount.rmdir('/dir/one')
      await mount.rmdir('/dir')
      await settled()
      await letGo(volume)
      noLocks(volume)
    })
    for (const { store } of volume.bricks) {
      assert.equal(store.at('/dir'), undefined)
      assert.ok(store.at('/other/0') !== undefined)
    }
  })

  void test('one name is changed by one at a time', async () => {
    const volume = await prepared()
    const { mount } = volume
    await withManualClock(async () => {
      await stream(volume)
      const makes = Array.from({ length: 8 }, () => mount.mkdir('/dir/same').catch(() => undefined))
      const made = await Promise.all(makes)
      assert.equal(made.filter((stat) => stat !== undefined).length, 1)
      await letGo(volume)
      noLocks(volume)
    })
    const [a, b, c] = volume.bricks.map(({ store }) => store.at('/dir/same')?.gfid)
    assert.ok(a !== undefined && a === b && b === c)
  })

  void test('a brick that goes is blamed for what follows, and the lock ends', async () => {
    const volume = await prepared()
    await withManualClock(async () => {
      await stream(volume)
      volume.bricks[2]!.up = false
      await settled()
      noLocksOn(volume, [0, 1])
      await volume.mount.mkdir('/dir/missed')
      await settled()
      noLocksOn(volume, [0, 1])
    })
    for (const brick of [0, 1]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir', 2), [0, 0, 1])
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir', 'dirty'), [0, 0, 0])
    }
  })

  void test('a brick that goes while a change is under way is blamed', async () => {
    const volume = await prepared()
    await withManualClock(async () => {
      await stream(volume)
      volume.bricks[2]!.gate = (fop) => {
        if (fop === 'mkdir') volume.bricks[2]!.up = false
        return undefined
      }
      await volume.mount.mkdir('/dir/missed')
      await settled()
      noLocksOn(volume, [0, 1])
    })
    for (const brick of [0, 1]) {
      assert.deepEqual(mark(volume.bricks[brick]!, '/dir', 2), [0, 0, 1])
    }
  })
})

/** Ten more changes, in quick succession. */
async function streamAgain({ mount }: ReplicateGraph): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await mount.mkdir(`/dir/again-${i}`)
    await settled()
  }
}

function noLocksOn({ bricks }: ReplicateGraph, which: number[]): void {
  for (const brick of which) assert.deepEqual(bricks[brick]!.store.locks.held, [])
}

void describe('metadata', () => {
  void test('mode, owner and times one after the other take one lock', async () => {
    const volume = await prepared()
    await withManualClock(async (manual) => {
      for (const mode of [0o700, 0o750, 0o755]) {
        await volume.mount.setattr('/dir', { mode }, SET_ATTR_MODE)
        await settled()
      }
      const counts = { inodelk: 1, setattr: 3 }
      assert.deepEqual(takeCounts(volume), [counts, counts, counts])
      manual.pass(20)
      await settled()
      assert.deepEqual(takeCounts(volume), [{ inodelk: 1 }, { inodelk: 1 }, { inodelk: 1 }])
      noLocks(volume)
    })
  })

  void test('another client gets its turn', async () => {
    const ours = await prepared()
    const theirs = await others(ours)
    await withManualClock(async (manual) => {
      await ours.mount.setattr('/dir', { mode: 0o700 }, SET_ATTR_MODE)
      await theirs.mount.lookup('/dir')
      const waiting = theirs.mount.setattr('/dir', { mode: 0o711 }, SET_ATTR_MODE)
      const passed = await passUntil(manual, waiting)
      assert.ok(passed <= 20, `${passed} ms`)
      manual.pass(20)
      await settled()
      noLocks(ours)
    })
  })
})
