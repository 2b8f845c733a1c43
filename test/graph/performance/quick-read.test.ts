import assert from 'node:assert/strict'
import { Dict } from '../../../src/core/dict.ts'
import { UP_SIZE, UP_TIMES } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import quickRead from '../../../xlators/performance/quick-read/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import { invalidation, linked, locOf, openFd, stat } from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

interface Setup extends Bed {
  inode: Inode
  fd: Fd
  content: Buffer
  mtime: number
}

const quickTest = testsOf(quickRead, (bed): Setup => {
  const { b, child } = bed
  const inode = linked(b.graph, 'f.h')
  const content = Buffer.from('hello')
  const s: Setup = { ...bed, inode, fd: openFd(inode), content, mtime: 5 }
  child.script = {
    lookup: (_frame, req) => {
      const xdata = req.xdata?.has('glusterfs.content')
        ? new Dict().setBytes('glusterfs.content', s.content)
        : undefined
      const found = attributes(s, req.loc.inode)
      return { errno: 0, stat: found, postparent: new Iatt(), xdata }
    },
    readv: () => ({
      errno: 0,
      data: [s.content],
      size: s.content.length,
      stat: attributes(s, s.inode),
      eof: true,
    }),
    stat: () => ({ errno: 0, stat: attributes(s, s.inode) }),
    writev: (_frame, req) => {
      const now = attributes(s, s.inode)
      return { errno: 0, size: req.size, prestat: now, poststat: now }
    },
  }
  return s
})

const attributes = (s: Setup, inode: Inode) =>
  stat({ gfid: inode.gfid, size: s.content.length, mtime: s.mtime, ctime: s.mtime })

const read = (s: Setup, offset: number, size: number) =>
  s.b.run('readv', { fd: s.fd, offset, size, flags: 0 })

const reads = (s: Setup): number => s.child.named('readv').length

async function text(s: Setup, offset: number, size: number): Promise<string> {
  const rep = await read(s, offset, size)
  assert.ok(rep.errno === 0)
  return Buffer.concat(rep.data).toString()
}

quickTest('a lookup brings the content; reads are answered at once', {}, async (s) => {
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  assert.equal(s.child.named('lookup')[0]!.req.xdata?.getNumber('glusterfs.content'), 65536)
  const rep = read(s, 1, 100)
  assert.ok(!(rep instanceof Promise) && rep.errno === 0)
  assert.deepEqual([Buffer.concat(rep.data).toString(), rep.eof], ['ello', true])
  assert.equal(await text(s, 0, 2), 'he')
  assert.equal(reads(s), 0)
  await read(s, 5, 10)
  assert.equal(reads(s), 1, 'the end of the file is the brick to say')
})

quickTest('content is believed for the timeout, longer when seen unchanged', {}, async (s) => {
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  s.manual.pass(900)
  await s.b.ok('stat', { loc: locOf(s.inode) })
  s.manual.pass(900)
  await text(s, 0, 5)
  assert.equal(reads(s), 0)
  s.manual.pass(200)
  await text(s, 0, 5)
  assert.equal(reads(s), 1)
})

quickTest(
  'content from before an open is used only if the open saw the same file',
  {},
  async (s) => {
    await s.b.ok('lookup', { loc: locOf(s.inode) })
    s.manual.pass(1)
    s.inode.openedAt = s.manual.now()
    await read(s, 0, 5)
    assert.equal(reads(s), 1)
    s.inode.openedAt = s.manual.now()
    await s.b.ok('stat', { loc: locOf(s.inode) })
    await read(s, 0, 5)
    assert.equal(reads(s), 1)
  },
)

quickTest('a changed mtime or size drops the content', {}, async (s) => {
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  s.content = Buffer.from('world')
  s.mtime = 6
  await s.b.ok('stat', { loc: locOf(s.inode) })
  assert.equal(await text(s, 0, 5), 'world')
})

