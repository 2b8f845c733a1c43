/**
 * A second process that performs system calls on request: one JSON line in (name of a function of
 * syscalls.ts and its arguments), one out. A call that blocks blocks only this process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { clock, type Timer } from '../../src/core/clock.ts'
import * as sys from './syscalls.ts'

type Answer = number | string | { [key: string]: number | string }
type Words = (number | string | boolean | { bytes: string } | { fd: number })[]

/** A killed process is waited for this long. */
const endMaxMs = 3000

export class Peer {
  readonly child: ChildProcess
  readonly #waiting: ((answer: Answer) => void)[] = []

  constructor() {
    this.child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'serve'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      this.#waiting.shift()?.(JSON.parse(line) as Answer)
    })
    this.child.on('exit', () => {
      for (const answer of this.#waiting.splice(0)) answer('peer died')
    })
  }

  /** Calls `syscalls.ts`'s function in the other process; Uint8Arrays travel as { bytes }. */
  call(name: string, ...args: Words): Promise<Answer> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.child.stdin!.write(`${JSON.stringify([name, args])}\n`)
    })
  }

  /** The call's result when it is a number, such as an fd; throws when it failed. */
  async must(name: string, ...args: Words): Promise<number> {
    return sys.must(Number(await this.call(name, ...args)), `${name} ${JSON.stringify(args)}`)
  }

  /** A file's content, or the errno of its open or read. */
  async content(path: string): Promise<Answer> {
    return this.call('contentOf', path)
  }

  async open(path: string, flags: number, mode = 0o644): Promise<number> {
    return sys.must(Number(await this.call('open', path, flags, mode)), `peer opens ${path}`)
  }

  /**
   * Kills the process and waits until it has let go of the mount; one that is stuck in the kernel
   * is left to the end of the sandbox.
   */
  async end(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.child.on('exit', () => resolve()))
    const alive = this.child.exitCode === null && this.child.signalCode === null
    this.child.kill('SIGKILL')
    this.child.stdin?.destroy()
    this.child.stdout?.destroy()
    this.child.unref()
    if (!alive) return
    let late: Timer | undefined
    const patience = new Promise<void>((resolve) => {
      late = clock.after(endMaxMs, resolve)
    })
    await Promise.race([gone, patience])
    late?.clear()
  }
}

const mappings: sys.Mapping[] = []

/** Calls that keep something in the peer between requests. */
const own: Record<string, (...args: never[]) => Answer> = {
  map: (fd: number, size: number) => mappings.push(new sys.Mapping(fd, size)) - 1,
  peek: (map: number, at: number, size: number) => mappings[map]!.peek(at, size).latin1Slice(),
  poke: (map: number, at: number, text: string) => {
    mappings[map]!.poke(at, Buffer.from(text, 'latin1'))
    return 0
  },
  contentOf: (path: string) => {
    const fd = sys.open(path, sys.O.O_RDONLY)
    if (fd < 0) return fd
    const data = sys.pread(fd, 1 << 20, 0)
    sys.close(fd)
    return typeof data === 'number' ? data : data.latin1Slice()
  },
  /** As O_DIRECT wants it. */
  pwriteAligned: (fd: number, data: Uint8Array, offset: number) => {
    const memory = new sys.Page(data.length).view()
    memory.set(data)
    return sys.pwrite(fd, memory, offset)
  },
  /** The names in a directory, sorted. */
  names: (path: string) => {
    const entries = sys.list(path)
    if (typeof entries === 'number') return entries
    return entries
      .map((entry) => entry.name)
      .sort()
      .join(' ')
  },
  /** Opens, writes from the start, closes: what close-to-open is about. */
  writeFile: (path: string, text: string, flags: number) => {
    const fd = sys.open(path, sys.O.O_CREAT | sys.O.O_WRONLY | flags)
    if (fd < 0) return fd
    const count = sys.write(fd, Buffer.from(text, 'latin1'))
    const closed = sys.close(fd)
    return count < 0 ? count : closed
  },
  /** Single bytes at every second place: through the mapping, or by pwrite. */
  pokeEverySecond: (map: number, from: number, to: number) => {
    for (let at = from; at < to; at += 2) mappings[map]!.poke(at, Buffer.from('m'))
    return 0
  },
  writeEverySecond: (fd: number, from: number, to: number) => {
    for (let at = from; at < to; at += 2) {
      const count = sys.pwrite(fd, Buffer.from('w'), at)
      if (count !== 1) return count
    }
    return 0
  },
  createAll: (dir: string, ...names: string[]) => {
    for (const name of names) {
      const fd = sys.open(`${dir}/${name}`, sys.O.O_CREAT | sys.O.O_EXCL | sys.O.O_WRONLY)
      if (fd < 0) return fd
      sys.close(fd)
    }
    return names.length
  },
  append: (fd: number, text: string, count: number) => {
    for (let i = 0; i < count; i++) {
      const line = `${text} ${String(i).padStart(6, '0')}\n`
      const written = sys.write(fd, Buffer.from(line, 'latin1'))
      if (written !== line.length) return written
    }
    return 0
  },
  /** Takes a lock and lets it go by closing, so often; the first failure comes back. */
  lockAndClose: (path: string, kind: string, times: number) => {
    for (let i = 0; i < times; i++) {
      const fd = sys.open(path, sys.O.O_RDWR)
      const nowait = sys.LOCK.EX | sys.LOCK.NB
      const result = kind === 'flock' ? sys.flock(fd, nowait) : sys.setlk(fd, 'write', 0, 0)
      if (result < 0) return result
      sys.close(fd)
    }
    return 0
  },
  msync: (map: number) => mappings[map]!.sync(),
}

function serve(): void {
  const known = { ...sys, ...own } as unknown as Record<string, (...args: unknown[]) => unknown>
  createInterface({ input: process.stdin }).on('line', (line) => {
    const [name, args] = JSON.parse(line) as [string, Words]
    const result = known[name]!(
      ...args.map((arg) =>
        typeof arg === 'object' && 'bytes' in arg ? Buffer.from(arg.bytes, 'latin1') : arg,
      ),
    )
    const plain = result instanceof Uint8Array ? Buffer.from(result).latin1Slice() : result
    process.stdout.write(
      `${JSON.stringify(plain, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v))}\n`,
    )
  })
}

if (process.argv[2] === 'serve' && process.argv[1] === fileURLToPath(import.meta.url)) serve()
