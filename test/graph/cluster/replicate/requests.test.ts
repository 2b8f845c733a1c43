/**
 * Requests per operation and brick, at most those of the stock client: on a healthy replica 3 and
 * with one brick missing (counted on volumes of 10.3, lookups left out). What stays on disk is in
 * marks.test.ts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import {
  close,
  letGo,
  type ReplicateGraph,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'

interface Case {
  name: string
  run: (volume: ReplicateGraph) => Promise<void>
  /** RELEASE is no fop here. */
  healthy: Record<string, number>
  /** More of it with brick 2 down. */
  degraded: Record<string, number>
}

const KIB = 'x'.repeat(1024)

const cases: Case[] = [
  {
    name: 'create, write 6 bytes, close',
    run: async (volume) => {
      const fd = await volume.mount.create('/new')
      await volume.mount.write(fd, 0, '123456')
      await close(volume, fd)
    },
    healthy: { entrylk: 2, create: 1, finodelk: 2, fxattrop: 2, writev: 1, flush: 1 },
    degraded: { xattrop: 3 },
  },
  {
    name: '1 MiB in 8 writes at once',
    run: async (volume) => {
      const fd = await volume.mount.create('/new')
      const part = KIB.repeat(128)
      await Promise.all(
        Array.from({ length: 8 }, (_, i) => volume.mount.write(fd, i * part.length, part)),
      )
      await close(volume, fd)
    },
    healthy: { entrylk: 2, create: 1, finodelk: 2, fxattrop: 2, writev: 8, flush: 1 },
    degraded: { xattrop: 3 },
  },
  {
    name: 'overwrite 4 KiB',
    run: async (volume) => {
      const fd = await volume.mount.open('/old')
      await volume.mount.write(fd, 0, KIB.repeat(4))
      await close(volume, fd)
    },
    healthy: { open: 1, finodelk: 2, fxattrop: 2, writev: 1, flush: 1 },
    degraded: {},
  },
  {
    name: 'overwrite and fsync',
    run: async (volume) => {
      const fd = await volume.mount.open('/old')
      await volume.mount.write(fd, 0, KIB.repeat(4))
      await volume.mount.fop('fsync', { fd, datasync: false })
      await close(volume, fd)
    },
    healthy: { open: 1, finodelk: 2, fxattrop: 2, writev: 1, fsync: 1, flush: 1 },
    degraded: {},
  },
  {
    name: 'truncate by path',
    run: async ({ mount }) => {
      const rep = await mount.fop('truncate', { loc: await mount.loc('/old'), offset: 3 })
      assert.equal(rep.errno, 0)
    },
    healthy: { inodelk: 2, xattrop: 2, truncate: 1 },
    degraded: {},
  },
  {
    name: 'ftruncate',
    run: async (volume) => {
      const fd = await volume.mount.open('/old')
      const rep = await volume.mount.fop('ftruncate', { fd, offset: 3 })
      assert.equal(rep.errno, 0)
      await close(volume, fd)
    },
    healthy: { open: 1, finodelk: 2, fxattrop: 2, ftruncate: 1, flush: 1 },
    degraded: { fsync: 1 },
  },
  {
    name: 'mkdir',
    run: async ({ mount }) => void (await mount.mkdir('/sub')),
    healthy: { entrylk: 2, mkdir: 1 },
    degraded: { xattrop: 3 },
  },
  {
    name: 'rename across directories',
    run: async ({ mount }) => void (await mount.rename('/old', '/dir/new')),
    healthy: { entrylk: 4, rename: 1 },
    degraded: { xattrop: 4 },
  },
  {
    name: 'unlink',
    run: ({ mount }) => mount.unlink('/old'),
    healthy: { entrylk: 2, unlink: 1 },
    degraded: { xattrop: 2 },
  },
  {
    name: 'rmdir',
    run: ({ mount }) => mount.rmdir('/dir'),
    healthy: { entrylk: 4, rmdir: 1 },
    degraded: { xattrop: 2 },
  },
  {
    name: 'symlink',
    run: ({ mount }) => mount.symlink('target', '/sl'),
    healthy: { entrylk: 2, symlink: 1 },
    degraded: { xattrop: 2 },
  },
  {
    name: 'link',
    run: async ({ mount }) => void (await mount.link('/old', '/hard')),
    healthy: { entrylk: 2, link: 1 },
    degraded: { xattrop: 2 },
  },
  {
    name: 'chmod',
    run: async ({ mount }) => void (await mount.setattr('/old', { mode: 0o600 }, SET_ATTR_MODE)),
    healthy: { inodelk: 2, setattr: 1 },
    degraded: { xattrop: 2 },
  },
  {
    name: 'setxattr',
    run: ({ mount }) => mount.setxattr('/old', 'user.a', 'b'),
    healthy: { inodelk: 2, setxattr: 1 },
    degraded: { xattrop: 2 },
  },
]

async function prepared(): Promise<ReplicateGraph> {
  const volume = await replicateGraph()
  await volume.mount.writeFile('/old', KIB.repeat(8))
  await volume.mount.mkdir('/dir')
  await letGo(volume)
  return volume
}

for (const { name, run, healthy, degraded } of cases) {
  void test(name, async () => {
    const volume = await prepared()
    takeCounts(volume)
    await run(volume)
    await letGo(volume)
    assert.deepEqual(takeCounts(volume), [healthy, healthy, healthy])
  })

  void test(`${name}, brick 2 down`, async () => {
    const volume = await prepared()
    volume.bricks[2]!.up = false
    await volume.mount.lookup('/old')
    await volume.mount.lookup('/dir')
    takeCounts(volume)
    await run(volume)
    await letGo(volume)
    const expected: Record<string, number> = { ...healthy }
    for (const [fop, count] of Object.entries(degraded)) {
      expected[fop] = (expected[fop] ?? 0) + count
    }
    assert.deepEqual(takeCounts(volume), [expected, expected, {}])
  })
}

void test('reads and listings go to one brick', async () => {
  const volume = await prepared()
  takeCounts(volume)
  const fd = await volume.mount.open('/old')
  for (let i = 0; i < 8; i++) await volume.mount.read(fd, i * 1024, 1024)
  await close(volume, fd)
  const counts = takeCounts(volume)
  assert.deepEqual(counts.map(({ readv }) => readv ?? 0).sort(), [0, 0, 8])
  await volume.mount.readdir('/')
  const listed = takeCounts(volume).map(({ readdirp }) => readdirp ?? 0)
  assert.deepEqual(listed.sort(), [0, 0, 1])
})
