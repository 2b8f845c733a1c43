/**
 * A process that writes files and tells what must be there from then on:
 * `fsync-writer.js DIR FIRST`. Each line is begun or done: `c 7` = file f7 is written and fsynced,
 * `A 7`/`a 7` = a tail is about to be appended / appended and fsynced, `R 7`/`r 7` = f7 is about to
 * be renamed to g7 / renamed. It ends with the first error: its mount was killed.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SIZE_MAX = 150_000

/** What file number `i` holds, its tail included, and how long it is without. */
export function contentOf(i: number): { bytes: Buffer; head: number } {
  const head = (i * 7919) % SIZE_MAX
  const block = Buffer.from(Array.from({ length: 251 }, (_, at) => (at * 31 + i * 17) & 0xff))
  return { bytes: Buffer.alloc(head + 1 + ((i * 104_729) % 20_000), block), head }
}

const tell = (line: string): number => writeSync(1, `${line}\n`)

function work(dir: string, i: number): void {
  const { bytes, head } = contentOf(i)
  const fd = openSync(`${dir}/f${i}`, 'wx')
  writeSync(fd, bytes, 0, head)
  fsyncSync(fd)
  tell(`c ${i}`)
  if (i % 3 === 1) {
    tell(`A ${i}`)
    writeSync(fd, bytes, head, bytes.length - head)
    fsyncSync(fd)
    tell(`a ${i}`)
  }
  closeSync(fd)
  if (i % 4 !== 2) return
  tell(`R ${i}`)
  renameSync(`${dir}/f${i}`, `${dir}/g${i}`)
  tell(`r ${i}`)
}

/** What writers of one directory told, and whether it is true. */
export class ToldFiles {
  /** The furthest step of each file. */
  readonly #told = new Map<number, string>()
  /** Number of the next writer's first file. */
  next = 0
  /** Files with a step that was begun and not acknowledged. */
  unsure = 0

  get count(): number {
    return this.#told.size
  }

  /** Starts a writer in `dir`; it ends with the mount. */
  write(dir: string): ChildProcess {
    const words = [fileURLToPath(import.meta.url), dir, String(this.next)]
    const writer = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    writer.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) {
        const [step = '', number = ''] = line.split(' ')
        this.#told.set(Number(number), step)
        // The one after it may be there in part.
        this.next = Number(number) + 2
      }
    })
    return writer
  }

  /** Files from number `first` on have what was told of them. */
  check(dir: string, first: number): void {
    const names = new Set(readdirSync(dir))
    for (const [i, step] of this.#told) {
      if (i < first) continue
      if (first > 0 && step !== step.toLowerCase()) this.unsure++
      // A rename that was begun is done or not; the listing, which one brick gives, may be behind.
      const name =
        step === 'r' || (step === 'R' && !existsSync(join(dir, `f${i}`))) ? `g${i}` : `f${i}`
      const found = readFileSync(join(dir, name))
      const { bytes, head } = contentOf(i)
      const hasTail = i % 3 === 1 && step !== 'c'
      const sure = hasTail && step !== 'A' ? bytes.length : head
      assert.ok(found.length >= sure, `${name}: ${found.length} bytes, ${sure} were synced`)
      assert.ok(found.length <= (hasTail || step === 'c' ? bytes.length : head), `${name} is long`)
      assert.ok(found.equals(bytes.subarray(0, found.length)), `${name}: other content`)
    }
    // What was begun and not told can be read, too.
    for (const name of names) {
      if (this.#told.get(Number(name.slice(1))) !== 'R') readFileSync(join(dir, name))
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir = '', first = ''] = process.argv.slice(2)
  try {
    for (let i = Number(first); ; i++) work(dir, i)
  } catch {
    process.exit(0)
  }
}
