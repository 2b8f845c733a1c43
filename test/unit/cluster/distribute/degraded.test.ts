import assert from 'node:assert/strict'
import { test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import distribute, { type Distribute } from '../../../../xlators/cluster/distribute/index.ts'
import { distributeVolfile, FopFailure, type SimMount, simGraph } from '../../../lib/sim-graph.ts'

const LAYOUT = 'trusted.glusterfs.dht'
const MDS = 'trusted.glusterfs.dht.mds'

async function mount(options: Record<string, string> = {}): Promise<SimMount> {
  const volfile = distributeVolfile(3, options)
  return (await simGraph({ volfile, xlators: [distribute] })).start()
}

const fails = (errno: number) => (error: unknown) =>
  error instanceof FopFailure && error.errno === errno

/** A name in `dir` that hashes to brick number `index`. */
async function nameOn(sim: SimMount, dir: string, index: number): Promise<string> {
  const dht = sim.graph.top as unknown as Distribute
  const parent = await sim.inode(dir)
  for (let i = 0; ; i++) {
    const name = `n${i}`
    if (dht.hashedSub(parent, name)?.name === sim.bricks[index]!.name) return name
  }
}

test('nothing is told until every subvolume has reported, then changes as they happen', async () => {
  const volfile = distributeVolfile(3)
  const sim = await simGraph({ volfile, xlators: [distribute] })
  const [a, b, c] = sim.bricks as [
    (typeof sim.bricks)[0],
    (typeof sim.bricks)[0],
    (typeof sim.bricks)[0],
  ]
  a.up = true
  b.up = false
  assert.deepEqual(sim.events, [])
  c.up = true
  a.up = false
  a.up = true
  a.up = false
  c.up = false
  c.up = true
  assert.deepEqual(sim.events, [
    'child-up',
    'some-descendent-down',
    'some-descendent-up',
    'some-descendent-down',
    'child-down',
    'child-up',
  ])
})

test('all down is told once all have reported', async () => {
  const sim = await simGraph({ volfile: distributeVolfile(2), xlators: [distribute] })
  for (const brick of sim.bricks) brick.up = false
  assert.deepEqual(sim.events, ['child-down'])
})

test('one subvolume down: the others go on, what is on it is ENOTCONN', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  await sim.mkdir('/d/sub')
  const files: string[] = []
  for (const index of [0, 1, 2]) {
    files.push(`/d/${await nameOn(sim, '/d', index)}`)
    await sim.writeFile(files[index]!, `on ${index}`)
  }
  await sim.unlink(files[1]!)
  sim.bricks[1]!.up = false
  assert.equal(await sim.readFile(files[0]!), 'on 0')
  assert.equal(await sim.readFile(files[2]!), 'on 2')
  // A look at the directory keeps the range of the one that does not answer.
  await sim.lookup('/d')
  await assert.rejects(sim.lookup(files[1]!), fails(E.NOTCONN))
  await assert.rejects(sim.writeFile(files[1]!, ''), fails(E.NOTCONN))
  const names = (await sim.readdir('/d')).map((entry) => entry.name)
  assert.deepEqual(
    names.toSorted(),
    [...[files[0]!, files[2]!].map((f) => f.slice(3)), '.', '..', 'sub'].toSorted(),
  )
  await assert.rejects(sim.rmdir('/d/sub'), fails(E.NOTCONN))
  await assert.rejects(sim.rename('/d/sub', '/d/sub2'), fails(E.NOTCONN))
  const statfs = await sim.fop('statfs', { loc: await sim.loc('/') })
  assert.equal(statfs.errno === 0 && statfs.statfs.blocks, 2_000_000)
  sim.bricks[1]!.up = true
  await sim.writeFile(files[1]!, 'again')
  assert.equal(await sim.readFile(files[1]!), 'again')
})

