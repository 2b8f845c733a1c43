/** Matrix: owners, permissions, times, extended attributes, ACLs, statfs. */
import * as sys from '../../lib/syscalls.ts'
import { O, UTIME, XATTR } from '../../lib/syscalls.ts'
import { type Case, type Context, pattern } from './case.ts'

const text = (s: string): Buffer => Buffer.from(s, 'latin1')

function owners(c: Context): void {
  c.file('f', 'x')
  c.rec('chown', sys.chown(c.at('f'), 1000, 2000))
  c.stat('chown stat', 'f')
  c.rec('group only', sys.chown(c.at('f'), -1, 3000))
  c.rec('user only', sys.chown(c.at('f'), 4000, -1))
  c.stat('both stat', 'f')
  c.rec('nothing', sys.chown(c.at('f'), -1, -1))
  c.rec('large ids', sys.chown(c.at('f'), 4_000_000_000, 4_000_000_001))
  c.stat('large ids stat', 'f')
  c.rec('chmod', sys.chmod(c.at('f'), 0o7777))
  c.stat('chmod stat', 'f')
  c.directory('d')
  c.rec('directory', sys.chown(c.at('d'), 12, 34))
  c.rec('directory mode', sys.chmod(c.at('d'), 0o2750))
  c.stat('directory stat', 'd')
  const fd = sys.must(sys.open(c.at('f'), O.O_RDONLY))
  c.rec('fchown', sys.fchown(fd, 1, 2))
  c.rec('fchmod', sys.fchmod(fd, 0o640))
  c.fstat('fstat', fd)
  sys.close(fd)
  const dir = sys.must(sys.open(c.at('d'), O.O_RDONLY | O.O_DIRECTORY))
  c.rec('fchown directory', sys.fchown(dir, 3, 4))
  c.rec('fchmod directory', sys.fchmod(dir, 0o705))
  c.fstat('fstat directory', dir)
  sys.close(dir)
  c.rec('missing', sys.chmod(c.at('none'), 0o644))
}

/** Directories whose group new entries inherit. */
function setgid(c: Context): void {
  c.directory('d')
  sys.must(sys.chown(c.at('d'), 0, 5000))
  sys.must(sys.chmod(c.at('d'), 0o2777))
  c.rec('mkdir', sys.mkdir(c.at('d/sub')))
  c.file('d/file')
  c.rec('make a link', sys.symlink('x', c.at('d/link')))
  c.rec('make a fifo', sys.mknod(c.at('d/fifo'), sys.S.FIFO | 0o644))
  const made = sys.asUser(1203, 1204, [], () => {
    const fd = sys.open(c.at('d/user file'), O.O_CREAT | O.O_RDWR, 0o2775)
    if (fd >= 0) sys.close(fd)
    return fd < 0 ? fd : sys.mkdir(c.at('d/user dir'), 0o755)
  })
  c.rec('as a user', made)
  for (const name of ['sub', 'file', 'link', 'fifo', 'user file', 'user dir']) {
    c.stat(name, `d/${name}`)
  }
  const member = sys.asUser(1203, 1205, [5000], () => sys.chmod(c.at('d/user file'), 0o2775))
  c.rec('member sets the bit', member)
  c.stat('member', 'd/user file')
  const other = sys.asUser(1203, 1206, [], () => sys.chmod(c.at('d/user file'), 0o2771))
  c.rec('non-member sets the bit', other)
  c.stat('non-member', 'd/user file')
}

