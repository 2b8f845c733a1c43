import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { setClock, clock as systemClock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { Fd } from '../../../src/core/fd.ts'
import { measure } from '../../../src/core/frame.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { logLevel, setLogLevel } from '../../../src/observe/log.ts'
import { timeText } from '../../../xlators/debug/io-stats/format.ts'
import ioStats, { dumpDirectory } from '../../../xlators/debug/io-stats/index.ts'
import { ManualClock } from '../../lib/manual-clock.ts'
import { type Bench, bench, linked, locOf, type ScriptedChild } from '../../lib/scripted.ts'

const both = { 'latency-measurement': 'on', 'count-fop-hits': 'on' }

async function workload(b: Bench): Promise<void> {
  const child = b.child as ScriptedChild
  const none = new Iatt()
  child.script = {
    open: (_frame, req) => ({ errno: 0, fd: req.fd }),
    readv: () => ({ errno: 0, data: [Buffer.alloc(5)], size: 5, stat: none, eof: true }),
    writev: async (_frame, req) => ({ errno: 0, size: req.size, prestat: none, poststat: none }),
  }
  const inode = linked(b.graph, 'f')
  const fd = new Fd(inode, 2, 1)
  await b.ok('open', { loc: locOf(inode), fd, flags: 2 })
  await b.ok('writev', { fd, data: [Buffer.alloc(8192)], size: 8192, offset: 0, flags: 0 })
  await b.ok('readv', { fd, size: 100, offset: 0, flags: 0 })
  fd.release()
}

async function dumped(b: Bench, key: string, file: string): Promise<string> {
  dumpDirectory.path = await mkdtemp(path.join(os.tmpdir(), 'io-stats-'))
  const dict = new Dict().setBytes(key, Buffer.from(`/x/${file}`))
  await b.ok('setxattr', { loc: locOf(b.graph.inodes.root), dict, flags: 0 })
  const text = await readFile(path.join(dumpDirectory.path, `x-${file}.xl`), 'latin1')
  await rm(dumpDirectory.path, { recursive: true })
  return text
}

test('bytes and sizes are counted always, fops only with both options', async () => {
  const b = await bench(ioStats)
  await workload(b)
  const text = await dumped(b, 'trusted.io-stats-dump', 'a')
  assert.match(text, /BytesRead : 5\n {2}BytesWritten : 8192/)
  assert.match(text, /4B\+ +8192B\+/)
  assert.doesNotMatch(text, /^WRITE/m)
  assert.match(text, /^RELEASE +1 +0 us/m)
  b.reconfigure(both)
  await workload(b)
  const measured = await dumped(b, 'trusted.io-stats-dump', 'b')
  assert.match(measured, /^WRITE +1 +\d+\.\d\d us/m)
  assert.match(measured, /Current open fd's: 0 Max open fd's: 1/)
  assert.match(measured, /=== Interval 1 stats ===/)
  b.reconfigure({})
  await workload(b)
  assert.match(await dumped(b, 'trusted.io-stats-dump', 'c'), /^WRITE +1 /m)
})

test('the JSON form has the keys that readers look for', async () => {
  const b = await bench(ioStats, both)
  await workload(b)
  const text = await dumped(b, 'trusted.io-stats-77_json_dump', 'c')
  const [total, interval] = text.split(/(?<=\n}\n)/).map((part) => JSON.parse(part))
  assert.equal(total['gluster.xl.aggr.write_8kb'], 1)
  assert.equal(total['gluster.xl.aggr.fop.read.count'], 1)
  assert.equal(total['gluster.xl.aggr.fds.max_open_count'], 1)
  assert.equal(total['gluster.xl.aggr.bytes_written'], 8192)
  assert.equal(interval['gluster.xl.inter.write_8kb_per_sec'], 1)
})

