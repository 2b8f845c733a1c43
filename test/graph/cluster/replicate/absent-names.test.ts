/** Names known to be absent while all names of their directory are locked. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { ROOT_CREDS } from '../../../../src/core/frame.ts'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import { Loc } from '../../../../src/core/loc.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import { type ManualClock, withManualClock } from '../../../lib/manual-clock.ts'
import {
  letGo,
  noLocks,
  type ReplicateGraph,
  replicateGraph,
} from '../../../lib/replicate-graph.ts'
import { isPending, settle } from '../../../lib/scripted.ts'

/** Changes after which the next is expected: this one locks all names. */
const STREAM_LENGTH = 4

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await settle()
}

/** Lookups of names in the directory, and its listings, at each brick since the last call. */
function asked({ bricks }: ReplicateGraph): { lookup: number[]; readdir: number[] } {
  const count = (lines: readonly string[], which: RegExp): number =>
    lines.filter((line) => which.test(line)).length
  const traces = bricks.map(({ trace }) => trace.splice(0))
  return {
    lookup: traces.map((lines) => count(lines, /^lookup \S+\/\S+$/)),
    readdir: traces.map((lines) => count(lines, /^readdir /)),
  }
}

const each = (count: number): number[] => [count, count, count]

/** What open(2) with O_CREAT and mkdir(2) make of a name that is new: it is looked up first. */
async function make({ mount }: ReplicateGraph, path: string): Promise<void> {
  assert.equal(await mount.exists(path), false, path)
  await mount.mkdir(path)
  await settled()
}

/** A directory whose names are locked and listed. */
async function streaming(volume: ReplicateGraph): Promise<void> {
  for (let i = 0; i <= STREAM_LENGTH; i++) await make(volume, `/dir/${i}`)
  asked(volume)
}

async function prepared(): Promise<ReplicateGraph> {
  const volume = await replicateGraph()
  await volume.mount.mkdir('/dir')
  await letGo(volume)
  return volume
}

async function others(volume: ReplicateGraph): Promise<ReplicateGraph> {
  const stores = volume.bricks.map(({ store }) => store)
  return replicateGraph({ stores, client: 'client-1' })
}

/** The lock is given back. */
async function idle(manual: ManualClock, volume: ReplicateGraph): Promise<void> {
  manual.pass(40)
  await settled()
  noLocks(volume)
}

void describe('names that nobody else can make', () => {
  void test('are looked up at no brick, which are asked once for those they have', async () => {
    const volume = await prepared()
    await withManualClock(async (manual) => {
      for (let i = 0; i <= STREAM_LENGTH; i++) await make(volume, `/dir/${i}`)
      assert.deepEqual(asked(volume), { lookup: each(STREAM_LENGTH + 1), readdir: each(1) })
      for (let i = 0; i < 10; i++) await make(volume, `/dir/more-${i}`)
      assert.deepEqual(asked(volume), { lookup: each(0), readdir: each(0) })
      await idle(manual, volume)
      assert.equal(await volume.mount.exists('/dir/later'), false)
      assert.deepEqual(asked(volume).lookup, each(1))
    })
  })

  void test('are not listed where no name was looked up in vain', async () => {
    const volume = await prepared()
    await withManualClock(async () => {
      for (let i = 0; i < 10; i++) {
        await volume.mount.mkdir(`/dir/${i}`)
        await settled()
      }
      assert.deepEqual(asked(volume).readdir, each(0))
    })
  })

  void test('are looked up as before when the listing fails, or a brick has too many', async () => {
    const failing = await prepared()
    failing.bricks[1]!.fail = (fop) => (fop === 'readdir' ? E.IO : undefined)
    const large = await prepared()
    for (let i = 0; i < 600; i++) await large.mount.mkdir(`/dir/earlier-${i}`)
    await letGo(large)
    for (const volume of [failing, large]) {
      await withManualClock(async (manual) => {
        await streaming(volume)
        for (let i = 0; i < 3; i++) await make(volume, `/dir/more-${i}`)
        assert.deepEqual(asked(volume), { lookup: each(3), readdir: each(0) })
        await idle(manual, volume)
        for (let i = 0; i < 10; i++) await make(volume, `/dir/again-${i}`)
        const { readdir } = asked(volume)
        assert.deepEqual(readdir, each(volume === large ? 0 : 1))
      })
    }
  })

  void test('are looked up until all bricks have been listed', async () => {
    const volume = await prepared()
    let proceed = (): void => {}
    const hold = new Promise<void>((resolve) => {
      proceed = resolve
    })
    volume.bricks[2]!.gate = (fop) => (fop === 'readdir' ? hold : undefined)
    await withManualClock(async () => {
      await streaming(volume)
      await make(volume, '/dir/before')
      assert.deepEqual(asked(volume).lookup, each(1))
      proceed()
      await settled()
      await make(volume, '/dir/after')
      assert.deepEqual(asked(volume).lookup, each(0))
    })
  })
})

