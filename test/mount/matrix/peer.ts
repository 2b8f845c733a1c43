/**
 * A second process that performs system calls on request: one JSON line in (name of a function of
 * syscalls.ts and its arguments), one out. A call that blocks blocks only this process.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as sys from '../../lib/syscalls.ts'

type Answer = number | string | { [key: string]: number | string }
type Words = (number | string | boolean | { bytes: string } | { fd: number })[]

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

  async open(path: string, flags: number, mode = 0o644): Promise<number> {
    return sys.must(Number(await this.call('open', path, flags, mode)), `peer opens ${path}`)
  }

  end(): void {
    this.child.kill('SIGKILL')
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
