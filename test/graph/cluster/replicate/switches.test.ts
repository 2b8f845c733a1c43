/** Options that change what is sent or healed, each on and off on a running volume. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { F_UNLCK, type Req } from '../../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../../src/core/frame.ts'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import { healCreds } from '../../../../xlators/cluster/common/heal-queue.ts'
import type { HealResult } from '../../../../xlators/cluster/replicate/heal-common.ts'
import { healData } from '../../../../xlators/cluster/replicate/heal-data.ts'
import { healMetadata } from '../../../../xlators/cluster/replicate/heal-metadata.ts'
import { noDisk, simStores } from '../../../lib/disk-store.ts'
import {
  letGo,
  mark,
  type ReplicateGraph,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'

type Options = ReplicateGraph['afr']['options']

const started = (options: Record<string, string> = {}, bricks = 3): Promise<ReplicateGraph> =>
  replicateGraph({ options, bricks, stores: simStores(bricks) })

function set({ afr }: ReplicateGraph, changed: Partial<Options>): void {
  afr.reconfigure({ ...afr.options, ...changed })
}

async function write(volume: ReplicateGraph, path: string, at: number, text: string) {
  const fd = await volume.mount.open(path)
  await volume.mount.write(fd, at, text)
  await letGo(volume)
  fd.release()
}

/** Requests of `fop` to brick 0 while `job` runs and its locks end. */
async function sent(volume: ReplicateGraph, fop: string, job: () => Promise<unknown>) {
  await letGo(volume)
  takeCounts(volume)
  await job()
  await letGo(volume)
  return takeCounts(volume)[0]![fop] ?? 0
}

async function healed(
  { afr, mount }: ReplicateGraph,
  heal: (frame: Frame) => Promise<HealResult>,
): Promise<number> {
  let errno = -1
  await mount.graph.pool.background(afr as unknown as Xlator, 'heal', ROOT_CREDS, async (frame) => {
    ;({ errno } = await heal(frame.with(healCreds())))
  })
  return errno
}

void test('optimistic-change-log: metadata and names are marked only when it is off', async () => {
  const volume = await started()
  const { mount } = volume
  await mount.writeFile('/f', 'content')
  const chmod = () => mount.setattr('/f', { mode: 0o600 }, SET_ATTR_MODE)
  assert.equal(await sent(volume, 'xattrop', chmod), 0)
  assert.equal(await sent(volume, 'xattrop', () => mount.mkdir('/d1')), 0)
  set(volume, { 'optimistic-change-log': false })
  assert.equal(await sent(volume, 'xattrop', chmod), 2)
  assert.equal(await sent(volume, 'xattrop', () => mount.mkdir('/d2')), 2)
  for (const brick of volume.bricks) assert.deepEqual(mark(brick, '/', 'dirty'), [0, 0, 0])
})

void test('full-lock: without it and eager-lock a write locks its range', async () => {
  const volume = await started({ 'eager-lock': 'off' })
  await volume.mount.writeFile('/f', 'x'.repeat(100))
  await letGo(volume)
  const range = async (): Promise<[bigint, bigint]> => {
    for (const { requests } of volume.bricks) requests.length = 0
    await write(volume, '/f', 10, 'four')
    const locks = volume.bricks[0]!.requests.filter(({ fop }) => /inodelk$/.test(fop))
    const { flock } = locks
      .map(({ req }) => req as Req<'inodelk'>)
      .find((req) => req.flock.type !== F_UNLCK)!
    return [flock.start, flock.len]
  }
  assert.deepEqual(await range(), [0n, 0n])
  set(volume, { 'full-lock': false })
  assert.deepEqual(await range(), [10n, 4n])
})

void test('ensure-durability: what a brick missed is on disk elsewhere before it is told', async () => {
  const volume = await started()
  await volume.mount.writeFile('/f', 'content')
  await letGo(volume)
  volume.bricks[2]!.up = false
  const cut = async (): Promise<void> => {
    const fd = await volume.mount.open('/f')
    assert.equal((await volume.mount.fop('ftruncate', { fd, offset: 1 })).errno, 0)
    await letGo(volume)
    fd.release()
  }
  assert.equal(await sent(volume, 'fsync', cut), 1)
  set(volume, { 'ensure-durability': false })
  assert.equal(await sent(volume, 'fsync', cut), 0)
})

