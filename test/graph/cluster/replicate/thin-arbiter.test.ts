/** Two bricks and a thin arbiter: when it is asked, and what its answers allow. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import type { Req } from '../../../../src/core/fop.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import {
  letGo,
  mark,
  type ReplicateGraph,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'
import type { SimStore } from '../../../lib/sim-store.ts'

const ID_FILE = 'trusted.afr.V-ta-2.id'
const options = {
  'thin-arbiter': 'host:/path',
  'afr-pending-xattr': `V-client-0,V-client-1,${ID_FILE.slice('trusted.afr.'.length)}`,
}

/** A volume, or another client of one. */
async function volumeOf(client = 'client-0', stores?: SimStore[]): Promise<ReplicateGraph> {
  const volume = await replicateGraph({
    options,
    client,
    ...(stores === undefined ? {} : { stores }),
  })
  const arbiter = volume.bricks[2]!
  // As features/thin-arbiter: of two bricks one at a time is bad.
  arbiter.fail = (fop, req) => {
    if (fop !== 'xattrop') return undefined
    const { dict } = req as Req<'xattrop'>
    const blamed = [0, 1].filter((i) => isSet(dict.getBytes(`trusted.afr.V-client-${i}`)))
    const before = record(volume)
    return blamed.length === 1 && before.length === 1 && blamed[0] !== before[0]
      ? E.INVAL
      : undefined
  }
  return volume
}

const isSet = (value: Buffer | undefined): boolean => value?.some((byte) => byte !== 0) === true

/** The bricks that are bad according to the thin arbiter. */
function record({ bricks }: ReplicateGraph): number[] {
  const xattrs = bricks[2]!.store.at(`/${ID_FILE}`)?.xattrs
  return [0, 1].filter((i) => isSet(xattrs?.get(`trusted.afr.V-client-${i}`)))
}

const asked = (volume: ReplicateGraph): Record<string, number> => takeCounts(volume)[2]!

async function errnoOfRead({ mount }: ReplicateGraph, path: string): Promise<number> {
  const fd = await mount.open(path)
  return (await mount.fop('readv', { fd, size: 100, offset: 0, flags: 0 } as never)).errno
}

/** A volume with a file, and nothing under way. */
async function withFile(): Promise<ReplicateGraph> {
  const volume = await volumeOf()
  await volume.mount.writeFile('/f', 'content')
  await letGo(volume)
  return volume
}

void describe('thin arbiter', () => {
  void test('is not asked while both bricks are there', async () => {
    const volume = await volumeOf()
    await volume.mount.writeFile('/f', 'content')
    assert.equal(await volume.mount.readFile('/f'), 'content')
    await letGo(volume)
    assert.deepEqual(asked(volume), {})
  })

  void test('one brick alone: the other is on record first, once', async () => {
    const volume = await withFile()
    volume.bricks[1]!.up = false
    asked(volume)
    const fd = await volume.mount.open('/f')
    await volume.mount.write(fd, 0, 'changed')
    // The user has an answer: whatever happens now, brick 1 is not believed.
    assert.deepEqual(record(volume), [1])
    assert.deepEqual(asked(volume), { create: 1, inodelk: 3, xattrop: 1 })
    await volume.mount.mkdir('/d')
    assert.equal(await volume.mount.readFile('/f'), 'changed')
    await letGo(volume)
    assert.deepEqual(asked(volume), {})
    assert.deepEqual(mark(volume.bricks[0]!, '/f', 1), [1, 0, 0])
    assert.deepEqual(mark(volume.bricks[0]!, '/', 1), [0, 0, 1])
  })

  void test('reads of one brick: it is asked unless that brick blames the other', async () => {
    const volume = await volumeOf()
    for (const name of ['/f', '/g']) await volume.mount.writeFile(name, 'content')
    await letGo(volume)
    const stores = volume.bricks.map(({ store }) => store)
    volume.bricks[1]!.up = false
    const other = await volumeOf('client-1', stores)
    other.bricks[1]!.up = false
    assert.equal(await other.mount.readFile('/f'), 'content')
    assert.equal(asked(other).xattrop, 1)
    assert.deepEqual(record(other), [])
    const fd = await volume.mount.open('/f')
    await volume.mount.write(fd, 0, 'changed')
    await letGo(volume)
    assert.equal(await other.mount.readFile('/f'), 'changed')
    assert.deepEqual(asked(other), {})
  })

  void test('the bad brick alone is not read and not changed', async () => {
    const volume = await withFile()
    volume.bricks[1]!.up = false
    const fd = await volume.mount.open('/f')
    await volume.mount.write(fd, 0, 'changed')
    await letGo(volume)
    const stores = volume.bricks.map(({ store }) => store)
    const other = await volumeOf('client-1', stores)
    for (const one of [volume, other]) {
      one.bricks[1]!.up = true
      one.bricks[0]!.up = false
      assert.equal(await errnoOfRead(one, '/f'), E.IO)
      const wanted = await one.mount.open('/f')
      const rep = await one.mount.fop('ftruncate', { fd: wanted, offset: 1 })
      assert.equal(rep.errno, E.IO)
      await assert.rejects(one.mount.mkdir('/d'), { errno: E.IO })
      await letGo(one)
      assert.deepEqual(mark(one.bricks[1]!, '/f', 0), [0, 0, 0])
      assert.deepEqual(record(one), [1])
    }
  })

  void test('the self-heal daemon gets the lock, and the record is made anew', async () => {
    const volume = await withFile()
    volume.bricks[1]!.up = false
    const fd = await volume.mount.open('/f')
    await volume.mount.write(fd, 0, 'one')
    await letGo(volume)
    asked(volume)
    const contention = {
      type: 'inodelk-contention',
      gfid: volume.mount.table.root.gfid,
      domain: 'afr.ta.dom-notify',
      pid: 0,
    }
    const arbiter = volume.bricks[2] as unknown as Xlator
    volume.afr.notify({ type: 'upcall', upcall: contention } as never, arbiter)
    await letGo(volume)
    assert.deepEqual(asked(volume), { inodelk: 1 })
    await volume.mount.write(fd, 0, 'two')
    await letGo(volume)
    assert.deepEqual(asked(volume), { inodelk: 3, xattrop: 1 })
  })

  void test('without it one brick alone is no good', async () => {
    const volume = await withFile()
    volume.bricks[2]!.up = false
    assert.equal(await volume.mount.readFile('/f'), 'content')
    volume.bricks[1]!.up = false
    assert.equal(await errnoOfRead(volume, '/f'), E.IO)
    const fd = await volume.mount.open('/f')
    assert.equal((await volume.mount.fop('ftruncate', { fd, offset: 1 })).errno, E.IO)
    volume.bricks[2]!.up = true
    assert.equal((await volume.mount.fop('ftruncate', { fd, offset: 1 })).errno, 0)
    assert.deepEqual(record(volume), [1])
  })
})
