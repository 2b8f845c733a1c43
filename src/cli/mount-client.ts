/**
 * The client process: from a checked command line to an answering mount, and to its orderly end.
 *
 * Order: log, pid file, volfile, graph, mount(2), bricks, first lookup of the root. The volfile
 * comes before the mount, so that a wrong volume or a dead server never shows at the mount point.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { availableParallelism, hostname } from 'node:os'
import { dirname } from 'node:path'
import { options as bridgeTable, FuseBridge } from '../../xlators/mount/fuse/index.ts'
import { BUSY_POLL_US, busyPoll } from '../core/busy-poll.ts'
import { clock } from '../core/clock.ts'
import { E, errnoName } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { CallPool, measure } from '../core/frame.ts'
import { InodeTable } from '../core/inode.ts'
import { resolveOptions } from '../core/options.ts'
import { fillDefaultFops, type ProcessContext, type Xlator } from '../core/xlator.ts'
import { checkMountPoint, findMount } from '../fuse/mount.ts'
import type { Graph } from '../graph/build.ts'
import { flushRepeats, type Log, logFor, startLog } from '../observe/log.ts'
import { LogFile } from '../observe/log-file.ts'
import { writeMetrics } from '../observe/metrics.ts'
import { Observed } from '../observe/observed.ts'
import { type DumpedBridge, writeStatedump } from '../observe/statedump.ts'
import { bridgeOptions, type ClientSetup, volumeName } from './client-setup.ts'
import type { Report } from './daemon.ts'
import { errorLine, exitStatus } from './exit-status.ts'
import { GLUSTERFS_VERSION } from './help.ts'
import { giveBackWhenIdle } from './memory.ts'
import { duplicateFd, yieldProcessor } from './native.ts'
import { writePidFile } from './pid-file.ts'
import { showAs } from './process-name.ts'
import { VolumeGraph } from './volume-graph.ts'
import { Watchdog } from './watchdog.ts'

/** How long the last users of the mount may take to leave, ms; then the process ends anyway. */
const UNMOUNT_WAIT_MAX_MS = 5000
/** How long the bricks may take to answer for the root, ms; beyond connect and ping timeouts. */
const FIRST_LOOKUP_WAIT_MAX_MS = 90_000
/** How long the last lines of the log may take, ms. */
const LOG_WAIT_MAX_MS = 500

/** Of a brick that its glusterd does not know to run, or that just ended. */
const NOT_RUNNING = /is not running$|connection refused|ECONNREFUSED|^closed by the peer$/
/** Reasons told when no brick answers. */
const REASONS_MAX = 3

/** Status of a process that was told to end by a signal, as stock gives it: its number. */
const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const

/** Starts the client and reports how it went. Afterwards the process lives on its events. */
export async function runClient(
  setup: ClientSetup,
  words: readonly string[],
  report: (report: Report) => void,
): Promise<void> {
  const logFile = openLog(setup)
  const observed = new Observed(['glusterfs', ...words].join(' '), setup.logFile)
  const client = new MountClient(setup, logFile, observed, report)
  try {
    showAs(['glusterfs', ...words])
    if (!setup.foreground) {
      process.chdir('/')
      // What V8 says when it gives up goes to standard error.
      duplicateFd(logFile.fd, 2)
    }
    client.listen()
    logStart(setup, words)
    if (setup.pidFile !== undefined) writePidFile(setup.pidFile)
    setOomScore(setup)
    // Where there is one processor only, who is to answer needs it.
    const busyPollUs = availableParallelism() > 1 ? BUSY_POLL_US : 0
    busyPoll.begin(setup.values['busy-poll'] ?? busyPollUs, yieldProcessor)
    await client.start()
    report({ status: 0 })
  } catch (error) {
    const detail = error instanceof GlusterError ? {} : { err: error }
    log().fatal(detail, errorLine(error).replace('glusterfs: ', ''))
    await client.stop(exitStatus(error), errorLine(error))
  }
}

const log = (): Log => logFor('glusterfs')

/** Throws GlusterError BAD_VALUE. */
function openLog(setup: ClientSetup): LogFile {
  const { logFile, mountPoint, values } = setup
  const fail = (why: string): never => {
    throw new GlusterError('BAD_VALUE', `cannot open the log file ${logFile}: ${why}`)
  }
  try {
    if (logFile !== undefined) {
      mkdirSync(dirname(logFile), { recursive: true })
      // Writing the log through the mount it is about would wait for itself.
      const directory = `${realpathSync(dirname(logFile))}/`
      if (directory.startsWith(`${mountPoint}/`)) fail('it would be inside the mount')
    }
    const file = new LogFile(logFile)
    startLog(file, setup.logLevel, {
      json: values['log-format'] === 'json',
      localtime: values['localtime-logging'],
      repeatWindowMs: values['log-flush-timeout'] * 1000,
    })
    return file
  } catch (error) {
    if (error instanceof GlusterError) throw error
    return fail((error as NodeJS.ErrnoException).code ?? String(error))
  }
}

