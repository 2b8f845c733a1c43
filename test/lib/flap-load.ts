/**
 * A process that writes and reads while bricks come and go: `flap-load.js DIR TAG SEED SECONDS`.
 * A call may fail then; what failed may or may not have happened. Everything else is known: what is
 * read must be something that was written, and at the end it tells what must be there.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'
import { seeded } from './seeded.ts'
import { initialContent, slotContent, slotsOf } from './slot-writer.ts'
import * as sys from './syscalls.ts'
import { O } from './syscalls.ts'

const FILES = 3
const PROBLEMS_MAX = 20
/** After a failure, ms. */
const PAUSE_MS = 20
const MADE_SIZE_MAX = 20_000
/** Generations a slot may have at once; a slot that failed more often is left alone. */
const ALLOWED_MAX = 200

/** Of a file made under way: `there` with its content, `gone`, or nobody knows. */
export type Fate = 'there' | 'gone' | 'unsure'

export interface FlapResult {
  operations: number
  /** Calls that failed, by name and errno. */
  errors: Record<string, number>
  problems: string[]
  /** What each slot of each file may have. */
  allowed: number[][][]
  /** By name. */
  made: Record<string, Fate>
}

export const slotFile = (tag: string, index: number): string => `slots-${tag}-${index}`
export const slotSeed = (seed: number, index: number): number => seed * 100 + index
export const DIRECTORY = 'made'

/** What a file holds that was made as number `i`. */
export function madeContent(seed: number, i: number): Buffer {
  return slotContent(seed, i, (i * 7919) % MADE_SIZE_MAX, 1)
}

/** Number of the made file called `name`. */
export const madeNumber = (name: string): number => Number(name.split('-')[2])

class FlapLoad {
  readonly #dir: string
  readonly #tag: string
  readonly #seed: number
  readonly #random: () => number
  readonly #fds: number[] = []
  readonly #made = new Map<string, Fate>()
  #next = 0
  #generation = 1
  readonly result: FlapResult

  constructor(dir: string, tag: string, seed: number) {
    this.#dir = dir
    this.#tag = tag
    this.#seed = seed
    this.#random = seeded(seed)
    const allowed = Array.from({ length: FILES }, (_, index) =>
      slotsOf(slotSeed(seed, index)).map(() => [0]),
    )
    this.result = { operations: 0, errors: {}, problems: [], allowed, made: {} }
  }

