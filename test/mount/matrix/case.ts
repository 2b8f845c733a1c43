/**
 * The syscall matrix: cases that perform system calls in a directory and record what came back.
 * Two runs on equal volumes must record the same; values that differ from run to run (inode
 * numbers, times of now) are never recorded as they are.
 */
import { createHash } from 'node:crypto'
import { clock } from '../../../src/core/clock.ts'
import type { Peer } from '../../lib/peer.ts'
import * as sys from '../../lib/syscalls.ts'

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value }
export type Results = Record<string, Record<string, Value>>

export interface Case {
  name: string
  run: (c: Context) => void | Promise<void>
}

/** Longer contents are recorded as their length and digest. */
const contentShownMax = 64

export function shownBytes(data: Uint8Array): Value {
  if (data.length <= contentShownMax) return Buffer.from(data).latin1Slice()
  return `${data.length} bytes ${createHash('sha256').update(data).digest('hex').slice(0, 16)}`
}

/** A stat without what differs from run to run; `since`: seconds from which times are "now". */
export function shownStat(stat: sys.Stat | number, since: number): Value {
  if (typeof stat === 'number') return sys.errnoName(stat)
  const time = ([sec, nsec]: sys.Time): string => (sec >= since ? 'now' : `${sec}.${nsec}`)
  return {
    type: stat.type,
    mode: stat.mode.toString(8),
    nlink: stat.nlink,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    blocks: stat.blocks,
    blksize: stat.blksize,
    rdev: stat.rdev,
    atime: time(stat.atime),
    mtime: time(stat.mtime),
    ctime: time(stat.ctime),
  }
}

/** Bytes that differ at every position, so that a shifted or stale block shows. */
export function pattern(size: number, seed: number): Buffer {
  const data = Buffer.allocUnsafe(size)
  let state = (seed * 2654435761 + 12345) >>> 0
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = state >>> 24
  }
  return data
}

export class Context {
  /** This case's own directory. */
  readonly dir: string
  /** A second process on the same mount. */
  readonly peer: Peer
  readonly results: Record<string, Value> = {}
  readonly #since: number

  constructor(dir: string, peer: Peer) {
    this.dir = dir
    this.peer = peer
    this.#since = clock.realtime().sec - 60
  }

  at(name: string): string {
    return `${this.dir}/${name}`
  }

  rec(key: string, value: Value | Uint8Array | bigint | undefined): void {
    if (Object.hasOwn(this.results, key)) throw new Error(`recorded twice: ${key}`)
    let shown: Value
    if (typeof value === 'number') shown = sys.errnoName(value)
    else if (value instanceof Uint8Array) shown = shownBytes(value)
    else if (typeof value === 'bigint') shown = String(value)
    else shown = value ?? null
    this.results[key] = shown
  }

  /** Records that an open succeeded or its errno; the fd comes back. */
  fd(key: string, fd: number): number {
    this.rec(key, fd < 0 ? fd : 'open')
    return fd
  }

  /** Records an open that only matters for its errno. */
  tryOpen(key: string, name: string, flags: number, mode?: number): void {
    const fd = this.fd(key, sys.open(this.at(name), flags, mode))
    if (fd >= 0) sys.close(fd)
  }

  stat(key: string, name: string): void {
    this.rec(key, shownStat(sys.lstat(this.at(name)), this.#since))
  }

  fstat(key: string, fd: number): void {
    this.rec(key, shownStat(sys.fstat(fd), this.#since))
  }

  /** Makes a file with this content. */
  file(name: string, content: string | Uint8Array = '', mode = 0o644): void {
    const flags = sys.O.O_CREAT | sys.O.O_WRONLY | sys.O.O_TRUNC
    const fd = sys.must(sys.open(this.at(name), flags, mode), `create ${name}`)
    const data = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
    for (let done = 0; done < data.length; ) {
      done += sys.must(sys.write(fd, data.subarray(done)), `write ${name}`)
    }
    sys.must(sys.close(fd), `close ${name}`)
  }

  directory(name: string, mode = 0o755): void {
    sys.must(sys.mkdir(this.at(name), mode), `mkdir ${name}`)
    sys.must(sys.chmod(this.at(name), mode), `chmod ${name}`)
  }

  /** Records a file's whole content, or the errno of its open or read. */
  content(key: string, name: string): void {
    this.rec(key, readAll(this.at(name)))
  }

  /** Records the names in a directory, sorted. */
  listing(key: string, name = '.'): void {
    const entries = sys.list(this.at(name))
    this.rec(key, typeof entries === 'number' ? entries : entries.map((e) => e.name).sort())
  }
}

export function readAll(path: string): Buffer | number {
  const fd = sys.open(path, sys.O.O_RDONLY)
  if (fd < 0) return fd
  const parts: Buffer[] = []
  for (;;) {
    const data = sys.read(fd, 1 << 20)
    if (typeof data === 'number') {
      sys.close(fd)
      return data
    }
    if (data.length === 0) break
    parts.push(data)
  }
  sys.close(fd)
  return Buffer.concat(parts)
}
