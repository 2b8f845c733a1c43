import assert from 'node:assert/strict'
import { test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { Fd } from '../../../../src/core/fd.ts'
import type { Loc } from '../../../../src/core/loc.ts'
import distribute from '../../../../xlators/cluster/distribute/index.ts'
import { distributeVolfile, FopFailure, type SimMount, simGraph } from '../../../lib/sim-graph.ts'

async function mount(bricks = 3, options: Record<string, string> = {}): Promise<SimMount> {
  const sim = await simGraph({
    volfile: distributeVolfile(bricks, options),
    xlators: [distribute],
  })
  return sim.start()
}

const fails = (errno: number) => (error: unknown) =>
  error instanceof FopFailure && error.errno === errno

/** Nothing is left locked, and every copy of every directory is laid out. */
async function assertTidy(sim: SimMount): Promise<void> {
  await sim.settle()
  for (const brick of sim.bricks) {
    assert.deepEqual(brick.store.locks.held, [], `locks left on ${brick.name}`)
    assert.equal(brick.store.locks.waiting.length, 0)
  }
}

test('the first lookup lays out the root with hash 1', async () => {
  const sim = await mount(2)
  const ranges = sim.bricks.map((brick) =>
    brick.store.root.xattrs.get('trusted.glusterfs.dht')?.toString('hex'),
  )
  assert.deepEqual(ranges.toSorted(), [
    '0000000100000000000000007ffffffe',
    '00000001000000007fffffffffffffff',
  ])
  await assertTidy(sim)
})

test('create, write, read, stat, unlink over many names', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  for (let i = 0; i < 60; i++) await sim.writeFile(`/d/file${i}`, `content ${i}`)
  const counts = sim.bricks.map((brick) => brick.store.at('/d')!.children.size)
  assert.equal(
    counts.reduce((a, b) => a + b),
    60,
  )
  assert.ok(counts.every((count) => count > 0))
  for (let i = 0; i < 60; i++) assert.equal(await sim.readFile(`/d/file${i}`), `content ${i}`)
  assert.equal((await sim.stat('/d/file7')).size, 9)
  for (let i = 0; i < 60; i++) await sim.unlink(`/d/file${i}`)
  assert.ok(sim.bricks.every((brick) => brick.store.at('/d')!.children.size === 0))
  await assertTidy(sim)
})

test('mkdir: copies everywhere, mds on the hashed subvolume, complete layout', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d', 0o750)
  const copies = sim.bricks.map((brick) => brick.store.at('/d')!)
  assert.equal(new Set(copies.map((copy) => copy.gfid)).size, 1)
  assert.equal(copies.filter((copy) => copy.xattrs.has('trusted.glusterfs.dht.mds')).length, 1)
  const ranges = copies.map((copy) => copy.xattrs.get('trusted.glusterfs.dht')!.toString('hex'))
  assert.deepEqual(ranges.map((range) => range.slice(16)).toSorted(), [
    '0000000055555554',
    '55555555aaaaaaa9',
    'aaaaaaaaffffffff',
  ])
  assert.ok(copies.every((copy) => (copy.mode & 0o7777) === 0o750))
  await assertTidy(sim)
})

test('what is below sees the new directory with its identity, on the inode that stays', async () => {
  const sim = await mount(3)
  for (const brick of sim.bricks) brick.requests.length = 0
  await sim.mkdir('/d')
  const inode = await sim.inode('/d')
  const onIt = sim.bricks.flatMap((brick) =>
    brick.requests.filter(({ fop }) => fop === 'setxattr').map(({ req }) => req),
  ) as { loc: Loc }[]
  assert.equal(onIt.length, 3)
  for (const { loc } of onIt) assert.equal(loc.inode, inode)
})

test('readdir shows every name once, whatever the batch size', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  const names = ['.', '..']
  for (let i = 0; i < 40; i++) {
    await sim.writeFile(`/d/f${i}`, '')
    names.push(`f${i}`)
  }
  for (let i = 0; i < 10; i++) {
    await sim.mkdir(`/d/sub${i}`)
    names.push(`sub${i}`)
  }
  for (const size of [300, 1000, 4096, 131072]) {
    for (const fop of ['readdirp', 'readdir'] as const) {
      const entries = await sim.readdir('/d', size, fop)
      assert.deepEqual(entries.map((entry) => entry.name).toSorted(), names.toSorted())
    }
  }
})

