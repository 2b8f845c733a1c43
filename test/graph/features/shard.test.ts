import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop } from '../../../src/core/fop.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import shard from '../../../xlators/features/shard/index.ts'
import { encodeFileSize, FILE_SIZE_KEY, fileSizeOf } from '../../../xlators/features/shard/keys.ts'
import { cut, piecesOf } from '../../../xlators/features/shard/pieces.ts'
import { MiniMount } from '../../lib/mini-mount.ts'
import { benchStack, settle } from '../../lib/scripted.ts'
import simBrick, { type SimBrick } from '../../lib/sim-brick.ts'

const BLOCK = 4 << 20
const O_APPEND = 0o2000

async function bench(given: Record<string, string> = {}) {
  const b = await benchStack([[shard, { 'shard-block-size': '4MB', ...given }]], simBrick)
  const brick = b.child as unknown as SimBrick
  return { b, brick, mount: new MiniMount(b) }
}

async function made(mount: MiniMount, name: string, flags?: number): Promise<Fd> {
  const fd = await mount.create(name, flags)
  assert.ok(typeof fd === 'object', `create: ${fd}`)
  return fd
}

/** Names in the directory of blocks, and under it. */
const blocks = ({ store }: SimBrick): string[] => [
  ...(store.root.children.get('.shard')?.node.children.keys() ?? []),
]

const sizeOf = ({ store }: SimBrick, name: string) => {
  const value = store.root.children.get(name)!.node.xattrs.get(FILE_SIZE_KEY)!
  return fileSizeOf(new Dict().setBytes(FILE_SIZE_KEY, value))?.size
}

test('requests are cut at the ends of blocks, without copies', () => {
  assert.deepEqual(piecesOf(BLOCK - 2, 5, BLOCK), [
    { number: 0, offset: BLOCK - 2, size: 2, at: 0 },
    { number: 1, offset: 0, size: 3, at: 2 },
  ])
  assert.deepEqual(piecesOf(BLOCK, 0, BLOCK), [])
  const data = [Buffer.from('ab'), Buffer.from('cde')]
  const part = cut(data, 1, 3)
  assert.equal(Buffer.concat(part).toString(), 'bcd')
  assert.equal(part[0]!.buffer, data[0]!.buffer)
})

test('a file over several blocks; what was not written is zeros', async () => {
  const { b, brick, mount } = await bench()
  const fd = await made(mount, 'f')
  const data = Buffer.alloc(1000, 'x')
  assert.equal(await mount.write(fd, 2 * BLOCK - 500, data), 0)
  const gfid = gfidText(fd.inode.gfid)
  assert.deepEqual(blocks(brick).sort(), [`${gfid}.1`, `${gfid}.2`])
  assert.equal(sizeOf(brick, 'f'), 2 * BLOCK + 500)
  const read = (await mount.read(fd, BLOCK - 10, 2 * BLOCK)) as Buffer
  assert.equal(read.length, BLOCK + 510)
  assert.ok(read.subarray(0, BLOCK - 490).every((byte) => byte === 0))
  assert.ok(read.subarray(BLOCK - 490).equals(data))
  const { stat } = await b.ok('fstat', { fd })
  assert.equal(stat.size, 2 * BLOCK + 500)
  assert.deepEqual(
    (await mount.list(4096)).map(({ name, stat: shown }) => [name, shown?.size]),
    [['f', stat.size]],
  )
})

test('a write inside the file that uses no new space is one request', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  for (const offset of [0, BLOCK]) {
    assert.equal(await mount.write(fd, offset, Buffer.alloc(4096, 1)), 0)
    brick.requests.length = 0
    assert.equal(await mount.write(fd, offset, Buffer.alloc(4096, 2)), 0)
    assert.deepEqual(
      brick.requests.map(({ fop }) => fop),
      ['writev'],
    )
  }
})

test('a size another client changed is put right when ours is added', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  assert.equal(await mount.write(fd, 0, Buffer.alloc(100)), 0)
  const { xattrs } = brick.store.root.children.get('f')!.node
  xattrs.set(FILE_SIZE_KEY, encodeFileSize(5000, 1))
  assert.equal(await mount.write(fd, 100, Buffer.alloc(100)), 0)
  assert.equal(sizeOf(brick, 'f'), 5000)
  xattrs.set(FILE_SIZE_KEY, encodeFileSize(6000, 1))
  assert.equal(await mount.write(fd, 5000, Buffer.alloc(3000)), 0)
  assert.equal(sizeOf(brick, 'f'), 8000)
})

test('writes side by side make the file as long as the furthest of them', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  const writes = [3, 1, 2, 0].map((at) => mount.write(fd, at * 100_000, Buffer.alloc(100_000, at)))
  assert.deepEqual(await Promise.all(writes), [0, 0, 0, 0])
  assert.equal(sizeOf(brick, 'f'), 400_000)
})

test('an append goes to the end that the bricks know', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f', 0o102 | O_APPEND)
  assert.equal(await mount.write(fd, 0, Buffer.from('ours')), 0)
  const { node } = brick.store.root.children.get('f')!
  node.data = Buffer.from('ourstheirs')
  node.xattrs.set(FILE_SIZE_KEY, encodeFileSize(10, 1))
  assert.equal(await mount.write(fd, 4, Buffer.from('end')), 0)
  assert.equal(node.data.toString(), 'ourstheirsend')
  assert.equal(sizeOf(brick, 'f'), 13)
})

