/** Matrix: directories in bulk, and two processes on one mount: locks and shared mappings. */
import { clock } from '../../../src/core/clock.ts'
import { E } from '../../../src/core/errno.ts'
import { sleep } from '../../lib/sandbox.ts'
import * as sys from '../../lib/syscalls.ts'
import { LOCK, O } from '../../lib/syscalls.ts'
import { type Case, type Context, pattern } from './case.ts'

const releaseMaxMs = 1000

function directoryListing(c: Context): void {
  c.directory('d')
  c.listing('empty', 'd')
  for (let i = 0; i < 300; i++) c.file(`d/file number ${i}`)
  for (let i = 0; i < 40; i++) c.directory(`d/directory ${i}`)
  sys.must(sys.symlink('x', c.at('d/link')))
  const entries = sys.must(sys.list(c.at('d'))) as sys.Dirent[]
  c.rec('count', entries.length)
  c.rec('no name twice', new Set(entries.map((e) => e.name)).size === entries.length)
  c.rec('names and types', entries.map((e) => `${e.name} ${e.type}`).sort())
  c.rec(
    'inode numbers agree',
    entries.every((e) => inoAgrees(c, e)),
  )
  seeking(c, entries)
  c.rec('not empty', sys.rmdir(c.at('d')))
  c.stat('stat', 'd')
  removing(c)
  c.listing('left', 'd')
}

function inoAgrees(c: Context, entry: sys.Dirent): boolean {
  if (entry.name === '..') return true
  const stat = sys.lstat(c.at(`d/${entry.name}`))
  return typeof stat !== 'number' && stat.ino === entry.ino
}

/** A cookie leads back to what followed it. */
function seeking(c: Context, entries: sys.Dirent[]): void {
  const fd = sys.must(sys.open(c.at('d'), O.O_RDONLY | O.O_DIRECTORY))
  const first = sys.must(sys.getdents(fd, 1024)) as sys.Dirent[]
  c.rec('same start', first[0]!.name === entries[0]!.name)
  let consistent = 0
  for (const at of [0, 1, 50, 150, 300, entries.length - 2]) {
    sys.must(sys.lseek(fd, entries[at]!.off, sys.SEEK.SET), 'seekdir')
    const next = sys.must(sys.getdents(fd, 512)) as sys.Dirent[]
    if (next[0]?.name === entries[at + 1]!.name) consistent++
  }
  c.rec('seeks that led back', consistent)
  sys.must(sys.lseek(fd, 0, sys.SEEK.SET), 'rewinddir')
  const again = sys.must(sys.getdents(fd, 1024)) as sys.Dirent[]
  c.rec('rewound', again[0]!.name === entries[0]!.name)
  sys.close(fd)
}

/** Removing while listing with a small buffer: every entry is seen. */
function removing(c: Context): void {
  const fd = sys.must(sys.open(c.at('d'), O.O_RDONLY | O.O_DIRECTORY))
  let removed = 0
  for (;;) {
    const entries = sys.must(sys.getdents(fd, 2048)) as sys.Dirent[]
    if (entries.length === 0) break
    for (const entry of entries) {
      if (entry.type === 8 && sys.unlink(c.at(`d/${entry.name}`)) === 0) removed++
    }
  }
  sys.close(fd)
  c.rec('removed while listing', removed)
}

function deepTree(c: Context): void {
  const make = (path: string, depth: number): void => {
    for (let i = 0; i < 3; i++) {
      c.file(`${path}/f${i}`, `${path} ${i}`)
      if (depth > 0) {
        c.directory(`${path}/d${i}`)
        make(`${path}/d${i}`, depth - 1)
      }
    }
  }
  c.directory('tree')
  make('tree', 2)
  c.rec('rename the middle', sys.rename(c.at('tree/d1'), c.at('tree/d2/moved')))
  c.content('moved along', 'tree/d2/moved/d0/f1')
  const remove = (path: string): number => {
    let count = 0
    for (const entry of sys.must(sys.list(path)) as sys.Dirent[]) {
      if (entry.name === '.' || entry.name === '..') continue
      const child = `${path}/${entry.name}`
      if (entry.type === 4) count += remove(child)
      else if (sys.unlink(child) === 0) count++
    }
    return sys.rmdir(path) === 0 ? count + 1 : count
  }
  c.rec('removed', remove(c.at('tree/d2')))
  c.listing('left', 'tree')
}

