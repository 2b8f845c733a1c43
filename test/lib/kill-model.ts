/**
 * What a directory must hold while many steps are under way in it: each was told before and after,
 * and whoever did them may be killed at any time.
 */
import * as fs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { sleep } from './sandbox.ts'

/** A change of one file, number `n`. Data is of a generation, so that old and new differ. */
export type Step =
  | { do: 'create'; n: number; name: string; size: number }
  | { do: 'append'; n: number; size: number; generation: number }
  | { do: 'write'; n: number; at: number; size: number; generation: number }
  | { do: 'truncate'; n: number; size: number }
  | { do: 'rename'; n: number; name: string; over?: number | undefined }
  | { do: 'unlink'; n: number }

interface File {
  name: string
  bytes: Buffer
}

const PERIOD = 251
/** How long a mount may take to heal what was left half done, when it looks at it. */
const HEAL_POLLS_MAX = 100
const HEAL_POLL_MS = 100
/** Files that are looked at at a time. */
const AT_A_TIME = 8

/** `size` bytes that belong at `at` in file `n`. */
export function content(n: number, generation: number, at: number, size: number): Buffer {
  const mix = n * 17 + generation * 101
  const block = Buffer.from(Array.from({ length: PERIOD }, (_, i) => (i * 31 + mix) & 0xff))
  const shift = at % PERIOD
  return Buffer.alloc(shift + size, block).subarray(shift)
}

export class KillModel {
  readonly files = new Map<number, File>()
  /** Names that were removed for sure since the last check. */
  readonly gone = new Set<string>()
  /** Steps begun and not told to be done, by worker. */
  readonly begun = new Map<string, Step>()
  /** Steps that were done. */
  done = 0
  /** Bytes that a dispersed volume writes together, 1 elsewhere: see `between`. */
  readonly #stripe: number

  constructor(stripe = 1) {
    this.#stripe = stripe
  }

  /** `b WORKER STEP` or `e WORKER`. */
  told(line: string): void {
    const [what, worker = '', ...words] = line.split(' ')
    if (what === 'b') this.begun.set(worker, JSON.parse(words.join(' ')) as Step)
    else {
      this.apply(this.begun.get(worker)!)
      this.begun.delete(worker)
      this.done++
    }
  }

  apply(step: Step): void {
    const { files } = this
    const file = files.get(step.n)
    switch (step.do) {
      case 'create':
        files.set(step.n, { name: step.name, bytes: content(step.n, 0, 0, step.size) })
        break
      case 'append':
      case 'write':
      case 'truncate':
        file!.bytes = changed(file!.bytes, step)
        break
      case 'rename':
        if (step.over !== undefined) files.delete(step.over)
        this.gone.add(file!.name)
        this.gone.delete(step.name)
        file!.name = step.name
        break
      case 'unlink':
        this.gone.add(file!.name)
        files.delete(step.n)
    }
  }

  /**
   * Compares with `dir`; returns what is wrong. Steps under way are settled by what is found, and
   * their files removed, which must be possible. What they left half done may be healed first.
   * Other files with numbers below `first` are left for another time.
   */
  async check(dir: string, first = 0): Promise<string[]> {
    const unsure = new Set<number>()
    const steps = [...this.begun.values()]
    for (const step of steps) {
      if (step.do !== 'create') unsure.add(step.n)
      if (step.do === 'rename' && step.over !== undefined) unsure.add(step.over)
    }
    const problems = await each(steps, (step) => this.#settleInTime(dir, step))
    this.begun.clear()
    const sure = [...this.files].filter(([n]) => n >= first && !unsure.has(n))
    problems.push(
      ...(await each(sure, async ([, { name, bytes }]) =>
        differences(name, await read(dir, name), bytes),
      )),
    )
    problems.push(
      ...(await each([...this.gone], async (name) =>
        (await exists(join(dir, name))) ? [`${name}: removed, and there again`] : [],
      )),
    )
    this.gone.clear()
    problems.push(...(await this.remove(dir, [...unsure])))
    return problems
  }

  /** Removes files by number. */
  remove(dir: string, numbers: readonly number[]): Promise<string[]> {
    return each(numbers, async (n) => {
      const file = this.files.get(n)
      if (file === undefined) return []
      this.files.delete(n)
      return this.#removeName(dir, file.name)
    })
  }

  async #settleInTime(dir: string, step: Step): Promise<string[]> {
    let found = await this.#settle(dir, step)
    for (let i = 0; found.length > 0 && i < HEAL_POLLS_MAX; i++) {
      await sleep(HEAL_POLL_MS)
      found = await this.#settle(dir, step)
    }
    return found.map((text) => `${text}; under way: ${JSON.stringify(step)}`)
  }

