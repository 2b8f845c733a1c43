/** One log line in GlusterFS's form out of pino's JSON. */

export interface LineFormat {
  /** pino's JSON as it is, one object a line. */
  readonly json: boolean
  /** Local time instead of UTC. */
  readonly localtime: boolean
  /** How long repeats of a message are merged. */
  readonly repeatWindowMs: number
}

export interface Line {
  /** The whole line, newline included. */
  readonly text: string
  /** Its leading `[time]`. */
  readonly stamp: string
  /** `domain: text`, for the note on repeats. */
  readonly message: string
}

const letters: Readonly<Record<string, string>> = {
  trace: 'T',
  debug: 'D',
  info: 'I',
  warn: 'W',
  error: 'E',
  fatal: 'C',
}

/** Fields that have a place of their own in the line. */
const placed = new Set(['level', 'sec', 'usec', 'xl', 'msg', 'err'])

interface Entry {
  level: string
  sec: number
  usec: number
  xl?: string
  msg?: string
  err?: { type?: string; message?: string; stack?: string }
  [field: string]: unknown
}

/**
 * `[2026-11-22 14:15:52.738777 +0000] I [domain] 0-domain: text [{key=value}, {key=value}] `,
 * followed by an error's stack if there is one. Control characters of the text are escaped: names
 * of files come from anybody, and a newline in one must not forge a line.
 */
export function formatLine(json: string, format: LineFormat): Line {
  const entry = JSON.parse(json) as Entry
  const stamp = `[${stampText(entry.sec, entry.usec, format.localtime)}]`
  const domain = entry.xl ?? 'glusterfs'
  const fields: string[] = []
  for (const [key, value] of Object.entries(entry)) {
    if (placed.has(key)) continue
    fields.push(`{${key}=${typeof value === 'string' ? value : JSON.stringify(value)}}`)
  }
  const tail = fields.length > 0 ? ` [${fields.join(', ')}]` : ''
  const message = printable(`0-${domain}: ${entry.msg ?? entry.err?.message ?? ''}${tail}`)
  const stack = entry.err?.stack === undefined ? '' : `${indent(entry.err.stack)}\n`
  const letter = letters[entry.level] ?? 'I'
  const text = `${stamp} ${letter} [${printable(domain)}] ${message} \n${stack}`
  return { text, stamp, message }
}

const parts = {
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
  timeZoneName: 'longOffset',
} as const
const localFormat = new Intl.DateTimeFormat('en-US', parts)

/** `2026-11-22 14:15:52.738777 +0000`. */
export function stampText(sec: number, usec: number, localtime: boolean): string {
  const fraction = String(usec).padStart(6, '0')
  if (!localtime) return `${utcText(sec)}.${fraction} +0000`
  const found: Record<string, string> = {}
  for (const { type, value } of localFormat.formatToParts(sec * 1000)) found[type] = value
  // `GMT` alone is UTC itself.
  const zone = found.timeZoneName!.replace('GMT', '').replace(':', '') || '+0000'
  return (
    `${found.year}-${found.month}-${found.day} ${found.hour}:${found.minute}:${found.second}` +
    `.${fraction} ${zone}`
  )
}

const two = (value: number): string => String(value).padStart(2, '0')
/** The day most stamps are of, counted from 1970-01-01, and its text. */
const lastDay = { number: -1, text: '' }

/** Without Intl, which takes 20 us: dumps have thousands of stamps. */
function utcText(sec: number): string {
  const day = Math.floor(sec / 86400)
  if (day !== lastDay.number) {
    lastDay.number = day
    lastDay.text = dateText(day)
  }
  const time = [Math.floor(sec / 3600) % 24, Math.floor(sec / 60) % 60, sec % 60].map(two)
  return `${lastDay.text} ${time.join(':')}`
}

/**
 * Days since 1970-01-01 as `YYYY-MM-DD` (proleptic Gregorian, Howard Hinnant's civil_from_days).
 */
function dateText(days: number): string {
  const shifted = days + 719468
  const era = Math.floor(shifted / 146097)
  const dayOfEra = shifted - era * 146097
  const leap = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36524)
  const yearOfEra = Math.floor((dayOfEra - leap - Math.floor(dayOfEra / 146096)) / 365)
  const past = 365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100)
  const dayOfYear = dayOfEra - past
  const part = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * part + 2) / 5) + 1
  const month = part < 10 ? part + 3 : part - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${year}-${two(month)}-${two(day)}`
}

const ctimeFormat = new Intl.DateTimeFormat('en-US', {
  weekday: 'short',
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  year: 'numeric',
  hourCycle: 'h23',
})

/** `Sun Nov 22 15:25:50 2026`, local time (ctime(3)). */
export function ctimeText(sec: number): string {
  const found: Record<string, string> = {}
  for (const { type, value } of ctimeFormat.formatToParts(sec * 1000)) found[type] = value
  const { weekday, month, day, hour, minute, second, year } = found
  return `${weekday} ${month} ${day!.padStart(2)} ${hour}:${minute}:${second} ${year}`
}

function printable(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is escaped
    /[\u0000-\u001f\u007f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}

function indent(text: string): string {
  return text.replace(/^/gm, '    ')
}
