/** Golden data of stock 10.3 bricks, test/vectors/posix. */
import assert from 'node:assert/strict'
import { lstatSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../../src/core/dict.ts'

import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { getXattr, removeXattr, setXattr } from '../../../src/sys/xattr.ts'
import { formatMdata, parseMdata } from '../../../xlators/storage/posix/attributes.ts'
import { gfid2path } from '../../../xlators/storage/posix/gfid2path.ts'
import { BrickBench, brickSkip, gfid, gfidReq } from '../../lib/brick-bench.ts'

const ROOT = join(import.meta.dirname, '../../../../test/vectors/posix')
const vectors = <T>(name: string): T =>
  (JSON.parse(readFileSync(join(ROOT, name), 'utf8')) as { vectors: T }).vectors
const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

test('gfid2path: key and value', () => {
  interface Vector {
    pargfid: string
    basename: string
    xattr_name: string
    xattr_value_utf8: string
  }
  const list = vectors<Vector[]>('gfid2path.json')
  assert.equal(list.length, 27)
  for (const vector of list) {
    const { key, value } = gfid2path(gfid(vector.pargfid), latin1(vector.basename))
    assert.equal(key, vector.xattr_name)
    assert.equal(value.toString('utf8'), vector.xattr_value_utf8)
  }
})

test('mdata: decode and encode', () => {
  interface Time {
    sec: number
    nsec: number
  }
  const list = vectors<{ hex: string; ctime: Time; mtime: Time; atime: Time }[]>('mdata.json')
  assert.ok(list.length > 20)
  for (const { hex, ctime, mtime, atime } of list) {
    const bytes = Buffer.from(hex, 'hex')
    const times = parseMdata(bytes)
    assert.deepEqual(times, {
      ctime: ctime.sec,
      ctimeNsec: ctime.nsec,
      mtime: mtime.sec,
      mtimeNsec: mtime.nsec,
      atime: atime.sec,
      atimeNsec: atime.nsec,
    })
    assert.deepEqual(formatMdata(times), bytes)
  }
})

describe('on disk', { skip: brickSkip() }, () => {
  let brick: BrickBench
  before(async () => {
    brick = await BrickBench.make()
  })
  after(() => brick.destroy())

  test('handles: paths, links, ino and nlink of every kind', async () => {
    interface Vector {
      gfid: string
      type: string
      handle_path: string
      handle_is: 'symlink' | 'hardlink'
      handle_link_target?: string
      backend_nlink?: number
      path: string
      ia_ino: string
      client_st_nlink: number
    }
    const list = vectors<Vector[]>('handles.json').filter(({ path }) => !path.endsWith('...'))
    const dirs = list.filter(({ type }) => type === 'dir')
    // h6 and h6/pos are not vectors themselves; pos is the parent of the directory h6/pos/sub.
    const posGfid = gfid(/([0-9a-f-]{36})\/sub$/.exec(dirs[0]!.handle_link_target!)![1]!)
    const h6 = await brick.mkdir(brick.root, 'h6')
    const parents = new Map<string, Inode>([['h6/pos', await brick.mkdir(h6, 'pos', posGfid)]])
    const made = new Map<string, Inode>()
    for (const vector of [...list].sort((a, b) => a.path.length - b.path.length)) {
      const path = latin1(vector.path)
      const parent = parents.get(path.slice(0, path.lastIndexOf('/')))!
      const name = path.slice(path.lastIndexOf('/') + 1)
      const id = gfid(vector.gfid)
      const known = made.get(id)
      if (known !== undefined) {
        await brick.ok('link', { oldloc: Loc.ofInode(known), newloc: brick.fresh(parent, name) })
      } else if (vector.type === 'dir') parents.set(path, await brick.mkdir(parent, name, id))
      else if (vector.type === 'symlink') {
        const loc = brick.fresh(parent, name)
        const rep = await brick.ok('symlink', {
          loc,
          linkpath: 'anywhere',
          umask: 0,
          xdata: gfidReq(id),
        })
        made.set(id, brick.link(parent, name, rep.stat))
      } else {
        const mode = vector.type === 'fifo' ? 0o010644 : 0o100644
        made.set(id, await brick.mknod(parent, name, id, { mode }))
      }
    }
    for (const vector of list) {
      const handle = join(brick.path, vector.handle_path)
      const path = Buffer.from(join(brick.path, vector.path))
      const found = await brick.ok('lookup', {
        loc: Loc.ofGfid(brick.graph.inodes, gfid(vector.gfid)),
      })
      const ino = (BigInt(found.stat.inoHi) << 32n) | BigInt(found.stat.inoLo)
      assert.equal(String(ino), vector.ia_ino, vector.path)
      if (vector.handle_is === 'symlink') {
        assert.equal(readlinkSync(handle), vector.handle_link_target)
      } else {
        assert.equal(lstatSync(handle).ino, lstatSync(path).ino)
        assert.equal(lstatSync(handle).nlink, vector.backend_nlink)
        assert.equal(found.stat.nlink, vector.client_st_nlink)
      }
    }
  })

  test('root: handle, modes of .glusterfs', () => {
    const at = (name: string): string => join(brick.path, '.glusterfs', name)
    assert.equal(readlinkSync(at('00/00/00000000-0000-0000-0000-000000000001')), '../../..')
    const mode = (name: string): string => `0o${lstatSync(at(name)).mode.toString(8)}`
    assert.equal(mode('unlink'), '0o40600')
    assert.equal(mode('landfill'), '0o40755')
    assert.equal(mode('indices'), '0o40600')
    assert.equal(mode('00'), '0o40700')
    assert.equal(mode('.'), '0o40600')
    const root = getXattr(brick.path, 'trusted.gfid')
    assert.ok(typeof root !== 'number')
    assert.equal(root.toString('hex'), '00000000000000000000000000000001')
  })

  test('xattrop: 21 requests, by path and by fd', async () => {
    interface Vector {
      name: string
      flags: number
      disk_before: string | null
      request: string
      op_ret: number
      op_errno: number
      reply: string | null
      disk_after: string | null
    }
    const list = vectors<Vector[]>('xattrop.json')
    assert.equal(list.length, 21)
    const key = 'trusted.afr.vol-client-0'
    const fd = await brick.create(brick.root, 'counters')
    const path = join(brick.path, 'counters')
    for (const vector of list) {
      for (const byFd of [false, true]) {
        if (vector.disk_before === null) removeXattr(path, key)
        else setXattr(path, key, Buffer.from(vector.disk_before, 'hex'), 0)
        const dict = new Dict().setBytes(key, Buffer.from(vector.request, 'hex'))
        const op = vector.flags
        const rep = byFd
          ? await brick.run('fxattrop', { fd, op, dict })
          : await brick.run('xattrop', { loc: Loc.ofInode(fd.inode), op, dict })
        assert.equal(rep.errno, vector.op_errno, vector.name)
        if (rep.errno === 0) {
          assert.equal(rep.dict.getBytes(key)?.toString('hex') ?? null, vector.reply, vector.name)
        }
        const disk = getXattr(path, key)
        const found = typeof disk === 'number' ? null : disk.toString('hex')
        assert.equal(found, vector.disk_after, vector.name)
      }
    }
    fd.release()
  })

  test('write-is-append', async () => {
    const { write_is_append: list } = JSON.parse(
      readFileSync(join(ROOT, 'brick_behaviour.json'), 'utf8'),
    ) as { write_is_append: { file_size: number; offset: number; reply: number }[] }
    for (const [index, { file_size: size, offset, reply }] of list.entries()) {
      const fd = await brick.create(brick.root, `append${index}`)
      if (size > 0) await brick.write(fd, 'x'.repeat(size))
      const xdata = new Dict().setInt('glusterfs.write-is-append', 1)
      const rep = await brick.write(fd, 'y', offset, xdata)
      assert.equal(rep.xdata?.getNumber('glusterfs.write-is-append'), reply)
      fd.release()
    }
  })

  test('readdir budget', async () => {
    const { readdir_budget: budget } = JSON.parse(
      readFileSync(join(ROOT, 'brick_behaviour.json'), 'utf8'),
    ) as { readdir_budget: { size_to_count: Record<string, number> } }
    const dir = await brick.mkdir(brick.root, 'budget')
    for (const name of ['a', 'b', 'cc']) await brick.mknod(dir, name)
    for (let i = 10; i < 30; i++) await brick.mknod(dir, `name00${i}`)
    for (const fop of ['readdir', 'readdirp'] as const) {
      for (const [size, count] of Object.entries(budget.size_to_count)) {
        const fd = await brick.opendir(dir)
        const rep = await brick.ok(fop, { fd, size: Number(size), off: 0n })
        assert.equal(rep.entries.length, count, `${fop} ${size}`)
        assert.equal(rep.eof, false)
        fd.release()
      }
    }
  })
})
