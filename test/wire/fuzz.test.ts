/**
 * Hostile bytes: golden bodies cut short, and mutated at random. A decoder answers with a value or
 * an XdrError, in bounded memory; whatever it accepts, it can encode again.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findProcedure, type Procedure } from '../../src/xdr/programs.ts'
import { Reader, XdrError } from '../../src/xdr/reader.ts'
import { CALL, decodeHeader } from '../../src/xdr/rpc-msg.ts'
import type { Codec } from '../../src/xdr/schema.ts'
import { decodeAll } from '../../src/xdr/schema.ts'
import { Writer } from '../../src/xdr/writer.ts'
import { goldenRecords } from './vectors.ts'

const CASES = 12_000

interface Body {
  name: string
  codec: Codec<unknown>
  /** Of the body alone, without payload. */
  bytes: Buffer
}

function goldenBodies(): Body[] {
  const bodies: Body[] = []
  let procedure: Procedure | undefined
  for (const { name, hex } of goldenRecords()) {
    const record = Buffer.from(hex, 'hex')
    const r = new Reader(record, 4)
    const header = decodeHeader(r)
    if (header.type === CALL) procedure = findProcedure(header.prog, header.vers, header.proc)
    if (procedure === undefined || (header.type !== CALL && header.stat !== 'SUCCESS')) continue
    const codec = header.type === CALL ? procedure.request : procedure.reply
    const start = r.position
    codec.decode(r)
    if (r.position > start) {
      bodies.push({ name, codec, bytes: record.subarray(start, r.position) })
    }
  }
  return bodies
}

/** mulberry32. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const nasty = [0, 1, 2, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x00200000, 65537]

/** One to four changes: a bit, a word, bytes cut out, repeated or added. */
function mutate(bytes: Buffer, random: (below: number) => number): Buffer {
  let out = Buffer.from(bytes)
  for (let changes = 1 + random(4); changes > 0 && out.length > 4; changes--) {
    const at = random(out.length)
    const word = Math.min(at & ~3, out.length - 4)
    switch (random(6)) {
      case 0:
        out[at] = out[at]! ^ (1 << random(8))
        break
      case 1:
      case 2:
        out.writeUInt32BE(nasty[random(nasty.length)]!, word)
        break
      case 3:
        out = out.subarray(0, at)
        break
      case 4:
        out = Buffer.concat([out.subarray(0, word), out.subarray(word + 4)])
        break
      case 5:
        out = Buffer.concat([out.subarray(0, at), out.subarray(random(at + 1))])
        break
    }
  }
  return out
}

/** Decodes; true when accepted. Anything thrown but an XdrError fails the test. */
function accepts(codec: Codec<unknown>, bytes: Buffer, label: () => string): boolean {
  let value: unknown
  try {
    value = decodeAll(codec, bytes)
  } catch (error) {
    assert.ok(error instanceof XdrError, `${label()}: ${String(error)}`)
    assert.ok(error.offset >= 0 && error.offset <= bytes.length, `${label()}: ${error.message}`)
    return false
  }
  const w = new Writer(4096)
  assert.doesNotThrow(() => codec.encode(w, value), label())
  const first = w.take()
  codec.encode(w, decodeAll(codec, first))
  assert.deepEqual(w.take(), first, label())
  return true
}

test('a body cut short at any byte is refused', () => {
  Error.stackTraceLimit = 0
  for (const { name, codec, bytes } of goldenBodies()) {
    // The text of a volfile is all alike.
    const step = bytes.length > 4000 ? 97 : 1
    for (let size = 0; size < bytes.length; size += step) {
      assert.equal(
        accepts(codec, bytes.subarray(0, size), () => `${name} cut to ${size}`),
        false,
      )
    }
  }
})

test('mutated bodies', () => {
  Error.stackTraceLimit = 0
  const seed = Number(process.env.FUZZ_SEED ?? 20260712)
  const random = randomOf(seed)
  const bodies = goldenBodies()
  const before = process.memoryUsage().arrayBuffers
  let accepted = 0
  for (let i = 0; i < CASES; i++) {
    const { name, codec, bytes } = bodies[random(bodies.length)]!
    const mutated = mutate(bytes, random)
    const label = (): string => `FUZZ_SEED=${seed} case ${i} ${name} ${mutated.toString('hex')}`
    if (accepts(codec, mutated, label)) accepted++
  }
  // Both sides of the line were visited.
  assert.ok(accepted > CASES / 100 && accepted < CASES / 2, `${accepted} accepted`)
  assert.ok(process.memoryUsage().arrayBuffers - before < 256e6)
})

test('headers of random bytes', () => {
  const random = randomOf(7)
  for (let i = 0; i < 2000; i++) {
    const bytes = Buffer.alloc(4 * random(16))
    for (let at = 0; at < bytes.length; at += 4) {
      bytes.writeUInt32BE(random(3) === 0 ? nasty[random(nasty.length)]! : random(3), at)
    }
    try {
      decodeHeader(new Reader(bytes))
    } catch (error) {
      assert.ok(error instanceof XdrError, `${bytes.toString('hex')}: ${String(error)}`)
    }
  }
})
