/** What a directory tree looks like through a mount: everything a program can see of it. */
import { createHash } from 'node:crypto'
import { clock } from '../../../src/core/clock.ts'
import * as sys from '../../lib/syscalls.ts'
import { O, SEEK } from '../../lib/syscalls.ts'
import { shownBytes, shownStat, type Value } from './case.ts'

/** Larger files are digested by their data only, holes are skipped. */
const wholeMax = 32 << 20

/** Digest of a file's bytes; in a large one of where its data is, and of that data. */
export function digest(path: string, size: number): string {
  const fd = sys.open(path, O.O_RDONLY)
  if (fd < 0) return String(sys.errnoName(fd))
  const hash = createHash('sha256')
  const bytes = (from: number, to: number): void => {
    for (let at = from; at < to; ) {
      const data = sys.pread(fd, Math.min(1 << 20, to - at), at)
      if (typeof data === 'number' || data.length === 0) {
        hash.update(`unreadable at ${at}: ${typeof data === 'number' ? sys.errnoName(data) : ''}`)
        return
      }
      hash.update(data)
      at += data.length
    }
  }
  if (size <= wholeMax) bytes(0, size)
  else {
    for (let at = sys.lseek(fd, 0, SEEK.DATA); at >= 0 && at < size; ) {
      const end = sys.lseek(fd, at, SEEK.HOLE)
      hash.update(`${at}-${end};`)
      bytes(at, end)
      at = sys.lseek(fd, end, SEEK.DATA)
    }
  }
  sys.close(fd)
  return hash.digest('hex').slice(0, 16)
}

/** The names below a directory, depth first; longer paths than PATH_MAX are left out. */
export function walk(dir: string, visit: (path: string, type: number) => void, below = ''): void {
  const entries = sys.list(`${dir}${below}`)
  if (typeof entries === 'number') {
    visit(`${below}: ${sys.errnoName(entries)}`, 0)
    return
  }
  for (const { name, type } of entries) {
    if (name === '.' || name === '..') continue
    const path = `${below}/${name}`
    if (dir.length + path.length > 4090) continue
    visit(path, type)
    if (type === 4) walk(dir, visit, path)
  }
}

export function tree(dir: string): Record<string, Value> {
  const since = clock.realtime().sec - 3600
  const found: Record<string, Value> = {}
  walk(dir, (path) => {
    const stat = sys.lstat(`${dir}${path}`)
    const node = shownStat(stat, since) as Record<string, Value>
    found[path] = node
    if (typeof stat === 'number') return
    // reading must not change what the next reader sees
    if (stat.atime[0] < since) delete node.atime
    if (stat.type === 'file') node.content = digest(`${dir}${path}`, stat.size)
    if (stat.type === 'symlink') node.target = digestOfLink(`${dir}${path}`)
    node.xattrs = visibleXattrs({ link: `${dir}${path}` })
  })
  return found
}

function digestOfLink(path: string): Value {
  const target = sys.readlink(path)
  return typeof target === 'string' ? shownBytes(Buffer.from(target, 'latin1')) : target
}

function visibleXattrs(of: sys.XattrOf): Value {
  const names = sys.listxattr(of)
  if (typeof names === 'number') return sys.errnoName(names)
  return Object.fromEntries(
    names.sort().map((name) => {
      const value = sys.getxattr(of, name)
      return [name, typeof value === 'number' ? sys.errnoName(value) : shownBytes(value)]
    }),
  )
}
