/** Matrix: names, paths, hard and symbolic links, devices, pipes and sockets. */
import * as sys from '../../lib/syscalls.ts'
import { O, S } from '../../lib/syscalls.ts'
import { type Case, type Context, shownBytes } from './case.ts'

function names(c: Context): void {
  const every = [
    'plain',
    'with space',
    ' leading and trailing ',
    'new\nline',
    'tab\there',
    'back\\slash',
    '"quotes\'',
    '%s%n%%',
    '-dash',
    '.hidden',
    '...',
    '.rsync.abc123',
    'name@v-dht',
    'colon:slash',
    Buffer.from('größe-日本', 'utf8').latin1Slice(),
    '\x80\xff\xfe not UTF-8',
    '\x01\x7f',
    'é'.normalize('NFC'),
    'e\u0301'.slice(0, 1),
    'a'.repeat(254),
    'b'.repeat(255),
    '\xff'.repeat(255),
  ]
  for (const name of every) {
    const tag = JSON.stringify(name.slice(0, 20))
    c.tryOpen(`create ${tag} ${name.length}`, name, O.O_CREAT | O.O_EXCL | O.O_RDWR)
    c.rec(`stat ${tag} ${name.length}`, typeof sys.lstat(c.at(name)) === 'object')
  }
  c.tryOpen('256 bytes', 'c'.repeat(256), O.O_CREAT | O.O_RDWR)
  c.rec('mkdir 256 bytes', sys.mkdir(c.at('c'.repeat(256))))
  c.rec('stat 256 bytes', sys.stat(c.at('c'.repeat(256))) as number)
  c.rec('rename to 256 bytes', sys.rename(c.at('plain'), c.at('c'.repeat(256))))
  c.rec('symlink 256 bytes', sys.symlink('x', c.at('c'.repeat(256))))
  c.rec('link 256 bytes', sys.link(c.at('plain'), c.at('c'.repeat(256))))
  c.rec('mkdir with slash', sys.mkdir(c.at('slashed/')))
  c.rec('mkdir existing', sys.mkdir(c.at('slashed')))
  c.rec('mkdir over a file', sys.mkdir(c.at('plain')))
  c.rec('mkdir dot', sys.mkdir(c.at('.')))
  c.rec('rename dot', sys.rename(c.at('.'), c.at('q')))
  c.rec('unlink a directory', sys.unlink(c.at('slashed')))
  c.rec('rmdir a file', sys.rmdir(c.at('plain')))
  c.rec('rmdir dot', sys.rmdir(c.at('slashed/.')))
  c.rec('rmdir dot dot', sys.rmdir(c.at('slashed/..')))
  c.rec('rmdir missing', sys.rmdir(c.at('none')))
  c.rec('unlink missing', sys.unlink(c.at('none')))
  c.rec('unlink with slash', sys.unlink(c.at('plain/')))
  c.rec('empty path', sys.stat('') as number)
  c.rec('double slashes', typeof sys.stat(`${c.dir}//slashed///`) === 'object')
  c.listing('listing')
}

/** A path as long as a path can be, and directories deeper than that. */
function depth(c: Context): void {
  const part = 'd'.repeat(200)
  let path = c.dir
  let made = 0
  // one level less than fits: the mount point's own length differs from run to run
  while (made < 18) {
    path = `${path}/${part}`
    sys.must(sys.mkdir(path), 'mkdir')
    made++
  }
  c.rec('levels', made)
  for (const length of [4095 - path.length - 1, 50]) {
    const file = `${path}/${'f'.repeat(length)}`
    const tag = `${length === 50 ? 'nearly ' : ''}longest path`
    const fd = c.fd(tag, sys.open(file, O.O_CREAT | O.O_RDWR))
    c.rec(`${tag}, write`, sys.write(fd, Buffer.from('deep')))
    sys.close(fd)
    const found = sys.stat(file)
    c.rec(`${tag}, stat`, typeof found === 'number' ? found : found.size)
    c.rec(`${tag}, unlink`, sys.unlink(file))
  }
  c.rec('too long', sys.stat(`${path}/${'g/'.repeat(2000)}`) as number)
  sys.must(sys.chdir(path))
  for (let i = 0; i < 10; i++) {
    c.rec(`mkdir ${i} below`, sys.mkdir(`level${i}`))
    c.rec(`chdir ${i} below`, sys.chdir(`level${i}`))
  }
  const below = c.fd('file below PATH_MAX', sys.open('bottom', O.O_CREAT | O.O_RDWR))
  c.rec('write below', sys.write(below, Buffer.from('bottom')))
  sys.close(below)
  c.rec('dot dot works', typeof sys.stat('../../../..') === 'object')
  sys.must(sys.chdir('/'))
}

