/**
 * The code generator behind schema.ts. Fields of fixed size in a row become one bounds check and
 * byte accesses at constant distances; every other field is a call of its codec.
 */
import { type Gfid, NULL_GFID } from '../core/gfid.ts'
import { type Reader, XdrError } from './reader.ts'
import type { Codec, Column, Inline } from './schema.ts'
import type { Writer } from './writer.ts'

const sizes: Readonly<Record<Inline, number>> = {
  u32: 4,
  i32: 4,
  u64n: 8,
  u64near: 8,
  i64: 8,
  u64: 8,
  double: 8,
  gfid: 16,
}

/** A column and the names the generated code uses for it. */
interface Slot extends Column {
  readonly inline: Inline | undefined
  /** Its codec, a free variable of the generated code. */
  readonly codecName: string
  /** Locals that hold the decoded value, one per property. */
  readonly locals: readonly string[]
  /** Source of the field's name for errors. */
  readonly label: string
}

/** Adjacent slots of fixed size, or one of varying size. */
interface Run {
  readonly slots: readonly Slot[]
  /** Bytes; `undefined` for a field of varying size. */
  readonly size: number | undefined
}

/** Compiles columns to a codec of objects; with `make`, of instances of that class. */
export function compileStruct<T>(
  name: string,
  columns: readonly Column[],
  make?: new () => T,
): Codec<T> {
  const slots = columns.map((column, index) => slotOf(column, index, JSON.stringify(column.field)))
  const runs = split(slots)
  const source = `
return {
decode(r) {
  let p = 0, b = r.buffer, h = 0
${runs.map(decodeRun).join('\n')}
  ${result(slots, make !== undefined)}
},
encode(w, o) {
  let p = 0, b = w.buffer
${runs.map(encodeRun).join('\n')}
},
}`
  const minSize = columns.reduce((sum, column) => sum + column.codec.minSize, 0)
  return { name, minSize, ...evaluate<T>(source, slots, make) }
}

/** Compiles one scalar to a codec of its own; within structures it is written in line. */
export function compileScalar<T>(inline: Inline): Codec<T> {
  const minSize = sizes[inline]
  const codec = { name: inline, inline, minSize } as unknown as Codec<unknown>
  const slot = slotOf({ field: inline, props: ['value'], codec }, 0, 'field')
  const runs = split([slot])
  const source = `
return {
decode(r, field = ${JSON.stringify(inline)}) {
  let p = 0, b = r.buffer, h = 0
${runs.map(decodeRun).join('\n')}
  return ${slot.locals[0]}
},
encode(w, value, field = ${JSON.stringify(inline)}) {
  let p = 0, b = w.buffer
  const o = { value }
${runs.map(encodeRun).join('\n')}
},
}`
  return { name: inline, minSize, inline, ...evaluate<T>(source, [slot]) }
}

function evaluate<T>(
  source: string,
  slots: readonly Slot[],
  make?: new () => T,
): Pick<Codec<T>, 'encode' | 'decode'> {
  const names = slots.map((slot) => slot.codecName)
  const build = new Function('k', 'Make', ...names, `'use strict'${source}`)
  return build(support, make, ...slots.map((slot) => slot.codec))
}

function slotOf(column: Column, index: number, label: string): Slot {
  const locals = column.props.map((_, half) => `v${index}_${half}`)
  return { ...column, inline: column.codec.inline, codecName: `c${index}`, locals, label }
}

function split(slots: readonly Slot[]): Run[] {
  const runs: Run[] = []
  let fixed: Slot[] = []
  const flush = (): void => {
    if (fixed.length === 0) return
    runs.push({ slots: fixed, size: fixed.reduce((sum, slot) => sum + sizes[slot.inline!], 0) })
    fixed = []
  }
  for (const slot of slots) {
    if (slot.inline !== undefined) {
      fixed.push(slot)
      continue
    }
    flush()
    runs.push({ slots: [slot], size: undefined })
  }
  flush()
  return runs
}

