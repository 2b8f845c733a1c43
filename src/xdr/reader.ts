/**
 * Reading XDR (RFC 4506) from received bytes. Every length is checked against the bytes that are
 * there before anything is allocated, so a lying peer costs no more memory than it sent.
 *
 * Nothing decoded refers to the reader's buffer: the connection may reuse it at once.
 */

/** Bytes that are not what the schema says, or a value the wire cannot carry. Names the field. */
export class XdrError extends Error {
  /** The field as the protocol's .x file calls it. */
  readonly field: string
  /** Where it is: bytes from the start of the reader's buffer, or of the record being written. */
  readonly offset: number
  readonly why: string

  constructor(field: string, offset: number, why: string) {
    super(`${field} at byte ${offset}: ${why}`)
    this.name = 'XdrError'
    this.field = field
    this.offset = offset
    this.why = why
  }
}

/** Bytes of padding after `length` bytes of an opaque or string: XDR items are 4-aligned. */
export const padding = (length: number): number => -length & 3

export class Reader {
  buffer: Buffer
  /** Of the next byte to read, from the start of `buffer`. */
  position: number
  /** One past the last byte that may be read. */
  end: number

  constructor(buffer: Buffer, position = 0, end = buffer.length) {
    this.buffer = buffer
    this.position = position
    this.end = end
  }

  get remaining(): number {
    return this.end - this.position
  }

  /** Starts over on other bytes. */
  reset(buffer: Buffer, position = 0, end = buffer.length): this {
    this.buffer = buffer
    this.position = position
    this.end = end
    return this
  }

  /** Moves past `size` bytes that must be there and gives the position of the first. */
  advance(size: number, field: string): number {
    const at = this.position
    if (size > this.end - at) {
      throw new XdrError(field, at, `needs ${size} bytes, ${this.end - at} are left`)
    }
    this.position = at + size
    return at
  }

  u32(field = 'u32'): number {
    const b = this.buffer
    const p = this.advance(4, field)
    return ((b[p]! << 24) | (b[p + 1]! << 16) | (b[p + 2]! << 8) | b[p + 3]!) >>> 0
  }

  i32(field = 'i32'): number {
    return this.u32(field) | 0
  }

  /** A length word, then that many bytes; gives where they start, moves past their padding. */
  #sized(max: number, field: string): number {
    const length = this.u32(field)
    const at = this.position
    if (length > max) throw new XdrError(field, at - 4, `${length} bytes, at most ${max} allowed`)
    this.advance(length, field)
    this.advance(padding(length), field)
    this.#length = length
    return at
  }
  #length = 0

  /** Variable-length bytes, copied. */
  opaque(max: number, field = 'opaque'): Buffer {
    const at = this.#sized(max, field)
    return this.#copy(at, this.#length)
  }

  /** A byte string as latin1. */
  string(max: number, field = 'string'): string {
    const at = this.#sized(max, field)
    return this.buffer.latin1Slice(at, at + this.#length)
  }

  /** Like `string`, without the NUL that ends it; `undefined` when it does not end with one. */
  cstring(max: number, field = 'string'): string | undefined {
    const at = this.#sized(max, field)
    const last = at + this.#length - 1
    if (this.#length === 0 || this.buffer[last] !== 0) return undefined
    return this.buffer.latin1Slice(at, last)
  }

  /** Exactly `size` bytes and their padding, copied. */
  bytes(size: number, field = 'bytes'): Buffer {
    return this.#copy(this.advance(size + padding(size), field), size)
  }

  /** A native call pays for more bytes only. */
  #copy(at: number, size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size)
    if (size > 32) this.buffer.copy(bytes, 0, at, at + size)
    else for (let i = 0; i < size; i++) bytes[i] = this.buffer[at + i]!
    return bytes
  }
}
