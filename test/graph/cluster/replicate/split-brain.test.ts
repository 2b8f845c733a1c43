/** Copies that blame each other: what still works, what does not, and what is said about it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import { E } from '../../../../src/core/errno.ts'
import { type Gfid, newGfid, parseGfid } from '../../../../src/core/gfid.ts'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import { firstOfGfid, superFastHash } from '../../../../xlators/cluster/common/gfid-hash.ts'
import { simStores } from '../../../lib/disk-store.ts'
import { withManualClock } from '../../../lib/manual-clock.ts'
import {
  letGo,
  type ReplicateGraph,
  type ReplicateInput,
  replicateGraph,
} from '../../../lib/replicate-graph.ts'

function blame(volume: ReplicateGraph, path: string, by: number, whom: number, hex: string): void {
  const node = volume.bricks[by]!.store.at(path)!
  node.xattrs.set(`trusted.afr.V-client-${whom}`, Buffer.from(hex, 'hex'))
}

interface SplitBrain {
  object: string
  brick0: Record<string, string>
  brick1: Record<string, string>
}

const { objects } = JSON.parse(readFileSync('test/vectors/afr/splitbrain.json', 'utf8')) as {
  objects: SplitBrain[]
}

/** Replica 2 with `/f` and `/e/g`; the marks of `object` on `path`. */
async function damaged(
  object: string,
  path: string,
  input: ReplicateInput = {},
): Promise<ReplicateGraph> {
  const volume = await replicateGraph({ bricks: 2, ...input })
  const { mount, bricks } = volume
  await mount.writeFile('/f', 'content')
  await mount.mkdir('/e')
  await mount.writeFile('/e/g', 'in it')
  await letGo(volume)
  const marks = objects.find((one) => one.object.startsWith(object))!
  blame(volume, path, 0, 1, marks.brick0['client-1']!)
  blame(volume, path, 1, 0, marks.brick1['client-0']!)
  bricks[1]!.store.at('/f')!.data = Buffer.from('CONTENT')
  const { root } = mount.table
  for (const name of ['f', 'e']) mount.table.unlinkName(root, name)
  return volume
}

async function errnos({ mount }: ReplicateGraph): Promise<Record<string, number>> {
  const lookup = await mount.lookup('/f')
  const loc = await mount.loc('/f')
  const fd = await mount.open('/f')
  const data = [Buffer.from('x')]
  const result = {
    lookup: lookup.errno,
    read: (await mount.fop('readv', { fd, size: 10, offset: 0, flags: 0 })).errno,
    write: (await mount.fop('writev', { fd, data, size: 1, offset: 0, flags: 0 })).errno,
    chmod: (await mount.fop('setattr', { loc, stat: lookup.stat, valid: SET_ATTR_MODE })).errno,
    unlink: (await mount.fop('unlink', { loc, flags: 0 })).errno,
  }
  fd.release()
  return result
}