quickTest('a write drops it, and what was on its way', {}, async (s) => {
  s.child.hold.add('lookup')
  const slow = s.b.run('lookup', { loc: locOf(s.inode) })
  await s.b.ok('writev', { fd: s.fd, data: [], size: 0, offset: 0, flags: 0 })
  const xdata = new Dict().setBytes('glusterfs.content', s.content)
  const found = { stat: attributes(s, s.inode), postparent: new Iatt(), xdata }
  s.child.take('lookup').reply({ errno: 0, ...found })
  await slow
  await read(s, 0, 5)
  assert.equal(reads(s), 1)
})

quickTest('content that is not the whole file is not taken', {}, async (s) => {
  s.child.script.lookup = () => {
    const xdata = new Dict().setBytes('glusterfs.content', Buffer.from('hel'))
    return { errno: 0, stat: attributes(s, s.inode), postparent: new Iatt(), xdata }
  }
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  await read(s, 0, 5)
  assert.equal(reads(s), 1)
})

quickTest('O_DIRECT reads and reads after a lost connection go down', {}, async (s) => {
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  await s.b.run('readv', { fd: s.fd, offset: 0, size: 5, flags: 0o40000 })
  assert.equal(reads(s), 1)
  s.child.notifyParents({ type: 'some-descendent-down' })
  await read(s, 0, 5)
  assert.equal(reads(s), 2)
})

const told = { 'quick-read-cache-invalidation': 'on' }
quickTest('upcalls drop content', told, async (s) => {
  const upcall = invalidation(s.inode.gfid, UP_SIZE | UP_TIMES)
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  s.child.notifyParents({ type: 'upcall', upcall })
  await read(s, 0, 5)
  assert.equal(reads(s), 1)
  s.b.reconfigure({})
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  s.child.notifyParents({ type: 'upcall', upcall })
  await read(s, 0, 5)
  assert.equal(reads(s), 2, 'also without the option')
})

const small = { 'cache-size': '12', priority: '*.h:2,*.o:0' }
quickTest('the cache is bounded; priorities say what stays', small, async (s) => {
  for (const name of ['a.h', 'b.c', 'c.o', 'd.c', 'e.h']) {
    await s.b.ok('lookup', { loc: locOf(linked(s.b.graph, name)) })
  }
  const dump = s.b.dump()
  assert.equal(dump['xlator.performance.quick-read.priv|total_files_cached'], '2')
  assert.equal(dump['xlator.performance.quick-read.priv|total_cache_used'], '10')
  s.fd = openFd(s.b.graph.inodes.child(s.b.graph.inodes.root, 'a.h')!)
  await read(s, 0, 5)
  assert.equal(reads(s), 0, 'the older one of weight 2 stays')
  s.b.reconfigure({ 'cache-size': '0' })
  assert.equal(s.b.dump()['xlator.performance.quick-read.priv|total_cache_used'], '0')
})

quickTest('changed rules are for what is kept, too', {}, async (s) => {
  for (const change of [{ priority: '*.h:0' }, { 'max-file-size': '0' }]) {
    s.b.reconfigure({})
    await s.b.ok('lookup', { loc: locOf(s.inode) })
    assert.equal(reads(s), 0)
    s.b.reconfigure(change)
    await read(s, 0, 5)
    assert.equal(reads(s), 1, JSON.stringify(change))
    s.child.calls.length = 0
  }
})

quickTest('forgotten inodes take their content along', {}, async (s) => {
  await s.b.ok('lookup', { loc: locOf(s.inode) })
  s.fd.release()
  s.b.graph.inodes.forget(s.inode, s.inode.nlookup)
  s.b.graph.inodes.unlinkName(s.b.graph.inodes.root, 'f.h')
  assert.equal(s.b.dump()['xlator.performance.quick-read.priv|total_files_cached'], '0')
})

modelRuns(quickRead, [{}, { 'max-file-size': '1000KB' }, { 'cache-size': '20KB' }, told])
