/**
 * Run files: where a process that outlives its parent is to be found. A process is known by its id
 * and its start time together, since ids are used again.
 */
import { readFileSync } from 'node:fs'

export interface RunFile {
  readonly pid: number
  /** Where clients connect. */
  readonly port: number
  /** As processStart gives it. */
  readonly start: string
}

const STATE_FIELD = 0
/** starttime of proc_pid_stat(5), counted behind the command's closing bracket. */
const START_FIELD = 19

/** When the process was started (clock ticks since boot); undefined when it does not run. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie does nothing any more.
    return fields[STATE_FIELD] === 'Z' || fields[STATE_FIELD] === 'X'
      ? undefined
      : fields[START_FIELD]
  } catch {
    return undefined
  }
}

/** What the file says of a process that still runs; undefined without file or process. */
export function readRunFile(path: string): RunFile | undefined {
  try {
    const found = JSON.parse(readFileSync(path, 'utf8')) as RunFile
    return found.start !== undefined && processStart(found.pid) === found.start ? found : undefined
  } catch {
    return undefined
  }
}

/** False when there is no such process. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}
