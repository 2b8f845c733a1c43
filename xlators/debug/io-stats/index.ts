/**
 * debug/io-stats: top of every client volfile. Counts bytes, request sizes and the busiest files
 * always; calls and latencies per fop while both diagnostics options are on. Writing an xattr
 * `*io*stat*dump` on any path stores the statistics in a file, as text or JSON; an interval does so
 * by itself. `latency-measurement` also makes the translators of the process measure theirs.
 *
 * Unlike stock: latencies are microseconds, as the headings say (stock prints nanoseconds);
 * throughput is not always 0; no samples.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { clock, type Timer } from '../../../src/core/clock.ts'
import { FdContext, InodeContext } from '../../../src/core/context.ts'
import { E, errnoOfError } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type Fop,
  type FopName,
  fopNames,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import { type Frame, measure } from '../../../src/core/frame.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { type LogLevelName, setLogLevel } from '../../../src/observe/log.ts'
import { type CountedName, Counters } from './counters.ts'
import { FdStats, FileStats, formatLists } from './files.ts'
import { formatJson, formatText } from './format.ts'

const LEVELS = ['DEBUG', 'WARNING', 'ERROR', 'INFO', 'CRITICAL', 'NONE', 'TRACE'] as const
const NO_SAMPLES = 'samples are not kept'
const LOGS = 'the log of this client is set up by its command line'

export const options = defineOptions({
  'latency-measurement': { type: 'bool', default: 'off', description: 'Measure fop latencies.' },
  'count-fop-hits': { type: 'bool', default: 'off', description: 'Count calls of each fop.' },
  'dump-fd-stats': {
    type: 'bool',
    default: 'off',
    description: 'Log statistics of each file when it is closed.',
  },
  'ios-dump-interval': {
    type: 'int',
    default: '0',
    min: 0,
    max: 3600,
    description: 'Seconds between dumps into /var/lib/glusterd/stats; 0 = none.',
  },
  'ios-dump-format': {
    type: 'str',
    default: 'json',
    values: ['json', 'text', 'dict', 'samples'],
    description: 'Form of interval dumps; of dict and samples nothing is written.',
  },
  'ios-sample-interval': {
    type: 'int',
    default: '0',
    min: 0,
    max: 65535,
    description: 'Sample every so many fops; 0 = none.',
    noEffect: NO_SAMPLES,
  },
  'ios-sample-buf-size': {
    type: 'int',
    default: '65535',
    min: 1024,
    max: 1048576,
    description: 'Samples kept.',
    noEffect: NO_SAMPLES,
  },
  'ios-dnscache-ttl-sec': {
    type: 'int',
    default: '86400',
    min: 1,
    max: 3600 * 72,
    description: 'How long resolved names of sampled clients are kept.',
    noEffect: NO_SAMPLES,
  },
  'log-level': {
    type: 'str',
    values: LEVELS,
    alias: ['client-log-level'],
    description: 'Level of the process log.',
  },
  'sys-log-level': {
    type: 'str',
    default: 'CRITICAL',
    values: LEVELS,
    description: 'Level of the system log.',
    noEffect: LOGS,
  },
  logger: { type: 'str', description: 'Log target.', noEffect: LOGS },
  'log-format': { type: 'str', description: 'Form of log lines.', noEffect: LOGS },
  'log-buf-size': {
    type: 'int',
    default: '5',
    min: 0,
    max: 20,
    description: 'Lines looked back for repeats.',
    noEffect: LOGS,
  },
  'log-flush-timeout': {
    type: 'time',
    default: '120',
    min: 30,
    max: 300,
    description: 'How long repeats of a line are gathered.',
    noEffect: LOGS,
  },
  'unique-id': { type: 'str', description: 'Name in dumps.' },
  'global-threading': {
    type: 'bool',
    default: 'off',
    description: 'One thread pool for all.',
    noEffect: 'there are no translator threads',
  },
  threads: {
    type: 'int',
    default: '16',
    description: 'Threads of the pool.',
    noEffect: 'there are no translator threads',
  },
  'volume-id': { type: 'any', description: 'Id of the volume; for the administrator.' },
})

/** Where dumps go: those asked for, named by the xattr's value, and those of the interval. */
export const dumpDirectory = { path: '/var/run/gluster', interval: '/var/lib/glusterd/stats' }

const JSON_KEY = /io.*stat.*_json_dump$/
const DUMP_KEY = /io.*stat.*dump$/