  /** While all bricks are there. */
  prepare(): void {
    for (let index = 0; index < FILES; index++) {
      const fd = sys.must(sys.open(this.#slotPath(index), O.O_CREAT | O.O_EXCL | O.O_RDWR))
      const content = initialContent(slotSeed(this.#seed, index))
      if (sys.write(fd, content) !== content.length) throw new Error('initial write')
      this.#fds.push(fd)
    }
  }

  run(seconds: number): void {
    const end = clock.now() + seconds * 1000
    while (clock.now() < end && this.result.problems.length < PROBLEMS_MAX) {
      this.#step()
      this.result.operations++
    }
    for (const fd of this.#fds) if (fd >= 0) sys.close(fd)
    this.result.made = Object.fromEntries(this.#made)
  }

  #step(): void {
    const choice = this.#number(12)
    if (choice < 5) this.#write()
    else if (choice < 8) this.#read()
    else if (choice === 8) this.#make()
    else if (choice === 9) this.#rename()
    else if (choice === 10) this.#unlink()
    else this.#readMade()
  }

  #number(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #slotPath(index: number): string {
    return `${this.#dir}/${slotFile(this.#tag, index)}`
  }

  #madePath(name: string): string {
    return `${this.#dir}/${DIRECTORY}/${name}`
  }

  #problem(text: string): void {
    this.result.problems.push(text)
  }

  /** Counts a failure; true when the call succeeded. */
  #did(what: string, result: number): boolean {
    if (result >= 0) return true
    const key = `${what} ${sys.errnoName(result)}`
    this.result.errors[key] = (this.result.errors[key] ?? 0) + 1
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
    return false
  }

  /** An fd of a slot file: mostly one that was opened long ago. */
  #fd(index: number): number {
    if ((this.#fds[index] ?? -1) >= 0 && this.#number(10) > 0) return this.#fds[index]!
    if (this.#fds[index]! >= 0) this.#did('close', sys.close(this.#fds[index]!))
    const fd = sys.open(this.#slotPath(index), O.O_RDWR)
    this.#fds[index] = this.#did('open', fd) ? fd : -1
    return this.#fds[index]!
  }

  /** A slot of one of the files; `fd` is negative when that cannot be opened. */
  #slot(): { index: number; fd: number; seed: number; slot: number; offset: number; size: number } {
    const index = this.#number(FILES)
    const seed = slotSeed(this.#seed, index)
    const slots = slotsOf(seed)
    const slot = this.#number(slots.length)
    return { index, fd: this.#fd(index), seed, slot, ...slots[slot]! }
  }

  #write(): void {
    const { index, fd, seed, slot, offset, size } = this.#slot()
    if (fd < 0) return
    const allowed = this.result.allowed[index]![slot]!
    if (allowed.length > ALLOWED_MAX) return
    const generation = this.#generation++
    const count = sys.pwrite(fd, slotContent(seed, slot, size, generation), offset)
    if (this.#did('write', count)) {
      if (count !== size) {
        this.#problem(`${slotFile(this.#tag, index)}: ${count} of ${size} bytes written`)
      }
      allowed.length = 0
    }
    allowed.push(generation)
  }

  #read(): void {
    const { index, fd, seed, slot, offset, size } = this.#slot()
    if (fd < 0) return
    const data = sys.pread(fd, size, offset)
    if (typeof data === 'number') {
      this.#did('read', data)
      return
    }
    const allowed = this.result.allowed[index]![slot]!
    if (allowed.some((one) => data.equals(slotContent(seed, slot, size, one)))) return
    this.#problem(`${slotFile(this.#tag, index)}: slot ${slot} is none of ${allowed}`)
  }

  #make(): void {
    const i = this.#next++
    const name = `n-${this.#tag}-${i}`
    const fd = sys.open(this.#madePath(name), O.O_CREAT | O.O_EXCL | O.O_WRONLY)
    this.#made.set(name, 'unsure')
    if (!this.#did('create', fd)) return
    const content = madeContent(this.#seed, i)
    const isWritten = this.#did('first write', sys.write(fd, content))
    if (this.#did('close', sys.close(fd)) && isWritten) this.#made.set(name, 'there')
  }

  /** A file that is there; `undefined` when there is none. */
  #pick(): string | undefined {
    const names = [...this.#made].filter(([, fate]) => fate === 'there').map(([name]) => name)
    return names[this.#number(names.length)]
  }

  #rename(): void {
    const from = this.#pick()
    if (from === undefined) return
    const to = `r${from}`
    const isDone = this.#did('rename', sys.rename(this.#madePath(from), this.#madePath(to)))
    this.#made.set(from, isDone ? 'gone' : 'unsure')
    this.#made.set(to, isDone ? 'there' : 'unsure')
  }

  #unlink(): void {
    const name = this.#pick()
    if (name === undefined) return
    const isDone = this.#did('unlink', sys.unlink(this.#madePath(name)))
    this.#made.set(name, isDone ? 'gone' : 'unsure')
  }

  #readMade(): void {
    const name = this.#pick()
    if (name === undefined) return
    const fd = sys.open(this.#madePath(name), O.O_RDONLY)
    if (!this.#did('open made', fd)) return
    const content = madeContent(this.#seed, madeNumber(name))
    const data = sys.pread(fd, content.length + 1, 0)
    if (typeof data === 'number') this.#did('read made', data)
    else if (!data.equals(content)) this.#problem(`${name}: ${data.length} bytes, other content`)
    sys.close(fd)
  }
}

/** Starts a load; `ready` when it has made its files, then bricks may go. */
export function startFlapLoad(
  dir: string,
  tag: string,
  seed: number,
  seconds: number,
): { ready: Promise<void>; done: Promise<FlapResult> } {
  const words = [fileURLToPath(import.meta.url), dir, tag, String(seed), String(seconds)]
  const child: ChildProcess = spawn(process.execPath, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const out: Buffer[] = []
  const ready = new Promise<void>((resolve) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      out.push(chunk)
      resolve()
    })
    child.on('close', () => resolve())
  })
  const done = new Promise<FlapResult>((resolve, reject) => {
    child.on('close', (code) => {
      const [, text] = Buffer.concat(out).toString().split('\n')
      if (code === 0) resolve(JSON.parse(text!) as FlapResult)
      else reject(new Error(`load on ${dir} ended with ${code}`))
    })
  })
  return { ready, done }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir, tag, seed, seconds] = process.argv.slice(2)
  const load = new FlapLoad(dir!, tag!, Number(seed))
  load.prepare()
  writeSync(1, 'ready\n')
  load.run(Number(seconds))
  const text = Buffer.from(JSON.stringify(load.result))
  for (let at = 0; at < text.length; ) at += writeSync(1, text, at)
}
