/**
 * performance/io-threads: in stock a pool of threads that take fops from four queues. Here nothing
 * blocks, so there are no threads; what remains is the order: a bounded number of fops of each
 * class is on its way, further ones wait in the queue of their class, and queues are served by
 * priority, within a class in turn by caller, so that one busy process does not hold up the others.
 *
 * Each "thread" of an option stands for several outstanding fops, as a thread of stock's hands its
 * fop on and takes the next. Fops that may wait for others (locks, leases) are never counted.
 */
import { E } from '../../../src/core/errno.ts'
import {
  type Fop,
  type FopName,
  fopNames,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import { CLIENT_PID_NO_ROOT_SQUASH, type Frame } from '../../../src/core/frame.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { PassThrough } from '../look.ts'

const THREADS = { type: 'int', min: 1, max: 64 } as const
const NO_THREADS = 'there are no threads'

export const options = defineOptions({
  'thread-count': {
    ...THREADS,
    default: '16',
    description: 'Threads in all; each stands for several fops on their way.',
  },
  'high-prio-threads': { ...THREADS, default: '16', description: 'Of them for lookup, stat, …' },
  'normal-prio-threads': { ...THREADS, default: '16', description: 'Of them for changes.' },
  'low-prio-threads': { ...THREADS, default: '16', description: 'Of them for reads and writes.' },
  'least-prio-threads': {
    ...THREADS,
    default: '1',
    description: 'Of them for internal clients, with enable-least-priority.',
  },
  'enable-least-priority': {
    type: 'bool',
    default: 'off',
    description: 'Serve internal clients last.',
  },
  'idle-time': {
    type: 'int',
    default: '120',
    min: 1,
    max: 0x7fffffff,
    description: 'Seconds after which an idle thread ends.',
    noEffect: NO_THREADS,
  },
  'watchdog-secs': {
    type: 'int',
    default: '0',
    min: 0,
    description: 'Seconds after which a stuck queue gets another thread.',
    noEffect: NO_THREADS,
  },
  'cleanup-disconnected-reqs': {
    type: 'bool',
    default: 'off',
    description: 'Drop the queued fops of a client that went away.',
    noEffect: 'the only client is this mount',
  },
  'pass-through': { type: 'bool', default: 'false', description: 'Do nothing.' },
})

/** Classes in the order they are served. */
const CLASS_NAMES = ['high', 'normal', 'low', 'least'] as const
type ClassName = (typeof CLASS_NAMES)[number]

/** Outstanding fops a thread stands for. */
const FOPS_PER_THREAD = 8
/** Queued fops: far more than a kernel sends at once. */
const QUEUED_MAX = 65536

const HIGH: readonly FopName[] = [
  'lookup',
  'open',
  'opendir',
  'stat',
  'fstat',
  'access',
  'readlink',
  'statfs',
  'readdir',
  'readdirp',
  'getactivelk',
  'setactivelk',
  'icreate',
  'namelink',
]
const LOW: readonly FopName[] = [
  'readv',
  'writev',
  'fsync',
  'fsyncdir',
  'truncate',
  'ftruncate',
  'xattrop',
  'fxattrop',
  'rchecksum',
  'fallocate',
  'discard',
  'zerofill',
  'seek',
  'copy_file_range',
]
/** They may wait for another fop, which must not wait for their place. */
const UNCOUNTED: readonly FopName[] = [
  'lk',
  'inodelk',
  'finodelk',
  'entrylk',
  'fentrylk',
  'lease',
  'ipc',
]

interface Waiting {
  readonly run: () => void
}

class Queue {
  readonly name: ClassName
  /** Fops on their way, and how many may be. */
  outstanding = 0
  limit = 0
  #queued = 0
  /** By caller; the first caller's turn is next. */
  readonly #callers = new Map<number, Waiting[]>()

  constructor(name: ClassName) {
    this.name = name
  }

  get queued(): number {
    return this.#queued
  }

  push(caller: number, waiting: Waiting): void {
    this.#queued++
    const list = this.#callers.get(caller)
    if (list === undefined) this.#callers.set(caller, [waiting])
    else list.push(waiting)
  }

  /** The next in turn; its caller goes to the end of the line. */
  shift(): Waiting | undefined {
    for (const [caller, list] of this.#callers) {
      this.#callers.delete(caller)
      const waiting = list.shift()
      if (list.length > 0) this.#callers.set(caller, list)
      if (waiting === undefined) continue
      this.#queued--
      return waiting
    }
    return undefined
  }
}

export class IoThreads extends Xlator<typeof options> {
  readonly #queues = {
    high: new Queue('high'),
    normal: new Queue('normal'),
    low: new Queue('low'),
    least: new Queue('least'),
  }
  readonly #passThrough = new PassThrough(this as unknown as Xlator)
  #outstanding = 0
  #queued = 0

  constructor(init: ConstructorParameters<typeof Xlator<typeof options>>[0]) {
    super(init)
    const table = this as unknown as Record<FopName, Fop<FopName>>
    for (const fop of fopNames) {
      if (UNCOUNTED.includes(fop)) continue
      const name = HIGH.includes(fop) ? 'high' : LOW.includes(fop) ? 'low' : 'normal'
      table[fop] = (frame, req) => this.#schedule(this.#queues[name], fop, frame, req)
    }
  }

  override init(): void {
    this.#configure()
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    super.reconfigure(values)
    this.#configure()
    this.#serve()
  }

  override dump(sink: DumpSink): void {
    sink.section(`performance/io-threads.${this.name}`)
    sink.pair('maximum_threads_count', this.options['thread-count'])
    sink.pair('current_threads_count', 0)
    sink.pair('sleep_count', 0)
    sink.pair('idle_time', this.options['idle-time'])
    sink.pair('stack_size', 0)
    for (const name of CLASS_NAMES) {
      sink.pair(`max_${name}_priority_threads`, this.options[`${name}-prio-threads`])
    }
    for (const name of CLASS_NAMES) {
      const { outstanding } = this.#queues[name]
      const threads = Math.ceil(outstanding / FOPS_PER_THREAD)
      sink.pair(`current_${name}_priority_threads`, threads)
    }
    for (const name of CLASS_NAMES) {
      const queue = this.#queues[name]
      sink.pair(`${name}_priority_outstanding`, queue.outstanding)
      sink.pair(`${name}_priority_queued`, queue.queued)
    }
  }

  #configure(): void {
    for (const name of CLASS_NAMES) {
      this.#queues[name].limit = this.options[`${name}-prio-threads`] * FOPS_PER_THREAD
    }
    this.#passThrough.set(this.options['pass-through'])
  }

  #schedule<K extends FopName>(
    byFop: Queue,
    fop: K,
    frame: Frame,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const { pid } = frame.creds
    const internal = pid < 0 && pid !== CLIENT_PID_NO_ROOT_SQUASH
    const queue = internal && this.options['enable-least-priority'] ? this.#queues.least : byFop
    if (this.#queued === 0 && this.#mayRun(queue)) return this.#start(queue, fop, frame, req)
    if (this.#queued >= QUEUED_MAX) return { errno: E.AGAIN }
    return new Promise((resolve) => {
      this.#queued++
      queue.push(pid, { run: () => resolve(this.#start(queue, fop, frame, req)) })
      this.#serve()
    })
  }

  #mayRun(queue: Queue): boolean {
    const total = this.options['thread-count'] * FOPS_PER_THREAD
    return queue.outstanding < queue.limit && this.#outstanding < total
  }

  #start<K extends FopName>(queue: Queue, fop: K, frame: Frame, req: Req<K>): MaybePromise<Rep<K>> {
    const rep = frame.tail(this.child, fop, req)
    if (!(rep instanceof Promise)) return rep
    queue.outstanding++
    this.#outstanding++
    const done = (): void => {
      queue.outstanding--
      this.#outstanding--
      if (this.#queued > 0) this.#serve()
    }
    rep.then(done, done)
    return rep
  }

  /** Starts queued fops while there is room, the highest class first. */
  #serve(): void {
    for (const name of CLASS_NAMES) {
      const queue = this.#queues[name]
      while (queue.queued > 0 && this.#mayRun(queue)) {
        this.#queued--
        queue.shift()!.run()
      }
    }
  }
}

export default defineXlator({
  type: 'performance/io-threads',
  class: IoThreads,
  options,
  children: 1,
})
