import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { DirEntry } from '../../../src/core/fop.ts'
import { measure, ROOT_CREDS } from '../../../src/core/frame.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { logLevel, setLogLevel } from '../../../src/observe/log.ts'
import meta from '../../../xlators/meta/index.ts'
import {
  type Bench,
  bench,
  dirStat,
  isPending,
  linked,
  type ScriptedChild,
} from '../../lib/scripted.ts'

let b: Bench
let child: ScriptedChild

beforeEach(async () => {
  b = await bench(meta)
  child = b.child as ScriptedChild
  child.script = { lookup: () => ({ errno: 0, stat: dirStat(), postparent: dirStat() }) }
})
afterEach(() => {
  measure.latency = false
  measure.samples = false
})

/** The inode at a path below the root, found as the mount does it. */
async function walk(path: string): Promise<Inode> {
  let inode = b.graph.inodes.root
  for (const name of path.split('/')) {
    const loc = new Loc(b.graph.inodes.newInode(), inode, name)
    const rep = await b.ok('lookup', { loc })
    const found = b.graph.inodes.link(loc.inode, inode, name, rep.stat)
    assert.ok(found !== undefined)
    inode = found
  }
  return inode
}

async function open(path: string): Promise<Fd> {
  const inode = await walk(path)
  const fd = new Fd(inode, 2, 1)
  const rep = await b.ok('open', { loc: Loc.ofInode(inode), fd, flags: 2 })
  assert.ok(rep.xdata?.has('direct-io-mode'))
  return fd
}

async function content(path: string, creds = ROOT_CREDS): Promise<string> {
  const inode = await walk(path)
  const fd = new Fd(inode, 0, 1)
  await b.ok('open', { loc: Loc.ofInode(inode), fd, flags: 0 }, creds)
  const rep = await b.ok('readv', { fd, size: 1 << 20, offset: 0, flags: 0 })
  return Buffer.concat(rep.data).toString('latin1')
}

const write = (fd: Fd, text: string) =>
  b.run('writev', { fd, data: [Buffer.from(text)], size: text.length, offset: 0, flags: 0 })

async function list(path: string, size = 65536): Promise<DirEntry[]> {
  const inode = await walk(path)
  const fd = new Fd(inode, 0, 1)
  await b.ok('opendir', { loc: Loc.ofInode(inode), fd })
  const entries: DirEntry[] = []
  for (;;) {
    const rep = await b.ok('readdirp', { fd, size, off: entries.at(-1)?.off ?? 0n })
    entries.push(...rep.entries)
    if (rep.eof) return entries
  }
}