void describe('what bricks say of names that are not there', () => {
  const look = async ({ mount }: ReplicateGraph, name: string, creds = ROOT_CREDS) => {
    const { inodes } = mount.graph
    const parent = await mount.inode('/dir')
    const loc = Loc.ofName(parent, name, inodes.newInode())
    return (await mount.fop('lookup', { loc }, creds)).errno
  }

  void test('of one that is too long is passed on', async () => {
    const volume = await prepared()
    for (const brick of volume.bricks) {
      const isLong = (name?: string): boolean => (name?.length ?? 0) > 255
      brick.fail = (fop, { loc }) =>
        fop === 'lookup' && isLong(loc?.name) ? E.NAMETOOLONG : undefined
    }
    await withManualClock(async () => {
      await streaming(volume)
      assert.equal(await look(volume, 'n'.repeat(255)), E.NOENT)
      assert.deepEqual(asked(volume).lookup, each(0))
      assert.equal(await look(volume, 'n'.repeat(256)), E.NAMETOOLONG)
    })
  })

  void test('to others than who searched the directory is passed on, after each change of its mode', async () => {
    const volume = await prepared()
    const user = { ...ROOT_CREDS, uid: 1000, gid: 1000, groups: [1000] }
    const { mount } = volume
    await withManualClock(async () => {
      await streaming(volume)
      assert.equal(await look(volume, 'a'), E.NOENT)
      assert.deepEqual(asked(volume).lookup, each(0))
      for (const creds of [user, { ...user, groups: [1000, 4] }, { ...user, gid: 4 }]) {
        assert.equal(await look(volume, 'b', creds), E.NOENT)
        assert.deepEqual(asked(volume).lookup, each(1))
        assert.equal(await look(volume, 'c', { ...creds, groups: [...creds.groups] }), E.NOENT)
        assert.deepEqual(asked(volume).lookup, each(0))
      }
      await mount.setattr('/dir', { mode: 0o700 }, SET_ATTR_MODE)
      const last = { ...user, gid: 4 }
      for (const brick of volume.bricks) {
        brick.fail = (fop, { loc }) => (fop === 'lookup' && loc?.name === 'd' ? E.ACCES : undefined)
      }
      assert.equal(await look(volume, 'd', last), E.ACCES)
    })
  })
})

void describe('names that may be there', () => {
  void test('because this mount made, moved or linked them are looked up', async () => {
    const volume = await prepared()
    const { mount } = volume
    await withManualClock(async () => {
      await streaming(volume)
      await make(volume, '/dir/made')
      const fd = await mount.create('/dir/file')
      fd.release()
      await mount.link('/dir/file', '/dir/linked')
      await mount.symlink('target', '/dir/symlink')
      await mount.rename('/dir/made', '/dir/moved')
      for (const name of ['file', 'linked', 'symlink', 'moved']) {
        assert.equal(await mount.exists(`/dir/${name}`), true, name)
      }
      assert.equal(await mount.exists('/dir/made'), false)
      await mount.unlink('/dir/linked')
      assert.equal(await mount.exists('/dir/linked'), false)
      assert.deepEqual(asked(volume).lookup, each(6))
    })
  })

  void test('because another client made them before the lock are found', {
    skip: noDisk,
  }, async () => {
    const ours = await prepared()
    const theirs = await others(ours)
    await theirs.mount.mkdir('/dir/theirs')
    await withManualClock(async () => {
      await streaming(ours)
      assert.equal(await ours.mount.exists('/dir/theirs'), true)
      assert.deepEqual(asked(ours).lookup, each(1))
    })
  })

  void test('because another client waited for the lock are found', {
    skip: noDisk,
  }, async () => {
    const ours = await prepared()
    const theirs = await others(ours)
    await withManualClock(async (manual) => {
      await streaming(ours)
      const waiting = theirs.mount.mkdir('/dir/theirs')
      await settled()
      for (let i = 0; await isPending(waiting); i++) {
        assert.ok(i < 30)
        assert.equal(await ours.mount.exists('/dir/theirs'), false)
        manual.pass(5)
        await settled()
      }
      assert.equal(await ours.mount.exists('/dir/theirs'), true)
    })
  })

  void test('because one brick alone has them go to the bricks', async () => {
    const volume = await prepared()
    volume.bricks[0]!.up = false
    volume.bricks[1]!.up = false
    // As a brick that was alone under `quorum-type none` left it.
    const alone = await replicateGraph({
      stores: volume.bricks.map(({ store }) => store),
      client: 'client-1',
      options: { 'quorum-type': 'none' },
    })
    alone.bricks[0]!.up = false
    alone.bricks[1]!.up = false
    await alone.mount.mkdir('/dir/alone')
    alone.bricks[2]!.up = false
    volume.bricks[0]!.up = true
    volume.bricks[1]!.up = true
    await volume.mount.settle()
    await withManualClock(async () => {
      await streaming(volume)
      await volume.mount.exists('/dir/alone')
      for (const count of asked(volume).lookup) assert.ok(count >= 1)
    })
  })

  void test('because a brick went or came go to the bricks', async () => {
    const volume = await prepared()
    await withManualClock(async () => {
      await streaming(volume)
      volume.bricks[2]!.up = false
      assert.equal(await volume.mount.exists('/dir/new'), false)
      assert.deepEqual(asked(volume).lookup, [1, 1, 0])
    })
  })
})
