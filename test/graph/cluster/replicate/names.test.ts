/** What granular records of changed names must not lose. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import { E } from '../../../../src/core/errno.ts'
import { XATTROP_ADD_ARRAY } from '../../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../../src/core/frame.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { S_IFREG } from '../../../../src/core/iatt.ts'
import { Loc } from '../../../../src/core/loc.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import { healCreds } from '../../../../xlators/cluster/common/heal-queue.ts'
import { ENTRY, NOTHING, PLUS_ONE } from '../../../../xlators/cluster/replicate/change-log.ts'
import { healEntries } from '../../../../xlators/cluster/replicate/heal-entry.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import { letGo, mark, type ReplicateGraph, replicateGraph } from '../../../lib/replicate-graph.ts'
import type { SimMount } from '../../../lib/sim-graph.ts'

async function prepared(): Promise<ReplicateGraph> {
  const volume = await replicateGraph({ options: { 'granular-entry-heal': 'on' } })
  await volume.mount.mkdir('/dir')
  await letGo(volume)
  return volume
}

void test('a name noted while a heal ran stays on record for the next', {
  skip: noDisk,
}, async () => {
  const volume = await prepared()
  const { mount, bricks, afr } = volume
  const dir = (await mount.loc('/dir')).inode
  const inJob = (job: (frame: Frame) => Promise<void>): Promise<void> =>
    mount.graph.pool.background(afr as unknown as Xlator, 'heal', ROOT_CREDS, job)
  const heal = (): Promise<void> =>
    inJob(async (frame) => {
      assert.equal((await healEntries(afr, frame.with(healCreds()), dir)).errno, 0)
    })
  bricks[1]!.up = false
  await mount.writeFile('/dir/early', 'early')
  await letGo(volume)
  // A creation that began before the brick came back and is recorded after the heal has listed.
  const xdata = new Dict().setGfid('gfid-req', newGfid())
  const late = (): Promise<void> => {
    bricks[1]!.gate = undefined
    return inJob(async (frame) => {
      for (const brick of [0, 2]) {
        const { top } = bricks[brick]!.store.disk!
        const loc = Loc.ofName(dir, 'late', mount.table.newInode())
        const made = { loc, mode: S_IFREG | 0o644, rdev: 0, umask: 0, xdata }
        assert.equal((await frame.wind(top, 'mknod', made)).errno, 0)
        const noted = await frame.wind(top, 'xattrop', {
          loc: Loc.ofInode(dir),
          op: XATTROP_ADD_ARRAY,
          dict: afr.changes.xattrop(1 << 1, PLUS_ONE[ENTRY]!, NOTHING),
          xdata: new Dict().setStr('glusterfs.xattrop-entry-create', 'late'),
        })
        assert.equal(noted.errno, 0)
      }
    })
  }
  bricks[1]!.up = true
  bricks[1]!.gate = (fop) => (fop === 'setattr' ? late() : undefined)
  await heal()
  assert.equal(bricks[1]!.gate, undefined)
  await heal()
  for (const name of ['early', 'late']) {
    assert.ok(bricks[1]!.store.at(`/dir/${name}`) !== undefined, name)
  }
})

void test('a brick that moves another object, which it had under the name, is blamed', {
  skip: noDisk,
}, async () => {
  const volume = await prepared()
  const { mount, bricks, afr } = volume
  const dir = (await mount.loc('/dir')).inode
  await mount.writeFile('/dir/new', 'new content')
  await mount.writeFile('/dir/name', 'replaced')
  await letGo(volume)
  bricks[1]!.up = false
  await mount.rename('/dir/new', '/dir/name')
  await letGo(volume)
  const oldloc = await mount.loc('/dir/name')
  const newloc = Loc.ofName(dir, 'moved', mount.table.newInode())
  bricks[1]!.up = true
  // Without a lookup in between, which would heal the name.
  assert.equal((await mount.fop('rename', { oldloc, newloc })).errno, 0)
  await letGo(volume)
  for (const brick of [0, 2]) assert.deepEqual(mark(bricks[brick]!, '/dir', 1), [0, 0, 4])
  await mount.graph.pool.background(afr as unknown as Xlator, 'heal', ROOT_CREDS, async (frame) => {
    assert.equal((await healEntries(afr, frame.with(healCreds()), dir)).errno, 0)
  })
  await mount.settle()
  for (const brick of [0, 1, 2]) {
    const { store } = bricks[brick]!
    assert.equal(store.at('/dir/moved')?.data.toString(), 'new content')
    for (const name of ['new', 'name']) assert.equal(store.at(`/dir/${name}`), undefined)
    assert.deepEqual(mark(bricks[brick]!, '/dir', 1), [0, 0, 0])
  }
})

const removals: Record<string, (mount: SimMount, loc: Loc) => Promise<{ errno: number }>> = {
  removed: (mount, loc) => mount.fop('rmdir', { loc, flags: 0 }),
  replaced: async (mount, newloc) =>
    mount.fop('rename', { oldloc: await mount.loc('/dir/other'), newloc }),
}

for (const [how, remove] of Object.entries(removals)) {
  void test(`a directory that is ${how} does not come back with a name that a brick kept`, {
    skip: noDisk,
  }, async () => {
    const volume = await prepared()
    const { mount, bricks, afr } = volume
    await mount.mkdir('/dir/gone')
    await mount.mkdir('/dir/other')
    await mount.writeFile('/dir/gone/file', 'content')
    await letGo(volume)
    bricks[1]!.up = false
    await mount.unlink('/dir/gone/file')
    await letGo(volume)
    const loc = await mount.loc('/dir/gone')
    const dir = (await mount.loc('/dir')).inode
    bricks[1]!.up = true
    // Without a lookup in between, which would heal it.
    assert.equal((await remove(mount, loc)).errno, 0)
    await letGo(volume)
    assert.ok(bricks[1]!.store.at('/dir/gone/file') !== undefined)
    // What has moved is healed before the directory is.
    for (let i = 0; i < 2; i++) {
      await inJob(volume, async (frame) => {
        assert.equal((await healEntries(afr, frame.with(healCreds()), dir)).errno, 0)
      })
      await mount.settle()
    }
    for (const brick of bricks) {
      assert.equal(brick.store.at('/dir/gone/file'), undefined)
      assert.equal(brick.store.at('/dir/gone') !== undefined, how === 'replaced')
      assert.equal(brick.store.at('/dir/other') !== undefined, how === 'removed')
      assert.deepEqual(mark(brick, '/dir', 1), [0, 0, 0])
    }
  })
}

/** Two bricks; brick 1 missed that `/dir/gone` was removed. */
async function behind(): Promise<ReplicateGraph> {
  const volume = await replicateGraph({ bricks: 2 })
  const { mount, bricks } = volume
  await mount.mkdir('/dir')
  await mount.writeFile('/dir/gone', 'gone')
  await letGo(volume)
  bricks[1]!.up = false
  await mount.unlink('/dir/gone')
  await letGo(volume)
  bricks[1]!.up = true
  return volume
}

