/** Which files are used most: the lists of a text dump, and the statistics of one open file. */
import { clock } from '../../../src/core/clock.ts'
import type { InodeContext } from '../../../src/core/context.ts'
import { type InodeTable, inodePath } from '../../../src/core/inode.ts'
import { blockClass } from './counters.ts'
import { timeText } from './format.ts'

/** Lines of each list. */
const LINES_MAX = 10

export interface Throughput {
  /** Kilobytes a second, of the fastest request so far. */
  best: number
  at: { sec: number; nsec: number }
}

/** What is counted of one file or directory while it is known. */
export class FileStats {
  open = 0
  read = 0
  write = 0
  opendir = 0
  readdirp = 0
  readThroughput: Throughput | undefined
  writeThroughput: Throughput | undefined

  /** A request of `size` bytes took `ms`. */
  moved(key: 'readThroughput' | 'writeThroughput', size: number, ms: number): void {
    if (size === 0 || ms <= 0) return
    const rate = size / 1024 / (ms / 1000)
    if (rate > (this[key]?.best ?? 0)) this[key] = { best: rate, at: clock.realtime() }
  }
}

const COUNT_LISTS = [
  ['==========Open File Stats========', 'FILE NAME', 'open'],
  ['==========Read File Stats========', 'FILE NAME', 'read'],
  ['==========Write File Stats========', 'FILE NAME', 'write'],
  ['==========Directory open stats========', 'DIRECTORY NAME', 'opendir'],
  ['========Directory readdirp Stats=======', 'DIRECTORY NAME', 'readdirp'],
] as const

const RATE_LISTS = [
  ['========Read Throughput File Stats=====', 'readThroughput'],
  ['======Write Throughput File Stats======', 'writeThroughput'],
] as const

/** Every list, each ten lines at most, the busiest first. */
export function formatLists(table: InodeTable, files: InodeContext<FileStats>): string {
  const known: { path: () => string; stats: FileStats }[] = []
  for (const inode of table.inodes()) {
    const stats = files.get(inode)
    if (stats !== undefined) known.push({ path: () => inodePath(inode), stats })
  }
  let text = ''
  for (const [title, what, key] of COUNT_LISTS) {
    const top = known
      .filter(({ stats }) => stats[key] > 0)
      .sort((a, b) => b.stats[key] - a.stats[key])
      .slice(0, LINES_MAX)
    text += `\n${title}\n\nCOUNT:  \t  ${what}\n`
    for (const { path, stats } of top) text += `${String(stats[key]).padEnd(13)}${path()}\n`
  }
  for (const [title, key] of RATE_LISTS) {
    const top = known
      .flatMap(({ path, stats }) => (stats[key] === undefined ? [] : [{ path, rate: stats[key] }]))
      .sort((a, b) => b.rate.best - a.rate.best)
      .slice(0, LINES_MAX)
    text += `\n${title}\n\nTIMESTAMP \t\t\t THROUGHPUT(KBPS)\tFILE NAME\n`
    for (const { path, rate } of top) {
      text += `${timeText(rate.at)} \t ${rate.best.toFixed(2).padEnd(11)} \t  ${path()}\n`
    }
  }
  return text
}

/** `diagnostics.dump-fd-stats`: one open file, told in the log when it is closed. */
export class FdStats {
  readonly #begin = clock.now()
  #bytesRead = 0
  #bytesWritten = 0
  readonly #reads = new Map<number, number>()
  readonly #writes = new Map<number, number>()

  read(size: number): void {
    this.#bytesRead += size
    add(this.#reads, size)
  }

  write(size: number): void {
    this.#bytesWritten += size
    add(this.#writes, size)
  }

  /** Lines as stock logs them (io_stats_dump_fd). */
  lines(path: string): string[] {
    const seconds = ((clock.now() - this.#begin) / 1000).toFixed(6)
    const lines = [
      '--- fd stats ---',
      `      Filename : ${path}`,
      `      Lifetime : ${seconds} secs`,
    ]
    if (this.#bytesRead > 0) lines.push(`     BytesRead : ${this.#bytesRead} bytes`)
    if (this.#bytesWritten > 0) lines.push(`  BytesWritten : ${this.#bytesWritten} bytes`)
    for (const [size, count] of sorted(this.#reads)) lines.push(` Read ${size}b+ :${count}`)
    for (const [size, count] of sorted(this.#writes)) lines.push(`Write ${size}b+ : ${count}`)
    return lines
  }
}

function add(counts: Map<number, number>, size: number): void {
  const at = blockClass(size)
  counts.set(at, (counts.get(at) ?? 0) + 1)
}

const sorted = (counts: Map<number, number>): [string, number][] =>
  [...counts].sort(([a], [b]) => a - b).map(([at, n]) => [String(2 ** at).padStart(6, '0'), n])