function permissions(c: Context): void {
  c.file('private', 'secret', 0o600)
  c.file('group', 'shared', 0o640)
  sys.must(sys.chown(c.at('group'), 0, 7001))
  c.file('public', 'open', 0o644)
  c.directory('closed', 0o700)
  c.file('closed/inside')
  c.directory('list-only', 0o744)
  c.file('list-only/inside')
  c.directory('enter-only', 0o711)
  c.file('enter-only/inside')
  c.directory('own', 0o755)
  sys.must(sys.chown(c.at('own'), 1207, 1207))
  const user = (key: string, uid: number, groups: number[], body: () => number): void => {
    c.rec(key, sys.asUser(uid, uid, groups, body))
  }
  const open = (name: string, flags: number) => () => {
    const fd = sys.open(c.at(name), flags, 0o644)
    if (fd >= 0) sys.close(fd)
    return Math.min(fd, 0)
  }
  user('private', 1207, [], open('private', O.O_RDONLY))
  user('public read', 1207, [], open('public', O.O_RDONLY))
  user('public write', 1207, [], open('public', O.O_WRONLY))
  user('group as member', 1208, [7001], open('group', O.O_RDONLY))
  user('group as member, write', 1208, [7001], open('group', O.O_RDWR))
  user('group as stranger', 1209, [7002], open('group', O.O_RDONLY))
  const many = Array.from({ length: 40 }, (_, i) => 8000 + i)
  user('member of many', 1210, [...many, 7001], open('group', O.O_RDONLY))
  user('closed', 1207, [], open('closed/inside', O.O_RDONLY))
  user('list only', 1207, [], open('list-only/inside', O.O_RDONLY))
  user('list of list only', 1207, [], () => listed(c, 'list-only'))
  user('enter only', 1207, [], open('enter-only/inside', O.O_RDONLY))
  user('list of enter only', 1207, [], () => listed(c, 'enter-only'))
  user('create elsewhere', 1207, [], open('new', O.O_CREAT | O.O_WRONLY))
  user('create in own', 1207, [], open('own/new', O.O_CREAT | O.O_WRONLY))
  c.stat('owner of own', 'own/new')
  user('mkdir in own', 1207, [], () => sys.mkdir(c.at('own/dir')))
  user('mkdir elsewhere', 1207, [], () => sys.mkdir(c.at('dir')))
  user('chown own', 1207, [], () => sys.chown(c.at('own/new'), 1208, -1))
  user('chgrp to other', 1207, [], () => sys.chown(c.at('own/new'), -1, 7001))
  user('chgrp to own group', 1211, [7001], () => sys.chown(c.at('own/new'), -1, 7001))
  user('chmod of another', 1208, [], () => sys.chmod(c.at('own/new'), 0o777))
  user('chmod own', 1207, [], () => sys.chmod(c.at('own/new'), 0o4711))
  user('times of another', 1208, [], () => sys.utimens(c.at('own/new'), [1, 0], [1, 0]))
  user('unlink of another', 1208, [], () => sys.unlink(c.at('own/new')))
  user('rename of another', 1208, [], () => sys.rename(c.at('own/new'), c.at('own/x')))
  user('link of another', 1208, [], () => sys.link(c.at('private'), c.at('own/l')))
  user('truncate of another', 1208, [], () => sys.truncate(c.at('public'), 0))
  user('xattr of another', 1208, [], () => sys.setxattr(c.at('public'), 'user.k', text('v')))
  user('trusted xattr', 1207, [], () => sys.setxattr(c.at('own/new'), 'trusted.k', text('v')))
  for (const mode of [1, 2, 4, 7]) {
    user(`access ${mode} public`, 1207, [], () => sys.access(c.at('public'), mode))
    user(`access ${mode} group`, 1212, [7001], () => sys.access(c.at('group'), mode))
  }
  c.stat('at the end', 'own/new')
}

function listed(c: Context, name: string): number {
  const entries = sys.list(c.at(name))
  return typeof entries === 'number' ? entries : entries.length
}