const inJob = ({ mount, afr }: ReplicateGraph, job: (frame: Frame) => Promise<void>) =>
  mount.graph.pool.background(afr as unknown as Xlator, 'test', ROOT_CREDS, job)

/** A client that reaches brick 1 only makes `/dir/late`, tells its user, dies before the post-op. */
async function makeLate(volume: ReplicateGraph): Promise<void> {
  const { mount, bricks, afr } = volume
  const dir = (await mount.loc('/dir')).inode
  await inJob(volume, async (frame) => {
    const { top } = bricks[1]!.store.disk!
    const loc = Loc.ofName(dir, 'late', mount.table.newInode())
    const xdata = new Dict().setGfid('gfid-req', newGfid())
    const made = { loc, mode: S_IFREG | 0o644, rdev: 0, umask: 0, xdata }
    assert.equal((await frame.wind(top, 'mknod', made)).errno, 0)
    const dict = afr.changes.xattrop(0, NOTHING, PLUS_ONE[ENTRY]!)
    const marked = { loc: Loc.ofInode(dir), op: XATTROP_ADD_ARRAY, dict }
    assert.equal((await frame.wind(top, 'xattrop', marked)).errno, 0)
  })
}

void test('a heal ends when it finds a change begun since: its brick may be right', {
  skip: noDisk,
}, async () => {
  const volume = await behind()
  const { mount, bricks, afr } = volume
  const dir = (await mount.loc('/dir')).inode
  const results: number[] = []
  const heal = (): Promise<void> =>
    inJob(volume, async (frame) => {
      results.push((await healEntries(afr, frame.with(healCreds()), dir)).errno)
    })
  bricks[1]!.gate = (fop) => {
    if (fop !== 'opendir') return
    bricks[1]!.gate = undefined
    return makeLate(volume)
  }
  await heal()
  await heal()
  assert.deepEqual(results, [E.AGAIN, 0])
  for (const { store } of bricks) assert.ok(store.at('/dir/late') !== undefined)
  assert.deepEqual(mark(bricks[1]!, '/dir', 'dirty'), [0, 0, 0])
})

void test('a lookup keeps a name that an unfinished change may have made', {
  skip: noDisk,
}, async () => {
  const volume = await behind()
  const { mount, bricks } = volume
  // Nothing unfinished: what a brick missed the removal of is removed.
  assert.equal(await mount.exists('/dir/gone'), false)
  assert.equal(bricks[1]!.store.at('/dir/gone'), undefined)
  await makeLate(volume)
  await mount.lookup('/dir/late')
  await letGo(volume)
  for (const { store } of bricks) assert.ok(store.at('/dir/late') !== undefined)
})
