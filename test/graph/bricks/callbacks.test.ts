/** What bricks tell clients by themselves, over TCP: protocol/server to protocol/client. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../../src/core/clock.ts'
import { UP_FORGET, UP_NLINK, UP_PARENT_TIMES, UP_SIZE, UP_TIMES } from '../../../src/core/event.ts'
import { Loc } from '../../../src/core/loc.ts'
import { brickSkip } from '../../lib/brick-bench.ts'
import { start, Told } from '../../lib/tcp-bricks.ts'

describe('callbacks over TCP', { skip: brickSkip(), timeout: 60_000 }, () => {
  let base: string
  const ends: (() => unknown)[] = []
  before(() => {
    base = mkdtempSync(join(tmpdir(), 'glusterfs-ts-callbacks-'))
  })
  after(async () => {
    for (const end of ends.reverse()) await end()
    rmSync(base, { recursive: true, force: true })
  })

  test('CACHE_INVALIDATION: what another client changed, with what it is now', async () => {
    const options = { 'features.cache-invalidation': 'on' }
    const { volume, bricks } = await start(join(base, 'inval'), 1, options)
    ends.push(() => bricks[0]!.graph.stop())
    const [one, two] = [
      await Told.connect(volume, bricks, ''),
      await Told.connect(volume, bricks, ''),
    ]
    ends.push(
      () => one.graph.stop(),
      () => two.graph.stop(),
    )
    const made = await one.create(one.root, 'file')
    await one.lookup(one.root, 'file')
    const { stat } = await two.lookup(two.root, 'file')
    const inode = two.link(two.root, 'file', stat)
    await two.write(await two.open(inode), 'hello')
    const change = await one.next()
    assert.ok(change.type === 'cache-invalidation')
    assert.equal(change.gfid, stat.gfid)
    assert.equal(change.flags, UP_SIZE | UP_TIMES)
    assert.equal(change.stat.size, 5)
    assert.equal(change.expireTimeAttr, 60)
    assert.deepEqual(two.upcalls, [], 'not to the one who did it')
    made.release()
    const loc = Loc.ofName(two.root, 'file', inode)
    await two.ok('unlink', { loc, flags: 0 })
    const gone = [await one.next(), await one.next()]
    const flags = gone.map((told) => (told.type === 'cache-invalidation' ? told.flags : 0))
    assert.ok(flags.includes(UP_NLINK | UP_TIMES | UP_PARENT_TIMES), String(flags))
    assert.ok(flags.includes(UP_FORGET) || flags.includes(UP_TIMES), String(flags))
  })

  test('INODELK_CONTENTION: an eager lock of a dispersed client is given up', async () => {
    const { volume, bricks } = await start(join(base, 'contention'), 3, {})
    ends.push(() => Promise.all(bricks.map(({ graph }) => graph.stop())))
    // Without the notice the second client would wait for this long.
    const top = 'type cluster/disperse\noption redundancy 1\noption eager-lock-timeout 60'
    const [one, two] = [
      await Told.connect(volume, bricks, top),
      await Told.connect(volume, bricks, top),
    ]
    ends.push(
      () => one.graph.stop(),
      () => two.graph.stop(),
    )
    await one.ok('lookup', { loc: Loc.ofInode(one.root) })
    await two.ok('lookup', { loc: Loc.ofInode(two.root) })
    const fd = await one.create(one.root, 'file')
    await one.write(fd, 'first')
    const { stat } = await two.lookup(two.root, 'file')
    const inode = two.link(two.root, 'file', stat)
    const other = await two.open(inode)
    const began = clock.now()
    await two.write(other, 'second')
    const took = clock.now() - began
    assert.ok(took < 10_000, `the second write took ${took} ms`)
    assert.equal(await two.read(other), 'second')
    assert.equal(await one.read(fd), 'second')
    fd.release()
    other.release()
  })
})
