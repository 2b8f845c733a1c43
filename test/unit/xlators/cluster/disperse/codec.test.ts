/** The erasure code against fragments taken from bricks, a second implementation and a package. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { loanOf } from '../../../../../src/core/loan.ts'
import { Codec, DECODERS_MAX } from '../../../../../xlators/cluster/disperse/codec/codec.ts'
import {
  decodeMatrix,
  encodeRow,
  inverse,
  multiply,
} from '../../../../../xlators/cluster/disperse/codec/field.ts'
import {
  CHUNK_SIZE,
  Geometry,
  PlainCodec,
} from '../../../../../xlators/cluster/disperse/codec/index.ts'
import { codecMemory } from '../../../../../xlators/cluster/disperse/codec/memory.ts'
import {
  referenceDecode,
  referenceEncode,
} from '../../../../../xlators/cluster/disperse/codec/reference.ts'
import { xorProgram } from '../../../../../xlators/cluster/disperse/codec/xor-program.ts'
import { vectorBytes, vectorJson } from '../../../../lib/ec-vectors.ts'

interface Fragment {
  length: number
  sha256: string
}
interface Content {
  size: number
  content_sha256: string
  fragments: Fragment[]
}
type Step = Content & {
  do: { op: string; seed: number; length: number; offset: number; size: number; keep_size: boolean }
}

const CONFIGS = ['2+1', '3+1', '3+2', '4+1', '4+2', '8+3', '16+4']
const RANDOM_SUBSETS = 1500

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function geometryOf(config: string): Geometry {
  const [dataCount, redundancy] = config.split('+').map(Number)
  return new Geometry(dataCount!, redundancy!)
}

const allBricks = (geometry: Geometry) =>
  Array.from({ length: geometry.brickCount }, (_, brick) => brick)

function padded(geometry: Geometry, content: Buffer): Buffer {
  const data = Buffer.alloc(geometry.up(content.length))
  content.copy(data)
  return data
}

/** `bytes` cut in pieces of odd lengths, as buffers of a socket or the kernel come. */
function pieces(bytes: Buffer): Buffer[] {
  const cut: Buffer[] = []
  let length = 1
  for (let at = 0; at < bytes.length; at += length) {
    length = ((length * 7 + 3) % 4099) + 1
    cut.push(bytes.subarray(at, Math.min(bytes.length, at + length)))
  }
  return cut
}

function* subsets(count: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) {
    yield []
    return
  }
  for (let first = from; first <= count - size; first++) {
    for (const rest of subsets(count, size - 1, first + 1)) yield [first, ...rest]
  }
}

function randomSubset(count: number, size: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i)
  const random = randomBytes(count)
  for (let i = count - 1; i > 0; i--) {
    const j = random[i]! % (i + 1)
    const swap = all[i]!
    all[i] = all[j]!
    all[j] = swap
  }
  return all.slice(0, size).sort((a, b) => a - b)
}

function checkContent(codec: Codec, content: Buffer, expected: Content, what: string): void {
  const { geometry } = codec
  assert.equal(content.length, expected.size, `${what}: size`)
  assert.equal(sha256(content), expected.content_sha256, `${what}: content`)
  const data = padded(geometry, content)
  const fragments = codec.encode(pieces(data), data.length, allBricks(geometry))
  expected.fragments.forEach((fragment, brick) => {
    assert.equal(fragments[brick]!.length, fragment.length, `${what}: length on brick ${brick}`)
    assert.equal(sha256(fragments[brick]!), fragment.sha256, `${what}: fragment of brick ${brick}`)
  })
  const alive = randomSubset(geometry.brickCount, geometry.dataCount)
  const decoded = codec.decode(
    alive,
    alive.map((brick) => pieces(fragments[brick]!)),
    data.length / geometry.dataCount,
    0,
    content.length,
  )
  assert.ok(decoded.equals(content), `${what}: decoded from bricks ${alive}`)
}

