/**
 * Volfile grammar: text to a list of volumes. Knows nothing about translators.
 *
 *     volume NAME
 *         type CATEGORY/XLATOR
 *         option KEY VALUE      (any number)
 *         subvolumes NAME …     (at most once; names defined earlier)
 *     end-volume
 *
 * Words are separated by white space; `"…"` quotes (`\x` is x); `#` starts a comment. Keywords are
 * lower case. The last volume is the top of the graph.
 */
import { spawnSync } from 'node:child_process'
import { GlusterError } from '../core/errors.ts'

export interface VolumeDefinition {
  readonly name: string
  readonly type: string
  /** In order of appearance; a key given twice keeps its last value. */
  readonly options: Map<string, string>
  readonly subvolumes: readonly string[]
  /** Line of its `volume` statement. */
  readonly line: number
}

export interface Volfile {
  /** Where it came from, for error texts: a path or `server:volume-id`. */
  readonly source: string
  /** Children before parents; at least one. */
  readonly volumes: readonly VolumeDefinition[]
}

/** Longest volfile accepted, bytes. The largest real ones (hundreds of bricks) are below 1 MiB. */
export const VOLFILE_BYTES_MAX = 16 * 2 ** 20

interface Token {
  text: string
  quoted: boolean
  line: number
}

const KEYWORDS = new Set(['volume', 'type', 'option', 'subvolumes', 'subvolume', 'end-volume'])

export interface ParseOptions {
  /**
   * Run `commands` between backticks, as for a file of the administrator; never for the network.
   */
  allowCommands?: boolean
}

/** Parses `text`; throws GlusterError VOLFILE_SYNTAX naming source, line and token. */
export function parseVolfile(text: string, source: string, options: ParseOptions = {}): Volfile {
  if (text.length > VOLFILE_BYTES_MAX) {
    throw new GlusterError(
      'VOLFILE_SYNTAX',
      `${source}: volfile of ${text.length} bytes is larger than ${VOLFILE_BYTES_MAX}`,
    )
  }
  const tokens = tokenize(substituteCommands(text, source, options), source)
  return new Parser(tokens, source).parse()
}

/** Replaces text between backticks by its shell output minus the last character. */
function substituteCommands(text: string, source: string, options: ParseOptions): string {
  if (!text.includes('`')) return text
  let out = ''
  let line = 1
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '\n') line++
    if (char !== '`' || text[at - 1] === '\\') {
      out += char
      continue
    }
    const end = text.indexOf('`', at + 1)
    if (end < 0) fail(source, line, '`', 'the command has no closing backtick')
    if (options.allowCommands !== true) {
      fail(source, line, '`', 'commands in backticks are only run for a local volfile')
    }
    const command = text.slice(at + 1, end)
    const run = spawnSync('/bin/sh', ['-c', command], { encoding: 'latin1', timeout: 10_000 })
    if (run.status !== 0) fail(source, line, command, 'parsing of backticks failed')
    out += run.stdout.slice(0, -1)
    line += command.split('\n').length - 1
    at = end
  }
  return out
}