test('truncation removes and cuts blocks; what comes back is zeros', async () => {
  const { b, brick, mount } = await bench()
  const fd = await made(mount, 'f')
  for (let i = 0; i < 4; i++) {
    assert.equal(await mount.write(fd, i * BLOCK, Buffer.alloc(2000, 5)), 0)
  }
  await b.ok('ftruncate', { fd, offset: BLOCK + 1000 })
  assert.equal(blocks(brick).length, 1)
  assert.equal(sizeOf(brick, 'f'), BLOCK + 1000)
  await b.ok('ftruncate', { fd, offset: 3 * BLOCK })
  const read = (await mount.read(fd, BLOCK, 2000)) as Buffer
  assert.ok(read.subarray(0, 1000).every((byte) => byte === 5))
  assert.ok(read.subarray(1000).every((byte) => byte === 0))
  await b.ok('ftruncate', { fd, offset: 0 })
  assert.deepEqual(blocks(brick), [])
})

test('a block that another client removed is looked for anew', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  assert.equal(await mount.write(fd, BLOCK, Buffer.alloc(100, 1)), 0)
  let failures = 0
  brick.fail = (fop) => (fop === 'writev' && failures++ === 0 ? E.STALE : undefined)
  assert.equal(await mount.write(fd, BLOCK, Buffer.alloc(100, 2)), 0)
  assert.equal(failures, 2)
})

test('fsync reaches every block written to, also those that are not remembered', async () => {
  const { b, brick, mount } = await bench({ 'shard-lru-limit': '20' })
  const fd = await made(mount, 'f')
  for (let i = 1; i <= 30; i++) {
    assert.equal(await mount.write(fd, i * BLOCK, Buffer.alloc(10)), 0)
  }
  await b.ok('fsync', { fd, datasync: false })
  const synced = brick.requests.filter(({ fop }) => fop === 'fsync')
  assert.equal(synced.length, 31)
  assert.equal(b.dump()['features/shard.xl|inode-count'], '20')
  brick.fail = (fop) => (fop === 'fsync' ? E.IO : undefined)
  assert.equal(await mount.write(fd, 30 * BLOCK, Buffer.alloc(10)), 0)
  assert.equal((await b.run('fsync', { fd, datasync: false })).errno, E.IO)
})

test('blocks are deleted after the last name, and not while a brick cannot tell', async () => {
  const { brick, mount } = await bench()
  for (const down of [true, false]) {
    const fd = await made(mount, 'f')
    assert.equal(await mount.write(fd, BLOCK, Buffer.alloc(10)), 0)
    await mount.close(fd)
    const { gfid } = fd.inode
    // Asked whether the file is gone, a brick is not there.
    brick.fail = (fop, { loc }) => {
      const asks = fop === 'lookup' && loc?.parent === undefined && loc?.gfid === gfid
      return down && asks && !brick.store.root.children.has('f') ? E.NOTCONN : undefined
    }
    assert.equal(await mount.unlink('f'), 0)
    for (let i = 0; i < 50; i++) await settle()
    const left = blocks(brick).filter((name) => name !== '.remove_me')
    assert.equal(left.length, down ? 1 : 0)
  }
})

test('a listing that tells no xattrs does not make a file whole', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  assert.equal(await mount.write(fd, BLOCK, Buffer.alloc(10, 3)), 0)
  const other = await bench()
  other.brick.store = brick.store
  const { readdirp } = other.brick as unknown as { readdirp: Fop<'readdirp'> }
  other.brick.readdirp = async (frame, req) => {
    const rep = await readdirp(frame, req)
    if (rep.errno === 0) for (const entry of rep.entries) entry.xdata = undefined
    return rep
  }
  const listed = await other.mount.list(4096)
  assert.deepEqual(
    listed.map(({ name, inode }) => [name, inode]),
    [['f', undefined]],
  )
  const opened = await other.mount.open('f')
  assert.ok(typeof opened === 'object')
  assert.deepEqual(await other.mount.read(opened, BLOCK, 100), Buffer.alloc(10, 3))
})

test('of a file that is mostly a hole only the blocks there are cost requests', async () => {
  const { b, brick, mount } = await bench()
  const fd = await made(mount, 'f')
  const far = 1_000_000
  assert.equal(await mount.write(fd, far * BLOCK, Buffer.alloc(10, 'x')), 0)
  assert.equal(await mount.write(fd, 5 * BLOCK, Buffer.alloc(10, 'x')), 0)
  const before = brick.trace.length
  await b.ok('ftruncate', { fd, offset: 6 * BLOCK })
  assert.ok(brick.trace.length - before < 30, `${brick.trace.length - before} requests`)
  assert.deepEqual(blocks(brick), [`${gfidText(fd.inode.gfid)}.5`])
  assert.equal(sizeOf(brick, 'f'), 6 * BLOCK)
})

test('a file whose last name is gone goes on growing for who has it open', async () => {
  const { brick, mount } = await bench()
  const fd = await made(mount, 'f')
  const node = brick.store.root.children.get('f')!.node
  brick.fail = (fop) => (fop === 'xattrop' ? E.STALE : undefined)
  assert.equal(await mount.write(fd, BLOCK, Buffer.alloc(10, 'x')), 0)
  const value = node.xattrs.get(FILE_SIZE_KEY)!
  assert.equal(fileSizeOf(new Dict().setBytes(FILE_SIZE_KEY, value))?.size, BLOCK + 10)
})
