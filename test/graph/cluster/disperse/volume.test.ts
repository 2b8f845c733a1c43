/** Bricks that fail, lag and return; clients that compete; quorum; what tools read. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import { E } from '../../../../src/core/errno.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { Loc } from '../../../../src/core/loc.ts'
import { firstOfGfid } from '../../../../xlators/cluster/common/gfid-hash.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import {
  checkFragments,
  disperseGraph,
  healsDone,
  letGo,
  newFile,
  readAll,
  xattr,
} from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'
import { settle } from '../../../lib/scripted.ts'

void test('read policy: the brick the stock client starts from', () => {
  const gfid = Buffer.from('58c2eb0ada3f45f1b7e2e83e04160c34', 'hex').latin1Slice()
  assert.equal(firstOfGfid(gfid as ReturnType<typeof newGfid>, 6), 3)
})

void test('with R bricks down everything works; dirty stays and versions tell who is behind', async () => {
  const volume = await disperseGraph(4, 2)
  const before = vectorBytes(1, 9000)
  await volume.mount.close(await newFile(volume, 'f', before))
  await letGo(volume)
  volume.bricks[1]!.up = false
  volume.bricks[4]!.up = false
  assert.ok((await readAll(volume, 'f')).equals(before))
  const fd = await volume.mount.open('f')
  assert.ok(typeof fd !== 'number')
  const change = vectorBytes(2, 3000)
  assert.equal(await volume.mount.write(fd, 5000, change), 0)
  await volume.mount.close(fd)
  await letGo(volume)
  const after = Buffer.from(before)
  change.copy(after, 5000)
  assert.ok((await readAll(volume, 'f')).equals(after))
  assert.equal(xattr(volume, 0, '/f', 'version'), '00000000000000020000000000000002')
  assert.equal(xattr(volume, 0, '/f', 'dirty'), '00000000000000010000000000000001')
  assert.equal(xattr(volume, 1, '/f', 'version'), '00000000000000010000000000000001')
  // Back, still behind: not read from.
  await letGo(volume)
  volume.bricks[1]!.up = true
  volume.bricks[4]!.up = true
  assert.ok((await readAll(volume, 'f')).equals(after))
})

void test('a brick that returns is healed by whoever meets the damage', async () => {
  const volume = await disperseGraph(4, 2)
  const fd = await newFile(volume, 'f', vectorBytes(1, 20_000))
  await volume.mount.close(fd)
  await newFile(volume, 'gone', vectorBytes(1, 10))
  await letGo(volume)
  volume.bricks[0]!.up = false
  volume.bricks[5]!.up = false
  const content = vectorBytes(2, 50_001)
  const again = await volume.mount.open('f')
  assert.ok(typeof again !== 'number')
  assert.equal(await volume.mount.write(again, 0, content), 0)
  await volume.mount.close(again)
  await volume.mount.close(await newFile(volume, 'made', vectorBytes(3, 5000)))
  assert.equal(await volume.mount.unlink('gone'), 0)
  await letGo(volume)
  volume.bricks[0]!.up = true
  volume.bricks[5]!.up = true
  assert.ok((await readAll(volume, 'f')).equals(content))
  await volume.mount.lookup('made')
  await healsDone(volume)
  const { root } = volume.bench.graph.inodes
  const healed = await volume.bench.ok('getxattr', {
    loc: volume.mount.loc('f'),
    name: 'trusted.ec.heal',
  })
  assert.equal(healed.dict.getStr('trusted.ec.heal'), 'Good: 111111, Bad: 000000')
  await volume.bench.ok('getxattr', { loc: Loc.ofInode(root), name: 'trusted.ec.heal' })
  await healsDone(volume)
  await letGo(volume)
  checkFragments(volume, '/f', content)
  checkFragments(volume, '/made', vectorBytes(3, 5000))
  for (const brick of volume.bricks) assert.equal(brick.store.at('/gone'), undefined)
  const versions = new Set(volume.bricks.map((_, brick) => xattr(volume, brick, '/', 'version')))
  assert.equal(versions.size, 1)
})

void test('more than R bricks down: ENOTCONN, and recovery without remount', async () => {
  const volume = await disperseGraph(2, 1)
  const content = vectorBytes(1, 3000)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  volume.bricks[0]!.up = false
  volume.bricks[1]!.up = false
  assert.equal((await volume.mount.lookup('f')).errno, E.NOTCONN)
  assert.equal(await volume.mount.create('g'), E.NOTCONN)
  volume.bricks[0]!.up = true
  volume.bricks[1]!.up = true
  assert.ok((await readAll(volume, 'f')).equals(content))
})

void test('a read that meets a failing brick goes on to another', async () => {
  const volume = await disperseGraph(4, 2)
  const content = vectorBytes(1, 30_000)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  for (const brick of [0, 3]) {
    volume.bricks[brick]!.fail = (fop) => (fop === 'readv' ? E.IO : undefined)
  }
  assert.ok((await readAll(volume, 'f')).equals(content))
})

void test('a write that one brick refuses succeeds and marks the brick as behind', {
  skip: noDisk,
}, async () => {
  const volume = await disperseGraph(4, 2)
  const fd = await newFile(volume, 'f', vectorBytes(1, 4096))
  volume.bricks[2]!.fail = (fop) => (fop === 'writev' ? E.NOSPC : undefined)
  const content = vectorBytes(2, 4096)
  assert.equal(await volume.mount.write(fd, 0, content), 0)
  await volume.mount.close(fd)
  await letGo(volume)
  assert.notEqual(xattr(volume, 2, '/f', 'version'), xattr(volume, 0, '/f', 'version'))
  assert.equal(xattr(volume, 0, '/f', 'dirty'), '00000000000000010000000000000001')
  volume.bricks[2]!.fail = undefined
  assert.ok((await readAll(volume, 'f')).equals(content))
  await healsDone(volume)
  // The heal that the write started met the same failure and left the brick marked.
  const loc = volume.mount.loc('f')
  await volume.bench.ok('getxattr', { loc, name: 'trusted.ec.heal' })
  await letGo(volume)
  checkFragments(volume, '/f', content)
})

void test('a write without quorum fails and stays marked', async () => {
  const volume = await disperseGraph(4, 2, { 'background-heals': '0' })
  const fd = await newFile(volume, 'f', vectorBytes(1, 4096))
  await letGo(volume)
  for (const brick of [0, 1, 2]) {
    volume.bricks[brick]!.fail = (fop) => (fop === 'writev' ? E.NOSPC : undefined)
  }
  assert.equal(await volume.mount.write(fd, 0, vectorBytes(2, 4096)), E.IO)
  await letGo(volume)
  for (const brick of [0, 1, 2, 3, 4, 5]) {
    assert.equal(xattr(volume, brick, '/f', 'dirty'), '00000000000000010000000000000001')
  }
})

void test('quorum-count refuses changes that too few bricks would take', async () => {
  const volume = await disperseGraph(4, 2, { 'quorum-count': '5', 'background-heals': '0' })
  await volume.mount.close(await newFile(volume, 'f', vectorBytes(1, 100)))
  await letGo(volume)
  volume.bricks[0]!.up = false
  await volume.mount.close(await newFile(volume, 'g'))
  volume.bricks[1]!.up = false
  assert.equal(await volume.mount.create('h'), E.IO)
  assert.equal((await readAll(volume, 'f')).length, 100)
  await letGo(volume)
  // Brick 0 has missed `g` and so gets no more entries; brick 1 has missed nothing.
  // Enough bricks are there, but too few take the change: it fails, and who missed it is behind.
  volume.bricks[0]!.up = true
  volume.bricks[1]!.up = true
  for (const brick of [4, 5]) {
    volume.bricks[brick]!.fail = (fop) => (fop === 'writev' ? E.NOSPC : undefined)
  }
  const fd = await newFile(volume, 'k')
  assert.equal(await volume.mount.write(fd, 0, vectorBytes(2, 100)), E.IO)
  await letGo(volume)
  assert.equal(xattr(volume, 1, '/k', 'version'), '00000000000000010000000000000001')
  assert.equal(xattr(volume, 1, '/k', 'dirty'), '00000000000000010000000000000001')
  assert.equal(xattr(volume, 4, '/k', 'version'), '00000000000000000000000000000000')
})

void test('two clients append to one file: nothing is lost, locks change hands', async () => {
  const ours = await disperseGraph(4, 2)
  const stores = ours.bricks.map((brick) => brick.store)
  const other = await disperseGraph(4, 2, {}, stores, 'client-1')
  await newFile(ours, 'f')
  const O_WRONLY_APPEND = 0o2001
  const fds = await Promise.all([
    ours.mount.open('f', O_WRONLY_APPEND),
    other.mount.open('f', O_WRONLY_APPEND),
  ])
  const clients = [ours, other]
  // Simulated bricks send no contention upcalls: what they would do comes from here.
  const append = async (client: number): Promise<void> => {
    const fd = fds[client]!
    assert.ok(typeof fd !== 'number')
    for (let i = 0; i < 20; i++) {
      const written = clients[client]!.mount.write(fd, 0, Buffer.alloc(333, 65 + client))
      await settle()
      clients[1 - client]!.disperse.releaseLocks()
      assert.equal(await written, 0)
    }
  }
  await Promise.all([append(0), append(1)])
  await letGo(ours)
  await letGo(other)
  const content = await readAll(ours, 'f')
  assert.equal(content.length, 40 * 333)
  const counts = [0, 0]
  for (let at = 0; at < content.length; at += 333) {
    const record = content.subarray(at, at + 333)
    assert.ok(
      record.every((byte) => byte === record[0]),
      'torn record',
    )
    counts[record[0]! - 65]!++
  }
  assert.deepEqual(counts, [20, 20])
})

void test('an object just made is reached by the gfid of its loc', async () => {
  const volume = await disperseGraph(2, 1)
  const { bench } = volume
  const { root } = bench.graph.inodes
  const gfid = newGfid()
  const fresh = bench.graph.inodes.newInode()
  const xdata = new Dict().setGfid('gfid-req', gfid)
  const loc = new Loc(fresh, root, 'd', gfid)
  await bench.ok('mkdir', { loc, mode: 0o755, umask: 0, xdata })
  // As cluster/distribute writes a layout before the mount links the directory.
  const dict = new Dict().setBytes('trusted.glusterfs.dht', Buffer.alloc(16))
  await bench.ok('setxattr', { loc, dict, flags: 0 })
  await letGo(volume)
  assert.equal(xattr(volume, 0, '/d', 'version'), '00000000000000000000000000000001')
})

void test('own xattrs are hidden', async () => {
  const volume = await disperseGraph(2, 1)
  await newFile(volume, 'f', vectorBytes(1, 10))
  const { bench, mount } = volume
  const loc = mount.loc('f')
  const key = 'trusted.ec.version'
  assert.equal((await bench.run('getxattr', { loc, name: key })).errno, E.NODATA)
  const dict = new Dict().setBytes(key, Buffer.alloc(16))
  assert.equal((await bench.run('setxattr', { loc, dict, flags: 0 })).errno, E.PERM)
  assert.equal((await bench.run('removexattr', { loc, name: key })).errno, E.PERM)
  await bench.ok('setxattr', {
    loc,
    dict: new Dict().setBytes('user.a', Buffer.from('b')),
    flags: 0,
  })
  const all = await bench.ok('getxattr', { loc, name: undefined })
  assert.deepEqual(
    [...all.dict.entries.keys()].filter((name) => !name.startsWith('trusted.gfid')),
    ['user.a'],
  )
})

void test('pathinfo names every brick, to users as well', async () => {
  const volume = await disperseGraph(4, 2)
  await volume.mount.close(await newFile(volume, 'f', vectorBytes(1, 100)))
  for (const name of ['trusted.glusterfs.pathinfo', 'glusterfs.pathinfo']) {
    const { dict } = await volume.bench.ok('getxattr', { loc: volume.mount.loc('f'), name })
    const text = dict.getStr(name) ?? ''
    assert.match(text, /^\(<EC:.*> (<POSIX[^ ]*> ){6}\)$/, text)
  }
})

void test('state dump: the keys tools read', async () => {
  const volume = await disperseGraph(4, 2)
  volume.bricks[0]!.up = false
  const pairs: Record<string, string> = {}
  let section = ''
  volume.disperse.dump({
    section: (name) => {
      section = name
    },
    pair: (key, value) => {
      pairs[`${section}|${key}`] = String(value)
    },
  })
  assert.equal(pairs['cluster/disperse.xl|childs_up'], '5')
  assert.equal(pairs['cluster/disperse.xl|childs_up_mask'], '111110')
  assert.equal(pairs['cluster/disperse.xl|stripe_size'], '2048')
  assert.equal(pairs['cluster/disperse.xl.stats.stripe_cache|hits'], '0')
})

void test('volfiles that no client may start are refused', async () => {
  await assert.rejects(disperseGraph(2, 2), /redundancy/)
  await assert.rejects(disperseGraph(17, 1), /data bricks/)
  await assert.rejects(disperseGraph(4, 2, { 'quorum-count': '3' }), /quorum-count/)
  await assert.rejects(disperseGraph(4, 2, { 'ec-read-mask': '0:1:9' }), /ec-read-mask/)
})
