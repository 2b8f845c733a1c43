/**
 * POSIX extended regular expressions on bytes (latin1 strings), as far as name munging needs them:
 * unanchored search for the leftmost, then longest match, and what group 1 captured. JavaScript's
 * own expressions cannot stand in: they take the first alternative that fits, not the longest.
 *
 * The expression becomes a small program. A search first runs it on all paths at once to find the
 * longest end, then follows it greedily to exactly that end for the captures; a memo of dead
 * (instruction, position) pairs keeps the second step linear too.
 */

type Instruction =
  | { op: 'set'; bytes: Uint8Array }
  | { op: 'split'; first: number; second: number }
  | { op: 'save'; slot: number }
  | { op: 'begin' }
  | { op: 'end' }
  | { op: 'match' }

type Node =
  | { kind: 'set'; bytes: Uint8Array }
  | { kind: 'begin' }
  | { kind: 'end' }
  | { kind: 'empty' }
  | { kind: 'group'; index: number; body: Node }
  | { kind: 'sequence'; items: Node[] }
  | { kind: 'choice'; items: Node[] }
  | { kind: 'repeat'; body: Node; min: number; max: number }

/** Instructions of one expression; more is treated as not parsable. */
const PROGRAM_MAX = 4096
/** RE_DUP_MAX of POSIX. */
const REPEAT_MAX = 255
const UNBOUNDED = Number.POSITIVE_INFINITY

class SyntaxProblem extends Error {}

const CLASSES: Record<string, (code: number) => boolean> = {
  alpha: (c) => (c >= 65 && c <= 90) || (c >= 97 && c <= 122),
  digit: (c) => c >= 48 && c <= 57,
  alnum: (c) => CLASSES.alpha!(c) || CLASSES.digit!(c),
  upper: (c) => c >= 65 && c <= 90,
  lower: (c) => c >= 97 && c <= 122,
  space: (c) => c === 32 || (c >= 9 && c <= 13),
  blank: (c) => c === 32 || c === 9,
  punct: (c) => c > 32 && c < 127 && !CLASSES.alnum!(c),
  print: (c) => c >= 32 && c < 127,
  graph: (c) => c > 32 && c < 127,
  cntrl: (c) => c < 32 || c === 127,
  xdigit: (c) => CLASSES.digit!(c) || (c >= 65 && c <= 70) || (c >= 97 && c <= 102),
}

function literal(char: string): Node {
  const bytes = new Uint8Array(256)
  bytes[char.charCodeAt(0) & 0xff] = 1
  return { kind: 'set', bytes }
}

class Parser {
  readonly #text: string
  #at = 0
  #groups = 0

  constructor(text: string) {
    this.#text = text
  }

  parse(): Node {
    const node = this.#choice(0)
    if (this.#at < this.#text.length) throw new SyntaxProblem('unmatched )')
    return node
  }

  #choice(depth: number): Node {
    const items = [this.#sequence(depth)]
    while (this.#text[this.#at] === '|') {
      this.#at++
      items.push(this.#sequence(depth))
    }
    return items.length === 1 ? items[0]! : { kind: 'choice', items }
  }

  #sequence(depth: number): Node {
    const items: Node[] = []
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!
      // A closing parenthesis without an opening one is an ordinary character.
      if (char === '|' || (char === ')' && depth > 0)) break
      items.push(this.#repeated(depth))
    }
    return items.length === 0 ? { kind: 'empty' } : { kind: 'sequence', items }
  }

  #repeated(depth: number): Node {
    let node = this.#atom(depth)
    for (;;) {
      const char = this.#text[this.#at]
      if (char === '*') node = { kind: 'repeat', body: node, min: 0, max: UNBOUNDED }
      else if (char === '+') node = { kind: 'repeat', body: node, min: 1, max: UNBOUNDED }
      else if (char === '?') node = { kind: 'repeat', body: node, min: 0, max: 1 }
      else if (char === '{') {
        const bounds = this.#bounds()
        if (bounds === undefined) return node
        node = { kind: 'repeat', body: node, ...bounds }
        continue
      } else return node
      this.#at++
    }
  }

  /** `{n}`, `{n,}`, `{n,m}`, `{,m}`; anything else leaves the brace an ordinary character. */
  #bounds(): { min: number; max: number } | undefined {
    const match = /^\{(\d*)(,?)(\d*)\}/.exec(this.#text.slice(this.#at))
    if (match === null || (match[1] === '' && match[3] === '')) return undefined
    const min = Number(match[1])
    const max = match[2] === '' ? min : match[3] === '' ? UNBOUNDED : Number(match[3])
    if (min > REPEAT_MAX || (max !== UNBOUNDED && max > REPEAT_MAX) || min > max) {
      throw new SyntaxProblem('bad repeat count')
    }
    this.#at += match[0].length
    return { min, max }
  }