/** The content after one step of a sequence of the vectors. */
function applyStep(content: Buffer, step: Step['do']): Buffer {
  const resized = (size: number) => {
    const next = Buffer.alloc(size)
    content.copy(next)
    return next
  }
  switch (step.op) {
    case 'create':
      return vectorBytes(step.seed, step.length)
    case 'write':
    case 'append': {
      const offset = step.op === 'append' ? content.length : step.offset
      const next = resized(Math.max(content.length, offset + step.length))
      vectorBytes(step.seed, step.length).copy(next, offset)
      return next
    }
    case 'truncate':
      return resized(step.size)
    case 'fallocate':
      return step.keep_size ? content : resized(Math.max(content.length, step.offset + step.length))
    case 'punch': {
      const next = resized(content.length)
      next.fill(0, step.offset, Math.min(content.length, step.offset + step.length))
      return next
    }
    default:
      throw new Error(`unknown step ${step.op}`)
  }
}

void test('field: inverse and the powers of the vectors', () => {
  const { field, encode, decode } = vectorJson<{
    field: { pow2: number[] }
    encode: Record<string, number[][]>
    decode: { bricks: number[]; inverse: number[][] }[]
  }>('matrices.json')
  let power = 1
  for (const expected of field.pow2) {
    assert.equal(power, expected)
    power = multiply(power, 2)
  }
  for (let a = 1; a < 256; a++) assert.equal(multiply(a, inverse(a)), 1)
  for (const [config, rows] of Object.entries(encode)) {
    const { dataCount } = geometryOf(config)
    rows.forEach((row, brick) => {
      assert.deepEqual(encodeRow(dataCount, brick), row)
    })
  }
  for (const { bricks, inverse: expected } of decode) {
    assert.deepEqual(decodeMatrix(bricks), expected)
  }
})

void test('xor programs multiply', () => {
  let total = 0
  for (let constant = 1; constant < 256; constant++) {
    const { steps, outputs } = xorProgram(constant)
    total += steps.length
    for (let bit = 0; bit < 8; bit++) {
      const values: number[] = Array.from({ length: 8 }, (_, plane) => Number(plane === bit))
      for (const [a, b] of steps) values.push(values[a]! ^ values[b]!)
      const product = outputs.reduce<number>(
        (sum, value, plane) => sum | (values[value]! << plane),
        0,
      )
      assert.equal(product, multiply(constant, 1 << bit))
    }
  }
  assert.ok(total / 255 < 18, `${total / 255} XORs per constant on average`)
})

for (const config of CONFIGS) {
  void test(`${config}: fresh files of the vectors`, () => {
    const codec = new Codec(geometryOf(config))
    const { files } = vectorJson<{ files: (Content & { seed: number })[] }>(`${config}/plain.json`)
    for (const file of files) {
      checkContent(codec, vectorBytes(file.seed, file.size), file, `seed ${file.seed}`)
    }
  })

  void test(`${config}: sequence of the vectors`, () => {
    const codec = new Codec(geometryOf(config))
    let content: Buffer = Buffer.alloc(0)
    const { steps } = vectorJson<{ steps: Step[] }>(`${config}/seq.json`)
    steps.forEach((step, index) => {
      content = applyStep(content, step.do)
      checkContent(codec, content, step, `step ${index} (${step.do.op})`)
    })
  })

  void test(`${config}: decode from every choice of K bricks`, () => {
    const codec = new Codec(geometryOf(config))
    const { brickCount, dataCount, stripeSize } = codec.geometry
    const data = randomBytes(stripeSize * 3)
    const fragments = codec.encode([data], data.length, allBricks(codec.geometry))
    const choices =
      brickCount <= 11
        ? [...subsets(brickCount, dataCount)]
        : Array.from({ length: RANDOM_SUBSETS }, () => randomSubset(brickCount, dataCount))
    for (const alive of choices) {
      const decoded = codec.decode(
        alive,
        alive.map((brick) => [fragments[brick]!]),
        3 * CHUNK_SIZE,
        0,
        data.length,
      )
      assert.ok(decoded.equals(data), `bricks ${alive}`)
    }
    assert.ok(codec.decoderCount <= DECODERS_MAX)
  })
}

