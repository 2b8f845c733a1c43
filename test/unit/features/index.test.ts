/** features/index: entries before counters, gone when they are zero, names of changed entries. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { getXattr } from '../../../src/sys/xattr.ts'
import { BrickBench, brickSkip } from '../../lib/brick-bench.ts'

const PENDING = 'trusted.afr.v-client-1'

function layers(path: string): [string, Record<string, string>][] {
  return [
    [
      'features/index',
      {
        'index-base': `${path}/.glusterfs/indices`,
        'xattrop-pending-watchlist': 'trusted.afr.v-',
        'xattrop-dirty-watchlist': 'trusted.afr.dirty',
        'xattrop64-watchlist': 'trusted.ec.dirty',
      },
    ],
  ]
}

describe('index', { skip: brickSkip() }, () => {
  let brick: BrickBench
  let file: Inode
  before(async () => {
    const path = mkdtempSync(join(tmpdir(), 'glusterfs-ts-brick-'))
    brick = await BrickBench.make(layers(path), {}, path)
    file = await brick.mknod(brick.root, 'file')
  })
  after(() => brick.destroy())

  const counter = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(4 * values.length)
    for (const [index, value] of values.entries()) bytes.writeInt32BE(value, 4 * index)
    return bytes
  }
  const xattrop = (entries: Record<string, Buffer>, op = 0, xdata?: Dict, inode = file) => {
    const dict = new Dict()
    for (const [key, value] of Object.entries(entries)) dict.setBytes(key, value)
    return brick.ok('xattrop', { loc: Loc.ofInode(inode), op, dict, xdata })
  }
  const entries = (sub: string): string[] =>
    readdirSync(join(brick.path, '.glusterfs/indices', sub)).filter((name) => !name.startsWith(sub))
  const name = (): string => gfidText(file.gfid)

  test('pending, dirty and 64-bit counters have their indices', async () => {
    await xattrop({ [PENDING]: counter(1, 0, 0), 'trusted.afr.dirty': counter(1, 0, 0) })
    assert.deepEqual([entries('xattrop'), entries('dirty')], [[name()], [name()]])
    await xattrop({ 'trusted.afr.dirty': counter(-1, 0, 0) })
    assert.deepEqual([entries('xattrop'), entries('dirty')], [[name()], []])
    await xattrop({ [PENDING]: counter(-1, 0, 0) })
    assert.deepEqual(entries('xattrop'), [])
    const wide = Buffer.alloc(16)
    wide.writeBigInt64BE(1n)
    await xattrop({ 'trusted.ec.dirty': wide }, 1)
    assert.deepEqual(entries('xattrop'), [name()])
    wide.writeBigInt64BE(-1n)
    await xattrop({ 'trusted.ec.dirty': wide }, 1)
    assert.deepEqual(entries('xattrop'), [])
    await xattrop({ 'trusted.other': counter(1) })
    assert.deepEqual(entries('xattrop'), [])
  })

  test('a failed xattrop leaves the entry that says "look here"', async () => {
    await xattrop({ [PENDING]: counter(1, 2, 3) })
    const dict = new Dict().setBytes(PENDING, counter(1))
    const req = { loc: Loc.ofInode(file), op: 0, dict }
    assert.equal(await brick.errno('xattrop', req), E.RANGE)
    assert.deepEqual(entries('xattrop'), [name()])
    await xattrop({ [PENDING]: counter(-1, -2, -3) })
  })

  test('link-count rides on lookups, failed ones too', async () => {
    const xdata = () => new Dict().setStr('link-count', 'glusterfs.xattrop_index_count')
    const missing = { loc: brick.fresh(brick.root, 'missing'), xdata: xdata() }
    const none = await brick.run('lookup', missing)
    assert.equal(none.xdata?.getNumber('link-count'), 0)
    await xattrop({ [PENDING]: counter(1, 0, 0) })
    const some = await brick.run('lookup', missing)
    assert.equal(some.errno, E.NOENT)
    assert.equal(some.xdata?.getNumber('link-count'), 1)
  })

  const vgfid = async (key: string): Promise<Inode> => {
    const loc = Loc.ofInode(brick.root)
    const { dict } = await brick.ok('getxattr', { loc, name: key })
    const gfid = dict.getBytes(key)!.latin1Slice() as Gfid
    const found = await brick.ok('lookup', { loc: Loc.ofGfid(brick.graph.inodes, gfid) })
    assert.equal(found.stat.inoLo, 0xffffffff)
    return brick.link(undefined, undefined, found.stat)
  }
  const list = async (inode: Inode, xdata?: Dict) => {
    const fd = await brick.opendir(inode)
    const rep = await brick.ok('readdir', { fd, size: 131_072, off: 0n, xdata })
    fd.release()
    assert.ok(rep.eof)
    return rep.entries
  }

  test('the self-heal daemon lists an index and removes stale entries', async () => {
    const dir = await vgfid('glusterfs.xattrop_index_gfid')
    const types = new Dict().setInt('get-gfid-type', 1)
    const [entry, ...rest] = await list(dir, types)
    assert.deepEqual([entry?.name, entry?.type, rest.length], [name(), 8, 0])
    assert.equal(await brick.errno('lookup', { loc: brick.fresh(dir, '../../..') }), E.INVAL)
    const stale = brick.fresh(dir, name())
    assert.equal(await brick.errno('lookup', { loc: stale }), 0)
    assert.equal(await brick.errno('unlink', { loc: stale, flags: 0 }), 0)
    assert.deepEqual(await list(dir), [])
    assert.equal(await brick.errno('unlink', { loc: brick.fresh(dir, '..'), flags: 0 }), E.INVAL)
  })

  test('names that changed in a directory', async () => {
    const dir = await brick.mkdir(brick.root, 'dir')
    const key = 'glusterfs.xattrop-entry-create'
    const op = { [PENDING]: counter(0, 0, 1) }
    for (const one of ['x', 'y']) await xattrop(op, 0, new Dict().setStr(key, one), dir)
    const bad = {
      loc: Loc.ofInode(dir),
      op: 0,
      dict: new Dict().setBytes(PENDING, counter(0, 0, 1)),
    }
    const outside = new Dict().setStr(key, '../../../../escaped')
    assert.equal(await brick.errno('xattrop', { ...bad, xdata: outside }), E.INVAL)
    const changes = await vgfid('glusterfs.xattrop_entry_changes_gfid')
    assert.deepEqual(
      (await list(changes)).map((one) => one.name),
      [gfidText(dir.gfid)],
    )
    const found = await brick.lookup(changes, gfidText(dir.gfid))
    const sub = brick.link(undefined, undefined, found.stat)
    assert.deepEqual((await list(sub)).map((one) => one.name).sort(), ['x', 'y'])
    assert.equal(await brick.errno('unlink', { loc: brick.fresh(sub, 'x'), flags: 0 }), 0)
    const deleted = new Dict().setStr('glusterfs.xattrop-entry-delete', 'y')
    await xattrop(op, 0, deleted, dir)
    assert.deepEqual(await list(sub), [])
    const rmdir = { loc: brick.fresh(changes, gfidText(dir.gfid)), flags: 0 }
    assert.equal(await brick.errno('rmdir', rmdir), 0)
    assert.deepEqual(await list(changes), [])
  })

  test('kill -9 in the middle of xattrops: every acknowledged one is there, and its entry', async () => {
    const path = mkdtempSync(join(tmpdir(), 'glusterfs-ts-brick-'))
    const first = await BrickBench.make(layers(path), {}, path)
    const inode = await first.mknod(first.root, 'file')
    first.stop()
    for (let round = 0; round < 3; round++) {
      const before = pendingOn(path)
      const script = fileURLToPath(new URL('../../lib/xattrop-loop.js', import.meta.url))
      const child = spawn(process.execPath, [script, path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let acknowledged = 0
      child.stdout.on('data', (chunk: Buffer) => {
        const lines = chunk.toString().trim().split('\n')
        acknowledged = Number(lines.at(-1))
        if (acknowledged > 50 + round * 37) child.kill('SIGKILL')
      })
      await new Promise((resolve) => child.on('close', resolve))
      const counted = pendingOn(path) - before
      assert.ok(acknowledged > 50, `the loop ended by itself after ${acknowledged}`)
      assert.ok(
        counted === acknowledged || counted === acknowledged + 1,
        `${counted} ${acknowledged}`,
      )
      assert.ok(existsSync(join(path, '.glusterfs/indices/xattrop', gfidText(inode.gfid))))
    }
    const again = await BrickBench.make(layers(path), {}, path)
    const count = { loc: Loc.ofInode(again.root), name: 'glusterfs.xattrop_index_count' }
    const { dict } = await again.ok('getxattr', count)
    assert.equal(dict.getNumber('glusterfs.xattrop_index_count'), 1)
    const left = readdirSync(join(path, '.glusterfs/indices/xattrop'))
    assert.ok(left.length <= 2, `bases of former lives are gone: ${left.join(' ')}`)
    again.destroy()
  })
})

function pendingOn(path: string): number {
  const value = getXattr(join(path, 'file'), PENDING)
  return typeof value === 'number' ? 0 : value.readInt32BE(0)
}
