/** Bricks that come back: fds opened on them, counters they lack, repairs somebody left half done. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import { E } from '../../../../src/core/errno.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { Loc } from '../../../../src/core/loc.ts'
import { Codec } from '../../../../xlators/cluster/disperse/codec/codec.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import {
  checkFragments,
  type DisperseGraph,
  disperseGraph,
  healsDone,
  letGo,
  newFile,
  readAll,
  xattr,
} from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'
import { settle } from '../../../lib/scripted.ts'

const O_RDWR_APPEND_CREAT = 0o2102

void test('an fd is opened where a brick was away, by the next write, once', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  volume.bricks[3]!.up = false
  const made = await volume.mount.create('f', O_RDWR_APPEND_CREAT)
  assert.ok(typeof made !== 'number')
  await letGo(volume)
  volume.bricks[3]!.up = true
  // The name is not there: only a heal brings it, and then the fd can be opened.
  const { root } = volume.bench.graph.inodes
  assert.equal((await volume.mount.lookup('f')).errno, 0)
  assert.equal(volume.bricks[3]!.isOpen(made), false)
  const loc = volume.mount.loc('f')
  assert.equal(loc.parent, root)
  await volume.bench.ok('getxattr', { loc, name: 'trusted.ec.heal' })
  for (const brick of volume.bricks) brick.requests.length = 0
  assert.equal(await volume.mount.write(made, 0, vectorBytes(1, 100)), 0)
  assert.equal(await volume.mount.write(made, 0, vectorBytes(2, 100)), 0)
  assert.equal(volume.bricks[3]!.isOpen(made), true)
  const opens = volume.bricks.map(
    ({ requests }) => requests.filter(({ fop }) => fop === 'open') as { req: { flags: number } }[],
  )
  assert.deepEqual(
    opens.map((some) => some.length),
    [0, 0, 0, 1, 0, 0],
  )
  assert.equal(opens[3]![0]!.req.flags, 2)
})

void test('an empty file that heal makes on a brick has counters like any other', async () => {
  const volume = await disperseGraph(2, 1)
  volume.bricks[0]!.up = false
  await volume.mount.close(await newFile(volume, 'f'))
  await letGo(volume)
  volume.bricks[0]!.up = true
  await volume.mount.lookup('f')
  await healsDone(volume)
  await letGo(volume)
  for (const name of ['version', 'size', 'config']) {
    assert.notEqual(xattr(volume, 0, '/f', name), undefined, name)
    assert.equal(xattr(volume, 0, '/f', name), xattr(volume, 1, '/f', name), name)
  }
})

const counters = (data: number, metadata: number): Buffer => {
  const value = Buffer.alloc(16)
  value.writeBigUInt64BE(BigInt(data), 0)
  value.writeBigUInt64BE(BigInt(metadata), 8)
  return value
}

void test('a kill of everything while new counters were stored: healed when they are met', async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 5000)
  for (const name of ['f', 'g']) await volume.mount.close(await newFile(volume, name, content))
  await letGo(volume)
  // The first change of a directory, and the first of a file's attributes, on every second brick.
  for (const [brick, { store }] of volume.bricks.entries()) {
    const stored = brick % 2
    store.at('/')!.xattrs.set('trusted.ec.version', counters(stored, stored))
    store.at('/g')!.xattrs.set('trusted.ec.version', counters(1, stored))
  }
  assert.equal((await volume.mount.list(4096)).length, 2)
  await volume.mount.close(await newFile(volume, 'h', content))
  for (const name of ['f', 'g', 'h']) {
    assert.ok((await readAll(volume, name)).equals(content), name)
  }
  await healsDone(volume)
  await letGo(volume)
  for (const path of ['/', '/g']) {
    const versions = volume.bricks.map((_brick, index) => xattr(volume, index, path, 'version'))
    assert.equal(new Set(versions).size, 1, `${path}: ${versions}`)
  }
})

for (const [what, behind] of [
  ['half of the bricks', [0, 2, 4]],
  ['two, and one is behind,', [0, 2, 3]],
] as const) {
  void test(`a kill of everything: ${what} stored the counters of a write all have`, async () => {
    const volume = await disperseGraph(4, 2)
    const content = vectorBytes(1, 40_000)
    const name = (key: string): string => `trusted.ec.${key}`
    await volume.mount.close(await newFile(volume, 'f', content.subarray(0, 10_000)))
    await letGo(volume)
    if (behind[2] === 3) volume.bricks[5]!.up = false
    const append = async (from: number, to: number): Promise<void> => {
      const fd = await volume.mount.open('f')
      assert.ok(typeof fd !== 'number')
      assert.equal(await volume.mount.write(fd, from, content.subarray(from, to)), 0)
      await volume.mount.close(fd)
      await letGo(volume)
    }
    await append(10_000, 20_000)
    const old = volume.bricks.map(({ store }) => new Map(store.at('/f')!.xattrs))
    await append(20_000, 40_000)
    for (const brick of behind) {
      const { xattrs } = volume.bricks[brick]!.store.at('/f')!
      for (const key of ['version', 'size']) xattrs.set(name(key), old[brick]!.get(name(key))!)
      xattrs.set(name('dirty'), counters(1, 0))
    }
    if (behind[2] === 3) volume.bricks[5]!.up = true
    assert.ok((await readAll(volume, 'f')).equals(content))
    await healsDone(volume)
    await letGo(volume)
    checkFragments(volume, '/f', content)
  })
}

for (const [did, over] of [
  [2, false],
  [3, false],
  [3, true],
  [4, false],
] as const) {
  const to = over ? 'a name that is taken' : 'a new name'
  void test(`a rename to ${to} that ${did} of 6 bricks did loses no file`, async () => {
    const volume = await disperseGraph(4, 2)
    const content = vectorBytes(1, 5000)
    await volume.mount.close(await newFile(volume, 'f', content))
    if (over) await volume.mount.close(await newFile(volume, 'g', vectorBytes(2, 5000)))
    await letGo(volume)
    for (const brick of volume.bricks.slice(did)) {
      brick.fail = (fop) => (fop === 'rename' ? E.NOTCONN : undefined)
    }
    await volume.mount.lookup('g')
    const isDone = (await volume.mount.rename('f', 'g')) === 0
    assert.equal(isDone, did >= 4)
    for (const brick of volume.bricks) brick.fail = undefined
    await letGo(volume)
    // Twice: what a heal that was begun by the first look leaves.
    for (let i = 0; i < 2; i++) {
      for (const name of ['f', 'g']) await volume.mount.lookup(name)
      await healsDone(volume)
      await letGo(volume)
    }
    const names = (await volume.mount.list(4096)).map(({ name }) => name)
    // In doubt under both names; never back when it was done, nor done when it was not.
    if (did === 2) assert.deepEqual(names, ['f'])
    if (did === 4) assert.deepEqual(names, ['g'])
    assert.ok(names.length > 0, 'it is gone')
    for (const name of names) {
      const found = await readAll(volume, name)
      assert.ok(found.equals(content), name)
    }
  })
}

void test('a brick that has another file under the name is healed by whoever looks', async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 5000)
  for (const name of ['f', 'g']) await volume.mount.close(await newFile(volume, name, content))
  await letGo(volume)
  volume.bricks[2]!.fail = (fop) => (fop === 'rename' ? E.NOTCONN : undefined)
  assert.equal(await volume.mount.rename('f', 'g'), 0)
  volume.bricks[2]!.fail = undefined
  await letGo(volume)
  await healsDone(volume)
  await volume.mount.lookup('g')
  await healsDone(volume)
  await letGo(volume)
  const gfids = new Set(volume.bricks.map(({ store }) => store.at('/g')?.gfid))
  assert.equal(gfids.size, 1)
})

void test('times that a kill of everything left different are made the latest', async () => {
  const volume = await disperseGraph(4, 2)
  await volume.mount.close(await newFile(volume, 'f', vectorBytes(1, 5000)))
  await letGo(volume)
  const times = (ctime: number, mtime: number, atime: number): Buffer => {
    const value = Buffer.alloc(57)
    value[0] = 1
    for (const [at, sec] of [ctime, mtime, atime].entries()) {
      value.writeBigUInt64BE(BigInt(sec), 9 + 16 * at)
    }
    return value
  }
  const given = [times(5, 4, 1), times(6, 4, 1), times(4, 7, 1)]
  for (const [brick, { store }] of volume.bricks.entries()) {
    const { xattrs } = store.at('/f')!
    xattrs.set('trusted.glusterfs.mdata', given[brick % 3]!)
    xattrs.set('trusted.ec.dirty', counters(0, 1))
  }
  await volume.mount.lookup('f')
  await volume.bench.ok('getxattr', { loc: volume.mount.loc('f'), name: 'trusted.ec.heal' })
  for (const { store } of volume.bricks) {
    const { xattrs } = store.at('/f')!
    assert.match(xattrs.get('trusted.ec.dirty')!.toString('hex'), /^0+$/)
    // A simulated brick does not raise, it takes what it is given: the same.
    assert.deepEqual(xattrs.get('trusted.glusterfs.mdata'), times(6, 7, 1))
  }
})

void test('a brick that is away while one name of a directory is healed stays behind', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  volume.bricks[2]!.up = false
  for (const name of ['f', 'g']) await volume.mount.close(await newFile(volume, name))
  await letGo(volume)
  volume.bricks[2]!.up = true
  const { root } = volume.bench.graph.inodes
  const heal = { loc: Loc.ofInode(root), name: 'trusted.ec.heal' }
  for (const lost of ['lookup', 'inodelk'] as const) {
    // Its connection breaks, and is back before anything else is asked of it.
    let left = lost === 'lookup' ? 1 : 4
    volume.bricks[2]!.fail = (fop, req) => {
      const counts = fop === lost && (fop === 'inodelk' || req.loc?.name !== undefined)
      return counts && --left === 0 ? E.NOTCONN : undefined
    }
    await volume.bench.run('getxattr', heal)
    assert.ok(left <= 0, 'it was not lost')
    volume.bricks[2]!.fail = undefined
    await letGo(volume)
    assert.notEqual(xattr(volume, 0, '/', 'version'), xattr(volume, 2, '/', 'version'), lost)
    assert.match(xattr(volume, 0, '/', 'dirty') ?? '', /[1-9]/, lost)
  }
  await volume.bench.ok('getxattr', heal)
  await letGo(volume)
  for (const name of ['f', 'g']) assert.notEqual(volume.bricks[2]!.store.at(`/${name}`), undefined)
  assert.equal(xattr(volume, 0, '/', 'version'), xattr(volume, 2, '/', 'version'))
  assert.match(xattr(volume, 0, '/', 'dirty') ?? '', /^0+$/)
})

void test('a brick that misses a rename for one directory is behind in the other, too', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  const { bench, mount } = volume
  const { inodes } = bench.graph
  await mount.close(await newFile(volume, 'f'))
  const gfid = (): Dict => new Dict().setGfid('gfid-req', newGfid())
  const made = Loc.ofName(inodes.root, 'd', inodes.newInode())
  await bench.ok('mkdir', { loc: made, mode: 0o755, umask: 0, xdata: gfid() })
  assert.equal((await mount.lookup('d')).errno, 0)
  const { inode } = mount.loc('d')
  await letGo(volume)
  // The lock of `d` is taken without the brick, and kept.
  volume.bricks[2]!.up = false
  const sub = Loc.ofName(inode, 'sub', inodes.newInode())
  await bench.ok('mkdir', { loc: sub, mode: 0o755, umask: 0, xdata: gfid() })
  volume.bricks[2]!.up = true
  const newloc = Loc.ofName(inode, 'f', inodes.newInode())
  await bench.ok('rename', { oldloc: mount.loc('f'), newloc })
  await letGo(volume)
  assert.notEqual(volume.bricks[2]!.store.at('/f'), undefined)
  assert.match(xattr(volume, 0, '/', 'dirty') ?? '', /[1-9]/)
  assert.notEqual(xattr(volume, 0, '/', 'version'), xattr(volume, 2, '/', 'version'))
})

void test('a repair whose healer died is finished by whoever meets it', {
  skip: noDisk,
}, async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 40_000)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  // As a data heal leaves it that dies after it marked its sink and before it wrote all.
  const sink = volume.bricks[2]!.store.at('/f')!
  sink.xattrs.get('trusted.ec.version')![0]! |= 0x40
  sink.data.fill(0, 1024)
  for (const { store } of volume.bricks) {
    store.at('/f')!.xattrs.set('trusted.ec.dirty', Buffer.concat([one, one]))
  }
  assert.ok((await readAll(volume, 'f')).equals(content))
  await healsDone(volume)
  await letGo(volume)
  checkFragments(volume, '/f', content)
})

const one = Buffer.from('0000000000000001', 'hex')

void test('bricks that took a change most refused are behind, not equal', async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 4096)
  const fd = await newFile(volume, 'f', content)
  await volume.mount.close(fd)
  await letGo(volume)
  for (const brick of [0, 1, 2, 3]) {
    volume.bricks[brick]!.fail = (fop) => (fop === 'writev' ? E.NOSPC : undefined)
  }
  const again = await volume.mount.open('f')
  assert.ok(typeof again !== 'number')
  assert.equal(await volume.mount.write(again, 0, vectorBytes(2, 4096)), E.NOSPC)
  for (const brick of volume.bricks) brick.fail = undefined
  await volume.mount.close(again)
  await letGo(volume)
  assert.ok((await readAll(volume, 'f')).equals(content))
  await healsDone(volume)
  const loc = volume.mount.loc('f')
  await volume.bench.ok('getxattr', { loc, name: 'trusted.ec.heal' })
  await letGo(volume)
  checkFragments(volume, '/f', content)
})

for (const healed of [false, true]) {
  const when = healed ? 'after the heal either' : 'before the heal'
  void test(`what a client left that died while a file grew is never seen, ${when}`, () =>
    leftoversStayHidden(healed))
}

async function leftoversStayHidden(healed: boolean): Promise<void> {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 5000)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  // It had written further, in the last stripe too, some fragments more than others, and not stored
  // the size.
  const last = Buffer.concat([content.subarray(4096), Buffer.alloc(6144 - 5000, 0xbb)])
  const all = volume.bricks.map((_, brick) => brick)
  const fragments = new Codec(volume.disperse.geometry).encode([last], last.length, all)
  for (const [brick, { store }] of volume.bricks.entries()) {
    const file = store.at('/f')!
    const kept = [file.data.subarray(0, 1024), fragments[brick]!]
    file.data = Buffer.concat([...kept, Buffer.alloc(brick < 3 ? 2048 : 1024, 0xaa)])
    file.xattrs.set('trusted.ec.dirty', Buffer.concat([one, one]))
  }
  if (healed) {
    await volume.bench.ok('getxattr', { loc: volume.mount.loc('f'), name: 'trusted.ec.heal' })
    assert.equal(xattr(volume, 0, '/f', 'dirty'), '0'.repeat(32))
  }
  assert.ok((await readAll(volume, 'f')).equals(content))
  const fd = await volume.mount.open('f')
  assert.ok(typeof fd !== 'number')
  const change = vectorBytes(2, 100)
  assert.equal(await volume.mount.write(fd, 9000, change), 0)
  const expected = Buffer.alloc(9100)
  content.copy(expected)
  change.copy(expected, 9000)
  assert.ok((await readAll(volume, 'f')).equals(expected))
  await volume.mount.close(fd)
  await letGo(volume)
  await readAll(volume, 'f')
  await healsDone(volume)
  await letGo(volume)
  checkFragments(volume, '/f', expected)
}

void test('a brick being healed whose size has become negative is healed', async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 5000)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  const { xattrs } = volume.bricks[2]!.store.at('/f')!
  const size = Buffer.alloc(8)
  size.writeBigInt64BE(-629_024n)
  xattrs.set('trusted.ec.size', size)
  xattrs.set('trusted.ec.version', Buffer.from('40000000000000010000000000000001', 'hex'))
  xattrs.set('trusted.ec.dirty', Buffer.concat([one, one]))
  assert.equal((await volume.mount.lookup('f')).errno, 0)
  await volume.bench.ok('getxattr', { loc: volume.mount.loc('f'), name: 'trusted.ec.heal' })
  await letGo(volume)
  checkFragments(volume, '/f', content)
})

void test('a truncate that was cut short is done by the heal', async () => {
  for (const shortened of [6, 4, 3]) {
    const volume = await disperseGraph(4, 2)
    const content = vectorBytes(1, 5000)
    await volume.mount.close(await newFile(volume, 'f', content))
    await letGo(volume)
    for (const [brick, { store }] of volume.bricks.entries()) {
      const file = store.at('/f')!
      if (brick < shortened) file.data = file.data.subarray(0, 512)
      file.xattrs.set('trusted.ec.dirty', Buffer.concat([one, one]))
    }
    // Cut on three of six, there are too few fragments of the rest.
    assert.equal((await volume.mount.lookup('f')).errno, 0)
    const loc = volume.mount.loc('f')
    await volume.bench.ok('getxattr', { loc, name: 'trusted.ec.heal' })
    await letGo(volume)
    checkFragments(volume, '/f', content.subarray(0, 2048))
  }
})

void test('leftovers are cut before writes that run side by side, not among them', async () => {
  const volume = await disperseGraph(4, 2)
  await volume.mount.close(await newFile(volume, 'f', vectorBytes(1, 5000)))
  await letGo(volume)
  for (const { store } of volume.bricks) {
    store.at('/f')!.xattrs.set('trusted.ec.dirty', Buffer.concat([one, one]))
  }
  const fd = await volume.mount.open('f')
  assert.ok(typeof fd !== 'number')
  // The rest of the last stripe and what follows: no stripe in common, so at the same time.
  const rest = vectorBytes(2, 6144 - 5000)
  const more = vectorBytes(3, 3000)
  const done = [volume.mount.write(fd, 5000, rest), volume.mount.write(fd, 6144, more)]
  assert.deepEqual(await Promise.all(done), [0, 0])
  await volume.mount.close(fd)
  await letGo(volume)
  const expected = Buffer.concat([vectorBytes(1, 5000), rest, more])
  assert.ok((await readAll(volume, 'f')).equals(expected))
  await healsDone(volume)
  await letGo(volume)
  checkFragments(volume, '/f', expected)
})

void test('a closed file is released when the counters have been asked for', async () => {
  const volume = await disperseGraph(2, 1)
  const fd = await newFile(volume, 'f')
  await letGo(volume)
  let open: () => void = () => {}
  volume.bricks[0]!.gate = (fop) =>
    fop === 'fxattrop'
      ? new Promise((resolve) => {
          open = resolve
        })
      : undefined
  const written = volume.mount.write(fd, 0, vectorBytes(1, 10))
  await settle()
  fd.release()
  assert.equal(fd.released, false)
  volume.bricks[0]!.gate = undefined
  open()
  assert.equal(await written, 0)
  assert.equal(fd.released, true)
  await letGo(volume)
})

/** Holds `fop` on a brick until the returned function is called. */
function hold({ bricks }: DisperseGraph, brick: number, fop: string): () => void {
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  bricks[brick]!.gate = (name) => (name === fop ? gate : undefined)
  return open
}