void test('every K+R: both implementations agree, also on parts of a range', () => {
  for (let dataCount = 2; dataCount <= 16; dataCount++) {
    for (let redundancy = 1; redundancy < dataCount; redundancy++) {
      const codec = new Codec(new Geometry(dataCount, redundancy))
      const plain = new PlainCodec(codec.geometry)
      const { brickCount, stripeSize } = codec.geometry
      const data = randomBytes(stripeSize)
      const bricks = randomSubset(brickCount, Math.min(brickCount, 3))
      const expected = bricks.map((brick) => referenceEncode(dataCount, brick, data))
      assert.deepEqual(codec.encode(pieces(data), stripeSize, bricks), expected)
      const alive = randomSubset(brickCount, dataCount)
      const fragments = codec.encode([data], stripeSize, alive).map((fragment) => [fragment])
      const [from, to] = [data[0]!, stripeSize - data[1]!]
      const decoded = codec.decode(alive, fragments, CHUNK_SIZE, from, to)
      assert.ok(decoded.equals(data.subarray(from, to)), `${dataCount}+${redundancy}`)
      if (dataCount > 4) continue
      assert.ok(
        referenceDecode(
          alive,
          fragments.map((f) => f[0]!),
        ).equals(data),
      )
      assert.ok(plain.decode(alive, fragments, CHUNK_SIZE, from, to).equals(decoded))
      assert.deepEqual(plain.encode([data], stripeSize, bricks), expected)
    }
  }
})

void test('requests longer than a block keep their order, in any pieces', () => {
  for (const config of ['2+1', '3+2', '16+4']) {
    const codec = new Codec(geometryOf(config))
    const { geometry } = codec
    const data = randomBytes(geometry.up(300_000))
    const fragments = codec.encode(pieces(data), data.length, allBricks(geometry))
    const alive = randomSubset(geometry.brickCount, geometry.dataCount)
    const from = 70_001
    const to = 230_007
    const decoded = codec.decode(
      alive,
      alive.map((brick) => pieces(fragments[brick]!)),
      data.length / geometry.dataCount,
      from,
      to,
    )
    assert.ok(decoded.equals(data.subarray(from, to)))
  }
})

void test('lent fragments equal the others and keep their memory until the loan ends', () => {
  for (const config of CONFIGS) {
    const codec = new Codec(geometryOf(config))
    const { geometry } = codec
    const bricks = allBricks(geometry)
    const free = codecMemory().freeSlots
    for (const size of [geometry.stripeSize, 20_000, 131_072, 1 << 20, 3 << 20]) {
      const data = randomBytes(geometry.up(size))
      const expected = codec.encode([data], data.length, bricks)
      const lent = codec.encodeLent(pieces(data), data.length, bricks)
      const copies = lent.buffers.map((buffer) => Buffer.from(buffer))
      assert.deepEqual(copies, expected)
      assert.equal(lent.loan === undefined, size <= 4096 || size > 2 << 20, `${config}: ${size}`)
      const other = randomBytes(geometry.up(size))
      const second = codec.encodeLent([other], other.length, bricks)
      assert.deepEqual(
        lent.buffers.map((buffer) => Buffer.from(buffer)),
        expected,
      )
      for (const { buffers, loan } of [lent, second]) {
        for (const buffer of buffers) assert.equal(loanOf(buffer), loan)
        loan?.drop()
      }
      assert.equal(codecMemory().freeSlots, free)
    }
  }
})

