/**
 * The schema compiler. A wire structure is written like its declaration in the protocol's .x file,
 * with the wire's names and order, and compiled once into straight-line code: a loop over fields
 * costs four times as much.
 */
import type { Gfid } from '../core/gfid.ts'
import { compileScalar, compileStruct } from './compile.ts'
import { padding, Reader, XdrError } from './reader.ts'
import type { Writer } from './writer.ts'

/** How one type travels. `field` names it in errors. */
export interface Codec<T> {
  readonly name: string
  encode(w: Writer, value: T, field?: string): void
  decode(r: Reader, field?: string): T
  /** Bytes the shortest value takes: bounds how many can follow a count. */
  readonly minSize: number
  /** A scalar the compiler writes in line. */
  readonly inline?: Inline
}

/** Scalars with code of their own in compile.ts. */
export type Inline = 'u32' | 'i32' | 'u64n' | 'u64near' | 'i64' | 'u64' | 'double' | 'gfid'

export type Infer<C> = C extends Codec<infer T> ? T : never

type Fields = Record<string, Codec<unknown>>
type Struct<F> = { [K in keyof F]: Infer<F[K]> }

/** One or two properties of an object, and how they travel. */
export interface Column {
  /** The wire's name. */
  readonly field: string
  /** Two for a 64-bit integer held in halves, high first. */
  readonly props: readonly string[]
  readonly codec: Codec<unknown>
}

/** A field held under another name than the wire's. */
export interface Renamed {
  readonly props: readonly string[]
  readonly codec: Codec<unknown>
}

export const u32 = compileScalar<number>('u32')
export const i32 = compileScalar<number>('i32')
/** Unsigned 64 bits that count something: a number, refused from 2^53 on. */
export const u64n = compileScalar<number>('u64n')
/**
 * Unsigned 64 bits as the nearest number, for what is shown rather than calculated with: a sparse
 * file of an exabyte must not make its directory unreadable because its size is off by a byte.
 */
export const u64near = compileScalar<number>('u64near')
/** Signed 64 bits as a number, refused beyond 2^53. */
export const i64 = compileScalar<number>('i64')
/** Unsigned 64 opaque bits. */
export const u64 = compileScalar<bigint>('u64')
export const double = compileScalar<number>('double')
export const gfid = compileScalar<Gfid>('gfid')

/** An object whose properties are the wire's fields. */
export function struct<F extends Fields>(fields: F, name = 'struct'): Codec<Struct<F>> {
  const columns = Object.entries(fields).map(([field, codec]) => ({
    field,
    props: [field],
    codec,
  }))
  return compileStruct<Struct<F>>(name, columns)
}

/**
 * An object of the core that travels as a wire structure: `fields` has the wire's names and order,
 * `as` and `halves` say where a field is held when not under its own name. With `make`, decoding
 * fills a `new make()`.
 */
export function record<T extends object>(
  name: string,
  fields: Record<string, Codec<unknown> | Renamed>,
  make?: new () => T,
): Codec<T> {
  const columns = Object.entries(fields).map(([field, spec]) =>
    'props' in spec ? { field, ...spec } : { field, props: [field], codec: spec },
  )
  return compileStruct<T>(name, columns, make)
}

/** The field is held as `prop`. */
export function as<T>(prop: string, codec: Codec<T>): Renamed {
  return { props: [prop], codec }
}

/** Unsigned 64 opaque bits held as two unsigned 32-bit numbers. */
export function halves(hi: string, lo: string): Renamed {
  return { props: [hi, lo], codec: u64 }
}

/** A byte string (latin1) of at most `max` bytes, without NUL on the wire. */
export function string(max: number): Codec<string> {
  return {
    name: 'string',
    minSize: 4,
    encode: (w, value, field = 'string') => w.string(value, max, field),
    decode: (r, field = 'string') => r.string(max, field),
  }
}

/** Bytes, at most `max`. */
export function opaque(max: number): Codec<Buffer> {
  return {
    name: 'opaque',
    minSize: 4,
    encode: (w, value, field = 'opaque') => w.opaque(value, max, field),
    decode: (r, field = 'opaque') => r.opaque(max, field),
  }
}

/** Exactly `size` bytes, no length on the wire. */
export function bytes(size: number): Codec<Buffer> {
  return {
    name: `bytes(${size})`,
    minSize: size + padding(size),
    encode: (w, value, field = 'bytes') => w.bytes(value, size, field),
    decode: (r, field = 'bytes') => r.bytes(size, field),
  }
}

/** A count and that many items, at most `max`. */
export function array<T>(item: Codec<T>, max: number): Codec<T[]> {
  return {
    name: `${item.name}<${max}>`,
    minSize: 4,
    encode(w, values, field = 'array') {
      if (values.length > max) throw w.refuse(field, `${values.length} items, at most ${max}`)
      w.u32(values.length, field)
      for (const value of values) item.encode(w, value, field)
    },
    decode(r, field = 'array') {
      const count = r.u32(field)
      if (count > max || count * item.minSize > r.remaining) {
        throw new XdrError(field, r.position - 4, `${count} items, at most ${max} allowed`)
      }
      const values: T[] = []
      for (let i = 0; i < count; i++) values.push(item.decode(r, field))
      return values
    },
  }
}

/** XDR's linked list: each item preceded by a one, a zero at the end. At most `max` items. */
export function linkedList<T>(item: Codec<T>, max: number): Codec<T[]> {
  return {
    name: `*${item.name}`,
    minSize: 4,
    encode(w, values, field = 'list') {
      if (values.length > max) throw w.refuse(field, `${values.length} items, at most ${max}`)
      for (const value of values) {
        w.u32(1)
        item.encode(w, value, field)
      }
      w.u32(0)
    },
    decode(r, field = 'list') {
      const values: T[] = []
      while (present(r, field)) {
        if (values.length === max) {
          throw new XdrError(field, r.position - 4, `more than ${max} items`)
        }
        values.push(item.decode(r, field))
      }
      return values
    },
  }
}

/** XDR's optional data: a one and the value, or a zero. */
export function optional<T>(item: Codec<T>): Codec<T | undefined> {
  return {
    name: `${item.name}?`,
    minSize: 4,
    encode(w, value, field) {
      w.u32(value === undefined ? 0 : 1)
      if (value !== undefined) item.encode(w, value, field)
    },
    decode: (r, field = 'optional') => (present(r, field) ? item.decode(r, field) : undefined),
  }
}

function present(r: Reader, field: string): boolean {
  const flag = r.u32(field)
  if (flag > 1) throw new XdrError(field, r.position - 4, `${flag} where 0 or 1 must be`)
  return flag === 1
}

/** No bytes at all. */
export const nothing: Codec<Record<never, never>> = struct({}, 'void')

/** Decodes what must fill `bytes` (from the reader's position to its end) exactly. */
export function decodeAll<T>(codec: Codec<T>, bytes: Buffer | Reader): T {
  const r = bytes instanceof Reader ? bytes : new Reader(bytes)
  const value = codec.decode(r)
  if (r.remaining !== 0) {
    throw new XdrError(codec.name, r.position, `${r.remaining} bytes are left over`)
  }
  return value
}