void test('a brick that leaves after its pre-op and is back at the post-op has missed the write', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  const fd = await newFile(volume, 'f', vectorBytes(1, 4096))
  await letGo(volume)
  const [answer, write] = [hold(volume, 0, 'fxattrop'), hold(volume, 1, 'writev')]
  const content = vectorBytes(2, 4096)
  const written = volume.mount.write(fd, 0, content)
  await settle()
  volume.bricks[5]!.up = false
  answer()
  await settle()
  volume.bricks[5]!.up = true
  write()
  assert.equal(await written, 0)
  await letGo(volume)
  assert.notEqual(xattr(volume, 5, '/f', 'version'), xattr(volume, 0, '/f', 'version'))
  assert.equal(xattr(volume, 0, '/f', 'dirty'), '00000000000000010000000000000001')
  assert.ok((await readAll(volume, 'f')).equals(content))
})

void test('a brick that leaves and returns while the others grant the lock has forgotten it', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  const fd = await newFile(volume, 'f', vectorBytes(1, 4096))
  await letGo(volume)
  const grant = hold(volume, 0, 'inodelk')
  const written = volume.mount.write(fd, 0, vectorBytes(2, 4096))
  await settle()
  volume.bricks[5]!.up = false
  volume.bricks[5]!.up = true
  for (const brick of volume.bricks) brick.trace.length = 0
  grant()
  assert.equal(await written, 0)
  await letGo(volume)
  const asked = volume.bricks.map(({ trace }) => trace.some((line) => line.startsWith('writev')))
  assert.deepEqual(asked, [true, true, true, true, true, false])
  assert.notEqual(xattr(volume, 5, '/f', 'version'), xattr(volume, 0, '/f', 'version'))
})
