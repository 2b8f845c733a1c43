/** Names change only where a brick has them that missed nothing: else a merge would undo it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E, type Errno } from '../../../../src/core/errno.ts'
import type { FopName } from '../../../../src/core/fop.ts'
import { ROOT_CREDS } from '../../../../src/core/frame.ts'
import { Loc } from '../../../../src/core/loc.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import { healCreds } from '../../../../xlators/cluster/common/heal-queue.ts'
import { healEntries } from '../../../../xlators/cluster/replicate/heal-entry.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import {
  letGo,
  mark,
  type ReplicateGraph,
  type ReplicateInput,
  replicateGraph,
} from '../../../lib/replicate-graph.ts'
import type { SimMount } from '../../../lib/sim-graph.ts'

const NAMES = ['first', 'second', 'third', 'kept']

async function prepared({ options, ...input }: ReplicateInput = {}): Promise<ReplicateGraph> {
  const volume = await replicateGraph({
    ...input,
    options: { 'granular-entry-heal': 'on', ...options },
  })
  const { mount } = volume
  for (const dir of ['/dir', '/dir/sub', '/other']) await mount.mkdir(dir)
  for (const name of NAMES) await mount.writeFile(`/dir/${name}`, name)
  await letGo(volume)
  return volume
}

/** Removes `/dir/NAME` while `brick` is away. */
async function removeWithout(volume: ReplicateGraph, brick: number, name: string): Promise<void> {
  volume.bricks[brick]!.up = false
  await volume.mount.unlink(`/dir/${name}`)
  await letGo(volume)
  volume.bricks[brick]!.up = true
}

/** Brick 2 knows all: 0 missed that `first` was removed, 1 that `second` was. */
async function twoBehind(): Promise<ReplicateGraph> {
  const volume = await prepared()
  await removeWithout(volume, 0, 'first')
  await removeWithout(volume, 1, 'second')
  return volume
}

const namesOn = ({ bricks }: ReplicateGraph, brick: number): string =>
  NAMES.filter((name) => bricks[brick]!.store.at(`/dir/${name}`) !== undefined).join()

const everywhere = (volume: ReplicateGraph): string[] =>
  volume.bricks.map((_brick, index) => namesOn(volume, index))

/** What a brick has on record of `/dir`: blamed bricks and the mark. */
const onRecord = ({ bricks }: ReplicateGraph, brick: number): number[] =>
  [0, 1, 2, 'dirty' as const].map((whom) => mark(bricks[brick]!, '/dir', whom)[2]!)

async function heal(volume: ReplicateGraph): Promise<void> {
  const { mount, afr } = volume
  const dir = (await mount.loc('/dir')).inode
  await mount.graph.pool.background(afr as unknown as Xlator, 'heal', ROOT_CREDS, async (frame) => {
    assert.equal((await healEntries(afr, frame.with(healCreds()), dir)).errno, 0)
  })
  await mount.settle()
  for (const brick of [0, 1, 2]) assert.deepEqual(onRecord(volume, brick), [0, 0, 0, 0])
}

const failing =
  (errno: Errno) =>
  (name: FopName): Errno | undefined =>
    name === 'unlink' ? errno : undefined

/** Changes of what was looked up before; nothing is looked up anew. */
const changes: Record<string, (mount: SimMount) => Promise<unknown>> = {
  create: (mount) => mount.create('/dir/free'),
  mkdir: (mount) => mount.mkdir('/dir/free'),
  symlink: (mount) => mount.symlink('x', '/dir/free'),
  link: (mount) => mount.link('/dir/kept', '/dir/free'),
  unlink: (mount) => mount.unlink('/dir/third'),
  rmdir: (mount) => mount.rmdir('/dir/sub'),
  rename: (mount) => moved(mount, '/dir', 'free'),
  'rename to another directory': (mount) => moved(mount, '/other', 'free'),
}

async function moved(mount: SimMount, to: string, name: string): Promise<void> {
  const oldloc = await mount.loc('/dir/third')
  const newloc = Loc.ofName(await mount.inode(to), name, mount.table.newInode())
  const { errno } = await mount.fop('rename', { oldloc, newloc })
  if (errno !== 0) throw Object.assign(new Error('rename'), { errno })
}