test('a directory without attributes is shown once, too', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  const names = ['.', '..']
  for (let i = 0; i < 10; i++) {
    await sim.mkdir(`/d/sub${i}`)
    names.push(`sub${i}`)
  }
  // As cluster/replicate does where a copy may be behind.
  for (const brick of sim.bricks) {
    const { readdirp } = brick
    assert.ok(readdirp !== undefined)
    brick.readdirp = async (frame, req) => {
      const rep = await readdirp.call(brick, frame, req)
      if (rep.errno !== 0) return rep
      const entries = rep.entries.map((entry) => ({ ...entry, stat: undefined, inode: undefined }))
      return { ...rep, entries }
    }
  }
  const listed = await sim.readdir('/d')
  assert.deepEqual(listed.map(({ name }) => name).toSorted(), names.toSorted())
})

test('link to a name that hashes elsewhere makes a linkto; unlink removes both', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  await sim.writeFile('/d/a', 'x')
  let linktos = 0
  for (let i = 0; i < 12; i++) {
    assert.equal((await sim.link('/d/a', `/d/l${i}`)).nlink, i + 2)
    await sim.settle()
    const found = sim.bricks.filter((brick) => brick.store.at(`/d/l${i}`) !== undefined)
    if (found.length === 2) linktos++
  }
  assert.ok(linktos > 0)
  const listed = (await sim.readdir('/d')).map((entry) => entry.name)
  assert.equal(listed.length, 15)
  for (let i = 0; i < 12; i++) await sim.unlink(`/d/l${i}`)
  assert.equal((await sim.stat('/d/a')).nlink, 1)
  assert.equal(
    sim.bricks.reduce((sum, brick) => sum + brick.store.at('/d')!.children.size, 0),
    1,
  )
  await assertTidy(sim)
})

test('rmdir: not empty, empty, and with linktos left behind', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  await sim.writeFile('/d/a', 'x')
  await assert.rejects(sim.rmdir('/d'), fails(E.NOTEMPTY))
  await sim.unlink('/d/a')
  await sim.rmdir('/d')
  assert.ok(sim.bricks.every((brick) => brick.store.at('/d') === undefined))
  await assert.rejects(sim.lookup('/d'), fails(E.NOENT))
  await assertTidy(sim)
})

test('rename of files keeps content, places the name, leaves nothing behind', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  await sim.mkdir('/e')
  let path = '/d/start'
  await sim.writeFile(path, 'precious')
  for (let i = 0; i < 30; i++) {
    const next = `/${i % 2 === 0 ? 'd' : 'e'}/name${i}`
    if (i % 3 === 0) await sim.writeFile(next, 'victim')
    const stat = await sim.rename(path, next)
    assert.equal(stat.nlink, 1)
    assert.equal(stat.size, 8)
    assert.equal(await sim.exists(path), false)
    assert.equal(await sim.readFile(next), 'precious')
    path = next
    await assertTidy(sim)
    const data = sim.bricks.flatMap((brick) => {
      const dirs = [brick.store.at('/d')!, brick.store.at('/e')!]
      return dirs.flatMap((dir) => [...dir.children.values()].map((entry) => entry.node))
    })
    assert.equal(data.filter((node) => node.data.length > 0).length, 1)
    assert.ok(data.length <= 2, `${data.length} names left`)
  }
})

test('rename of directories', async () => {
  const sim = await mount(3)
  await sim.mkdir('/a')
  await sim.mkdir('/b')
  await sim.writeFile('/a/f', 'x')
  await sim.rename('/a', '/c')
  assert.equal(await sim.readFile('/c/f'), 'x')
  await sim.rename('/c', '/b')
  assert.equal(await sim.readFile('/b/f'), 'x')
  await sim.mkdir('/z')
  await assert.rejects(sim.rename('/z', '/b'), fails(E.NOTEMPTY))
  await assertTidy(sim)
})

test('one subvolume: passed through, mkdir plants the whole range', async () => {
  const sim = await mount(1)
  await sim.mkdir('/d')
  const { xattrs } = sim.bricks[0]!.store.at('/d')!
  assert.equal(
    xattrs.get('trusted.glusterfs.dht')!.toString('hex'),
    '000000000000000000000000ffffffff',
  )
  assert.equal(sim.bricks[0]!.store.root.xattrs.size, 0)
  await sim.writeFile('/d/a', 'x')
  assert.equal(await sim.readFile('/d/a'), 'x')
  await sim.rename('/d/a', '/d/b')
  assert.equal(await sim.readFile('/d/b'), 'x')
})

