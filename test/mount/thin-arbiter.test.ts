/**
 * Two bricks and a thin arbiter, our client and the stock one on the same volume: with one brick
 * gone work goes on with the other, and when only the one that missed something is there, nothing
 * is read from it or written to it.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { UNCACHED, uncached } from '../lib/edit-proof.ts'
import { equalBricks, marks } from '../lib/replicate-bricks.ts'
import { enterSandbox, gluster, type Mount, ours, sleep } from '../lib/sandbox.ts'
import { createThinArbiter, type ThinArbiterVolume } from '../lib/thin-arbiter.ts'

const template = '/etc/glusterfs/thin-arbiter.vol'
/** Most of its minute clients wait for bricks. */
const wanted = process.env.THIN_ARBITER !== undefined
const missing = existsSync(template) ? false : `needs ${template}`
const skip = wanted
  ? missing || (await enterSandbox(import.meta.url))
  : 'npm run soak -- thin-arbiter'
/** A client connects again to a brick that came back. */
const BACK_MS = 4500

function errnoOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

void describe('thin arbiter', { skip, timeout: 300_000 }, () => {
  let thin: ThinArbiterVolume
  let mount: Mount
  let stock: Mount

  before(async () => {
    const set = { ...uncached, 'performance.write-behind': 'off' }
    thin = await createThinArbiter('ta', { ...set, 'cluster.self-heal-daemon': 'off' })
    mount = await thin.volume.mount(ours, UNCACHED)
    stock = await thin.volume.mount('stock', UNCACHED)
    for (const name of ['a', 'b', 'c']) writeFileSync(join(mount.dir, name), 'before')
    await sleep(1500)
  })

  after(async () => {
    for (const one of [mount, stock]) await one.unmount()
    for (const i of thin.volume.bricks.keys()) {
      if (thin.volume.brickPid(i) !== undefined) await thin.volume.killBrick(i)
    }
  })

  const read = (through: Mount, name: string) => readFileSync(join(through.dir, name), 'latin1')
  const write = (through: Mount, name: string, text: string) =>
    writeFileSync(join(through.dir, name), text)

  void test('one brick gone: both clients go on, and it is on record once', async () => {
    await thin.volume.killBrick(1)
    await sleep(300)
    assert.equal(read(mount, 'a'), 'before')
    assert.deepEqual(await thin.record(), {})
    write(mount, 'a', 'by ours')
    assert.equal(read(stock, 'a'), 'by ours')
    const bad = { 'trusted.afr.ta-client-1': '000000010000000000000000' }
    assert.deepEqual(await thin.record(), bad)
    write(mount, 'a', 'by ours again')
    mkdirSync(join(mount.dir, 'made'))
    assert.deepEqual(await thin.record(), bad)
    write(stock, 'b', 'by stock')
    assert.equal(read(mount, 'b'), 'by stock')
  })

  void test('only the brick that missed it: EIO, for both clients and one mounted anew', async () => {
    await thin.volume.restartBrick(1)
    await sleep(BACK_MS)
    assert.equal(read(mount, 'a'), 'by ours again')
    await thin.volume.killBrick(0)
    await sleep(300)
    const fresh = await thin.volume.mount(ours, UNCACHED)
    for (const one of [stock, mount, fresh]) {
      assert.equal(
        errnoOf(() => read(one, 'a')),
        'EIO',
        `read through ${one.kind}`,
      )
      assert.equal(
        errnoOf(() => readdirSync(one.dir)),
        'EIO',
        `list through ${one.kind}`,
      )
      assert.equal(
        errnoOf(() => writeFileSync(join(one.dir, 'c'), 'x', { flag: 'r+' })),
        'EIO',
        `write through ${one.kind}`,
      )
      // Stock leaves on the brick what it says it could not make.
      if (one === stock) continue
      assert.equal(
        errnoOf(() => mkdirSync(join(one.dir, `new-${one.kind}`))),
        'EIO',
        `mkdir through ${one.kind}`,
      )
    }
    await fresh.unmount()
    assert.equal(Object.keys(await thin.record()).join(), 'trusted.afr.ta-client-1')
  })

  void test('the daemon heals and clears the record, which both clients let it do', async () => {
    await thin.volume.restartBrick(0)
    await sleep(BACK_MS)
    assert.equal(read(mount, 'a'), 'by ours again')
    await thin.volume.set('cluster.self-heal-daemon', 'on')
    let left: unknown[] = []
    for (let i = 0; i < 30; i++) {
      await gluster('volume', 'heal', 'ta').catch(() => {})
      await sleep(1500)
      left = [...marks(thin.volume), ...Object.entries(await thin.record())]
      if (left.length === 0) break
    }
    assert.deepEqual(left, [])
    equalBricks(thin.volume, false)
    await thin.volume.set('cluster.self-heal-daemon', 'off')
  })

  void test('then the other brick may be the bad one', async () => {
    await thin.volume.killBrick(0)
    await sleep(300)
    write(stock, 'c', 'by stock')
    write(mount, 'b', 'by ours')
    assert.equal(read(stock, 'b'), 'by ours')
    assert.equal(Object.keys(await thin.record()).join(), 'trusted.afr.ta-client-0')
  })
})
