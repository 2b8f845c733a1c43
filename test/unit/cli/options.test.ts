import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { exitStatus } from '../../../src/cli/exit-status.ts'
import { helpText, usageText, versionText } from '../../../src/cli/help.ts'
import { type CliOption, cliOptions } from '../../../src/cli/option-table.ts'
import { type CommandLine, parseCommandLine } from '../../../src/cli/options.ts'
import { GlusterError } from '../../../src/core/errors.ts'

const table = Object.entries(cliOptions as Readonly<Record<string, CliOption>>)

function parse(...words: string[]): CommandLine {
  return parseCommandLine(words)
}

function refused(...words: string[]): { status: number; message: string } {
  try {
    parseCommandLine(words)
  } catch (error) {
    assert.ok(error instanceof GlusterError, String(error))
    return { status: exitStatus(error), message: error.message }
  }
  return assert.fail(`accepted: ${words.join(' ')}`)
}

describe('how words are read', () => {
  test('values after =, as the next word, glued to a letter; the mount point anywhere', () => {
    for (const words of [
      ['--volfile-server=h', '--volfile-id=v', '/mnt'],
      ['/mnt', '--volfile-server', 'h', '--volfile-id', 'v'],
      ['-sh', '/mnt', '--volfile-id', 'v'],
      ['-s', 'h', '--volfile-i=v', '--', '/mnt'],
    ]) {
      const { values, mountPoint } = parse(...words)
      assert.deepEqual(values['volfile-server'], ['h'], words.join(' '))
      assert.equal(values['volfile-id'], 'v')
      assert.equal(mountPoint, '/mnt')
    }
  })

  test('letters can stand together, the last with its argument', () => {
    const { values } = parse('-Nl', '-odd-name', '-LDEBUG')
    assert.equal(values['no-daemon'], true)
    assert.equal(values['log-file'], '-odd-name')
    assert.equal(values['log-level'], 'DEBUG')
  })

  test('a required argument is the next word, whatever it looks like', () => {
    assert.equal(parse('--volfile-id', '--acl').values['volfile-id'], '--acl')
    assert.equal(parse('-l', '--acl').values['log-file'], '--acl')
  })

  test('an optional argument is only taken after =', () => {
    const { values, mountPoint } = parse('--fopen-keep-cache', 'off')
    assert.equal(values['fopen-keep-cache'], true)
    assert.equal(mountPoint, 'off')
    assert.equal(parse('--fopen-keep-cache=off').values['fopen-keep-cache'], false)
    assert.equal(parse('--event-history').values['event-history'], false)
  })

  test('after -- everything is a mount point', () => {
    assert.equal(parse('--', '-x').mountPoint, '-x')
  })

  test('unambiguous prefixes are enough; a whole name is never ambiguous', () => {
    assert.equal(parse('--use-r=no').values['use-readdirp'], false)
    assert.equal(parse('--volfile', 'f').values.volfile, 'f')
    assert.equal(parse('--spec', 'f').values.volfile, 'f')
  })

  test('repeated: a list where the table says so, else the last counts', () => {
    const { values } = parse('-s', 'a', '-s', 'b', '--lru-limit=1', '--lru-limit=2')
    assert.deepEqual(values['volfile-server'], ['a', 'b'])
    assert.equal(values['lru-limit'], 2)
    assert.deepEqual(parse('--xlator-o=a.b=1', '--xlator-o=c.d=2').values['xlator-option'], [
      'a.b=1',
      'c.d=2',
    ])
  })
})

const TRY = /\nTry `glusterfs --help' or `glusterfs --usage' for more information\.$/

