/** storage/posix: what the vectors do not cover. */
import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { fopNames } from '../../../src/core/fop.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID, newGfid } from '../../../src/core/gfid.ts'
import { Iatt, SET_ATTR_ATIME, SET_ATTR_MTIME } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { getXattr, listXattr as listOf, removeXattr, setXattr } from '../../../src/sys/xattr.ts'
import { prepareBrick } from '../../../xlators/storage/posix/prepare.ts'
import { BrickBench, brickSkip, gfidReq } from '../../lib/brick-bench.ts'

describe('storage/posix', { skip: brickSkip() }, () => {
  let brick: BrickBench
  before(async () => {
    brick = await BrickBench.make([], { 'janitor-sleep-duration': '1' })
  })
  after(() => brick.destroy())

  const at = (path: string): string => join(brick.path, path)
  const handle = (gfid: Gfid): string => {
    const text = gfidText(gfid)
    return at(`.glusterfs/${text.slice(0, 2)}/${text.slice(2, 4)}/${text}`)
  }

  test('every fop exists', () => {
    const table = brick.find('storage/posix') as unknown as Record<string, unknown>
    for (const fop of fopNames) assert.equal(typeof table[fop], 'function', fop)
  })

  test('names from the network reach one directory only', async () => {
    const dir = await brick.mkdir(brick.root, 'jail')
    const make = (name: string) =>
      brick.errno('mkdir', {
        loc: brick.fresh(dir, name),
        mode: 0o755,
        umask: 0,
        xdata: gfidReq(newGfid()),
      })
    assert.equal(await make('..'), E.INVAL)
    assert.equal(await make('.'), E.INVAL)
    assert.equal(await make(''), E.INVAL)
    assert.equal(await make('../x'), E.PERM)
    assert.equal(await make('/etc'), E.PERM)
    assert.equal(await make('a\0b'), E.INVAL)
    assert.equal(await make('n'.repeat(256)), E.NAMETOOLONG)
    assert.equal(await make('n'.repeat(255)), 0)
    const hidden = { loc: brick.fresh(brick.root, '.glusterfs') }
    assert.equal(await brick.errno('lookup', hidden), E.PERM)
    assert.equal(await brick.errno('rmdir', { ...hidden, flags: 1 }), E.PERM)
    const from = { oldloc: hidden.loc, newloc: brick.fresh(dir, 'stolen') }
    assert.equal(await brick.errno('rename', from), E.PERM)
    assert.equal(await make('.glusterfs'), 0, 'only the root hides it')
  })

  test('a symlink with the text of a handle is no way out', async () => {
    const gfid = newGfid()
    // An orphaned handle whose content a client chose: it names the root's parent.
    const text = gfidText(gfid)
    const link = handle(gfid)
    await brick.mknod(brick.root, 'neighbour', sameDirGfid(gfid))
    symlinkSync('../../00/00/00000000-0000-0000-0000-000000000001/..', link)
    assert.equal(
      await brick.errno('lookup', { loc: Loc.ofGfid(brick.graph.inodes, gfid) }),
      E.NOENT,
    )
    unlinkSync(link)
    symlinkSync(`../../00/00/00000000-0000-0000-0000-000000000001/jail`, link)
    assert.equal(
      await brick.errno('lookup', { loc: Loc.ofGfid(brick.graph.inodes, gfid) }),
      E.NOENT,
    )
    unlinkSync(link)
    assert.equal(text.length, 36)
  })

  /** Another gfid with the same handle directory. */
  const sameDirGfid = (gfid: Gfid): Gfid => (gfid.slice(0, 2) + newGfid().slice(2)) as Gfid

  test('what a symlink says is never followed', async () => {
    const rep = await brick.ok('symlink', {
      loc: brick.fresh(brick.root, 'evil'),
      linkpath: '/etc/passwd',
      umask: 0,
      xdata: gfidReq(newGfid()),
    })
    const evil = brick.link(brick.root, 'evil', rep.stat)
    const loc = Loc.ofInode(evil)
    assert.equal(await brick.errno('open', { loc, fd: new Fd(evil, 0, 1), flags: 0 }), E.LOOP)
    assert.equal(await brick.errno('truncate', { loc, offset: 0 }), E.INVAL)
    const below = { loc: brick.fresh(evil, 'x') }
    assert.equal(await brick.errno('lookup', below), E.PERM)
    const content = new Dict().setUint('glusterfs.content', 100_000)
    const found = await brick.ok('lookup', { loc: brick.at(brick.root, 'evil'), xdata: content })
    assert.ok(found.xdata?.has('glusterfs.content') !== true)
  })

  test('a directory 80 levels deep, also after its open ancestors were forgotten', async () => {
    let inode = brick.root
    for (let i = 0; i < 80; i++) inode = await brick.mkdir(inode, `level-${i}`)
    await brick.mknod(inode, 'leaf')
    // More directories than the table keeps.
    const many = await brick.mkdir(brick.root, 'many')
    for (let i = 0; i < 1100; i++) await brick.mkdir(many, `d${i}`)
    await brick.lookup(inode, 'leaf')
    const first = brick.graph.inodes.child(brick.root, 'level-0')!
    const oldloc = Loc.ofName(brick.root, 'level-0', first)
    await brick.ok('rename', { oldloc, newloc: brick.fresh(many, 'moved') })
    await brick.lookup(inode, 'leaf')
    const parent = gfidText(many.gfid)
    assert.equal(
      readlinkSync(handle(first.gfid)),
      `../../${parent.slice(0, 2)}/${parent.slice(2, 4)}/${parent}/moved`,
    )
  })

  test('unlinked while open: lives until the last close', async () => {
    const fd = await brick.create(brick.root, 'open')
    const second = await brick.open(fd.inode)
    await brick.write(fd, 'before')
    const { gfid } = fd.inode
    const dont = new Dict().setInt('dont-unlink-for-open-fd', 1)
    const loc = Loc.ofName(brick.root, 'open', fd.inode)
    assert.equal(await brick.errno('unlink', { loc, flags: 0, xdata: dont }), E.BUSY)
    await brick.ok('unlink', { loc, flags: 0 })
    const kept = at(`.glusterfs/unlink/${gfidText(gfid)}`)
    assert.ok(existsSync(kept) && !existsSync(handle(gfid)))
    assert.equal(
      await brick.errno('lookup', { loc: Loc.ofGfid(brick.graph.inodes, gfid) }),
      E.NOENT,
    )
    await brick.write(fd, 'after', 6)
    const anonymous = new Fd(fd.inode, 2, 1)
    assert.equal(await brick.read(anonymous), 'beforeafter')
    const { stat } = await brick.ok('fstat', { fd })
    assert.equal(stat.nlink, 0)
    fd.release()
    assert.ok(existsSync(kept))
    second.release()
    assert.ok(!existsSync(kept))
  })

  test('the last of several names takes the handle along', async () => {
    const inode = await brick.mknod(brick.root, 'one')
    const newloc = brick.fresh(brick.root, 'two')
    const { stat } = await brick.ok('link', { oldloc: Loc.ofInode(inode), newloc })
    assert.equal(stat.nlink, 2)
    const keys = (): string[] => {
      const list = getXattrKeys(handle(inode.gfid))
      return list.filter((key) => key.startsWith('trusted.gfid2path.'))
    }
    assert.equal(keys().length, 2)
    await brick.ok('unlink', { loc: Loc.ofName(brick.root, 'one', inode), flags: 0 })
    assert.equal(keys().length, 1)
    await brick.ok('unlink', { loc: Loc.ofName(brick.root, 'two', inode), flags: 0 })
    assert.ok(!existsSync(handle(inode.gfid)))
  })

  const getXattrKeys = (path: string): string[] => {
    const list = listOf(path)
    assert.ok(typeof list !== 'number')
    return list
  }

  test('a handle or gfid that is missing is made again by a lookup', async () => {
    const file = await brick.mknod(brick.root, 'lost')
    const dir = await brick.mkdir(brick.root, 'lost-dir')
    unlinkSync(handle(file.gfid))
    unlinkSync(handle(dir.gfid))
    await brick.lookup(brick.root, 'lost')
    assert.equal(lstatSync(handle(file.gfid)).ino, lstatSync(at('lost')).ino)
    assert.equal(lstatSync(at('lost')).nlink, 2)
    writeFileSync(at('foreign'), 'from outside')
    const gfid = newGfid()
    const loc = brick.fresh(brick.root, 'foreign')
    assert.equal(await brick.errno('lookup', { loc }), E.NODATA)
    assert.equal(await brick.errno('lookup', { loc, xdata: gfidReq(gfid) }), E.NOENT, 'too young')
    await new Promise((resolve) => void clock.after(2100, () => resolve(undefined)))
    const found = await brick.ok('lookup', { loc, xdata: gfidReq(gfid) })
    assert.equal(found.stat.gfid, gfid)
    assert.equal(lstatSync(handle(gfid)).ino, lstatSync(at('foreign')).ino)
  })

  test('a gfid belongs to one object', async () => {
    const file = await brick.mknod(brick.root, 'mine')
    const mknod = (name: string, xdata: Dict) =>
      brick.errno('mknod', {
        loc: brick.fresh(brick.root, name),
        mode: 0o100644,
        rdev: 0,
        umask: 0,
        xdata,
      })
    assert.equal(await mknod('thief', gfidReq(file.gfid)), E.EXIST)
    assert.ok(!existsSync(at('thief')))
    const mkdir = { mode: 0o755, umask: 0, xdata: gfidReq(file.gfid) }
    const loc = brick.fresh(brick.root, 'thief-dir')
    assert.equal(await brick.errno('mkdir', { loc, ...mkdir }), E.EXIST)
    assert.ok(!existsSync(at('thief-dir')))
    assert.equal(lstatSync(handle(file.gfid)).ino, lstatSync(at('mine')).ino)
    // A cluster translator that recreates a name links it.
    const internal = gfidReq(file.gfid).setStr('glusterfs-internal-fop', 'yes')
    assert.equal(await mknod('again', internal), 0)
    assert.equal(lstatSync(at('again')).ino, lstatSync(at('mine')).ino)
    // A directory moves.
    const dir = await brick.mkdir(brick.root, 'old-place')
    await brick.mkdir(brick.root, 'new-place', dir.gfid)
    assert.ok(readlinkSync(handle(dir.gfid)).endsWith('/new-place'))
    await brick.mknod(dir, 'inside')
    assert.ok(existsSync(at('new-place/inside')))
  })

  test('pre-operation checks of the parent', async () => {
    const dir = await brick.mkdir(brick.root, 'checked')
    const key = 'trusted.glusterfs.dht'
    const make = (value: string) =>
      brick.run('mkdir', {
        loc: brick.fresh(dir, value),
        mode: 0o755,
        umask: 0,
        xdata: gfidReq(newGfid())
          .setStr('glusterfs.preop.parent.key', key)
          .setBytes(key, Buffer.from(value)),
      })
    assert.equal((await make('a')).errno, E.NODATA)
    setXattr(at('checked'), key, Buffer.from('a'), 0)
    const other = await make('b')
    assert.ok(other.errno !== 0)
    assert.equal(other.xdata?.getNumber('glusterfs.preop.check.failed'), 1)
    assert.equal((await make('a')).errno, 0)
    assert.equal(getXattr(at('checked/a'), key), -E.NODATA, 'not planted on the child')
  })

  test('large data: queued writes in order, reads beyond the cache, truncation', async () => {
    const fd = await brick.create(brick.root, 'large')
    const block = 256 * 1024
    const writes = Array.from({ length: 16 }, (_, i) => {
      const data = [Buffer.alloc(block / 2, i), Buffer.alloc(block / 2, i)]
      return brick.ok('writev', { fd, data, size: block, offset: i * block, flags: 0 })
    })
    // Ends up after all of them, though it could be done at once.
    const last = brick.ok('writev', {
      fd,
      data: [Buffer.from('last')],
      size: 4,
      offset: 0,
      flags: 0,
    })
    await Promise.all([...writes, last])
    const rep = await brick.ok('readv', { fd, size: 17 * block, offset: 0, flags: 0 })
    assert.equal(rep.size, 16 * block)
    assert.ok(rep.eof)
    const bytes = Buffer.concat(rep.data)
    assert.equal(bytes.latin1Slice(0, 5), 'last\0')
    for (let i = 1; i < 16; i++) assert.equal(bytes[i * block + 7], i)
    const cut = await brick.ok('ftruncate', { fd, offset: 100 })
    assert.deepEqual([cut.prestat.size, cut.poststat.size], [16 * block, 100])
    const shifted = await brick.ok('zerofill', { fd, offset: 50, len: 100 })
    assert.equal(shifted.poststat.size, 150)
    const copy = await brick.create(brick.root, 'copy')
    const range = { fdIn: fd, offIn: 0, fdOut: copy, offOut: 10, size: 150, flags: 0 }
    assert.equal((await brick.ok('copy_file_range', range)).size, 150)
    assert.equal((await brick.ok('fstat', { fd: copy })).stat.size, 160)
    await brick.ok('fsync', { fd, datasync: true })
    fd.release()
    copy.release()
  })

  test('a file released under a write stays open until it is done', async () => {
    const fd = await brick.create(brick.root, 'released')
    const size = 4 * 1024 * 1024
    const data = [Buffer.alloc(size, 1)]
    const write = brick.run('writev', { fd, data, size, offset: 0, flags: 0 })
    fd.release()
    // Would get the number of the released one.
    const other = await brick.create(brick.root, 'innocent')
    assert.equal((await write).errno, 0)
    assert.equal(lstatSync(at('released')).size, size)
    assert.equal(lstatSync(at('innocent')).size, 0)
    assert.ok(fd.released)
    other.release()
  })

  test('appends of many writers: each knows whether it was one', async () => {
    const fd = await brick.create(brick.root, 'log', 0o2002)
    const xdata = () => new Dict().setInt('glusterfs.write-is-append', 1)
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const size = i % 2 === 0 ? 100_000 : 10
        const data = [Buffer.alloc(size, i)]
        return brick.ok('writev', { fd, data, size, offset: 0, flags: 0, xdata: xdata() })
      }),
    )
    const sizes = replies.map((rep) => rep.poststat.size)
    assert.deepEqual(
      sizes,
      [...sizes].sort((a, b) => a - b),
    )
    assert.equal(sizes.at(-1), 10 * 100_010)
    for (const rep of replies) {
      assert.equal(rep.xdata?.getNumber('glusterfs.write-is-append'), 1)
    }
    fd.release()
  })

  test('rmdir with flags: the tree goes at once, its handles later', async () => {
    const tree = await brick.mkdir(brick.root, 'tree')
    const sub = await brick.mkdir(tree, 'sub')
    const files: Inode[] = []
    for (let i = 0; i < 100; i++) files.push(await brick.mknod(sub, `f${i}`))
    const survivor = files[0]!
    const newloc = brick.fresh(brick.root, 'survivor')
    await brick.ok('link', { oldloc: Loc.ofInode(survivor), newloc })
    const loc = Loc.ofName(brick.root, 'tree', tree)
    assert.equal(await brick.errno('rmdir', { loc, flags: 0 }), E.NOTEMPTY)
    await brick.ok('rmdir', { loc, flags: 1 })
    assert.equal(await brick.errno('lookup', { loc: brick.fresh(brick.root, 'tree') }), E.NOENT)
    for (let i = 0; i < 100 && readdirSync(at('.glusterfs/landfill')).length > 0; i++) {
      await new Promise((resolve) => void clock.after(50, () => resolve(undefined)))
    }
    assert.deepEqual(readdirSync(at('.glusterfs/landfill')), [])
    assert.ok(!existsSync(handle(files[1]!.gfid)))
    assert.ok(existsSync(handle(survivor.gfid)))
    assert.equal(lstatSync(at('survivor')).nlink, 2)
  })

  test('times: those of the client, never backwards, exact with utimes', async () => {
    const creds = (timeFlags: number, timeSec: number) => ({ ...ROOT_CREDS, timeFlags, timeSec })
    const rep = await brick.ok(
      'mknod',
      {
        loc: brick.fresh(brick.root, 'timed'),
        mode: 0o100644,
        rdev: 0,
        umask: 0,
        xdata: gfidReq(newGfid()),
      },
      creds(31, 5000),
    )
    assert.deepEqual([rep.stat.atime, rep.stat.mtime, rep.stat.ctime], [5000, 5000, 5000])
    const inode = brick.link(brick.root, 'timed', rep.stat)
    const fd = await brick.open(inode)
    const write = (timeSec: number) => {
      const req = { fd, data: [Buffer.from('x')], size: 1, offset: 0, flags: 0 }
      return brick.ok('writev', req, creds(3, timeSec))
    }
    const times = ({ poststat }: { poststat: typeof rep.stat }) => [
      poststat.atime,
      poststat.mtime,
      poststat.ctime,
    ]
    assert.deepEqual(times(await write(6000)), [5000, 6000, 6000])
    assert.deepEqual(times(await write(5500)), [5000, 6000, 6000])
    const old = Object.assign(new Iatt(), { atime: -5, atimeNsec: 7, mtime: -86_400 })
    const set = { fd, stat: old, valid: SET_ATTR_ATIME | SET_ATTR_MTIME }
    const before1970 = times(await brick.ok('fsetattr', set, creds(0, 7000)))
    assert.deepEqual(before1970, [-5, -86_400, 7000])
    // As stock's replicate sends it: late, with the flags of the write before.
    const late = times(await brick.ok('fsync', { fd, datasync: true }, creds(3, 6500)))
    assert.deepEqual(late, [-5, -86_400, 7000])
    const plain = await brick.mknod(brick.root, 'untimed')
    assert.equal(getXattr(handle(plain.gfid), 'trusted.glusterfs.mdata'), -E.NODATA)
    fd.release()
  })

  test('offsets where no file reaches', async () => {
    const fd = await brick.create(brick.root, 'far')
    await brick.write(fd, 'x')
    const offset = Number.MAX_SAFE_INTEGER - 1
    const read = await brick.ok('readv', { fd, size: 10, offset, flags: 0 })
    assert.deepEqual([read.size, read.eof], [0, true])
    const sum = await brick.ok('rchecksum', { fd, offset, len: 4096 })
    assert.equal(sum.weak, 0)
    const data = [Buffer.from('x')]
    assert.equal(await brick.errno('writev', { fd, data, size: 1, offset, flags: 0 }), E.FBIG)
    const large = { fd, data: [Buffer.alloc(100_000)], size: 100_000, offset, flags: 0 }
    assert.notEqual(await brick.errno('writev', large), 0)
    for (const fop of ['discard', 'zerofill'] as const) {
      assert.notEqual(await brick.errno(fop, { fd, offset, len: offset }), 0)
      assert.equal(await brick.errno(fop, { fd, offset: 0, len: 0 }), E.INVAL)
    }
    assert.notEqual(await brick.errno('ftruncate', { fd, offset }), 0)
    assert.equal(await brick.errno('seek', { fd, offset, what: 0 }), E.NXIO)
    assert.equal(await brick.errno('rchecksum', { fd, offset: 0, len: 0xffffffff }), E.INVAL)
    fd.release()
  })

  test('answers about many entries come in pieces', async () => {
    const many = brick.graph.inodes.child(brick.root, 'many')!
    const fd = await brick.opendir(many)
    const first = await brick.ok('readdirp', { fd, size: 1 << 24, off: 0n })
    assert.deepEqual([first.entries.length, first.eof], [512, false])
    const seen = new Set(first.entries.map(({ name }) => name))
    let off = first.entries.at(-1)!.off
    for (let eof = false; !eof; ) {
      const rep = await brick.ok('readdirp', { fd, size: 1 << 24, off })
      for (const { name } of rep.entries) {
        assert.ok(!seen.has(name))
        seen.add(name)
      }
      off = rep.entries.at(-1)?.off ?? off
      eof = rep.eof
    }
    assert.equal(seen.size, 1103)
    fd.release()
  })

  test('reads of a directory that changes; offsets from another open', async () => {
    const dir = await brick.mkdir(brick.root, 'listed')
    const wanted = new Set<string>()
    for (let i = 0; i < 200; i++) {
      await brick.mknod(dir, `e${i}`)
      wanted.add(`e${i}`)
    }
    let off = 0n
    for (let rounds = 0; wanted.size > 0 && rounds < 400; rounds++) {
      const fd = await brick.opendir(dir)
      const rep = await brick.ok('readdir', { fd, size: 900, off })
      fd.release()
      for (const { name } of rep.entries) wanted.delete(name)
      off = rep.entries.at(-1)?.off ?? off
      if (rep.eof) break
    }
    assert.equal(wanted.size, 0)
    const root = await brick.opendir(brick.root)
    const all = await brick.ok('readdirp', { fd: root, size: 1 << 20, off: 0n })
    root.release()
    assert.ok(all.eof && !all.entries.some(({ name }) => name === '.glusterfs'))
    assert.equal(all.entries.find(({ name }) => name === '..')?.stat?.gfid, NULL_GFID)
    const small = await brick.ok('readdir', { fd: new Fd(dir, 0, 1), size: 10, off: 0n })
    assert.deepEqual([small.entries.length, small.eof], [0, false])
  })

  test('keys that are not for clients', async () => {
    const inode = await brick.mknod(brick.root, 'keys')
    const loc = Loc.ofInode(inode)
    const op = { loc, op: 0, dict: new Dict().setBytes('trusted.gfid', Buffer.alloc(16, 1)) }
    assert.equal(await brick.errno('xattrop', op), E.PERM)
    assert.deepEqual(getXattr(at('keys'), 'trusted.gfid'), Buffer.from(inode.gfid, 'latin1'))
    assert.equal(await brick.errno('removexattr', { loc, name: 'trusted.gfid' }), 0)
    const cut = { loc, dict: new Dict().setBytes('user.a\0b', Buffer.from('x')), flags: 0 }
    assert.notEqual(await brick.errno('setxattr', cut), 0)
    assert.equal(getXattr(at('keys'), 'user.a'), -E.NODATA)
    const long = { loc, name: `user.${'k'.repeat(2000)}` }
    assert.notEqual(await brick.errno('getxattr', long), 0)
    const target = { linkpath: 'x'.repeat(5000), umask: 0, xdata: gfidReq(newGfid()) }
    const link = { loc: brick.fresh(brick.root, 'long'), ...target }
    assert.equal(await brick.errno('symlink', link), E.NAMETOOLONG)
    assert.notEqual(getXattr(at('keys'), 'trusted.gfid'), -E.NODATA)
  })

  test('a stopped brick starts again: unlinked files are gone, everything else is there', async () => {
    const other = await BrickBench.make()
    const dir = await other.mkdir(other.root, 'dir')
    const fd = await other.create(dir, 'file')
    await other.write(fd, 'content')
    await other.ok('unlink', { loc: Loc.ofName(dir, 'file', fd.inode), flags: 0 })
    other.graph.xlators[0]!.fini()
    const again = await BrickBench.make([], {}, other.path)
    assert.deepEqual(readdirSync(join(other.path, '.glusterfs/unlink')), [])
    const found = await again.lookup(again.root, 'dir')
    assert.equal(found.stat.gfid, dir.gfid)
    const health = join(other.path, '.glusterfs/health_check')
    for (let i = 0; i < 100 && !existsSync(health); i++) {
      await new Promise((resolve) => void clock.after(20, () => resolve(undefined)))
    }
    assert.match(readFileSync(health, 'latin1'), /^20\d\d-.* \+0000$|^$/)
    again.destroy()
  })

  test('a directory becomes a brick once', async () => {
    const id = '01234567-89ab-cdef-0123-456789abcdef'
    const path = mkdtempSync(join(tmpdir(), 'glusterfs-ts-brick-'))
    prepareBrick(path, id)
    prepareBrick(path, id)
    assert.throws(() => prepareBrick(path, gfidText(newGfid())), /another volume/)
    const made = await BrickBench.make([], { 'volume-id': id }, path)
    await made.mkdir(made.root, 'inside')
    assert.throws(() => prepareBrick(join(path, 'inside'), id), /part of a volume/)
    assert.throws(() => prepareBrick(join(path, 'inside/deeper'), id), /above it/)
    assert.throws(() => prepareBrick(path, 'nonsense'), /not a UUID/)
    made.destroy()
  })

  test('set-up errors say what is wrong', async () => {
    const volumeId = { 'volume-id': '01234567-89ab-cdef-0123-456789abcdef' }
    await assert.rejects(BrickBench.make([], volumeId, brick.path), /is not a brick/)
    await assert.rejects(BrickBench.make([], {}, '/nonexistent/brick'), /cannot be opened/)
    removeXattr(brick.path, 'trusted.gfid')
    setXattr(brick.path, 'trusted.gfid', Buffer.alloc(16, 7), 0)
    await assert.rejects(BrickBench.make([], {}, brick.path), /gfid of something else/)
    removeXattr(brick.path, 'trusted.gfid')
  })
})
