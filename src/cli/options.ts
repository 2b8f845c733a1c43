/**
 * The command line of `glusterfs`: words to typed options, as GNU getopt_long reads them
 * (unambiguous prefixes of long names, `=value` or the next word, optional arguments only after
 * `=`, options and the mount point in any order).
 */
import { Command, CommanderError, Option } from 'commander'
import { GlusterError } from '../core/errors.ts'
import { parseBool } from '../core/options.ts'
import { type CliOption, cliOptions } from './option-table.ts'

type Table = typeof cliOptions

type ValueOf<O extends CliOption> = O['type'] extends 'flag'
  ? boolean
  : O['type'] extends 'int' | 'double'
    ? number
    : O['type'] extends 'bool'
      ? boolean
      : O['type'] extends 'bool-or-auto'
        ? boolean | 'auto'
        : string

type CliValue<O extends CliOption> = O extends { repeat: true }
  ? readonly ValueOf<O>[]
  : O extends { default: string } | { type: 'flag' }
    ? ValueOf<O>
    : ValueOf<O> | undefined

export type CliValues = { readonly [K in keyof Table]: CliValue<Table[K]> }

export interface CommandLine {
  readonly values: CliValues
  readonly mountPoint: string | undefined
  /** Options given that change nothing here, with the reason. */
  readonly noEffect: readonly { name: string; reason: string }[]
  /** Names of the options given. */
  readonly given: ReadonlySet<string>
}

const TRY_HELP = "Try `glusterfs --help' or `glusterfs --usage' for more information."

const table: Readonly<Record<string, CliOption>> = cliOptions

function usageError(why: string): never {
  throw new GlusterError('USAGE', `glusterfs: ${why}\n${TRY_HELP}`)
}

/** Parses the words after the command's name. Throws GlusterError USAGE or BAD_VALUE. */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const command = makeCommand()
  try {
    command.parse(spellOut(words), { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    usageError(commanderText(error))
  }
  if (command.args.length > 1) {
    throw new GlusterError(
      'USAGE',
      `glusterfs: more than one mount point: ${command.args.join(' ')}\n${TRY_HELP}`,
    )
  }
  return typed(command.opts<Record<string, string[] | true | undefined>>(), command.args[0])
}

/** commander set up from the table; every option collects its texts in a list. */
export function makeCommand(): Command {
  const command = new Command('glusterfs')
    .usage('[OPTION...] --volfile-server=SERVER [MOUNT-POINT]')
    .argument('[mount-point...]')
    .helpOption(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
  for (const [name, spec] of Object.entries(table)) {
    const short = spec.short === undefined ? '' : `-${spec.short}, `
    const argument = spec.argument === undefined ? '' : ` <${spec.argument}>`
    const option = new Option(`${short}--${name}${argument}`, helpOf(spec))
    option.attributeName = () => name
    // commander would read --no-daemon as the negation of --daemon.
    option.negate = false
    option.helpGroup(`${spec.group}:`)
    if (spec.hidden === true) option.hideHelp()
    if (spec.argument !== undefined) {
      option.argParser((value: string, previous: unknown) =>
        Array.isArray(previous) ? [...previous, value] : [value],
      )
    }
    command.addOption(option)
  }
  return command
}

function helpOf(spec: CliOption): string {
  if (spec.refuse !== undefined && spec.refuseUnless === undefined) {
    return `${spec.help} (not supported)`
  }
  return spec.noEffect === undefined ? spec.help : `${spec.help} (no effect)`
}

function commanderText(error: CommanderError): string {
  const quoted = /'([^']*)'/.exec(error.message)?.[1] ?? ''
  if (error.code === 'commander.optionMissingArgument') {
    const long = /--[\w-]+/.exec(quoted)?.[0] ?? quoted
    return `option '${long}' requires an argument`
  }
  if (error.code === 'commander.unknownOption' && !quoted.startsWith('--')) {
    return `invalid option -- '${quoted.slice(1, 2)}'`
  }
  return error.message.replace(/^error: /, '')
}

/**
 * Long options with their full names, and what commander reads differently from getopt_long made
 * unmistakable: an option's argument is attached to it, a left-out optional one filled in.
 */
