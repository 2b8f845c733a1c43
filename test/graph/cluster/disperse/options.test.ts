/** What each option of cluster/disperse changes, set in the volfile and by reconfigure. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import type { Fd } from '../../../../src/core/fd.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import {
  checkFragments,
  type DisperseGraph,
  disperseGraph,
  letGo,
  newFile,
} from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'
import { withManualClock } from '../../../lib/manual-clock.ts'
import { settle } from '../../../lib/scripted.ts'

/** How often every brick was asked for `fop` since the last look. */
function asked({ bricks }: DisperseGraph, fop: string): number[] {
  return bricks.map(
    ({ trace }) => trace.splice(0).filter((line) => line.split(' ')[0] === fop).length,
  )
}

const sum = (counts: readonly number[]): number => counts.reduce((all, one) => all + one, 0)

function reconfigure({ bench }: DisperseGraph, given: Record<string, string>): void {
  bench.reconfigure({ redundancy: '2', ...given })
}

/** A settled file of `size` bytes, open for reading and writing, on a 4+2 volume. */
async function withFile(
  given: Record<string, string>,
  size: number,
): Promise<{ volume: DisperseGraph; fd: Fd }> {
  const volume = await disperseGraph(4, 2, given)
  const fd = await newFile(volume, 'f', vectorBytes(1, size))
  await letGo(volume)
  asked(volume, '')
  return { volume, fd }
}

async function mkdir({ mount, bench }: DisperseGraph, name: string): Promise<void> {
  const xdata = new Dict().setGfid('gfid-req', newGfid())
  await bench.ok('mkdir', { loc: mount.loc(name), mode: 0o755, umask: 0, xdata })
}

void test('eager-lock-timeout, other-eager-lock-timeout: how long an idle lock is kept', async () => {
  // Locks that come due within 50 ms go together, the first waits for the others.
  const TOGETHER = 51
  await withManualClock(async (manual) => {
    const { volume, fd } = await withFile({ 'other-eager-lock-timeout': '3' }, 100)
    const { disperse, mount } = volume
    const kept = async (ms: number): Promise<number> => {
      manual.pass(ms)
      await settle()
      return disperse.lockCount
    }
    await mount.write(fd, 0, vectorBytes(2, 100))
    assert.deepEqual([await kept(999), await kept(TOGETHER)], [1, 0])
    await mkdir(volume, 'a')
    assert.deepEqual([await kept(2999), await kept(TOGETHER)], [1, 0])
    reconfigure(volume, { 'eager-lock-timeout': '60', 'other-eager-lock-timeout': '1' })
    await mount.write(fd, 0, vectorBytes(3, 100))
    assert.equal(await kept(30_000), 1)
    // whoever uses it begins its time anew
    await mount.read(fd, 0, 100)
    assert.deepEqual([await kept(59_999), await kept(TOGETHER)], [1, 0])
    await mkdir(volume, 'b')
    assert.deepEqual([await kept(999), await kept(TOGETHER)], [1, 0])
  })
})

void test('eager-lock off by reconfigure: the lock of a file goes, that of a directory stays', async () => {
  const { volume, fd } = await withFile({}, 100)
  reconfigure(volume, { 'eager-lock': 'off' })
  await volume.mount.write(fd, 0, vectorBytes(2, 100))
  await settle()
  assert.equal(volume.disperse.lockCount, 0)
  await mkdir(volume, 'a')
  await settle()
  assert.equal(volume.disperse.lockCount, 1)
  reconfigure(volume, { 'other-eager-lock': 'off' })
  await mkdir(volume, 'b')
  await settle()
  assert.equal(volume.disperse.lockCount, 0)
})

void test('background-heals, heal-wait-qlength: what runs, what waits, what is left', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '2', 'heal-wait-qlength': '1' })
  const { heals } = volume.disperse
  const ends: (() => void)[] = []
  const add = (name: string): void =>
    heals.add(
      name.padEnd(16),
      () =>
        new Promise((resolve) => {
          ends.push(() => resolve({ errno: 0 }))
        }),
    )
  for (const name of ['a', 'b', 'c', 'd']) add(name)
  assert.deepEqual([heals.running, heals.waiting], [2, 1])
  reconfigure(volume, { 'background-heals': '3', 'heal-wait-qlength': '2' })
  for (const name of ['e', 'f', 'g']) add(name)
  assert.deepEqual([heals.running, heals.waiting], [3, 2])
  while (ends.length > 0) {
    for (const end of ends.splice(0)) end()
    await settle()
  }
  assert.deepEqual([heals.running, heals.waiting, heals.completed], [0, 0, 5])
  reconfigure(volume, { 'background-heals': '0' })
  add('h')
  assert.deepEqual([heals.running, heals.waiting], [0, 0])
})

void test('self-heal-window-size: how much is healed under one lock', async () => {
  const content = vectorBytes(2, 1 << 20)
  for (const [units, windows] of [
    ['1', 8],
    ['4', 2],
    ['32', 1],
  ] as const) {
    const { volume, fd } = await withFile({ 'self-heal-window-size': units }, 100)
    volume.bricks[1]!.up = false
    await volume.mount.write(fd, 0, content)
    await volume.mount.close(fd)
    await letGo(volume)
    volume.bricks[1]!.up = true
    asked(volume, '')
    const loc = volume.mount.loc('f')
    const { dict } = await volume.bench.ok('getxattr', { loc, name: 'trusted.ec.heal' })
    assert.equal(dict.getStr('trusted.ec.heal'), 'Good: 111111, Bad: 000000')
    assert.equal(asked(volume, 'writev')[1], windows, `windows of ${units}`)
    checkFragments(volume, '/f', content)
  }
})

