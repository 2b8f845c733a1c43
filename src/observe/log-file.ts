/** A log file: appended to without blocking the event loop, bounded, reopened on request. */
import { closeSync, constants, openSync, write, writeSync } from 'node:fs'
import { clock } from '../core/clock.ts'
import type { LogTarget } from './log.ts'

/** Text waiting for a slow disk, beyond which lines are dropped (and counted), bytes. */
export const LOG_BACKLOG_MAX = 4 * 2 ** 20

/** Node's fs.write in the form used here; tests replace it. */
type Write = (fd: number, data: Buffer, done: (error: Error | null) => void) => void

const systemWrite: Write = (fd, data, done) => write(fd, data, (error) => done(error))

/**
 * Writes go to libuv's pool one at a time, so a log on a dead file system costs one pool thread
 * and never the loop.
 */
export class LogFile implements LogTarget {
  readonly path: string | undefined
  readonly #write: Write
  #fd: number
  #pending: Buffer[] = []
  #pendingLength = 0
  #dropped = 0
  #writing = false
  #scheduled = false
  #replaced: number[] = []
  #drained: (() => void) | undefined

  /** Opens `path`; `undefined` is standard error. Throws the system error. */
  constructor(path: string | undefined, systemCall: Write = systemWrite) {
    this.path = path
    this.#write = systemCall
    this.#fd = path === undefined ? 2 : openLogFile(path)
  }

  get fd(): number {
    return this.#fd
  }

  write(text: string): void {
    const bytes = encode(text)
    if (this.#pendingLength + bytes.length > LOG_BACKLOG_MAX) {
      this.#dropped++
      return
    }
    this.#pending.push(bytes)
    this.#pendingLength += bytes.length
    if (this.#writing || this.#scheduled) return
    // Not at once: what a dying process logs is still there for `flushSync`.
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      if (!this.#writing) this.#writeNext()
    })
  }

  /** Opens the file by its name again (after logrotate moved it). Throws the system error. */
  reopen(): void {
    if (this.path === undefined) return
    const fd = openLogFile(this.path)
    if (this.#writing) this.#replaced.push(this.#fd)
    else closeSync(this.#fd)
    this.#fd = fd
  }

  /** Is anything not written yet? */
  get busy(): boolean {
    return this.#writing || this.#pendingLength > 0
  }

  /** Resolves when everything is written, or after `waitMs`. */
  drain(waitMs: number): Promise<void> {
    if (!this.busy) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = clock.after(waitMs, resolve)
      this.#drained = () => {
        timer.clear()
        resolve()
      }
    })
  }

  /** For a process that dies on the spot: what is waiting is written before this returns. */
  flushSync(): void {
    const text = this.#take()
    try {
      if (text.length > 0) writeSync(this.#fd, text)
    } catch {
      // There is nowhere left to complain to.
    }
  }

  #writeNext(): void {
    const text = this.#take()
    if (text.length === 0) return
    this.#writing = true
    this.#write(this.#fd, text, () => {
      this.#writing = false
      for (const fd of this.#replaced.splice(0)) closeSync(fd)
      if (this.#pendingLength > 0) this.#writeNext()
      else this.#drained?.()
    })
  }

  #take(): Buffer {
    if (this.#dropped > 0) {
      this.#pending.push(encode(`${this.#dropped} log lines dropped: the log file is too slow\n`))
      this.#dropped = 0
    }
    const text = Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingLength = 0
    return text
  }
}

/** Not blocking, so that a FIFO nobody reads is an error instead of a hang. */
function openLogFile(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants
  return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600)
}

/** Names of files are bytes (latin1 here); anything beyond is our own text. */
function encode(text: string): Buffer {
  const bytesOnly = !/[^\0-\xff]/.test(text)
  return Buffer.from(text, bytesOnly ? 'latin1' : 'utf8')
}
