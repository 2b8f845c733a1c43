import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  decodeDirOffset,
  encodeDirOffset,
  leafOfDirOffset,
  moveDirOffset,
} from '../../../src/graph/dir-offset.ts'

interface OffsetVectors {
  pairs: {
    leaves: number
    leaf: number
    brick_off: string
    client_off: string
    /** Absent on pairs made by the formula. */
    sent_back?: string
  }[]
}
const { pairs } = JSON.parse(readFileSync('test/vectors/dht/doff.json', 'utf8')) as OffsetVectors

test('offsets encode and decode as stock clients do', () => {
  assert.ok(pairs.length > 500)
  for (const pair of pairs) {
    const encoded = encodeDirOffset(BigInt(pair.brick_off), pair.leaf, pair.leaves)
    assert.equal(encoded, BigInt(pair.client_off))
    const packed = encoded !== 0n && encoded !== 0xffff_ffff_ffff_ffffn
    if (packed) assert.equal(leafOfDirOffset(encoded, pair.leaves), pair.leaf)
    if (pair.sent_back === undefined) continue
    assert.equal(decodeDirOffset(encoded, pair.leaves), BigInt(pair.sent_back))
  }
})

test('an offset moves to a graph with other bricks, or begins anew', () => {
  const before = ['a:/1', 'b:/2']
  const after = ['x:/0', 'a:/1', 'b:/2', 'c:/3']
  const offset = encodeDirOffset(1234n, 1, before.length)
  const moved = moveDirOffset(offset, before, after)
  assert.equal(leafOfDirOffset(moved, after.length), 2)
  assert.equal(decodeDirOffset(moved, after.length), 1234n)
  assert.equal(moveDirOffset(moved, after, before), offset)
  assert.equal(moveDirOffset(encodeDirOffset(9n, 3, 4), after, before), 0n)
  assert.equal(moveDirOffset(0n, before, after), 0n)
})
