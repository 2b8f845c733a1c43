/** What options change: quorum, which brick is read, refusals, listings, locks, the private section. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { F_RDLCK, F_SETLK, F_UNLCK, F_WRLCK, type Flock } from '../../../../src/core/fop.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import { Quorum } from '../../../../xlators/cluster/replicate/quorum.ts'
import { simStores } from '../../../lib/disk-store.ts'
import {
  letGo,
  mark,
  type ReplicateGraph,
  replicateGraph,
  takeCounts,
} from '../../../lib/replicate-graph.ts'
import type { SimStore } from '../../../lib/sim-store.ts'

void test('quorum', () => {
  const sets = (quorum: Quorum, all: number) =>
    Array.from({ length: all + 1 }, (_, mask) => mask).filter((mask) => quorum.in(mask))
  assert.deepEqual(sets(new Quorum(3, undefined, undefined), 7), [3, 5, 6, 7])
  assert.deepEqual(sets(new Quorum(2, 'auto', undefined), 3), [1, 3])
  assert.equal(sets(new Quorum(2, undefined, undefined), 3).length, 4)
  assert.deepEqual(sets(new Quorum(3, 'fixed', 1), 7), [1, 2, 3, 4, 5, 6, 7])
  assert.equal(new Quorum(3, 'fixed', undefined).on, false)
})

async function readers(volume: ReplicateGraph, count: number): Promise<number[]> {
  takeCounts(volume)
  for (let i = 0; i < count; i++) await volume.mount.readFile(`/f${i}`)
  return takeCounts(volume).map(({ readv }) => readv ?? 0)
}

async function withFiles(
  options: Record<string, string>,
  count = 12,
  stores?: readonly SimStore[],
): Promise<ReplicateGraph> {
  const volume = await replicateGraph({ options, ...(stores && { stores }) })
  for (let i = 0; i < count; i++) await volume.mount.writeFile(`/f${i}`, 'content')
  await letGo(volume)
  return volume
}

void describe('reads go', () => {
  void test('to the brick an option names', async () => {
    const byIndex = await withFiles({ 'read-subvolume-index': '1' })
    assert.deepEqual(await readers(byIndex, 12), [0, 12, 0])
    const byName = await withFiles({ 'read-subvolume': 'V-client-2' })
    assert.deepEqual(await readers(byName, 12), [0, 0, 12])
  })

  void test('to a brick on this host: the last, when all are', async () => {
    assert.deepEqual(await readers(await withFiles({}, 12, simStores(3)), 12), [0, 0, 12])
  })

  void test('to the first, by gfid, by load, by latency', async () => {
    const mode = (text: string) => ({ 'choose-local': 'off', 'read-hash-mode': text })
    assert.deepEqual(await readers(await withFiles(mode('0')), 12), [12, 0, 0])
    const spread = await readers(await withFiles(mode('1')), 12)
    assert.ok(spread.filter((count) => count > 0).length > 1, `${spread}`)
    assert.deepEqual(await readers(await withFiles(mode('3')), 12), [12, 0, 0])
    const near = await withFiles(mode('4'))
    const latencies = [9, 5, 2]
    near.bricks.forEach((brick, i) => {
      const latencyMs = latencies[i]!
      near.afr.notify({ type: 'child-ping', latencyMs }, brick as unknown as Xlator)
    })
    assert.deepEqual(await readers(near, 12), [0, 0, 12])
  })
})

void test('options that name no brick, and a thin arbiter of two children, are refused', async () => {
  const options = { 'thin-arbiter': 'host:/path' }
  await assert.rejects(replicateGraph({ bricks: 2, options }), { name: 'GlusterError' })
  for (const options of [
    { 'read-subvolume': 'nobody' },
    { 'read-subvolume-index': '3' },
    { 'afr-pending-xattr': 'a,b' },
  ] as unknown as Record<string, string>[]) {
    await assert.rejects(replicateGraph({ options }), { name: 'GlusterError' })
  }
})

void test('the change log is kept under the names the volfile gives', async () => {
  const volume = await replicateGraph({ options: { 'afr-pending-xattr': 'a,b,c' } })
  await volume.mount.writeFile('/f', 'x')
  volume.bricks[2]!.up = false
  await volume.mount.setxattr('/f', 'user.a', 'b')
  await letGo(volume)
  assert.ok(volume.bricks[0]!.store.at('/f')!.xattrs.has('trusted.afr.c'))
})

void test('consistent-io: nothing goes on without every brick', async () => {
  const volume = await withFiles({ 'consistent-io': 'on' }, 1)
  const loc = await volume.mount.loc('/f0')
  volume.bricks[2]!.up = false
  assert.equal((await volume.mount.fop('stat', { loc })).errno, E.NOTCONN)
  volume.bricks[2]!.up = true
  assert.equal((await volume.mount.fop('stat', { loc })).errno, 0)
})

void test('consistent-io: what was under way when a brick went is no success', async () => {
  const volume = await withFiles({ 'consistent-io': 'on' }, 1)
  const loc = await volume.mount.loc('/f0')
  const [first, , last] = volume.bricks
  let goes: (() => void) | undefined
  for (const brick of volume.bricks) {
    brick.gate = (fop) => (fop === 'stat' ? new Promise((go) => (goes = go)) : undefined)
  }
  const pending = volume.mount.fop('stat', { loc })
  while (goes === undefined) await new Promise((resolve) => setImmediate(resolve))
  // Not the one that is asked.
  const lost = takeCounts(volume)[2]!.stat === undefined ? last! : first!
  lost.up = false
  goes()
  assert.equal((await pending).errno, E.NOTCONN)
})

const up = (volume: ReplicateGraph): number => volume.afr.up

function ping(volume: ReplicateGraph, latencies: readonly number[]): void {
  for (const [i, latencyMs] of latencies.entries()) {
    volume.afr.notify({ type: 'child-ping', latencyMs }, volume.bricks[i] as unknown as Xlator)
  }
}

void describe('halo', () => {
  const options = { 'halo-enabled': 'on', 'halo-max-latency': '10', 'halo-min-replicas': '2' }

  void test('far bricks are not used, as if they were down', async () => {
    const volume = await replicateGraph({ options })
    // Nobody knows yet how far they are: as many as must be.
    assert.equal(up(volume), 0b011)
    ping(volume, [1, 2, 3])
    assert.equal(up(volume), 0b111)
    await volume.mount.writeFile('/f', 'content')
    ping(volume, [1, 50, 3])
    assert.equal(up(volume), 0b101)
    const fd = await volume.mount.open('/f')
    await volume.mount.write(fd, 0, 'changed')
    await letGo(volume)
    assert.deepEqual(mark(volume.bricks[0]!, '/f', 1), [1, 0, 0])
    assert.equal(volume.bricks[1]!.store.at('/f')!.data.toString('latin1', 0, 7), 'content')
    // A third one that becomes far is kept: there must be two.
    ping(volume, [50, 50, 3])
    assert.equal(up(volume), 0b101)
    ping(volume, [50, 4, 3])
    assert.equal(up(volume), 0b111)
    assert.equal(await volume.mount.readFile('/f'), 'changed')
  })

  void test('a lost brick is replaced by the nearest of the others', async () => {
    const volume = await replicateGraph({ bricks: 4, options })
    ping(volume, [1, 2, 40, 30])
    assert.equal(up(volume), 0b0011)
    volume.bricks[0]!.up = false
    assert.equal(up(volume), 0b1010)
    volume.bricks[0]!.up = true
    assert.equal(up(volume), 0b0011)
  })

  void test('no more than halo-max-replicas; off, all are used', async () => {
    const volume = await replicateGraph({ options: { ...options, 'halo-max-replicas': '2' } })
    ping(volume, [1, 2, 3])
    assert.equal(up(volume), 0b011)
    volume.afr.reconfigure({ ...volume.afr.options, 'halo-enabled': false })
    assert.equal(up(volume), 0b111)
  })
})

void test('a lock that one brick refuses is held nowhere', async () => {
  const volume = await withFiles({}, 1)
  const fd = await volume.mount.open('/f0')
  volume.bricks[2]!.fail = (fop, req) => {
    const { flock } = req as unknown as { flock: Flock }
    return fop === 'lk' && flock.type !== F_UNLCK ? E.AGAIN : undefined
  }
  const flock = { type: F_WRLCK, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
  takeCounts(volume)
  assert.equal((await volume.mount.fop('lk', { fd, cmd: F_SETLK, flock })).errno, E.AGAIN)
  assert.deepEqual(
    takeCounts(volume).map(({ lk }) => lk),
    [2, 2, 1],
  )
  const shared = { ...flock, type: F_RDLCK }
  volume.bricks[2]!.fail = undefined
  assert.equal((await volume.mount.fop('lk', { fd, cmd: F_SETLK, flock: shared })).errno, 0)
})

void test('a listing goes on where it began, and trusts no brick that others blame', async () => {
  const volume = await withFiles({}, 12, simStores(3))
  volume.bricks[0]!.up = false
  const fd = await volume.mount.open('/f3')
  await volume.mount.write(fd, 0, 'longer content')
  await letGo(volume)
  volume.bricks[0]!.up = true
  await volume.mount.lookup('/f3')
  takeCounts(volume)
  const entries = await volume.mount.readdir('/', 600)
  assert.equal(entries.length, 14)
  const listed = takeCounts(volume).map(({ readdirp }) => readdirp ?? 0)
  assert.equal(listed.filter((count) => count > 0).length, 1)
  const size = entries.find(({ name }) => name === 'f3')?.stat?.size
  assert.ok(size === undefined || size === 14, `size ${size}`)
})

void test('the private section has what tools read', async () => {
  const volume = await replicateGraph()
  volume.bricks[1]!.up = false
  const lines: string[] = []
  volume.afr.dump({
    section: (name) => lines.push(`[${name}]`),
    pair: (key, value) => lines.push(`${key}=${value}`),
  })
  assert.equal(lines[0], '[cluster/replicate.V-replicate-0]')
  const at = lines.indexOf('child_up[1]=0')
  assert.equal(lines[at + 1], 'pending_key[1]=trusted.afr.V-client-1')
  assert.ok(lines.includes('quorum-type=auto') && lines.includes('up=1'))
})

void test('a brick that is behind does not say that a name is not there', async () => {
  const volume = await replicateGraph({ options: { 'background-self-heal-count': '0' } })
  const { mount, bricks } = volume
  bricks[2]!.up = false
  await mount.writeFile('/f', 'content')
  await letGo(volume)
  bricks[1]!.up = false
  bricks[2]!.up = true
  await assert.rejects(mount.lookup('/f'), { errno: E.NOTCONN })
  await assert.rejects(mount.lookup('/never'), { errno: E.NOENT })
  bricks[1]!.up = true
  assert.equal(await mount.readFile('/f'), 'content')
})
