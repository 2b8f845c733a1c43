/** The bridge as applications see it, on an in-memory brick. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { enterMountNamespace, FuseMount } from '../lib/fuse-mount.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterMountNamespace(import.meta.url)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => clock.after(ms, resolve))

const { O } = sys
const failure = (result: unknown): unknown =>
  typeof result === 'number' ? sys.errnoName(result) : result
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

function writeFile(path: string, text: string, flags = O.O_CREAT | O.O_TRUNC | O.O_WRONLY): void {
  const fd = sys.open(path, flags)
  assert.ok(fd >= 0, `open ${path}: ${sys.errnoName(fd)}`)
  assert.equal(sys.write(fd, bytes(text)), text.length)
  assert.equal(sys.close(fd), 0)
}

function readFile(path: string, size = 65536): string {
  const fd = sys.open(path, O.O_RDONLY)
  assert.ok(fd >= 0, `open ${path}: ${sys.errnoName(fd)}`)
  const data = sys.pread(fd, size, 0)
  sys.close(fd)
  return Buffer.isBuffer(data) ? data.toString('latin1') : `error ${data}`
}

/** Runs a shell script beside the test. */
function shell(script: string): Promise<{ status: number | null; out: string }> {
  return new Promise((resolve) => {
    const child = spawn('/bin/sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    child.on('close', (status) => resolve({ status, out }))
  })
}

describe('mount/fuse on an in-memory brick', { skip, timeout: 120_000 }, () => {
  let mount: FuseMount
  const at = (name: string): string => mount.path(name)

  before(async () => {
    mount = await FuseMount.start()
  })
  after(async () => {
    assert.equal(await mount.stop(), 0)
  })

  test('files are written, read, appended to and truncated', () => {
    writeFile(at('a'), 'hello')
    assert.equal(readFile(at('a')), 'hello')
    writeFile(at('a'), ' world', O.O_WRONLY | O.O_APPEND)
    assert.equal(readFile(at('a')), 'hello world')
    assert.equal(sys.truncate(at('a'), 4), 0)
    assert.equal(readFile(at('a')), 'hell')
    writeFile(at('a'), 'x')
    assert.equal(readFile(at('a')), 'x')
  })

  test('names are byte strings', () => {
    const name = `\xff\xfe ${'n'.repeat(200)}\n`
    writeFile(at(name), 'x')
    const names = sys.list(mount.directory)
    assert.ok(Array.isArray(names) && names.some((entry) => entry.name === name))
    assert.equal(sys.unlink(at(name)), 0)
    assert.equal(failure(sys.open(at(name), O.O_RDONLY)), 'ENOENT')
  })

  test('attributes are set and shown', () => {
    writeFile(at('attr'), '12345')
    assert.equal(sys.chmod(at('attr'), 0o640), 0)
    assert.equal(sys.chown(at('attr'), 7, 8), 0)
    assert.equal(sys.utimens(at('attr'), [1000, 5], [2000, 999_999_999]), 0)
    const found = sys.must(sys.stat(at('attr'))) as sys.Stat
    assert.equal(found.mode & 0o7777, 0o640)
    assert.deepEqual([found.uid, found.gid, found.size], [7, 8, 5])
    assert.deepEqual(found.mtime, [2000, 999_999_999])
  })

  test('links, symbolic links, renames', () => {
    writeFile(at('one'), '1')
    assert.equal(sys.link(at('one'), at('two')), 0)
    assert.equal((sys.must(sys.stat(at('two'))) as sys.Stat).nlink, 2)
    assert.equal(sys.symlink('two', at('soft')), 0)
    assert.equal(sys.readlink(at('soft')), 'two')
    assert.equal(readFile(at('soft')), '1')
    assert.equal(sys.mkdir(at('dir')), 0)
    assert.equal(failure(sys.rename(at('one'), at('dir'))), 'EISDIR')
    assert.equal(sys.rename(at('one'), at('dir/three')), 0)
    assert.equal(readFile(at('dir/three')), '1')
    assert.equal(failure(sys.rmdir(at('dir'))), 'ENOTEMPTY')
    assert.equal(failure(sys.rename(at('two'), at('four'), sys.RENAME.NOREPLACE)), 'EINVAL')
  })

  test('a file renamed over and an unlinked one stay usable by those who have them open', () => {
    writeFile(at('victim'), 'old')
    const fd = sys.open(at('victim'), O.O_RDWR)
    writeFile(at('new'), 'new')
    assert.equal(sys.rename(at('new'), at('victim')), 0)
    assert.equal(readFile(at('victim')), 'new')
    const data = sys.pread(fd, 10, 0)
    assert.ok(Buffer.isBuffer(data) && data.toString() === 'old')
    assert.equal(sys.close(fd), 0)
    const gone = sys.open(at('victim'), O.O_RDWR)
    assert.equal(sys.unlink(at('victim')), 0)
    assert.equal((sys.must(sys.fstat(gone)) as sys.Stat).size, 3)
    assert.equal(sys.pwrite(gone, bytes('more'), 3), 4)
    assert.equal(sys.ftruncate(gone, 5), 0)
    assert.equal((sys.must(sys.fstat(gone)) as sys.Stat).size, 5)
    assert.equal(sys.close(gone), 0)
  })

  test('large writes and reads go in 1 MiB requests and come back whole', async () => {
    await mount.fops()
    const data = Buffer.alloc(5 << 20)
    for (let i = 0; i < data.length; i += 4) data.writeUInt32LE((i * 2654435761) >>> 0, i)
    const fd = sys.open(at('big'), O.O_CREAT | O.O_RDWR)
    assert.equal(sys.pwrite(fd, data, 0), data.length)
    assert.equal(sys.close(fd), 0)
    const fops = await mount.fops()
    assert.equal(fops.filter((fop) => fop === 'writev').length, 5)
    assert.equal(fops.filter((fop) => fop === 'getxattr').length <= 1, true)
    const again = sys.open(at('big'), O.O_RDONLY)
    const read = sys.pread(again, data.length, 0)
    assert.ok(Buffer.isBuffer(read) && read.equals(data))
    sys.close(again)
    const reads = (await mount.fops()).filter((fop) => fop === 'readv').length
    assert.ok(reads <= 8, `${reads} reads of 5 MiB`)
  })

  test('large directories list every name once, with and without attributes', async () => {
    assert.equal(sys.mkdir(at('many')), 0)
    const names: string[] = []
    for (let i = 0; i < 1500; i++) {
      const name = `entry-${i}-${'x'.repeat(i % 40)}`
      names.push(name)
      assert.equal(sys.mknod(at(`many/${name}`), sys.S.REG | 0o644), 0)
    }
    const list = sys.list(at('many'))
    assert.ok(Array.isArray(list))
    assert.deepEqual(list.map((entry) => entry.name).sort(), ['.', '..', ...names].sort())
    const { out } = await shell(`ls -l ${at('many')} | wc -l; ls -ai ${at('many')} | wc -l`)
    assert.equal(out, '1501\n1502\n')
    for (const entry of list.slice(0, 40)) {
      if (entry.name.startsWith('.')) continue
      const found = sys.must(sys.stat(at(`many/${entry.name}`))) as sys.Stat
      assert.equal(BigInt(found.ino), BigInt(entry.ino), entry.name)
    }
  })

  test('extended attributes', () => {
    writeFile(at('x'), '')
    assert.equal(sys.setxattr(at('x'), 'user.a', bytes('value\0')), 0)
    assert.equal(failure(sys.setxattr(at('x'), 'user.a', bytes('v'), sys.XATTR.CREATE)), 'EEXIST')
    assert.deepEqual(sys.getxattr(at('x'), 'user.a'), bytes('value\0'))
    assert.equal(failure(sys.getxattr(at('x'), 'user.a', 3)), 'ERANGE')
    assert.deepEqual(sys.listxattr(at('x')), ['user.a'])
    assert.equal(sys.removexattr(at('x'), 'user.a'), 0)
    assert.equal(failure(sys.getxattr(at('x'), 'user.a')), 'ENODATA')
    assert.equal(failure(sys.setxattr(at('x'), 'trusted.gfid', bytes('x'))), 'EPERM')
    assert.equal(failure(sys.getxattr(at('x'), 'system.posix_acl_access')), 'EOPNOTSUPP')
    const text = sys.getxattr(at('x'), 'glusterfs.gfid.string')
    assert.ok(Buffer.isBuffer(text) && /^[0-9a-f-]{36}$/.test(text.toString()))
    const value = Buffer.alloc(65536, 'v')
    assert.equal(sys.setxattr(at('x'), 'user.big', value), 0)
    assert.deepEqual(sys.getxattr(at('x'), 'user.big'), value)
  })

  test('fallocate punches, zeroes within the file and refuses the rest', () => {
    writeFile(at('f'), 'x'.repeat(100))
    const fd = sys.open(at('f'), O.O_RDWR)
    const { PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE, COLLAPSE } = sys.FALLOC
    assert.equal(sys.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 10, 10), 0)
    assert.equal(sys.fallocate(fd, ZERO_RANGE | KEEP_SIZE, 90, 100), 0)
    assert.equal((sys.must(sys.fstat(fd)) as sys.Stat).size, 100)
    assert.equal(sys.fallocate(fd, ZERO_RANGE, 50, 100), 0)
    assert.equal((sys.must(sys.fstat(fd)) as sys.Stat).size, 150)
    assert.equal(failure(sys.fallocate(fd, COLLAPSE, 0, 4096)), 'EOPNOTSUPP')
    sys.close(fd)
    const expected = `${'x'.repeat(10)}${'\0'.repeat(10)}${'x'.repeat(30)}${'\0'.repeat(100)}`
    assert.equal(readFile(at('f')), expected)
  })

  test('what another client wrote is seen at the next open', async () => {
    writeFile(at('shared'), 'mine')
    assert.equal(readFile(at('shared')), 'mine')
    await mount.ask('append shared theirs')
    assert.equal(readFile(at('shared')), 'minetheirs')
  })

  test('an open for writing asks for attributes only where pages may be kept', async () => {
    await shell(`: >'${at('blind')}'`)
    const opened = async (flags: number): Promise<string[]> => {
      await mount.fops()
      const fd = sys.must(sys.open(at('blind'), flags))
      const fops = await mount.fops()
      sys.close(fd)
      return fops
    }
    assert.ok(!(await opened(O.O_WRONLY)).includes('stat'))
    await mount.ask('append blind theirs')
    const fd = sys.must(sys.open(at('blind'), O.O_WRONLY))
    const stat = sys.fstat(fd)
    assert.ok(typeof stat !== 'number' && Number(stat.size) === 6, 'the size at the open')
    assert.equal(sys.pwrite(fd, bytes('T'), 0), 1)
    sys.close(fd)
    assert.ok((await opened(O.O_WRONLY)).includes('stat'))
    await mount.ask('append blind again')
    writeFile(at('blind'), 'X', O.O_WRONLY)
    assert.equal(readFile(at('blind')), 'Xheirsagain')
  })

  test('bytes of a mapping survive writes beside them', async () => {
    writeFile(at('mapped'), '.'.repeat(8192))
    const fd = sys.open(at('mapped'), O.O_RDWR)
    const map = new sys.Mapping(fd, 8192)
    for (let round = 0; round < 20; round++) {
      map.poke(round, bytes('M'))
      assert.equal(sys.pwrite(fd, bytes('W'), 100 + round), 1)
      await sleep(60)
      sys.stat(at('mapped'))
    }
    map.unmap()
    sys.fsync(fd)
    sys.close(fd)
    const text = readFile(at('mapped'), 8192)
    assert.equal(text.slice(0, 21), `${'M'.repeat(20)}.`)
    assert.equal(text.slice(99, 121), `.${'W'.repeat(20)}.`)
  })

  test('bytes of a mapping go where they belong by an fd that appends', () => {
    writeFile(at('log'), '.'.repeat(4096))
    const fd = sys.open(at('log'), O.O_RDWR | O.O_APPEND)
    const map = new sys.Mapping(fd, 4096)
    map.poke(0, bytes('M'))
    assert.equal(sys.write(fd, bytes('appended')), 8)
    map.poke(1, bytes('N'))
    assert.equal(map.sync(), 0)
    map.unmap()
    sys.close(fd)
    assert.equal(readFile(at('log')), `MN${'.'.repeat(4094)}appended`)
  })

  test('umask, set-group-id directories and modes', async () => {
    const old = sys.umask(0o027)
    writeFile(at('masked'), '')
    assert.equal(sys.mkdir(at('maskeddir'), 0o777), 0)
    sys.umask(old)
    assert.equal((sys.must(sys.stat(at('masked'))) as sys.Stat).mode & 0o7777, 0o640)
    assert.equal((sys.must(sys.stat(at('maskeddir'))) as sys.Stat).mode & 0o7777, 0o750)
  })

  test('a write by somebody else ends set-uid', () => {
    writeFile(at('suid'), 'x')
    sys.chmod(at('suid'), 0o6777)
    const result = sys.asUser(1000, 1000, [], () => {
      const fd = sys.open(at('suid'), O.O_WRONLY)
      const written = sys.pwrite(fd, bytes('y'), 0)
      sys.close(fd)
      return written
    })
    assert.equal(result, 1)
    assert.equal((sys.must(sys.stat(at('suid'))) as sys.Stat).mode & 0o7777, 0o777)
  })

  test('locks: conflicts, waiting, release at close', async () => {
    writeFile(at('locked'), 'x'.repeat(100))
    const fd = sys.open(at('locked'), O.O_RDWR)
    assert.equal(sys.setlk(fd, 'write', 0, 10), 0)
    const other = `
import fcntl, sys, os, signal, time
f = open('${at('locked')}', 'r+')
try:
    fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5); print('got')
except OSError as e: print(e.errno)
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10); print('free')
signal.signal(signal.SIGALRM, lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
signal.setitimer(signal.ITIMER_REAL, 0.3)
t = time.time()
try:
    fcntl.lockf(f, fcntl.LOCK_EX, 5, 5); print('got')
except KeyboardInterrupt: print('interrupted', time.time() - t < 2)
print('waiting', flush=True)
fcntl.lockf(f, fcntl.LOCK_EX, 5, 5); print('granted')
`
    const script = shell(`python3 -c "${other.replaceAll('"', '\\"')}"`)
    await sleep(1500)
    assert.equal(sys.close(fd), 0)
    const { out } = await script
    assert.equal(out, '11\nfree\ninterrupted True\nwaiting\ngranted\n')
    const again = sys.open(at('locked'), O.O_RDWR)
    assert.equal(sys.setlk(again, 'write', 0, 0), 0)
    sys.close(again)
  })

  test('a graph switch keeps open files and known inodes', async () => {
    writeFile(at('kept'), 'before')
    const fd = sys.open(at('kept'), O.O_RDWR)
    assert.equal(await mount.ask('switch'), 'ok')
    assert.equal(sys.pwrite(fd, bytes('AFTER!'), 0), 6)
    assert.equal(sys.close(fd), 0)
    assert.equal(readFile(at('kept')), 'AFTER!')
    assert.equal(failure(sys.stat(at('nothing'))), 'ENOENT')
  })

  test('bricks down is ENOTCONN, and passes', async () => {
    await mount.ask('up no')
    assert.equal(failure(sys.open(at('kept2'), O.O_CREAT | O.O_RDWR)), 'ENOTCONN')
    await mount.ask('up yes')
    writeFile(at('kept2'), 'x')
  })

  test('nothing is left behind: fds released, no request pending', async () => {
    await sleep(200)
    assert.equal(await mount.ask('open'), '0')
    assert.equal(await mount.ask('pending'), '0')
  })
})

