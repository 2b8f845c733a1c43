/**
 * The control socket of a management server: one JSON line asks, one answers. It is a UNIX socket
 * in the state directory, so that whoever may enter that may command.
 */
import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import type { BrickStatus, ManagementServer } from './management.ts'

export type Request =
  | { command: 'start'; volume: string; force: boolean }
  | { command: 'stop'; volume: string }
  | { command: 'status'; volume: string }
  /** Is anybody there? */
  | { command: 'list' }
  /** Without `value` the option is reset. */
  | { command: 'set'; volume: string; option: string; value?: string }
  | { command: 'shutdown' }

export type Answer = { error: string } | { port: number; bricks: BrickStatus[] }

const LINE_BYTES_MAX = 1024 * 1024
const ANSWER_MAX_MS = 60_000

/** Answers until closed. `shutdown` is what that command does after its answer. */
export function serveControl(
  path: string,
  management: ManagementServer,
  shutdown: () => void,
): Promise<Server> {
  const answer = async (line: string): Promise<Answer> => {
    try {
      const request = JSON.parse(line) as Request
      const bricks = await carryOut(management, request)
      return { port: management.port, bricks }
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) }
    }
  }
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    readLine(socket, (line) => {
      void answer(line).then((reply) => {
        socket.end(`${JSON.stringify(reply)}\n`)
        if (line.includes('"shutdown"')) shutdown()
      })
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    rmSync(path, { force: true })
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve(server)
    })
  })
}

async function carryOut(management: ManagementServer, request: Request): Promise<BrickStatus[]> {
  switch (request.command) {
    case 'start':
      await management.start(request.volume, request.force)
      return management.status(request.volume)
    case 'stop':
      await management.stop(request.volume)
      return []
    case 'status':
      return management.status(request.volume)
    case 'set':
      await management.set(request.volume, request.option, request.value)
      return []
    case 'list':
    case 'shutdown':
      return []
  }
}

/** Undefined when no server listens there. Throws GlusterError with the server's words. */
export function ask(
  path: string,
  request: Request,
): Promise<Exclude<Answer, { error: string }> | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const timer = clock.after(ANSWER_MAX_MS, () =>
      socket.destroy(new Error('the management server does not answer')),
    )
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`))
    socket.on('close', () => {
      timer.clear()
      reject(new GlusterError('SERVER_UNREACHABLE', 'the management server hung up'))
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined)
      else reject(new GlusterError('SERVER_UNREACHABLE', error.message, { cause: error }))
    })
    readLine(socket, (line) => {
      const answer = JSON.parse(line) as Answer
      if ('error' in answer) reject(new GlusterError('VOLUME_STATE', answer.error))
      else resolve(answer)
    })
  })
}

function readLine(socket: Socket, done: (line: string) => void): void {
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
    const end = text.indexOf('\n')
    if (end >= 0) done(text.slice(0, end))
    else if (text.length > LINE_BYTES_MAX) socket.destroy()
  })
}
