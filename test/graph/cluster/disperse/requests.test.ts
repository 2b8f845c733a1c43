/**
 * Requests per operation on a healthy volume, at most those of the stock client (counted on a 4+2
 * volume of 10.3). Lookups belong to the mount and are left out.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import type { Fd } from '../../../../src/core/fd.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { type DisperseGraph, disperseGraph, letGo } from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'

/** Requests to all bricks together, by fop. */
function takeCounts({ bricks }: DisperseGraph): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const brick of bricks) {
    for (const line of brick.trace.splice(0)) {
      const fop = line.split(' ')[0]!
      if (fop !== 'lookup') counts[fop] = (counts[fop] ?? 0) + 1
    }
  }
  return counts
}

const total = (counts: Record<string, number>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)

async function openFile(volume: DisperseGraph, name: string): Promise<Fd> {
  const fd = await volume.mount.open(name)
  assert.ok(typeof fd !== 'number')
  return fd
}

/** A 4+2 volume with a file `old` of 1 MiB, nothing locked, nothing counted yet. */
async function prepared(options: Record<string, string> = {}): Promise<DisperseGraph> {
  const volume = await disperseGraph(4, 2, options)
  const fd = await volume.mount.create('old')
  assert.ok(typeof fd !== 'number')
  await volume.mount.write(fd, 0, vectorBytes(1, 1 << 20))
  await volume.mount.close(fd)
  await letGo(volume)
  takeCounts(volume)
  return volume
}

void test('create, write 1 KiB, close', async () => {
  const volume = await prepared()
  const fd = await volume.mount.create('new')
  assert.ok(typeof fd !== 'number')
  assert.equal(await volume.mount.write(fd, 0, vectorBytes(2, 1024)), 0)
  await volume.mount.close(fd)
  await letGo(volume)
  const counts = takeCounts(volume)
  assert.deepEqual(counts, {
    inodelk: 24,
    create: 6,
    fxattrop: 12,
    writev: 6,
    flush: 6,
    xattrop: 6,
  })
})

void test('write of 1 MiB in 8 parts', async () => {
  const volume = await prepared()
  const fd = await volume.mount.create('new')
  assert.ok(typeof fd !== 'number')
  const part = 131072
  const writes = Array.from({ length: 8 }, (_, i) =>
    volume.mount.write(fd, i * part, vectorBytes(i, part)),
  )
  assert.deepEqual(await Promise.all(writes), new Array(8).fill(0))
  await volume.mount.close(fd)
  await letGo(volume)
  const counts = takeCounts(volume)
  assert.equal(counts.writev, 48)
  // Stock: 114 with the releases of the fds, which are no fops here.
  assert.ok(total(counts) <= 114 - 6, JSON.stringify(counts))
})

void test('read of 1 MiB in 8 parts', async () => {
  const volume = await prepared()
  const fd = await openFile(volume, 'old')
  const part = 131072
  for (let i = 0; i < 8; i++) {
    const data = await volume.mount.read(fd, i * part, part)
    assert.ok(typeof data !== 'number' && data.length === part)
  }
  await volume.mount.close(fd)
  await letGo(volume)
  const counts = takeCounts(volume)
  assert.deepEqual(counts, { open: 6, inodelk: 12, fxattrop: 6, readv: 32, flush: 6 })
})

void test('overwrite of 100 bytes', async () => {
  const volume = await prepared()
  const fd = await openFile(volume, 'old')
  assert.equal(await volume.mount.write(fd, 1000, vectorBytes(3, 100)), 0)
  await volume.mount.close(fd)
  await letGo(volume)
  const counts = takeCounts(volume)
  assert.deepEqual(counts, {
    open: 6,
    inodelk: 12,
    fxattrop: 12,
    readv: 4,
    writev: 6,
    flush: 6,
  })
})