describe('mount/fuse: life of a mount', { skip, timeout: 60_000 }, () => {
  test('an outside umount ends the process', async () => {
    const mount = await FuseMount.start()
    writeFile(mount.path('x'), 'x')
    assert.equal(await mount.stop('umount'), 0)
  })

  test('requests wait until the bricks have reported', async () => {
    const mount = await FuseMount.start([], { FUSE_DELAY_MS: '700' })
    const begin = clock.now()
    const { out } = await shell(`ls -d ${mount.directory}/. && echo done`)
    assert.match(out, /done/)
    assert.ok(clock.now() - begin > 300)
    assert.equal(await mount.stop(), 0)
  })

  test('the kernel gives idle inodes back beyond lru-limit', async () => {
    const mount = await FuseMount.start(['--lru-limit=100'])
    for (let i = 0; i < 1000; i++) writeFile(mount.path(`f${i}`), '')
    for (let i = 0; i < 200; i++) sys.stat(mount.path(`f${i}`))
    await sleep(500)
    const inodes = Number(await mount.ask('inodes'))
    assert.ok(inodes < 400, `${inodes} inodes are known`)
    assert.equal(await mount.stop(), 0)
  })

  test('kernel-writeback-cache: small writes are gathered, appends land at the end', async () => {
    const mount = await FuseMount.start(['--kernel-writeback-cache=yes'])
    const path = mount.path('cached')
    const fd = sys.open(path, O.O_CREAT | O.O_WRONLY | O.O_APPEND)
    await mount.fops()
    for (let i = 0; i < 100; i++) assert.equal(sys.write(fd, bytes('0123456789')), 10)
    assert.equal(sys.close(fd), 0)
    const writes = (await mount.fops()).filter((fop) => fop === 'writev').length
    assert.ok(writes <= 2, `${writes} writes`)
    assert.equal(readFile(path), '0123456789'.repeat(100))
    assert.equal(await mount.stop(), 0)
  })

  test('set-up errors say what to do', async () => {
    const missing = /mount point \/nonexistent\/dir: does not exist/
    const server = new URL('../lib/fuse-server.js', import.meta.url).pathname
    const { out } = await shell(`${process.execPath} ${server} /nonexistent/dir </dev/null`)
    assert.match(out, missing)
    const mount = await FuseMount.start()
    const second = await shell(`${process.execPath} ${server} ${mount.directory} </dev/null`)
    assert.match(second.out, /already mounted here/)
    assert.equal(await mount.stop(), 0)
  })
})
