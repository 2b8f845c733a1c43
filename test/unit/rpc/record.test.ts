import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  HEAD_PEEK_BYTES,
  RECORD_BYTES_MAX,
  RECORD_FRAGMENTS_MAX,
  RecordReader,
} from '../../../src/rpc/record.ts'
import { seeded } from '../../lib/seeded.ts'

/** Records whose first byte is 'P' have HEAD_PEEK_BYTES of head, the rest is payload. */
class Owner {
  expectedHead = 0
  readonly records: { head: Buffer; payload: Buffer[] }[] = []
  reason: string | undefined

  headLength(head: Buffer, length: number): number {
    if (head.length === 0) return length === 0 ? 0 : -1
    if (head[0] !== 0x50) return length
    if (head.length < Math.min(length, HEAD_PEEK_BYTES)) return -1
    return Math.min(length, HEAD_PEEK_BYTES)
  }

  record(head: Buffer, payload: Buffer[]): void {
    this.records.push({ head: Buffer.from(head), payload })
  }

  malformed(reason: string): void {
    this.reason = reason
  }
}

function record(body: Buffer, last = true): Buffer {
  const mark = Buffer.alloc(4)
  mark.writeUInt32BE(((last ? 0x80000000 : 0) | body.length) >>> 0)
  return Buffer.concat([mark, body])
}

/** Feeds `stream`, at most `step()` bytes at a time, as a socket would. */
function feed(reader: RecordReader, stream: Buffer, step: () => number): void {
  for (let at = 0; at < stream.length; ) {
    const window = reader.window()
    assert.ok(window.length > 0)
    const count = Math.min(window.length, step(), stream.length - at)
    stream.copy(window, 0, at, at + count)
    reader.received(count)
    at += count
  }
}

function bytes(size: number, first: string, seed: number): Buffer {
  const body = Buffer.alloc(size)
  for (let i = 0; i < size; i++) body[i] = (i * 31 + seed) & 0xff
  if (size > 0) body.write(first, 0, 'latin1')
  return body
}

test('records come out whole, however the stream is cut', () => {
  const random = seeded(20261122)
  for (let round = 0; round < 60; round++) {
    const owner = new Owner()
    const reader = new RecordReader(owner)
    const bodies: Buffer[] = []
    const stream: Buffer[] = []
    for (let i = 0; i < 12; i++) {
      const size = [0, 1, 4, 40, 196, 197, 5000, 70_000, 300_000][Math.floor(random() * 9)]!
      const body = bytes(size, random() < 0.5 ? 'P' : 'h', i)
      bodies.push(body)
      if (random() < 0.3 && size > 3) {
        const cut = 1 + Math.floor(random() * (size - 1))
        stream.push(record(body.subarray(0, cut), false), record(body.subarray(cut)))
      } else stream.push(record(body))
    }
    const steps = [1e9, 65_536, 1000, 7][round % 4]!
    feed(reader, Buffer.concat(stream), () => {
      owner.expectedHead = random() < 0.5 ? HEAD_PEEK_BYTES : 0
      return 1 + Math.floor(random() * steps)
    })
    assert.equal(owner.reason, undefined)
    assert.equal(owner.records.length, bodies.length)
    for (const [i, { head, payload }] of owner.records.entries()) {
      assert.deepEqual(Buffer.concat([head, ...payload]), bodies[i], `record ${i} of ${round}`)
      if (bodies[i]![0] === 0x50) assert.ok(head.length <= HEAD_PEEK_BYTES)
    }
  }
})

test('an expected payload is received into one buffer of its own', () => {
  const owner = new Owner()
  owner.expectedHead = HEAD_PEEK_BYTES
  const reader = new RecordReader(owner)
  feed(reader, record(bytes(HEAD_PEEK_BYTES + 131_072, 'P', 1)), () => 1e9)
  const { payload } = owner.records[0]!
  assert.equal(payload.length, 1)
  assert.equal(payload[0]!.length, 131_072)
  assert.equal(payload[0]!.buffer.byteLength, 131_072)
})

test('a payload that was handed out is not overwritten by later records', () => {
  const owner = new Owner()
  const reader = new RecordReader(owner)
  const first = bytes(HEAD_PEEK_BYTES + 20_000, 'P', 1)
  feed(reader, record(first), () => 1e9)
  for (let i = 0; i < 40; i++) feed(reader, record(bytes(9000, 'h', i)), () => 1e9)
  const { head, payload } = owner.records[0]!
  assert.deepEqual(Buffer.concat([head, ...payload]), first)
})

test('absurd lengths end the stream before anything is allocated', () => {
  for (const length of [RECORD_BYTES_MAX + 1, 0x7fffffff]) {
    const owner = new Owner()
    const reader = new RecordReader(owner)
    const mark = Buffer.alloc(4)
    mark.writeUInt32BE((0x80000000 | length) >>> 0)
    feed(reader, Buffer.concat([mark, Buffer.alloc(64)]), () => 1e9)
    assert.match(owner.reason ?? '', /record of \d+ bytes/)
    assert.equal(owner.records.length, 0)
  }
})

test('fragments are bounded in number and in sum', () => {
  const many = new Owner()
  const reader = new RecordReader(many)
  const empty = record(Buffer.alloc(0), false)
  feed(reader, Buffer.concat(Array(RECORD_FRAGMENTS_MAX + 1).fill(empty)), () => 1e9)
  assert.match(many.reason ?? '', /fragments/)

  const large = new Owner()
  const other = new RecordReader(large)
  const part = record(Buffer.alloc(1 << 20), false)
  feed(other, Buffer.concat(Array(18).fill(part)), () => 1e9)
  assert.match(large.reason ?? '', /record of \d+ bytes/)
})
