/**
 * debug/io-stats: top of every client volfile. Counts bytes and request sizes always; calls and
 * latencies per fop while both diagnostics options are on. Writing an xattr `*io*stat*dump` on any
 * path stores the statistics in a file, as text or JSON. Stock's lists of the busiest files, its
 * samples and its interval dumps are not kept.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { clock } from '../../../src/core/clock.ts'
import { FdContext } from '../../../src/core/context.ts'
import { E, errnoOfError } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  type Fop,
  type FopName,
  fopNames,
  type MaybePromise,
  type Rep,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { type LogLevelName, setLogLevel } from '../../../src/observe/log.ts'
import { type CountedName, Counters } from './counters.ts'
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
    description: 'Statistics of each open file.',
    noEffect: 'per-file statistics are not kept',
  },
  'ios-dump-interval': {
    type: 'int',
    default: '0',
    min: 0,
    max: 3600,
    description: 'Seconds between dumps; 0 = none.',
    noEffect: 'interval dumps are not written',
  },
  'ios-dump-format': {
    type: 'str',
    default: 'json',
    values: ['json', 'text', 'dict', 'samples'],
    description: 'Form of interval dumps.',
    noEffect: 'interval dumps are not written',
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

/** Where dumps go; the file name comes from the xattr's value. */
export const dumpDirectory = { path: '/var/run/gluster' }

const JSON_KEY = /io.*stat.*_json_dump/
const DUMP_KEY = /io.*stat.*dump$/

export class IoStats extends Xlator<typeof options> {
  #total = new Counters(clock.now())
  #interval = new Counters(clock.now())
  #intervalNumber = 0
  readonly #fds = { open: 0, max: 0, maxAt: { sec: 0, nsec: 0 } }
  readonly #counted = new FdContext<true>(this)
  #measuring = false

  override init(): void {
    this.#measure()
    // Volfiles always name INFO; that is not to undo the command line's choice.
    const level = this.options['log-level']
    if (level !== undefined && level !== 'INFO') setLogLevel(level as LogLevelName)
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    const level = values['log-level']
    if (level !== undefined && level !== this.options['log-level']) {
      setLogLevel(level as LogLevelName)
    }
    super.reconfigure(values)
    this.#measure()
  }

  open: Fop<'open'> = (frame, req) => {
    const rep = frame.wind(this.child, 'open', req)
    return rep instanceof Promise ? rep.then(this.#opened) : this.#opened(rep)
  }

  readv: Fop<'readv'> = (frame, req) => {
    const rep = frame.wind(this.child, 'readv', req)
    return rep instanceof Promise ? rep.then(this.#read) : this.#read(rep)
  }

  writev: Fop<'writev'> = (frame, req) => {
    this.#total.write(req.size)
    this.#interval.write(req.size)
    return frame.tail(this.child, 'writev', req)
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
    if (rep.errno === 0) this.#counted.set(rep.fd, true)
    return rep
  }

  override release = (_fd: Fd): void => {
    this.#fds.open--
    this.#count('release', undefined)
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
    this.#counted.set(rep.fd, true)
    this.#fds.open++
    if (this.#fds.open > this.#fds.max) {
      this.#fds.max = this.#fds.open
      this.#fds.maxAt = clock.realtime()
    }
    return rep
  }

  readonly #read = (rep: Rep<'readv'>): Rep<'readv'> => {
    if (rep.errno === 0) {
      this.#total.read(rep.size)
      this.#interval.read(rep.size)
    }
    return rep
  }

  #count(name: CountedName, micros: number | undefined): void {
    this.#total.fop(name, micros)
    this.#interval.fop(name, micros)
  }

  /** Wraps the fops in a stopwatch, or unwraps them, so that it costs nothing while off. */
  #measure(): void {
    const on = this.options['latency-measurement'] && this.options['count-fop-hits']
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

  /** Writes both sets and starts a new interval. */
  async #dumpTo(given: string, json: boolean): Promise<Rep<'setxattr'>> {
    const name = given.replace(/^\//, '').replaceAll('/', '-')
    if (name === '' || given.includes('../')) return { errno: E.INVAL }
    const now = clock.now()
    const text = json
      ? formatJson(this.name, 'aggr', this.#total, now, this.#fds) +
        formatJson(this.name, 'inter', this.#interval, now, this.#fds)
      : formatText('Cumulative', this.#total, now, this.#fds) +
        formatText(`Interval ${this.#intervalNumber}`, this.#interval, now)
    this.#interval = new Counters(now)
    this.#intervalNumber++
    try {
      await mkdir(dumpDirectory.path, { recursive: true })
      await writeFile(path.join(dumpDirectory.path, `${name}.${this.name}`), text, 'latin1')
      return { errno: 0 }
    } catch (error) {
      this.log.error({ err: error }, `statistics could not be written to ${dumpDirectory.path}`)
      return { errno: errnoOfError(error) }
    }
  }
}

type AnyFop = (frame: Frame, req: never) => MaybePromise<Rep<FopName>>

export default defineXlator({ type: 'debug/io-stats', class: IoStats, options, children: 1 })
