/**
 * A process that does many things at a time in a directory, and tells each before and after
 * (kill-model.ts): `kill-load.js DIR SEED FIRST WORKERS`. Data is synced before it is told. Files
 * have the numbers from FIRST on. SIGTERM: what is under way is finished. A step that fails is told as
 * `! ...` and ends its worker.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { statSync, writeSync } from 'node:fs'
import { mkdir, open, readFile, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { content, KillModel, parentOf, type Step } from './kill-model.ts'
import { seeded } from './seeded.ts'

/** Directories that all workers share. */
const DIRS = 4
/** Files of one worker at a time. */
const OWN_MIN = 3
const OWN_MAX = 9
const SIZES = [100, 3000, 20_000, 150_000]
const SIZE_MAX = 400_000
/** A piece of what is written without being synced. */
const NOISE_BYTES = 70_000
const NOISE_PIECES = 12

/** Whoever listens may have been ended. */
function tell(line: string): void {
  try {
    writeSync(1, `${line}\n`)
  } catch {
    process.exit(1)
  }
}

class Load {
  readonly #dir: string
  readonly #random: () => number
  readonly #model = new KillModel()
  readonly #device: number
  #next: number
  #ending = false

  constructor(dir: string, seed: number, first: number) {
    this.#dir = dir
    this.#device = statSync(dir).dev
    this.#random = seeded(seed * 1_000_003 + first)
    this.#next = first
    process.on('SIGTERM', () => {
      this.#ending = true
    })
  }

  async run(workers: number): Promise<void> {
    const all = Array.from({ length: workers }, (_, i) => this.#work(`w${i}`))
    if (workers > 1) all.push(this.#noise())
    await Promise.all(all)
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #name(n: number): string {
    // Now and then in a directory of its own.
    return n % 11 === 0 ? `own${n}/f${n}` : `d${n % DIRS}/f${n}`
  }

  async #work(worker: string): Promise<void> {
    const own: number[] = []
    let step: Step | undefined
    try {
      while (!this.#ending) {
        step = this.#choose(own)
        if (step === undefined) {
          await this.#read(own[this.#below(own.length)]!)
          continue
        }
        const line = `b ${worker} ${JSON.stringify(step)}`
        this.#model.told(line)
        tell(line)
        await this.#carryOut(step)
        this.#model.told(`e ${worker}`)
        tell(`e ${worker}`)
      }
    } catch (error) {
      tell(`! ${worker} ${JSON.stringify(step)}: ${String(error)}`)
    }
  }

  /** Undefined: a file is read. */
  #choose(own: number[]): Step | undefined {
    if (own.length < OWN_MIN) return this.#create(own)
    const at = this.#below(own.length)
    const n = own[at]!
    const { bytes } = this.#model.files.get(n)!
    const size = 1 + this.#below(SIZES[this.#below(SIZES.length)]!)
    const generation = 1 + this.#below(1000)
    const kind = own.length >= OWN_MAX ? 13 : this.#below(14)
    if (kind < 3) return this.#create(own)
    if (kind < 6 && bytes.length + size <= SIZE_MAX) {
      return { do: 'append', n, size, generation }
    }
    if (kind < 8 && bytes.length > 0) {
      const from = this.#below(bytes.length)
      const length = Math.min(size, bytes.length - from)
      return { do: 'write', n, at: from, size: length, generation }
    }
    if (kind === 8) return { do: 'truncate', n, size: this.#below(bytes.length + 1000) }
    if (kind === 9) return { do: 'rename', n, name: this.#name(this.#next++) }
    if (kind === 10 && own.length > 1) {
      const over = own[(at + 1) % own.length]!
      own.splice(own.indexOf(over), 1)
      return { do: 'rename', n, name: this.#model.files.get(over)!.name, over }
    }
    if (kind < 12) return undefined
    own.splice(at, 1)
    return { do: 'unlink', n }
  }

  #create(own: number[]): Step {
    const n = this.#next++
    own.push(n)
    const size = this.#below(SIZES[this.#below(SIZES.length)]!)
    return { do: 'create', n, name: this.#name(n), size }
  }

  async #carryOut(step: Step): Promise<void> {
    const file = this.#model.files.get(step.n)
    const at = (name: string): string => join(this.#dir, name)
    if (step.do === 'unlink') return unlink(at(file!.name))
    if (step.do === 'rename') {
      await mkdir(at(parentOf(step.name)), { recursive: true })
      return rename(at(file!.name), at(step.name))
    }
    if (step.do === 'create') await mkdir(at(parentOf(step.name)), { recursive: true })
    const name = step.do === 'create' ? step.name : file!.name
    const fd = await open(at(name), step.do === 'create' ? 'wx' : 'r+')
    try {
      // What a mount whose client died is detached from can be written to.
      if ((await fd.stat()).dev !== this.#device) throw new Error('the mount is gone')
      if (step.do === 'truncate') await fd.truncate(step.size)
      else {
        const from = step.do === 'create' ? 0 : step.do === 'append' ? file!.bytes.length : step.at
        const generation = step.do === 'create' ? 0 : step.generation
        const data = content(step.n, generation, from, step.size)
        await fd.write(data, 0, data.length, from)
      }
      await fd.sync()
    } finally {
      await fd.close()
    }
  }

  async #read(n: number): Promise<void> {
    const { name, bytes } = this.#model.files.get(n)!
    const found = await readFile(join(this.#dir, name))
    if (!found.equals(bytes)) throw new Error(`${name} reads ${found.length} bytes, or others`)
  }

  /** Large writes that nobody waits for. */
  async #noise(): Promise<void> {
    const path = join(this.#dir, 'noise')
    try {
      while (!this.#ending) {
        const fd = await open(path, 'w')
        try {
          for (let i = 0; i < NOISE_PIECES && !this.#ending; i++) {
            await fd.write(Buffer.alloc(NOISE_BYTES, i))
          }
        } finally {
          await fd.close()
        }
      }
    } catch (error) {
      tell(`! noise: ${String(error)}`)
    }
  }
}

/** Starts the program; each line it tells goes to `told`. */
export function startKillLoad(
  dir: string,
  seed: number,
  first: number,
  workers: number,
  told: (line: string) => void,
): ChildProcess {
  const words = [fileURLToPath(import.meta.url), dir, seed, first, workers].map(String)
  const child = spawn(process.execPath, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: String(workers + 4) },
  })
  let text = ''
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n')
    text = lines.pop() ?? ''
    for (const line of lines) told(line)
  })
  return child
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir = '', seed, first, workers] = process.argv.slice(2)
  await new Load(dir, Number(seed), Number(first)).run(Number(workers))
}