async function recordLocks(c: Context): Promise<void> {
  c.file('f', 'x'.repeat(100))
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  const other = await c.peer.open(c.at('f'), O.O_RDWR)
  const peerLock = async (key: string, ...args: (string | number)[]): Promise<void> => {
    const found = await c.peer.call(...(args as [string, ...string[]]))
    if (typeof found === 'object') delete found.pid
    c.rec(key, found)
  }
  c.rec('write lock', sys.setlk(fd, 'write', 10, 20))
  await peerLock('peer conflicts', 'setlk', other, 'write', 15, 5)
  await peerLock('peer reads inside', 'setlk', other, 'read', 29, 5)
  await peerLock('peer beside', 'setlk', other, 'write', 30, 10)
  await peerLock('peer asks', 'getlk', other, 'write', 0, 0)
  await peerLock('peer asks beside', 'getlk', other, 'write', 50, 10)
  c.rec('asks the other way', lockShown(sys.getlk(fd, 'read', 0, 0)))
  c.rec('split', sys.setlk(fd, 'unlock', 15, 5))
  await peerLock('peer in the gap', 'setlk', other, 'write', 15, 5)
  await peerLock('peer beyond the gap', 'setlk', other, 'write', 20, 1)
  c.rec('downgrade', sys.setlk(fd, 'read', 10, 5))
  await peerLock('peer shares', 'setlk', other, 'read', 10, 5)
  c.rec('upgrade refused', sys.setlk(fd, 'write', 10, 5))
  const blocked = c.peer.call('setlkw', other, 'write', 20, 5)
  c.rec('release', sys.setlk(fd, 'unlock', 0, 0))
  c.rec('blocked peer gets it', await blocked)
  c.rec('now refused here', sys.setlk(fd, 'write', 22, 1))
  await peerLock('peer closes', 'close', other)
  c.rec('free after close', sys.setlk(fd, 'write', 0, 0))
  const twin = sys.must(sys.open(c.at('f'), O.O_RDONLY))
  sys.close(twin)
  const again = await c.peer.open(c.at('f'), O.O_RDWR)
  await peerLock('any close drops all', 'setlk', again, 'write', 0, 0)
  await peerLock('peer unlocks', 'setlk', again, 'unlock', 0, 0)
  c.rec('read lock on a writer', writerLock(c))
  c.rec('beyond 4 GiB', sys.setlk(fd, 'write', 2 ** 33, 10))
  await peerLock('peer beyond 4 GiB', 'setlk', again, 'write', 2 ** 33 + 5, 1)
  await peerLock('peer asks beyond 4 GiB', 'getlk', again, 'write', 0, 0)
  await c.peer.call('close', again)
  sys.close(fd)
}

function lockShown(lock: sys.LockFound | number): string | number {
  return typeof lock === 'number' ? lock : `${lock.type} ${lock.start} ${lock.size}`
}

function writerLock(c: Context): number {
  const writer = sys.must(sys.open(c.at('f'), O.O_WRONLY))
  const result = sys.setlk(writer, 'read', 0, 1)
  sys.close(writer)
  return result
}

/** The kernel sends the RELEASE that ends such a lock after close(2) has returned. */
async function soon<T>(lock: () => Promise<T>): Promise<T> {
  const asked = clock.now()
  for (;;) {
    const result = await lock()
    if (Number(result) !== -E.AGAIN || clock.now() - asked > releaseMaxMs) return result
    await sleep(5)
  }
}

