import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fd } from '../../../../src/core/fd.ts'
import { S_IFREG } from '../../../../src/core/iatt.ts'
import { Loc } from '../../../../src/core/loc.ts'
import distribute from '../../../../xlators/cluster/distribute/index.ts'
import { encodeRange } from '../../../../xlators/cluster/distribute/layout.ts'
import { isSettling } from '../../../../xlators/cluster/distribute/lookup.ts'
import type { SimBrick } from '../../../lib/sim-brick.ts'
import { distributeVolfile, type SimMount, simGraph } from '../../../lib/sim-graph.ts'
import { SimNode } from '../../../lib/sim-store.ts'

const LINKTO = 'trusted.glusterfs.dht.linkto'
const linktoValue = (brick: SimBrick): Buffer => Buffer.from(`${brick.name}\0`)

interface Moving {
  sim: SimMount
  fd: Fd
  src: SimBrick
  dst: SimBrick
  from: SimNode
  to: SimNode
}

/** An open file with content on `src`, and its copy on `dst` as rebalance makes it. */
async function startMigration(): Promise<Moving> {
  const sim = await (
    await simGraph({ volfile: distributeVolfile(3), xlators: [distribute] })
  ).start()
  await sim.mkdir('/d')
  const fd = await sim.create('/d/f')
  await sim.write(fd, 0, 'original')
  const src = sim.bricks.find((brick) => brick.store.at('/d/f') !== undefined)!
  const dst = sim.bricks.find((brick) => brick !== src)!
  const from = src.store.at('/d/f')!
  const to = new SimNode(from.gfid, S_IFREG | 0o1000)
  to.xattrs.set(LINKTO, linktoValue(src))
  to.data = Buffer.alloc(from.data.length)
  dst.store.add(dst.store.at('/d')!, 'f', to)
  return { sim, fd, src, dst, from, to }
}

function phase1({ from, dst }: Moving): void {
  from.xattrs.set(LINKTO, linktoValue(dst))
  from.mode |= 0o3000
}

/** The copier has copied everything written until now. */
function phase2({ from, to }: Moving): void {
  to.data = Buffer.from(from.data)
  to.mode = S_IFREG | 0o644
  from.mode = S_IFREG | 0o1000
  from.data = Buffer.alloc(0)
}

function finish({ src, to }: Moving): void {
  to.xattrs.delete(LINKTO)
  src.store.remove(src.store.at('/d')!, 'f')
}

test('phase 1: a write goes to both, opened there as root, and is protected from the copier', async () => {
  const moving = await startMigration()
  const { sim, fd, from, to, dst } = moving
  phase1(moving)
  const rep = await sim.write(fd, 2, 'XY')
  assert.equal(from.data.toString(), 'orXYinal')
  assert.equal(to.data.subarray(2, 4).toString(), 'XY')
  assert.equal(rep.poststat.mode & 0o7777, 0o644)
  const opened = dst.requests.find(({ fop }) => fop === 'open')!
  assert.equal(opened.frame.creds.uid, 0)
  assert.equal((opened.req as { flags: number }).flags & 0o1300, 0)
  const copied = dst.requests.find(({ fop }) => fop === 'writev')!
  const { xdata } = copied.req as { xdata: { getNumber(key: string): number } }
  assert.equal(xdata.getNumber('trusted.glusterfs.protect.writes'), 1)
  assert.equal((await sim.stat('/d/f')).mode & 0o7777, 0o644)
})

/** What happens just before the client asks the brick about the copier, once. */
function beforeXattrs(brick: Moving['src'], act: () => void): void {
  brick.gate = async (fop) => {
    if (fop !== 'getxattr') return
    brick.gate = undefined
    act()
  }
}

