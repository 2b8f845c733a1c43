/** What bricks tell clients by themselves, over TCP: protocol/server to protocol/client. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../../src/core/clock.ts'
import {
  type Event,
  UP_FORGET,
  UP_NLINK,
  UP_PARENT_TIMES,
  UP_SIZE,
  UP_TIMES,
  type Upcall,
} from '../../../src/core/event.ts'
import { CallPool, ROOT_CREDS } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { buildGraph } from '../../../src/graph/build.ts'
import { parseVolfile } from '../../../src/graph/volfile.ts'
import { type RunningBrick, startBrick } from '../../../src/server/brick.ts'
import { brickVolfile } from '../../../src/server/volfiles.ts'
import { type Volume, VolumeStore } from '../../../src/server/volume.ts'
import { registry } from '../../../xlators/registry.ts'
import { BrickBench, brickSkip } from '../../lib/brick-bench.ts'
import { sleep } from '../../lib/sandbox.ts'
import { testProcess } from '../../lib/scripted.ts'

/** A client of bricks that run in this process, and what it is told. */
class Told extends BrickBench {
  readonly upcalls: Upcall[] = []
  #up = false

  static async connect(
    volume: Volume,
    bricks: readonly RunningBrick[],
    top: string,
  ): Promise<Told> {
    const clients = bricks.map(
      ({ port }, i) => `volume c${i}\ntype protocol/client\noption remote-host 127.0.0.1
option remote-port ${port}\noption remote-subvolume ${volume.bricks[i]}
option transport-type tcp\nend-volume\n`,
    )
    const names = bricks.map((_, i) => `c${i}`).join(' ')
    const above = top === '' ? '' : `volume top\n${top}\nsubvolumes ${names}\nend-volume\n`
    const graph = await buildGraph({
      volfile: parseVolfile(clients.join('') + above, 'test'),
      load: async (type) => (await registry[type]?.())?.default,
      id: 0,
      volfileId: 'test',
      pool: new CallPool(),
      inodes: new InodeTable(),
      process: { ...testProcess, uuid: randomUUID() },
    })
    const told = new Told(volume.bricks[0]!, graph)
    told.creds = { ...ROOT_CREDS, pid: 42, lkOwner: Buffer.from('testtest') }
    graph.top.parents.push({ notify: (event: Event) => told.#hear(event) } as unknown as Xlator)
    graph.start()
    for (let i = 0; i < 500 && !told.#up; i++) await sleep(10)
    assert.ok(told.#up, 'the bricks answer')
    return told
  }

  #hear(event: Event): void {
    if (event.type === 'child-up') this.#up = true
    else if (event.type === 'upcall') this.upcalls.push(event.upcall)
  }

  /** The next upcall, waited for. */
  async next(): Promise<Upcall> {
    for (let i = 0; i < 500 && this.upcalls.length === 0; i++) await sleep(10)
    return this.upcalls.shift() ?? assert.fail('nothing was told')
  }
}

async function start(
  base: string,
  count: number,
  options: Record<string, string>,
): Promise<{ volume: Volume; bricks: RunningBrick[] }> {
  const paths = Array.from({ length: count }, (_, i) => join(base, `b${i}`))
  const shape = count === 3 ? { disperse: { data: 2, redundancy: 1 } } : {}
  const volume = { ...new VolumeStore(base).create('vol', shape, paths), options }
  const bricks: RunningBrick[] = []
  for (const path of paths) {
    bricks.push(await startBrick(brickVolfile(volume, path, '127.0.0.1'), 'test'))
  }
  return { volume, bricks }
}

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