async function openFileLocks(c: Context): Promise<void> {
  c.file('f')
  const one = sys.must(sys.open(c.at('f'), O.O_RDWR))
  const two = sys.must(sys.open(c.at('f'), O.O_RDWR))
  c.rec('flock', sys.flock(one, LOCK.EX | LOCK.NB))
  c.rec('other description', sys.flock(two, LOCK.EX | LOCK.NB))
  const peer = await c.peer.open(c.at('f'), O.O_RDWR)
  c.rec('peer shares', await c.peer.call('flock', peer, LOCK.SH | LOCK.NB))
  c.rec('to shared', sys.flock(one, LOCK.SH | LOCK.NB))
  c.rec('peer shares now', await c.peer.call('flock', peer, LOCK.SH | LOCK.NB))
  c.rec('no upgrade', sys.flock(one, LOCK.EX | LOCK.NB))
  c.rec('peer unlocks', await c.peer.call('flock', peer, LOCK.UN))
  const copy = sys.dup(one)
  sys.close(one)
  c.rec('duplicate keeps it', await c.peer.call('flock', peer, LOCK.EX | LOCK.NB))
  sys.close(copy)
  c.rec('gone with the last', await soon(() => c.peer.call('flock', peer, LOCK.EX | LOCK.NB)))
  const waiting = c.peer.call('flock', peer, LOCK.UN)
  await waiting
  c.rec('taken', sys.flock(two, LOCK.EX))
  const blocked = c.peer.call('flock', peer, LOCK.EX)
  sys.flock(two, LOCK.UN)
  c.rec('blocked peer gets it', await blocked)
  await c.peer.call('close', peer)
  const ofd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  // the lock of the peer's fd goes when its RELEASE arrives
  c.rec('ofd lock', await soon(() => Promise.resolve(sys.setlk(ofd, 'write', 0, 10, true))))
  c.rec('ofd conflict', sys.setlk(two, 'write', 5, 10, true))
  sys.close(ofd)
  c.rec('ofd free', await soon(() => Promise.resolve(sys.setlk(two, 'write', 5, 10, true))))
  sys.close(two)
}

async function sharedMapping(c: Context): Promise<void> {
  c.file('f', pattern(20_000, 1))
  const fd = sys.must(sys.open(c.at('f'), O.O_RDWR))
  const here = new sys.Mapping(fd, 20_000)
  const other = await c.peer.open(c.at('f'), O.O_RDWR)
  const there = Number(await c.peer.call('map', other, 20_000))
  c.rec('first bytes', here.peek(0, 16))
  here.poke(100, Buffer.from('from here'))
  c.rec('peer sees', await c.peer.call('peek', there, 98, 13))
  await c.peer.call('poke', there, 9000, 'from there')
  c.rec('sees the peer', here.peek(8999, 12))
  c.rec('read sees the mapping', sys.pread(fd, 12, 8999))
  sys.must(sys.pwrite(fd, Buffer.from('written'), 12_000))
  c.rec('mapping sees the write', here.peek(12_000, 7))
  c.rec('peer mapping sees the write', await c.peer.call('peek', there, 12_000, 7))
  c.rec('msync', here.sync())
  c.rec('peer msync', await c.peer.call('msync', there))
  c.rec('munmap', here.unmap())
  await c.peer.call('close', other)
  sys.close(fd)
  c.content('content', 'f')
  const grow = sys.must(sys.open(c.at('g'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.ftruncate(grow, 10_000))
  const empty = new sys.Mapping(grow, 10_000)
  empty.poke(5000, Buffer.from('into a hole'))
  sys.must(sys.unlink(c.at('g')))
  empty.poke(6000, Buffer.from('after unlink'))
  c.rec('unlinked mapping', sys.pread(grow, 12, 6000))
  empty.unmap()
  sys.close(grow)
  const last = sys.must(sys.open(c.at('h'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.ftruncate(last, 5000))
  const kept = new sys.Mapping(last, 5000)
  sys.close(last)
  kept.poke(4096, Buffer.from('written after close'))
  kept.unmap()
  c.content('mapping outlives its fd', 'h')
}

export const cases: Case[] = [
  { name: 'listing', run: directoryListing },
  { name: 'deep-tree', run: deepTree },
  { name: 'record-locks', run: recordLocks },
  { name: 'open-file-locks', run: openFileLocks },
  { name: 'shared-mapping', run: sharedMapping },
]
