/** Matrix: holes, allocation, files over 4 GiB, copies inside the file system. */
import * as sys from '../../lib/syscalls.ts'
import { FALLOC, O, SEEK } from '../../lib/syscalls.ts'
import { type Case, type Context, pattern } from './case.ts'

const MiB = 1 << 20
const GiB = 2 ** 30

function holes(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.pwrite(fd, pattern(65536, 1), MiB))
  sys.must(sys.pwrite(fd, pattern(65536, 2), 3 * MiB))
  sys.must(sys.ftruncate(fd, 5 * MiB))
  sys.must(sys.fsync(fd))
  for (const at of [0, MiB, MiB + 100, MiB + 65536, 3 * MiB, 4 * MiB, 5 * MiB, 6 * MiB]) {
    c.rec(`data from ${at}`, sys.lseek(fd, at, SEEK.DATA))
    c.rec(`hole from ${at}`, sys.lseek(fd, at, SEEK.HOLE))
  }
  c.fstat('stat', fd)
  c.rec('zeros', sys.pread(fd, 32, 2 * MiB))
  sys.close(fd)
  c.file('empty')
  const empty = sys.must(sys.open(c.at('empty'), O.O_RDWR))
  c.rec('data in an empty file', sys.lseek(empty, 0, SEEK.DATA))
  c.rec('hole in an empty file', sys.lseek(empty, 0, SEEK.HOLE))
  sys.close(empty)
}

function huge(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  const places = [0, 2 * GiB - 3, 4 * GiB - 3, 4 * GiB + 5 * MiB, 9 * GiB + 1]
  for (const at of places) c.rec(`write ${at}`, sys.pwrite(fd, Buffer.from(`at ${at}`), at))
  for (const at of places) c.rec(`read ${at}`, sys.pread(fd, 20, at))
  c.rec('hole', sys.pread(fd, 20, 6 * GiB))
  sys.must(sys.fsync(fd))
  c.fstat('stat', fd)
  c.rec('data after 4 GiB', sys.lseek(fd, 5 * GiB, SEEK.DATA))
  c.rec('truncate', sys.ftruncate(fd, 5 * GiB + 1))
  c.fstat('stat after truncate', fd)
  c.rec('append position', sys.lseek(fd, 0, SEEK.END))
  sys.close(fd)
}

function allocation(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.pwrite(fd, pattern(100_000, 1), 0))
  c.rec('extend', sys.fallocate(fd, 0, 0, MiB))
  c.fstat('extended', fd)
  c.rec('keep size', sys.fallocate(fd, FALLOC.KEEP_SIZE, MiB, MiB))
  c.fstat('size kept', fd)
  const punch = FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE
  c.rec('punch', sys.fallocate(fd, punch, 8192, 16_384))
  c.rec('punched', sys.pread(fd, 16_500, 8100))
  c.rec('punch odd', sys.fallocate(fd, punch, 50_001, 333))
  c.rec('punched odd', sys.pread(fd, 400, 49_990))
  c.rec('punch alone', sys.fallocate(fd, FALLOC.PUNCH_HOLE, 0, 10))
  c.rec('negative', sys.fallocate(fd, 0, -1, 10))
  c.rec('no length', sys.fallocate(fd, 0, 0, 0))
  c.rec('collapse', sys.fallocate(fd, FALLOC.COLLAPSE, 0, 4096))
  c.rec('insert', sys.fallocate(fd, FALLOC.INSERT, 0, 4096))
  sys.must(sys.fsync(fd))
  c.fstat('stat', fd)
  sys.close(fd)
  c.content('content', 'f')
  const reader = sys.must(sys.open(c.at('f'), O.O_RDONLY))
  c.rec('reader', sys.fallocate(reader, 0, 0, 10))
  sys.close(reader)
  c.rec('too large', largeAllocation(c))
}

function largeAllocation(c: Context): number {
  const fd = sys.must(sys.open(c.at('large'), O.O_CREAT | O.O_RDWR))
  const result = sys.fallocate(fd, 0, 0, 2 ** 52)
  sys.close(fd)
  return result
}

function zeroRange(c: Context): void {
  const fd = sys.must(sys.open(c.at('f'), O.O_CREAT | O.O_RDWR))
  sys.must(sys.pwrite(fd, pattern(20_000, 4), 0))
  c.rec('inside', sys.fallocate(fd, FALLOC.ZERO_RANGE, 1000, 5000))
  c.rec('zeroed', sys.pread(fd, 6000, 500))
  c.rec('beyond, size kept', sys.fallocate(fd, FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE, 19_000, 5000))
  c.fstat('size kept', fd)
  c.rec('beyond', sys.fallocate(fd, FALLOC.ZERO_RANGE, 19_500, 5000))
  c.fstat('grown', fd)
  sys.must(sys.fsync(fd))
  sys.close(fd)
  c.content('content', 'f')
  // past the page cache: what the bricks hold
  const direct = sys.must(sys.open(c.at('f'), O.O_RDONLY | O.O_DIRECT))
  const page = new sys.Page(1 << 15)
  const count = sys.must(sys.readInto(direct, page.view()))
  c.rec('content on disk', page.view().subarray(0, count))
  sys.close(direct)
  c.rec('unlink', sys.unlink(c.at('f')))
}

function copies(c: Context): void {
  c.file('from', pattern(500_000, 5))
  const from = sys.must(sys.open(c.at('from'), O.O_RDONLY))
  const to = sys.must(sys.open(c.at('to'), O.O_CREAT | O.O_RDWR))
  c.rec('all', sys.copyFileRange(from, 0, to, 0, 500_000))
  c.rec('part', sys.copyFileRange(from, 1001, to, 600_000, 4097))
  c.rec('at the end', sys.copyFileRange(from, 499_990, to, 700_000, 100))
  c.rec('beyond the end', sys.copyFileRange(from, 600_000, to, 0, 10))
  c.fstat('stat', to)
  c.rec('same file', sys.copyFileRange(to, 0, to, 800_000, 1000))
  c.rec('overlapping', sys.copyFileRange(to, 0, to, 500, 1000))
  c.rec('to a reader', sys.copyFileRange(to, 0, from, 0, 10))
  sys.close(from)
  sys.close(to)
  c.content('content', 'to')
}

export const cases: Case[] = [
  { name: 'holes', run: holes },
  { name: 'huge', run: huge },
  { name: 'allocation', run: allocation },
  { name: 'zero-range', run: zeroRange },
  { name: 'copies', run: copies },
]
