/**
 * A process that works on files and checks every result against a model in memory:
 * `load.js DIR SEED SECONDS [all|writer]` makes DIR its own, mixes operations in it and prints what
 * it did as JSON. `all`: every kind, and the end removes everything. `writer`: what a program does
 * that writes files and reads them again; they stay, and the result lists them.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'
import * as sys from './syscalls.ts'
import { O } from './syscalls.ts'

export interface LoadResult {
  operations: number
  /** What went wrong, with the operation; at most `problemsMax` of them. */
  problems: string[]
  /** The slowest operation: its name and how long it took (milliseconds). */
  slowest: { operation: string; ms: number }
  /** Of a writer: path below DIR and digest of every file. */
  files: Record<string, string>
}

/** Which operations. */
export type LoadKind = 'all' | 'writer'

/**
 * Without truncate: the copier of a rebalance may write a block that it read before the file was
 * cut after the cut, on the new brick; nothing a client can do keeps it from that.
 */
const writerOperations = ['create', 'overwrite', 'append', 'read', 'keep open', 'use open']

const problemsMax = 20
const filesMax = 120
const fileSizeMax = 600_000

/** Starts a load process; the promise has its result. */
export function startLoad(
  dir: string,
  seed: number,
  seconds: number,
  kind: LoadKind = 'all',
): Promise<LoadResult> {
  const words = [fileURLToPath(import.meta.url), dir, String(seed), String(seconds)]
  const child: ChildProcess = spawn(process.execPath, [...words, kind], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const out: Buffer[] = []
  child.stdout!.on('data', (chunk: Buffer) => out.push(chunk))
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(Buffer.concat(out).toString()) as LoadResult)
      else reject(new Error(`load ${dir} ended with ${code}`))
    })
  })
}

interface Open {
  fd: number
  name: string
}

class Load {
  readonly #dir: string
  readonly #kind: LoadKind
  readonly #files = new Map<string, Buffer>()
  readonly #open: Open[] = []
  readonly result: LoadResult = {
    operations: 0,
    problems: [],
    slowest: { operation: '', ms: 0 },
    files: {},
  }
  #state: number
  #names = 0

  constructor(dir: string, seed: number, kind: LoadKind) {
    this.#dir = dir
    this.#kind = kind
    this.#state = (seed * 2654435761 + 1) >>> 0
  }

