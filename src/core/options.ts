import { GlusterError } from './errors.ts'

/**
 * Typed option tables. The table alone drives validation of volfiles and command lines, defaults,
 * reconfigure, help texts, `.meta` and the type of a translator's `options`.
 *
 * Value syntax is that of GlusterFS (options.c): see `parseOption`.
 */
export type OptionType =
  | 'str'
  | 'int'
  | 'size'
  | 'percent'
  | 'percent-or-size'
  | 'bool'
  | 'xlator'
  | 'path'
  | 'time'
  | 'double'
  | 'address'
  | 'any'

/** `percent` under 100 comes as `{ percent }`, anything else as `{ bytes }`. */
export type PercentOrSize = { percent: number } | { bytes: number }

type ValueOf<T extends OptionType> = T extends 'bool'
  ? boolean
  : T extends 'int' | 'size' | 'percent' | 'time' | 'double'
    ? number
    : T extends 'percent-or-size'
      ? PercentOrSize
      : string

export interface OptionSpec<T extends OptionType = OptionType> {
  readonly type: T
  /** Volfile text, so that a default is read like a given value. Absent = `undefined`. */
  readonly default?: string
  readonly min?: number
  readonly max?: number
  /** Allowed words of a `str`. */
  readonly values?: readonly string[]
  /** Other keys that mean this option. */
  readonly alias?: readonly string[]
  readonly description: string
  /** Accepted because volfiles carry it, but it changes nothing; the reason is logged once. */
  readonly noEffect?: string
}

export type OptionTable = Readonly<Record<string, OptionSpec>>

export type OptionValues<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends { default: string }
    ? ValueOf<T[K]['type']>
    : ValueOf<T[K]['type']> | undefined
}

/** Identity; keeps literal types. */
export function defineOptions<const T extends OptionTable>(table: T): T {
  return table
}

const TRUE_WORDS = new Set(['1', 'on', 'yes', 'true', 'enable'])
const FALSE_WORDS = new Set(['0', 'off', 'no', 'false', 'disable'])

/** GlusterFS boolean words, any case; `undefined` for anything else. */
export function parseBool(text: string): boolean | undefined {
  const word = text.toLowerCase()
  if (TRUE_WORDS.has(word)) return true
  if (FALSE_WORDS.has(word)) return false
  return undefined
}

const SIZE_UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 2 ** 10,
  mb: 2 ** 20,
  gb: 2 ** 30,
  tb: 2 ** 40,
  pb: 2 ** 50,
}

/** Bytes of `64KB`, `1.5MB`, `4096`; binary units, any case. `undefined` when malformed. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?b)?$/i.exec(text)
  if (match === null) return undefined
  const bytes = Number(match[1]) * SIZE_UNITS[(match[2] ?? '').toLowerCase()]!
  return Number.isInteger(bytes) && bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined
}

const TIME_UNITS: Record<string, number> = {
  '': 1,
  s: 1,
  sec: 1,
  m: 60,
  min: 60,
  h: 3600,
  hr: 3600,
  d: 86400,
  days: 86400,
  w: 604800,
  wk: 604800,
}

/** Seconds of `90`, `90s`, `5min`, `2h`; `undefined` when malformed. */
export function parseTime(text: string): number | undefined {
  const match = /^(\d+)\s*([a-z]*)$/i.exec(text)
  const unit = match === null ? undefined : TIME_UNITS[match[2]!.toLowerCase()]
  return unit === undefined ? undefined : Number(match![1]) * unit
}

function parseInteger(text: string): number | undefined {
  if (!/^[+-]?(\d+|0x[0-9a-f]+)$/i.test(text)) return undefined
  const negative = text.startsWith('-')
  const magnitude = Number(text.replace(/^[+-]/, ''))
  return negative ? -magnitude : magnitude
}

function parsePercent(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)%?$/.exec(text)
  const value = match === null ? undefined : Number(match[1])
  return value !== undefined && value <= 100 ? value : undefined
}

