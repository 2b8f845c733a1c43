import assert from 'node:assert/strict'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { UP_NLINK, UP_SIZE, UP_TIMES, UP_XATTR, UP_XATTR_RM } from '../../../src/core/event.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import mdCache from '../../../xlators/performance/md-cache/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import {
  dirStat,
  type Invalidation,
  invalidation,
  linked,
  locOf,
  openFd,
  settle,
  stat,
  testGfid,
} from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

interface Setup extends Bed {
  inode: Inode
  loc: Loc
  /** What the child answers. */
  now: Partial<Iatt>
  xattrs: Record<string, string>
}

const mdTest = testsOf(mdCache, (bed): Setup => {
  const { b, child } = bed
  const inode = linked(b.graph, 'f')
  inode.lookedUpGraph = b.graph.id
  const s: Setup = { ...bed, inode, loc: locOf(inode), now: {}, xattrs: {} }
  const present = () => stat({ gfid: inode.gfid, size: 10, ctime: 5, mtime: 5, ...s.now })
  const changed = () => ({ errno: 0, prestat: new Iatt(), poststat: present() }) as const
  const found = () => {
    const dict = new Dict()
    for (const [key, value] of Object.entries(s.xattrs)) dict.setBytes(key, Buffer.from(value))
    return dict
  }
  child.script = {
    lookup: () => ({ errno: 0, stat: present(), postparent: new Iatt(), xdata: found() }),
    stat: () => ({ errno: 0, stat: present() }),
    fstat: () => ({ errno: 0, stat: present() }),
    setattr: changed,
    writev: (_frame, req) => ({ ...changed(), size: req.size }),
    setxattr: () => ({ errno: 0 }),
    getxattr: () => ({ errno: 0, dict: found() }),
    unlink: () => ({ errno: 0, preparent: new Iatt(), postparent: new Iatt() }),
    ipc: () => ({ errno: 0 }),
  }
  return s
})

const statSize = async (s: Setup): Promise<number> =>
  (await s.b.ok('stat', { loc: s.loc })).stat.size

mdTest('stat and lookup are answered at once within the timeout', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  const before = s.child.calls.length
  assert.ok(!(s.b.run('stat', { loc: s.loc }) instanceof Promise))
  assert.ok(!(s.b.run('fstat', { fd: openFd(s.inode) }) instanceof Promise))
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(s.child.calls.length, before)
  s.manual.pass(1000)
  s.now = { size: 20, ctime: 6 }
  assert.equal(await statSize(s), 20)
})

mdTest('a name is believed only if it was seen itself', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(900)
  await s.b.ok('stat', { loc: s.loc })
  s.child.calls.length = 0
  s.manual.pass(200)
  await s.b.ok('lookup', { loc: s.loc })
  await s.b.ok('lookup', { loc: Loc.ofName(s.b.graph.inodes.root, 'other', s.inode) })
  await s.b.ok('lookup', { loc: Loc.ofInode(s.inode) })
  assert.equal(s.child.named('lookup').length, 3)
})

mdTest('what was learned before an open is asked again after it', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(1)
  s.inode.openedAt = s.manual.now()
  s.now = { size: 20, ctime: 6 }
  assert.equal(await statSize(s), 20)
  s.now = { size: 30, ctime: 7 }
  assert.equal(await statSize(s), 20)
})

mdTest('a name that was only listed is looked up', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.inode.lookedUpGraph = -1
  s.child.calls.length = 0
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(s.child.calls.length, 1)
})

mdTest('a write with attributes updates, one without drops', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  const fd = openFd(s.inode)
  s.now = { size: 30, ctime: 7, mtime: 7 }
  await s.b.ok('writev', { fd, data: [], size: 0, offset: 0, flags: 0 })
  assert.equal(await statSize(s), 30)
  s.child.script.writev = () => ({ errno: 0, size: 0, prestat: new Iatt(), poststat: new Iatt() })
  await s.b.ok('writev', { fd, data: [], size: 0, offset: 0, flags: 0 })
  s.now = { size: 40, ctime: 8 }
  assert.equal(await statSize(s), 40)
})

mdTest('a reply from before a change does not fill the cache', {}, async (s) => {
  s.child.hold.add('stat')
  const slow = s.b.run('stat', { loc: s.loc })
  s.now = { size: 30, ctime: 7 }
  await s.b.ok('setattr', { loc: s.loc, stat: new Iatt(), valid: 1 })
  const old = stat({ gfid: s.inode.gfid, size: 10, ctime: 5 })
  s.child.take('stat').reply({ errno: 0, stat: old })
  await slow
  assert.equal(await statSize(s), 30)
})