function logStart(setup: ClientSetup, words: readonly string[]): void {
  log().info(
    { arg: '/usr/sbin/glusterfs', version: GLUSTERFS_VERSION, cmdlinestr: words.join(' ') },
    'Started running version',
  )
  log().info({ pid: process.pid }, 'Pid of current running process is')
  for (const { name, reason } of setup.noEffect) log().info(`--${name} has no effect: ${reason}`)
}

function setOomScore(setup: ClientSetup): void {
  const score = setup.values['oom-score-adj']
  if (score === undefined) return
  try {
    writeFileSync('/proc/self/oom_score_adj', String(score))
  } catch (error) {
    log().warn({ err: error }, 'cannot set oom_score_adj')
  }
}

/** Waits for `promise`, but no longer than that. */
function withinMs(ms: number, promise: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, resolve)
    const done = (): void => {
      timer.clear()
      resolve()
    }
    promise.then(done, done)
  })
}

class MountClient {
  readonly #setup: ClientSetup
  readonly #logFile: LogFile
  readonly #report: (report: Report) => void
  readonly #observed: Observed
  readonly #pool = new CallPool()
  readonly #inodes = new InodeTable()
  readonly #volume: VolumeGraph
  #bridge: FuseBridge | undefined
  #watchdog: Watchdog | undefined
  #stopping = false

  constructor(
    setup: ClientSetup,
    logFile: LogFile,
    observed: Observed,
    report: (report: Report) => void,
  ) {
    this.#setup = setup
    this.#observed = observed
    this.#logFile = logFile
    this.#report = report
    this.#volume = new VolumeGraph(setup, () => void this.#statedump())
  }

