/** The words that say what a volume is made of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCreate, parseType } from '../../../src/server/shape.ts'

const replica = (count: number, arbiter: 0 | 1) => ({ replica: { count, arbiter } })
const disperse = (data: number, redundancy: number) => ({ disperse: { data, redundancy } })

void test('npm start --type', () => {
  for (const [text, shape] of Object.entries({
    distribute: {},
    '4+2': disperse(4, 2),
    'disperse 4+2': disperse(4, 2),
    'disperse=8+3': disperse(8, 3),
    'replica 3': replica(3, 0),
    'replica 2': replica(2, 0),
    replica3: replica(3, 0),
    'replicate 3': replica(3, 0),
    replicate: replica(3, 0),
    arbiter: replica(3, 1),
    'replica 3 arbiter 1': replica(3, 1),
  })) {
    assert.deepEqual(parseType(text), shape, text)
  }
  for (const text of [
    '',
    'replica',
    'nonsense',
    '4+4',
    '1+1',
    'replica 1',
    'replica 2 arbiter 1',
  ]) {
    assert.throws(() => parseType(text), { code: 'VOLUME_STATE' }, text)
  }
})

void test('gluster-ts create', () => {
  const bricks = ['/b/1', '/b/2', '/b/3', '/b/4', '/b/5', '/b/6']
  assert.deepEqual(parseCreate(['disperse', '6', 'redundancy', '2', ...bricks]), {
    shape: disperse(4, 2),
    bricks,
  })
  assert.deepEqual(parseCreate(['replica', '3', 'localhost:/b/1', '/b/2', './b3', 'force']), {
    shape: replica(3, 0),
    bricks: ['/b/1', '/b/2', './b3'],
  })
  const wrong = (words: string[], text: RegExp) =>
    assert.throws(() => parseCreate(words), { message: text })
  wrong(['disperese', '6', ...bricks], /Wrong brick type: disperese/)
  wrong(['elsewhere:/b/1'], /on this machine/)
  wrong(['stripe', '2', ...bricks], /gone from GlusterFS/)
})
