/**
 * A brick process: one brick graph from a volfile, until it is told to end.
 *
 *     node brick.js VOLFILE LOGFILE
 *
 * Its parent hears of it over the IPC channel: `{ port }` once clients can connect, `{ failed }`
 * when it cannot start. It ends with SIGTERM, with its disk, and with its parent.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { BrickServer } from '../../xlators/protocol/server/index.ts'
import { registry } from '../../xlators/registry.ts'
import { GlusterError } from '../core/errors.ts'
import { CallPool } from '../core/frame.ts'
import { InodeTable } from '../core/inode.ts'
import { buildGraph, type Graph } from '../graph/build.ts'
import { parseVolfile } from '../graph/volfile.ts'
import { flushRepeats, logFor, startLog } from '../observe/log.ts'
import { LogFile } from '../observe/log-file.ts'

/** What a brick says to its parent. */
export type BrickMessage = { port: number } | { failed: string }

/** How long the last lines of the log may take, ms. */
const LOG_WAIT_MAX_MS = 500

export interface RunningBrick {
  readonly graph: Graph
  readonly server: BrickServer
  readonly port: number
}

/** Starts a brick in this process. Throws GlusterError. */
export async function startBrick(volfile: string, source: string): Promise<RunningBrick> {
  const graph = await buildGraph({
    volfile: parseVolfile(volfile, source),
    load: async (type) => (await registry[type]?.())?.default,
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

async function main(volfile: string, logPath: string): Promise<void> {
  const logFile = new LogFile(logPath)
  startLog(logFile, 'INFO', { json: false, localtime: false, repeatWindowMs: 120_000 })
  const log = logFor('glusterfsd')
  const tell = (message: BrickMessage): void => void process.send?.(message)
  let brick: RunningBrick | undefined
  let ending = false
  const end = async (status: number, why: string): Promise<void> => {
    if (ending) return
    ending = true
    log.info(`${why}; shutting down`)
    await brick?.graph.stop()
    flushRepeats()
    await logFile.drain(LOG_WAIT_MAX_MS)
    process.exit(status)
  }
  process.on('SIGTERM', () => void end(0, 'received signum (15)'))
  process.on('SIGINT', () => void end(0, 'received signum (2)'))
  process.on('disconnect', () => void end(0, 'the management server is gone'))
  try {
    brick = await startBrick(readFileSync(volfile, 'latin1'), volfile)
    brick.server.onDown = () => void end(1, 'the disk failed')
    log.info(`listening on port ${brick.port}`)
    tell({ port: brick.port })
  } catch (error) {
    tell({ failed: error instanceof Error ? error.message : String(error) })
    await end(1, error instanceof GlusterError ? error.message : String(error))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  void main(process.argv[2] ?? '', process.argv[3] ?? '')
}