function hardLinks(c: Context): void {
  c.file('a', 'linked')
  c.directory('d')
  c.rec('link', sys.link(c.at('a'), c.at('b')))
  c.rec('into a directory', sys.link(c.at('b'), c.at('d/c')))
  c.stat('three links', 'd/c')
  const inos = ['a', 'b', 'd/c'].map((n) => (sys.must(sys.stat(c.at(n))) as sys.Stat).ino)
  c.rec('one inode', inos[0] === inos[1] && inos[1] === inos[2])
  c.rec('existing', sys.link(c.at('a'), c.at('b')))
  c.rec('missing source', sys.link(c.at('none'), c.at('x')))
  c.rec('missing parent', sys.link(c.at('a'), c.at('none/x')))
  c.rec('a directory', sys.link(c.at('d'), c.at('x')))
  c.rec('other file system', sys.link(c.at('a'), '/run/x'))
  const fd = sys.must(sys.open(c.at('b'), O.O_WRONLY | O.O_APPEND))
  sys.must(sys.write(fd, Buffer.from(' more')))
  sys.close(fd)
  c.content('seen through another', 'd/c')
  c.rec('chmod one', sys.chmod(c.at('a'), 0o600))
  c.rec('unlink one', sys.unlink(c.at('a')))
  c.stat('two links', 'b')
  c.rec('symlink', sys.symlink('b', c.at('s')))
  c.rec('link of a symlink', sys.link(c.at('s'), c.at('s2')))
  c.stat('link of a symlink stat', 's2')
  c.rec('followed', sys.link(c.at('s'), c.at('s3'), sys.AT.SYMLINK_FOLLOW))
  c.stat('followed stat', 's3')
  for (let i = 0; i < 12; i++) c.rec(`link ${i}`, sys.link(c.at('b'), c.at(`many${i}`)))
  for (let i = 0; i < 12; i += 2) c.rec(`unlink ${i}`, sys.unlink(c.at(`many${i}`)))
  c.stat('many', 'many11')
  c.listing('names')
}

function symlinks(c: Context): void {
  c.file('target', 'reached')
  c.directory('d')
  const targets = [
    'target',
    'd',
    'missing',
    '../symlinks/target',
    '/run',
    '\xff\xfe',
    'x'.repeat(4095),
  ]
  for (const [i, target] of targets.entries()) {
    c.rec(`make ${i}`, sys.symlink(target, c.at(`l${i}`)))
    const back = sys.readlink(c.at(`l${i}`), 5000)
    c.rec(`read ${i}`, typeof back === 'string' ? shownBytes(Buffer.from(back, 'latin1')) : back)
    c.stat(`stat ${i}`, `l${i}`)
    const reached = sys.stat(c.at(`l${i}`))
    c.rec(`follow ${i}`, typeof reached === 'number' ? reached : reached.type)
  }
  c.rec('empty target', sys.symlink('', c.at('e')))
  c.rec('too long', sys.symlink('x'.repeat(4096), c.at('e')))
  c.rec('existing', sys.symlink('x', c.at('l0')))
  c.rec('short buffer', sys.readlink(c.at('l0'), 3))
  c.rec('not a link', sys.readlink(c.at('target')))
  c.content('through', 'l0')
  sys.must(sys.symlink('loop2', c.at('loop1')))
  sys.must(sys.symlink('loop1', c.at('loop2')))
  c.rec('loop', sys.stat(c.at('loop1')) as number)
  c.rec('own times', sys.lutimens(c.at('l2'), [1e9, 123_456_789], [1.1e9, 987_654_321]))
  c.stat('own times stat', 'l2')
  c.rec('own owner', sys.lchown(c.at('l2'), 33, 44))
  c.stat('own owner stat', 'l2')
  c.rec('chmod follows', sys.chmod(c.at('l0'), 0o600))
  c.stat('target mode', 'target')
  c.rec('unlink', sys.unlink(c.at('l1')))
  c.rec('directory stays', typeof sys.stat(c.at('d')) === 'object')
}

function special(c: Context): void {
  const kinds = [
    ['fifo', S.FIFO | 0o640, 0, 0],
    ['socket', S.SOCK | 0o700, 0, 0],
    ['char', S.CHR | 0o600, 1, 3],
    ['block', S.BLK | 0o660, 7, 200],
    ['regular', S.REG | 0o644, 0, 0],
  ] as const
  for (const [name, mode, major, minor] of kinds) {
    c.rec(`make ${name}`, sys.mknod(c.at(name), mode, major, minor))
    c.stat(`stat ${name}`, name)
    c.rec(`again ${name}`, sys.mknod(c.at(name), mode, major, minor))
  }
  c.tryOpen('null device', 'char', O.O_RDWR)
  c.tryOpen('socket cannot be opened', 'socket', O.O_RDWR)
  c.tryOpen('fifo without reader', 'fifo', O.O_WRONLY | O.O_NONBLOCK)
  const fifo = c.fd('fifo both ways', sys.open(c.at('fifo'), O.O_RDWR | O.O_NONBLOCK))
  c.rec('fifo write', sys.write(fifo, Buffer.from('through the pipe')))
  c.rec('fifo read', sys.read(fifo, 100))
  sys.close(fifo)
  for (const [name] of kinds) {
    c.rec(`chmod ${name}`, sys.chmod(c.at(name), 0o604))
    c.rec(`link ${name}`, sys.link(c.at(name), c.at(`${name}-link`)))
    c.rec(`rename ${name}`, sys.rename(c.at(name), c.at(`${name}-moved`)))
    c.stat(`moved ${name}`, `${name}-moved`)
    c.rec(`unlink ${name}`, sys.unlink(c.at(`${name}-link`)))
  }
  c.rec('bad type', sys.mknod(c.at('bad'), 0o040755))
  const entries = sys.must(sys.list(c.dir)) as sys.Dirent[]
  c.rec('types', entries.map((e) => `${e.name} ${e.type}`).sort())
  const user = sys.asUser(1202, 1202, [], () => sys.mknod(c.at('denied'), S.CHR | 0o600, 1, 3))
  c.rec('device as a user', user)
}

export const cases: Case[] = [
  { name: 'names', run: names },
  { name: 'depth', run: depth },
  { name: 'hard-links', run: hardLinks },
  { name: 'symlinks', run: symlinks },
  { name: 'special', run: special },
]