mdTest('of two overlapping changes neither reply is believed', {}, async (s) => {
  s.child.hold.add('setattr')
  const first = s.b.run('setattr', { loc: s.loc, stat: new Iatt(), valid: 1 })
  const second = s.b.run('setattr', { loc: s.loc, stat: new Iatt(), valid: 1 })
  for (const size of [1, 2]) {
    const poststat = stat({ gfid: s.inode.gfid, size, ctime: size })
    s.child.take('setattr').reply({ errno: 0, prestat: new Iatt(), poststat })
  }
  await Promise.all([first, second])
  s.now = { size: 3 }
  assert.equal(await statSize(s), 3)
})

mdTest('connections coming and going drop everything', {}, async (s) => {
  for (const type of ['child-down', 'some-descendent-down', 'child-up'] as const) {
    await s.b.ok('lookup', { loc: s.loc })
    s.manual.pass(1)
    s.b.child.notifyParents({ type })
    s.child.calls.length = 0
    s.manual.pass(1)
    await s.b.ok('stat', { loc: s.loc })
    assert.equal(s.child.calls.length, 1, type)
    assert.equal(s.b.events.at(-1)?.type, type)
  }
})

mdTest('xattrs: value, or ENODATA without asking; other keys pass', {}, async (s) => {
  s.xattrs = { 'security.capability': 'cap' }
  await s.b.ok('lookup', { loc: s.loc })
  const asked = s.child.named('lookup')[0]!.req.xdata!
  assert.deepEqual([...asked.entries.keys()], ['security.capability', 'security.ima'])
  const rep = s.b.run('getxattr', { loc: s.loc, name: 'security.capability' })
  assert.ok(!(rep instanceof Promise) && rep.errno === 0)
  assert.equal(rep.dict.getStr('security.capability'), 'cap')
  const absent = await s.b.run('getxattr', { loc: s.loc, name: 'security.ima' })
  assert.equal(absent.errno, E.NODATA)
  assert.equal(s.child.named('getxattr').length, 0)
  await s.b.run('getxattr', { loc: s.loc, name: 'user.x' })
  assert.equal(s.child.named('getxattr').length, 1)
  const dict = new Dict().setBytes('security.ima', Buffer.from('x'))
  await s.b.ok('setxattr', { loc: s.loc, dict, flags: 0 })
  await s.b.run('getxattr', { loc: s.loc, name: 'security.ima' })
  assert.equal(s.child.named('getxattr').length, 2)
})

mdTest('a change by somebody else drops the kernel pages', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(2000)
  s.now = { mtime: 9, ctime: 9 }
  await s.b.ok('stat', { loc: s.loc })
  const event = s.b.events.at(-1)
  assert.ok(event?.type === 'invalidate-inode' && event.inode === s.inode)
  assert.equal(event.stat?.mtime, 9)
  s.b.reconfigure({ 'global-cache-invalidation': 'off' })
  s.manual.pass(2000)
  s.now = { mtime: 10, ctime: 10 }
  await s.b.ok('stat', { loc: s.loc })
  assert.equal(s.b.events.filter(({ type }) => type === 'invalidate-inode').length, 1)
})

const told = { 'cache-invalidation': 'on', 'md-cache-timeout': '600' }

const upcall = (s: Setup, flags: number, xdata?: Dict): Invalidation =>
  invalidation(s.inode.gfid, flags, { xdata })

/** An upcall about something else says how long the bricks remember us. */
function heard(s: Setup, seconds: number): void {
  const other = invalidation(testGfid(), UP_TIMES, { expireTimeAttr: seconds })
  s.child.notifyParents({ type: 'upcall', upcall: other })
  s.manual.pass(1)
}

const calls = async (s: Setup, fop: 'stat' | 'lookup'): Promise<number> => {
  s.child.calls.length = 0
  await s.b.ok(fop, { loc: s.loc })
  return s.child.calls.length
}

