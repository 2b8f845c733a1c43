/** protocol/client against a real brick: every fop, reconnects, locks, callbacks. */
import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../src/core/dict.ts'
import { E } from '../../src/core/errno.ts'
import { Fd } from '../../src/core/fd.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_UNLOCK,
  ENTRYLK_WRLCK,
  F_GETLK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type Flock,
  SEEK_DATA,
  XATTROP_ADD_ARRAY,
} from '../../src/core/fop.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { NULL_GFID } from '../../src/core/gfid.ts'
import { Iatt, SET_ATTR_MODE } from '../../src/core/iatt.ts'
import { Loc } from '../../src/core/loc.ts'
import { Brick, gfidReq } from '../lib/brick.ts'
import { enterSandbox, run, sleep, stopProcess, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

const ownerOf = (text: string): Creds => ({ ...ROOT_CREDS, pid: 77, lkOwner: Buffer.from(text) })
const flock = (type: number, start = 0n, len = 0n): Flock => ({
  type,
  whence: 0,
  start,
  len,
  pid: 77,
  lkOwner: Buffer.alloc(0),
})

describe('protocol/client on a real brick', { skip }, () => {
  let volume: Volume
  let brick: Brick

  before(async () => {
    volume = await Volume.create('one', { bricks: 1, set: { 'features.cache-invalidation': 'on' } })
    brick = await Brick.connect('one')
  })
  after(async () => {
    await brick?.graph.stop()
    await volume?.killBricks()
  })

  const onDisk = (name: string): string => `${volume.bricks[0]}/${name}`

  test('connecting, then up: nothing else is announced', () => {
    assert.deepEqual(brick.events, [])
    assert.equal(brick.client.options['remote-subvolume' as never], volume.bricks[0])
  })

  test('entries: create, lookup, link, symlink, rename, unlink, rmdir', async () => {
    const { root } = brick
    const { inodes } = brick.graph
    const fd = await brick.create('a')
    const loc = Loc.ofName(root, 'a', fd.inode)
    const { stat, postparent } = await brick.ok('lookup', { loc })
    assert.equal(stat.gfid, fd.inode.gfid)
    assert.equal(postparent.gfid, root.gfid)
    assert.equal((await brick.ok('lookup', { loc: Loc.ofGfid(inodes, stat.gfid) })).stat.nlink, 1)
    await brick.fails(E.NOENT, 'lookup', { loc: Loc.ofName(root, 'none', inodes.newInode()) })

    const linked = await brick.ok('link', { oldloc: loc, newloc: Loc.ofName(root, 'b', fd.inode) })
    assert.equal(linked.stat.nlink, 2)
    const target = 'over/there \xe9'
    const symlink = inodes.newInode()
    const symLoc = Loc.ofName(root, 's', symlink)
    const made = await brick.ok('symlink', {
      loc: symLoc,
      linkpath: target,
      umask: 0,
      xdata: gfidReq(),
    })
    inodes.link(symlink, root, 's', made.stat)
    assert.equal((await brick.ok('readlink', { loc: symLoc, size: 4096 })).path, target)

    const dir = await brick.mkdir('d')
    const inDir = Loc.ofName(dir, 'c', fd.inode)
    const renamed = await brick.ok('rename', { oldloc: loc, newloc: inDir })
    assert.equal(renamed.stat.gfid, fd.inode.gfid)
    assert.equal(renamed.postnewparent.gfid, dir.gfid)
    await brick.fails(E.NOTEMPTY, 'rmdir', { loc: Loc.ofName(root, 'd', dir), flags: 0 })
    await brick.ok('unlink', { loc: inDir, flags: 0 })
    await brick.ok('unlink', { loc: Loc.ofName(root, 'b', fd.inode), flags: 0 })
    await brick.ok('unlink', { loc: symLoc, flags: 0 })
    const gone = await brick.ok('rmdir', { loc: Loc.ofName(root, 'd', dir), flags: 0 })
    assert.equal(gone.postparent.gfid, root.gfid)

    const fifo = Loc.ofName(root, 'fifo', inodes.newInode())
    const mode = 0o10644
    const node = await brick.ok('mknod', {
      loc: fifo,
      mode,
      rdev: 0,
      umask: 0o22,
      xdata: gfidReq(),
    })
    assert.equal(node.stat.mode, mode)
    await brick.ok('unlink', { loc: fifo, flags: 0 })
    fd.release()
  })

  test('data: write, read, sizes, holes', async () => {
    const fd = await brick.create('data')
    const loc = Loc.ofInode(fd.inode)
    const written = await brick.write(fd, 'hello world')
    assert.ok(written.errno === 0)
    assert.equal(written.size, 11)
    assert.equal(written.poststat.size, 11)
    assert.equal(readFileSync(onDisk('data'), 'latin1'), 'hello world')
    assert.equal(await brick.read(fd), 'hello world')
    const atEnd = await brick.ok('readv', { fd, size: 10, offset: 6, flags: 0 })
    assert.deepEqual([atEnd.size, atEnd.eof], [5, true])
    const past = await brick.ok('readv', { fd, size: 10, offset: 100, flags: 0 })
    assert.deepEqual([past.size, past.eof], [0, true])
    const inside = await brick.ok('readv', { fd, size: 4, offset: 0, flags: 0 })
    assert.deepEqual([inside.size, inside.eof], [4, false])

    const parts = [Buffer.alloc(3, 'a'), Buffer.alloc(0), Buffer.alloc(100_000, 'b')]
    await brick.ok('writev', { fd, data: parts, size: 100_003, offset: 11, flags: 0 })
    assert.equal(statSync(onDisk('data')).size, 100_014)
    assert.equal((await brick.read(fd, 5, 12)).slice(0, 5), 'aabbb')

    await brick.ok('ftruncate', { fd, offset: 20 })
    await brick.ok('truncate', { loc, offset: 10 })
    assert.equal((await brick.ok('fstat', { fd })).stat.size, 10)
    await brick.ok('fallocate', { fd, mode: 0, offset: 0, len: 65_536 })
    await brick.ok('discard', { fd, offset: 4096, len: 4096 })
    await brick.ok('zerofill', { fd, offset: 8192, len: 4096 })
    assert.equal((await brick.ok('stat', { loc })).stat.size, 65_536)
    assert.equal((await brick.ok('seek', { fd, offset: 0, what: SEEK_DATA })).offset, 0)
    await brick.fails(E.NXIO, 'seek', { fd, offset: 1 << 20, what: SEEK_DATA })
    await brick.ok('fsync', { fd, datasync: true })
    await brick.ok('flush', { fd })

    const sum = await brick.ok('rchecksum', { fd, offset: 0, len: 10 })
    assert.ok(sum.strong.length === 32 || sum.strong.length === 16)
    const copy = await brick.create('copy')
    const copied = await brick.ok('copy_file_range', {
      fdIn: fd,
      offIn: 0,
      fdOut: copy,
      offOut: 0,
      size: 10,
      flags: 0,
    })
    assert.equal(copied.size, 10)
    assert.equal(await brick.read(copy), 'hello worl')
    fd.release()
    copy.release()
  })

  test('attributes and extended attributes', async () => {
    const fd = await brick.create('attr')
    const loc = Loc.ofInode(fd.inode)
    const stat = Object.assign(new Iatt(), { mode: 0o600 })
    const set = await brick.ok('setattr', { loc, stat, valid: SET_ATTR_MODE })
    assert.equal(set.poststat.mode, 0o100600)
    await brick.ok('fsetattr', { fd, stat: Object.assign(stat, { mode: 0o640 }), valid: 1 })
    await brick.ok('access', { loc, mask: 4 })
    await brick.fails(E.ACCES, 'access', { loc, mask: 4 }, { ...ROOT_CREDS, uid: 9, gid: 9 })
    // A supplementary group opens it.
    const member = { ...ROOT_CREDS, uid: 9, gid: 9, groups: [5, 0] }
    // The brick's access control learns the new mode from a lookup.
    await brick.ok('lookup', { loc })
    await brick.ok('access', { loc, mask: 4 }, member)

    const value = Buffer.from([0, 1, 255, 0])
    const dict = (): Dict => new Dict().setBytes('user.k', value)
    await brick.ok('setxattr', { loc, dict: dict(), flags: 1 })
    await brick.fails(E.EXIST, 'setxattr', { loc, dict: dict(), flags: 1 })
    await brick.ok('fsetxattr', { fd, dict: new Dict().setBytes('user.l', value), flags: 0 })
    const one = await brick.ok('getxattr', { loc, name: 'user.k' })
    assert.deepEqual(one.dict.getBytes('user.k'), value)
    const all = await brick.ok('fgetxattr', { fd, name: undefined })
    assert.ok(all.dict.has('user.k') && all.dict.has('user.l'))
    await brick.fails(E.NODATA, 'getxattr', { loc, name: 'user.none' })
    await brick.ok('removexattr', { loc, name: 'user.k' })
    await brick.ok('fremovexattr', { fd, name: 'user.l' })

    const array = (n: number): Buffer => Buffer.from([0, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0])
    const add = { op: XATTROP_ADD_ARRAY, dict: new Dict().setBytes('trusted.afr.x', array(2)) }
    await brick.ok('xattrop', { loc, ...add })
    const added = await brick.ok('fxattrop', { fd, ...add })
    assert.deepEqual(added.dict.getBytes('trusted.afr.x'), array(4))
    const { statfs } = await brick.ok('statfs', { loc: Loc.ofInode(brick.root) })
    assert.ok(statfs.bsize > 0 && statfs.blocks > 0)
    fd.release()
  })

  test('directories: every entry once, offsets go on where they stopped', async () => {
    const dir = await brick.mkdir('many')
    // Of a file without gfid nothing is known but its name.
    writeFileSync(onDisk('many/no-gfid'), '')
    for (let i = 0; i < 300; i++) {
      const loc = Loc.ofName(dir, `entry-${i}`, brick.graph.inodes.newInode())
      await brick.ok('mknod', { loc, mode: 0o100644, rdev: 0, umask: 0, xdata: gfidReq() })
    }
    const fd = new Fd(dir, 0, 1)
    await brick.ok('opendir', { loc: Loc.ofInode(dir), fd })
    for (const fop of ['readdir', 'readdirp'] as const) {
      const names: string[] = []
      let off = 0n
      for (let eof = false; !eof; ) {
        const batch = await brick.ok(fop, { fd, size: 4096, off })
        for (const dirent of batch.entries) {
          names.push(dirent.name)
          off = dirent.off
          if (fop === 'readdir' || dirent.name.startsWith('.')) continue
          if (dirent.name === 'no-gfid') assert.equal(dirent.inode, undefined)
          else assert.equal(dirent.inode?.gfid, dirent.stat!.gfid)
        }
        eof = batch.eof
        assert.ok(eof || batch.entries.length > 0)
      }
      assert.equal(names.length, 303, fop)
      assert.equal(new Set(names).size, 303)
    }
    await brick.ok('fsyncdir', { fd, datasync: false })
    fd.release()
  })

  test('locks: granted, refused, waited for; freed by a disconnect', async () => {
    const fd = await brick.create('locked')
    const loc = Loc.ofInode(fd.inode)
    const [a, b] = [ownerOf('owner--a'), ownerOf('owner--b')]
    await brick.ok('lk', { fd, cmd: F_SETLK, flock: flock(F_WRLCK, 0n, 10n) }, a)
    await brick.fails(E.AGAIN, 'lk', { fd, cmd: F_SETLK, flock: flock(F_WRLCK, 5n, 1n) }, b)
    const got = await brick.ok('lk', { fd, cmd: F_GETLK, flock: flock(F_WRLCK, 5n, 1n) }, b)
    assert.deepEqual([got.flock.type, got.flock.start, got.flock.len], [F_WRLCK, 0n, 10n])
    const waiting = brick.call('lk', { fd, cmd: F_SETLKW, flock: flock(F_WRLCK, 5n, 1n) }, b)
    await sleep(50)
    await brick.ok('lk', { fd, cmd: F_SETLK, flock: flock(F_UNLCK) }, a)
    assert.equal((await waiting).errno, 0)
    await brick.ok('lk', { fd, cmd: F_SETLK, flock: flock(F_UNLCK) }, b)

    const volumeName = 'domain'
    const range = { volume: volumeName, cmd: F_SETLK, flock: flock(F_WRLCK) }
    await brick.ok('inodelk', { loc, ...range }, a)
    await brick.fails(E.AGAIN, 'finodelk', { fd, ...range }, b)
    const notice = await brick.upcall('inodelk-contention')
    assert.equal(notice.gfid, fd.inode.gfid)
    assert.equal(notice.domain, volumeName)
    await brick.ok('inodelk', { loc, ...range, flock: flock(F_UNLCK) }, a)

    const rootLoc = Loc.ofInode(brick.root)
    const entry = { volume: volumeName, basename: 'locked', type: ENTRYLK_WRLCK }
    await brick.ok('entrylk', { loc: rootLoc, ...entry, cmd: ENTRYLK_LOCK }, a)
    const blocked = brick.call('entrylk', { loc: rootLoc, ...entry, cmd: ENTRYLK_LOCK }, b)
    await sleep(50)
    await brick.ok('entrylk', { loc: rootLoc, ...entry, cmd: ENTRYLK_UNLOCK }, a)
    assert.equal((await blocked).errno, 0)
    await brick.ok('entrylk', { loc: rootLoc, ...entry, cmd: ENTRYLK_UNLOCK }, b)
    fd.release()
  })

  test('another client makes a change: the brick tells', async () => {
    const fd = await brick.create('shared')
    await brick.ok('lookup', { loc: Loc.ofName(brick.root, 'shared', fd.inode) })
    const other = await Brick.connect('one', { graphId: 1 })
    const loc = Loc.ofGfid(other.graph.inodes, fd.inode.gfid)
    brick.events.length = 0
    await other.ok('truncate', { loc, offset: 5 })
    const upcall = await brick.upcall('cache-invalidation')
    assert.equal(upcall.gfid, fd.inode.gfid)
    assert.equal(upcall.flags, 0x18)
    await other.graph.stop()
    fd.release()
  })

  test('fops that bricks cannot answer are refused here', async () => {
    const loc = Loc.ofName(brick.root, 'x', brick.graph.inodes.newInode())
    await brick.fails(E.OPNOTSUPP, 'namelink', { loc })
    await brick.fails(E.OPNOTSUPP, 'setactivelk', { loc, locks: [] })
    const fd = await brick.create('long-name')
    const name = 'n'.repeat(10_000)
    await brick.fails(E.INVAL, 'unlink', { loc: Loc.ofName(brick.root, name, fd.inode), flags: 0 })
    const creds = { ...ROOT_CREDS, lkOwner: Buffer.alloc(200) }
    await brick.fails(E.TOOBIG, 'fstat', { fd }, creds)
    await brick.ok('fstat', { fd }, { ...ROOT_CREDS, groups: Array(200).fill(7) })
    await brick.fails(E.INVAL, 'stat', { loc: Loc.ofGfid(brick.graph.inodes, NULL_GFID) })
    fd.release()
  })

  test('a brick that dies and returns: calls fail at once, open files go on', async () => {
    const fd = await brick.create('kept')
    assert.equal((await brick.write(fd, 'before')).errno, 0)
    const gone = await brick.create('gone')
    const locked = await brick.create('lock-lost')
    const dir = new Fd(brick.root, 0, 1)
    await brick.ok('opendir', { loc: Loc.ofInode(brick.root), fd: dir })
    const owner = ownerOf('owner--c')
    await brick.ok('lk', { fd: locked, cmd: F_SETLK, flock: flock(F_WRLCK) }, owner)
    const blocked = brick.call(
      'lk',
      { fd: locked, cmd: F_SETLKW, flock: flock(F_WRLCK) },
      ownerOf('owner--d'),
    )
    brick.events.length = 0
    await volume.killBrick(0)
    assert.equal((await blocked).errno, E.NOTCONN)
    await brick.event('child-down')
    await brick.fails(E.NOTCONN, 'fstat', { fd })
    await run(['rm', onDisk('gone')])
    await run(['bash', '-c', `rm -f ${volume.bricks[0]}/.glusterfs/*/*/${gfidPath(gone)}`])

    await volume.startBricks()
    const begin = performanceNow()
    await brick.event('child-up', 8000)
    assert.ok(performanceNow() - begin < 5000, 'back within 5 seconds')
    assert.deepEqual(
      brick.events.map(({ type }) => type),
      [],
    )
    assert.equal((await brick.write(fd, ' after', 6)).errno, 0)
    assert.equal(await brick.read(fd), 'before after')
    await brick.ok('flush', { fd })
    await brick.ok('readdir', { fd: dir, size: 4096, off: 0n })
    // Its file is gone: what needs the open file says so.
    await brick.fails(E.BADFD, 'fstat', { fd: gone })
    for (const one of [fd, gone, locked, dir]) one.release()
  })

  test('a brick that hangs: given up after the ping timeout, found again', async () => {
    const hanging = await Brick.connect('one', { graphId: 5, options: { 'ping-timeout': '1' } })
    const fd = await hanging.create('hang')
    const pid = volume.brickPid(0)!
    await stopProcess(pid)
    try {
      const begin = performanceNow()
      const waiting = hanging.call('fstat', { fd })
      assert.equal((await waiting).errno, E.NOTCONN)
      assert.ok(performanceNow() - begin < 3500)
      await hanging.event('child-down')
      process.kill(pid, 'SIGCONT')
      await hanging.event('child-up', 5000)
      await hanging.ok('fstat', { fd })
    } finally {
      process.kill(pid, 'SIGCONT')
      fd.release()
      await hanging.graph.stop()
    }
    // The brick was silent towards everybody, but not long enough for a timeout of 42 s.
    assert.ok(brick.events.every(({ type }) => type === 'upcall' || type === 'child-ping'))
  })

  test('killed again and again under load: every call is answered, nothing leaks', async () => {
    const fds = await Promise.all(Array.from({ length: 20 }, (_, i) => brick.create(`load-${i}`)))
    let running = true
    let answered = 0
    const errnos = new Set<number>()
    const data = Buffer.alloc(100_000, 'load')
    const workers = fds.map(async (fd) => {
      while (running) {
        const written = await brick.call('writev', {
          fd,
          data: [data],
          size: data.length,
          offset: 0,
          flags: 0,
        })
        const read = await brick.call('readv', { fd, size: data.length, offset: 0, flags: 0 })
        if (read.errno === 0 && read.size > 0) assert.ok(Buffer.concat(read.data).equals(data))
        for (const { errno } of [written, read]) errnos.add(errno)
        answered += 2
        if (written.errno !== 0) await sleep(20)
      }
    })
    for (let round = 0; round < 4; round++) {
      brick.events.length = 0
      await sleep(300)
      await volume.killBrick(0)
      await brick.event('child-down')
      await sleep(round * 300)
      await volume.startBricks()
      await brick.event('child-up', 8000)
    }
    running = false
    await Promise.all(workers)
    assert.ok(answered > 1000)
    assert.deepEqual([...errnos].sort(), [0, E.NOTCONN])
    for (const fd of fds) {
      assert.equal(await brick.read(fd, 4), 'load')
      fd.release()
    }
  })

  test('statedump', () => {
    const pairs = new Map<string, unknown>()
    brick.client.dump?.({
      section: (name) => assert.equal(name, 'xlator.protocol.client.one-client-0.priv'),
      pair: (key, value) => pairs.set(key, value),
    })
    assert.equal(pairs.get('connected'), 1)
    assert.equal(pairs.get('fds'), 0)
    assert.ok(Number(pairs.get('total_bytes_read')) > 0)
  })

  test('stop: disconnected, and nothing is tried again', async () => {
    const other = await Brick.connect('one', { graphId: 2 })
    other.events.length = 0
    await other.graph.stop()
    assert.deepEqual(other.events, [{ type: 'child-down' }])
    await other.fails(E.NOTCONN, 'statfs', { loc: Loc.ofInode(other.root) })
    await sleep(500)
    assert.equal(other.events.length, 1)
  })
})

function gfidPath(fd: Fd): string {
  const hex = Buffer.from(fd.inode.gfid, 'latin1').toString('hex')
  return `${hex.slice(0, 8)}-*`
}

function performanceNow(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