void test('sequential unaligned writes read nothing', async () => {
  const volume = await prepared()
  const fd = await volume.mount.create('new')
  assert.ok(typeof fd !== 'number')
  for (let i = 0; i < 10; i++) {
    assert.equal(await volume.mount.write(fd, i * 1000, vectorBytes(i, 1000)), 0)
  }
  await letGo(volume)
  assert.equal(takeCounts(volume).readv, undefined)
})

void test('mkdir, rename, unlink', async () => {
  const volume = await prepared()
  const { mount, bench } = volume
  const xdata = new Dict().setGfid('gfid-req', newGfid())
  await bench.ok('mkdir', { loc: mount.loc('d'), mode: 0o755, umask: 0, xdata })
  await letGo(volume)
  assert.deepEqual(takeCounts(volume), { inodelk: 12, mkdir: 6, xattrop: 6 })

  assert.equal(await mount.rename('old', 'moved'), 0)
  await letGo(volume)
  assert.deepEqual(takeCounts(volume), { inodelk: 12, rename: 6, xattrop: 6 })

  assert.equal(await mount.unlink('moved'), 0)
  await letGo(volume)
  assert.deepEqual(takeCounts(volume), { inodelk: 12, unlink: 6, xattrop: 6 })
})

void test('a lock that is kept serves later fops', async () => {
  const volume = await prepared()
  const fd = await openFile(volume, 'old')
  await volume.mount.read(fd, 0, 4096)
  takeCounts(volume)
  await volume.mount.read(fd, 8192, 4096)
  assert.deepEqual(takeCounts(volume), { readv: 4 })
  assert.equal(volume.disperse.lockCount, 1)
  await letGo(volume)
})

void test('without eager locks every fop takes and leaves the lock', async () => {
  const volume = await disperseGraph(4, 2, { 'eager-lock': 'off', 'other-eager-lock': 'off' })
  const fd = await volume.mount.create('f')
  assert.ok(typeof fd !== 'number')
  await letGo(volume)
  takeCounts(volume)
  assert.equal(await volume.mount.write(fd, 0, vectorBytes(1, 10)), 0)
  await letGo(volume)
  const counts = takeCounts(volume)
  assert.deepEqual(counts, { inodelk: 12, fxattrop: 12, writev: 6 })
  const version = volume.bricks[0]!.store.at('/f')!.xattrs.get('trusted.ec.version')!
  assert.equal(version.toString('hex'), '00000000000000010000000000000001')
})

void test('stat for an open asks K bricks and takes no lock', async () => {
  const volume = await prepared()
  const loc = volume.mount.loc('old')
  const found = await volume.bench.ok('stat', { loc, atOpen: true })
  assert.equal(found.stat.size, 1 << 20)
  assert.equal(found.xdata, undefined)
  assert.deepEqual(takeCounts(volume), { stat: 4 })
  assert.equal(volume.disperse.lockCount, 0)
})

void test('stat for an open: the size of a write not settled yet, by this client', async () => {
  const volume = await prepared()
  const fd = await openFile(volume, 'old')
  assert.equal(await volume.mount.write(fd, 1 << 20, vectorBytes(3, 100)), 0)
  takeCounts(volume)
  const { stat } = await volume.bench.ok('stat', { loc: volume.mount.loc('old'), atOpen: true })
  assert.equal(stat.size, (1 << 20) + 100)
  assert.deepEqual(takeCounts(volume), { stat: 4 })
  await letGo(volume)
})

void test('stat for an open while bricks differ is one like any other', async () => {
  // A heal, tried before it is given up, would count, too.
  const volume = await prepared({ 'background-heals': '0' })
  for (const brick of [0, 1, 2]) {
    volume.bricks[brick]!.store.at('/old')!.xattrs.set('trusted.ec.size', Buffer.alloc(8))
  }
  const rep = await volume.bench.run('stat', { loc: volume.mount.loc('old'), atOpen: true })
  assert.notEqual(rep.errno, 0)
  assert.equal(takeCounts(volume).inodelk, 12)
})