mdTest('upcalls drop what changed, and only with cache-invalidation on', told, async (s) => {
  s.xattrs = { 'security.ima': 'a' }
  heard(s, 600)
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(500_000)
  const keys = new Dict().setBytes('security.ima', Buffer.from('b'))
  s.child.notifyParents({ type: 'upcall', upcall: upcall(s, UP_XATTR, keys) })
  const ima = await s.b.ok('getxattr', { loc: s.loc, name: 'security.ima' })
  assert.equal(ima.dict.getStr('security.ima'), 'b')
  s.child.notifyParents({ type: 'upcall', upcall: upcall(s, UP_XATTR_RM, keys) })
  assert.equal((await s.b.run('getxattr', { loc: s.loc, name: 'security.ima' })).errno, E.NODATA)
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(s.child.calls.length, 1)
  s.child.notifyParents({ type: 'upcall', upcall: upcall(s, UP_SIZE | UP_TIMES) })
  s.now = { size: 99 }
  assert.equal(await statSize(s), 99)
  s.child.notifyParents({ type: 'upcall', upcall: upcall(s, UP_NLINK) })
  await s.b.ok('stat', { loc: s.loc })
  s.child.calls.length = 0
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(s.child.calls.length, 1, 'the name may be gone')
})

mdTest('with upcalls an open asks nothing', told, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(1)
  s.inode.openedAt = s.manual.now()
  assert.ok(!(s.b.run('stat', { loc: s.loc }) instanceof Promise))
  assert.equal(s.child.calls.length, 1)
})

mdTest('a timeout is not longer than the bricks remember us', told, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(59_000)
  assert.equal(await calls(s, 'stat'), 0)
  s.manual.pass(1000)
  assert.equal(await calls(s, 'stat'), 1, 'the default of the bricks')
  heard(s, 600)
  s.manual.pass(590_000)
  assert.equal(await calls(s, 'stat'), 0)
  heard(s, 30)
  assert.equal(await calls(s, 'stat'), 1)
})

mdTest('a change of an inode not known yet reaches the answer under way', told, async (s) => {
  const fresh = s.b.graph.inodes.newInode()
  const gfid = testGfid()
  const loc = Loc.ofName(s.b.graph.inodes.root, 'new', fresh)
  s.child.hold.add('lookup')
  const slow = s.b.run('lookup', { loc })
  s.child.notifyParents({ type: 'upcall', upcall: invalidation(gfid, UP_SIZE) })
  const old = stat({ gfid, size: 1, ctime: 5 })
  s.child.take('lookup').reply({ errno: 0, stat: old, postparent: new Iatt() })
  await slow
  const inode = s.b.graph.inodes.link(fresh, s.b.graph.inodes.root, 'new', old)!
  assert.equal(s.b.xl.freshness!.attributes(inode, old), 0)
  assert.equal(s.b.xl.freshness!.name(s.b.graph.inodes.root, 'new', inode), 0)
  s.child.script.stat = () => ({ errno: 0, stat: stat({ gfid, size: 2, ctime: 6 }) })
  assert.equal((await s.b.ok('stat', { loc: Loc.ofInode(inode) })).stat.size, 2)
})

mdTest('what the kernel may keep, and for how long', told, async (s) => {
  const { freshness: leases } = s.b.xl
  const root = s.b.graph.inodes.root
  const lease = () => leases!.attributes(s.inode, stat({ size: 10, ctime: 5, mtime: 5 }))
  heard(s, 600)
  assert.equal(lease(), 0)
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(100_000)
  assert.equal(Math.round(lease() / 1000), 500)
  assert.equal(Math.round(leases!.name(root, 'f', s.inode) / 1000), 500)
  assert.equal(leases!.name(root, 'other', s.inode), 0)
  assert.equal(leases!.attributes(s.inode, stat({ size: 10, ctime: 4 })), 0, 'not what is known')
  s.child.notifyParents({ type: 'upcall', upcall: upcall(s, UP_SIZE) })
  assert.equal(lease(), 0)
  s.manual.pass(1)
  s.now = { nlink: 2 }
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(lease(), 0, 'another name of it may be given away untold')
  s.now = {}
  s.manual.pass(1)
  s.b.child.notifyParents({ type: 'child-up' })
  s.manual.pass(1)
  await s.b.ok('lookup', { loc: s.loc })
  assert.ok(lease() > 0)
  s.b.reconfigure({})
  await s.b.ok('lookup', { loc: s.loc })
  assert.equal(lease(), 0, 'without upcalls')
})

