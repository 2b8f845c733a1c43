/** Matrix: rename in all its forms, and every placement of source and target on the bricks. */
import * as sys from '../../lib/syscalls.ts'
import { O, RENAME } from '../../lib/syscalls.ts'
import type { Case, Context } from './case.ts'

const text = (s: string): Buffer => Buffer.from(s, 'latin1')

function plain(c: Context): void {
  c.file('a', 'A')
  c.rec('to new', sys.rename(c.at('a'), c.at('b')))
  c.rec('source gone', sys.lstat(c.at('a')) as number)
  c.file('c', 'C')
  c.rec('over existing', sys.rename(c.at('c'), c.at('b')))
  c.content('replaced', 'b')
  c.rec('to itself', sys.rename(c.at('b'), c.at('b')))
  c.rec('missing', sys.rename(c.at('none'), c.at('x')))
  c.rec('missing target parent', sys.rename(c.at('b'), c.at('none/x')))
  c.rec('below a file', sys.rename(c.at('b'), c.at('b/x')))
  c.rec('other file system', sys.rename(c.at('b'), '/run/x'))
  c.file('l1', 'L')
  sys.must(sys.link(c.at('l1'), c.at('l2')))
  c.rec('link over its other name', sys.rename(c.at('l1'), c.at('l2')))
  c.listing('both names stay')
  sys.must(sys.symlink('b', c.at('s')))
  c.rec('a symlink', sys.rename(c.at('s'), c.at('s2')))
  c.rec('still points', sys.readlink(c.at('s2')))
  c.rec('file over a symlink', sys.rename(c.at('b'), c.at('s2')))
  c.stat('is a file', 's2')
  c.rec('trailing slash of a file', sys.rename(c.at('s2'), c.at('y/')))
  c.listing('names')
}

function directories(c: Context): void {
  c.directory('d1')
  c.file('d1/inside', 'inside')
  c.directory('d1/sub')
  c.directory('empty')
  c.directory('full')
  c.file('full/x')
  c.file('file')
  c.rec('into itself', sys.rename(c.at('d1'), c.at('d1/sub/d')))
  c.rec('over its child', sys.rename(c.at('d1'), c.at('d1/sub')))
  c.rec('child over parent', sys.rename(c.at('d1/sub'), c.at('d1')))
  c.rec('over a full one', sys.rename(c.at('d1'), c.at('full')))
  c.rec('over a file', sys.rename(c.at('d1'), c.at('file')))
  c.rec('file over a directory', sys.rename(c.at('file'), c.at('empty')))
  c.rec('over an empty one', sys.rename(c.at('d1'), c.at('empty')))
  c.content('contents came along', 'empty/inside')
  c.rec('to new', sys.rename(c.at('empty'), c.at('new name')))
  c.rec('into another', sys.rename(c.at('new name'), c.at('full/moved')))
  c.content('contents again', 'full/moved/inside')
  c.rec('create in the moved one', sys.mkdir(c.at('full/moved/fresh')))
  c.stat('nlink of the parent', 'full')
  c.listing('names')
  c.listing('names below', 'full/moved')
  const fd = sys.must(sys.open(c.at('full/moved'), O.O_RDONLY | O.O_DIRECTORY))
  c.rec('rename an open directory', sys.rename(c.at('full/moved'), c.at('last')))
  c.rec('create through its fd', sys.close(sys.openat(fd, 'by fd', O.O_CREAT | O.O_RDWR)))
  sys.close(fd)
  c.listing('names at last', 'last')
}

/**
 * Files take turns at being where their name hashes to and elsewhere (a link file behind), and
 * replace targets of both kinds. Over 24 names every combination of the four bricks involved
 * (source cached and hashed, target cached and hashed) happens on two bricks and more.
 */
