/** Bricks of our own that fail a client over TCP: connections cut, a disk that is full. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { E } from '../../../src/core/errno.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { RunningBrick } from '../../../src/server/brick.ts'
import { brickSkip } from '../../lib/brick-bench.ts'
import { sleep } from '../../lib/sandbox.ts'
import { start, Told } from '../../lib/tcp-bricks.ts'

const DISK_BYTES = 3 * 2 ** 20
const CHUNK = 128 * 1024
const EC = 'type cluster/disperse\noption redundancy 1'

/** As a cable that is pulled does it: every client of the brick. */
function cut({ server }: RunningBrick): void {
  server.disconnectAll('cut by the test')
}

const indexed = (path: string): string[] =>
  readdirSync(join(path, '.glusterfs/indices/xattrop')).filter((name) => !/^xattrop/.test(name))

describe('bricks fail', { skip: brickSkip(), timeout: 90_000 }, () => {
  let base: string
  const ends: (() => unknown)[] = []
  before(() => {
    base = mkdtempSync(join(tmpdir(), 'glusterfs-ts-faults-'))
  })
  after(async () => {
    for (const end of ends.reverse()) await end()
    rmSync(base, { recursive: true, force: true })
  })

  /** A small file system of its own, as a brick's disk. */
  function disk(path: string): void {
    mkdirSync(path, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'brick', path])
    ends.push(() => execFileSync('umount', [path]))
  }

  /** A client of so many bricks below `name`, dispersed if more than one; all ends with the tests. */
  async function connected(
    name: string,
    count: number,
    options: Record<string, string> = {},
  ): Promise<Awaited<ReturnType<typeof start>> & { client: Told }> {
    const { volume, bricks } = await start(join(base, name), count, options)
    ends.push(() => Promise.all(bricks.map(({ graph }) => graph.stop())))
    const client = await Told.connect(volume, bricks, count > 1 ? EC : '')
    ends.push(() => client.graph.stop())
    if (count > 1) {
      await sleep(200)
      await client.ok('lookup', { loc: Loc.ofInode(client.root) })
    }
    return { client, volume, bricks }
  }

  test('a cut connection: calls fail at once, then the open file works again', async () => {
    const { client, bricks } = await connected('cut', 1)
    const fd = await client.create(client.root, 'file')
    await client.write(fd, 'before')
    cut(bricks[0]!)
    for (let i = 0; i < 100 && client.isUp; i++) await sleep(10)
    assert.ok(!client.isUp, 'the client knows')
    const write = { fd, data: [Buffer.from('lost')], size: 4, offset: 0, flags: 0 }
    assert.equal(await client.errno('writev', write), E.NOTCONN)
    for (let i = 0; i < 1000 && !client.isUp; i++) await sleep(10)
    await client.write(fd, 'after!')
    assert.equal(await client.read(fd), 'after!')
    fd.release()
  })

  test('one of three connections cut: nobody notices', async () => {
    const { client, bricks } = await connected('cut3', 3)
    const fd = await client.create(client.root, 'file')
    const content = randomBytes(30 * 4096)
    for (let i = 0; i < 30; i++) {
      // A second one would be one too many until the first is back and healed.
      if (i === 10) cut(bricks[1]!)
      await client.write(fd, content.subarray(i * 4096, (i + 1) * 4096), i * 4096)
    }
    const rep = await client.ok('readv', { fd, size: content.length, offset: 0, flags: 0 })
    assert.ok(Buffer.concat(rep.data).equals(content))
    fd.release()
  })

  test('a full disk: ENOSPC, what was there stays, and space that is freed is used', async () => {
    const path = join(base, 'full/b0')
    disk(path)
    const { client } = await connected('full', 1, { 'storage.reserve': '0' })
    const kept = await client.create(client.root, 'kept')
    await client.write(kept, 'kept')
    const fd = await client.create(client.root, 'large')
    const chunk = randomBytes(CHUNK)
    const request = (i: number) => ({ fd, data: [chunk], size: CHUNK, offset: i * CHUNK, flags: 0 })
    let written = 0
    let errno = 0
    for (; errno === 0 && written < 100; written++) {
      errno = await client.errno('writev', request(written))
    }
    assert.equal(errno, E.NOSPC)
    assert.ok(written > 10, `${written} chunks fitted`)
    assert.equal(await client.read(kept), 'kept')
    await client.ok('ftruncate', { fd, offset: CHUNK })
    await client.ok('writev', request(1))
    const rep = await client.ok('readv', { fd, size: CHUNK, offset: CHUNK, flags: 0 })
    assert.ok(Buffer.concat(rep.data).equals(chunk))
    fd.release()
    kept.release()
  })

  test('one full disk of a dispersed set: writes go on, and it is marked for heal', async () => {
    const full = join(base, 'full3/b1')
    disk(full)
    const { client, volume } = await connected('full3', 3, { 'storage.reserve': '0' })
    const fd = await client.create(client.root, 'file')
    // Each brick gets half of it: more than the small one has.
    const content = randomBytes(3 * DISK_BYTES)
    for (let at = 0; at < content.length; at += CHUNK) {
      await client.write(fd, content.subarray(at, at + CHUNK), at)
    }
    await client.ok('flush', { fd })
    const rep = await client.ok('readv', { fd, size: content.length, offset: 0, flags: 0 })
    assert.ok(Buffer.concat(rep.data).equals(content))
    fd.release()
    const good = [volume.bricks[0]!, volume.bricks[2]!]
    for (let i = 0; i < 300 && good.some((path) => indexed(path).length === 0); i++) await sleep(10)
    for (const path of good) assert.equal(indexed(path).length, 1, path)
  })
})