test('a directory made while a subvolume is down spans the others; healed when it is back', async () => {
  const sim = await mount()
  sim.bricks[1]!.up = false
  const name = await nameOn(sim, '/', 0)
  await sim.mkdir(`/${name}`)
  const ranges = [0, 2].map((i) =>
    sim.bricks[i]!.store.at(`/${name}`)!.xattrs.get(LAYOUT)!.toString('hex').slice(16),
  )
  assert.deepEqual(ranges.toSorted(), ['000000007ffffffe', '7fffffffffffffff'])
  await sim.writeFile(`/${name}/f`, 'x')
  sim.bricks[1]!.up = true
  await sim.lookup(`/${name}`)
  const healed = sim.bricks[1]!.store.at(`/${name}`)!
  assert.equal(healed.xattrs.get(LAYOUT)!.toString('hex'), '0'.repeat(32))
  assert.equal(await sim.readFile(`/${name}/f`), 'x')
})

test('a missing copy, wrong attributes and a lost layout are healed by lookup', async () => {
  const sim = await mount()
  await sim.mkdir('/d', 0o750)
  await sim.setxattr('/d', 'user.k', 'v')
  const mdsIndex = sim.bricks.findIndex((brick) => brick.store.at('/d')!.xattrs.has(MDS))
  const [lost, odd] = [0, 1, 2].filter((i) => i !== mdsIndex) as [number, number]
  sim.bricks[lost]!.store.remove(sim.bricks[lost]!.store.root, 'd')
  sim.bricks[odd]!.store.at('/d')!.mode ^= 0o077
  await sim.lookup('/d')
  for (const brick of sim.bricks) {
    const copy = brick.store.at('/d')!
    assert.equal(copy.mode & 0o7777, 0o750)
    assert.equal(copy.xattrs.get('user.k')?.toString(), 'v')
  }
  const stops = sim.bricks.map((brick) =>
    brick.store.at('/d')!.xattrs.get(LAYOUT)!.readUInt32BE(12),
  )
  assert.ok(stops.includes(0xffffffff))
  await sim.settle()
  for (const brick of sim.bricks) assert.deepEqual(brick.store.locks.held, [])
  for (let i = 0; i < 20; i++) await sim.writeFile(`/d/f${i}`, 'x')
})

test('a directory xattr that misses a copy leaves a debt that a lookup pays', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const mds = sim.bricks.find((brick) => brick.store.at('/d')!.xattrs.has(MDS))!
  const other = sim.bricks.find((brick) => brick !== mds)!
  other.fail = (fop) => (fop === 'setxattr' ? E.IO : undefined)
  await sim.setxattr('/d', 'user.k', 'v')
  assert.equal(mds.store.at('/d')!.xattrs.get(MDS)!.readInt32BE(0), -1)
  assert.equal(other.store.at('/d')!.xattrs.has('user.k'), false)
  other.fail = undefined
  await sim.lookup('/d')
  await sim.settle()
  assert.equal(mds.store.at('/d')!.xattrs.get(MDS)!.readInt32BE(0), 0)
  assert.equal(other.store.at('/d')!.xattrs.get('user.k')?.toString(), 'v')
  mds.up = false
  await assert.rejects(sim.setxattr('/d', 'user.k', 'w'), fails(E.NOTCONN))
  await assert.rejects(sim.setattr('/d', { mode: 0o700 }, SET_ATTR_MODE), fails(E.NOTCONN))
})

test('internal xattrs are neither shown nor set', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const keys = [...(await sim.getxattr('/d')).entries.keys()]
  assert.ok(!keys.includes(LAYOUT) && !keys.includes(MDS))
  await assert.rejects(sim.setxattr('/d', LAYOUT, 'x'), fails(E.PERM))
  await assert.rejects(sim.setxattr('/d', `${LAYOUT}.linkto`, 'x'), fails(E.PERM))
  await assert.rejects(sim.getxattr('/d', LAYOUT), fails(E.OPNOTSUPP))
})