void test('consistent-metadata: attributes in listings come from the brick of lookups', async () => {
  const volume = await started({ 'choose-local': 'off' })
  const { mount } = volume
  const names = Array.from({ length: 40 }, (_, i) => `f${i}`)
  for (const name of names) await mount.writeFile(`/${name}`, 'content')
  await letGo(volume)
  const told = async (): Promise<number> => {
    await mount.lookup('/')
    for (const name of names) await mount.lookup(`/${name}`)
    const entries = await mount.readdir('/')
    return entries.filter(({ name, stat }) => names.includes(name) && stat !== undefined).length
  }
  assert.equal(await told(), names.length)
  set(volume, { 'consistent-metadata': true })
  const some = await told()
  assert.ok(some > 0 && some < names.length, `${some} of ${names.length}`)
})

// Simulated bricks have no checksums.
void describe('data-self-heal-algorithm', { skip: noDisk }, () => {
  const size = 3 * 128 * 1024
  for (const [algorithm, sums, writes] of [
    ['diff', 3, 1],
    ['full', 0, 3],
    ['dynamic', 3, 1],
  ] as const) {
    void test(algorithm, async () => {
      const volume = await replicateGraph({ options: { 'data-self-heal-window-size': '1' } })
      const { mount, afr, bricks } = volume
      await mount.writeFile('/f', 'a'.repeat(size))
      await letGo(volume)
      bricks[1]!.up = false
      await write(volume, '/f', size / 2, 'b')
      bricks[1]!.up = true
      set(volume, { 'data-self-heal-algorithm': algorithm })
      const { inode } = await mount.loc('/f')
      takeCounts(volume)
      assert.equal(await healed(volume, (frame) => healData(afr, frame, inode)), 0)
      const [, counts] = takeCounts(volume)
      assert.equal(counts!.rchecksum ?? 0, sums)
      assert.equal(counts!.writev ?? 0, writes)
      assert.ok(bricks[1]!.store.at('/f')!.data.equals(bricks[0]!.store.at('/f')!.data))
      assert.deepEqual(mark(bricks[0]!, '/f', 1), [0, 0, 0])
    })
  }
})

void test('metadata-splitbrain-forced-heal takes the first copy', async () => {
  const volume = await started({}, 2)
  const { mount, afr, bricks } = volume
  await mount.writeFile('/f', 'content')
  await letGo(volume)
  for (const [brick, mode] of [
    [1, 0o600],
    [0, 0o640],
  ] as const) {
    bricks[brick]!.up = false
    await mount.setattr('/f', { mode }, SET_ATTR_MODE)
    await letGo(volume)
    bricks[brick]!.up = true
    await mount.settle()
    // The next change must not see that the other copy is behind.
    if (brick === 1) bricks[0]!.store.at('/f')!.xattrs.delete('trusted.afr.V-client-1')
  }
  bricks[0]!.store
    .at('/f')!
    .xattrs.set('trusted.afr.V-client-1', Buffer.from([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]))
  const { inode } = await mount.loc('/f')
  const heal = () => healed(volume, (frame) => healMetadata(afr, frame, inode))
  assert.notEqual(await heal(), 0)
  set(volume, { 'metadata-splitbrain-forced-heal': true })
  assert.equal(await heal(), 0)
  const modes = bricks.map(({ store }) => store.at('/f')!.mode & 0o777)
  assert.deepEqual(modes, [0o600, 0o600])
  for (const [brick, whom] of [
    [0, 1],
    [1, 0],
  ] as const) {
    assert.deepEqual(mark(bricks[brick]!, '/f', whom), [0, 0, 0])
  }
})

void test('afr-dirty-xattr names the mark', async () => {
  const name = 'trusted.afr.mine'
  const volume = await started({ 'afr-dirty-xattr': name })
  await volume.mount.writeFile('/f', 'content')
  const node = volume.bricks[0]!.store.at('/f')!
  assert.equal(node.xattrs.get(name)?.toString('hex'), `00000001${'0'.repeat(16)}`)
  await letGo(volume)
  assert.equal(node.xattrs.get(name)?.toString('hex'), '0'.repeat(24))
  assert.ok(!node.xattrs.has('trusted.afr.dirty'))
})