void describe('split-brain', () => {
  void test('of data', async () => {
    const volume = await damaged('f (data)', '/f')
    const expected = { lookup: 0, read: E.IO, write: E.IO, chmod: E.IO, unlink: 0 }
    assert.deepEqual(await errnos(volume), expected)
    await letGo(volume)
    assert.deepEqual(volume.bricks[0]!.store.locks.held, [])
  })

  void test('of metadata', async () => {
    const volume = await damaged('m (metadata)', '/f')
    const { lookup, read, chmod, unlink } = await errnos(volume)
    assert.deepEqual([lookup, read, chmod, unlink], [0, E.IO, E.IO, 0])
    await letGo(volume)
  })

  void test('of entries: the directory goes on, a name with two gfids does not', async () => {
    const volume = await damaged('e (dir, entry)', '/e', { stores: simStores(2) })
    const { mount } = volume
    const node = volume.bricks[1]!.store.at('/e/g')!
    volume.bricks[1]!.store.byGfid.delete(node.gfid)
    node.gfid = newGfid()
    volume.bricks[1]!.store.byGfid.set(node.gfid, node)
    const names = (await mount.readdir('/e')).map(({ name }) => name)
    assert.deepEqual(names, ['.', '..', 'g'])
    await mount.writeFile('/e/new', 'made')
    await assert.rejects(mount.lookup('/e/g'), { errno: E.IO })
    await letGo(volume)
  })

  void test('on replica 3 with every brick there: lookups succeed, reads fail', async () => {
    const volume = await replicateGraph()
    await volume.mount.writeFile('/f', 'content')
    await letGo(volume)
    for (const by of [0, 1, 2]) blame(volume, '/f', by, (by + 1) % 3, '000000010000000000000000')
    await volume.mount.lookup('/f')
    const fd = await volume.mount.open('/f')
    const rep = await volume.mount.fop('readv', { fd, size: 10, offset: 0, flags: 0 })
    assert.equal(rep.errno, E.IO)
  })

  for (const [policy, expected] of [
    ['size', 'longer content'],
    ['mtime', 'CONTENT'],
    ['ctime', 'CONTENT'],
    ['majority', undefined],
  ] as const) {
    void test(`favorite-child-policy ${policy}`, async () => {
      const options = { 'favorite-child-policy': policy }
      const volume = await damaged('f (data)', '/f', { options, stores: simStores(2) })
      const [first, second] = volume.bricks.map(({ store }) => store.at('/f')!)
      first!.data = Buffer.from('longer content')
      second!.mtime = second!.ctime = { sec: 1_800_000_000, nsec: 0 }
      if (expected === undefined) {
        await assert.rejects(volume.mount.readFile('/f'), { errno: E.IO })
      } else {
        assert.equal(await volume.mount.readFile('/f'), expected)
      }
    })
  }

  void test('its state is told, and a copy can be looked at for a while', async () => {
    const volume = await damaged('f (data)', '/f')
    const { mount } = volume
    await withManualClock(async (manual) => {
      const status = (await mount.getxattr('/f', 'replica.split-brain-status')).getStr(
        'replica.split-brain-status',
      )
      assert.equal(
        status,
        'data-split-brain:yes    metadata-split-brain:no    Choices:V-client-0,V-client-1',
      )
      await mount.setxattr('/f', 'replica.split-brain-choice', 'V-client-1')
      assert.equal(await mount.readFile('/f'), 'CONTENT')
      await mount.setxattr('/f', 'replica.split-brain-choice', 'V-client-0')
      assert.equal(await mount.readFile('/f'), 'content')
      manual.pass(300_000)
      await assert.rejects(mount.readFile('/f'), { errno: E.IO })
    })
    const loc = await mount.loc('/e')
    const dict = new Dict().setStr('replica.split-brain-choice', 'V-client-1')
    assert.equal((await mount.fop('setxattr', { loc, dict, flags: 0 })).errno, E.INVAL)
  })
})

void describe('an arbiter', () => {
  void test('with one stale copy is not enough for anything', async () => {
    const volume = await replicateGraph({ options: { 'arbiter-count': '1' } })
    const { mount, bricks } = volume
    await mount.writeFile('/f', 'content')
    await letGo(volume)
    bricks[1]!.up = false
    const fd = await mount.open('/f')
    await mount.write(fd, 0, 'CHANGED')
    await letGo(volume)
    bricks[1]!.up = true
    bricks[0]!.up = false
    const before = bricks.map(({ store }) => store.snapshot())
    const loc = await mount.loc('/f')
    const data = [Buffer.from('x')]
    assert.equal((await mount.fop('lookup', { loc })).errno, E.NOTCONN)
    const write = await mount.fop('writev', { fd, data, size: 1, offset: 0, flags: 0 })
    assert.equal(write.errno, E.NOTCONN)
    await letGo(volume)
    // No change log but for marks that were taken back.
    const clean = (all: Record<string, string>) =>
      JSON.stringify(all).replaceAll(/ trusted\.afr\.dirty=0{24}/g, '')
    bricks.forEach(({ store }, brick) => {
      assert.equal(clean(store.snapshot()), clean(before[brick]!))
    })
  })

  void test('gets one byte of a write', async () => {
    const volume = await replicateGraph({ options: { 'arbiter-count': '1' } })
    await volume.mount.writeFile('/f', 'content')
    const sizes = volume.bricks.map(({ requests }) => {
      const { req } = requests.find(({ fop }) => fop === 'writev')!
      return (req as { size: number }).size
    })
    assert.deepEqual(sizes, [7, 7, 1])
    assert.equal(await volume.mount.readFile('/f'), 'content')
    await letGo(volume)
  })
})

interface HashVector {
  gfid: string
  superfasthash: number
  child_count: number
  predicted_child: number
}

void test('read-hash-mode 1 chooses as stock does', () => {
  const { vectors } = JSON.parse(readFileSync('test/vectors/afr/read_hash.json', 'utf8')) as {
    vectors: HashVector[]
  }
  for (const { gfid, superfasthash, child_count, predicted_child } of vectors) {
    const bytes = parseGfid(gfid) as Gfid
    assert.equal(superFastHash(bytes), superfasthash)
    assert.equal(firstOfGfid(bytes, child_count), predicted_child)
  }
})
