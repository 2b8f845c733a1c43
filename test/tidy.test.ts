/** House rules no linter checks: sizes, bans, header comments, the layout of the top level. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

const FILE_LINES_MAX = 600
const FUNCTION_LINES_MAX = 70
const COLUMNS_MAX = 100

/** Files that are tables: long because what they list is long. */
const TABLES = /(^|\/)(option-table|.*-table|abi|fops?)\.ts$|^src\/xdr\/|^test\/vectors\//

function projectFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  return listed.split('\n').filter((path) => path !== '' && !path.startsWith('node_modules'))
}

const files = projectFiles()
const sources = files.filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
const program = sources.filter((path) => !path.startsWith('test/'))
const textOf = new Map(sources.map((path) => [path, readFileSync(root + path, 'utf8')]))

interface Offence {
  path: string
  line: number
  text: string
}

/** Lines of `paths` that match, strings and comments included unless `codeOnly`. */
function search(paths: readonly string[], pattern: RegExp, codeOnly: boolean): string[] {
  const found: Offence[] = []
  for (const path of paths) {
    const text = textOf.get(path)!
    const lines = (codeOnly ? withoutComments(text) : text).split('\n')
    for (const [index, line] of lines.entries()) {
      if (pattern.test(line)) found.push({ path, line: index + 1, text: line.trim() })
    }
  }
  return found.map((offence) => `${offence.path}:${offence.line}: ${offence.text}`)
}

/** The same number of lines, with comments and the inside of plain strings blanked. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'/g, (match) =>
    match.replace(/[^\n]/g, ' '),
  )
}

/** Functions and methods by the indentation the formatter gives them: `{` … `}` at one column. */
function longFunctions(path: string): string[] {
  const lines = textOf.get(path)!.split('\n')
  const long: string[] = []
  const start =
    /^( *)(export )?(default )?(async )?(function\b|(static |override |get |set |async |#?\w+ = (async )?)*#?[\w.]+ ?(<.*>)?\(|#?[\w]+: Fop<.*= |.*=> \{$)/
  for (const [index, line] of lines.entries()) {
    const match = start.exec(line)
    if (match === null || !/\{$/.test(line) || /^ *(if|for|while|switch|return)\b/.test(line))
      continue
    if (/^ *(describe|suite)\(/.test(line)) continue
    // A function that returns a table of functions is a table.
    if (/^ *return \{$/.test(lines[index + 1] ?? '') || /\): Ops \{$/.test(line)) continue
    const indent = match[1]!
    const end = lines.findIndex((at, i) => i > index && at.startsWith(`${indent}}`))
    const length = end - index + 1
    if (end > 0 && length > FUNCTION_LINES_MAX) {
      long.push(`${path}:${index + 1}: ${length} lines: ${line.trim()}`)
    }
  }
  return long
}

describe('tidy', () => {
  test('files are short', () => {
    const long = [...textOf]
      .filter(([path]) => !TABLES.test(path))
      .map(([path, text]) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > FILE_LINES_MAX)
    assert.deepEqual(long, [])
  })

  test('functions are short', () => {
    assert.deepEqual(program.flatMap(longFunctions), [])
  })

  test('lines are short', () => {
    const pattern = new RegExp(`^.{${COLUMNS_MAX + 1},}`)
    const long = search(program, pattern, false).filter((at) => !/https?:|['"`]|: \/\^/.test(at))
    assert.deepEqual(long, [])
  })

  test('time and chance come from the clock only', () => {
    const paths = program.filter((path) => path !== 'src/core/clock.ts')
    const pattern = /\bDate\b|\bset(Timeout|Interval)\(|\bMath\.random\b|\bperformance\.now\b/
    assert.deepEqual(search(paths, pattern, true), [])
  })

  test('no any, no enum, no namespace', () => {
    const pattern = /(:|<|\bas) any\b|^\s*(export )?(const )?enum \w|^\s*(export )?namespace \w/
    assert.deepEqual(search(sources, pattern, true), [])
  })

  test('nothing is left for later', () => {
    // Spelled in two parts: this file is searched as well.
    const pattern = new RegExp(`\\b(TO${'DO'}|FIX${'ME'}|X${'XX'})\\b`)
    assert.deepEqual(search(sources, pattern, false), [])
  })

  test("no paths of somebody's machine", () => {
    const pattern = new RegExp(`/ho${'me'}/\\w|/wo${'rk'}/(wt|shared|main)|\\.\\./sha${'red'}/`)
    assert.deepEqual(search(sources, pattern, false), [])
  })

  test('every source file begins by saying what it is', () => {
    const bare = [...textOf]
      .filter(([path]) => program.includes(path))
      .filter(([, text]) => !/^(#!.*\n)?(\/\*\*|\/\/|import|export|interface)/.test(text))
    assert.deepEqual(
      bare.map(([path]) => path),
      [],
    )
    const translators = program.filter((path) => /^xlators\/.*\/index\.ts$/.test(path))
    const silent = translators.filter((path) => !textOf.get(path)!.startsWith('/**'))
    assert.deepEqual(silent, [])
  })

  test('the top level holds what it should', () => {
    const known =
      /^(\.biome\.json|\.eslint\.config\.mjs|\.gitignore|LICENSE|README\.md|package(-lock)?\.json|tsconfig\.json|(\.ci|\.github|bin|src|xlators|volfiles|test|doc)\/.*)$/
    assert.deepEqual(
      files.filter((path) => !known.test(path)),
      [],
    )
  })
})
