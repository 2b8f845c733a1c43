import assert from 'node:assert/strict'
import test from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { GlusterError } from '../../../src/core/errors.ts'
import {
  type DirEntry,
  type FopName,
  fopNames,
  type Req,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../../src/core/fop.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import snapview from '../../../xlators/features/snapview-client/index.ts'
import {
  type Bench,
  benchStack,
  dirStat,
  linked,
  locOf,
  openFd,
  type ScriptedChild,
  scripted,
  settle,
  stat,
  testGfid,
} from '../../lib/scripted.ts'

/** The volume answers ENOENT, snapd plays a tree: every name exists, each time the same object. */
async function bench(given: Record<string, string> = {}) {
  const b = await benchStack([[snapview, given]], scripted, ['snapd'])
  const volume = b.child as ScriptedChild
  const snapd = b.graph.find('snapd') as unknown as ScriptedChild
  const gfids = new Map<string, Gfid>()
  volume.script.lookup = () => ({ errno: E.NOENT })
  snapd.script.lookup = (_frame, { loc }) => {
    const gfid = gfids.get(loc.path) ?? testGfid()
    gfids.set(loc.path, gfid)
    const attributes = { gfid, ino: 0 }
    const found = loc.name === 'file' ? stat(attributes) : dirStat(attributes)
    return { errno: 0, stat: found, postparent: new Iatt() }
  }
  return { b, volume, snapd }
}

/** As the mount looks a name up and links what it finds. */
async function look(b: Bench, parent: Inode, name: string): Promise<Inode> {
  const { inodes } = b.graph
  const loc = Loc.ofName(parent, name, inodes.child(parent, name) ?? inodes.newInode())
  const rep = await b.ok('lookup', { loc })
  const inode = inodes.link(loc.inode, parent, name, rep.stat)
  assert.ok(inode !== undefined)
  inodes.countLookup(inode)
  inode.lookedUpGraph = b.graph.id
  return inode
}

function directory(b: Bench, name: string): Inode {
  const inode = linked(b.graph, name, dirStat({ gfid: testGfid() }))
  inode.lookedUpGraph = b.graph.id
  return inode
}

const errno = async (b: Bench, fop: FopName, req: object): Promise<number> =>
  (await b.run(fop, req as Req<typeof fop>)).errno

const entryOf = (name: string, off: bigint, inode?: Inode): DirEntry => ({
  name,
  inoHi: 0,
  inoLo: 1,
  off,
  type: 4,
  inode,
})

test('the name leads to snapd from every directory, and all behind it stays there', async () => {
  const { b, volume, snapd } = await bench()
  const root = await look(b, b.graph.inodes.root, '.snaps')
  const nested = await look(b, directory(b, 'd'), '.snaps')
  assert.notEqual(root, nested)
  const marks = snapd.named('lookup').map(({ req }) => req.xdata?.getStr('entry-point'))
  assert.deepEqual(marks, ['true', 'true'])
  const snapshot = await look(b, nested, 'snapshot')
  const file = await look(b, snapshot, 'file')
  assert.equal(snapd.named('lookup').at(-1)!.req.xdata, undefined)
  assert.equal(await look(b, snapshot, 'file'), file)
  const fd = openFd(file, 0)
  const served: FopName[] = ['stat', 'access', 'readlink', 'getxattr', 'opendir', 'statfs', 'open']
  const byFd: FopName[] = ['readv', 'fstat', 'flush', 'fgetxattr', 'readdirp', 'readdir']
  for (const fop of [...served, ...byFd]) {
    await errno(b, fop, { loc: locOf(file), fd, flags: 0, name: 'user.a', off: 0n })
    assert.equal(snapd.calls.at(-1)!.fop, fop)
  }
  assert.deepEqual(volume.calls, [])
})

test('the volume itself is asked for everything else, with the request as it came', async () => {
  const { b, volume, snapd } = await bench()
  const inode = linked(b.graph, 'f')
  const fd = openFd(inode)
  const loc = locOf(inode)
  const req = { loc, fd, oldloc: loc, newloc: loc, fdIn: fd, fdOut: fd, flags: 2, off: 0n }
  for (const fop of fopNames) {
    await errno(b, fop, req)
    assert.equal(volume.calls.at(-1)!.fop, fop)
    if (!fop.startsWith('readdir')) assert.equal(volume.calls.at(-1)!.req, req)
  }
  assert.deepEqual(snapd.calls, [])
})

test('nothing is made, changed, moved or locked behind the name', async () => {
  const { b, volume, snapd } = await bench()
  const { root } = b.graph.inodes
  const entry = await look(b, root, '.snaps')
  const file = await look(b, await look(b, entry, 'snapshot'), 'file')
  const normal = linked(b.graph, 'f')
  snapd.calls.length = 0
  const fresh = (parent: Inode, name = 'new') => Loc.ofName(parent, name, b.graph.inodes.newInode())
  for (const fop of ['mknod', 'mkdir', 'symlink', 'create', 'put'] as const) {
    assert.equal(await errno(b, fop, { loc: fresh(entry) }), E.ROFS, fop)
    assert.equal(await errno(b, fop, { loc: fresh(root, '.snaps') }), E.ROFS, fop)
  }
  const changes: FopName[] = ['unlink', 'rmdir', 'setattr', 'truncate', 'setxattr', 'removexattr']
  for (const fop of changes) {
    assert.equal(await errno(b, fop, { loc: locOf(file) }), E.ROFS, fop)
    assert.equal(await errno(b, fop, { loc: locOf(entry) }), E.ROFS, fop)
  }
  const fd = openFd(file)
  const byFd: FopName[] = ['writev', 'ftruncate', 'fsync', 'fsetattr', 'fsetxattr', 'fallocate']
  for (const fop of byFd) assert.equal(await errno(b, fop, { fd }), E.ROFS, fop)
  assert.equal(await errno(b, 'lk', { fd }), E.INVAL)
  for (const flags of [1, 2, 0o1000]) {
    assert.equal(await errno(b, 'open', { loc: locOf(file), fd, flags }), E.INVAL)
  }
  for (const fop of ['rename', 'link'] as const) {
    for (const [oldloc, newloc] of [
      [locOf(file), fresh(root)],
      [locOf(normal), fresh(entry)],
      [locOf(normal), fresh(root, '.snaps')],
    ]) {
      assert.equal(await errno(b, fop, { oldloc, newloc }), E.ROFS, fop)
    }
  }
  const other = openFd(normal)
  assert.equal(await errno(b, 'copy_file_range', { fdIn: other, fdOut: fd }), E.ROFS)
  assert.equal(await errno(b, 'copy_file_range', { fdIn: fd, fdOut: other }), E.XDEV)
  assert.deepEqual([...volume.calls, ...snapd.calls], [])
})

test('a gfid of a graph before is looked for on both sides', async () => {
  const { b, volume, snapd } = await bench()
  const old = linked(b.graph, 'was-behind', dirStat({ gfid: testGfid() }))
  const { gfid } = old
  const found = { errno: 0 as const, stat: dirStat({ gfid }), postparent: new Iatt() }
  volume.script.lookup = () => ({ errno: E.STALE })
  snapd.script.lookup = () => ({ errno: E.NOTCONN })
  assert.equal(await errno(b, 'lookup', { loc: Loc.ofInode(old) }), E.STALE)
  snapd.script.lookup = () => found
  await b.ok('lookup', { loc: Loc.ofInode(old) })
  volume.calls.length = 0
  await errno(b, 'stat', { loc: Loc.ofInode(old) })
  assert.deepEqual(volume.calls, [])
  // one of the volume is not looked for elsewhere when it is gone
  snapd.calls.length = 0
  assert.equal(await errno(b, 'lookup', { loc: Loc.ofInode(directory(b, 'd')) }), E.STALE)
  assert.deepEqual(snapd.calls, [])
})

test('an object that snapd knows by another gfid now is asked for anew', async () => {
  const { b, snapd } = await bench()
  const entry = await look(b, b.graph.inodes.root, '.snaps')
  const gfid = testGfid()
  snapd.script.lookup = () => ({ errno: 0, stat: dirStat({ gfid }), postparent: new Iatt() })
  assert.equal(await errno(b, 'lookup', { loc: locOf(entry) }), E.STALE)
})

test('files of a snapshot have no holes but the one at their end', async () => {
  const { b, volume, snapd } = await bench()
  const fd = openFd(await look(b, await look(b, b.graph.inodes.root, '.snaps'), 'file'))
  const seek = async (offset: number, what: number): Promise<number> => {
    const rep = await b.run('seek', { fd, offset, what })
    return rep.errno === 0 ? rep.offset : -rep.errno
  }
  snapd.script.fstat = () => ({ errno: 0, stat: stat({ size: 10 }) })
  const seen = [await seek(3, SEEK_DATA), await seek(3, SEEK_HOLE), await seek(10, SEEK_DATA)]
  assert.deepEqual(seen, [3, 10, -E.NXIO])
  assert.deepEqual(volume.calls, [])
})

test('snapd cannot take over an inode of the volume', async () => {
  const { b, snapd } = await bench()
  const { inodes } = b.graph
  const victim = directory(b, 'd')
  const entry = await look(b, inodes.root, '.snaps')
  for (const { gfid } of [victim, inodes.root]) {
    snapd.script.lookup = () => ({ errno: 0, stat: dirStat({ gfid }), postparent: new Iatt() })
    const loc = Loc.ofName(entry, 'x', inodes.newInode())
    assert.equal(await errno(b, 'lookup', { loc }), E.IO)
  }
  snapd.script.readdirp = () => ({
    errno: 0,
    entries: [entryOf('x', 1n, victim), entryOf('y', 2n, inodes.newInode())],
    eof: true,
  })
  const rep = await b.ok('readdirp', { fd: openFd(entry), size: 4096, off: 0n })
  assert.deepEqual(
    rep.entries.map(({ inode }) => inode !== undefined),
    [false, true],
  )
  assert.equal(
    await errno(b, 'mkdir', { loc: Loc.ofName(victim, 'n', inodes.newInode()) }),
    E.NOSYS,
  )
})

test('a real entry of that name is hidden, and its inode is not mistaken', async () => {
  const { b, volume, snapd } = await bench()
  const { root } = b.graph.inodes
  const real = directory(b, '.snaps')
  assert.equal(await errno(b, 'lookup', { loc: locOf(real) }), E.NOENT)
  assert.deepEqual(snapd.calls, [])
  const pages = new Map([
    [0n, { entries: [entryOf('a', 1n)], eof: false }],
    [1n, { entries: [entryOf('.snaps', 2n)], eof: false }],
    [2n, { entries: [entryOf('b', 3n)], eof: true }],
  ])
  for (const fop of ['readdir', 'readdirp'] as const) {
    volume.script[fop] = (_frame, { off }) => ({ errno: 0, ...pages.get(off)! })
    const fd = openFd(root)
    const rep = await b.ok(fop, { fd, size: 4096, off: 1n })
    assert.deepEqual([rep.entries.map(({ name }) => name), rep.eof], [['b'], true])
  }
})

test('the name is listed where that is asked for', async () => {
  const shown = { 'show-snapshot-directory': 'on', 'snapdir-entry-path': '/d' }
  const { b, volume, snapd } = await bench(shown)
  volume.script.readdirp = () => ({ errno: 0, entries: [entryOf('a', 1n)], eof: true })
  const names = async (fd: ReturnType<typeof openFd>, off = 0n): Promise<string[]> => {
    const rep = await b.ok('readdirp', { fd, size: 4096, off })
    return rep.entries.map(({ name }) => name)
  }
  const fd = openFd(directory(b, 'd'))
  const page = await b.ok('readdirp', { fd, size: 4096, off: 0n })
  assert.deepEqual(await names(fd), ['a', '.snaps'])
  assert.equal(snapd.named('lookup')[0]!.req.xdata?.getStr('entry-point'), 'true')
  assert.deepEqual(await names(fd, page.entries[1]!.off), [])
  assert.deepEqual(await names(openFd(directory(b, 'e'))), ['a'])
  snapd.script.lookup = () => ({ errno: E.NOTCONN })
  assert.deepEqual(await names(openFd(b.graph.inodes.child(b.graph.inodes.root, 'd')!)), ['a'])
  b.reconfigure({ 'snapdir-entry-path': '/d' })
  assert.deepEqual(await names(fd), ['a'])
})

test('the name is changed by reconfigure', async () => {
  const { b, volume, snapd } = await bench()
  const { root } = b.graph.inodes
  const entry = await look(b, root, '.snaps')
  b.reconfigure({ 'snapshot-directory': '.old' })
  assert.equal(b.events.at(-1)?.type, 'upcalls-lost')
  assert.equal(await errno(b, 'lookup', { loc: locOf(entry) }), E.NOENT)
  snapd.calls.length = 0
  const fresh = Loc.ofName(root, '.snaps', b.graph.inodes.newInode())
  assert.equal(await errno(b, 'lookup', { loc: fresh }), E.NOENT)
  assert.equal(volume.calls.length, 1)
  await look(b, root, '.old')
  assert.equal(snapd.calls.length, 1)
  for (const name of ['snaps', '..', '.', '.a/b', `.${'x'.repeat(255)}`]) {
    assert.throws(() => b.reconfigure({ 'snapshot-directory': name }), GlusterError, name)
  }
  assert.throws(() => b.reconfigure({ 'snapdir-entry-path': '/a/.snaps' }), GlusterError)
})

test('snapd is not the volume: its coming and going is not told, its refusal neither', async () => {
  const { b, volume, snapd } = await bench()
  for (const type of ['child-up', 'child-down'] as const) snapd.notifyParents({ type })
  snapd.notifyParents({ type: 'auth-failed', reason: 'no', errno: E.ACCES })
  assert.deepEqual(b.events, [])
  volume.notifyParents({ type: 'child-up' })
  volume.notifyParents({ type: 'upcalls-lost' })
  assert.deepEqual(
    b.events.map(({ type }) => type),
    ['child-up', 'upcalls-lost'],
  )
  await settle()
})

test("statfs of the directory is the volume's; Samba learns the name", async () => {
  const { b, volume, snapd } = await bench()
  const entry = await look(b, b.graph.inodes.root, '.snaps')
  await errno(b, 'statfs', { loc: Loc.ofInode(entry) })
  assert.equal(volume.named('statfs')[0]!.req.loc.inode.isRoot, true)
  const inner = await look(b, entry, 'snapshot')
  await errno(b, 'statfs', { loc: Loc.ofInode(inner) })
  assert.equal(snapd.named('statfs').length, 1)
  const name = 'glusterfs.get_real_filename:.SNAPS'
  const rep = await b.ok('getxattr', { loc: Loc.ofInode(b.graph.inodes.root), name })
  assert.deepEqual(rep.dict, new Dict().setBytes(name, Buffer.from('.snaps\0')))
})