test('virtual keys: pathinfo, hashed subvolume, status', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  await sim.writeFile('/d/f', 'x')
  const text = async (path: string, name: string): Promise<string | undefined> =>
    (await sim.getxattr(path, name)).getStr(name)
  const file = await text('/d/f', 'trusted.glusterfs.pathinfo')
  assert.match(file!, /^\(<DISTRIBUTE:vol-dht> <POSIX\(\/b\):sim:\/b\/d\/f>\)$/)
  const dir = await text('/d', 'glusterfs.pathinfo')
  assert.match(
    dir!,
    /^\(\(<DISTRIBUTE:vol-dht> (<POSIX[^>]+> ?){3}\) \(vol-dht-layout (\(vol-client-\d \d+ \d+\) ?){3}\)\)$/,
  )
  const hashed = await text('/d', 'dht.file.hashed-subvol.f')
  assert.ok(sim.bricks.find((brick) => brick.name === hashed)!.store.at('/d/f'))
  assert.equal(await text('/d', 'dht.subvol.status'), '1')
})

test('rmdir that fails on one subvolume puts the directory back', async () => {
  const sim = await mount()
  await sim.mkdir('/d', 0o751)
  const mds = sim.bricks.find((brick) => brick.store.at('/d')!.xattrs.has(MDS))!
  mds.fail = (fop) => (fop === 'rmdir' ? E.BUSY : undefined)
  await assert.rejects(sim.rmdir('/d'), fails(E.BUSY))
  mds.fail = undefined
  for (const brick of sim.bricks) assert.equal(brick.store.at('/d')!.mode & 0o7777, 0o751)
  await sim.writeFile('/d/f', 'x')
  await sim.unlink('/d/f')
  await sim.rmdir('/d')
})

test('a directory rename that fails on one subvolume is undone on the others', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  await sim.writeFile('/d/f', 'x')
  const name = await nameOn(sim, '/', 0)
  sim.bricks[2]!.fail = (fop) => (fop === 'rename' ? E.IO : undefined)
  await assert.rejects(sim.rename('/d', `/${name}`), fails(E.IO))
  sim.bricks[2]!.fail = undefined
  for (const brick of sim.bricks) {
    assert.ok(brick.store.at('/d'))
    assert.equal(brick.store.at(`/${name}`), undefined)
  }
  assert.equal(await sim.readFile('/d/f'), 'x')
})

test('a file rename that fails leaves everything as it was', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const [a, b] = [await nameOn(sim, '/d', 0), await nameOn(sim, '/d', 1)]
  await sim.writeFile(`/d/${a}`, 'x')
  const before = sim.bricks.map((brick) => brick.store.snapshot())
  for (const [index, fop] of [
    [1, 'rename'],
    [0, 'link'],
    [1, 'mknod'],
  ] as const) {
    sim.bricks[index]!.fail = (which) => (which === fop ? E.IO : undefined)
    await assert.rejects(sim.rename(`/d/${a}`, `/d/${b}`), fails(E.IO))
    sim.bricks[index]!.fail = undefined
    await sim.settle()
    assert.deepEqual(
      sim.bricks.map((brick) => brick.store.snapshot()),
      before,
      fop,
    )
  }
})

test('a stale layout: create is told by the brick and goes to the right place', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const name = await nameOn(sim, '/d', 0)
  // Another client's fix-layout: ranges of bricks 0 and 1 change places.
  const [x, y] = [0, 1].map((i) => sim.bricks[i]!.store.at('/d')!.xattrs) as [
    Map<string, Buffer>,
    Map<string, Buffer>,
  ]
  const range = x.get(LAYOUT)!
  x.set(LAYOUT, y.get(LAYOUT)!)
  y.set(LAYOUT, range)
  await sim.writeFile(`/d/${name}`, 'x')
  assert.ok(sim.bricks[1]!.store.at(`/d/${name}`))
  assert.equal(sim.bricks[0]!.store.at(`/d/${name}`), undefined)
  await sim.settle()
  assert.deepEqual(sim.bricks[0]!.store.locks.held, [])
})

