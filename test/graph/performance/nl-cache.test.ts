import assert from 'node:assert/strict'
import { E } from '../../../src/core/errno.ts'
import { UP_TIMES } from '../../../src/core/event.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import nlCache from '../../../xlators/performance/nl-cache/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import { dirStat, invalidation, linked, openFd, stat, testGfid } from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

interface Setup extends Bed {
  root: Inode
}

const nlTest = testsOf(nlCache, (bed): Setup => {
  const { b, child } = bed
  const none = new Iatt()
  const parents = { preparent: none, postparent: none }
  child.script = {
    lookup: () => ({ errno: E.NOENT }),
    create: (_f, { fd }) => ({ errno: 0, fd, stat: stat({ gfid: testGfid() }), ...parents }),
    mkdir: () => ({ errno: 0, stat: dirStat({ gfid: testGfid() }), ...parents }),
    unlink: () => ({ errno: 0, ...parents }),
    rename: () => ({
      errno: 0,
      stat: none,
      preoldparent: none,
      postoldparent: none,
      prenewparent: none,
      postnewparent: none,
    }),
  }
  return { ...bed, root: b.graph.inodes.root }
})

const fresh = (s: Setup, name: string, parent = s.root) =>
  Loc.ofName(parent, name, s.b.graph.inodes.newInode())

/** Whether the lookup of an absent name is answered without the child. */
async function known(s: Setup, name: string, parent = s.root): Promise<boolean> {
  const before = s.child.calls.length
  const rep = await s.b.run('lookup', { loc: fresh(s, name, parent) })
  assert.equal(rep.errno, E.NOENT)
  return s.child.calls.length === before
}

nlTest('what is too long for a name is for the bricks to refuse', {}, async (s) => {
  const long = 'x'.repeat(256)
  assert.equal(await known(s, long), false)
  assert.equal(await known(s, long), false)
})

nlTest('an absent name is asked for once, until the timeout', {}, async (s) => {
  assert.equal(await known(s, 'a'), false)
  assert.equal(await known(s, 'a'), true)
  assert.equal(await known(s, 'b'), false)
  s.manual.pass(60_000)
  assert.equal(await known(s, 'a'), false)
  assert.equal(s.b.dump()['performance/nl-cache.xl|negative_lookup_hit_count'], '1')
})

nlTest('making a name forgets it was absent, from the start on', {}, async (s) => {
  await known(s, 'a')
  s.child.hold.add('create')
  const loc = fresh(s, 'a')
  const making = s.b.run('create', { loc, flags: 0, mode: 0, umask: 0, fd: openFd(loc.inode) })
  assert.equal(await known(s, 'a'), false)
  const none = new Iatt()
  const made = { fd: openFd(loc.inode), stat: stat(), preparent: none, postparent: none }
  s.child.take('create').reply({ errno: 0, ...made })
  await making
  assert.equal(await known(s, 'a'), false)
})

nlTest('an answer from before a change is not remembered', {}, async (s) => {
  s.child.hold.add('lookup')
  const slow = s.b.run('lookup', { loc: fresh(s, 'a') })
  const loc = fresh(s, 'a')
  await s.b.ok('create', { loc, flags: 0, mode: 0, umask: 0, fd: openFd(loc.inode) })
  s.child.take('lookup').reply({ errno: E.NOENT })
  await slow
  s.child.hold.clear()
  assert.equal(await known(s, 'a'), false)
})

nlTest('what is unlinked or moved away is absent', {}, async (s) => {
  const inode = linked(s.b.graph, 'f')
  await s.b.ok('unlink', { loc: Loc.ofName(s.root, 'f', inode), flags: 0 })
  assert.equal(await known(s, 'f'), true)
  const other = linked(s.b.graph, 'g')
  await known(s, 'h')
  await s.b.ok('rename', { oldloc: Loc.ofName(s.root, 'g', other), newloc: fresh(s, 'h') })
  assert.equal(await known(s, 'g'), true)
  assert.equal(await known(s, 'h'), false)
})

nlTest('a directory made here is known in full', { 'nl-cache-positive-entry': 'on' }, async (s) => {
  const loc = fresh(s, 'd')
  const rep = await s.b.ok('mkdir', { loc, mode: 0o755, umask: 0 })
  const dir = s.b.graph.inodes.link(loc.inode, s.root, 'd', rep.stat)!
  assert.equal(await known(s, 'x', dir), true)
  const made = fresh(s, 'y', dir)
  await s.b.ok('create', { loc: made, flags: 0, mode: 0, umask: 0, fd: openFd(made.inode) })
  assert.equal(await known(s, 'y', dir), false)
  const real = (name: string) =>
    s.b.run('getxattr', { loc: Loc.ofInode(dir), name: `glusterfs.get_real_filename:${name}` })
  assert.equal((await real('Z')).errno, E.NOENT)
  assert.equal((await real('Y')).errno, E.NOSYS, 'asked of the bricks')
  assert.equal(await known(s, 'x'), false, 'other directories are not')
})

nlTest('upcalls about the directory or its entries clear it', {}, async (s) => {
  const inode = linked(s.b.graph, 'f')
  const parentStat = dirStat({ gfid: s.root.gfid })
  const upcalls = [
    invalidation(s.root.gfid, UP_TIMES),
    invalidation(testGfid(), UP_TIMES, { parentStat }),
    invalidation(inode.gfid, UP_TIMES),
  ]
  for (const upcall of upcalls) {
    await known(s, 'a')
    assert.equal(await known(s, 'a'), true)
    s.child.notifyParents({ type: 'upcall', upcall })
    assert.equal(await known(s, 'a'), false)
  }
  s.child.notifyParents({ type: 'child-down' })
  assert.equal(await known(s, 'a'), false)
})

nlTest(
  'memory is bounded; the directory used least goes first',
  { 'nl-cache-limit': '400' },
  async (s) => {
    const dirs = ['d0', 'd1', 'd2'].map((name) =>
      linked(s.b.graph, name, dirStat({ gfid: testGfid() })),
    )
    await known(s, 'a', dirs[0])
    await known(s, 'a', dirs[1])
    assert.equal(await known(s, 'a', dirs[0]), true)
    await known(s, 'a', dirs[2])
    assert.equal(await known(s, 'a', dirs[0]), true)
    assert.equal(await known(s, 'a', dirs[1]), false)
    assert.ok(Number(s.b.dump()['performance/nl-cache.xl|consumed_cache_size']) <= 400)
  },
)

modelRuns(nlCache, [{}, { 'nl-cache-positive-entry': 'on', 'nl-cache-limit': '300' }])
