/**
 * Record marking (RFC 5531 s.11) on the receiving side, over buffers the socket reads into.
 *
 *     chunk   |....consumed....|mark|head ......|payload, first bytes|....free....|
 *                              ^start                                 ^end
 *     payload                                    |rest of the payload ...........|
 *
 * Small records share a chunk. Once the head of a record with a raw payload (a READ reply) is
 * known, the rest of the payload is received straight into a buffer of its own, so that file data
 * is not copied here. A chunk of which a part was handed out is never written again before `end`.
 */

import { allocateData } from '../core/data-memory.ts'
import { LAST_FRAGMENT, RECORD_MARK_SIZE as MARK_BYTES } from '../xdr/rpc-msg.ts'

/** Longest record accepted, bytes. The largest legal ones carry a volfile (16 MiB). */
export const RECORD_BYTES_MAX = 17 * 2 ** 20
/** Fragments of one record; stock sends one. */
export const RECORD_FRAGMENTS_MAX = 1024

const CHUNK_BYTES = 64 * 1024
/** A chunk in use is replaced when less than this is free. */
const CHUNK_FREE_MIN = 4096
/**
 * Payload bytes that are copied out of the chunk: 3 us at most, and a cache that keeps them does
 * not keep four times as much alive.
 */
const PAYLOAD_COPY_MAX = 16 * 1024

/** Whom a reader serves. */
export interface RecordOwner {
  /**
   * A large payload is expected next: the number of bytes that are certainly head, so that the
   * reader takes no payload bytes into its chunk. 0 = nothing special is expected.
   */
  readonly expectedHead: number
  /**
   * Length of the part of a record before its raw payload, given its first bytes (`head`, maybe
   * all) and total `length`. `length` itself when there is no payload, -1 when `head` is too short
   * to tell; never -1 for a head of HEAD_PEEK_BYTES.
   */
  headLength(head: Buffer, length: number): number
  /**
   * A complete record. `head` is valid during the call only; `payload` belongs to the callee.
   */
  record(head: Buffer, payload: Buffer[]): void
  /** The stream is not record-marked RPC; nothing more will be delivered. */
  malformed(reason: string): void
}

/** Bytes of a record from which every owner can tell the head's length. */
export const HEAD_PEEK_BYTES = 196

export class RecordReader {
  readonly #owner: RecordOwner
  #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #start = 0
  #end = 0
  /** A part of the chunk was handed out: what lies before `end` must stay as it is. */
  #pinned = false
  /** Bytes from `start` that are needed before parsing can go on. */
  #need = MARK_BYTES
  /** A record whose payload is being received; `undefined` otherwise. */
  #waiting: { head: Buffer; parts: Buffer[]; rest: Buffer; filled: number } | undefined
  /** Earlier fragments of the record. */
  #fragments: Buffer[] = []
  #fragmentBytes = 0
  #dead = false

  constructor(owner: RecordOwner) {
    this.#owner = owner
  }

