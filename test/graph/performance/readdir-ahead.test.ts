import assert from 'node:assert/strict'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { UP_MODE, UP_NLINK, UP_SIZE, UP_TIMES } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { DirEntry, Rep } from '../../../src/core/fop.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import readdirAhead from '../../../xlators/performance/readdir-ahead/index.ts'
import { modelRuns } from '../../lib/model-run.ts'
import {
  type Bench,
  dirStat,
  type Invalidation,
  invalidation,
  isPending,
  linked,
  locOf,
  openFd,
  settle,
  stat,
  testGfid,
} from '../../lib/scripted.ts'
import { type Bed, testsOf } from '../../lib/scripted-test.ts'

interface Setup extends Bed {
  names: string[]
}

/** Entries that fit a request of the child, of about 200 bytes each. */
const PER_REQUEST = 20

const dirTest = testsOf(readdirAhead, (bed): Setup => {
  const { b, child } = bed
  const names = Array.from({ length: 50 }, (_, i) => `file${i}`)
  for (const one of names) linked(b.graph, one)
  const none = stat()
  child.script = {
    opendir: (_frame, { fd }) => ({ errno: 0, fd }),
    readdirp: async (_frame, { off }) => list(b, names, Number(off)),
    setattr: () => ({ errno: 0, prestat: none, poststat: none }),
    unlink: () => ({ errno: 0, preparent: none, postparent: none }),
  }
  return { ...bed, names }
})

function list(b: Bench, names: string[], from: number): Rep<'readdirp'> {
  const entries: DirEntry[] = []
  for (let i = from; i < names.length && entries.length < PER_REQUEST; i++) {
    const inode = b.graph.inodes.child(b.graph.inodes.root, names[i]!)!
    const attributes = stat({ gfid: inode.gfid })
    const common = { name: names[i]!, inoHi: 0, inoLo: i, off: BigInt(i + 1), type: 8 }
    entries.push({ ...common, inode, stat: attributes })
  }
  return { errno: 0, entries, eof: from + entries.length >= names.length }
}

async function opened(s: Setup, xdata?: Dict): Promise<Fd> {
  const fd = openFd(s.b.graph.inodes.root)
  await s.b.ok('opendir', { loc: locOf(s.b.graph.inodes.root), fd, xdata })
  return fd
}

const readdirp = (s: Setup, fd: Fd, off: number, size = 2100, xdata?: Dict) =>
  s.b.run('readdirp', { fd, size, off: BigInt(off), xdata })

async function entriesOf(rep: ReturnType<typeof readdirp>): Promise<DirEntry[]> {
  const answer = await rep
  assert.ok(answer.errno === 0)
  return answer.entries
}

dirTest('the whole directory is there before it is asked for', {}, async (s) => {
  const fd = await opened(s)
  await settle()
  assert.equal(s.child.named('readdirp').length, 3)
  assert.equal(s.child.named('readdirp')[0]!.req.size, 131072)
  const all: string[] = []
  for (let off = 0; ; ) {
    const rep = readdirp(s, fd, off)
    assert.ok(!(rep instanceof Promise) && rep.errno === 0)
    if (rep.entries.length === 0) {
      assert.equal(rep.eof, true)
      break
    }
    assert.ok(rep.entries.length <= 10)
    all.push(...rep.entries.map((entry) => entry.name))
    off = Number(rep.entries.at(-1)!.off)
  }
  assert.deepEqual(all, s.names)
  assert.equal(s.child.named('readdirp').length, 3)
  const again = await entriesOf(readdirp(s, fd, 0))
  assert.equal(again[0]!.name, 'file0', 'a rewind reads anew')
  assert.ok(s.child.named('readdirp').length > 3)
})

const low = { 'rda-high-wmark': '1KB', 'rda-low-wmark': '1KB' }
dirTest('reading on stops at the high mark and goes on at the low one', low, async (s) => {
  const fd = await opened(s)
  await settle()
  assert.equal(s.child.named('readdirp').length, 1)
  await entriesOf(readdirp(s, fd, 0, 100_000))
  await settle()
  assert.equal(s.child.named('readdirp').length, 2)
  assert.equal(
    s.b.dump()['performance/readdir-ahead.xl|cache-size'],
    String(20 * 512 + 10 * 6 + 60),
  )
})

dirTest('a request waits until there is enough; elsewhere is forwarded', {}, async (s) => {
  s.child.hold.add('readdirp')
  const fd = await opened(s)
  const waiting = readdirp(s, fd, 0, 100_000)
  assert.equal(await isPending(waiting), true)
  const elsewhere = readdirp(s, fd, 7)
  const [ahead] = s.child.held
  const held = s.child.held.slice(1).map((call) => (call.req as { off: bigint }).off)
  assert.deepEqual(held, [0n, 7n], 'both go to the bricks themselves')
  s.child.hold.clear()
  ahead!.reply(list(s.b, s.names, 0) as never)
  s.child.held[1]!.reply(list(s.b, s.names, 0) as never)
  s.child.held[2]!.reply(list(s.b, s.names, 7) as never)
  assert.equal((await entriesOf(waiting)).length, 20)
  assert.equal((await entriesOf(elsewhere))[0]!.name, 'file7')
})

