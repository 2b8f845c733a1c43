import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import { AssertionError } from '../../../src/core/assert.ts'
import { E } from '../../../src/core/errno.ts'
import type { Fop, Rep } from '../../../src/core/fop.ts'
import { CallPool, type Frame, measure, ROOT_CREDS } from '../../../src/core/frame.ts'
import { InodeTable } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { fillDefaultFops, Xlator } from '../../../src/core/xlator.ts'
import { withManualClock } from '../../lib/manual-clock.ts'

class Probe extends Xlator {}

const pool = new CallPool()
const inodes = new InodeTable()
const loc = Loc.ofInode(inodes.root)

function make(name: string, ...children: Xlator[]): Probe {
  const xl = new Probe({
    name,
    type: 'test/probe',
    options: {},
    givenOptions: new Map(),
    graph: {
      id: 0,
      volfileId: 'vol',
      pool,
      inodes,
      xlators: [],
      process: {
        uuid: '',
        hostname: '',
        processName: '',
        subdirMount: undefined,
        secureMgmt: false,
      },
    },
  })
  xl.children.push(...children)
  fillDefaultFops(xl)
  return xl
}

function leaf(name: string, flush: Fop<'access'>): Probe {
  const xl = make(name)
  xl.access = flush
  return xl
}

const req = { loc, mask: 4 }

function begin(xl: Xlator): Frame {
  return pool.begin(xl, 'ACCESS', ROOT_CREDS, 7)
}

const names = (frame: Frame) => frame.stack.frames().map((f) => `${f.xl.name}:${f.complete}`)

afterEach(() => {
  for (const stack of [...pool.stacks()]) stack.end()
  measure.latency = false
  measure.samples = false
})

describe('wind and tail', () => {
  test('a reply at once is handed up without a promise', () => {
    const top = make(
      'top',
      leaf('leaf', () => ({ errno: 0 })),
    )
    const rep = begin(top).wind(top, 'access', req)
    assert.ok(!(rep instanceof Promise))
    assert.equal(rep.errno, 0)
  })

  test('the reply ends the frame and the tails below it, and counts in each', async () => {
    const bottom = leaf('leaf', async () => ({ errno: E.ACCES }))
    const top = make('top', make('middle', bottom))
    const frame = begin(top)
    const pending = frame.wind(top, 'access', req)
    assert.deepEqual(names(frame), ['top:false', 'top:false', 'middle:false', 'leaf:false'])
    assert.equal((await pending).errno, E.ACCES)
    assert.deepEqual(names(frame), ['top:false', 'top:true', 'middle:true', 'leaf:true'])
    for (const xl of [top, top.child, bottom]) {
      const { count, errors } = xl.stats.get('access')!
      assert.deepEqual([count, errors], [1, 1], xl.name)
    }
  })

  test('time stamps are taken only while latency is measured', async () => {
    const top = make(
      'top',
      leaf('leaf', async () => ({ errno: 0 })),
    )
    await begin(top).wind(top, 'access', req)
    assert.equal(top.stats.get('access')!.total, 0)
    measure.latency = true
    await begin(top).wind(top, 'access', req)
    assert.ok(top.stats.get('access')!.total > 0)
  })

  test('samples: the first requests of a while are timed, all are counted', async () => {
    measure.samples = true
    await withManualClock(async (manual) => {
      const top = make(
        'top',
        leaf('leaf', () => ({ errno: 0 })),
      )
      const ask = async (times: number): Promise<(number | undefined)[]> => {
        for (let i = 0; i < times; i++) await begin(top).wind(top, 'access', req)
        const stats = top.stats.get('access')
        return [stats?.count, stats?.timed]
      }
      assert.deepEqual(await ask(80), [80, 50])
      manual.pass(101)
      assert.deepEqual(await ask(10), [90, 60])
      measure.samples = false
      manual.pass(101)
      assert.deepEqual(await ask(10), [100, 60])
    })
  })

  test('who asks travels along; a changed frame only changes what is wound from it', async () => {
    const seen: number[] = []
    const bottom = leaf('leaf', (frame) => {
      seen.push(frame.creds.uid, frame.creds.gid)
      return { errno: 0 }
    })
    const frame = pool.begin(bottom, 'ACCESS', { ...ROOT_CREDS, uid: 5, gid: 6 })
    await frame.with({ uid: 0 }).wind(bottom, 'access', req)
    await frame.wind(bottom, 'access', req)
    assert.deepEqual(seen, [0, 6, 5, 6])
  })
})

describe('windAll', () => {
  test('replies come in the order of the children, whoever is first', async () => {
    const release: ((rep: Rep<'access'>) => void)[] = []
    const slow = leaf('slow', () => new Promise((resolve) => release.push(resolve)))
    const quick = leaf('quick', () => ({ errno: E.NOENT }))
    const top = make('top', slow, quick)
    const frame = begin(top)
    const masks: number[] = []
    const pending = frame.windAll(top.children, 'access', (index) => {
      masks.push(index)
      return { loc, mask: index }
    })
    release[0]!({ errno: 0 })
    assert.deepEqual(
      (await pending).map((rep) => rep.errno),
      [0, E.NOENT],
    )
    assert.deepEqual(masks, [0, 1])
  })
})

describe('what goes wrong', () => {
  test('a throw in a fop comes to whoever wound it, as an error or a rejection', async () => {
    const now = leaf('now', () => {
      throw new Error('bug')
    })
    const later = leaf('later', async () => {
      throw new Error('bug')
    })
    assert.throws(() => begin(now).wind(now, 'access', req), /bug/)
    await assert.rejects(async () => begin(later).wind(later, 'access', req), /bug/)
  })

  test('a frame is closed once', () => {
    const top = leaf('leaf', () => ({ errno: 0 }))
    const frame = begin(top)
    frame.close(0)
    assert.throws(() => frame.close(0), AssertionError)
  })
})

describe('call pool', () => {
  test('requests are listed until they end', () => {
    const top = leaf('leaf', () => ({ errno: 0 }))
    const total = pool.total
    const one = begin(top)
    const two = pool.begin(top, 'heal', ROOT_CREDS)
    assert.deepEqual([one.stack.unique, pool.count, pool.total], [7, 2, total + 2])
    assert.ok(two.stack.unique > 0)
    one.stack.end()
    two.stack.end()
    assert.equal(pool.count, 0)
  })

  test('a background job ends its stack, even by a throw', async () => {
    const top = leaf('leaf', () => ({ errno: 0 }))
    await pool.background(top, 'heal', ROOT_CREDS, async (frame) => {
      assert.equal(frame.stack.type, 'heal')
      throw new Error('bug')
    })
    assert.equal(pool.count, 0)
  })

  test('a long job does not hold every frame it ever made', async () => {
    const release: (() => void)[] = []
    const stuck = leaf(
      'stuck',
      () => new Promise((resolve) => release.push(() => resolve({ errno: 0 }))),
    )
    const quick = leaf('quick', () => ({ errno: 0 }))
    const frame = begin(quick)
    const waiting = frame.wind(stuck, 'access', req)
    for (let i = 0; i < 5000; i++) await frame.wind(quick, 'access', req)
    const held = frame.stack.frames()
    assert.ok(held.length < 1100, `${held.length} frames`)
    assert.ok(held.some((f) => f.xl === stuck))
    release[0]!()
    assert.equal((await waiting).errno, 0)
  })
})
