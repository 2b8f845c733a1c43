import { padding, XdrError } from './reader.ts'

/** Bytes are handed out of slabs of this size; a longer record gets a slab of its own. */
const SLAB_SIZE = 64 * 1024

/**
 * Builds records one after the other. `take` hands out what was written since the last `take`;
 * those bytes are never written again, so they can wait in a socket's queue while the next record
 * is built behind them.
 */
export class Writer {
  buffer: Buffer
  /** Index in `buffer` of the next byte. Generated code uses it; everybody else `position`. */
  at = 0
  #start = 0
  readonly #slabSize: number

  constructor(slabSize = SLAB_SIZE) {
    this.#slabSize = slabSize
    this.buffer = Buffer.allocUnsafeSlow(slabSize)
  }

  /** Bytes written since the last `take`: where the next one goes in the record. */
  get position(): number {
    return this.at - this.#start
  }

  /** Makes room for `size` bytes, moves past them and gives the index of the first. */
  reserve(size: number): number {
    if (size > this.buffer.length - this.at) this.#grow(size)
    const at = this.at
    this.at = at + size
    return at
  }

  #grow(size: number): void {
    const written = this.at - this.#start
    const slab = Buffer.allocUnsafeSlow(Math.max(this.#slabSize, 2 * (written + size)))
    this.buffer.copy(slab, 0, this.#start, this.at)
    this.buffer = slab
    this.#start = 0
    this.at = written
  }

  u32(value: number, field = 'u32'): void {
    if (value >>> 0 !== value) throw this.refuse(field, `${value} is no unsigned 32-bit integer`)
    const p = this.reserve(4)
    const b = this.buffer
    b[p] = value >>> 24
    b[p + 1] = value >>> 16
    b[p + 2] = value >>> 8
    b[p + 3] = value
  }

  i32(value: number, field = 'i32'): void {
    if ((value | 0) !== value) throw this.refuse(field, `${value} is no 32-bit integer`)
    this.u32(value >>> 0)
  }

  /** Length word, bytes, zero padding. */
  opaque(bytes: Buffer, max: number, field = 'opaque'): void {
    const length = bytes.length
    if (length > max) throw this.refuse(field, `${length} bytes, at most ${max} allowed`)
    this.u32(length, field)
    const p = this.#padded(length)
    bytes.copy(this.buffer, p)
  }

  /** Length word, the characters as bytes, zero padding. */
  string(text: string, max: number, field = 'string'): void {
    const length = text.length
    if (length > max) throw this.refuse(field, `${length} bytes, at most ${max} allowed`)
    this.u32(length, field)
    const p = this.#padded(length)
    this.#text(text, p)
  }

  /** Like `string`, with a NUL after the text that counts. */
  cstring(text: string, max: number, field = 'string'): void {
    const length = text.length + 1
    if (length > max) throw this.refuse(field, `${length} bytes, at most ${max} allowed`)
    this.u32(length, field)
    const p = this.#padded(length)
    this.#text(text, p)
    this.buffer[p + length - 1] = 0
  }

  /** A native call pays for longer texts only. */
  #text(text: string, p: number): void {
    const length = text.length
    if (length > 32) {
      this.buffer.latin1Write(text, p, length)
      return
    }
    for (let i = 0; i < length; i++) this.buffer[p + i] = text.charCodeAt(i)
  }

  /** Exactly `size` bytes and zero padding. */
  bytes(bytes: Buffer, size: number, field = 'bytes'): void {
    if (bytes.length !== size) throw this.refuse(field, `${bytes.length} bytes instead of ${size}`)
    const p = this.#padded(size)
    bytes.copy(this.buffer, p)
  }

  #padded(length: number): number {
    const size = length + padding(length)
    const p = this.reserve(size)
    for (let i = p + length; i < p + size; i++) this.buffer[i] = 0
    return p
  }

  /** Overwrites four bytes written before. `position` as it was when they were written. */
  patchU32(position: number, value: number): void {
    this.buffer.writeUInt32BE(value, this.#start + position)
  }

  /** The error for a value the wire cannot carry. */
  refuse(field: string, why: string): XdrError {
    return new XdrError(field, this.position, `cannot be sent: ${why}`)
  }

  /** What was written since the last `take`, as the caller's own. */
  take(): Buffer {
    const bytes = this.buffer.subarray(this.#start, this.at)
    this.#start = this.at
    return bytes
  }

  /** Forgets what was written since `position` (default: since the last `take`). */
  reset(position = 0): this {
    this.at = this.#start + position
    return this
  }
}