dirTest('changed files lose their attributes, also changed while being read', {}, async (s) => {
  s.child.hold.add('readdirp')
  const fd = await opened(s)
  const loc = locOf(s.b.graph.inodes.child(s.b.graph.inodes.root, 'file1')!)
  await s.b.ok('setattr', { loc, stat: new Iatt(), valid: 1 })
  const ahead = s.child.take('readdirp')
  s.child.hold.clear()
  ahead.reply(list(s.b, s.names, 0))
  await settle()
  const second = locOf(s.b.graph.inodes.child(s.b.graph.inodes.root, 'file2')!)
  await s.b.ok('setattr', { loc: second, stat: new Iatt(), valid: 1 })
  const entries = await entriesOf(readdirp(s, fd, 0))
  const bare = entries.filter((entry) => entry.stat === undefined && entry.inode === undefined)
  assert.deepEqual(
    bare.map((entry) => entry.name),
    ['file1', 'file2'],
  )
})

dirTest('what others changed since it was read goes out without attributes', {}, async (s) => {
  const child = (name: string): Inode => s.b.graph.inodes.child(s.b.graph.inodes.root, name)!
  const bare = async (fd: Fd): Promise<string[]> => {
    const entries = await entriesOf(readdirp(s, fd, 0))
    fd.release()
    return entries
      .filter((entry) => entry.stat === undefined && entry.inode === undefined)
      .map((entry) => entry.name)
  }
  const tell = (upcall: Invalidation): void => s.child.notifyParents({ type: 'upcall', upcall })
  const one = await opened(s)
  await settle()
  tell(invalidation(child('file1').gfid, UP_SIZE | UP_TIMES))
  assert.deepEqual(await bare(one), ['file1'])
  s.child.hold.add('readdirp')
  const two = await opened(s)
  tell(invalidation(child('file2').gfid, UP_MODE))
  s.child.hold.clear()
  s.child.take('readdirp').reply(list(s.b, s.names, 0))
  await settle()
  assert.deepEqual(await bare(two), ['file2'], 'also while it was being read')
  for (const upcall of [
    invalidation(s.b.graph.inodes.root.gfid, UP_TIMES),
    invalidation(testGfid(), UP_NLINK, {
      parentStat: dirStat({ gfid: s.b.graph.inodes.root.gfid }),
    }),
  ]) {
    const fd = await opened(s)
    await settle()
    tell(upcall)
    assert.equal((await bare(fd)).length, 10, 'names in it changed')
  }
  const last = await opened(s)
  await settle()
  s.child.notifyParents({ type: 'some-descendent-down' })
  assert.equal((await bare(last)).length, 10, 'others may have changed it unnoticed')
})

dirTest('when names change, buffered entries are names only', {}, async (s) => {
  const fd = await opened(s)
  await settle()
  const loc = locOf(s.b.graph.inodes.child(s.b.graph.inodes.root, 'file30')!)
  await s.b.ok('unlink', { loc, flags: 0 })
  const entries = await entriesOf(readdirp(s, fd, 0, 100_000))
  assert.equal(entries.length, 50)
  assert.ok(entries.every((entry) => entry.stat === undefined))
  const fresh = await entriesOf(readdirp(s, fd, 0, 100_000))
  assert.ok(fresh.every((entry) => entry.stat !== undefined))
})

dirTest('an error comes after the entries before it', {}, async (s) => {
  const { readdirp: fine } = s.child.script
  s.child.script.readdirp = (frame, req) => (req.off === 0n ? fine!(frame, req) : { errno: E.IO })
  const fd = await opened(s)
  await settle()
  assert.equal((await entriesOf(readdirp(s, fd, 0, 100_000))).length, 20)
  assert.equal((await readdirp(s, fd, 20)).errno, E.IO)
})

dirTest('xattrs the buffer does not have are asked of the bricks', {}, async (s) => {
  const key = () => new Dict().setInt('user.a', 0)
  const with_ = await opened(s, key())
  await settle()
  s.child.calls.length = 0
  await readdirp(s, with_, 0, 2100, key())
  assert.equal(s.child.calls.length, 0)
  await readdirp(s, with_, 10, 2100, new Dict().setInt('user.b', 0))
  assert.equal(s.child.calls.length, 1)
})

dirTest('old entries are read again', {}, async (s) => {
  const fd = await opened(s)
  await settle()
  s.manual.pass(1001)
  s.child.calls.length = 0
  assert.equal((await entriesOf(readdirp(s, fd, 0)))[0]!.name, 'file0')
  assert.ok(s.child.calls.length > 0)
})

dirTest(
  'buffers are bounded together, and given back',
  { 'rda-cache-limit': '11KB' },
  async (s) => {
    await opened(s)
    const fd = await opened(s)
    await settle()
    assert.ok(s.child.named('readdirp').length <= 4)
    fd.release()
    await settle()
    assert.equal(s.b.dump()['performance/readdir-ahead.xl|directories'], '1')
  },
)

modelRuns(readdirAhead, [{}, low, { 'rda-request-size': '4096', 'rda-cache-limit': '600' }])