function spellOut(words: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '--') return out.concat(words.slice(i))
    if (!word.startsWith('--')) {
      out.push(word)
      // The argument of a cluster's last letter is the next word, whatever it looks like.
      if (endsWithArgument(word) && i + 1 < words.length) out.push(words[++i]!)
      continue
    }
    const equals = word.indexOf('=')
    const name = longName(equals < 0 ? word.slice(2) : word.slice(2, equals))
    const spec = table[name]!
    if (equals >= 0) {
      if (spec.argument === undefined) usageError(`option '--${name}' doesn't allow an argument`)
      out.push(`--${name}=${word.slice(equals + 1)}`)
    } else if (spec.bare !== undefined) {
      out.push(`--${name}=${spec.bare}`)
    } else if (spec.argument !== undefined && i + 1 < words.length) {
      out.push(`--${name}=${words[++i]!}`)
    } else {
      out.push(`--${name}`)
    }
  }
  return out
}

/** Does this word of short options end with one whose argument is the next word? */
function endsWithArgument(word: string): boolean {
  if (!word.startsWith('-')) return false
  for (let at = 1; at < word.length; at++) {
    const spec = Object.values(table).find((option) => option.short === word[at])
    if (spec?.argument !== undefined) return at === word.length - 1
  }
  return false
}

function longName(given: string): string {
  if (Object.hasOwn(table, given)) return given
  const found = new Map<string, string>()
  for (const [name, spec] of Object.entries(table)) {
    if (spec.alias === given) return name
    if (name.startsWith(given)) found.set(name, name)
    if (spec.alias?.startsWith(given)) found.set(spec.alias, name)
  }
  const names = new Set(found.values())
  if (given === '' || names.size === 0) usageError(`unrecognized option '--${given}'`)
  if (names.size > 1) {
    const possible = [...found.keys()].map((name) => `'--${name}'`).join(' ')
    usageError(`option '--${given}' is ambiguous; possibilities: ${possible}`)
  }
  return [...names][0]!
}

function typed(
  texts: Record<string, string[] | true | undefined>,
  mountPoint: string | undefined,
): CommandLine {
  const values: Record<string, unknown> = {}
  const noEffect: { name: string; reason: string }[] = []
  const given = new Set<string>()
  for (const [name, spec] of Object.entries(table)) {
    const list = texts[name]
    if (list === undefined) {
      values[name] = absent(name, spec)
      continue
    }
    given.add(name)
    const parsed = list === true ? [true] : list.map((text) => typedValue(name, spec, text))
    for (const value of parsed) {
      if (spec.refuse !== undefined && spec.refuseUnless?.includes(value) !== true) {
        throw new GlusterError('OPTION_UNSUPPORTED', `glusterfs: --${name}: ${spec.refuse}`)
      }
    }
    if (spec.noEffect !== undefined) noEffect.push({ name, reason: spec.noEffect })
    values[name] = spec.repeat === true ? parsed : parsed.at(-1)
  }
  return { values: values as CliValues, mountPoint, noEffect, given }
}

function absent(name: string, spec: CliOption): unknown {
  if (spec.repeat === true) return []
  if (spec.type === 'flag') return false
  return spec.default === undefined ? undefined : typedValue(name, spec, spec.default)
}

function typedValue(name: string, spec: CliOption, text: string): unknown {
  const bad = (expected: string): never => {
    const why = spec.badValue?.replace('%s', text) ?? `--${name}: '${text}' is not ${expected}`
    throw new GlusterError('BAD_VALUE', `glusterfs: ${why}`)
  }
  switch (spec.type) {
    case 'flag':
      return true
    case 'str': {
      const { values } = spec
      if (values === undefined) return text
      const known = values.find((value) => value.toLowerCase() === text.toLowerCase())
      return known ?? bad(`one of ${values.join(', ')}`)
    }
    case 'bool':
      return parseBool(text) ?? bad('a boolean (on, off)')
    case 'bool-or-auto':
      return text.toLowerCase() === 'auto' ? 'auto' : (parseBool(text) ?? bad('on, off or auto'))
    case 'int':
      return /^[+-]?\d+$/.test(text) && inRange(spec, Number(text))
        ? Number(text)
        : bad(`a number${rangeText(spec)}`)
    case 'double':
      return /^\d+(\.\d*)?$/.test(text) && inRange(spec, Number(text))
        ? Number(text)
        : bad('a number of seconds')
  }
}

function inRange(spec: CliOption, value: number): boolean {
  return value >= (spec.min ?? Number.MIN_SAFE_INTEGER) && value <= (spec.max ?? 2 ** 32 - 1)
}

function rangeText(spec: CliOption): string {
  if (spec.min === undefined) return ''
  return spec.max === undefined ? ` from ${spec.min} on` : ` from ${spec.min} to ${spec.max}`
}