function fail(source: string, line: number, token: string, why: string): never {
  const shown = token.length > 60 ? `${token.slice(0, 60)}…` : token
  const printable = shown.replace(
    /[^\x20-\x7e…]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
  throw new GlusterError('VOLFILE_SYNTAX', `${source}:${line}: ${why} (near '${printable}')`)
}

function tokenize(text: string, source: string): Token[] {
  const tokens: Token[] = []
  // One alternative a token kind; sticky, so that every byte is accounted for.
  const pattern = /([ \t\r\n]+)|(#[^\n]*)|"((?:[^"\\\n]|\\[^\n])*)"|([^\s"\\]+)/y
  let line = 1
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex
    const match = pattern.exec(text)
    if (match === null) {
      const unclosed = text[at] === '"'
      fail(source, line, text.slice(at, at + 20), unclosed ? 'unclosed quote' : 'syntax error')
    }
    const [whole, space, comment, quoted, word] = match
    if (quoted !== undefined) {
      tokens.push({ text: quoted.replace(/\\(.)/g, '$1'), quoted: true, line })
    } else if (word !== undefined) {
      tokens.push({ text: word, quoted: false, line })
    } else if (space !== undefined) {
      for (const char of whole) if (char === '\n') line++
    } else {
      // A comment: nothing to keep.
      void comment
    }
  }
  return tokens
}

interface Draft {
  name: string
  line: number
  type: string | undefined
  options: Map<string, string>
  subvolumes: string[] | undefined
}

class Parser {
  readonly #tokens: Token[]
  readonly #source: string
  readonly #volumes = new Map<string, VolumeDefinition>()
  #at = 0

  constructor(tokens: Token[], source: string) {
    this.#tokens = tokens
    this.#source = source
  }

  parse(): Volfile {
    while (this.#at < this.#tokens.length) {
      const token = this.#tokens[this.#at]!
      if (!isKeyword(token, 'volume')) this.#fail(token, "expected 'volume NAME'")
      this.#volume()
    }
    if (this.#volumes.size === 0) {
      throw new GlusterError('VOLFILE_SYNTAX', `${this.#source}:1: the volfile defines no volume`)
    }
    return { source: this.#source, volumes: [...this.#volumes.values()] }
  }

  #volume(): void {
    const start = this.#next()
    const name = this.#word('a volume name after "volume"')
    if (this.#volumes.has(name.text)) this.#fail(name, `volume '${name.text}' defined again`)
    const draft: Draft = {
      name: name.text,
      line: start.line,
      type: undefined,
      options: new Map(),
      subvolumes: undefined,
    }
    for (;;) {
      const token = this.#tokens[this.#at]
      if (token === undefined) {
        const last = this.#tokens.at(-1)!
        this.#fail(last, `'end-volume' not defined for volume '${draft.name}'`)
      }
      this.#at++
      if (isKeyword(token, 'end-volume')) break
      this.#statement(draft, token)
    }
    if (draft.type === undefined) this.#fail(start, `"type" not specified for volume ${draft.name}`)
    if (draft.options.size === 0 && draft.subvolumes === undefined) {
      this.#fail(start, `volume '${draft.name}' has neither an option nor a subvolumes line`)
    }
    this.#volumes.set(draft.name, {
      name: draft.name,
      type: draft.type,
      options: draft.options,
      subvolumes: draft.subvolumes ?? [],
      line: draft.line,
    })
  }

  #statement(draft: Draft, token: Token): void {
    if (isKeyword(token, 'volume')) {
      this.#fail(token, `new volume definition in line ${token.line} unexpected in '${draft.name}'`)
    }
    if (isKeyword(token, 'type')) {
      const type = this.#word('Please specify volume type')
      if (draft.type !== undefined) this.#fail(type, `volume '${draft.name}' has a second type`)
      if (!/^[^/]+(\/[^/]+)?$/.test(type.text)) {
        this.#fail(type, `type '${type.text}' is not of the form category/name`)
      }
      draft.type = type.text
      return
    }
    if (draft.type === undefined) {
      this.#fail(token, `"type" must come first in volume '${draft.name}'`)
    }
    if (isKeyword(token, 'option')) {
      const key = this.#word('Please specify option <key> <value>')
      draft.options.set(key.text, this.#word('Please specify option <key> <value>').text)
      return
    }
    if (isKeyword(token, 'subvolumes') || isKeyword(token, 'subvolume')) {
      if (draft.subvolumes !== undefined) {
        this.#fail(token, `volume '${draft.name}' has a second subvolumes line`)
      }
      draft.subvolumes = this.#subvolumes(draft, token)
      return
    }
    this.#fail(token, `syntax error: line ${token.line} (volume '${draft.name}')`)
  }

  #subvolumes(draft: Draft, keyword: Token): string[] {
    const names: string[] = []
    for (;;) {
      const token = this.#tokens[this.#at]
      if (token === undefined || (!token.quoted && KEYWORDS.has(token.text))) break
      this.#at++
      if (token.text === draft.name) {
        this.#fail(token, `volume '${draft.name}' has '${token.text}' itself as subvolume`)
      }
      if (!this.#volumes.has(token.text)) {
        this.#fail(token, `subvolume '${token.text}' is not defined prior to usage`)
      }
      names.push(token.text)
    }
    if (names.length === 0) this.#fail(keyword, 'Please specify subvolumes')
    return names
  }

  #next(): Token {
    return this.#tokens[this.#at++]!
  }

  /** The next token, which must not be a bare keyword. */
  #word(what: string): Token {
    const token = this.#tokens[this.#at]
    if (token === undefined) this.#fail(this.#tokens.at(-1)!, `${what}: the file ends here`)
    if (!token.quoted && KEYWORDS.has(token.text)) this.#fail(token, what)
    this.#at++
    return token
  }

  #fail(token: Token, why: string): never {
    return fail(this.#source, token.line, token.text, why)
  }
}

function isKeyword(token: Token, keyword: string): boolean {
  return !token.quoted && token.text === keyword
}

/** Volfile text that parses to the same graph; what `.meta` shows. */
export function formatVolfile(volumes: readonly VolumeDefinition[]): string {
  const quote = (text: string): string =>
    /^[^\s"\\#][^\s"\\]*$/.test(text) && !KEYWORDS.has(text)
      ? text
      : `"${text.replace(/["\\]/g, '\\$&')}"`
  return volumes
    .map((volume) => {
      const lines = [`volume ${volume.name}`, `    type ${volume.type}`]
      for (const [key, value] of volume.options) lines.push(`    option ${key} ${quote(value)}`)
      if (volume.subvolumes.length > 0) lines.push(`    subvolumes ${volume.subvolumes.join(' ')}`)
      return `${lines.join('\n')}\nend-volume\n`
    })
    .join('\n')
}
