/**
 * Record marking (RFC 5531 s.11) on the serving side. Records are cut out of the chunks the socket
 * delivers, so that the payload of a WRITE goes to the brick as the bytes that were received.
 */
import { LAST_FRAGMENT, RECORD_MARK_SIZE } from '../xdr/rpc-msg.ts'

/** Longest record accepted, bytes: more than the largest write with its credential and xdata. */
export const RECORD_BYTES_MAX = 17 * 2 ** 20
/** Fragments of one record; stock sends one. */
const RECORD_FRAGMENTS_MAX = 1024

/** One record: its bytes in order, in as many pieces as they arrived in. */
export class Record {
  readonly length: number
  #parts: Buffer[]

  constructor(parts: Buffer[], length: number) {
    this.#parts = parts
    this.length = length
  }

  /** The first `size` bytes (or all there are) in one piece. */
  head(size: number): Buffer {
    const first = this.#parts[0]
    if (first === undefined || first.length >= size) return first?.subarray(0, size) ?? EMPTY
    return Buffer.concat(this.#parts, Math.min(size, this.length))
  }

  /** What comes after the first `size` bytes, uncopied. */
  rest(size: number): Buffer[] {
    let skip = size
    const rest: Buffer[] = []
    for (const part of this.#parts) {
      if (skip < part.length) rest.push(skip === 0 ? part : part.subarray(skip))
      skip = Math.max(0, skip - part.length)
    }
    return rest
  }
}

const EMPTY = Buffer.alloc(0)

export class RecordCutter {
  readonly #deliver: (record: Record) => void
  readonly #mark = Buffer.alloc(RECORD_MARK_SIZE)
  #markBytes = 0
  /** Bytes of the current fragment still to come. */
  #missing = 0
  #last = false
  #fragments = 0
  #parts: Buffer[] = []
  #length = 0
  #stopped = false
  #held = false
  /** Received while held. */
  #rest: Buffer = EMPTY

  constructor(deliver: (record: Record) => void) {
    this.#deliver = deliver
  }

  /** No more records are delivered. */
  stop(): void {
    this.#stopped = true
    this.#parts = []
    this.#rest = EMPTY
  }

  /** No more records are delivered until `received` is called again. */
  hold(): void {
    this.#held = true
  }

  /** Takes a chunk, which is ours from now on. A text = why the stream is not record-marked RPC. */
  received(more: Buffer): string | undefined {
    const chunk = this.#rest.length === 0 ? more : Buffer.concat([this.#rest, more])
    this.#rest = EMPTY
    this.#held = false
    let at = 0
    while (at < chunk.length && !this.#stopped) {
      if (this.#held) {
        this.#rest = chunk.subarray(at)
        return undefined
      }
      if (this.#missing === 0) {
        const count = Math.min(RECORD_MARK_SIZE - this.#markBytes, chunk.length - at)
        chunk.copy(this.#mark, this.#markBytes, at, at + count)
        at += count
        this.#markBytes += count
        if (this.#markBytes < RECORD_MARK_SIZE) return undefined
        const bad = this.#begin(this.#mark.readUInt32BE(0))
        if (bad !== undefined) return bad
      } else {
        const count = Math.min(this.#missing, chunk.length - at)
        this.#parts.push(chunk.subarray(at, at + count))
        at += count
        this.#missing -= count
      }
      if (this.#missing === 0) this.#ended()
    }
    return undefined
  }

  #begin(mark: number): string | undefined {
    this.#markBytes = 0
    const length = mark & 0x7fffffff
    this.#last = mark >= LAST_FRAGMENT
    this.#missing = length
    this.#length += length
    this.#fragments++
    if (this.#length > RECORD_BYTES_MAX) return `record of ${this.#length} bytes or more`
    if (this.#fragments > RECORD_FRAGMENTS_MAX) return `more than ${RECORD_FRAGMENTS_MAX} fragments`
    return undefined
  }

  #ended(): void {
    if (!this.#last) return
    const record = new Record(this.#parts, this.#length)
    this.#parts = []
    this.#length = 0
    this.#fragments = 0
    this.#last = false
    this.#deliver(record)
  }
}