function sticky(c: Context): void {
  c.directory('tmp')
  sys.must(sys.chmod(c.at('tmp'), 0o1777))
  const create = (uid: number, name: string): void => {
    sys.asUser(uid, uid, [], () =>
      sys.close(sys.must(sys.open(c.at(`tmp/${name}`), O.O_CREAT | O.O_WRONLY, 0o666))),
    )
  }
  create(1213, 'hers')
  create(1214, 'his')
  const as = (key: string, uid: number, body: () => number): void => {
    c.rec(key, sys.asUser(uid, uid, [], body))
  }
  as('unlink of another', 1214, () => sys.unlink(c.at('tmp/hers')))
  as('rename of another', 1214, () => sys.rename(c.at('tmp/hers'), c.at('tmp/x')))
  as('rename over another', 1214, () => sys.rename(c.at('tmp/his'), c.at('tmp/hers')))
  as('rename own', 1214, () => sys.rename(c.at('tmp/his'), c.at('tmp/mine')))
  as('unlink own', 1214, () => sys.unlink(c.at('tmp/mine')))
  c.rec('root unlinks', sys.unlink(c.at('tmp/hers')))
  c.stat('directory', 'tmp')
  c.listing('names', 'tmp')
}

function times(c: Context): void {
  c.file('f', 'x')
  c.rec('set', sys.utimens(c.at('f'), [1_000_000_001, 111_111_111], [1_200_000_002, 222_222_222]))
  c.stat('set stat', 'f')
  c.rec('atime only', sys.utimens(c.at('f'), [1_300_000_000, 999_999_999], [0, UTIME.OMIT]))
  c.stat('atime only stat', 'f')
  c.rec('mtime only', sys.utimens(c.at('f'), [0, UTIME.OMIT], [1_400_000_000, 1]))
  c.stat('mtime only stat', 'f')
  c.rec('nothing', sys.utimens(c.at('f'), [0, UTIME.OMIT], [0, UTIME.OMIT]))
  c.rec('epoch', sys.utimens(c.at('f'), [0, 0], [0, 0]))
  c.stat('epoch stat', 'f')
  c.rec('bad nanoseconds', sys.utimens(c.at('f'), [0, 1_000_000_000], [0, 0]))
  c.rec('far', sys.utimens(c.at('f'), [4_000_000_000, 5], [8_000_000_000, 6]))
  const far = sys.must(sys.stat(c.at('f'))) as sys.Stat
  c.rec('far stat', [...far.atime, ...far.mtime])
  c.rec('now', sys.utimens(c.at('f'), [0, UTIME.NOW], [0, UTIME.NOW]))
  c.stat('now stat', 'f')
  c.directory('d')
  c.rec('directory', sys.utimens(c.at('d'), [1_000_000_003, 3], [1_000_000_004, 4]))
  c.stat('directory stat', 'd')
  c.file('d/new')
  c.stat('directory changed', 'd')
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  c.rec('by fd', sys.futimens(fd, [1_000_000_005, 5], [1_000_000_006, 6]))
  c.fstat('by fd stat', fd)
  sys.must(sys.pwrite(fd, text('changed'), 0))
  c.fstat('after write', fd)
  sys.must(sys.futimens(fd, [1_000_000_007, 7], [1_000_000_008, 8]))
  sys.must(sys.ftruncate(fd, 2))
  c.fstat('after truncate', fd)
  sys.must(sys.futimens(fd, [1_000_000_009, 9], [1_000_000_010, 10]))
  sys.must(sys.fchmod(fd, 0o600))
  c.fstat('after chmod', fd)
  sys.close(fd)
  c.stat('kept after close', 'f')
  const user = sys.asUser(1215, 1215, [], () => sys.utimens(c.at('f'), [1, 1], [1, 1]))
  c.rec('as another user', user)
}

