/**
 * Who blamed whom, and when: the change-log xattrs of some files on every brick, looked at several
 * times a second. Tells afterwards what led to a split-brain.
 */
import { readdirSync } from 'node:fs'
import { clock } from '../../src/core/clock.ts'
import { run, sleep } from './sandbox.ts'

const LOOK_MS = 50
/** Lines kept of each file. */
const LINES_MAX = 200

export class BlameTrace {
  readonly #bricks: readonly string[]
  readonly #pattern: RegExp
  readonly #began = clock.now()
  readonly #last = new Map<string, string>()
  readonly #lines = new Map<string, string[]>()
  /** Files of which at some time every copy was blamed by a quorum: no heal decides that. */
  readonly split = new Set<string>()
  #isOver = false
  readonly #watching: Promise<void>

  /** `pattern`: which names in the root. */
  constructor(bricks: readonly string[], pattern: RegExp) {
    this.#bricks = bricks
    this.#pattern = pattern
    this.#watching = this.#watch()
  }

  /** Something happened that concerns all files. */
  note(text: string): void {
    for (const name of this.#lines.keys()) this.#add(name, text)
  }

  async end(): Promise<void> {
    this.#isOver = true
    await this.#watching
  }

  get names(): IterableIterator<string> {
    return this.#lines.keys()
  }

  /** What was seen of a file, oldest first. */
  of(name: string): string {
    return (this.#lines.get(name) ?? []).join('\n')
  }

  #add(name: string, text: string): void {
    const lines = this.#lines.get(name) ?? []
    this.#lines.set(name, lines)
    lines.push(`${((clock.now() - this.#began) / 1000).toFixed(2)} ${text}`)
    if (lines.length > LINES_MAX) lines.shift()
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      await Promise.all(this.#bricks.map((dir, brick) => this.#look(dir, brick)))
      for (const name of this.#lines.keys()) this.#judge(name)
      await sleep(LOOK_MS)
    }
  }

  #judge(name: string): void {
    const accused = this.#bricks.map(() => 0)
    for (const brick of this.#bricks.keys()) {
      const text = this.#last.get(`${brick} ${name}`) ?? ''
      for (const [, whom] of text.matchAll(/-client-(\d+)=(?!0\/)/g)) accused[Number(whom)]!++
    }
    const isSplit = accused.every((times) => 2 * times > this.#bricks.length)
    if (!isSplit || this.split.has(name)) return
    this.split.add(name)
    this.#add(name, 'every copy is blamed by a quorum')
  }

  async #look(dir: string, brick: number): Promise<void> {
    const names = readdirSync(dir).filter((name) => this.#pattern.test(name))
    if (names.length === 0) return
    const words = ['getfattr', '-h', '-d', '-m', 'trusted.afr', '-e', 'hex', '--', ...names]
    const { stdout } = await run(words, { cwd: dir, mayFail: true })
    const found = new Map(names.map((name) => [name, 'clean']))
    for (const block of stdout.split('\n\n')) {
      const name = /^# file: (.*)$/m.exec(block)?.[1]
      if (name === undefined) continue
      const counters = [...block.matchAll(/^trusted\.afr\.(\S+)=0x(\w{8})(\w{8})(\w{8})$/gm)]
        .map(([, key, ...slots]) => [key, ...slots.map(count)])
        .filter(([, ...slots]) => slots.some((value) => value !== 0))
        .map(([key, ...slots]) => `${key}=${slots.join('/')}`)
      if (counters.length > 0) found.set(name, counters.join(' '))
    }
    for (const [name, text] of found) {
      const key = `${brick} ${name}`
      if (this.#last.get(key) === text) continue
      this.#last.set(key, text)
      this.#add(name, `brick ${brick}: ${text}`)
    }
  }
}

const count = (hex: string): number => Number.parseInt(hex, 16) | 0
