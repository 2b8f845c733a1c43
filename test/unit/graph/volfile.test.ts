import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { GlusterError } from '../../../src/core/errors.ts'
import { formatVolfile, parseVolfile, VOLFILE_BYTES_MAX } from '../../../src/graph/volfile.ts'

const samples = fileURLToPath(new URL('../../../../volfiles/', import.meta.url))

function parse(text: string) {
  return parseVolfile(text, 'test.vol').volumes
}

/** One volume `a` of type `t/x`, with `body` in the middle. */
function volume(body: string, name = 'a'): string {
  return `volume ${name}\n    type t/x\n${body}\nend-volume\n`
}

function refused(text: string): string {
  try {
    parse(text)
  } catch (error) {
    assert.ok(error instanceof GlusterError, String(error))
    assert.equal(error.code, 'VOLFILE_SYNTAX')
    return error.message
  }
  return assert.fail(`accepted: ${text}`)
}

describe('volfile grammar', () => {
  test('a volume has a name, a type, options and subvolumes', () => {
    const volumes = parse(
      `${volume('option k v', 'leaf')}${volume('option before 1\nsubvolumes leaf\noption after 2', 'top')}`,
    )
    assert.deepEqual(
      volumes.map(({ name, type, subvolumes, line }) => ({ name, type, subvolumes, line })),
      [
        { name: 'leaf', type: 't/x', subvolumes: [], line: 1 },
        { name: 'top', type: 't/x', subvolumes: ['leaf'], line: 5 },
      ],
    )
    assert.deepEqual(
      [...volumes[1]!.options],
      [
        ['before', '1'],
        ['after', '2'],
      ],
    )
  })

  test('words: quotes, escapes, comments, any white space', () => {
    const [one] = parse(
      'volume\ta # volume b\r\n type t/x\n option k "two words \\" \\\\ # x" option empty ""\nend-volume',
    )
    assert.deepEqual(
      [...one!.options],
      [
        ['k', 'two words " \\ # x'],
        ['empty', ''],
      ],
    )
  })

  test('a comment sign inside a word is part of it', () => {
    assert.equal(parse(volume('option k a#b'))[0]!.options.get('k'), 'a#b')
  })

  test('an option given twice keeps the last value', () => {
    assert.equal(parse(volume('option k 1\noption k 2'))[0]!.options.get('k'), '2')
  })

  test('quoted keywords are words', () => {
    assert.equal(parse(volume('option k "end-volume"'))[0]!.options.get('k'), 'end-volume')
  })

  test('subvolume is subvolumes', () => {
    const volumes = parse(volume('option k v', 'leaf') + volume('subvolume leaf', 'top'))
    assert.deepEqual(volumes[1]!.subvolumes, ['leaf'])
  })

  const wrong: [what: string, text: string, line: number, token: string, message: RegExp][] = [
    ['nothing', '# empty\n', 1, '', /defines no volume/],
    ['a word outside', 'Volume a\n', 1, 'Volume', /expected 'volume NAME'/],
    ['no name', 'volume\ntype t/x', 2, 'type', /volume name/],
    ['no end', 'volume a\ntype t/x\noption k v', 3, 'v', /'end-volume' not defined for volume 'a'/],
    ['volume in volume', 'volume a\ntype t/x\nvolume b', 3, 'volume', /new volume definition/],
    [
      'a name again',
      volume('option k v') + volume('option k v'),
      5,
      'a',
      /volume 'a' defined again/,
    ],
    ['no type', 'volume a\nend-volume', 1, 'volume', /"type" not specified/],
    ['type last', 'volume a\noption k v\ntype t/x\nend-volume', 2, 'option', /"type" must come/],
    ['two types', 'volume a\ntype t/x\ntype t/y\nend-volume', 3, 't/y', /second type/],
    ['type without a name', 'volume a\ntype\nend-volume', 3, 'end-volume', /specify volume type/],
    ['type with two slashes', 'volume a\ntype a/b/c\nend-volume', 2, 'a/b/c', /category\/name/],
    ['type alone', 'volume a\ntype t/x\nend-volume', 1, 'volume', /neither an option/],
    ['option without a value', volume('option k'), 4, 'end-volume', /option <key> <value>/],
    ['option at the end', 'volume a\ntype t/x\noption k', 3, 'k', /the file ends here/],
    ['no subvolumes', volume('subvolumes'), 3, 'subvolumes', /specify subvolumes/],
    ['itself', volume('subvolumes a'), 3, 'a', /has 'a' itself as subvolume/],
    ['unknown subvolume', volume('subvolumes b'), 3, 'b', /'b' is not defined prior to usage/],
    [
      'two subvolumes lines',
      volume('option k v', 'l') + volume('subvolumes l\nsubvolumes l'),
      8,
      'subvolumes',
      /second subvolumes/,
    ],
    ['a stray word', volume('option k v\nfoo'), 4, 'foo', /syntax error: line 4 \(volume 'a'\)/],
    ['an open quote', volume('option k "v'), 3, '"v', /unclosed quote/],
    ['a bare backslash', volume('option k \\'), 3, '\\', /syntax error/],
  ]
  for (const [what, text, line, token, message] of wrong) {
    test(`refused: ${what}`, () => {
      const said = refused(text)
      assert.match(said, message)
      assert.ok(said.startsWith(`test.vol:${line}: `), said)
      if (token !== '') assert.ok(said.includes(`(near '${token}`), said)
    })
  }

  test('bytes that do not print are shown as hex', () => {
    assert.match(refused('\x1b[2J\n'), /near '\\x1b\[2J'/)
  })

  test('commands in backticks are for local files only', () => {
    const text = volume('option k `echo value`')
    assert.match(refused(text), /test.vol:3: commands in backticks are only run for a local/)
    const run = parseVolfile(text, 'local', { allowCommands: true })
    assert.equal(run.volumes[0]!.options.get('k'), 'value')
    for (const command of ['`false`', '`echo']) {
      assert.throws(
        () => parseVolfile(volume(`option k ${command}`), 'local', { allowCommands: true }),
        /local:3: .*backtick/,
      )
    }
  })

  test('a volfile of absurd size is not read', () => {
    assert.match(refused(' '.repeat(VOLFILE_BYTES_MAX + 1)), /larger than/)
  })
})

describe('volfiles of glusterd', () => {
  const names = readdirSync(samples).filter((name) => name.endsWith('.vol'))
  assert.ok(names.length >= 30)
  for (const name of names) {
    test(`${name} parses, and what is written of it parses to the same`, () => {
      const text = readFileSync(samples + name, 'latin1')
      const { volumes } = parseVolfile(text, name)
      assert.equal(volumes.length, text.match(/^volume /gm)!.length)
      assert.equal(volumes.at(-1)!.type, 'debug/io-stats')
      const again = parseVolfile(formatVolfile(volumes), name).volumes
      assert.deepEqual(
        again.map(({ line: _, ...rest }) => rest),
        volumes.map(({ line: _, ...rest }) => rest),
      )
    })
  }
})
