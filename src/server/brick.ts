/**
 * A brick process: one brick graph from a volfile, until it is told to end.
 *
 *     node brick.js VOLFILE LOGFILE RUNFILE
 *
 * Its parent hears of it over the IPC channel: `{ port }` once clients can connect, `{ failed }`
 * when it cannot start. Like glusterfsd it outlives its parent; the run file tells the next
 * management server where it is. It ends with SIGTERM and with its disk. SIGHUP: the volfile is
 * read again, and changed options take effect.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { BrickServer } from '../../xlators/protocol/server/index.ts'
import { registry } from '../../xlators/registry.ts'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import { CallPool } from '../core/frame.ts'
import { InodeTable } from '../core/inode.ts'
import type { XlatorDefinition } from '../core/xlator.ts'
import { buildGraph, type Graph } from '../graph/build.ts'
import { reconfigureGraph, sameTopology } from '../graph/reconfigure.ts'
import { parseVolfile, type Volfile } from '../graph/volfile.ts'
import { flushRepeats, type Log, logFor, startLog } from '../observe/log.ts'
import { LogFile } from '../observe/log-file.ts'
import { lockForLife } from '../sys/lock.ts'
import { processStart } from './run-file.ts'

/** What a brick says to its parent. */
export type BrickMessage = { port: number } | { failed: string }

/** How long the last lines of the log may take, ms. */
const LOG_WAIT_MAX_MS = 500
/** How long a brick waits for a process that serves its directory and is about to end, ms. */
const PREDECESSOR_MAX_MS = 2000
const PREDECESSOR_POLL_MS = 50

export interface RunningBrick {
  readonly graph: Graph
  readonly server: BrickServer
  readonly port: number
}

const load = async (type: string): Promise<XlatorDefinition | undefined> =>
  (await registry[type]?.())?.default

/** Starts a brick in this process. Throws GlusterError. */
export async function startBrick(volfile: string, source: string): Promise<RunningBrick> {
  const graph = await buildGraph({
    volfile: parseVolfile(volfile, source),
    load,
    id: 0,
    volfileId: source,
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: {
      uuid: randomUUID(),
      hostname: hostname(),
      processName: 'glusterfsd',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
  const server = graph.top as unknown
  if (!(server instanceof BrickServer)) {
    throw new GlusterError('VOLFILE_INVALID', `${source}: the last volume is no protocol/server`)
  }
  graph.start()
  return { graph, server, port: await server.listening }
}

/** Gives a running brick the options of its changed volfile. Throws GlusterError. */
export async function reconfigureBrick(
  { graph }: RunningBrick,
  text: string,
  source: string,
): Promise<number> {
  const volfile = parseVolfile(text, source)
  if (!sameTopology(graph.volumes, volfile.volumes)) {
    throw new GlusterError('VOLFILE_INVALID', `${source}: another graph: restart the brick`)
  }
  return reconfigureGraph(graph, { volfile, load })
}

/** Two processes on one directory would undo each other's work. Throws GlusterError. */
async function claimDirectory({ volumes }: Volfile): Promise<void> {
  const posix = volumes.find(({ type }) => type === 'storage/posix')
  const directory = posix?.options.get('directory')
  if (directory === undefined) return
  for (let waited = 0; ; waited += PREDECESSOR_POLL_MS) {
    if (lockBrick(directory)) return
    if (waited >= PREDECESSOR_MAX_MS) {
      const why = `brick ${directory} is in use: another process serves it`
      throw new GlusterError('VOLUME_STATE', why)
    }
    await new Promise<void>((done) => void clock.after(PREDECESSOR_POLL_MS, done))
  }
}

function lockBrick(directory: string): boolean {
  try {
    return lockForLife(directory)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new GlusterError('VOLUME_STATE', `brick ${directory} cannot be opened: ${code}`)
  }
}

/** A brick as a program. */
class BrickProgram {
  readonly #volfile: string
  readonly #logFile: LogFile
  readonly #runFile: string
  readonly #log: Log
  #brick: RunningBrick | undefined
  #ending = false

  constructor(volfile: string, logPath: string, runFile: string) {
    this.#volfile = volfile
    this.#runFile = runFile
    this.#logFile = new LogFile(logPath)
    startLog(this.#logFile, 'INFO', { json: false, localtime: false, repeatWindowMs: 120_000 })
    this.#log = logFor('glusterfsd')
  }

  async run(): Promise<void> {
    process.on('SIGTERM', () => void this.#end(0, 'received signum (15)'))
    process.on('SIGINT', () => void this.#end(0, 'received signum (2)'))
    process.on('SIGHUP', () => void this.#reread())
    process.on('disconnect', () => {
      // Nobody knows of a brick that does not listen yet.
      if (this.#brick === undefined) void this.#end(1, 'the management server is gone')
    })
    try {
      const text = readFileSync(this.#volfile, 'latin1')
      await claimDirectory(parseVolfile(text, this.#volfile))
      const brick = await startBrick(text, this.#volfile)
      brick.server.onDown = () => void this.#end(1, 'the disk failed')
      this.#writeRunFile(brick.port)
      this.#brick = brick
      this.#log.info(`listening on port ${brick.port}`)
      this.#tell({ port: brick.port })
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.#tell({ failed: why })
      await this.#end(1, why)
    }
  }

  #tell(message: BrickMessage): void {
    if (process.connected === true) process.send?.(message)
  }

  #writeRunFile(port: number): void {
    const { pid } = process
    const text = JSON.stringify({ pid, port, start: processStart(pid) })
    writeFileSync(`${this.#runFile}.new`, `${text}\n`)
    renameSync(`${this.#runFile}.new`, this.#runFile)
  }

  async #reread(): Promise<void> {
    if (this.#brick === undefined) return
    try {
      const text = readFileSync(this.#volfile, 'latin1')
      const changed = await reconfigureBrick(this.#brick, text, this.#volfile)
      this.#log.info(`volfile read again: options of ${changed} translators changed`)
    } catch (error) {
      this.#log.error({ err: error }, 'the volfile is not taken')
    }
  }

  async #end(status: number, why: string): Promise<void> {
    if (this.#ending) return
    this.#ending = true
    this.#log.info(`${why}; shutting down`)
    await this.#brick?.graph.stop()
    if (this.#brick !== undefined) rmSync(this.#runFile, { force: true })
    flushRepeats()
    await this.#logFile.drain(LOG_WAIT_MAX_MS)
    process.exit(status)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [volfile = '', logPath = '', runFile = ''] = process.argv.slice(2)
  void new BrickProgram(volfile, logPath, runFile).run()
}
