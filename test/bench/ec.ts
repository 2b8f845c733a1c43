/** Speed of the erasure code, GB/s of user data on one core, beside an independent package. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { clock } from '../../src/core/clock.ts'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { Geometry } from '../../xlators/cluster/disperse/codec/geometry.ts'

interface Package {
  encode(shards: Uint8Array, data: number, parity: number): number
  reconstruct(shards: Uint8Array, data: number, parity: number, available: boolean[]): number
}

const REQUEST_SIZE = 1 << 20
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

function benchConfig(load: () => Package, dataCount: number, redundancy: number): string[] {
  const codec = new Codec(new Geometry(dataCount, redundancy))
  const { stripeSize, brickCount } = codec.geometry
  const size = REQUEST_SIZE - (REQUEST_SIZE % stripeSize)
  const data = randomBytes(size)
  const bricks = Array.from({ length: brickCount }, (_, brick) => brick)
  const fragments = codec.encode([data], size, bricks)
  const alive = bricks.slice(redundancy)
  const survivors = alive.map((brick) => [fragments[brick]!])
  const encode = rate(size, 8, () => () => codec.encodeLent([data], size, bricks).loan?.drop())
  const decode = rate(
    size,
    8,
    () => () => codec.decodeLent(alive, survivors, size / dataCount, 0, size).loan?.drop(),
  )

  const shardSize = size / dataCount
  const shards = new Uint8Array(shardSize * brickCount)
  shards.set(data)
  const theirEncode = rate(size, 4, () => {
    const theirs = load()
    return () => theirs.encode(shards, dataCount, redundancy)
  })
  const available = bricks.map((brick) => brick >= redundancy)
  // One call only: its allocator runs out of bounds at the second reconstruct of an instance.
  const theirDecode = rate(size, 1, () => {
    const theirs = load()
    return () => theirs.reconstruct(shards, dataCount, redundancy, available.slice())
  })
  const cell = (value: number) => value.toFixed(2).padStart(8)
  return [
    `${dataCount}+${redundancy}`.padEnd(6),
    cell(encode),
    cell(decode),
    cell(theirEncode),
    cell(theirDecode),
    cell(encode / theirEncode),
    cell(decode / theirDecode),
  ]
}

export function benchErasureCode(print: (line: string) => void): void {
  const load = packageLoader()
  print('erasure code, 1 MiB requests, GB/s of user data per core (decode: R bricks lost)')
  print('        encode   decode  pkg enc  pkg dec  ratio e  ratio d')
  for (const [k, r] of [
    [2, 1],
    [4, 2],
    [8, 3],
    [16, 4],
  ] as const) {
    print(benchConfig(load, k, r).join(' '))
  }
}

if (process.argv[1] === import.meta.filename) benchErasureCode(console.log)
