import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import type { FopName, Req } from '../../../src/core/fop.ts'
import { Iatt, SET_ATTR_ATIME, SET_ATTR_ATIME_NOW, SET_ATTR_MODE } from '../../../src/core/iatt.ts'
import utime from '../../../xlators/features/utime/index.ts'
import { bench, linked, locOf, openFd, type ScriptedChild, stat } from '../../lib/scripted.ts'

test('masks are those stock sends', async () => {
  const b = await bench(utime)
  const child = b.child as ScriptedChild
  const inode = linked(b.graph, 'f')
  const loc = locOf(inode)
  const fd = openFd(inode)
  const masks: Partial<Record<FopName, number>> = {
    mknod: 31,
    mkdir: 31,
    symlink: 31,
    create: 31,
    unlink: 25,
    rmdir: 25,
    rename: 25,
    link: 25,
    writev: 3,
    truncate: 3,
    ftruncate: 3,
    fallocate: 6,
    zerofill: 6,
    removexattr: 1,
    fremovexattr: 1,
    open: 0,
    opendir: 0,
    readv: 0,
    copy_file_range: 3,
    setxattr: 0,
    fsetxattr: 0,
    discard: 0,
    stat: 0,
    flush: 0,
  }
  const stamped = new Set<FopName>(['open', 'opendir', 'readv'])
  for (const [fop, mask] of Object.entries(masks) as [FopName, number][]) {
    await b.run(fop, { loc, fd, oldloc: loc, newloc: loc } as unknown as Req<typeof fop>)
    const { creds } = child.calls.at(-1)!
    assert.equal(creds.timeFlags, mask, fop)
    assert.equal(creds.timeSec > 0, mask !== 0 || stamped.has(fop), `${fop} time`)
  }
})

test('noatime off stamps reads and opens, also by reconfigure', async () => {
  const b = await bench(utime)
  const child = b.child as ScriptedChild
  b.reconfigure({ noatime: 'off' })
  const fd = openFd(linked(b.graph, 'f'))
  await b.run('readv', { fd, size: 1, offset: 0, flags: 0 })
  assert.equal(child.calls.at(-1)!.creds.timeFlags, 4)
})

test('setattr: mode sets the ctime, utimes does not, "now" takes the given instant', async () => {
  const b = await bench(utime)
  const child = b.child as ScriptedChild
  const loc = locOf(linked(b.graph, 'f'))
  const given = Object.assign(new Iatt(), { atime: 77, atimeNsec: 5 })
  await b.run('setattr', { loc, stat: given, valid: SET_ATTR_MODE })
  assert.equal(child.calls.at(-1)!.creds.timeFlags, 1)
  await b.run('setattr', { loc, stat: given, valid: SET_ATTR_ATIME })
  assert.equal(child.calls.at(-1)!.creds.timeFlags, 0)
  assert.notEqual(child.calls.at(-1)!.creds.timeSec, 0)
  await b.run('setattr', { loc, stat: given, valid: SET_ATTR_ATIME | SET_ATTR_ATIME_NOW })
  assert.deepEqual([child.calls.at(-1)!.creds.timeSec, child.calls.at(-1)!.creds.timeNsec], [77, 5])
})

test('a lookup that finds no mdata stores the present times before it answers', async () => {
  const b = await bench(utime)
  const child = b.child as ScriptedChild
  const inode = linked(b.graph, 'f')
  let xdata: Dict | undefined
  child.script.lookup = (_frame, req) => {
    assert.ok(req.xdata?.has('trusted.glusterfs.mdata'))
    return { errno: 0, stat: stat({ gfid: inode.gfid, mtime: 9 }), postparent: new Iatt(), xdata }
  }
  await b.ok('lookup', { loc: locOf(inode) })
  const call = child.named('setxattr')[0]!
  assert.equal(call.creds.pid, -13)
  const value = call.req.dict.get('set-ctime-mdata')
  assert.ok(value?.type === 'mdata' && value.value.mtime === 9)
  xdata = new Dict().setBytes('trusted.glusterfs.mdata', Buffer.alloc(57))
  await b.ok('lookup', { loc: locOf(inode) })
  assert.equal(child.named('setxattr').length, 1)
})

test('frames below a changed credential are accounted for', async () => {
  const b = await bench(utime)
  const child = b.child as ScriptedChild
  child.script.flush = () => ({ errno: 0 })
  const fd = openFd(linked(b.graph, 'f'))
  await b.run('readv', { fd, size: 1, offset: 0, flags: 0 })
  assert.equal(child.stats.get('readv')?.count, 1)
  assert.equal(b.xl.stats.get('readv')?.count, 1)
})
