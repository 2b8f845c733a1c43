import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { GlusterError } from '../../../src/core/errors.ts'
import {
  defineOptions,
  type OptionSpec,
  parseOption,
  resolveOptions,
} from '../../../src/core/options.ts'

const BAD = Symbol('refused')

function parse(spec: Omit<OptionSpec, 'description'>, text: string): unknown {
  try {
    return parseOption('key', { ...spec, description: '' }, text)
  } catch (error) {
    assert.ok(error instanceof GlusterError, String(error))
    assert.equal(error.code, 'OPTION_INVALID')
    assert.ok(error.message.startsWith(`option key ${text}: `), error.message)
    return BAD
  }
}

type Case = [text: string, value: unknown]

const cases: [Omit<OptionSpec, 'description'>, Case[]][] = [
  [
    { type: 'bool' },
    [
      ...['1', 'on', 'YES', 'True', 'enable'].map((word): Case => [word, true]),
      ...['0', 'off', 'No', 'FALSE', 'disable'].map((word): Case => [word, false]),
      ...['', '2', 'enabled', 'y'].map((word): Case => [word, BAD]),
    ],
  ],
  [
    { type: 'int', min: -2, max: 4096 },
    [
      ['-2', -2],
      ['+5', 5],
      ['0x10', 16],
      ['4096', 4096],
      ['-3', BAD],
      ['4097', BAD],
      ['1.5', BAD],
      ['1KB', BAD],
      ['', BAD],
    ],
  ],
  [
    { type: 'double' },
    [
      ['1', 1],
      ['0.25', 0.25],
      ['-1.5', -1.5],
      ['1e3', BAD],
      ['x', BAD],
    ],
  ],
  [
    { type: 'size', max: 2 ** 42 },
    [
      ['0', 0],
      ['1024', 1024],
      ['1B', 1],
      ['2kb', 2048],
      ['1.5MB', 1.5 * 2 ** 20],
      ['3 GB', 3 * 2 ** 30],
      ['4TB', 2 ** 42],
      ['5TB', BAD],
      ['-1', BAD],
      ['0.3B', BAD],
      ['1K', BAD],
      ['1e6', BAD],
      ['9999999PB', BAD],
    ],
  ],
  [
    { type: 'percent' },
    [
      ['0', 0],
      ['7.5%', 7.5],
      ['100', 100],
      ['101', BAD],
      ['-1', BAD],
    ],
  ],
  [
    { type: 'percent-or-size' },
    [
      ['10%', { percent: 10 }],
      ['10', { percent: 10 }],
      ['100%', { percent: 100 }],
      ['100', { bytes: 100 }],
      ['1GB', { bytes: 2 ** 30 }],
      ['101%', BAD],
      ['much', BAD],
    ],
  ],
  [
    { type: 'time', min: 1 },
    [
      ['5', 5],
      ['5s', 5],
      ['5sec', 5],
      ['2m', 120],
      ['2min', 120],
      ['2h', 7200],
      ['2hr', 7200],
      ['2d', 172800],
      ['2days', 172800],
      ['2w', 1209600],
      ['2wk', 1209600],
      ['2 h', 7200],
      ['0', BAD],
      ['2y', BAD],
      ['-2', BAD],
    ],
  ],
  [
    { type: 'path' },
    [
      ['/a/b', '/a/b'],
      ['a', BAD],
      ['/a/../b', BAD],
      ['/a/..b', '/a/..b'],
    ],
  ],
  [
    { type: 'address' },
    [
      ['node01', 'node01'],
      ['fe80::1', 'fe80::1'],
      ['', BAD],
      ['a b', BAD],
    ],
  ],
  [
    { type: 'str', values: ['one', 'two'] },
    [
      ['one', 'one'],
      ['three', BAD],
    ],
  ],
  [{ type: 'any' }, [['', '']]],
]

describe('option types', () => {
  for (const [spec, texts] of cases) {
    test(spec.type, () => {
      for (const [text, value] of texts) assert.deepEqual(parse(spec, text), value, `'${text}'`)
    })
  }
})

describe('resolveOptions', () => {
  const table = defineOptions({
    'cache-size': { type: 'size', default: '32MB', alias: ['old-size'], description: '' },
    mode: { type: 'str', description: '' },
    gone: { type: 'bool', default: 'off', noEffect: 'no such thing', description: '' },
  })
  const resolve = (given: Record<string, string>) =>
    resolveOptions(table, new Map(Object.entries(given)))

  test('defaults are read as texts are; without one the value is undefined', () => {
    assert.deepEqual(resolve({}).values, { 'cache-size': 2 ** 25, mode: undefined, gone: false })
  })

  test('another name means the same option', () => {
    assert.equal(resolve({ 'old-size': '1KB' }).values['cache-size'], 1024)
  })

  test('what is unknown or without effect is told', () => {
    const { unknown, noEffect } = resolve({ what: '1', gone: 'on' })
    assert.deepEqual(unknown, ['what'])
    assert.deepEqual(noEffect, [{ key: 'gone', reason: 'no such thing' }])
    assert.deepEqual(resolve({ gone: 'no' }).noEffect, [])
  })

  test('a wrong value names the key as it was given', () => {
    assert.throws(() => resolve({ 'old-size': 'x' }), /option old-size x: invalid size "x"/)
  })

  test('a key of Object.prototype is no option', () => {
    assert.deepEqual(resolve({ constructor: '1', __proto__x: '2' }).unknown, [
      'constructor',
      '__proto__x',
    ])
  })
})
