/**
 * Node cannot fork: the daemon is this program started once more, in a session of its own, with a
 * pipe on fd 3 through which it tells how the mount went. The parent waits for that and exits.
 */
import { spawn } from 'node:child_process'
import { closeSync, writeSync } from 'node:fs'
import type { Readable } from 'node:stream'

/** How starting went: the exit status of the command, and the line for standard error. */
export interface Report {
  readonly status: number
  readonly message?: string | undefined
}

const STATUS_FD = 3
/** Set in the daemon's environment only, and removed there at once. */
const STATUS_VARIABLE = 'GLUSTERFS_TS_STATUS_FD'
const REPORT_BYTES_MAX = 64 * 1024
/**
 * How V8 is to run a mount; the launcher's first line says the same, for `--no-daemon`.
 *
 * - File data under way counts as old space, of which V8 lets a small heap like ours have little:
 *   it would mark the whole heap for every 6 MiB written, a third to a half of the CPU time. MB.
 * - A function is optimised once it has run three times this much of its byte code (bytes, 67584
 *   unless told). A translator's functions are short: by default most of them wait for 4000 calls
 *   and more. Creating a file takes 1.25 ms from the second thousand on, where it took 1.54 ms even
 *   in the eighth. Half of this optimises before it knows the types, and does so again later.
 * - What types a function meets is noted from its first call on, not from the eighth.
 */
const V8_OPTIONS = {
  '--initial-old-space-size': '=64',
  '--interrupt-budget': '=10000',
  '--no-lazy-feedback-allocation': '',
}

/**
 * Starts the daemon with the same words, and under the same options of node: `node --cpu-prof
 * bin/glusterfs …` profiles it. Resolves with its report, or with how it died.
 */
export function daemonise(words: readonly string[]): Promise<Report> {
  const program = process.argv[1]!
  const options = [...process.execArgv]
  for (const [name, value] of Object.entries(V8_OPTIONS)) {
    if (!options.some((option) => option.startsWith(name))) options.push(name + value)
  }
  const child = spawn(process.execPath, [...options, program, ...words], {
    argv0: 'glusterfs',
    detached: true,
    env: { ...process.env, [STATUS_VARIABLE]: String(STATUS_FD) },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  // Ctrl-C while it starts must not leave a mount nobody asked for any more.
  const stop = (signal: NodeJS.Signals): void => {
    child.kill('SIGTERM')
    process.removeListener(signal, stop)
    process.kill(process.pid, signal)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return new Promise((resolve) => {
    let text = ''
    let ended: string | undefined
    const pipe = child.stdio[STATUS_FD] as Readable
    pipe.setEncoding('utf8')
    pipe.on('data', (chunk: string) => {
      if (text.length < REPORT_BYTES_MAX) text += chunk
    })
    child.on('error', (error) => {
      resolve({ status: 1, message: `glusterfs: cannot start the daemon: ${error.message}` })
    })
    child.on('exit', (code, signal) => {
      ended = signal === null ? `with status ${code}` : `by ${signal}`
    })
    child.on('close', () => resolve(parseReport(text) ?? died(ended)))
    pipe.on('end', () => {
      const report = parseReport(text)
      if (report !== undefined) resolve(report)
    })
  })
}

function died(ended: string | undefined): Report {
  return {
    status: 1,
    message: `glusterfs: the daemon ended ${ended ?? 'early'} before the mount was ready; see its log`,
  }
}

function parseReport(text: string): Report | undefined {
  if (!text.endsWith('\n')) return undefined
  return JSON.parse(text) as Report
}

/** Is this process the daemon? Then its way to report, once; a later report does nothing. */
export function takeReporter(): ((report: Report) => void) | undefined {
  const fd = Number(process.env[STATUS_VARIABLE])
  delete process.env[STATUS_VARIABLE]
  if (!Number.isInteger(fd)) return undefined
  let open = true
  return (report) => {
    if (!open) return
    open = false
    try {
      writeSync(fd, `${JSON.stringify(report)}\n`)
    } catch {
      // The parent was killed while it waited; the mount goes on.
    }
    closeSync(fd)
  }
}