test('phase 1: an append is at the same place in the copy, however far the copier is', async () => {
  const phases: Record<string, (moving: Moving) => void> = {
    'the copy has its full length': () => undefined,
    'the copy is short': ({ to }) => {
      to.data = Buffer.alloc(0)
    },
    'the copier has read the append': ({ from, to }) => {
      to.data = Buffer.from(from.data)
    },
    'the copier has finished with the append': phase2,
    'the copier has finished without it': (moving) => {
      phase2(moving)
      moving.to.data = Buffer.from('original')
    },
  }
  for (const [name, copier] of Object.entries(phases)) {
    const moving = await startMigration()
    const { sim, src, to } = moving
    const fd = await sim.open('/d/f', 0o2002)
    phase1(moving)
    beforeXattrs(src, () => copier(moving))
    await sim.write(fd, 8, '+more')
    assert.equal(to.data.subarray(8).toString(), '+more', name)
    assert.equal(to.data.length, 13, name)
  }
})

test('phase 1: an append behind what others appended to the finished copy stays an append', async () => {
  const moving = await startMigration()
  const { sim, src, to } = moving
  const fd = await sim.open('/d/f', 0o2002)
  phase1(moving)
  beforeXattrs(src, () => {
    phase2(moving)
    to.data = Buffer.from('original+they')
  })
  await sim.write(fd, 8, '+more')
  assert.equal(to.data.toString(), 'original+they+more')
})

test('phase 1: appends of two at a time are all copied', async () => {
  const moving = await startMigration()
  const { sim, src, from, to } = moving
  const fd = await sim.open('/d/f', 0o2002)
  phase1(moving)
  const writev = src.writev!
  src.writev = async (frame, req) => {
    src.writev = writev
    from.data = Buffer.from('original+they')
    const rep = await writev(frame, req)
    if (rep.errno === 0) rep.prestat.size = 8
    return rep
  }
  await sim.write(fd, 8, '+more')
  assert.equal(from.data.toString(), 'original+they+more')
  assert.equal(to.data.subarray(8).toString(), '+they+more')
})

test('phase 1: reads stay at the source; truncate and xattrs go to both', async () => {
  const moving = await startMigration()
  const { sim, fd, from, to } = moving
  phase1(moving)
  assert.equal(await sim.read(fd), 'original')
  const cut = await sim.fop('ftruncate', { fd, offset: 3 })
  assert.equal(cut.errno, 0)
  assert.equal(from.data.length, 3)
  assert.equal(to.data.length, 3)
  await sim.setxattr('/d/f', 'user.k', 'v')
  assert.equal(from.xattrs.get('user.k')?.toString(), 'v')
  assert.equal(to.xattrs.get('user.k')?.toString(), 'v')
})

test('phase 2: fops follow the data, whichever sign they meet', async () => {
  for (const complete of [false, true]) {
    const moving = await startMigration()
    const { sim, fd, to, dst } = moving
    phase1(moving)
    await sim.write(fd, 0, 'O')
    phase2(moving)
    if (complete) finish(moving)
    assert.equal(await sim.read(fd), 'Original')
    await sim.write(fd, 8, '!')
    assert.equal(to.data.toString(), 'Original!')
    assert.equal((await sim.stat('/d/f')).size, 9)
    const before = dst.trace.length
    await sim.read(fd)
    assert.deepEqual(dst.trace.slice(before), ['readv /d/f'])
  }
})

test('the source vanishes between the reply and the question for its linkto', async () => {
  for (const atPhase of [1, 2]) {
    const moving = await startMigration()
    const { sim, fd, src, to } = moving
    phase1(moving)
    if (atPhase === 2) phase2(moving)
    beforeXattrs(src, () => {
      if (atPhase === 1) phase2(moving)
      finish(moving)
    })
    await sim.write(fd, 0, 'O')
    assert.equal(to.data.toString(), 'Original')
  }
})

test('a migration that was given up: the source keeps the change', async () => {
  const moving = await startMigration()
  const { sim, fd, from, dst } = moving
  phase1(moving)
  dst.store.remove(dst.store.at('/d')!, 'f')
  await sim.write(fd, 0, 'O')
  assert.equal(from.data.toString(), 'Original')
})

test('a file whose user set both bits is no migration', async () => {
  const moving = await startMigration()
  const { sim, fd, from, dst } = moving
  dst.store.remove(dst.store.at('/d')!, 'f')
  from.mode = S_IFREG | 0o3644
  await sim.write(fd, 0, 'O')
  assert.equal(from.data.toString(), 'Original')
  assert.equal((await sim.stat('/d/f')).mode & 0o7777, 0o644)
})