  #atom(depth: number): Node {
    const char = this.#text[this.#at++]!
    switch (char) {
      case '(': {
        const index = ++this.#groups
        const body = this.#choice(depth + 1)
        if (this.#text[this.#at] !== ')') throw new SyntaxProblem('unmatched (')
        this.#at++
        return { kind: 'group', index, body }
      }
      case '[':
        return this.#bracket()
      case '.':
        return { kind: 'set', bytes: new Uint8Array(256).fill(1) }
      case '^':
        return { kind: 'begin' }
      case '$':
        return { kind: 'end' }
      case '*':
      case '+':
      case '?':
        throw new SyntaxProblem('nothing to repeat')
      case '\\': {
        const escaped = this.#text[this.#at++]
        if (escaped === undefined) throw new SyntaxProblem('trailing backslash')
        return literal(escaped)
      }
      default:
        return literal(char)
    }
  }

  #bracket(): Node {
    const bytes = new Uint8Array(256)
    const negated = this.#text[this.#at] === '^'
    if (negated) this.#at++
    for (let first = true; ; first = false) {
      const char = this.#text[this.#at]
      if (char === undefined) throw new SyntaxProblem('unmatched [')
      if (char === ']' && !first) break
      this.#bracketItem(bytes)
    }
    this.#at++
    if (negated) for (let i = 0; i < 256; i++) bytes[i] = bytes[i] === 0 ? 1 : 0
    return { kind: 'set', bytes }
  }

  #bracketItem(bytes: Uint8Array): void {
    const rest = this.#text.slice(this.#at)
    const named = /^\[:([a-z]+):\]/.exec(rest)
    if (named !== null) {
      const test = CLASSES[named[1]!]
      if (test === undefined) throw new SyntaxProblem(`no class ${named[1]}`)
      for (let i = 0; i < 256; i++) if (test(i)) bytes[i] = 1
      this.#at += named[0].length
      return
    }
    const from = this.#bracketChar()
    let to = from
    if (this.#text[this.#at] === '-' && (this.#text[this.#at + 1] ?? ']') !== ']') {
      this.#at++
      to = this.#bracketChar()
    }
    if (to < from) throw new SyntaxProblem('range out of order')
    for (let i = from; i <= to; i++) bytes[i] = 1
  }

  #bracketChar(): number {
    const collating = /^\[([.=])(.)\1\]/s.exec(this.#text.slice(this.#at))
    if (collating !== null) {
      this.#at += collating[0].length
      return collating[2]!.charCodeAt(0) & 0xff
    }
    return this.#text.charCodeAt(this.#at++) & 0xff
  }
}

/** Turns the tree into instructions, in the order they try things: the greedy way first. */
class Compiler {
  readonly program: Instruction[] = []

  compile(node: Node): Instruction[] {
    this.#emit(node)
    this.#add({ op: 'match' })
    return this.program
  }

  #add(instruction: Instruction): void {
    if (this.program.length >= PROGRAM_MAX) throw new SyntaxProblem('too large')
    this.program.push(instruction)
  }

  /** A fork (or, with both ways the same, a jump) whose targets are filled in later. */
  #fork(): { op: 'split'; first: number; second: number } {
    const split = { op: 'split' as const, first: 0, second: 0 }
    this.#add(split)
    return split
  }

  #emit(node: Node): void {
    switch (node.kind) {
      case 'set':
        this.#add({ op: 'set', bytes: node.bytes })
        break
      case 'begin':
      case 'end':
        this.#add({ op: node.kind })
        break
      case 'empty':
        break
      case 'group':
        if (node.index === 1) this.#add({ op: 'save', slot: 0 })
        this.#emit(node.body)
        if (node.index === 1) this.#add({ op: 'save', slot: 1 })
        break
      case 'sequence':
        for (const item of node.items) this.#emit(item)
        break
      case 'choice':
        this.#choice(node.items)
        break
      case 'repeat':
        this.#repeat(node.body, node.min, node.max)
        break
    }
  }

  #choice(items: Node[]): void {
    const exits: { first: number; second: number }[] = []
    items.forEach((item, i) => {
      const fork = i < items.length - 1 ? this.#fork() : undefined
      if (fork !== undefined) fork.first = this.program.length
      this.#emit(item)
      if (fork === undefined) return
      exits.push(this.#fork())
      fork.second = this.program.length
    })
    for (const exit of exits) exit.first = exit.second = this.program.length
  }

  #repeat(body: Node, min: number, max: number): void {
    for (let i = 0; i < min; i++) this.#emit(body)
    if (max === UNBOUNDED) {
      const loop = this.program.length
      const fork = this.#fork()
      fork.first = this.program.length
      this.#emit(body)
      const back = this.#fork()
      back.first = back.second = loop
      fork.second = this.program.length
      return
    }
    const exits: { second: number }[] = []
    for (let i = min; i < max; i++) {
      const fork = this.#fork()
      fork.first = this.program.length
      this.#emit(body)
      exits.push(fork)
    }
    for (const exit of exits) exit.second = this.program.length
  }
}

