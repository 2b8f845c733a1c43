/**
 * Hostile clients: a brick and a management server, each a process of its own, are sent what nobody
 * should send. They answer or hang up; they do not end, leave their directory, or grow.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { Dict } from '../../src/core/dict.ts'
import { newGfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { brickVolfile } from '../../src/server/volfiles.ts'
import { VolumeStore } from '../../src/server/volume.ts'
import { legacyDict } from '../../src/xdr/dict.ts'
import { DUMP, FOP, HANDSHAKE } from '../../src/xdr/programs.ts'
import { brickSkip } from '../lib/brick-bench.ts'
import { freePort } from '../lib/embedded.ts'
import { Hostile } from '../lib/hostile.ts'
import { projectRoot, sleep } from '../lib/sandbox.ts'

const skip = brickSkip()
/** HOSTILE_CASES=100000 HOSTILE_SEED=2: more of them, others. */
const cases = Number(process.env.HOSTILE_CASES ?? 10_000)
const seed = Number(process.env.HOSTILE_SEED ?? 1)
/** Memory a process may have more than before, MiB. */
const growthMaxMib = 200
/** Calls sent on one connection. */
const perConnection = 40
const answerMaxMs = 20_000

const rssMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024

/** Everything below, with sizes: what must not change. */
function listing(directory: string): string[] {
  const names = fs.readdirSync(directory, { recursive: true }) as string[]
  return names.map((name) => `${name} ${fs.lstatSync(join(directory, name)).mode}`).sort()
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/**
 * Sends all and `last`, waits for the answer to that one, and hangs up; or until the other side does.
 * Returns how much was answered.
 */
async function talk(port: number, records: readonly Buffer[], last: Buffer): Promise<number> {
  const socket = await open(port)
  const timer = clock.after(answerMaxMs, () => socket.destroy(new Error('no end')))
  const xid = last.subarray(4, 8)
  let tail = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    const seen = Buffer.concat([tail, chunk])
    if (seen.includes(xid)) socket.end()
    tail = seen.subarray(-3)
  })
  const closed = new Promise((resolve) => socket.once('close', resolve))
  for (const record of [...records, last]) if (!socket.destroyed) socket.write(record)
  await closed
  timer.clear()
  return socket.bytesRead
}

async function answersPing(port: number, hostile: Hostile): Promise<void> {
  const socket = await open(port)
  socket.write(hostile.encode(DUMP.PING, {}))
  await once(socket, 'data')
  socket.destroy()
}

/** Reads of gigabytes that nobody fetches: the brick must not hold them all. */
async function askForTooMuch(port: number, pid: number, hostile: Hostile, hello: Buffer[]) {
  const socket = await open(port)
  socket.pause()
  const gfid = newGfid()
  const xdata = new Dict().setGfid('gfid-req', gfid)
  const entry = { pargfid: ROOT_GFID, bname: 'large', mode: 0o100644, umask: 0 }
  const read = { gfid, fd: -2, offset: 0, size: 16 * 2 ** 20, flag: 0, xdata: undefined }
  const records = [
    ...hello,
    hostile.sane(FOP.MKNOD, { ...entry, dev: 0, xdata }),
    hostile.sane(FOP.TRUNCATE, { gfid, offset: 2 ** 33, xdata: undefined }),
    ...Array.from({ length: 300 }, () => hostile.sane(FOP.READ, read)),
  ]
  const before = rssMib(pid)
  socket.write(Buffer.concat(records))
  let most = 0
  for (let i = 0, late = 0; i < 200 && late < 15; i++) {
    await sleep(100)
    most = Math.max(most, rssMib(pid) - before)
    if (most > 8) late++
  }
  socket.destroy()
  assert.ok(most > 8, 'the reads were carried out')
  assert.ok(most < growthMaxMib, `grew by ${most} MiB`)
  await answersPing(port, hostile)
}