describe('.meta', () => {
  test('is found by its name in the root, and nowhere else', async () => {
    const inode = await walk('.meta')
    assert.equal(gfidText(inode.gfid), 'ba926388-bb9c-4eec-ad60-79dba4cc083a')
    assert.equal(child.calls.length, 0)
    const other = linked(b.graph, 'd', dirStat())
    await b.ok('lookup', { loc: new Loc(b.graph.inodes.newInode(), other, '.meta') })
    assert.equal(child.named('lookup').length, 1)
  })

  test('lists what it has, in pieces of any size', async () => {
    const names = (await list('.meta')).map((entry) => entry.name).sort()
    assert.deepEqual(names, [
      '.',
      '..',
      'cmdline',
      'frames',
      'graphs',
      'logging',
      'mallinfo',
      'measure_latency',
      'process_uuid',
      'root',
      'version',
    ])
    assert.deepEqual((await list('.meta', 50)).map((entry) => entry.name).sort(), names)
    const frames = (await list('.meta')).find((entry) => entry.name === 'frames')
    assert.equal(frames!.stat!.mode, 0o100444)
    assert.equal(frames!.inode!.gfid, (await walk('.meta/frames')).gfid)
  })

  test('every translator is there with its options and subvolumes', async () => {
    const [name] = (await list('.meta/graphs'))
      .map((entry) => entry.name)
      .filter((entry) => /^test-\d+-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d\.\d{6} \+0000$/.test(entry))
    assert.ok(name !== undefined)
    const active = await walk('.meta/graphs/active')
    const link = await b.ok('readlink', { loc: Loc.ofInode(active), size: 4096 })
    assert.equal(link.path, name)
    const at = `.meta/graphs/${name}`
    assert.equal(await content(`${at}/child/type`), 'test/scripted\n')
    assert.equal(await content(`${at}/child/options/x`), 'y\n')
    assert.equal(await content(`${at}/xl/name`), 'xl\n')
    const sub = await b.ok('readlink', {
      loc: Loc.ofInode(await walk(`${at}/xl/subvolumes/0`)),
      size: 4096,
    })
    assert.equal(sub.path, '../../child')
    assert.match(await content(`${at}/volfile`), /volume child\n {4}type test\/scripted\n/)
  })

  test('an object is known again by its gfid, after a graph switch as well', async () => {
    const inode = await walk('.meta/version')
    const rep = await b.ok('lookup', { loc: new Loc(inode, undefined, undefined, inode.gfid) })
    assert.equal(rep.stat.gfid, inode.gfid)
    assert.equal(child.calls.length, 0)
  })

  test('what does not exist, does not', async () => {
    const loc = new Loc(b.graph.inodes.newInode(), await walk('.meta'), 'none')
    assert.deepEqual(await b.run('lookup', { loc }), { errno: E.NOENT })
  })

  test('nobody changes it', async () => {
    const at = await walk('.meta')
    const version = await walk('.meta/version')
    const named = new Loc(b.graph.inodes.newInode(), at, 'new')
    const file = linked(b.graph, 'f')
    const rep = await Promise.all([
      b.run('mkdir', { loc: named, mode: 0o755, umask: 0 }),
      b.run('create', { loc: named, flags: 0, mode: 0, umask: 0, fd: new Fd(named.inode, 0, 1) }),
      b.run('unlink', { loc: new Loc(version, at, 'version'), flags: 0 }),
      b.run('setattr', { loc: Loc.ofInode(version), stat: dirStat(), valid: 1 }),
      b.run('rename', { oldloc: new Loc(file, b.graph.inodes.root, 'f'), newloc: named }),
      b.run('link', { oldloc: Loc.ofInode(version), newloc: new Loc(version, file, 'x') }),
      write(await open('.meta/version'), 'x'),
    ])
    assert.deepEqual(
      rep.map(({ errno }) => errno),
      new Array(7).fill(E.PERM),
    )
    assert.equal(child.calls.length, 0)
  })

  test('loglevel takes numbers and names, and nothing else', async () => {
    const before = logLevel()
    const fd = await open('.meta/logging/loglevel')
    assert.equal((await write(fd, '9\n')).errno, 0)
    assert.equal(logLevel(), 'TRACE')
    assert.equal((await write(fd, 'error\n')).errno, 0)
    assert.equal(await content('.meta/logging/loglevel'), '4\n')
    for (const text of ['', '10', 'loud', '7x']) {
      assert.equal((await write(fd, text)).errno, E.INVAL, text)
    }
    assert.equal(logLevel(), 'ERROR')
    setLogLevel(before)
  })

  test('measure_latency switches; profile tells and begins anew', async () => {
    const fd = await open('.meta/measure_latency')
    await write(fd, '1\n')
    assert.equal(measure.latency, true)
    assert.equal(await content('.meta/measure_latency'), '1\n')
    child.script.statfs = async () => ({ errno: E.NOSYS })
    await b.run('statfs', { loc: Loc.ofInode(linked(b.graph, 'f')) })
    const profile = '.meta/graphs/active/child/profile'.replace(
      'active',
      (await list('.meta/graphs')).at(-1)!.name,
    )
    assert.match(
      await content(profile),
      /^\[child\.latency\]\nchild\.latency\.STATFS = AVG:\d+\.\d{6} CNT:1 TOTAL:\d+ MIN:\d+ MAX:\d+\n$/,
    )
    assert.equal(await content(profile), '[child.latency]\n')
    await write(fd, '0\n')
    assert.deepEqual(measure, { latency: false, samples: false })
    assert.equal(await content('.meta/measure_latency'), '0\n')
    measure.samples = true
    assert.equal(await content('.meta/measure_latency'), '1\n')
  })

  test('frames shows who waits where, for which file', async () => {
    child.hold.add('stat')
    void b.run('stat', { loc: Loc.ofInode(linked(b.graph, 'waiting')) })
    const { Stack: stacks, Call_Count: count } = JSON.parse(await content('.meta/frames'))
    assert.equal(count, 2)
    const [stack] = stacks
    assert.deepEqual([stack.Type, stack.Path, stack.Waits_in], ['stat', ['/waiting'], ['child']])
    assert.deepEqual(
      stack.Frame.map((frame: { Xlator: string }) => frame.Xlator),
      ['child', 'xl', 'top'],
    )
  })

  test("the volume's password is for root", async () => {
    const at = '.meta/graphs/NAME/child'.replace('NAME', (await list('.meta/graphs')).at(-1)!.name)
    child.givenOptions = new Map([['password', 'secret']])
    assert.equal(await content(`${at}/options/password`), 'secret\n')
    assert.equal(await content(`${at}/options/password`, { ...ROOT_CREDS, uid: 5 }), '***\n')
  })

  test("others' file names are for root, and so is writing", async () => {
    child.hold.add('stat')
    void b.run('stat', { loc: Loc.ofInode(linked(b.graph, 'secret')) })
    const nobody = { ...ROOT_CREDS, uid: 5 }
    assert.ok((await content('.meta/frames')).includes('secret'))
    assert.ok(!(await content('.meta/frames', nobody)).includes('secret'))
    const inode = await walk('.meta/logging/loglevel')
    const fd = new Fd(inode, 1, 1)
    const rep = await b.run('open', { loc: Loc.ofInode(inode), fd, flags: 1 }, nobody)
    assert.equal(rep.errno, E.ACCES)
  })

  test('the root has its last attributes while the bricks do not answer', async () => {
    const loc = Loc.ofInode(b.graph.inodes.root)
    await b.ok('lookup', { loc })
    child.hold.add('lookup')
    const waiting = b.run('lookup', { loc })
    assert.equal(await isPending(waiting), true)
    const rep = await waiting
    assert.equal(rep.errno, 0)
    // what the bricks owe stays to be seen; nobody else waits for it, and no more is asked
    assert.equal(b.graph.pool.count, 1)
    assert.ok(!(b.run('lookup', { loc }) instanceof Promise))
    assert.equal(child.held.length, 1)
    // the late answer is still taken
    child.take('lookup').reply({ errno: 0, stat: dirStat({ uid: 77 }), postparent: dirStat() })
    child.hold.clear()
    const named = new Loc(b.graph.inodes.newInode(), b.graph.inodes.root, '.meta')
    await new Promise<void>((resolve) => setImmediate(resolve))
    assert.equal((await b.ok('lookup', { loc: named })).postparent.uid, 77)
    assert.equal(b.graph.pool.count, 0)
    assert.ok((await b.ok('lookup', { loc })).errno === 0)
    assert.equal(child.named('lookup').length, 3)
  })
})