export interface RegexMatch {
  /** What group 1 matched; `undefined` when the expression has none or it took no part. */
  readonly group: string | undefined
}

export class PosixRegex {
  readonly #program: Instruction[]

  private constructor(program: Instruction[]) {
    this.#program = program
  }

  /** `undefined` when `text` is no valid expression. */
  static parse(text: string): PosixRegex | undefined {
    try {
      return new PosixRegex(new Compiler().compile(new Parser(text).parse()))
    } catch (error) {
      if (error instanceof SyntaxProblem) return undefined
      throw error
    }
  }

  search(subject: string): RegexMatch | undefined {
    for (let start = 0; start <= subject.length; start++) {
      const end = this.#longestEnd(subject, start)
      if (end < 0) continue
      const slots = this.#captures(subject, start, end)
      const [from, to] = slots
      return { group: from < 0 || to < 0 ? undefined : subject.slice(from, to) }
    }
    return undefined
  }

  /** End of the longest match that begins at `start`, -1 for none. */
  #longestEnd(subject: string, start: number): number {
    let current = new Set<number>()
    let longest = -1
    const follow = (pc: number, at: number, into: Set<number>): void => {
      const pending = [pc]
      while (pending.length > 0) {
        const next = pending.pop()!
        if (into.has(next)) continue
        into.add(next)
        const instruction = this.#program[next]!
        if (instruction.op === 'split') pending.push(instruction.first, instruction.second)
        else if (instruction.op === 'save') pending.push(next + 1)
        else if (instruction.op === 'begin' && at === 0) pending.push(next + 1)
        else if (instruction.op === 'end' && at === subject.length) pending.push(next + 1)
        else if (instruction.op === 'match') longest = at
      }
    }
    follow(0, start, current)
    for (let at = start; at < subject.length && current.size > 0; at++) {
      const following = new Set<number>()
      const byte = subject.charCodeAt(at) & 0xff
      for (const pc of current) {
        const instruction = this.#program[pc]!
        if (instruction.op === 'set' && instruction.bytes[byte] === 1) {
          follow(pc + 1, at + 1, following)
        }
      }
      current = following
    }
    return longest
  }

  /** Bounds of group 1 on the greedy path from `start` to `end`. */
  #captures(subject: string, start: number, end: number): [number, number] {
    const width = end - start + 1
    const visited = new Uint8Array(this.#program.length * width)
    // Depth first with an explicit stack; a state is tried once, the greedy way first.
    const pending: { pc: number; at: number; from: number; to: number }[] = [
      { pc: 0, at: start, from: -1, to: -1 },
    ]
    while (pending.length > 0) {
      const { pc, at, from, to } = pending.pop()!
      const state = pc * width + (at - start)
      if (visited[state] === 1) continue
      visited[state] = 1
      const instruction = this.#program[pc]!
      switch (instruction.op) {
        case 'set':
          if (at < end && instruction.bytes[subject.charCodeAt(at) & 0xff] === 1) {
            pending.push({ pc: pc + 1, at: at + 1, from, to })
          }
          break
        case 'split':
          pending.push({ pc: instruction.second, at, from, to })
          pending.push({ pc: instruction.first, at, from, to })
          break
        case 'save':
          if (instruction.slot === 0) pending.push({ pc: pc + 1, at, from: at, to })
          else pending.push({ pc: pc + 1, at, from, to: at })
          break
        case 'begin':
          if (at === 0) pending.push({ pc: pc + 1, at, from, to })
          break
        case 'end':
          if (at === subject.length) pending.push({ pc: pc + 1, at, from, to })
          break
        case 'match':
          if (at === end) return [from, to]
          break
      }
    }
    return [-1, -1]
  }
}
