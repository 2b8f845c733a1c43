/** Speed of the erasure code, GB/s of user data on one core, beside an independent package. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { clock } from '../../src/core/clock.ts'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import {
  emitModule,
  groupRows,
  type RowLayout,
  type RowSum,
} from '../../xlators/cluster/disperse/codec/emit.ts'
import { decodeMatrix } from '../../xlators/cluster/disperse/codec/field.ts'
import { CHUNK_SIZE, Geometry } from '../../xlators/cluster/disperse/codec/geometry.ts'
import {
  BLOCK_OUT,
  BLOCK_SIZE_MAX,
  FRAGMENT_GAP,
} from '../../xlators/cluster/disperse/codec/memory.ts'

interface Package {
  encode(shards: Uint8Array, data: number, parity: number): number
  reconstruct(shards: Uint8Array, data: number, parity: number, available: boolean[]): number
}

const REQUEST_SIZE = 1 << 20
const SMALL_SIZE = 8192
const ROUNDS = 40

function packageLoader(): () => Package {
  const require = createRequire(import.meta.url)
  const { ReedSolomonErasure } = require('@subspace/reed-solomon-erasure.wasm') as {
    ReedSolomonErasure: { fromBytes(bytes: Buffer): Package }
  }
  const wasm = require
    .resolve('@subspace/reed-solomon-erasure.wasm')
    .replace(/index\.js$/, 'reed_solomon_erasure_bg.wasm')
  const bytes = readFileSync(wasm)
  return () => ReedSolomonErasure.fromBytes(bytes)
}

/**
 * Best rate in GB/s over `ROUNDS` rounds of `runsPerRound` calls; each round has a fresh
 * `prepare()`, which is not timed.
 */
function rate(bytes: number, runsPerRound: number, prepare: () => () => void): number {
  let best = 0
  for (let round = 0; round < ROUNDS; round++) {
    const run = prepare()
    const begin = clock.now()
    for (let i = 0; i < runsPerRound; i++) run()
    best = Math.max(best, (bytes * runsPerRound) / (clock.now() - begin) / 1e6)
  }
  return best
}

/**
 * The generated code alone, over one block that stays in the cache: what is left of it in a request
 * is lost to copying the input, to memory and to calls.
 */
function kernelRate(
  geometry: Geometry,
  alive: readonly number[],
): { encode: number; decode: number } {
  const { dataCount, brickCount, stripeSize } = geometry
  const stripes = Math.max(1, Math.floor(BLOCK_SIZE_MAX / stripeSize))
  const stride = stripes * CHUNK_SIZE + FRAGMENT_GAP
  const bricks = Array.from({ length: brickCount }, (_, brick) => brick)
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2 })
  const rateOf = (rows: RowSum[], layout: RowLayout, rowStride: number) => {
    const module = new WebAssembly.Module(emitModule(rows, layout))
    const { exports } = new WebAssembly.Instance(module, { m: { m: memory } })
    let first = 0
    const calls = groupRows(rows).map((group, index) => {
      const call = exports[`rows${index}`] as (out: number, step: number, stripes: number) => void
      const out = BLOCK_OUT + first * rowStride
      first += group.length
      return () => call(out, rowStride, stripes)
    })
    const run = () => {
      for (const call of calls) call()
    }
    // As above: the first turns are spent until V8 has better code.
    const turns = Array.from({ length: 8 }, () => rate(stripes * stripeSize, 64, () => run))
    return Math.max(...turns)
  }
  const encode = rateOf(
    bricks.map((brick) => ({ kind: 'horner', point: brick + 1, inputCount: dataCount })),
    { inputAt: (j) => j * CHUNK_SIZE, inputStep: stripeSize, outputStep: CHUNK_SIZE },
    stride,
  )
  const decode = rateOf(
    decodeMatrix(alive).map((coefficients) => ({ kind: 'linear', coefficients })),
    { inputAt: (t) => t * stride, inputStep: CHUNK_SIZE, outputStep: stripeSize },
    CHUNK_SIZE,
  )
  return { encode, decode }
}

interface Speed {
  encode: number
  decode: number
}

/**
 * A request as the translator serves it: user data in a buffer to fragments the sockets can send,
 * and buffers the sockets filled to user data the kernel can take; memory is given back after.
 */
function requestRate(codec: Codec, size: number, runs: number): Speed {
  const { brickCount, dataCount, redundancy } = codec.geometry
  const data = randomBytes(size)
  const bricks = Array.from({ length: brickCount }, (_, brick) => brick)
  const alive = bricks.slice(redundancy)
  const survivors = codec.encode([data], size, alive).map((fragment) => [Buffer.from(fragment)])
  const encode = () => codec.encodeLent([data], size, bricks).loan?.drop()
  const decode = () => codec.decodeLent(alive, survivors, size / dataCount, 0, size).loan?.drop()
  return { encode: rate(size, runs, () => encode), decode: rate(size, runs, () => decode) }
}

function packageRate(load: () => Package, size: number, geometry: Geometry): Speed {
  const { brickCount, dataCount, redundancy } = geometry
  const shards = new Uint8Array((size / dataCount) * brickCount)
  shards.set(randomBytes(size))
  const encode = rate(size, 4, () => {
    const theirs = load()
    return () => theirs.encode(shards, dataCount, redundancy)
  })
  const available = Array.from({ length: brickCount }, (_, brick) => brick >= redundancy)
  // One call only: its allocator runs out of bounds at the second reconstruct of an instance.
  const decode = rate(size, 1, () => {
    const theirs = load()
    return () => theirs.reconstruct(shards, dataCount, redundancy, available.slice())
  })
  return { encode, decode }
}

function benchConfig(load: () => Package, dataCount: number, redundancy: number): string {
  const geometry = new Geometry(dataCount, redundancy)
  const { stripeSize, brickCount } = geometry
  const codec = new Codec(geometry)
  const alive = Array.from({ length: dataCount }, (_, i) => brickCount - dataCount + i)
  const size = REQUEST_SIZE - (REQUEST_SIZE % stripeSize)
  // V8 compiles the code once more, better, while it runs for the first time.
  requestRate(codec, size, 8)
  const ours = requestRate(codec, size, 8)
  const small = requestRate(codec, stripeSize * Math.ceil(SMALL_SIZE / stripeSize), 64)
  const kernel = kernelRate(geometry, alive)
  const theirs = packageRate(load, size, geometry)
  const cells = [
    ...[ours, theirs].flatMap(({ encode, decode }) => [encode, decode]),
    ours.encode / theirs.encode,
    ours.decode / theirs.decode,
    ...[kernel, small].flatMap(({ encode, decode }) => [encode, decode]),
  ]
  const text = cells.map((value) => value.toFixed(2).padStart(8))
  return [`${dataCount}+${redundancy}`.padEnd(6), ...text].join(' ')
}

export function benchErasureCode(print: (line: string) => void): void {
  const load = packageLoader()
  print('erasure code, GB/s of user data per core (decode: R bricks lost). ours, pkg: 1 MiB from')
  print('data to fragments for the sockets and back; kernel: the code alone; small: 8 KiB requests')
  print(
    '       ours enc      dec  pkg enc      dec  ratio e        d kern enc      dec  small e        d',
  )
  for (const [k, r] of [
    [2, 1],
    [4, 2],
    [8, 3],
    [16, 4],
  ] as const) {
    print(benchConfig(load, k, r))
  }
}

if (process.argv[1] === import.meta.filename) benchErasureCode(console.log)