test('a looked-up file that moved meanwhile is found again by name', async () => {
  const moving = await startMigration()
  const { sim } = moving
  phase1(moving)
  phase2(moving)
  finish(moving)
  assert.equal((await sim.lookup('/d/f')).stat.size, 8)
  assert.equal(await sim.readFile('/d/f'), 'original')
})

test('rename of a file that has moved meanwhile', async () => {
  const moving = await startMigration()
  const { sim, dst } = moving
  phase1(moving)
  phase2(moving)
  finish(moving)
  await sim.rename('/d/f', '/d/g')
  assert.equal(await sim.readFile('/d/g'), 'original')
  assert.ok(dst.store.at('/d/g') !== undefined)
  assert.equal(await sim.exists('/d/f'), false)
})

test('rename into a directory that is not on the subvolume of the new name yet', async () => {
  const sim = await (
    await simGraph({ volfile: distributeVolfile(3), xlators: [distribute] })
  ).start()
  await sim.mkdir('/d')
  await sim.mkdir('/d/below')
  const below = await sim.inode('/d/below')
  for (const brick of sim.bricks) {
    const file = `/d/from-${brick.name}`
    await sim.writeFile(file, 'content')
    const inode = await sim.inode(file)
    brick.store.remove(brick.store.at('/d')!, 'below')
    let name = ''
    // One of these has its place there.
    for (let i = 0; i < 12; i++) {
      const oldloc = name === '' ? await sim.loc(file) : Loc.ofName(below, name, inode)
      name = `${brick.name}-${i}`
      const newloc = Loc.ofName(below, name, sim.table.newInode())
      assert.equal((await sim.fop('rename', { oldloc, newloc })).errno, 0, `${file} to ${name}`)
    }
    assert.ok(brick.store.at('/d/below') !== undefined, 'healed')
  }
})

test('both ends seen as linktos by one round of replies: asked again', async () => {
  for (const nameless of [false, true]) {
    const moving = await startMigration()
    const { sim, src, dst, from } = moving
    phase1(moving)
    // The name hashes to the third subvolume now, which has nothing: all are asked.
    for (const brick of sim.bricks) {
      const third = brick !== src && brick !== dst
      const range = { commitHash: 0, type: 0, start: 0, stop: third ? 0xffffffff : 0 }
      brick.store.at('/d')!.xattrs.set('trusted.glusterfs.dht', encodeRange(range))
    }
    const fresh = await (
      await simGraph({
        volfile: distributeVolfile(3, { 'lookup-optimize': 'off' }),
        xlators: [distribute],
        stores: new Map(sim.bricks.map((brick) => [brick.name, brick.store])),
        client: 'client-1',
      })
    ).start()
    await fresh.inode('/d')
    // The migration completes after the destination was asked and before the source is.
    const theirs = fresh.bricks[sim.bricks.indexOf(src)]!
    theirs.gate = async (fop) => {
      if (fop !== 'lookup') return
      theirs.gate = undefined
      await new Promise((resolve) => setImmediate(resolve))
      phase2(moving)
    }
    if (nameless) {
      const loc = Loc.ofGfid(fresh.table, from.gfid)
      const rep = await fresh.fop('lookup', { loc })
      assert.equal(rep.errno === 0 && rep.stat.size, 8)
    } else {
      assert.equal((await fresh.lookup('/d/f')).stat.size, 8)
    }
  }
})

test('commit hashes of the last week are not trusted', () => {
  const now = 1_795_367_381
  const hash = (secs: number): number => (((secs % 2 ** 29) * 8) % 2 ** 32) + 1
  assert.equal(isSettling(hash(now - 60), now), true)
  assert.equal(isSettling(hash(now + 60), now), true)
  assert.equal(isSettling(hash(now - 8 * 86_400), now), false)
  assert.equal(isSettling(0, now), false)
  assert.equal(isSettling(1, now), false)
})
