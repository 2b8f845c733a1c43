/**
 * Bricks of a dispersed volume that die while a large file is written: the write goes on, heal info
 * lists the file, the self-heal daemon repairs it. More than R dead: errors until they are back, and
 * no remount.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { E } from '../../src/core/errno.ts'
import { DisperseVolume, parseShape } from '../lib/disperse-volume.ts'
import { enterSandbox, gluster, type Mount, ours, run, sleep } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

/** Size of the large file; `npm run soak -- disperse-loss` takes 1024. */
const mebibytes = Number(process.env.DISPERSE_MIB ?? 128)
const MIB = 1 << 20
/** How long clients may take to be back at bricks that were started. */
const BACK_MAX_MS = 20_000

void describe('disperse 4+2: bricks die', { skip, timeout: 900_000 }, () => {
  let target: DisperseVolume
  let mount: Mount
  let stock: Mount

  before(async () => {
    target = await DisperseVolume.create('loss', parseShape('4+2'))
    mount = await target.volume.mount(ours)
    stock = await target.volume.mount('stock')
  })

  after(async () => {
    await mount.unmount()
    await stock.unmount()
    await target.volume.destroy()
  })

  const listed = async (): Promise<boolean> =>
    (await gluster('volume', 'heal', target.volume.name, 'info')).includes('/large')

  async function sha256(path: string): Promise<string> {
    const { stdout } = await run(['sha256sum', path], { timeoutMs: 300_000 })
    return stdout.slice(0, 64)
  }

  void test('one dies in the middle of a large write', async (t) => {
    const random = seeded(1)
    const piece = Buffer.alloc(MIB)
    for (let i = 0; i < piece.length; i++) piece[i] = Math.floor(random() * 256)
    const hash = createHash('sha256')
    const fd = sys.must(sys.open(join(mount.dir, 'large'), sys.O.O_CREAT | sys.O.O_WRONLY))
    const began = clock.now()
    for (let i = 0; i < mebibytes; i++) {
      piece.writeUInt32LE(i, 0)
      hash.update(piece)
      assert.equal(sys.write(fd, piece), MIB, `MiB ${i}`)
      if (i === mebibytes >> 1) await target.kill([2])
    }
    assert.equal(sys.fsync(fd), 0)
    assert.equal(sys.close(fd), 0)
    t.diagnostic(`${mebibytes} MiB in ${Math.round(clock.now() - began)} ms`)
    const expected = hash.digest('hex')
    assert.ok(await listed(), 'heal info lists it')
    assert.equal(await sha256(join(stock.dir, 'large')), expected)
    await target.volume.restartBrick(2)
    await target.healed()
    assert.ok(!(await listed()), 'nothing is left to heal')
    // What the healed brick has now is needed.
    await target.kill([0, 4])
    for (const { dir } of [stock, mount]) assert.equal(await sha256(join(dir, 'large')), expected)
    await target.volume.restartBrick(0)
    await target.volume.restartBrick(4)
    await usable()
  })

  /** Until the mount works again and has all bricks. */
  async function usable(): Promise<void> {
    const end = clock.now() + BACK_MAX_MS
    for (;;) {
      const stat = sys.stat(join(mount.dir, 'small'))
      if (typeof stat !== 'number' || stat === -E.NOENT) return
      assert.ok(clock.now() < end, `still ${sys.errnoName(stat)}`)
      await sleep(100)
    }
  }

  void test('more than R die: ENOTCONN, and back without a remount', async () => {
    await usable()
    await sleep(3000)
    const path = join(mount.dir, 'small')
    const before = Buffer.from('before')
    writeFileSync(path, before)
    const fd = sys.must(sys.open(path, sys.O.O_RDWR))
    await target.kill([1, 3, 5])
    await sleep(500)
    const names = (result: unknown): string => String(sys.errnoName(Number(result)))
    assert.equal(names(sys.stat(join(mount.dir, 'other'))), 'ENOTCONN', 'stat')
    assert.equal(
      names(sys.open(join(mount.dir, 'new'), sys.O.O_CREAT | sys.O.O_WRONLY)),
      'ENOTCONN',
    )
    assert.equal(names(sys.mkdir(join(mount.dir, 'dir'))), 'ENOTCONN', 'mkdir')
    assert.equal(names(sys.truncate(path, 3)), 'ENOTCONN', 'truncate')
    for (const brick of [1, 3, 5]) await target.volume.restartBrick(brick)
    await usable()
    const end = clock.now() + BACK_MAX_MS
    // the fd from before goes on, too
    while (sys.pwrite(fd, Buffer.from('after!'), 0) !== 6) {
      assert.ok(clock.now() < end, 'the fd does not come back')
      await sleep(100)
    }
    assert.equal(sys.fsync(fd), 0)
    assert.equal(sys.close(fd), 0)
    assert.equal(readFileSync(path, 'latin1'), 'after!')
    assert.equal(statSync(path).size, 6)
    assert.ok(!existsSync(join(mount.dir, 'dir')))
    await target.healed()
    await target.settled(['small'])
    await target.checkFiles([{ name: 'small', content: Buffer.from('after!') }])
  })
})