mdTest('names in a directory others work in are believed for a second', told, async (s) => {
  const root = s.b.graph.inodes.root
  const name = () => s.b.xl.freshness!.name(root, 'f', s.inode)
  heard(s, 600)
  await s.b.ok('lookup', { loc: s.loc })
  assert.ok(name() > 500_000)
  s.manual.pass(1)
  s.child.notifyParents({ type: 'upcall', upcall: invalidation(root.gfid, UP_TIMES) })
  assert.equal(name(), 0)
  assert.equal(await calls(s, 'lookup'), 1)
  s.manual.pass(1)
  assert.ok(name() > 0 && name() <= 1000)
  assert.equal(await calls(s, 'lookup'), 0)
  s.manual.pass(1000)
  assert.equal(await calls(s, 'lookup'), 1)
  s.manual.pass(60_000)
  assert.equal(await calls(s, 'lookup'), 1)
  assert.ok(name() > 500_000)
})

mdTest("a directory's own attributes are believed for a second", told, async (s) => {
  heard(s, 600)
  const { root } = s.b.graph.inodes
  s.child.script.stat = () => ({ errno: 0, stat: dirStat({ gfid: root.gfid }) })
  const loc = Loc.ofInode(root)
  await s.b.ok('stat', { loc })
  const lease = s.b.xl.freshness!.attributes(root, dirStat())
  assert.ok(lease > 0 && lease <= 1000)
  s.manual.pass(1001)
  s.child.calls.length = 0
  await s.b.ok('stat', { loc })
  assert.equal(s.child.calls.length, 1)
})

mdTest('what is not there is not answered from memory', told, async (s) => {
  for (const fop of ['open', 'stat', 'getxattr'] as const) {
    await s.b.ok('lookup', { loc: s.loc })
    s.manual.pass(1)
    s.child.script[fop] = () => ({ errno: E.STALE })
    const asked = { loc: s.loc, fd: openFd(s.inode), flags: 0, name: 'user.x' }
    // a stat is answered from memory unless something is asked along
    const rep = await s.b.run(fop, { ...asked, xdata: new Dict().setInt('x', 1) })
    assert.equal(rep.errno, E.STALE)
    assert.equal(await calls(s, 'lookup'), 1, fop)
    s.manual.pass(1)
  }
})

mdTest('bricks are told the cached xattrs when they come up', told, async (s) => {
  s.b.reconfigure({ ...told, 'xattr-cache-list': 'user.a,user.b*' })
  s.child.notifyParents({ type: 'child-up' })
  await settle()
  const ipc = s.child.named('ipc').at(-1)!.req
  assert.equal(ipc.op, 2)
  const keys = ['security.capability', 'security.ima', 'user.a', 'user.b*']
  assert.deepEqual([...ipc.xdata!.entries.keys()], keys)
})

mdTest('without cache-invalidation 600 s are 60 s', { 'md-cache-timeout': '600' }, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.manual.pass(59_000)
  await s.b.ok('stat', { loc: s.loc })
  assert.equal(s.child.calls.length, 1)
  s.manual.pass(1000)
  await s.b.ok('stat', { loc: s.loc })
  assert.equal(s.child.calls.length, 2)
})

mdTest('unlink drops the attributes of the file and of its directory', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  await s.b.ok('stat', { loc: locOf(s.b.graph.inodes.root) })
  await s.b.ok('unlink', { loc: s.loc, flags: 0 })
  s.child.calls.length = 0
  await s.b.ok('stat', { loc: s.loc })
  await s.b.ok('stat', { loc: locOf(s.b.graph.inodes.root) })
  assert.equal(s.child.calls.length, 2)
})

mdTest('names that come and go move the times of their directory, no more', {}, async (s) => {
  const root = s.b.graph.inodes.root
  const loc = locOf(root)
  s.child.script.stat = () => ({ errno: 0, stat: dirStat({ gfid: root.gfid, size: 7, ctime: 5 }) })
  await s.b.ok('stat', { loc })
  const postparent = dirStat({ gfid: root.gfid, size: 99, ctime: 8, mtime: 8 })
  s.child.script.unlink = () => ({ errno: 0, preparent: new Iatt(), postparent })
  await s.b.ok('unlink', { loc: s.loc, flags: 0 })
  const now = s.b.run('stat', { loc })
  assert.ok(!(now instanceof Promise) && now.errno === 0)
  assert.deepEqual([now.stat.size, now.stat.mtime, now.stat.ctime], [7, 8, 8])
  s.manual.pass(1000)
  s.child.calls.length = 0
  await s.b.ok('stat', { loc })
  assert.equal(s.child.calls.length, 1, 'the rest is no younger for it')
})

