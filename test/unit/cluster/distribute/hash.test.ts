import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { hashName } from '../../../../xlators/cluster/distribute/hash.ts'
import {
  DEFAULT_RSYNC_REGEX,
  isValidRegex,
  mungeRsync,
  NameHasher,
} from '../../../../xlators/cluster/distribute/munge.ts'
import { PosixRegex } from '../../../../xlators/cluster/distribute/posix-regex.ts'

interface HashVectors {
  special: { empty_raw: string; slash: string; dot: string; dotdot: string }
  names: { name_hex: string; munged_hex: string; raw_hash: string; dht_hash: string }[]
  extra_regex: {
    rsync: string
    extra: string
    name_hex: string
    munged_hex: string
    dht_hash: string
  }[]
}
const vectors = JSON.parse(readFileSync('test/vectors/dht/hash.json', 'utf8')) as HashVectors
const bytes = (hex: string): string => Buffer.from(hex, 'hex').latin1Slice()
const hex = (text: string): string => Buffer.from(text, 'latin1').toString('hex')
const hash32 = (value: number): string => value.toString(16).padStart(8, '0')

test('special names hash as stock does', () => {
  assert.equal(hash32(hashName('')), vectors.special.empty_raw)
  assert.equal(hash32(hashName('/')), vectors.special.slash)
  assert.equal(hash32(hashName('.')), vectors.special.dot)
  assert.equal(hash32(hashName('..')), vectors.special.dotdot)
})

test('every vector name hashes raw and munged as stock does', () => {
  const hasher = new NameHasher(DEFAULT_RSYNC_REGEX, undefined)
  assert.ok(vectors.names.length > 500)
  for (const vector of vectors.names) {
    const name = bytes(vector.name_hex)
    assert.equal(hash32(hashName(name)), vector.raw_hash, vector.name_hex)
    assert.equal(hex(hasher.munge(name)), vector.munged_hex)
    assert.equal(hash32(hasher.hash(name)), vector.dht_hash)
  }
})

test('both regex options munge as libc does', () => {
  for (const vector of vectors.extra_regex) {
    const hasher = new NameHasher(vector.rsync, vector.extra)
    const where = `${vector.rsync} ${vector.extra} ${bytes(vector.name_hex)}`
    assert.equal(hex(hasher.munge(bytes(vector.name_hex))), vector.munged_hex, where)
    assert.equal(hash32(hasher.hash(bytes(vector.name_hex))), vector.dht_hash, where)
  }
})

test('the built-in rsync matcher equals its expression', () => {
  const regex = PosixRegex.parse(DEFAULT_RSYNC_REGEX)
  assert.ok(regex)
  const names = vectors.names.map((vector) => bytes(vector.name_hex))
  for (const name of [...names, '', '.', '..', '...', '....', '.a.', '..a', '..a.b', '.\n.x']) {
    assert.equal(mungeRsync(name), regex.search(name)?.group, JSON.stringify(name))
  }
})

const group = (expression: string, subject: string): string | undefined =>
  PosixRegex.parse(expression)?.search(subject)?.group

test('POSIX matching is leftmost, then longest', () => {
  assert.equal(group('(a|ab)', 'xab'), 'ab')
  assert.equal(group('(x*)', 'aaxx'), '')
  assert.equal(group('(a|ab)(c|bcd)$', 'abcd'), 'a')
  assert.equal(group('^(.*)-[0-9]{2,3}$', 'log-1-123'), 'log-1')
  assert.equal(group('^(.*)-[0-9]{2,3}$', 'log-1'), undefined)
  assert.equal(group('([[:upper:]]+)', 'abCDe'), 'CD')
  assert.equal(group('([]x]+)', 'a]x]'), ']x]')
  assert.equal(group('(\xe9+)', 'caf\xe9\xe9'), '\xe9\xe9')
  assert.equal(group('^(a*)*$', 'aaaa'), 'aaaa')
})

test('a long repeat does not blow up', () => {
  assert.equal(group('^((a*)*)*b$', 'a'.repeat(255)), undefined)
})

test('expressions that do not parse are recognised', () => {
  for (const bad of ['(a', '[a', '*a', 'a{3,2}', 'a\\']) assert.equal(isValidRegex(bad), false, bad)
  for (const good of ['none', 'NONE', '^a$', 'a{2}', ')']) assert.equal(isValidRegex(good), true)
})