function result(slots: readonly Slot[], isClass: boolean): string {
  const props = slots.flatMap((slot) => slot.props.map((prop, i) => [prop, slot.locals[i]!]))
  if (!isClass) return `return { ${props.map(([prop, v]) => `${key(prop!)}: ${v}`).join(', ')} }`
  const sets = props.map(([prop, v]) => `o[${key(prop!)}] = ${v}`)
  return ['const o = new Make()', ...sets, 'return o'].join('\n  ')
}

const key = (name: string): string => JSON.stringify(name)

// ── decoding ────────────────────────────────────────────────────────────────────────────────────

function decodeRun(run: Run): string {
  if (run.size === undefined) {
    const slot = run.slots[0]!
    return `  const ${slot.locals[0]} = ${slot.codecName}.decode(r, ${slot.label})`
  }
  const layout = run.slots.map((slot) => `[${slot.label}, ${sizes[slot.inline!]}]`).join(', ')
  const lines = ['  p = r.position', `  if (r.end - p < ${run.size}) throw k.short(r, [${layout}])`]
  let at = 0
  for (const slot of run.slots) {
    lines.push(`  ${load(slot, at)}`)
    at += sizes[slot.inline!]
  }
  lines.push(`  r.position = p + ${run.size}`)
  return lines.join('\n')
}

/** Source of the signed 32-bit word `at` bytes from p. */
const word = (at: number): string =>
  `(b[p + ${at}] << 24 | b[p + ${at + 1}] << 16 | b[p + ${at + 2}] << 8 | b[p + ${at + 3}])`

function load(slot: Slot, at: number): string {
  const v = slot.locals[0]!
  switch (slot.inline!) {
    case 'u32':
      return `const ${v} = ${word(at)} >>> 0`
    case 'i32':
      return `const ${v} = ${word(at)}`
    case 'u64n':
      return `h = ${word(at)} >>> 0
  if (h > 0x1fffff) throw k.wide(${slot.label}, p + ${at})
  const ${v} = h * 0x100000000 + (${word(at + 4)} >>> 0)`
    case 'u64near':
      return `const ${v} = (${word(at)} >>> 0) * 0x100000000 + (${word(at + 4)} >>> 0)`
    case 'i64':
      return `h = ${word(at)}
  if (h > 0x1fffff || h < -0x200000) throw k.wide(${slot.label}, p + ${at})
  const ${v} = h * 0x100000000 + (${word(at + 4)} >>> 0)`
    case 'u64':
      return slot.locals.length === 2
        ? `const ${v} = ${word(at)} >>> 0, ${slot.locals[1]} = ${word(at + 4)} >>> 0`
        : `const ${v} = k.loadU64(b, p + ${at})`
    case 'double':
      return `const ${v} = b.readDoubleBE(p + ${at})`
    case 'gfid':
      return `const ${v} = k.loadGfid(b, p + ${at})`
  }
}

// ── encoding ────────────────────────────────────────────────────────────────────────────────────

function encodeRun(run: Run): string {
  if (run.size === undefined) {
    const slot = run.slots[0]!
    return `  ${slot.codecName}.encode(w, o[${key(slot.props[0]!)}], ${slot.label})`
  }
  const lines = [`  p = w.reserve(${run.size})`, '  b = w.buffer']
  let at = 0
  for (const slot of run.slots) {
    lines.push(`  ${store(slot, at)}`)
    at += sizes[slot.inline!]
  }
  return lines.join('\n')
}

/** Source that stores the low 32 bits of `value` at `at` bytes from p. */
const put = (at: number, value: string): string =>
  `b[p + ${at}] = ${value} >>> 24
  b[p + ${at + 1}] = ${value} >>> 16
  b[p + ${at + 2}] = ${value} >>> 8
  b[p + ${at + 3}] = ${value}`