function xattrs(c: Context): void {
  c.file('f', 'x')
  c.directory('d')
  sys.must(sys.symlink('f', c.at('s')))
  sys.must(sys.mknod(c.at('fifo'), sys.S.FIFO | 0o644))
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  const targets: [string, sys.XattrOf][] = [
    ['file', c.at('f')],
    ['directory', c.at('d')],
    ['symlink', { link: c.at('s') }],
    ['fifo', c.at('fifo')],
    ['fd', { fd }],
  ]
  for (const [tag, of] of targets) {
    for (const key of ['user.one', 'trusted.one', 'security.one', 'other.one', 'user.']) {
      c.rec(`${tag} set ${key}`, sys.setxattr(of, key, text(`${tag} value`)))
      c.rec(`${tag} get ${key}`, sys.getxattr(of, key))
    }
    c.rec(`${tag} create existing`, sys.setxattr(of, 'user.one', text('n'), XATTR.CREATE))
    c.rec(`${tag} create new`, sys.setxattr(of, 'user.two', text('two'), XATTR.CREATE))
    c.rec(`${tag} replace`, sys.setxattr(of, 'user.two', text('TWO'), XATTR.REPLACE))
    c.rec(`${tag} replace missing`, sys.setxattr(of, 'user.no', text('n'), XATTR.REPLACE))
    c.rec(`${tag} both flags`, sys.setxattr(of, 'user.b', text('n'), 3))
    c.rec(`${tag} size`, sys.getxattr(of, 'user.two', 0))
    c.rec(`${tag} short buffer`, sys.getxattr(of, 'user.two', 2))
    c.rec(`${tag} missing`, sys.getxattr(of, 'user.missing'))
    c.rec(`${tag} empty value`, sys.setxattr(of, 'user.empty', text('')))
    c.rec(`${tag} get empty`, sys.getxattr(of, 'user.empty'))
    const names = sys.listxattr(of)
    c.rec(`${tag} list`, typeof names === 'number' ? names : names.sort())
    c.rec(`${tag} list size`, Number(sys.listxattr(of, 0)))
    c.rec(`${tag} list short`, sys.listxattr(of, 3))
    c.rec(`${tag} remove`, sys.removexattr(of, 'user.two'))
    c.rec(`${tag} remove again`, sys.removexattr(of, 'user.two'))
    c.rec(`${tag} removed`, sys.getxattr(of, 'user.two'))
  }
  sys.close(fd)
  c.file('plain')
  const none = sys.listxattr(c.at('plain'))
  c.rec('list of none', none)
}

function xattrSizes(c: Context): void {
  c.file('f')
  for (const size of [0, 1, 255, 1000, 3000, 4000, 5000, 65_535, 65_536, 65_537]) {
    const value = pattern(size, size)
    c.rec(`set ${size}`, sys.setxattr(c.at('f'), 'user.sized', value))
    const back = sys.getxattr(c.at('f'), 'user.sized')
    c.rec(`get ${size}`, back)
  }
  for (const length of [240, 250, 255, 256]) {
    const key = `user.${'k'.repeat(length - 5)}`
    c.rec(`name of ${length}`, sys.setxattr(c.at('f'), key, text('v')))
    c.rec(`get name of ${length}`, sys.getxattr(c.at('f'), key))
  }
  c.rec('empty name', sys.setxattr(c.at('f'), '', text('v')))
  c.rec('non-UTF-8 name', sys.setxattr(c.at('f'), 'user.\xff\xfe', text('\x00\x01\xff')))
  c.rec('non-UTF-8 value', sys.getxattr(c.at('f'), 'user.\xff\xfe'))
  for (let i = 0; i < 20; i++) sys.setxattr(c.at('f'), `user.many${i}`, text(`value ${i}`))
  const names = sys.listxattr(c.at('f'))
  c.rec('names', typeof names === 'number' ? names : names.sort())
}

/** Keys of the system's own: refused, hidden or virtual. */
function internalXattrs(c: Context): void {
  c.file('f')
  c.directory('d')
  for (const of of ['f', 'd']) {
    for (const key of [
      'trusted.gfid',
      'trusted.glusterfs.dht',
      'trusted.glusterfs.dht.linkto',
      'trusted.glusterfs.dht.mds',
      'trusted.glusterfs.volume-id',
      'glusterfs.gfid',
      'glusterfs.xyz',
      'trusted.glusterfs.xyz',
    ]) {
      c.rec(`${of} set ${key}`, sys.setxattr(c.at(of), key, text('0123456789abcdef')))
      const value = sys.getxattr(c.at(of), key)
      c.rec(`${of} get ${key}`, typeof value === 'number' ? value : `${value.length} bytes`)
      c.rec(`${of} remove ${key}`, sys.removexattr(c.at(of), key))
    }
  }
  for (const key of ['glusterfs.pathinfo', 'trusted.glusterfs.pathinfo', 'glusterfs.gfid.string']) {
    const value = sys.getxattr(c.at('f'), key)
    c.rec(`virtual ${key}`, typeof value === 'number' ? value : 'a value')
  }
}