test('the busiest files are listed, with what they moved', async () => {
  const b = await bench(ioStats, both)
  await workload(b)
  const text = await dumped(b, 'trusted.io-stats-dump', 'd')
  assert.match(text, /==========Open File Stats========\n\nCOUNT: {2}\t {2}FILE NAME\n1 {12}\/f\n/)
  assert.match(text, /Write File Stats=+\n\nCOUNT: {2}\t {2}FILE NAME\n1 {12}\/f\n/)
  const rate =
    /TIMESTAMP \t\t\t THROUGHPUT\(KBPS\)\tFILE NAME\n.* \+0000 \t (\d+\.\d\d) +\t {2}\/f\n/
  const write = text.slice(text.indexOf('Write Throughput'))
  assert.ok(Number(rate.exec(write)?.[1]) > 0, write)
})

test('an interval dump is written again and again, and stops with the graph', async () => {
  dumpDirectory.interval = await mkdtemp(path.join(os.tmpdir(), 'io-stats-'))
  const clock = new ManualClock()
  const before = systemClock
  setClock(clock)
  const b = await bench(ioStats, { 'ios-dump-interval': '5' })
  try {
    const file = path.join(dumpDirectory.interval, 'glusterfs_xl.dump')
    const written = async (seconds: number): Promise<Record<string, number>> => {
      await rm(file, { force: true })
      clock.pass(seconds * 1000)
      for (let i = 0; i < 200; i++) {
        const text = await readFile(file, 'latin1').catch(() => '')
        if (text !== '') return JSON.parse(text.split(/(?<=\n}\n)/)[0]!)
        await new Promise((resolve) => setImmediate(resolve))
      }
      return {}
    }
    assert.equal((await written(5))['gluster.xl.aggr.bytes_written'], 0)
    await workload(b)
    assert.equal((await written(5))['gluster.xl.aggr.bytes_written'], 8192)
    b.reconfigure({ 'ios-dump-interval': '60' })
    assert.deepEqual(await written(30), {})
    b.xl.fini()
    assert.deepEqual(await written(120), {})
  } finally {
    setClock(before)
    await rm(dumpDirectory.interval, { recursive: true })
  }
})

test('dump-fd-stats tells of a file when it is closed', async () => {
  const lines: string[] = []
  const b = await bench(ioStats, { 'dump-fd-stats': 'on' })
  b.xl.log.info = (line: unknown) => lines.push(String(line))
  await workload(b)
  assert.deepEqual(
    lines.filter((line) => !line.includes('Lifetime')),
    [
      '--- fd stats ---',
      '      Filename : /f',
      '     BytesRead : 5 bytes',
      '  BytesWritten : 8192 bytes',
      ' Read 000004b+ :1',
      'Write 008192b+ : 1',
    ],
  )
})

test('latency-measurement makes every translator measure', async () => {
  const b = await bench(ioStats, { 'latency-measurement': 'on' })
  assert.equal(measure.latency, true)
  b.reconfigure({})
  assert.equal(measure.latency, false)
})

test('log-level sets the level of the process, and INFO at start leaves it', async () => {
  const before = logLevel()
  try {
    setLogLevel('ERROR')
    const b = await bench(ioStats, { 'log-level': 'INFO' })
    assert.equal(logLevel(), 'ERROR')
    b.reconfigure({ 'log-level': 'CRITICAL' })
    assert.equal(logLevel(), 'CRITICAL')
    b.reconfigure({ 'client-log-level': 'INFO' })
    assert.equal(logLevel(), 'INFO')
  } finally {
    setLogLevel(before)
  }
})

test('a path out of the directory is refused', async () => {
  const b = await bench(ioStats)
  const dict = new Dict().setBytes('trusted.io-stats-dump', Buffer.from('../../etc/x'))
  const rep = await b.run('setxattr', { loc: locOf(b.graph.inodes.root), dict, flags: 0 })
  assert.notEqual(rep.errno, 0)
})

test('time stamps', () => {
  assert.equal(timeText({ sec: 1795363724, nsec: 412175999 }), '2026-11-22 16:08:44.412175 +0000')
  assert.equal(timeText({ sec: 951782400, nsec: 0 }), '2000-02-29 00:00:00.000000 +0000')
})