test('a listing asks all subvolumes at once and joins what fits; the end needs no request', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  for (let i = 0; i < 30; i++) await sim.writeFile(`/d/f${i}`, '')
  const asked = () => sim.bricks.map((b) => b.requests.filter((r) => r.fop === 'readdirp').length)
  const forget = () => {
    for (const brick of sim.bricks) brick.requests.length = 0
  }
  forget()
  assert.equal((await sim.readdir('/d', 131072)).length, 32)
  assert.deepEqual(asked(), [1, 1, 1])
  // Replies that do not fit together are asked for again, and nothing is lost.
  forget()
  const names = (await sim.readdir('/d', 2500)).map((entry) => entry.name)
  assert.equal(new Set(names).size, 32)
  assert.equal(names.length, 32)
})

test('a listing joined of several subvolumes goes on from any of its entries', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  for (let i = 0; i < 30; i++) await sim.writeFile(`/d/f${i}`, '')
  const all = await sim.readdir('/d', 131072)
  const loc = await sim.loc('/d')
  for (const [at, { off }] of all.entries()) {
    const fd = new Fd(loc.inode, 0, 1)
    await sim.fop('opendir', { loc, fd })
    const rest: string[] = []
    let rep = await sim.fop('readdirp', { fd, size: 131072, off })
    while (rep.errno === 0 && rep.entries.length > 0) {
      rest.push(...rep.entries.map((entry) => entry.name))
      if (rep.eof) break
      rep = await sim.fop('readdirp', { fd, size: 131072, off: rep.entries.at(-1)!.off })
    }
    fd.release()
    const expected = all.slice(at + 1).map((entry) => entry.name)
    assert.deepEqual(rest, expected)
  }
})

test('a joined listing leaves out a subvolume that is down', async () => {
  const sim = await mount(3)
  await sim.mkdir('/d')
  for (let i = 0; i < 30; i++) await sim.writeFile(`/d/f${i}`, '')
  const before = sim.bricks[1]!.store.at('/d')!.children.size
  sim.bricks[1]!.up = false
  const names = (await sim.readdir('/d', 131072)).map((entry) => entry.name)
  assert.equal(names.length, 32 - before)
})

test("where names are absent one after the other, the parent's layout is asked along", async () => {
  const sim = await mount(2)
  await sim.mkdir('/d')
  await sim.lookup('/d')
  const asked: string[] = []
  for (const brick of sim.bricks) {
    brick.gate = (fop, req) => {
      if (fop !== 'lookup') return undefined
      if (req.loc?.name === undefined) asked.push('layout')
      // The answer to the name comes late: what is asked before it did not wait for it.
      else
        return new Promise((resolve) => setTimeout(resolve, 20)).then(() => void asked.push('name'))
      return undefined
    }
  }
  for (const name of ['a', 'b']) await assert.rejects(sim.lookup(`/d/${name}`), fails(E.NOENT))
  assert.deepEqual(asked, ['layout', 'layout', 'name', 'layout', 'layout', 'name'])
})

test('a directory that a listing showed is looked up on all subvolumes at once', async () => {
  const maker = await mount(3)
  await maker.mkdir('/d')
  await maker.mkdir('/d/sub')
  const sim = await simGraph({ volfile: distributeVolfile(3), xlators: [distribute] })
  for (const [i, brick] of sim.bricks.entries()) brick.store = maker.bricks[i]!.store
  await sim.start()
  await sim.readdir('/d')
  let asked = 0
  let atFirstAnswer: number | undefined
  for (const brick of sim.bricks) {
    brick.gate = async (fop, { loc }) => {
      if (fop !== 'lookup' || loc?.name !== 'sub') return
      asked++
      await new Promise((resolve) => setTimeout(resolve, 5))
      atFirstAnswer ??= asked
    }
  }
  assert.equal((await sim.lookup('/d/sub')).stat.mode & 0o7777, 0o755)
  assert.deepEqual([asked, atFirstAnswer], [3, 3])
})
