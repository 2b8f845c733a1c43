/** Matrix: open flags, reading, writing, truncation, allocation, files without a name. */
import * as sys from '../../lib/syscalls.ts'
import { O } from '../../lib/syscalls.ts'
import { type Case, type Context, pattern } from './case.ts'

const text = (s: string): Buffer => Buffer.from(s, 'latin1')

function openFlags(c: Context): void {
  c.tryOpen('missing', 'no', O.O_RDONLY)
  c.tryOpen('missing parent', 'no/file', O.O_CREAT | O.O_RDWR)
  c.tryOpen('create', 'f', O.O_CREAT | O.O_RDWR, 0o640)
  c.stat('created', 'f')
  c.tryOpen('exclusive on existing', 'f', O.O_CREAT | O.O_EXCL | O.O_RDWR)
  c.tryOpen('exclusive on new', 'g', O.O_CREAT | O.O_EXCL | O.O_WRONLY, 0o600)
  c.tryOpen('create existing', 'f', O.O_CREAT | O.O_RDWR, 0o777)
  c.stat('mode of existing stays', 'f')
  c.directory('d')
  c.tryOpen('write a directory', 'd', O.O_RDWR)
  c.tryOpen('create a directory', 'd', O.O_CREAT | O.O_RDWR)
  c.tryOpen('read a directory', 'd', O.O_RDONLY)
  c.tryOpen('truncate a directory', 'd', O.O_RDONLY | O.O_TRUNC)
  c.tryOpen('file as directory', 'f', O.O_RDONLY | O.O_DIRECTORY)
  c.tryOpen('below a file', 'f/x', O.O_RDONLY)
  c.tryOpen('trailing slash', 'f/', O.O_RDONLY)
  c.tryOpen('create with trailing slash', 'new/', O.O_CREAT | O.O_RDWR)
  sys.must(sys.symlink('f', c.at('link')))
  c.tryOpen('through a link', 'link', O.O_RDONLY)
  c.tryOpen('not through a link', 'link', O.O_RDONLY | O.O_NOFOLLOW)
  c.tryOpen('exclusive on a link', 'link', O.O_CREAT | O.O_EXCL | O.O_RDWR)
  sys.must(sys.symlink('later', c.at('dangling')))
  c.tryOpen('create through a dangling link', 'dangling', O.O_CREAT | O.O_RDWR)
  c.stat('created through the link', 'later')
  const path = c.fd('path only', sys.open(c.at('f'), O.O_PATH))
  c.rec('read of a path fd', sys.pread(path, 1, 0))
  c.fstat('stat of a path fd', path)
  sys.close(path)
  c.file('data', 'hello')
  const reader = sys.must(sys.open(c.at('data'), O.O_RDONLY))
  c.rec('write to a reader', sys.write(reader, text('x')))
  c.rec('truncate a reader', sys.ftruncate(reader, 0))
  sys.close(reader)
  const writer = sys.must(sys.open(c.at('data'), O.O_WRONLY))
  c.rec('read from a writer', sys.pread(writer, 1, 0))
  sys.close(writer)
  c.content('unchanged', 'data')
  const again = sys.must(sys.open(c.at('data'), O.O_RDWR | O.O_TRUNC))
  c.fstat('truncated at open', again)
  c.rec('written after', sys.write(again, text('abc')))
  sys.close(again)
  c.content('after truncating open', 'data')
  c.tryOpen('create and truncate', 'data', O.O_CREAT | O.O_TRUNC | O.O_WRONLY)
  c.stat('empty again', 'data')
  c.listing('names')
}

function creationModes(c: Context): void {
  for (const mask of [0o022, 0o077, 0]) {
    const old = sys.umask(mask)
    const tag = mask.toString(8)
    for (const mode of [0o777, 0o6755, 0o1666, 0]) {
      const name = `f-${tag}-${mode.toString(8)}`
      c.tryOpen(`create ${name}`, name, O.O_CREAT | O.O_EXCL | O.O_RDWR, mode)
      c.stat(`stat ${name}`, name)
      const dir = `d-${tag}-${mode.toString(8)}`
      c.rec(`mkdir ${dir}`, sys.mkdir(c.at(dir), mode))
      c.stat(`stat ${dir}`, dir)
    }
    sys.umask(old)
  }
}