mdTest('a directory that grew with a name is asked for its size', {}, async (s) => {
  const root = s.b.graph.inodes.root
  const loc = locOf(root)
  const parent = (change: Partial<Iatt>): Iatt => dirStat({ gfid: root.gfid, ...change })
  let size = 4096
  s.child.script.stat = () => ({ errno: 0, stat: parent({ size, ctime: 5 }) })
  await s.b.ok('stat', { loc })
  const preparent = parent({ size, ctime: 5 })
  size = 12288
  s.child.script.mknod = () => ({
    errno: 0,
    stat: stat({ gfid: testGfid() }),
    preparent,
    postparent: parent({ size, ctime: 8 }),
  })
  const made = Loc.ofName(root, 'n', s.b.graph.inodes.newInode())
  await s.b.ok('mknod', { loc: made, mode: 0, rdev: 0, umask: 0 })
  assert.equal((await s.b.ok('stat', { loc })).stat.size, 12288)
})

mdTest('a new directory is one more link of its parent', {}, async (s) => {
  const root = s.b.graph.inodes.root
  const loc = locOf(root)
  const parent = (change: Partial<Iatt>): Iatt => dirStat({ gfid: root.gfid, ...change })
  let preparent = parent({ ctime: 5, nlink: 7 })
  let postparent = parent({ ctime: 8, nlink: 8 })
  s.child.script.stat = () => ({ errno: 0, stat: parent({ ctime: 5, nlink: 4 }) })
  s.child.script.mkdir = () => ({ errno: 0, stat: dirStat(), preparent, postparent })
  const make = () => s.b.ok('mkdir', { loc: locOf(linked(s.b.graph, 'd')), mode: 0, umask: 0 })
  await s.b.ok('stat', { loc })
  await make()
  const now = s.b.run('stat', { loc })
  assert.ok(!(now instanceof Promise) && now.errno === 0)
  assert.deepEqual([now.stat.nlink, now.stat.ctime], [5, 8])
  // A reply that is no news may have been counted already; one without attributes says nothing.
  for (const ctime of [7, 0]) {
    await s.b.ok('stat', { loc })
    preparent = parent({ ctime, nlink: 8 })
    postparent = parent({ ctime: 8 + ctime, nlink: 9 })
    if (ctime === 7) postparent.ctime = 8
    await make()
    s.child.calls.length = 0
    await s.b.ok('stat', { loc })
    assert.equal(s.child.calls.length, 1)
  }
})

mdTest('a renamed file moves the times of its directories', {}, async (s) => {
  const root = s.b.graph.inodes.root
  const loc = locOf(root)
  s.child.script.stat = () => ({ errno: 0, stat: dirStat({ gfid: root.gfid, ctime: 5 }) })
  await s.b.ok('stat', { loc })
  const parent = dirStat({ gfid: root.gfid, ctime: 8, mtime: 8 })
  s.child.script.rename = () => ({
    errno: 0,
    stat: stat({ gfid: s.inode.gfid }),
    preoldparent: new Iatt(),
    postoldparent: parent,
    prenewparent: new Iatt(),
    postnewparent: parent,
  })
  await s.b.ok('rename', { oldloc: s.loc, newloc: new Loc(s.inode, root, 'g') })
  const now = s.b.run('stat', { loc })
  assert.ok(!(now instanceof Promise) && now.errno === 0)
  assert.equal(now.stat.ctime, 8)
})

mdTest('pass-through forgets what it missed', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  s.b.reconfigure({ 'pass-through': 'on' })
  s.now = { size: 50 }
  assert.equal(await statSize(s), 50)
  s.now = { size: 60 }
  s.manual.pass(1)
  s.b.reconfigure({})
  assert.equal(await statSize(s), 60)
})

mdTest('the dump has the keys that readers look for', {}, async (s) => {
  await s.b.ok('lookup', { loc: s.loc })
  await s.b.ok('lookup', { loc: s.loc })
  const dump = s.b.dump()
  assert.equal(dump['performance/md-cache.xl|stat_hit_count'], '1')
  assert.equal(dump['performance/md-cache.xl|stat_miss_count'], '1')
})

modelRuns(mdCache, [
  {},
  { 'md-cache-timeout': '600', 'cache-invalidation': 'on', 'md-cache-statfs': 'on' },
  { 'xattr-cache-list': 'user.a', 'cache-samba-metadata': 'on', 'cache-swift-metadata': 'on' },
])