  /** Where the next bytes of the stream go; never empty. */
  window(): Buffer {
    if (this.#dead) return this.#chunk
    const waiting = this.#waiting
    if (waiting !== undefined) {
      return waiting.filled === 0 ? waiting.rest : waiting.rest.subarray(waiting.filled)
    }
    if (this.#start === this.#end) {
      if (!this.#pinned) {
        this.#start = 0
        this.#end = 0
      }
      if (this.#chunk.length - this.#end < CHUNK_FREE_MIN || this.#chunk.length > CHUNK_BYTES) {
        this.#renew(CHUNK_BYTES)
      }
      const expected = this.#owner.expectedHead
      if (expected > 0) return this.#chunk.subarray(this.#end, this.#end + MARK_BYTES + expected)
    } else if (this.#start + this.#need > this.#chunk.length) {
      this.#renew(Math.max(CHUNK_BYTES, this.#need))
    }
    return this.#end === 0 ? this.#chunk : this.#chunk.subarray(this.#end)
  }

  /** `count` bytes have arrived in the last window. */
  received(count: number): void {
    if (this.#dead) return
    const waiting = this.#waiting
    if (waiting !== undefined) {
      waiting.filled += count
      if (waiting.filled < waiting.rest.length) return
      this.#waiting = undefined
      waiting.parts.push(waiting.rest)
      this.#owner.record(waiting.head, waiting.parts)
      return
    }
    this.#end += count
    while (!this.#dead && this.#end - this.#start >= this.#need) {
      if (!this.#parse()) break
    }
  }

  /** No more records are delivered, not even those already here. */
  stop(): void {
    this.#dead = true
  }

  /** A new chunk, with the unparsed bytes of the old one. */
  #renew(size: number): void {
    const chunk = Buffer.allocUnsafeSlow(size)
    this.#chunk.copy(chunk, 0, this.#start, this.#end)
    this.#chunk = chunk
    this.#end -= this.#start
    this.#start = 0
    this.#pinned = false
  }

  /** Takes one fragment from the chunk; false when more bytes are needed. */
  #parse(): boolean {
    const mark = this.#chunk.readUInt32BE(this.#start)
    const length = mark & 0x7fffffff
    if (length + this.#fragmentBytes > RECORD_BYTES_MAX) {
      return this.#fail(`record of ${length + this.#fragmentBytes} bytes or more`)
    }
    const begin = this.#start + MARK_BYTES
    const have = Math.min(this.#end - begin, length)
    const last = mark >= LAST_FRAGMENT
    if (last && this.#fragments.length === 0) return this.#single(begin, have, length)
    if (have < length) {
      this.#need = MARK_BYTES + length
      return false
    }
    this.#fragments.push(Buffer.from(this.#chunk.subarray(begin, begin + length)))
    this.#fragmentBytes += length
    this.#consume(MARK_BYTES + length)
    if (last) this.#deliverFragments()
    else if (this.#fragments.length >= RECORD_FRAGMENTS_MAX) {
      return this.#fail(`record of more than ${RECORD_FRAGMENTS_MAX} fragments`)
    }
    return true
  }

  /** The usual case: a record of one fragment, of which `have` bytes are in the chunk. */
  #single(begin: number, have: number, length: number): boolean {
    const head = this.#chunk.subarray(begin, begin + have)
    let headLength = this.#owner.headLength(head, length)
    if (headLength < 0) {
      if (have >= HEAD_PEEK_BYTES || have === length) headLength = length
      else {
        this.#need = MARK_BYTES + Math.min(length, HEAD_PEEK_BYTES)
        return false
      }
    }
    if (have < headLength) {
      this.#need = MARK_BYTES + headLength
      return false
    }
    if (headLength === length) {
      this.#consume(MARK_BYTES + length)
      this.#owner.record(head, [])
      return true
    }
    this.#consume(MARK_BYTES + have)
    return this.#withPayload(head, headLength, length)
  }

  /** The head is complete; `head` holds it and the payload bytes that came along. */
  #withPayload(head: Buffer, headLength: number, length: number): boolean {
    const early = head.subarray(headLength)
    const parts: Buffer[] = []
    if (head.length === length) {
      if (early.length <= PAYLOAD_COPY_MAX) parts.push(Buffer.from(early))
      else {
        this.#pinned = true
        parts.push(early)
      }
      this.#owner.record(head.subarray(0, headLength), parts)
      return true
    }
    let filled = 0
    let rest: Buffer
    if (early.length <= PAYLOAD_COPY_MAX) {
      rest = allocateData(length - headLength)
      filled = early.copy(rest)
    } else {
      this.#pinned = true
      parts.push(early)
      rest = allocateData(length - head.length)
    }
    // Nothing is read into the chunk while the payload is, so the head stays as it is.
    this.#waiting = { head: head.subarray(0, headLength), parts, rest, filled }
    return false
  }

  #deliverFragments(): void {
    const whole = Buffer.concat(this.#fragments)
    this.#fragments = []
    this.#fragmentBytes = 0
    const headLength = this.#owner.headLength(whole, whole.length)
    const split = headLength < 0 ? whole.length : Math.min(headLength, whole.length)
    const payload = split < whole.length ? [whole.subarray(split)] : []
    this.#owner.record(whole.subarray(0, split), payload)
  }

  #consume(bytes: number): void {
    this.#start += bytes
    this.#need = MARK_BYTES
  }

  #fail(reason: string): false {
    this.#dead = true
    this.#owner.malformed(reason)
    return false
  }
}