test('a name missing by a stale layout is looked for by the new one', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const name = await nameOn(sim, '/d', 0)
  await sim.writeFile(`/d/${name}`, 'x')
  const inode = sim.table.child(await sim.inode('/d'), name)!
  sim.table.unlinkName(await sim.inode('/d'), name)
  assert.ok(inode)
  const dirs = sim.bricks.map((brick) => brick.store.at('/d')!)
  const range = dirs[0]!.xattrs.get(LAYOUT)!
  dirs[0]!.xattrs.set(LAYOUT, dirs[1]!.xattrs.get(LAYOUT)!)
  dirs[1]!.xattrs.set(LAYOUT, range)
  const { node } = dirs[0]!.children.get(name)!
  node.nlink++
  sim.bricks[0]!.store.remove(dirs[0]!, name)
  sim.bricks[0]!.store.byGfid.delete(node.gfid)
  node.nlink = 1
  sim.bricks[1]!.store.add(dirs[1]!, name, node)
  assert.equal((await sim.lookup(`/d/${name}`)).stat.size, 1)
})

test('a full subvolume: new files go elsewhere, with a linkto', async () => {
  const sim = await mount({ 'min-free-disk': '10%' })
  await sim.mkdir('/d')
  const name = await nameOn(sim, '/d', 0)
  sim.bricks[0]!.store.bavail = 50_000
  const dht = sim.graph.top as unknown as Distribute
  dht.space.refresh()
  await dht.space.ready()
  await sim.settle()
  await sim.writeFile(`/d/${name}`, 'x')
  await sim.settle()
  const linkto = sim.bricks[0]!.store.at(`/d/${name}`)!
  assert.equal(linkto.mode & 0o7777, 0o1000)
  assert.equal(await sim.readFile(`/d/${name}`), 'x')
  await sim.mkdir('/e')
  assert.equal(sim.bricks[0]!.store.at('/e')!.xattrs.get(LAYOUT)!.readUInt32BE(12), 0)
})

test('statfs adds up in the largest block size', async () => {
  const sim = await mount()
  const rep = await sim.fop('statfs', { loc: await sim.loc('/') })
  assert.equal(rep.errno, 0)
  if (rep.errno === 0) {
    assert.equal(rep.statfs.blocks, 3_000_000)
    assert.equal(rep.statfs.files, 3_000_000)
  }
})

test('options are read again at reconfigure; nonsense is refused before anything changes', async () => {
  const sim = await mount()
  const dht = sim.graph.top as unknown as Distribute
  dht.reconfigure({ ...dht.options, 'lookup-unhashed': 'auto', 'extra-hash-regex': '^(.*)~$' })
  assert.equal(dht.lookupUnhashed, 'auto')
  assert.equal(dht.hasher.munge('a~'), 'a')
  assert.throws(() => dht.reconfigure({ ...dht.options, 'lookup-unhashed': 'maybe' }))
  assert.equal(dht.lookupUnhashed, 'auto')
})

test('locks of two renames crossing each other do not block', async () => {
  const sim = await mount()
  await sim.mkdir('/d')
  const [a, b] = [await nameOn(sim, '/d', 0), await nameOn(sim, '/d', 1)]
  await sim.writeFile(`/d/${a}`, '1')
  await sim.writeFile(`/d/${b}`, '2')
  const done = await Promise.allSettled([
    sim.rename(`/d/${a}`, `/d/${b}`),
    sim.rename(`/d/${b}`, `/d/${a}`),
  ])
  assert.ok(done.some((result) => result.status === 'fulfilled'))
  await sim.settle()
  for (const brick of sim.bricks) assert.deepEqual(brick.store.locks.held, [])
})

test('state dump', async () => {
  const sim = await mount()
  const lines: string[] = []
  sim.graph.top.dump?.({
    section: (name) => lines.push(`[${name}]`),
    pair: (key, value) => lines.push(`${key}=${value}`),
  })
  assert.equal(lines[0], '[xlator.cluster.dht.vol-dht.priv]')
  assert.ok(lines.includes('subvol_cnt=3'))
  assert.ok(lines.includes('subvolume_status[2]=1'))
  assert.ok(lines.includes('min_free_disk=10.000000'))
})