void describe('a directory of which every brick that is there missed something', () => {
  for (const [what, change] of Object.entries(changes)) {
    void test(`${what}: ENOTCONN, and nothing changes`, async () => {
      const volume = await twoBehind()
      volume.bricks[2]!.up = false
      await assert.rejects(change(volume.mount), { errno: E.NOTCONN })
      await letGo(volume)
      assert.deepEqual(everywhere(volume), ['first,third,kept', 'second,third,kept', 'third,kept'])
      assert.deepEqual(onRecord(volume, 0), [0, 1, 0, 0])
      assert.deepEqual(onRecord(volume, 1), [1, 0, 0, 0])
      for (const { store } of volume.bricks) {
        assert.ok(store.at('/dir/sub') !== undefined)
        for (const path of ['/dir/free', '/other/free']) assert.equal(store.at(path), undefined)
        assert.deepEqual(store.locks.held, [])
      }
      volume.bricks[2]!.up = true
      await change(volume.mount)
      await letGo(volume)
    })
  }

  void test('its lookup fails, too: nobody knows its names', async () => {
    const volume = await twoBehind()
    volume.bricks[2]!.up = false
    await assert.rejects(volume.mount.lookup('/dir'), { errno: E.NOTCONN })
    await volume.mount.lookup('/other')
    volume.bricks[2]!.up = true
    await volume.mount.lookup('/dir')
  })

  void test('removed names stay removed when all is back and healed', {
    skip: noDisk,
  }, async () => {
    const volume = await twoBehind()
    volume.bricks[2]!.up = false
    await volume.mount.unlink('/dir/third').catch(() => {})
    await letGo(volume)
    volume.bricks[2]!.up = true
    await heal(volume)
    assert.deepEqual(everywhere(volume), ['third,kept', 'third,kept', 'third,kept'])
  })
})

void test('a brick that is back is not read before what it missed is on record', async () => {
  const volume = await prepared({ options: { 'read-hash-mode': '0', 'read-subvolume-index': '2' } })
  const { mount, bricks } = volume
  const fd = await mount.open('/dir/kept')
  bricks[2]!.up = false
  await mount.write(fd, 0, 'news')
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  for (const brick of [0, 1]) bricks[brick]!.gate = (fop) => (fop === 'fxattrop' ? gate : undefined)
  bricks[2]!.up = true
  assert.equal(await mount.read(fd), 'news')
  assert.equal(await mount.read(fd), 'news')
  open()
  await letGo(volume)
  assert.equal(await mount.read(fd), 'news')
  assert.deepEqual(mark(bricks[0]!, '/dir/kept', 2), [1, 0, 0])
})

void test('one good copy is enough', async () => {
  const volume = await prepared()
  await removeWithout(volume, 0, 'first')
  volume.bricks[2]!.up = false
  await volume.mount.unlink('/dir/second')
  await letGo(volume)
  assert.deepEqual(onRecord(volume, 0), [0, 0, 1, 0])
  assert.deepEqual(onRecord(volume, 1), [1, 0, 1, 0])
})

void test('without a quorum nobody can be sure, and names change', async () => {
  const volume = await prepared({ options: { 'quorum-type': 'none' } })
  await removeWithout(volume, 0, 'first')
  await removeWithout(volume, 1, 'second')
  volume.bricks[2]!.up = false
  await volume.mount.unlink('/dir/third')
  await letGo(volume)
  assert.equal(namesOn(volume, 0), 'first,kept')
})

void describe('changes that fail', { skip: noDisk }, () => {
  void test('on the last good copy: users are told, and it stays right', async () => {
    const volume = await twoBehind()
    volume.bricks[2]!.fail = failing(E.IO)
    await assert.rejects(volume.mount.unlink('/dir/third'), { errno: E.IO })
    await letGo(volume)
    assert.deepEqual(onRecord(volume, 0), [0, 1, 0, 0])
    assert.deepEqual(onRecord(volume, 1), [1, 0, 0, 0])
    volume.bricks[2]!.fail = undefined
    await heal(volume)
    assert.deepEqual(everywhere(volume), ['third,kept', 'third,kept', 'third,kept'])
  })

  void test('on all but a brick that is behind: what that missed stays removed', async () => {
    const volume = await prepared()
    await removeWithout(volume, 0, 'first')
    for (const brick of [1, 2]) volume.bricks[brick]!.fail = failing(E.IO)
    await assert.rejects(volume.mount.unlink('/dir/third'), { errno: E.IO })
    await letGo(volume)
    assert.equal(namesOn(volume, 0), 'first,second,kept')
    assert.deepEqual(onRecord(volume, 0), [0, 0, 0, 0])
    for (const brick of [1, 2]) volume.bricks[brick]!.fail = undefined
    await heal(volume)
    assert.deepEqual(everywhere(volume), Array(3).fill('second,third,kept'))
  })
})
