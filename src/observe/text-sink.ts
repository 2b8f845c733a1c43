import type { DumpSink } from './dump.ts'

/**
 * Collects sections of `key=value` lines: the state dump with a blank line before each section,
 * `.meta` files with ` = ` and none.
 */
export class TextSink implements DumpSink {
  readonly #separator: string
  readonly #blankLines: boolean
  readonly #parts: string[] = []

  constructor(form: 'dump' | 'meta' = 'dump') {
    this.#separator = form === 'dump' ? '=' : ' = '
    this.#blankLines = form === 'dump'
  }

  section(name: string): void {
    const gap = this.#blankLines && this.#parts.length > 0 ? '\n' : ''
    this.#parts.push(`${gap}[${name}]\n`)
  }

  pair(key: string, value: string | number | bigint | boolean): void {
    const shown = typeof value === 'boolean' ? Number(value) : value
    this.#parts.push(`${oneLine(key)}${this.#separator}${oneLine(String(shown))}\n`)
  }

  get text(): string {
    return this.#parts.join('')
  }
}

/** Names of files come from anybody: a newline in one must not forge a line. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is escaped
  if (!/[\u0000-\u001f]/.test(text)) return text
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is escaped
    /[\u0000-\u001f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