/** What io-stats keeps of an open file. */
interface Opened {
  readonly stats: FileStats
  /** `dump-fd-stats` was on at the open. */
  readonly own: FdStats | undefined
}

export class IoStats extends Xlator<typeof options> {
  #total = new Counters(clock.now())
  #interval = new Counters(clock.now())
  #intervalNumber = 0
  readonly #fds = { open: 0, max: 0, maxAt: { sec: 0, nsec: 0 } }
  readonly #files = new InodeContext<FileStats>(this)
  readonly #opens = new FdContext<Opened>(this)
  #measuring = false
  /** The process measures latencies because this translator said so. */
  #switchedOn = false
  #timer: Timer | undefined

  override init(): void {
    this.#measure()
    this.#schedule()
    // Volfiles always name INFO; that is not to undo the command line's choice.
    const level = this.options['log-level']
    if (level !== undefined && level !== 'INFO') setLogLevel(level as LogLevelName)
  }

  override fini(): void {
    this.#timer?.clear()
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    const level = values['log-level']
    if (level !== undefined && level !== this.options['log-level']) {
      setLogLevel(level as LogLevelName)
    }
    super.reconfigure(values)
    this.#measure()
    this.#schedule()
  }

  open: Fop<'open'> = (frame, req) => {
    const rep = frame.wind(this.child, 'open', req)
    return rep instanceof Promise ? rep.then(this.#opened) : this.#opened(rep)
  }

  readv: Fop<'readv'> = (frame, req) => {
    const begin = this.#measuring ? clock.now() : 0
    const rep = frame.wind(this.child, 'readv', req)
    if (!(rep instanceof Promise)) return this.#read(req, rep, begin)
    return rep.then((answer) => this.#read(req, answer, begin))
  }

  writev: Fop<'writev'> = (frame, req) => {
    this.#total.write(req.size)
    this.#interval.write(req.size)
    const opened = this.#opens.get(req.fd)
    if (opened === undefined) return frame.tail(this.child, 'writev', req)
    opened.stats.write++
    opened.own?.write(req.size)
    if (!this.#measuring) return frame.tail(this.child, 'writev', req)
    const begin = clock.now()
    const rep = frame.wind(this.child, 'writev', req)
    const took = (answer: Rep<'writev'>): Rep<'writev'> => {
      if (answer.errno === 0) {
        opened.stats.moved('writeThroughput', answer.size, clock.now() - begin)
      }
      return answer
    }
    return rep instanceof Promise ? rep.then(took) : took(rep)
  }

  setxattr: Fop<'setxattr'> = (frame, req) => {
    for (const [key, value] of req.dict.entries) {
      if (!DUMP_KEY.test(key)) continue
      const bytes = value.type === 'str' ? value.value : (req.dict.getBytes(key) ?? '').toString()
      return this.#dumpTo(bytes.replace(/\0.*$/s, ''), JSON_KEY.test(key))
    }
    return frame.tail(this.child, 'setxattr', req)
  }

  create: Fop<'create'> = (frame, req) => {
    const rep = frame.wind(this.child, 'create', req)
    return rep instanceof Promise ? rep.then(this.#opened) : this.#opened(rep)
  }

  opendir: Fop<'opendir'> = async (frame, req) => {
    const rep = await frame.wind(this.child, 'opendir', req)
    if (rep.errno === 0) this.#track(rep.fd).opendir++
    return rep
  }

  readdirp: Fop<'readdirp'> = (frame, req) => {
    const opened = this.#opens.get(req.fd)
    if (opened !== undefined) opened.stats.readdirp++
    return frame.tail(this.child, 'readdirp', req)
  }

  override forget = (_inode: Inode): void => this.#count('forget', undefined)

  override release = (fd: Fd): void => {
    this.#fds.open--
    this.#count('release', undefined)
    const own = this.#opens.get(fd)?.own
    if (own === undefined) return
    for (const line of own.lines(inodePath(fd.inode))) this.log.info(line)
  }

  override releasedir = (_fd: Fd): void => this.#count('releasedir', undefined)

  override dump(sink: DumpSink): void {
    sink.section(`${this.type}.${this.name}`)
    sink.pair('bytes_read', this.#total.bytesRead)
    sink.pair('bytes_written', this.#total.bytesWritten)
    sink.pair('fds.open_count', this.#fds.open)
    sink.pair('fds.max_open_count', this.#fds.max)
  }

  readonly #opened = <R extends Rep<'open'> | Rep<'create'>>(rep: R): R => {
    if (rep.errno !== 0) return rep
    this.#track(rep.fd).open++
    this.#fds.open++
    if (this.#fds.open > this.#fds.max) {
      this.#fds.max = this.#fds.open
      this.#fds.maxAt = clock.realtime()
    }
    return rep
  }

  #track(fd: Fd): FileStats {
    const stats = this.#files.need(fd.inode, () => new FileStats())
    const own = this.options['dump-fd-stats'] ? new FdStats() : undefined
    this.#opens.set(fd, { stats, own })
    return stats
  }

  #read(req: Req<'readv'>, rep: Rep<'readv'>, begin: number): Rep<'readv'> {
    if (rep.errno !== 0) return rep
    this.#total.read(rep.size)
    this.#interval.read(rep.size)
    const opened = this.#opens.get(req.fd)
    if (opened === undefined) return rep
    opened.stats.read++
    opened.own?.read(rep.size)
    if (begin !== 0) opened.stats.moved('readThroughput', rep.size, clock.now() - begin)
    return rep
  }

  #count(name: CountedName, micros: number | undefined): void {
    this.#total.fop(name, micros)
    this.#interval.fop(name, micros)
  }

  /** Wraps the fops in a stopwatch, or unwraps them, so that it costs nothing while off. */
  #measure(): void {
    const wanted = this.options['latency-measurement']
    if (wanted !== this.#switchedOn) {
      this.#switchedOn = wanted
      measure.latency = wanted
    }
    const on = wanted && this.options['count-fop-hits']
    if (on === this.#measuring) return
    this.#measuring = on
    const table = this as unknown as Record<FopName, AnyFop>
    for (const fop of fopNames) {
      if (!on) {
        table[fop] = this.#plain.get(fop)!
        continue
      }
      const plain = table[fop]
      this.#plain.set(fop, plain)
      table[fop] = (frame, req) => {
        const begin = clock.now()
        const rep = plain(frame, req)
        if (!(rep instanceof Promise)) {
          this.#count(fop, (clock.now() - begin) * 1000)
          return rep
        }
        return rep.then((answer) => {
          this.#count(fop, (clock.now() - begin) * 1000)
          return answer
        })
      }
    }
  }

  readonly #plain = new Map<FopName, AnyFop>()

  /** The next dump of the interval. */
  #schedule(): void {
    this.#timer?.clear()
    const seconds = this.options['ios-dump-interval']
    if (seconds === 0) return
    const tick = (): void => {
      this.#timer = clock.after(seconds * 1000, tick, true)
      const format = this.options['ios-dump-format']
      if (format !== 'json' && format !== 'text') return
      const file = path.join(dumpDirectory.interval, `glusterfs_${this.name}.dump`)
      void this.#write(file, this.#text(format === 'json'))
    }
    this.#timer = clock.after(seconds * 1000, tick, true)
  }

  /** Both sets; a new interval begins. */
  #text(json: boolean): string {
    const now = clock.now()
    const text = json
      ? formatJson(this.name, 'aggr', this.#total, now, this.#fds) +
        formatJson(this.name, 'inter', this.#interval, now, this.#fds)
      : formatText('Cumulative', this.#total, now, this.#fds) +
        formatLists(this.graph.inodes, this.#files) +
        formatText(`Interval ${this.#intervalNumber}`, this.#interval, now)
    this.#interval = new Counters(now)
    this.#intervalNumber++
    return text
  }

  #dumpTo(given: string, json: boolean): MaybePromise<Rep<'setxattr'>> {
    const name = given.replace(/^\//, '').replaceAll('/', '-')
    if (name === '' || given.includes('../')) return { errno: E.INVAL }
    return this.#write(path.join(dumpDirectory.path, `${name}.${this.name}`), this.#text(json))
  }

  async #write(file: string, text: string): Promise<Rep<'setxattr'>> {
    const temporary = `${file}.${process.pid}`
    try {
      await mkdir(path.dirname(file), { recursive: true })
      await writeFile(temporary, text, 'latin1')
      await rename(temporary, file)
      return { errno: 0 }
    } catch (error) {
      this.log.error({ err: error }, `statistics could not be written to ${file}`)
      return { errno: errnoOfError(error) }
    }
  }
}

type AnyFop = (frame: Frame, req: never) => MaybePromise<Rep<FopName>>

export default defineXlator({ type: 'debug/io-stats', class: IoStats, options, children: 1 })
