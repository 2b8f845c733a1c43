import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import {
  chunksOf,
  computeLayout,
  fixedLayout,
  isWeightedLayout,
  type LayoutPolicy,
} from '../../../../xlators/cluster/distribute/compute-layout.ts'
import {
  decodeRange,
  ERR_NEEDS_RANGE,
  encodeRange,
  Layout,
  needsHeal,
} from '../../../../xlators/cluster/distribute/layout.ts'
import { DEFAULT_RSYNC_REGEX, NameHasher } from '../../../../xlators/cluster/distribute/munge.ts'

interface Directory {
  volume: string
  path: string
  gfid: string
  origin: 'new' | 'fix-layout' | 'unchanged' | 'randomized' | 'none'
  chunks: Record<string, number>
  usable?: string[]
  spread?: number
  weighted?: boolean
  note?: string
  before?: Record<string, [string, string] | null>
  bricks: { subvol: string; xattr: string | null; start?: string; stop?: string }[]
}
const { directories } = JSON.parse(readFileSync('test/vectors/dht/layout.json', 'utf8')) as {
  directories: Directory[]
}
const { directories: placements } = JSON.parse(
  readFileSync('test/vectors/dht/placement.json', 'utf8'),
) as {
  directories: {
    path: string
    ranges: Record<string, [string, string]>
    files: Record<string, string>
  }[]
}
const hasher = new NameHasher(DEFAULT_RSYNC_REGEX, undefined)
const sub = (name: string): Xlator => ({ name }) as Xlator
const latin1 = (text: string): string => Buffer.from(text, 'utf8').latin1Slice()
const hash32 = (value: number): string => value.toString(16).padStart(8, '0')

function policyOf(directory: Directory): LayoutPolicy {
  return {
    spread: directory.spread,
    weighted: directory.weighted ?? true,
    chunks: (xl) => directory.chunks[xl.name] ?? 0,
    decommissioned: (xl) =>
      directory.usable !== undefined &&
      !directory.usable.includes(xl.name) &&
      !(directory.note ?? '').includes('ENOSPC'),
  }
}

function ranges(layout: Layout): Record<string, string> {
  const found: [string, string][] = layout.entries.map((entry) => [
    entry.sub.name,
    `${hash32(entry.start)}-${hash32(entry.stop)}`,
  ])
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)))
}

function expected(directory: Directory): Record<string, string> {
  const found: [string, string][] = directory.bricks.map((brick) => [
    brick.subvol,
    `${brick.start}-${brick.stop}`,
  ])
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)))
}

test('new directories get the ranges stock wrote', () => {
  let count = 0
  for (const directory of directories) {
    if (directory.origin !== 'new' && directory.origin !== 'randomized') continue
    const layout = new Layout(0)
    for (const brick of directory.bricks) {
      const full = (directory.note ?? '').includes('ENOSPC')
      const err = full && !directory.usable!.includes(brick.subvol) ? E.NOSPC : 0
      layout.merge(sub(brick.subvol), err, undefined)
    }
    const key = directory.origin === 'randomized' ? directory.gfid : latin1(directory.path)
    computeLayout(layout, hasher.hash(key), 0, policyOf(directory))
    assert.deepEqual(ranges(layout), expected(directory), `${directory.volume} ${directory.path}`)
    count++
  }
  assert.ok(count > 100)
})

test('fix-layout moves ranges as stock does', () => {
  let count = 0
  for (const directory of directories) {
    if (directory.origin !== 'fix-layout') continue
    const old = new Layout(0)
    for (const brick of directory.bricks) {
      const [start, stop] = directory.before?.[brick.subvol] ?? ['00000000', '00000000']
      const range = { commitHash: 7, type: 0, start: parseInt(start, 16), stop: parseInt(stop, 16) }
      old.merge(sub(brick.subvol), 0, encodeRange(range))
    }
    const fresh = fixedLayout(old.sort(), hasher.hash(latin1(directory.path)), policyOf(directory))
    assert.deepEqual(ranges(fresh), expected(directory), `${directory.volume} ${directory.path}`)
    assert.equal(fresh.commitHash, 7)
    count++
  }
  assert.ok(count > 40)
})