  async #settle(dir: string, step: Step): Promise<string[]> {
    const file = this.files.get(step.n)
    switch (step.do) {
      case 'create':
        // There or not, whole or in part; a heal may take it away at this moment.
        return this.#removeName(dir, step.name, true)
      case 'append':
      case 'write':
      case 'truncate': {
        const found = await read(dir, file!.name)
        return between(file!.name, found, file!.bytes, step, this.#stripe)
      }
      case 'rename':
        return this.#settleRename(dir, step, file!)
      case 'unlink':
        if (!(await exists(join(dir, file!.name)))) {
          this.files.delete(step.n)
          return []
        }
        return differences(file!.name, await read(dir, file!.name), file!.bytes)
    }
  }

  async #settleRename(dir: string, step: Step & { do: 'rename' }, file: File): Promise<string[]> {
    const there = await exists(join(dir, file.name))
    const victim = step.over === undefined ? undefined : this.files.get(step.over)
    const found = await read(dir, step.name)
    if (!there) {
      if (step.over !== undefined) this.files.delete(step.over)
      file.name = step.name
      return differences(step.name, found, file.bytes)
    }
    const old = differences(file.name, await read(dir, file.name), file.bytes)
    if (victim === undefined) {
      // Under both names: one step of the rename is done, and no more.
      if (typeof found !== 'string') old.push(...(await this.#removeName(dir, step.name)))
      return old
    }
    // A rename over another removes that one at some moment; it is whole, or gone, or replaced.
    if (typeof found === 'string') {
      this.files.delete(step.over!)
      return (await exists(join(dir, step.name))) ? [...old, found] : old
    }
    const asVictim = differences(step.name, found, victim.bytes)
    if (asVictim.length > 0 && differences(step.name, found, file.bytes).length > 0) {
      old.push(...asVictim)
    }
    return old
  }

  async #removeName(dir: string, name: string, mayBeGone = false): Promise<string[]> {
    try {
      await fs.unlink(join(dir, name))
      return []
    } catch (error) {
      if (mayBeGone && (error as NodeJS.ErrnoException).code === 'ENOENT') return []
      return [`${name} cannot be removed: ${String(error)}`]
    }
  }
}

/** Some at a time; all that is found. */
async function each<T>(
  items: readonly T[],
  job: (item: T) => Promise<string[]>,
): Promise<string[]> {
  const found: string[] = []
  const left = items.values()
  const work = async (): Promise<void> => {
    for (const item of left) found.push(...(await job(item)))
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))
  return found
}

type Change = Step & { do: 'append' | 'write' | 'truncate' }

function changed(bytes: Buffer, step: Change): Buffer {
  if (step.do === 'truncate') {
    const cut = Buffer.alloc(step.size)
    bytes.copy(cut)
    return cut
  }
  const at = step.do === 'append' ? bytes.length : step.at
  const grown = Buffer.alloc(Math.max(bytes.length, at + step.size))
  bytes.copy(grown)
  content(step.n, step.generation, at, step.size).copy(grown, at)
  return grown
}

/** What cannot be looked at counts as there. */
async function exists(path: string): Promise<boolean> {
  try {
    await fs.lstat(path)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT'
  }
}

/** The bytes, or why they cannot be read. */
async function read(dir: string, name: string): Promise<Buffer | string> {
  try {
    return await fs.readFile(join(dir, name))
  } catch (error) {
    return `${name}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`
  }
}

function differences(name: string, found: Buffer | string, expected: Buffer): string[] {
  if (typeof found === 'string') return [found]
  if (found.equals(expected)) return []
  const at = firstDifference(found, expected)
  return [`${name}: ${found.length} bytes, ${expected.length} expected; other from ${at} on`]
}

function firstDifference(one: Buffer, other: Buffer): number {
  const shorter = Math.min(one.length, other.length)
  for (let at = 0; at < shorter; at++) if (one[at] !== other[at]) return at
  return shorter
}

/**
 * A change under way: what it does not touch is as it was, and the size is old or on its way.
 *
 * On a dispersed volume the touched stripes are left out. Their fragments are replaced in place, so
 * that with all bricks killed at once three may be new and three old, and no four belong together:
 * the format has no copy of the old ones.
 */
function between(
  name: string,
  found: Buffer | string,
  old: Buffer,
  step: Change,
  stripe: number,
): string[] {
  if (typeof found === 'string') return [found]
  const full = changed(old, step)
  const [least, most] = [Math.min(old.length, full.length), Math.max(old.length, full.length)]
  if (found.length < least || found.length > most) {
    return [`${name}: ${found.length} bytes while it goes from ${old.length} to ${full.length}`]
  }
  const [begin, end] = step.do === 'write' ? [step.at, step.at + step.size] : [least, most]
  const from = Math.floor(begin / stripe) * stripe
  const to = Math.ceil(end / stripe) * stripe
  const same =
    found.subarray(0, from).equals(old.subarray(0, from)) &&
    found.subarray(to).equals(old.subarray(to, found.length))
  if (same) return []
  const at = firstDifference(found, old)
  const change = `${step.do} ${begin} to ${end} was under way`
  return [`${name}: synced bytes lost at ${at} of ${old.length}; ${change}`]
}

/** The directory part that must exist before `name`. */
export const parentOf = (name: string): string => dirname(name)