void test('read-policy: gfid-hash asks the same bricks, round-robin all in turn', async () => {
  const { volume, fd } = await withFile({}, 4096)
  const bricksOfRead = async (): Promise<number[]> => {
    await volume.mount.read(fd, 0, 4096)
    return asked(volume, 'readv')
  }
  const first = await bricksOfRead()
  assert.equal(sum(first), 4)
  for (let i = 0; i < 5; i++) assert.deepEqual(await bricksOfRead(), first)
  reconfigure(volume, { 'read-policy': 'round-robin' })
  const all = [0, 0, 0, 0, 0, 0]
  for (let i = 0; i < 6; i++) {
    for (const [brick, count] of (await bricksOfRead()).entries()) all[brick]! += count
  }
  assert.deepEqual(all, [4, 4, 4, 4, 4, 4])
})

void test('optimistic-change-log off: entry changes are marked although all bricks are there', async () => {
  const { volume } = await withFile({}, 100)
  const marks = async (name: string): Promise<number[]> => {
    await mkdir(volume, name)
    await letGo(volume)
    return asked(volume, 'xattrop')
  }
  assert.deepEqual(await marks('a'), [1, 1, 1, 1, 1, 1])
  reconfigure(volume, { 'optimistic-change-log': 'off' })
  assert.deepEqual(await marks('b'), [2, 2, 2, 2, 2, 2])
  const dirty = volume.bricks[0]!.store.at('/')!.xattrs.get('trusted.ec.dirty')
  assert.equal(dirty?.toString('hex'), '0'.repeat(32))
})

void test('parallel-writes: writes to separate stripes run at once, or one after the other', async () => {
  const { volume, fd } = await withFile({}, 8192)
  const underWay = async (): Promise<number> => {
    let open = (): void => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    for (const brick of volume.bricks) {
      brick.gate = (fop) => (fop === 'writev' ? gate : undefined)
    }
    asked(volume, '')
    const writes = [0, 4096].map((at) => volume.mount.write(fd, at, vectorBytes(at, 2048)))
    await settle()
    const count = sum(asked(volume, 'writev'))
    open()
    assert.deepEqual(await Promise.all(writes), [0, 0])
    return count / volume.bricks.length
  }
  assert.equal(await underWay(), 2)
  reconfigure(volume, { 'parallel-writes': 'off' })
  assert.equal(await underWay(), 1)
})

void test('stripe-cache: 0 reads every stripe anew, others save that many', async () => {
  const reads = async (volume: DisperseGraph, fd: Fd): Promise<number> => {
    // back and forth between two stripes, neither of them written in full
    for (const at of [0, 4096, 100, 4196, 200, 4296]) {
      assert.equal(await volume.mount.write(fd, at, vectorBytes(at, 50)), 0)
    }
    await letGo(volume)
    return sum(asked(volume, 'readv')) / 4
  }
  const { volume, fd } = await withFile({ 'stripe-cache': '0' }, 9000)
  const stats = volume.disperse.stripeStats
  assert.equal(await reads(volume, fd), 6)
  assert.deepEqual([stats.hits, stats.misses], [0, 0])
  reconfigure(volume, { 'stripe-cache': '2' })
  assert.equal(await reads(volume, fd), 2)
  assert.deepEqual([stats.hits, stats.misses, stats.evicts], [4, 2, 0])
  reconfigure(volume, { 'stripe-cache': '1' })
  assert.equal(await reads(volume, fd), 6)
  assert.deepEqual([stats.hits, stats.misses, stats.evicts], [4, 8, 5])
})

void test('ec-read-mask: reads, and those that writes need, ask no other brick', async () => {
  const content = vectorBytes(1, 9000)
  const { volume, fd } = await withFile({ 'ec-read-mask': '0:2:3:5' }, 9000)
  const read = async (): Promise<Buffer | number> => volume.mount.read(fd, 0, 9000)
  assert.deepEqual(await read(), content)
  assert.deepEqual(asked(volume, 'readv'), [1, 0, 1, 1, 0, 1])
  assert.equal(await volume.mount.write(fd, 100, content.subarray(100, 300)), 0)
  assert.deepEqual(asked(volume, 'readv'), [1, 0, 1, 1, 0, 1])
  reconfigure(volume, { 'ec-read-mask': '1:2:3:4' })
  assert.deepEqual(await read(), content)
  assert.deepEqual(asked(volume, 'readv'), [0, 1, 1, 1, 1, 0])
})

void test('reconfigure: what cannot be is refused and changes nothing', async () => {
  const { volume, fd } = await withFile({ 'ec-read-mask': '0:1:2:3' }, 4096)
  assert.throws(() => volume.bench.reconfigure({ redundancy: '1' }), /redundancy/)
  assert.throws(() => reconfigure(volume, { 'ec-read-mask': '0:1:2' }), /ec-read-mask/)
  for (const quorum of ['3', '7']) {
    assert.throws(() => reconfigure(volume, { 'quorum-count': quorum }), /quorum-count/)
  }
  const timeouts = { 'eager-lock-timeout': '61' }
  assert.throws(() => reconfigure(volume, timeouts), /eager-lock-timeout/)
  assert.equal(volume.disperse.options['eager-lock-timeout'], 1)
  await volume.mount.read(fd, 0, 4096)
  assert.deepEqual(asked(volume, 'readv'), [1, 1, 1, 1, 0, 0])
  reconfigure(volume, { 'quorum-count': '6', 'ec-read-mask': '0:1:2:3' })
  assert.equal(await volume.mount.write(fd, 0, vectorBytes(2, 10)), 0)
})
