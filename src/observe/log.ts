/**
 * The process's log: pino underneath, GlusterFS's line form in the file. Every part of the program
 * takes its logger from `logFor`; where lines go and from which level on is set once by the
 * command (`startLog`). Until then, and in tests, everything is silent.
 */
import { type Logger, pino } from 'pino'
import { clock } from '../core/clock.ts'
import { errnoName } from '../core/errno.ts'
import { formatLine, type LineFormat } from './log-format.ts'

export type Log = Logger

/** GlusterFS's names of levels, as options, volfiles and xattrs spell them. */
export type LogLevelName = 'TRACE' | 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR' | 'CRITICAL' | 'NONE'

type PinoLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'

const pinoLevels: Readonly<Record<LogLevelName, PinoLevel>> = {
  TRACE: 'trace',
  DEBUG: 'debug',
  INFO: 'info',
  WARNING: 'warn',
  ERROR: 'error',
  CRITICAL: 'fatal',
  NONE: 'silent',
}

/** Takes finished text; `LogFile`, or what a test puts there. */
export interface LogTarget {
  write(text: string): void
}

let target: LogTarget | undefined
let format: LineFormat = { json: false, localtime: false, repeatWindowMs: 120_000 }

/** The last line's text without its time, and how often it came again. */
const repeats = { key: '', shown: '', count: 0, firstMs: 0, first: '', last: '' }

/** pino's destination: turns its JSON into the line wanted and merges repeats. */
const sink = {
  write(json: string): void {
    if (target === undefined) return
    if (format.json) {
      target.write(json)
      return
    }
    const line = formatLine(json, format)
    const key = line.text.slice(line.stamp.length)
    if (key === repeats.key && clock.now() - repeats.firstMs < format.repeatWindowMs) {
      repeats.count++
      if (repeats.count === 1) repeats.first = line.stamp
      repeats.last = line.stamp
      return
    }
    flushRepeats()
    repeats.key = key
    repeats.shown = line.message
    repeats.firstMs = clock.now()
    target.write(line.text)
  },
}

/** Writes out how often the last message was repeated, if it was. */
export function flushRepeats(): void {
  if (repeats.count > 0) {
    target?.write(
      `The message "${repeats.shown}" repeated ${repeats.count} times between ` +
        `${repeats.first} and ${repeats.last}\n`,
    )
  }
  repeats.count = 0
  repeats.key = ''
}

function timestamp(): string {
  const { sec, nsec } = clock.realtime()
  return `,"sec":${sec},"usec":${Math.floor(nsec / 1000)}`
}

function makeRoot(): Log {
  return pino(
    {
      level: 'silent',
      base: null,
      timestamp,
      formatters: { level: (label) => ({ level: label }) },
      serializers: {
        err: pino.stdSerializers.err,
        errno: (errno: unknown) => (typeof errno === 'number' ? errnoName(errno) : errno),
      },
    },
    sink,
  )
}

let root: Log = makeRoot()
const domains = new Map<string, Log>()

/** Replaces the process's log as a whole: for tests that look at what is logged. */
export function setRootLog(log: Log): void {
  root = log
  domains.clear()
}

export function rootLog(): Log {
  return root
}

/** The log of one part of the program, `domain` in stock's sense (a translator's name). */
export function logFor(domain: string): Log {
  let log = domains.get(domain)
  if (log === undefined) {
    log = root.child({ xl: domain })
    domains.set(domain, log)
  }
  return log
}

/** Sends the log to `to` from now on, in the given form. */
export function startLog(to: LogTarget, level: LogLevelName, lines: LineFormat): void {
  target = to
  format = lines
  setLogLevel(level)
}

/** Sets the level of every logger there is and will be. */
export function setLogLevel(level: LogLevelName): void {
  root.level = pinoLevels[level]
  for (const log of domains.values()) log.level = pinoLevels[level]
}

/** One part of the program at another level, until the level of all is set again. */
export function setDomainLogLevel(domain: string, level: LogLevelName): void {
  logFor(domain).level = pinoLevels[level]
}

/** The level a word names, in any case. */
export function parseLogLevel(word: string): LogLevelName | undefined {
  const name = word.toUpperCase()
  return Object.hasOwn(pinoLevels, name) ? (name as LogLevelName) : undefined
}

export function logLevel(): LogLevelName {
  const names = Object.keys(pinoLevels) as LogLevelName[]
  return names.find((name) => pinoLevels[name] === root.level) ?? 'NONE'
}
