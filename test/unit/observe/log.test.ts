import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, describe, test } from 'node:test'
import { clock } from '../../../src/core/clock.ts'
import { flushRepeats, logFor, logLevel, setLogLevel, startLog } from '../../../src/observe/log.ts'
import { LOG_BACKLOG_MAX, LogFile } from '../../../src/observe/log-file.ts'
import { stampText } from '../../../src/observe/log-format.ts'

const directory = mkdtempSync(join(tmpdir(), 'log-test-'))
after(() => rmSync(directory, { recursive: true }))

const plain = { json: false, localtime: false, repeatWindowMs: 60_000 }

/** Before the log is set up, as modules do. */
const early = logFor('early')

function collect(lines: Partial<typeof plain> = {}): string[] {
  const written: string[] = []
  startLog({ write: (text) => void written.push(text) }, 'INFO', { ...plain, ...lines })
  return written
}

afterEach(() => setLogLevel('NONE'))

describe('log lines', () => {
  test('have the form of GlusterFS', () => {
    const written = collect()
    logFor('vol-client-0').warn({ errno: 107, tries: 3 }, 'disconnected')
    assert.match(
      written[0]!,
      /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \+0000\] W \[vol-client-0\] 0-vol-client-0: disconnected \[\{errno=ENOTCONN\}, \{tries=3\}\] \n$/,
    )
  })

  test('one letter a level; only what the level lets through', () => {
    const written = collect()
    const log = logFor('letters')
    for (const level of ['NONE', 'TRACE', 'WARNING'] as const) {
      setLogLevel(level)
      assert.equal(logLevel(), level)
      log.fatal(`${level} 1`)
      log.error(`${level} 2`)
      log.warn(`${level} 3`)
      log.info(`${level} 4`)
      log.debug(`${level} 5`)
      log.trace(`${level} 6`)
    }
    const letters = written.map((line) => line.split(' ')[3])
    assert.equal(letters.join(''), 'CEWIDTCEW')
  })

  test('a logger made before the log was set up follows it', () => {
    const written = collect()
    early.info('here')
    assert.equal(written.length, 1)
  })

  test('a name with a newline forges no line; its bytes arrive', () => {
    const written = collect()
    logFor('x').info({ path: '/a\n[2026] E \x1b[2J\xe9' }, 'odd')
    assert.equal(written[0]!.split('\n').length, 2)
    assert.ok(written[0]!.includes('{path=/a\\x0a[2026] E \\x1b[2J\xe9}'))
  })

  test('an error comes with its stack', () => {
    const written = collect()
    logFor('x').error({ err: new RangeError('too far') }, 'bug')
    assert.match(written[0]!, /0-x: bug \n {4}RangeError: too far\n {8}at /)
  })

  test('a message that repeats is written once, then counted', () => {
    const written = collect()
    const log = logFor('x')
    for (let i = 0; i < 4; i++) log.info('again')
    log.info('else')
    assert.equal(written.length, 3)
    assert.match(
      written[1]!,
      /^The message "0-x: again" repeated 3 times between \[.*\] and \[.*\]\n$/,
    )
    log.info('else')
    flushRepeats()
    assert.match(written[3]!, /"0-x: else" repeated 1 times/)
  })

  test('json: one object a line, level and errno by name', () => {
    const written = collect({ json: true })
    logFor('x').info({ errno: 2 }, 'text')
    const { sec, usec, ...rest } = JSON.parse(written[0]!) as Record<string, unknown>
    assert.deepEqual(rest, { level: 'info', xl: 'x', errno: 'ENOENT', msg: 'text' })
    assert.ok(Number.isInteger(sec) && Number.isInteger(usec))
  })

  test('time stamps', () => {
    assert.equal(stampText(1_795_361_159, 806_934, false), '2026-11-22 15:25:59.806934 +0000')
    assert.equal(stampText(0, 7, false), '1970-01-01 00:00:00.000007 +0000')
    assert.match(stampText(0, 7, true), /^19(69|70)-\d\d-\d\d \d\d:\d\d:\d\d\.000007 [+-]\d{4}$/)
  })
})

const settle = () => new Promise<void>((resolve) => void clock.after(20, resolve))

describe('log file', () => {
  test('is appended to, private, and follows its name when reopened', async () => {
    const path = join(directory, 'a.log')
    const file = new LogFile(path)
    file.write('one\n')
    await settle()
    renameSync(path, `${path}.1`)
    file.write('two\n')
    await settle()
    file.reopen()
    file.write('three \xe9\n')
    file.write('four …\n')
    await settle()
    assert.equal(readFileSync(`${path}.1`, 'utf8'), 'one\ntwo\n')
    assert.equal(readFileSync(path, 'latin1'), 'three \xe9\nfour \xe2\x80\xa6\n')
    assert.equal(statSync(path).mode & 0o777, 0o600)
    const second = new LogFile(path)
    second.write('five\n')
    second.flushSync()
    assert.match(readFileSync(path, 'latin1'), /five\n$/)
    second.write('six\n')
    await second.drain(1000)
    assert.match(readFileSync(path, 'latin1'), /six\n$/)
  })

  test('a stuck disk costs lines, not memory, and says how many', async () => {
    const path = join(directory, 'stuck.log')
    const stuck: (() => void)[] = []
    const sizes: number[] = []
    const file = new LogFile(path, (_fd, data, done) => {
      sizes.push(data.length)
      stuck.push(() => done(null))
    })
    const line = `${'x'.repeat(1023)}\n`
    file.write(line)
    await settle()
    for (let i = 0; i < 2 * (LOG_BACKLOG_MAX / 1024); i++) file.write(line)
    assert.deepEqual(sizes, [1024])
    stuck[0]!()
    assert.ok(sizes[1]! <= LOG_BACKLOG_MAX + 100)
    stuck[1]!()
    assert.equal(file.busy, false)
    assert.equal(sizes.length, 2)
  })

  test('a FIFO nobody reads and a missing directory are errors', () => {
    assert.throws(() => new LogFile(join(directory, 'no/such.log')), /ENOENT/)
  })
})