test('names are found where stock placed them', () => {
  let count = 0
  for (const directory of placements) {
    const layout = new Layout(0)
    for (const [name, [start, stop]] of Object.entries(directory.ranges)) {
      const range = { commitHash: 0, type: 0, start: parseInt(start, 16), stop: parseInt(stop, 16) }
      layout.merge(sub(name), 0, encodeRange(range))
    }
    layout.sort()
    for (const [nameHex, where] of Object.entries(directory.files)) {
      const name = Buffer.from(nameHex, 'hex').latin1Slice()
      assert.equal(layout.find(hasher.hash(name))?.name, where, `${directory.path} ${nameHex}`)
      count++
    }
  }
  assert.ok(count > 1000)
})

function layoutOf(...entries: [string, number, number, number?][]): Layout {
  const layout = new Layout(0)
  for (const [name, start, stop, errno] of entries) {
    const xattr = encodeRange({ commitHash: 0, type: 0, start, stop })
    layout.merge(sub(name), errno ?? 0, errno === undefined ? xattr : undefined)
  }
  return layout.sort()
}

test('anomalies: complete, hole, overlap, missing, down', () => {
  const half = 0x7fffffff
  const complete = layoutOf(['a', half, 0xffffffff], ['b', 0, half - 1], ['c', 0, 0])
  assert.equal(needsHeal(complete.anomalies()), false)
  assert.deepEqual(layoutOf(['a', half + 1, 0xffffffff], ['b', 0, half - 1]).anomalies(), {
    holes: 1,
    overlaps: 0,
    missing: 0,
    down: 0,
    misc: 0,
    noSpace: 0,
  })
  assert.equal(layoutOf(['a', half, 0xffffffff], ['b', 0, half]).anomalies().overlaps, 1)
  assert.equal(layoutOf(['a', 0, 100]).anomalies().holes, 1)
  assert.equal(layoutOf(['a', 0, 0], ['b', 0, 0]).anomalies().holes, 1)
  const broken = layoutOf(
    ['a', 0, 0xffffffff],
    ['b', 0, 0, E.NOENT],
    ['c', 0, 0, E.NOTCONN],
    ['d', 0, 0, E.IO],
    ['e', 0, 0, E.NOSPC],
  ).anomalies()
  assert.deepEqual(broken, { holes: 0, overlaps: 0, missing: 1, down: 1, misc: 1, noSpace: 1 })
})

test('merge: commit hashes agree, differ, are absent; bad bytes are an error of the entry', () => {
  const layout = new Layout(3)
  const range = (commitHash: number): Buffer =>
    encodeRange({ commitHash, type: 0, start: 1, stop: 2 })
  layout.merge(sub('a'), 0, undefined)
  layout.merge(sub('b'), 0, range(9))
  assert.equal(layout.commitHash, 9)
  assert.equal(layout.entries[0]!.err, ERR_NEEDS_RANGE)
  layout.merge(sub('c'), 0, range(8))
  assert.equal(layout.commitHash, 1)
  layout.merge(sub('d'), 0, Buffer.alloc(15))
  assert.equal(layout.entries[3]!.err, E.INVAL)
  assert.equal(decodeRange(encodeRange({ commitHash: 0, type: 2, start: 0, stop: 0 })), undefined)
  assert.deepEqual(decodeRange(range(8)), { commitHash: 8, type: 0, start: 1, stop: 2 })
})

test('hash 0 also matches an entry without a range', () => {
  const layout = layoutOf(['a', 0, 0xffffffff], ['b', 0, 0])
  assert.equal(layout.find(0)?.name, 'b')
  assert.equal(layout.find(1)?.name, 'a')
})

test('chunks and the weighted test', () => {
  assert.equal(chunksOf(257, 4096), 2)
  assert.equal(chunksOf(0, 4096), 0)
  assert.equal(isWeightedLayout(layoutOf(['a', 0, 99], ['b', 100, 200])), false)
  assert.equal(isWeightedLayout(layoutOf(['a', 0, 99], ['b', 100, 250])), true)
})