  /** Signals and errors nobody caught. */
  listen(): void {
    process.on('SIGTERM', () => this.#terminate('SIGTERM'))
    process.on('SIGINT', () => this.#terminate('SIGINT'))
    process.on('SIGHUP', () => this.#hangup())
    process.on('SIGUSR1', () => void this.#statedump())
    process.on('SIGUSR2', () => void this.#metrics())
    process.on('uncaughtException', (error) => this.#crash(error))
  }

  /** Resolves once the root was looked up. Throws GlusterError. */
  async start(): Promise<void> {
    const { values, mountPoint, secureMgmt } = this.#setup
    const context: ProcessContext = {
      uuid: randomUUID(),
      hostname: hostname(),
      processName: values['process-name'] ?? 'fuse',
      subdirMount: values['subdir-mount'],
      secureMgmt,
      observed: this.#observed,
    }
    const bridge = this.#makeBridge(context)
    this.#observed.bridge = bridge as unknown as Xlator
    this.#observed.active = () => bridge.active ?? this.#volume.graph
    await checkMountPoint(mountPoint)
    const graph = await this.#volume.load(context, this.#pool, this.#inodes)
    await bridge.mount()
    const mounted = findMount(mountPoint)
    if (mounted !== undefined) this.#watchdog = new Watchdog(mountPoint, mounted.device)
    this.#bridge = bridge
    void bridge.closed.then(() => this.#unmounted())
    const run = (graph: Graph): void => {
      bridge.attach(graph)
      graph.start()
    }
    run(graph)
    this.#volume.follow(run)
    measure.samples = true
    giveBackWhenIdle(() => this.#pool.total)
    const root = await this.#firstLookup(bridge)
    if (root.errno !== 0) throw this.#rootError(root.errno)
  }

  #makeBridge(context: ProcessContext): FuseBridge {
    const given = bridgeOptions(this.#setup)
    const bridge = new FuseBridge({
      name: 'fuse',
      type: 'mount/fuse',
      options: resolveOptions(bridgeTable, given).values,
      givenOptions: given,
      graph: {
        id: 0,
        volfileId: volumeName(this.#setup),
        pool: this.#pool,
        inodes: this.#inodes,
        process: context,
        xlators: [],
      },
    })
    fillDefaultFops(bridge as unknown as Xlator)
    bridge.onRetired = (graph) => this.#volume.retire(graph)
    bridge.onAuthFailed = (reason) => {
      const why = `the bricks refuse this client: ${reason}`
      log().fatal(why)
      void this.stop(exitStatus(new GlusterError('AUTH_FAILED', why)), `glusterfs: ${why}`)
    }
    return bridge
  }

  /** Of the root; bounded, because a brick behind a firewall may stay silent for long. */
  #firstLookup(bridge: FuseBridge): Promise<{ errno: number }> {
    return new Promise((resolve, reject) => {
      const timer = clock.after(FIRST_LOOKUP_WAIT_MAX_MS, () => resolve({ errno: E.TIMEDOUT }))
      bridge.firstLookup.then((rep) => {
        timer.clear()
        resolve(rep)
      }, reject)
    })
  }

  #rootError(errno: number): GlusterError {
    const volume = volumeName(this.#setup)
    if (errno === E.NOTCONN || errno === E.TIMEDOUT) {
      return new GlusterError(
        'NO_BRICK_UP',
        `no brick of volume '${volume}' answers: ${this.#whyNoBrick(volume)}`,
        { errno },
      )
    }
    const subdir = this.#setup.values['subdir-mount']
    const what = subdir === undefined ? 'the root' : `directory ${subdir}`
    return new GlusterError(
      'MOUNT_FAILED',
      `${what} of volume '${volume}' cannot be looked up: ${errnoName(errno)}`,
      { errno },
    )
  }

  /** What the bricks' connections say; each reason once. */
  #whyNoBrick(volume: string): string {
    const reasons = new Set<string>()
    for (const xl of this.#volume.graph?.xlators ?? []) {
      const { failure } = xl as { failure?: unknown }
      if (typeof failure === 'string' && !NOT_RUNNING.test(failure)) reasons.add(failure)
    }
    const started = `is it started (gluster volume status ${volume})?`
    return reasons.size === 0 ? started : [...reasons].slice(0, REASONS_MAX).join('; ')
  }

  /** Unmounts, lets go of the bricks, reports a failure and ends the process. */
  async stop(status: number, message?: string): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    const bridge = this.#bridge
    if (bridge !== undefined) {
      await withinMs(UNMOUNT_WAIT_MAX_MS, bridge.unmount())
      await withinMs(UNMOUNT_WAIT_MAX_MS, bridge.closed)
    }
    // Bounded itself; what translators hold back of written data goes to the bricks here.
    await this.#volume.close()
    flushRepeats()
    await this.#logFile.drain(LOG_WAIT_MAX_MS)
    this.#exit(status, message)
  }

  #exit(status: number, message: string | undefined): void {
    this.#watchdog?.stop()
    this.#report({ status, message })
    process.exit(status)
  }

  #terminate(signal: keyof typeof SIGNAL_NUMBERS): void {
    log().warn(`received signum (${SIGNAL_NUMBERS[signal]}), shutting down`)
    void this.stop(SIGNAL_NUMBERS[signal])
  }

  /** Somebody else unmounted: nothing is left to serve. */
  #unmounted(): void {
    if (this.#stopping) return
    log().info(`'${this.#setup.mountPoint}' was unmounted, shutting down`)
    void this.stop(SIGNAL_NUMBERS.SIGTERM)
  }

  #hangup(): void {
    try {
      this.#logFile.reopen()
      if (!this.#setup.foreground) duplicateFd(this.#logFile.fd, 2)
      log().info('log file reopened')
    } catch (error) {
      log().error({ err: error }, 'cannot reopen the log file')
    }
    this.#volume.refetch()
  }

  async #statedump(): Promise<void> {
    try {
      const graph = this.#bridge?.active ?? this.#volume.graph
      const path = await writeStatedump({
        pool: this.#pool,
        root: this.#bridge as unknown as DumpedBridge | undefined,
        graph,
        oldGraphs: [...this.#observed.graphs().values()].filter((other) => other !== graph),
      })
      log().info(`state dump written to ${path}`)
    } catch (error) {
      log().error({ err: error }, 'cannot write the state dump')
    }
  }

  async #metrics(): Promise<void> {
    try {
      const path = await writeMetrics({
        commandLine: this.#observed.commandLine,
        mountPoint: this.#setup.mountPoint,
        pool: this.#pool,
        graph: this.#observed.active(),
        bridge: this.#observed.bridge,
      })
      log().info(`metrics written to ${path}`)
    } catch (error) {
      log().error({ err: error }, 'cannot write the metrics')
    }
  }

  /** The watchdog detaches the mount as soon as this process is gone. */
  #crash(error: unknown): void {
    log().fatal({ err: error }, 'uncaught error, this is a bug; pending frames:')
    for (const stack of this.#pool.stacks()) {
      log().fatal(`frame : type(${stack.type}) unique(${stack.unique})`)
    }
    flushRepeats()
    this.#logFile.flushSync()
    process.abort()
  }
}