/** The binary form of an ACL: version 2, then tag, permissions and id of each entry. */
function acl(...entries: [tag: number, perm: number, id: number][]): Buffer {
  const raw = Buffer.alloc(4 + entries.length * 8)
  raw.writeUInt32LE(2, 0)
  for (const [i, [tag, perm, id]] of entries.entries()) {
    raw.writeUInt16LE(tag, 4 + i * 8)
    raw.writeUInt16LE(perm, 6 + i * 8)
    raw.writeUInt32LE(id >>> 0, 8 + i * 8)
  }
  return raw
}

function acls(c: Context): void {
  const access = 'system.posix_acl_access'
  const inherited = 'system.posix_acl_default'
  const wide = acl([1, 6, -1], [2, 7, 1216], [4, 4, -1], [16, 7, -1], [32, 0, -1])
  const minimal = acl([1, 6, -1], [4, 4, -1], [32, 4, -1])
  c.file('f')
  c.directory('d')
  c.rec('set', sys.setxattr(c.at('f'), access, wide))
  c.rec('get', sys.getxattr(c.at('f'), access))
  c.stat('mode shows the mask', 'f')
  c.rec('chmod', sys.chmod(c.at('f'), 0o640))
  c.rec('after chmod', sys.getxattr(c.at('f'), access))
  c.rec('minimal', sys.setxattr(c.at('f'), access, minimal))
  c.rec('get minimal', sys.getxattr(c.at('f'), access))
  c.stat('minimal stat', 'f')
  c.rec('broken', sys.setxattr(c.at('f'), access, text('nonsense')))
  c.rec('default on a file', sys.setxattr(c.at('f'), inherited, wide))
  c.rec('default on a directory', sys.setxattr(c.at('d'), inherited, wide))
  c.rec('get default', sys.getxattr(c.at('d'), inherited))
  c.file('d/inherits')
  c.rec('inherited', sys.getxattr(c.at('d/inherits'), access))
  c.stat('inherited stat', 'd/inherits')
  c.rec('mkdir', sys.mkdir(c.at('d/sub')))
  c.rec('inherited default', sys.getxattr(c.at('d/sub'), inherited))
  c.rec('remove', sys.removexattr(c.at('d'), inherited))
  c.rec('removed', sys.getxattr(c.at('d'), inherited))
  const names = sys.listxattr(c.at('d'))
  c.rec('names', typeof names === 'number' ? names : names.sort())
}

function fileSystem(c: Context): void {
  const found = sys.must(sys.statfs(c.dir)) as sys.StatFs
  c.rec('constant', [found.type, found.bsize, found.frsize, found.blocks, found.namelen])
  c.rec('files', found.files)
  c.rec('sane', found.bavail <= found.bfree && found.bfree <= found.blocks)
  c.file('f')
  const file = sys.must(sys.statfs(c.at('f'))) as sys.StatFs
  c.rec('of a file', [file.type, file.bsize, file.blocks])
  c.rec('missing', sys.statfs(c.at('none')) as number)
}

export const cases: Case[] = [
  { name: 'owners', run: owners },
  { name: 'setgid', run: setgid },
  { name: 'permissions', run: permissions },
  { name: 'sticky', run: sticky },
  { name: 'times', run: times },
  { name: 'xattrs', run: xattrs },
  { name: 'xattr-sizes', run: xattrSizes },
  { name: 'internal-xattrs', run: internalXattrs },
  { name: 'acls', run: acls },
  { name: 'statfs', run: fileSystem },
]