describe('hostile clients', { skip, timeout: 300_000 }, () => {
  const base = fs.mkdtempSync(join(tmpdir(), 'glusterfs-ts-hostile-'))
  const outside = join(base, 'outside')
  const brickPath = join(base, 'brick')
  const children: ChildProcess[] = []

  before(() => {
    fs.mkdirSync(join(outside, 'directory'), { recursive: true })
    fs.writeFileSync(join(outside, 'secret'), 'secret')
  })
  after(async () => {
    for (const child of children) {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await ended
      }
    }
    fs.rmSync(base, { recursive: true, force: true })
  })

  async function attack(port: number, pid: number, hostile: Hostile, hello: Buffer[]) {
    const [rssBefore, etc] = [rssMib(pid), fs.readFileSync('/etc/passwd')]
    const outer = listing(outside)
    let answered = 0
    for (let sent = 0; sent < cases / 2; sent += perConnection) {
      const records = Array.from({ length: perConnection }, () => {
        const kind = hostile.below(20)
        const record = kind < 5 ? hostile.handshake() : hostile.fop()
        return kind % 2 === 0 ? record : hostile.damaged(record)
      })
      if (hostile.below(3) === 0) records.push(hostile.noise())
      const last = hostile.encode(DUMP.PING, {}, Buffer.alloc(0), 0xfedcba98)
      answered += await talk(port, [...hello, ...records], last)
    }
    await answersPing(port, hostile)
    const growth = rssMib(pid) - rssBefore
    assert.ok(growth < growthMaxMib, `grew by ${growth} MiB, seed ${seed}`)
    assert.deepEqual(listing(outside), outer)
    assert.equal(fs.readFileSync(join(outside, 'secret'), 'utf8'), 'secret')
    assert.deepEqual(fs.readFileSync('/etc/passwd'), etc)
    assert.deepEqual(fs.readdirSync(base).sort(), ['brick', 'outside', 'state'])
    return { answered, growth }
  }

  test(`${cases / 2} cases against a brick`, async (t) => {
    const volume = new VolumeStore(join(base, 'state')).create('vol', {}, [brickPath])
    const volfile = join(base, 'state/brick.vol')
    fs.writeFileSync(volfile, brickVolfile(volume, brickPath, '127.0.0.1'))
    const words = [volfile, join(base, 'state/brick.log'), join(base, 'state/brick.json')]
    const brick = fork(join(projectRoot, 'dist/src/server/brick.js'), words)
    children.push(brick)
    const [message] = (await once(brick, 'message')) as [{ port: number }]
    const hostile = new Hostile(seed, { outside: join(outside, 'secret'), brick: brickPath })
    const dict = legacyDict({
      'remote-subvolume': brickPath,
      'process-uuid': 'hostile',
      'fops-version': '1298437',
    })
    const hello = [hostile.encode(HANDSHAKE.SETVOLUME, { dict })]
    const { answered, growth } = await attack(message.port, brick.pid!, hostile, hello)
    assert.equal(brick.exitCode, null, `the brick ended, seed ${seed}`)
    assert.ok(answered > cases * 20, `${answered} bytes answered`)
    const log = fs.readFileSync(words[1]!, 'latin1')
    assert.doesNotMatch(log, /this is a bug/, `seed ${seed}`)
    t.diagnostic(`${answered} bytes of answers, memory ${growth.toFixed(0)} MiB`)
    await askForTooMuch(message.port, brick.pid!, hostile, hello)
  })

  test(`${cases / 2} cases against a management server`, async (t) => {
    const port = await freePort()
    const words = ['-d', join(base, 'state'), '-p', String(port), 'serve']
    const server = fork(join(projectRoot, 'bin/gluster-ts'), words, {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    children.push(server)
    await once(server.stdout!, 'data')
    const hostile = new Hostile(seed + 1, { outside: join(outside, 'secret'), brick: 'vol' })
    const { answered, growth } = await attack(port, server.pid!, hostile, [])
    assert.equal(server.exitCode, null, `the server ended, seed ${seed}`)
    t.diagnostic(`${answered} bytes of answers, memory ${growth.toFixed(0)} MiB`)
    await sleep(0)
  })
})