function append(c: Context): void {
  const flags = O.O_CREAT | O.O_APPEND | O.O_RDWR
  const one = sys.must(sys.open(c.at('log'), flags))
  const two = sys.must(sys.open(c.at('log'), flags))
  for (let i = 0; i < 5; i++) {
    c.rec(`one ${i}`, sys.write(one, text(`one ${i};`)))
    c.rec(`two ${i}`, sys.write(two, text(`two ${i};`)))
  }
  c.rec('pwrite appends', sys.pwrite(one, text('tail'), 0))
  c.rec('position', sys.lseek(one, 0, sys.SEEK.CUR))
  c.rec('truncate', sys.ftruncate(two, 3))
  c.rec('after truncate', sys.write(one, text('!')))
  c.fstat('size', two)
  sys.close(one)
  sys.close(two)
  c.content('content', 'log')
}

function positions(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  c.rec('write', sys.write(fd, text('0123456789')))
  c.rec('set', sys.lseek(fd, 3, sys.SEEK.SET))
  c.rec('read', sys.read(fd, 4))
  c.rec('cur', sys.lseek(fd, -2, sys.SEEK.CUR))
  c.rec('end', sys.lseek(fd, -1, sys.SEEK.END))
  c.rec('last byte', sys.read(fd, 10))
  c.rec('at the end', sys.read(fd, 10))
  c.rec('beyond the end', sys.pread(fd, 10, 1000))
  c.rec('negative', sys.lseek(fd, -1, sys.SEEK.SET))
  c.rec('negative offset', sys.pwrite(fd, text('x'), -1))
  c.rec('nothing written', sys.pwrite(fd, text(''), 500))
  c.fstat('same size', fd)
  c.rec('bad whence', sys.lseek(fd, 0, 9))
  c.rec('fsync', sys.fsync(fd))
  c.rec('fdatasync', sys.fdatasync(fd))
  c.rec('syncfs', sys.syncfs(fd))
  c.rec('close', sys.close(fd))
  c.rec('close again', sys.close(fd))
  const sync = c.fd('O_SYNC', sys.open(c.at('s'), O.O_CREAT | O.O_RDWR | O.O_SYNC))
  c.rec('sync write', sys.write(sync, text('safe')))
  c.fstat('sync stat', sync)
  sys.close(sync)
  const dsync = c.fd('O_DSYNC', sys.open(c.at('s'), O.O_RDWR | O.O_DSYNC | O.O_APPEND))
  c.rec('dsync write', sys.write(dsync, text('r')))
  sys.close(dsync)
  c.content('synced', 's')
}

/** Writes of many sizes at odd places against a model of the file. */
function edits(c: Context): void {
  const size = 3_000_000
  const model = Buffer.alloc(size)
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  let end = 0
  let seed = 7
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
    return (seed >>> 4) % below
  }
  for (let i = 0; i < 60; i++) {
    const length = [1, 511, 4096, 4097, 131072, 131073, 300_001][i % 7]!
    const at = next(size - length)
    const data = pattern(length, i)
    sys.must(sys.pwrite(fd, data, at), 'pwrite')
    data.copy(model, at)
    end = Math.max(end, at + length)
    if (i % 13 === 12) {
      end = next(end)
      sys.must(sys.ftruncate(fd, end), 'ftruncate')
      model.fill(0, end)
    }
    const back = sys.pread(fd, 70_000, Math.max(0, at - 1000))
    const from = Math.max(0, at - 1000)
    const expected = model.subarray(from, Math.max(from, Math.min(end, from + 70_000)))
    if (typeof back === 'number' || !back.equals(expected)) c.rec(`read ${i} differs`, true)
  }
  c.fstat('stat', fd)
  sys.close(fd)
  c.content('content', 'f')
  const whole = sys.must(sys.open(c.at('f'), O.O_RDONLY))
  const data = sys.pread(whole, size, 0)
  c.rec('equals the model', typeof data !== 'number' && data.equals(model.subarray(0, end)))
  sys.close(whole)
}

