import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decodeDirOffset, encodeDirOffset, leafOfDirOffset } from '../../../src/graph/dir-offset.ts'

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