/**
 * The typed value of `text` for option `key`. Throws GlusterError OPTION_INVALID with a text that
 * names key, value and what would be right.
 */
export function parseOption(key: string, spec: OptionSpec, text: string): unknown {
  const bad = (why: string): never => {
    throw new GlusterError('OPTION_INVALID', `option ${key} ${text}: ${why}`)
  }
  switch (spec.type) {
    case 'bool':
      return parseBool(text) ?? bad(`'${text}' is not a valid boolean value (on/off)`)
    case 'int':
      return checkRange(parseInteger(text) ?? bad(`invalid number format "${text}"`), spec, bad)
    case 'double':
      if (!/^[+-]?\d+(\.\d*)?$/.test(text)) bad(`invalid number format "${text}"`)
      return checkRange(Number(text), spec, bad)
    case 'size':
      return checkRange(
        parseSize(text) ?? bad(`invalid size "${text}" (bytes, or a number with KB MB GB TB PB)`),
        spec,
        bad,
      )
    case 'time':
      return checkRange(
        parseTime(text) ?? bad(`invalid time "${text}" (seconds, or a number with s min h d w)`),
        spec,
        bad,
      )
    case 'percent':
      return checkRange(
        parsePercent(text) ?? bad(`invalid percentage "${text}" (0-100)`),
        spec,
        bad,
      )
    case 'percent-or-size': {
      const percent = parsePercent(text)
      if (percent !== undefined && (text.endsWith('%') || percent < 100)) return { percent }
      const bytes = parseSize(text)
      return bytes === undefined ? bad(`"${text}" is neither a percentage nor a size`) : { bytes }
    }
    case 'path':
      if (!text.startsWith('/')) bad('not an absolute path')
      if (text.split('/').includes('..')) bad('a path with ".." is not allowed')
      return text
    case 'address':
      if (text === '' || /\s/.test(text)) bad('not a host name or address')
      return text
    case 'str':
      if (spec.values !== undefined && !spec.values.includes(text)) {
        bad(`must be one of ${spec.values.join(', ')}`)
      }
      return text
    case 'xlator':
    case 'any':
      return text
  }
}

function checkRange(value: number, spec: OptionSpec, bad: (why: string) => never): number {
  const { min, max } = spec
  if ((min !== undefined && value < min) || (max !== undefined && value > max)) {
    bad(`'${value}' is out of range [${min ?? '-inf'} - ${max ?? 'inf'}]`)
  }
  return value
}

export interface ResolvedOptions<T extends OptionTable> {
  values: OptionValues<T>
  /** Keys given but not in the table. */
  unknown: string[]
  /** Keys given a value other than their default that have no effect here, with the reason. */
  noEffect: { key: string; reason: string }[]
}

/** Validates `given` (volfile texts by key) against `table` and fills in defaults. */
export function resolveOptions<T extends OptionTable>(
  table: T,
  given: ReadonlyMap<string, string>,
): ResolvedOptions<T> {
  const values: Record<string, unknown> = {}
  const canonical = new Map<string, string>()
  for (const [key, spec] of Object.entries(table)) {
    canonical.set(key, key)
    for (const alias of spec.alias ?? []) canonical.set(alias, key)
    if (spec.default !== undefined) values[key] = parseOption(key, spec, spec.default)
    else values[key] = undefined
  }
  const unknown: string[] = []
  const noEffect: { key: string; reason: string }[] = []
  for (const [name, text] of given) {
    const key = canonical.get(name)
    if (key === undefined) {
      unknown.push(name)
      continue
    }
    const spec = table[key]!
    const byDefault = values[key]
    values[key] = parseOption(name, spec, text)
    // Nobody misses what glusterd writes into every volfile.
    if (spec.noEffect === undefined || values[key] === byDefault) continue
    noEffect.push({ key: name, reason: spec.noEffect })
  }
  return { values: values as OptionValues<T>, unknown, noEffect }
}