function truncation(c: Context): void {
  c.file('f', pattern(10_000, 1))
  c.rec('down', sys.truncate(c.at('f'), 5000))
  c.stat('after down', 'f')
  c.rec('up', sys.truncate(c.at('f'), 20_000))
  c.content('zeros follow', 'f')
  c.rec('same', sys.truncate(c.at('f'), 20_000))
  c.rec('zero', sys.truncate(c.at('f'), 0))
  c.stat('empty', 'f')
  c.rec('negative', sys.truncate(c.at('f'), -1))
  c.rec('far', sys.truncate(c.at('f'), 2 ** 40))
  c.stat('far size', 'f')
  c.rec('too far', sys.truncate(c.at('f'), Number.MAX_SAFE_INTEGER))
  c.rec('back', sys.truncate(c.at('f'), 3))
  c.directory('d')
  c.rec('a directory', sys.truncate(c.at('d'), 0))
  c.rec('missing', sys.truncate(c.at('none'), 0))
  // data beyond a truncation must not come back
  const fd = sys.must(sys.open(c.at('g'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.pwrite(fd, pattern(9000, 2), 0))
  sys.must(sys.ftruncate(fd, 100))
  sys.must(sys.ftruncate(fd, 9000))
  c.rec('hole after regrowing', sys.pread(fd, 200, 50))
  c.fstat('regrown', fd)
  sys.close(fd)
}

function setuidBits(c: Context): void {
  for (const mode of [0o6755, 0o2745, 0o4711]) {
    const tag = mode.toString(8)
    c.file(`w${tag}`, 'data')
    sys.must(sys.chmod(c.at(`w${tag}`), mode | 0o022))
    sys.must(sys.chmod(c.dir, 0o777))
    const as = (key: string, name: string, body: () => number): void => {
      c.rec(`${key} ${tag}`, sys.asUser(1201, 1201, [], body))
      c.stat(`${key} ${tag} stat`, name)
    }
    as('write', `w${tag}`, () => {
      const fd = sys.open(c.at(`w${tag}`), O.O_WRONLY)
      if (fd < 0) return fd
      const count = sys.write(fd, text('X'))
      sys.close(fd)
      return count
    })
    c.file(`t${tag}`, 'data')
    sys.must(sys.chmod(c.at(`t${tag}`), mode | 0o022))
    as('truncate', `t${tag}`, () => sys.truncate(c.at(`t${tag}`), 1))
    c.file(`o${tag}`, 'data')
    sys.must(sys.chmod(c.at(`o${tag}`), mode | 0o022))
    c.rec(`chown ${tag}`, sys.chown(c.at(`o${tag}`), 1201, 1201))
    c.stat(`chown ${tag} stat`, `o${tag}`)
    c.file(`r${tag}`, 'data')
    sys.must(sys.chmod(c.at(`r${tag}`), mode))
    const root = sys.must(sys.open(c.at(`r${tag}`), O.O_WRONLY))
    c.rec(`root writes ${tag}`, sys.write(root, text('Y')))
    sys.close(root)
    c.stat(`root writes ${tag} stat`, `r${tag}`)
    // stock refuses some of these, so what they leave differs
    for (const kind of ['w', 't']) c.rec(`unlink ${kind}${tag}`, sys.unlink(c.at(`${kind}${tag}`)))
  }
}

function direct(c: Context): void {
  const page = new sys.Page(1 << 16)
  const memory = page.view()
  pattern(1 << 16, 3).copy(memory)
  const fd = c.fd('open', sys.open(c.at('f'), O.O_CREAT | O.O_RDWR | O.O_DIRECT))
  c.rec('aligned write', sys.pwrite(fd, memory, 0))
  c.rec('next page', sys.pwrite(fd, memory.subarray(0, 4096), 65536))
  memory.fill(0)
  c.rec('read', sys.preadInto(fd, memory.subarray(0, 8192), 4096))
  c.rec('read bytes', memory.subarray(0, 8192))
  c.rec('at the end', sys.preadInto(fd, memory.subarray(0, 4096), 1 << 20))
  c.fstat('stat', fd)
  const buffered = sys.must(sys.open(c.at('f'), O.O_RDWR))
  c.rec('buffered sees direct', sys.pread(buffered, 40, 0))
  sys.must(sys.fsync(buffered))
  pattern(4096, 8).copy(memory)
  c.rec('write again', sys.pwrite(fd, memory.subarray(0, 4096), 0))
  c.rec('buffered sees direct again', sys.pread(buffered, 16, 196))
  sys.close(buffered)
  sys.close(fd)
  c.content('content', 'f')
}

/** Bricks open the file with O_DIRECT, too, and refuse what is not aligned. */
function unaligned(c: Context): void {
  c.file('f', pattern(10_000, 1))
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR | O.O_DIRECT))
  const memory = new sys.Page(8192).view()
  c.rec('odd offset', sys.pwrite(fd, memory.subarray(0, 512), 11))
  c.rec('odd read', sys.preadInto(fd, memory.subarray(0, 100), 13))
  c.rec('stat', typeof sys.fstat(fd) === 'object')
  sys.close(fd)
  c.content('content', 'f')
  c.rec('unlink', sys.unlink(c.at('f')))
}