function placement(c: Context): void {
  const count = 24
  const flags: string[] = []
  for (let i = 0; i < count; i++) {
    c.file(`src${i}`, `source ${i}`)
    flags.push(String(sys.errnoName(sys.rename(c.at(`src${i}`), c.at(`dst${i}`)))))
  }
  c.rec('first hop', flags.splice(0))
  for (let i = 0; i < count; i++) {
    flags.push(String(sys.errnoName(sys.rename(c.at(`dst${i}`), c.at(`third${i}`)))))
  }
  c.rec('from a link file', flags.splice(0))
  for (let i = 0; i < count; i++) {
    c.file(`plain${i}`, `plain ${i}`)
    const [from, to] = i % 2 === 0 ? [`plain${i}`, `third${i}`] : [`third${i}`, `plain${i}`]
    flags.push(String(sys.errnoName(sys.rename(c.at(from), c.at(to)))))
  }
  c.rec('over existing, one linked', flags.splice(0))
  for (let i = 0; i < count; i += 2) {
    // both sides have been moved before
    c.file(`other${i}`, `other ${i}`)
    sys.must(sys.rename(c.at(`other${i}`), c.at(`elsewhere${i}`)))
    const result = sys.rename(c.at(`elsewhere${i}`), c.at(`plain${i + 1}`))
    flags.push(String(sys.errnoName(result)))
  }
  c.rec('over existing, both linked', flags.splice(0))
  c.directory('sub')
  for (let i = 0; i < count; i++) {
    const name = i % 2 === 0 ? `third${i}` : `plain${i}`
    flags.push(String(sys.errnoName(sys.rename(c.at(name), c.at(`sub/${name}`)))))
  }
  c.rec('to another directory', flags.splice(0))
  for (let i = 0; i < count; i += 3) {
    const name = i % 2 === 0 ? `third${i}` : `plain${i}`
    flags.push(String(sys.errnoName(sys.unlink(c.at(`sub/${name}`)))))
    c.file(`sub/${name}`, 'new at the old name')
  }
  c.rec('unlinked', flags.splice(0))
  for (let i = 0; i < count; i += 4) {
    // hard links whose names hash to other bricks than the data's
    c.file(`h${i}`, `hard ${i}`)
    sys.must(sys.link(c.at(`h${i}`), c.at(`linked${i}`)))
    flags.push(String(sys.errnoName(sys.rename(c.at(`linked${i}`), c.at(`relinked${i}`)))))
    c.stat(`hard link ${i}`, `h${i}`)
    flags.push(String(sys.errnoName(sys.rename(c.at(`relinked${i}`), c.at(`h${i}`)))))
  }
  c.rec('hard links', flags.splice(0))
  for (let i = 0; i < count; i += 3)
    c.content(`content ${i}`, `sub/${i % 2 ? 'plain' : 'third'}${i}`)
  c.listing('names')
  c.listing('names in sub', 'sub')
}

function openFiles(c: Context): void {
  for (let i = 0; i < 6; i++) {
    c.file(`old${i}`, 'old content')
    c.file(`new${i}`, 'new content')
    const old = sys.must(sys.open(c.at(`old${i}`), O.O_RDWR))
    const fresh = sys.must(sys.open(c.at(`new${i}`), O.O_RDWR))
    c.rec(`over an open file ${i}`, sys.rename(c.at(`new${i}`), c.at(`old${i}`)))
    c.rec(`old fd reads ${i}`, sys.pread(old, 20, 0))
    c.rec(`old fd writes ${i}`, sys.pwrite(old, text('OLD'), 0))
    c.rec(`new fd writes ${i}`, sys.pwrite(fresh, text('NEW'), 0))
    c.fstat(`old fd ${i}`, old)
    c.fstat(`new fd ${i}`, fresh)
    sys.close(old)
    sys.close(fresh)
    c.content(`content ${i}`, `old${i}`)
    const open = sys.must(sys.open(c.at(`old${i}`), O.O_RDWR | O.O_APPEND))
    c.rec(`away while open ${i}`, sys.rename(c.at(`old${i}`), c.at(`away${i}`)))
    c.rec(`write after ${i}`, sys.write(open, text(' and more')))
    sys.close(open)
    c.content(`content after ${i}`, `away${i}`)
  }
}

function flags(c: Context): void {
  c.file('a', 'A')
  c.file('b', 'B')
  c.directory('d')
  c.rec('no replace, existing', sys.rename(c.at('a'), c.at('b'), RENAME.NOREPLACE))
  c.rec('no replace, new', sys.rename(c.at('a'), c.at('c'), RENAME.NOREPLACE))
  c.rec('exchange', sys.rename(c.at('b'), c.at('d'), RENAME.EXCHANGE))
  c.rec('exchange with missing', sys.rename(c.at('b'), c.at('none'), RENAME.EXCHANGE))
  c.rec('whiteout', sys.rename(c.at('b'), c.at('w'), RENAME.WHITEOUT))
  c.rec('both', sys.rename(c.at('b'), c.at('w'), RENAME.EXCHANGE | RENAME.NOREPLACE))
  c.listing('names')
  for (const name of ['a', 'b', 'c', 'w']) sys.unlink(c.at(name))
  sys.rmdir(c.at('d'))
}

/** nlink and ctime of what a rename replaced, at once. */
function replacedLinks(c: Context): void {
  c.file('kept', 'x')
  sys.must(sys.link(c.at('kept'), c.at('replaced')))
  c.file('new', 'y')
  c.stat('before', 'kept')
  c.rec('rename', sys.rename(c.at('new'), c.at('replaced')))
  c.stat('after', 'kept')
  c.file('k2', 'x')
  sys.must(sys.link(c.at('k2'), c.at('k3')))
  c.stat('k2 before', 'k2')
  c.rec('unlink', sys.unlink(c.at('k3')))
  c.stat('k2 after', 'k2')
}

export const cases: Case[] = [
  { name: 'rename', run: plain },
  { name: 'rename-directories', run: directories },
  { name: 'rename-placement', run: placement },
  { name: 'rename-open', run: openFiles },
  { name: 'rename-flags', run: flags },
  { name: 'rename-links', run: replacedLinks },
]