void test('lent data equals the other and keeps its memory until the loan ends', () => {
  for (const config of CONFIGS) {
    const codec = new Codec(geometryOf(config))
    const { brickCount, dataCount, stripeSize } = codec.geometry
    const free = codecMemory().freeSlots
    for (const size of [stripeSize, 20_000, 131_072, 1 << 20, 3 << 20]) {
      const data = randomBytes(codec.geometry.up(size))
      const alive = randomSubset(brickCount, dataCount)
      const fragments = codec.encode([data], data.length, alive).map(pieces)
      const fragmentSize = data.length / dataCount
      const [from, to] = [data[0]!, data.length - data[1]!]
      const lent = codec.decodeLent(alive, fragments, fragmentSize, from, to)
      assert.equal(
        lent.loan === undefined,
        to - from < 8192 || size > 2 << 20,
        `${config}: ${size}`,
      )
      const second = codec.decodeLent(alive, fragments, fragmentSize, 0, data.length)
      assert.ok(lent.data.equals(data.subarray(from, to)), `${config}: ${size}`)
      assert.ok(second.data.equals(data), `${config}: ${size}`)
      lent.loan?.drop()
      second.loan?.drop()
      assert.equal(codecMemory().freeSlots, free)
    }
  }
})

void test('when all memory is lent, fragments are allocated', () => {
  const codec = new Codec(geometryOf('4+2'))
  const data = randomBytes(1 << 20)
  const bricks = [1, 2, 4, 5]
  const expected = codec.encode([data], data.length, bricks)
  const held = []
  for (;;) {
    const { buffers, loan } = codec.encodeLent([data], data.length, bricks)
    assert.deepEqual(
      buffers.map((buffer) => Buffer.from(buffer)),
      expected,
    )
    if (loan === undefined) break
    held.push(loan)
    assert.ok(held.length < 1000)
  }
  assert.ok(held.length > 8)
  for (const loan of held) loan.drop()
  const again = codec.encodeLent([data], data.length, bricks)
  assert.ok(again.loan !== undefined)
  again.loan.drop()
})

interface Package {
  encode(shards: Uint8Array, data: number, parity: number): number
}

/** One symbol per byte from a bit-sliced chunk. */
function unslice(chunk: Uint8Array): Uint8Array {
  const symbols = new Uint8Array(CHUNK_SIZE)
  for (let index = 0; index < CHUNK_SIZE; index++) {
    for (let bit = 0; bit < 8; bit++) {
      symbols[index]! |= ((chunk[64 * bit + (index >> 3)]! >> (index & 7)) & 1) << bit
    }
  }
  return symbols
}

/**
 * The package's code is systematic over the same field: its codeword is q(0), q(1) … of the
 * polynomial q through its data. Ours evaluates q at 1, 2 … (brick + 1), and q(0) is D_{K-1}.
 */
void test('an independent package agrees in every configuration', () => {
  const require = createRequire(import.meta.url)
  const entry = require.resolve('@subspace/reed-solomon-erasure.wasm')
  const { ReedSolomonErasure } = require('@subspace/reed-solomon-erasure.wasm') as {
    ReedSolomonErasure: { fromBytes(bytes: Buffer): Package }
  }
  const wasm = readFileSync(entry.replace(/index\.js$/, 'reed_solomon_erasure_bg.wasm'))
  for (let dataCount = 2; dataCount <= 16; dataCount++) {
    for (let redundancy = 1; redundancy < dataCount; redundancy++) {
      const codec = new Codec(new Geometry(dataCount, redundancy))
      const { brickCount, stripeSize } = codec.geometry
      const data = randomBytes(stripeSize)
      const fragments = codec.encode([data], stripeSize, allBricks(codec.geometry))
      const parity = brickCount + 1 - dataCount
      const shards = new Uint8Array(CHUNK_SIZE * (brickCount + 1))
      shards.set(unslice(data.subarray(stripeSize - CHUNK_SIZE)))
      for (let at = 1; at < dataCount; at++) {
        shards.set(unslice(fragments[at - 1]!), at * CHUNK_SIZE)
      }
      assert.equal(ReedSolomonErasure.fromBytes(wasm).encode(shards, dataCount, parity), 0)
      for (let at = dataCount; at <= brickCount; at++) {
        const theirs = shards.subarray(at * CHUNK_SIZE, (at + 1) * CHUNK_SIZE)
        assert.deepEqual(unslice(fragments[at - 1]!), theirs, `${dataCount}+${redundancy}: ${at}`)
      }
    }
  }
})