function store(slot: Slot, at: number): string {
  const x = `x${slot.locals[0]}`
  const get = `const ${x} = o[${key(slot.props[0]!)}]`
  const refuse = `throw k.refuse(w, ${slot.label}, ${x}, '${slot.inline}')`
  switch (slot.inline!) {
    case 'u32':
      return `${get}\n  if (${x} >>> 0 !== ${x}) ${refuse}\n  ${put(at, x)}`
    case 'i32':
      return `${get}\n  if ((${x} | 0) !== ${x}) ${refuse}\n  ${put(at, x)}`
    case 'u64n':
      return `${get}\n  if (!Number.isSafeInteger(${x}) || ${x} < 0) ${refuse}
  const h${x} = ${x} / 0x100000000 >>> 0, l${x} = ${x} >>> 0
  ${put(at, `h${x}`)}\n  ${put(at + 4, `l${x}`)}`
    case 'u64near':
      return `${get}\n  if (!Number.isInteger(${x}) || ${x} < 0) ${refuse}
  const f${x} = ${x} >= ${2 ** 64}, h${x} = f${x} ? 0xffffffff : ${x} / 0x100000000 >>> 0
  const l${x} = f${x} ? 0xffffffff : ${x} >>> 0
  ${put(at, `h${x}`)}\n  ${put(at + 4, `l${x}`)}`
    case 'i64':
      return `${get}
  if (!Number.isInteger(${x}) || ${x} < -0x20000000000000 || ${x} > 0x1fffffffffffff) ${refuse}
  const h${x} = Math.floor(${x} / 0x100000000) | 0, l${x} = ${x} >>> 0
  ${put(at, `h${x}`)}\n  ${put(at + 4, `l${x}`)}`
    case 'u64': {
      if (slot.props.length === 1)
        return `${get}\n  k.storeU64(w, b, p + ${at}, ${x}, ${slot.label})`
      const low = `const l${x} = o[${key(slot.props[1]!)}]`
      return `${get}\n  ${low}
  if (${x} >>> 0 !== ${x} || l${x} >>> 0 !== l${x}) ${refuse}
  ${put(at, x)}\n  ${put(at + 4, `l${x}`)}`
    }
    case 'double':
      return `b.writeDoubleBE(o[${key(slot.props[0]!)}], p + ${at})`
    case 'gfid':
      return `${get}\n  k.storeGfid(w, b, p + ${at}, ${x}, ${slot.label})`
  }
}

// ── what generated code calls ───────────────────────────────────────────────────────────────────

// A 64-bit value seen as one bigint and as two words, in the machine's byte order.
const whole = new BigUint64Array(1)
const half = new Uint32Array(whole.buffer)
whole[0] = 1n
const LOW = half[0] === 1 ? 0 : 1
const HIGH = 1 - LOW
const U64_MAX = 0xffffffffffffffffn

const support = {
  /** The error for a run of fields that does not fit: names the first that does not. */
  short(r: Reader, layout: readonly (readonly [string, number])[]): XdrError {
    let at = r.position
    for (const [field, size] of layout) {
      if (size > r.end - at) {
        return new XdrError(field, at, `needs ${size} bytes, ${r.end - at} are left`)
      }
      at += size
    }
    return new XdrError('struct', at, 'does not fit')
  },

  wide(field: string, offset: number): XdrError {
    return new XdrError(field, offset, 'beyond 2^53')
  },

  refuse(w: Writer, field: string, value: unknown, type: string): XdrError {
    return w.refuse(field, `${String(value)} is no ${type}`)
  },

  loadU64(b: Buffer, p: number): bigint {
    half[HIGH] = (b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!
    half[LOW] = (b[p + 4]! << 24) | (b[p + 5]! << 16) | (b[p + 6]! << 8) | b[p + 7]!
    return whole[0]!
  },

  storeU64(w: Writer, b: Buffer, p: number, value: bigint, field: string): void {
    if (typeof value !== 'bigint' || value < 0n || value > U64_MAX) {
      throw w.refuse(field, `${String(value)} is no u64`)
    }
    whole[0] = value
    b.writeUInt32BE(half[HIGH]!, p)
    b.writeUInt32BE(half[LOW]!, p + 4)
  },

  loadGfid(b: Buffer, p: number): Gfid {
    let any = 0
    for (let i = 0; i < 16; i++) any |= b[p + i]!
    return any === 0 ? NULL_GFID : (b.latin1Slice(p, p + 16) as Gfid)
  },

  storeGfid(w: Writer, b: Buffer, p: number, value: Gfid, field: string): void {
    if (value?.length !== 16) throw w.refuse(field, `a gfid of ${value?.length} bytes`)
    for (let i = 0; i < 16; i++) b[p + i] = value.charCodeAt(i)
  },
}
