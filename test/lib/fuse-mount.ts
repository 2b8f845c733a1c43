/** A mount of an in-memory brick, served by a process of its own, for tests that use it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { clock } from '../../src/core/clock.ts'

const server = fileURLToPath(new URL('./fuse-server.js', import.meta.url))
/** A test file in the namespace is killed after this long. */
const FILE_TIME_MS = 5 * 60_000
const ANSWER_TIME_MS = 20_000

/**
 * Call first in a test file. Runs the file again in a mount namespace of its own, where a mount
 * left behind ends with it, and exits with its status; inside returns false. A text says why the
 * tests must be skipped.
 */
export async function enterMountNamespace(testFile: string): Promise<string | false> {
  if (process.env.FUSE_TEST_NAMESPACE === 'yes') return false
  if (process.geteuid?.() !== 0) return 'needs root'
  if (!existsSync('/dev/fuse')) return 'needs /dev/fuse'
  const child = spawn(
    'unshare',
    ['-m', process.execPath, ...process.execArgv, fileURLToPath(testFile)],
    { stdio: 'inherit', env: { ...process.env, FUSE_TEST_NAMESPACE: 'yes' } },
  )
  clock.after(FILE_TIME_MS, () => child.kill('SIGKILL'), true)
  const status = await new Promise<number>((resolve) => {
    child.on('exit', (code) => resolve(code ?? 1))
  })
  process.exit(status)
}

export class FuseMount {
  readonly directory: string
  readonly #process: ChildProcess
  readonly #lines: Interface
  readonly #answers: string[] = []
  #waiting: ((line: string) => void) | undefined

  private constructor(directory: string, words: string[], env: Record<string, string>) {
    this.directory = directory
    this.#process = spawn(process.execPath, ['--enable-source-maps', server, directory, ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, FUSE_LOG: 'error', ...env },
      cwd: '/',
    })
    this.#lines = createInterface(this.#process.stdout!)
    this.#lines.on('line', (line) => {
      const waiting = this.#waiting
      this.#waiting = undefined
      if (waiting === undefined) this.#answers.push(line)
      else waiting(line)
    })
  }

  /** Mounts with `words` as options; resolves when the mount answers (or said that it does). */
  static async start(words: string[] = [], env: Record<string, string> = {}): Promise<FuseMount> {
    const mount = new FuseMount(mkdtempSync(join(tmpdir(), 'fuse-memory-')), words, env)
    const line = await mount.#line()
    if (line !== 'ready') throw new Error(`the server said: ${line}`)
    return mount
  }

  path(name: string): string {
    return `${this.directory}/${name}`
  }

  get pid(): number {
    return this.#process.pid!
  }

  #line(): Promise<string> {
    const ready = this.#answers.shift()
    if (ready !== undefined) return Promise.resolve(ready)
    return new Promise((resolve, reject) => {
      const timer = clock.after(ANSWER_TIME_MS, () => reject(new Error('the server is silent')))
      this.#waiting = (line) => {
        timer.clear()
        resolve(line)
      }
    })
  }

  /** Tells the server a command and gives its answer. */
  ask(command: string): Promise<string> {
    this.#process.stdin!.write(`${command}\n`)
    return this.#line()
  }

  async fops(): Promise<string[]> {
    return JSON.parse(await this.ask('trace')) as string[]
  }

  /** Unmounts; gives the exit status once the server has ended by itself. */
  async stop(how: 'signal' | 'umount' = 'signal'): Promise<number | null> {
    const ended = new Promise<number | null>((resolve) => {
      this.#process.on('exit', (code) => resolve(code))
    })
    if (how === 'signal') this.#process.kill('SIGTERM')
    else spawn('umount', [this.directory], { stdio: 'inherit' })
    const timer = clock.after(ANSWER_TIME_MS, () => this.#process.kill('SIGKILL'))
    const status = await ended
    timer.clear()
    rmdirSync(this.directory)
    return status
  }
}