  #random(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * below)
  }

  #bytes(size: number): Buffer {
    // a repeated random block is cheap, and shifted or lost pieces still show
    const block = Buffer.allocUnsafe(257)
    for (let i = 0; i < block.length; i++) block[i] = this.#random(256)
    return Buffer.alloc(size, block)
  }

  #path(name: string): string {
    return `${this.#dir}/${name}`
  }

  #problem(text: string): void {
    if (this.result.problems.length < problemsMax) this.result.problems.push(text)
  }

  #expect(what: string, result: number, expected = 0): boolean {
    if (result === expected) return true
    this.#problem(`${what}: ${sys.errnoName(result)} instead of ${expected}`)
    return false
  }

  #pick(): string | undefined {
    const at = this.#random(this.#files.size)
    let i = 0
    for (const name of this.#files.keys()) if (i++ === at) return name
    return undefined
  }

  #fresh(): string {
    const depth = this.#random(3)
    return `${['', 'a/', 'a/b/'][depth]}file-${this.#names++}`
  }

  run(seconds: number): void {
    for (const dir of ['', '/a', '/a/b']) {
      this.#expect('mkdir', sys.mkdir(`${this.#dir}${dir}`))
    }
    const end = clock.now() + seconds * 1000
    while (clock.now() < end && this.result.problems.length < problemsMax) this.#step()
  }

  #step(): void {
    const table = this.#operations.filter(
      ([name]) => this.#kind === 'all' || writerOperations.includes(name),
    )
    const name = this.#files.size < 5 ? 'create' : table[this.#random(table.length)]![0]
    const operation = table.find(([known]) => known === name)![1]
    const began = clock.now()
    operation()
    const ms = clock.now() - began
    if (ms > this.result.slowest.ms) this.result.slowest = { operation: name, ms: Math.round(ms) }
    this.result.operations++
  }

  readonly #operations: readonly (readonly [string, () => void])[] = [
    ['create', () => this.#create()],
    ['create', () => this.#create()],
    ['overwrite', () => this.#overwrite()],
    ['append', () => this.#append()],
    ['truncate', () => this.#truncate()],
    ['read', () => this.#read()],
    ['read', () => this.#read()],
    ['rename', () => this.#rename()],
    ['replace', () => this.#replace()],
    ['unlink', () => this.#unlink()],
    ['keep open', () => this.#keepOpen()],
    ['use open', () => this.#useOpen()],
    ['list', () => this.#list()],
    ['attributes', () => this.#attributes()],
    ['xattr', () => this.#xattr()],
    ['hard link', () => this.#hardLink()],
    ['directory', () => this.#directory()],
    ['symlink', () => this.#symlink()],
  ]

  #create(): void {
    if (this.#files.size >= filesMax) {
      if (this.#kind === 'all') this.#unlink()
      return
    }
    const name = this.#fresh()
    const fd = sys.open(this.#path(name), O.O_CREAT | O.O_EXCL | O.O_RDWR)
    if (fd < 0) {
      this.#problem(`create ${name}: ${sys.errnoName(fd)}`)
      return
    }
    const data = this.#bytes(this.#random([100, 5000, 150_000, fileSizeMax][this.#random(4)]!))
    this.#files.set(name, data)
    this.#expect(`write ${name}`, sys.write(fd, data), data.length)
    if (this.#random(8) === 0) this.#expect(`fsync ${name}`, sys.fsync(fd))
    this.#expect(`close ${name}`, sys.close(fd))
  }

  #write(fd: number, name: string): void {
    const old = this.#files.get(name)!
    const at = this.#random(old.length + 1000)
    const data = this.#bytes(1 + this.#random(70_000))
    const grown = Buffer.alloc(Math.max(old.length, at + data.length))
    old.copy(grown)
    data.copy(grown, at)
    this.#files.set(name, grown.subarray(0, fileSizeMax * 2))
    if (this.#expect(`pwrite ${name} at ${at}`, sys.pwrite(fd, data, at), data.length)) {
      if (grown.length > fileSizeMax * 2) this.#expect('cut', sys.ftruncate(fd, fileSizeMax * 2))
    }
  }

  #withOpen(name: string, flags: number, body: (fd: number) => void): void {
    const fd = sys.open(this.#path(name), flags)
    if (fd < 0) {
      this.#problem(`open ${name}: ${sys.errnoName(fd)}`)
      return
    }
    body(fd)
    this.#expect(`close ${name}`, sys.close(fd))
  }

  #overwrite(): void {
    const name = this.#pick()!
    this.#withOpen(name, O.O_RDWR, (fd) => this.#write(fd, name))
  }

  #append(): void {
    const name = this.#pick()!
    const old = this.#files.get(name)!
    if (old.length > fileSizeMax) return
    const data = this.#bytes(1 + this.#random(5000))
    this.#withOpen(name, O.O_WRONLY | O.O_APPEND, (fd) => {
      this.#files.set(name, Buffer.concat([old, data]))
      this.#expect(`append ${name}`, sys.write(fd, data), data.length)
    })
  }

  #truncate(): void {
    const name = this.#pick()!
    const size = this.#random(fileSizeMax)
    const cut = Buffer.alloc(size)
    this.#files.get(name)!.copy(cut)
    this.#files.set(name, cut)
    this.#expect(`truncate ${name}`, sys.truncate(this.#path(name), size))
  }

  #check(name: string, fd: number): void {
    const expected = this.#files.get(name)!
    const data = sys.pread(fd, expected.length + 10, 0)
    if (typeof data === 'number') this.#problem(`read ${name}: ${sys.errnoName(data)}`)
    else if (!data.equals(expected)) {
      const at = data.findIndex((byte, i) => byte !== expected[i])
      this.#problem(`${name} differs at ${at}: ${data.length} bytes, expected ${expected.length}`)
    }
  }

  #read(): void {
    const name = this.#pick()!
    this.#withOpen(name, O.O_RDONLY, (fd) => this.#check(name, fd))
  }

  #move(from: string, to: string): void {
    if (!this.#expect(`rename ${from} ${to}`, sys.rename(this.#path(from), this.#path(to)))) return
    this.#files.set(to, this.#files.get(from)!)
    this.#files.delete(from)
    for (let i = this.#open.length - 1; i >= 0; i--) {
      const open = this.#open[i]!
      // what was replaced has no name any more, and no model
      if (open.name === to) sys.close(this.#open.splice(i, 1)[0]!.fd)
      else if (open.name === from) open.name = to
    }
  }

  #rename(): void {
    this.#move(this.#pick()!, this.#fresh())
  }

  #replace(): void {
    const [from, to] = [this.#pick()!, this.#pick()!]
    if (from !== to) this.#move(from, to)
  }

  #unlink(): void {
    const name = this.#pick()
    if (name === undefined) return
    this.#expect(`unlink ${name}`, sys.unlink(this.#path(name)))
    const content = this.#files.get(name)!
    this.#files.delete(name)
    for (let i = this.#open.length - 1; i >= 0; i--) {
      const open = this.#open[i]!
      if (open.name !== name) continue
      const data = sys.pread(open.fd, content.length + 1, 0)
      if (typeof data === 'number' || !data.equals(content)) {
        const found = typeof data === 'number' ? sys.errnoName(data) : `${data.length} bytes`
        this.#problem(`unlinked ${name}: ${found}`)
      }
      sys.close(this.#open.splice(i, 1)[0]!.fd)
    }
  }

  #keepOpen(): void {
    if (this.#open.length >= 10) {
      this.#expect('close', sys.close(this.#open.splice(this.#random(10), 1)[0]!.fd))
    }
    const name = this.#pick()!
    const fd = sys.open(this.#path(name), O.O_RDWR)
    if (fd < 0) this.#problem(`open ${name}: ${sys.errnoName(fd)}`)
    else this.#open.push({ fd, name })
  }

  #useOpen(): void {
    const open = this.#open[this.#random(this.#open.length)]
    if (open === undefined) return
    if (this.#random(2) === 0) this.#check(open.name, open.fd)
    else this.#write(open.fd, open.name)
  }

  #list(): void {
    const below = ['', 'a/', 'a/b/'][this.#random(3)]!
    const entries = sys.list(this.#path(below))
    if (typeof entries === 'number') {
      this.#problem(`list: ${sys.errnoName(entries)}`)
      return
    }
    const found = entries.map((e) => e.name).filter((name) => name.startsWith('file-'))
    const expected = [...this.#files.keys()]
      .filter((name) => name.startsWith(below) && !name.slice(below.length).includes('/'))
      .map((name) => name.slice(below.length))
    if (found.sort().join() !== expected.sort().join()) {
      const missing = expected.filter((name) => !found.includes(name))
      const extra = found.filter((name, i) => !expected.includes(name) || found[i - 1] === name)
      this.#problem(`listing of ${below}: missing ${missing}, extra or double ${extra}`)
    }
  }

  #attributes(): void {
    const name = this.#pick()!
    const path = this.#path(name)
    const mode = 0o600 + this.#random(64)
    this.#expect(`chmod ${name}`, sys.chmod(path, mode))
    this.#expect(`times ${name}`, sys.utimens(path, [1e9, 1], [1e9 + mode, 2]))
    const stat = sys.stat(path)
    if (typeof stat === 'number') {
      this.#problem(`stat ${name}: ${sys.errnoName(stat)}`)
      return
    }
    const expected = this.#files.get(name)!.length
    if (stat.mode !== mode || stat.size !== expected || stat.mtime[0] !== 1e9 + mode) {
      this.#problem(`stat ${name}: mode ${stat.mode}, size ${stat.size}, mtime ${stat.mtime}`)
    }
  }

  #xattr(): void {
    const path = this.#path(this.#pick()!)
    const value = this.#bytes(1 + this.#random(200))
    this.#expect('setxattr', sys.setxattr(path, 'user.load', value))
    const back = sys.getxattr(path, 'user.load')
    if (typeof back === 'number' || !back.equals(value)) this.#problem(`xattr: ${String(back)}`)
  }

  #hardLink(): void {
    const name = this.#pick()!
    const other = this.#path(`link-${this.#names++}`)
    if (!this.#expect(`link ${name}`, sys.link(this.#path(name), other))) return
    const stat = sys.lstat(this.#path(name))
    if (typeof stat === 'number' || stat.nlink !== 2) this.#problem(`nlink of ${name}`)
    this.#expect(`unlink the link of ${name}`, sys.unlink(other))
  }

  #directory(): void {
    const path = this.#path(`dir-${this.#names++}`)
    this.#expect('mkdir', sys.mkdir(path))
    this.#expect('mkdir below', sys.mkdir(`${path}/below`))
    this.#expect('rename directory', sys.rename(path, `${path}-moved`))
    this.#expect('rmdir below', sys.rmdir(`${path}-moved/below`))
    this.#expect('rmdir', sys.rmdir(`${path}-moved`))
  }

  #symlink(): void {
    const path = this.#path(`symlink-${this.#names++}`)
    this.#expect('symlink', sys.symlink('target', path))
    if (sys.readlink(path) !== 'target') this.#problem('readlink')
    this.#expect('unlink symlink', sys.unlink(path))
  }

  /** Every file once more; then removed, or listed in the result. */
  end(): void {
    for (const { fd } of this.#open.splice(0)) sys.close(fd)
    for (const [name, content] of this.#files) {
      this.#withOpen(name, O.O_RDONLY, (fd) => this.#check(name, fd))
      if (this.#kind === 'writer')
        this.result.files[name] = createHash('sha256').update(content).digest('hex')
      else this.#expect(`last unlink ${name}`, sys.unlink(this.#path(name)))
    }
    if (this.#kind === 'writer') return
    for (const dir of ['/a/b', '/a', ''])
      this.#expect('last rmdir', sys.rmdir(`${this.#dir}${dir}`))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir, seed, seconds, kind] = process.argv.slice(2)
  const load = new Load(dir!, Number(seed), kind as LoadKind)
  load.run(Number(seconds))
  load.end()
  const text = Buffer.from(JSON.stringify(load.result))
  for (let at = 0; at < text.length; ) at += writeSync(1, text, at)
}
