import { type Logger, pino } from 'pino'

export type Log = Logger

/** The process's log. Set up once by the command; tests keep the silent default. */
let root: Log = pino({ level: 'silent' })

export function setRootLog(log: Log): void {
  root = log
}

export function rootLog(): Log {
  return root
}

/** The log of one part of the program, `domain` in stock's sense (a translator's name). */
export function logFor(domain: string): Log {
  return root.child({ xl: domain })
}