function temporary(c: Context): void {
  const fd = c.fd('O_TMPFILE', sys.open(c.dir, O.O_TMPFILE | O.O_RDWR, 0o640))
  if (fd >= 0) {
    c.rec('write', sys.write(fd, text('nameless')))
    c.fstat('stat', fd)
    c.rec('link', sys.linkFd(fd, c.at('named')))
    c.fstat('stat after link', fd)
    sys.close(fd)
    c.content('content', 'named')
    c.rec('unlink', sys.unlink(c.at('named')))
  }
  const exclusive = c.fd('with O_EXCL', sys.open(c.dir, O.O_TMPFILE | O.O_RDWR | O.O_EXCL, 0o600))
  if (exclusive >= 0) {
    c.rec('link of an exclusive one', sys.linkFd(exclusive, c.at('never')))
    sys.close(exclusive)
  }
  c.listing('names')
}

function unlinked(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.write(fd, text('still here')))
  c.rec('unlink', sys.unlink(c.at('f')))
  c.rec('read', sys.pread(fd, 20, 0))
  c.rec('write', sys.pwrite(fd, text('!'), 10))
  c.rec('read back', sys.pread(fd, 20, 0))
  c.fstat('stat', fd)
  c.rec('truncate', sys.ftruncate(fd, 5))
  c.rec('chmod', sys.fchmod(fd, 0o600))
  c.rec('chown', sys.fchown(fd, 5, 6))
  c.rec('times', sys.futimens(fd, [1e9, 5], [1e9, 7]))
  c.rec('setxattr', sys.setxattr({ fd }, 'user.k', text('v')))
  c.rec('getxattr', sys.getxattr({ fd }, 'user.k'))
  c.rec('listxattr', sys.listxattr({ fd }))
  c.rec('fsync', sys.fsync(fd))
  c.rec('fallocate', sys.fallocate(fd, 0, 0, 10_000))
  c.fstat('stat after changes', fd)
  c.file('f', 'another')
  c.content('new one', 'f')
  c.rec('old one', sys.pread(fd, 20, 0))
  c.rec('close', sys.close(fd))
  const dir = sys.must(sys.mkdir(c.at('d')))
  c.rec('mkdir', dir)
  const open = sys.must(sys.open(c.at('d'), O.O_RDONLY | O.O_DIRECTORY))
  c.rec('rmdir', sys.rmdir(c.at('d')))
  c.rec('create in a removed directory', sys.openat(open, 'x', O.O_CREAT | O.O_RDWR))
  sys.close(open)
  c.listing('names')
}

function miscellaneous(c: Context): void {
  c.file('f', 'data')
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  const FS_IOC_GETFLAGS = 0x80086601
  c.rec('ioctl', sys.ioctl(fd, FS_IOC_GETFLAGS, Buffer.alloc(8)))
  c.rec('poll', sys.poll(fd, 5))
  const dup = sys.dup(fd)
  sys.close(fd)
  c.rec('duplicate lives', sys.pread(dup, 4, 0))
  sys.close(dup)
  const directory = sys.must(sys.open(c.dir, O.O_RDONLY | O.O_DIRECTORY))
  c.rec('read of a directory', sys.read(directory, 10))
  c.rec('fsync of a directory', sys.fsync(directory))
  c.rec('fdatasync of a directory', sys.fdatasync(directory))
  sys.close(directory)
  c.rec('birth time asked', typeof sys.statBirth(c.at('f')) !== 'number')
  c.rec('access', sys.access(c.at('f'), 6))
  c.rec('access x', sys.access(c.at('f'), 1))
  c.rec('access missing', sys.access(c.at('none'), 0))
  const large = pattern(3 << 20, 9)
  const file = sys.must(sys.open(c.at('large'), O.O_CREAT | O.O_RDWR))
  c.rec('one large write', sys.write(file, large))
  sys.close(file)
  c.content('large content', 'large')
  const reader = sys.must(sys.open(c.at('large'), O.O_RDONLY))
  for (const [at, size] of [
    [1, 131_072],
    [131_071, 2],
    [1_000_000, 1_200_000],
    [(3 << 20) - 5, 100],
  ] as const) {
    c.rec(`slice ${at} ${size}`, sys.pread(reader, size, at))
  }
  sys.close(reader)
}

export const cases: Case[] = [
  { name: 'open-flags', run: openFlags },
  { name: 'creation-modes', run: creationModes },
  { name: 'append', run: append },
  { name: 'positions', run: positions },
  { name: 'edits', run: edits },
  { name: 'truncation', run: truncation },
  { name: 'setuid-bits', run: setuidBits },
  { name: 'direct', run: direct },
  { name: 'unaligned', run: unaligned },
  { name: 'tmpfile', run: temporary },
  { name: 'unlinked', run: unlinked },
  { name: 'miscellaneous', run: miscellaneous },
]