describe('refused with status 64', () => {
  const wrong: [string[], RegExp][] = [
    [['--zz'], /^glusterfs: unrecognized option '--zz'/],
    [['--zz=1'], /^glusterfs: unrecognized option '--zz'/],
    [['-Z'], /^glusterfs: invalid option -- 'Z'/],
    [['--volfile-id'], /^glusterfs: option '--volfile-id' requires an argument/],
    [['-l'], /^glusterfs: option '--log-file' requires an argument/],
    [['--read-only=1'], /^glusterfs: option '--read-only' doesn't allow an argument/],
    [['--volf', 'x'], /^glusterfs: option '--volf' is ambiguous; possibilities: .*'--volfile-id'/],
    [['/a', '/b'], /^glusterfs: more than one mount point: \/a \/b/],
    [['--constructor'], /unrecognized option '--constructor'/],
  ]
  for (const [words, message] of wrong) {
    test(words.join(' '), () => {
      const { status, message: said } = refused(...words)
      assert.equal(status, 64)
      assert.match(said, message)
      assert.match(said, TRY)
    })
  }
})

describe('refused with status 255', () => {
  const wrong: [string, string][] = [
    ['--log-level=FOO', 'glusterfs: unknown log level FOO'],
    [
      '--reader-thread-count=99',
      'glusterfs: Invalid reader thread count 99. Valid range: ["1, 64"]',
    ],
    ['--entry-timeout=soon', "glusterfs: --entry-timeout: 'soon' is not a number of seconds"],
    ['--entry-timeout=-1', "glusterfs: --entry-timeout: '-1' is not a number of seconds"],
    ['--use-readdirp=maybe', "glusterfs: --use-readdirp: 'maybe' is not a boolean (on, off)"],
    ['--direct-io-mode=x', "glusterfs: --direct-io-mode: 'x' is not on, off or auto"],
    ['--lru-limit=1.5', "glusterfs: --lru-limit: '1.5' is not a number from 0 on"],
    ['--lru-limit=-1', "glusterfs: --lru-limit: '-1' is not a number from 0 on"],
    [
      '--volfile-server-port=0',
      "glusterfs: --volfile-server-port: '0' is not a number from 1 to 65535",
    ],
    ['--log-buf-size=21', "glusterfs: --log-buf-size: '21' is not a number from 0 to 20"],
    [
      '--volfile-server-transport=rdma',
      "glusterfs: unsupported volfile server transport 'rdma' (tcp, unix)",
    ],
  ]
  for (const [word, message] of wrong) {
    test(word, () => assert.deepEqual(refused(word), { status: 255, message }))
  }
})

describe('the table', () => {
  test('what is not supported is refused by name', () => {
    for (const [name, spec] of table) {
      if (spec.refuse === undefined) continue
      const value = spec.values?.at(-1) ?? (spec.type === 'int' ? '1' : 'on')
      const word = spec.argument === undefined ? `--${name}` : `--${name}=${value}`
      const { status, message } = refused(word)
      assert.equal(status, 1, name)
      assert.equal(message, `glusterfs: --${name}: ${spec.refuse}`)
    }
    assert.equal(parse('--mac-compat=off').values['mac-compat'], false)
    assert.equal(parse('--logger=gluster-log').values.logger, 'gluster-log')
  })

  test('what has no effect is accepted and said', () => {
    for (const [name, spec] of table) {
      if (spec.noEffect === undefined) continue
      const value = spec.default ?? spec.bare ?? '1'
      const word = spec.argument === undefined ? `--${name}` : `--${name}=${value}`
      assert.deepEqual(parse(word).noEffect, [{ name, reason: spec.noEffect }])
    }
  })

  test('ranges hold at both ends', () => {
    for (const [name, spec] of table) {
      if (spec.type !== 'int' || spec.refuse !== undefined) continue
      for (const edge of [spec.min, spec.max]) {
        if (edge !== undefined) parse(`--${name}=${edge}`)
      }
      if (spec.min !== undefined) assert.equal(refused(`--${name}=${spec.min - 1}`).status, 255)
      if (spec.max !== undefined) assert.equal(refused(`--${name}=${spec.max + 1}`).status, 255)
    }
  })

  test('defaults are those of stock', () => {
    const { values } = parse()
    assert.equal(values['entry-timeout'], 1)
    assert.equal(values['negative-timeout'], 0)
    assert.equal(values['gid-timeout'], 300)
    assert.equal(values['lru-limit'], 65536)
    assert.equal(values['direct-io-mode'], 'auto')
    assert.equal(values['auto-invalidation'], undefined)
    assert.equal(values['fopen-keep-cache'], undefined)
    assert.equal(values['read-only'], false)
    assert.equal(values['volfile-server-port'], 24007)
    assert.equal(values['log-level'], 'INFO')
  })

  test('help and usage name every option that is not hidden', () => {
    const help = helpText()
    const usage = usageText()
    for (const [name, spec] of table) {
      assert.equal(help.includes(`--${name}`), spec.hidden !== true, name)
      assert.equal(usage.includes(`[--${name}`), spec.hidden !== true, name)
    }
    for (const text of [help, usage]) {
      assert.match(text, /^Usage: glusterfs /)
      assert.ok(
        text.split('\n').every((line) => line.length <= 80),
        'fits a terminal',
      )
    }
  })

  test('the version is where scripts look for it', () => {
    assert.match(versionText(), /^glusterfs 10\.3\n/)
  })
})
