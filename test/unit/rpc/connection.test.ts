import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { type Clock, clock, setClock, type Timer } from '../../../src/core/clock.ts'
import { E } from '../../../src/core/errno.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { type Canceller, connect, type Link } from '../../../src/rpc/connect.ts'
import { ConnectionStats, call, type Limits, Pending } from '../../../src/rpc/connection.ts'
import { DEFAULT_SOCKET } from '../../../src/rpc/transport.ts'
import { CBK, DUMP, FOP } from '../../../src/xdr/programs.ts'
import type { Reader } from '../../../src/xdr/reader.ts'
import { AUTH_GLUSTERFS_V3 } from '../../../src/xdr/rpc-auth.ts'
import { sleep } from '../../lib/sandbox.ts'
import {
  callback,
  fragments,
  type Handler,
  type Received,
  refuse,
  reply,
  replyBytes,
  ScriptedPeer,
} from '../../lib/scripted-peer.ts'
import { seeded } from '../../lib/seeded.ts'

const dumped = {
  gfs_id: 0,
  op_ret: 0,
  op_errno: 0,
  prog: [{ progname: 'x', prognum: 1, progver: 2 }],
}
let peer: ScriptedPeer
let handler: Handler
const callbacks: number[] = []

beforeEach(async () => {
  callbacks.length = 0
  handler = (received) => reply(received, dumped)
  peer = await ScriptedPeer.listen((received, self) => handler(received, self))
})
afterEach(() => peer.close())

async function open(limits: Limits = { pingTimeout: 0, frameTimeout: 0 }): Promise<Link> {
  const canceller: Canceller = { cancel: undefined }
  const link = await connect(
    { address: { transport: 'tcp', host: '127.0.0.1', port: peer.port }, family: 'inet' },
    {
      socket: DEFAULT_SOCKET,
      stats: new ConnectionStats(),
      limits,
      callback: (header) => callbacks.push(header.proc),
    },
    2000,
    canceller,
  )
  assert.ok('connection' in link)
  return link
}

const dump = (link: Link) => call(link.connection, DUMP.DUMP, { gfs_id: 1 })

/** A READ whose reply's payload is kept. */
class Read extends Pending {
  readonly done: Promise<{ body: Buffer; payload: Buffer[] } | { errno: number }>
  #resolve: (value: { body: Buffer; payload: Buffer[] } | { errno: number }) => void = () => {}

  constructor() {
    super(FOP.READ)
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  reply(body: Reader, payload: Buffer[]): void {
    FOP.READ.reply.decode(body)
    this.#resolve({ body: Buffer.alloc(0), payload })
  }

  fail(errno: number): void {
    this.#resolve({ errno })
  }
}

function read(link: Link, size: number): Read {
  const pending = new Read()
  link.connection.submit(pending, ROOT_CREDS, {
    gfid: NULL_GFID,
    fd: -2,
    offset: 0,
    size,
    flag: 0,
    xdata: undefined,
  })
  return pending
}

const readReply = (size: number) => ({
  op_ret: size,
  op_errno: 0,
  stat: new Iatt(),
  size,
  xdata: undefined,
})

test('replies are matched by xid, in any order', async () => {
  const held: Received[] = []
  handler = (received) => {
    held.push(received)
    if (held.length < 3) return
    for (const [i, one] of held.reverse().entries()) reply(one, { ...dumped, gfs_id: i })
  }
  const link = await open()
  const outcomes = await Promise.all([dump(link), dump(link), dump(link)])
  assert.deepEqual(
    outcomes.map((outcome) => 'value' in outcome && outcome.value.gfs_id),
    [2, 1, 0],
  )
  assert.deepEqual(
    peer.named('DUMP').map(({ xid }) => xid),
    [2, 3, 4],
  )
  link.connection.close('done')
})

test('a reply in several fragments is one reply', async () => {
  handler = (received) => {
    received.socket.write(fragments(replyBytes(received, dumped), 7))
  }
  const link = await open()
  const outcome = await dump(link)
  assert.ok('value' in outcome)
  assert.deepEqual(outcome.value, dumped)
  link.connection.close('done')
})

test('the payload of READ follows the body, whole or in fragments', async () => {
  for (const cut of [0, 500, 65_536]) {
    for (const size of [0, 1, 4096, 131_072]) {
      const data = Buffer.alloc(size, 'data')
      handler = (received) => {
        const bytes = replyBytes(received, readReply(size), data)
        received.socket.write(cut === 0 ? bytes : fragments(bytes, cut))
      }
      const link = await open()
      const done = await read(link, size).done
      assert.ok('payload' in done)
      assert.deepEqual(Buffer.concat(done.payload), data)
      link.connection.close('done')
    }
  }
})

test('a callback is no reply, even with the xid of a call', async () => {
  handler = (received) => {
    callback(received.socket, CBK.FETCHSPEC, {}, received.xid)
    reply(received, dumped)
  }
  const link = await open()
  assert.ok('value' in (await dump(link)))
  assert.deepEqual(callbacks, [CBK.FETCHSPEC.number])
  link.connection.close('done')
})

test('calls refused at the RPC level fail, the connection goes on', async () => {
  handler = (received) => refuse(received, 'AUTH_ERROR', [2])
  const link = await open()
  const outcome = await dump(link)
  assert.ok('errno' in outcome)
  assert.equal(outcome.errno, E.NOTCONN)
  assert.match(outcome.reason, /AUTH_ERROR/)
  handler = (received) => reply(received, dumped)
  assert.ok('value' in (await dump(link)))
  link.connection.close('done')
})

test('all calls under way end with the connection', async () => {
  handler = (received) => {
    if (peer.calls.length === 3) received.socket.destroy()
  }
  const link = await open()
  const outcomes = await Promise.all([dump(link), read(link, 1).done, dump(link)])
  for (const outcome of outcomes) {
    assert.equal('errno' in outcome && outcome.errno, E.NOTCONN)
  }
  await link.ended
  const late = await dump(link)
  assert.equal('errno' in late && late.errno, E.NOTCONN)
})

/** What a peer may say that is no answer, and what is said of it. */
const nonsense: [string, (received: Received) => Buffer, RegExp, number][] = [
  [
    'a reply to a call never made',
    (received) => replyBytes({ ...received, xid: 99 }, dumped),
    /never made/,
    E.NOTCONN,
  ],
  [
    'neither call nor reply',
    ({ xid }) => Buffer.from([0x80, 0, 0, 8, 0, 0, 0, xid, 0, 0, 0, 7]),
    /neither call nor reply/,
    E.NOTCONN,
  ],
  ['a record of three bytes', () => Buffer.from([0x80, 0, 0, 3, 1, 2, 3]), /xid/, E.NOTCONN],
  ['an empty record', () => Buffer.from([0x80, 0, 0, 0]), /xid/, E.NOTCONN],
  ['a record of 2 GiB', () => Buffer.from([0xff, 0xff, 0xff, 0xff]), /record of/, E.NOTCONN],
  [
    'a cut off result',
    (received) => {
      const bytes = replyBytes(received, dumped).subarray(0, 40)
      bytes.writeUInt32BE(0x80000000 + bytes.length - 4)
      return bytes
    },
    /reply to DUMP/,
    E.IO,
  ],
  ['text', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /record of/, E.NOTCONN],
]

for (const [name, bytes, reason, errno] of nonsense) {
  test(`${name} ends the connection`, async () => {
    handler = (received) => void received.socket.write(bytes(received))
    const link = await open()
    const [outcome, ended] = await Promise.all([dump(link), link.ended])
    assert.match(ended.reason, reason)
    assert.equal('errno' in outcome && outcome.errno, errno)
  })
}

test('a silent peer is given up after the ping timeout', async () => {
  handler = () => {}
  peer.answerPings = false
  const link = await open({ pingTimeout: 0.2, frameTimeout: 0 })
  const [outcome, ended] = await Promise.all([dump(link), link.ended])
  assert.equal(ended.reason, 'ping timeout')
  assert.equal('errno' in outcome && outcome.errno, E.NOTCONN)
})

test('new calls do not keep a silent peer', async () => {
  handler = () => {}
  peer.answerPings = false
  const link = await open({ pingTimeout: 0.2, frameTimeout: 0 })
  let ended = false
  void link.ended.then(() => {
    ended = true
  })
  for (let i = 0; i < 40 && !ended; i++) {
    void dump(link)
    await sleep(20)
  }
  assert.ok(ended)
})

test('a peer that answers pings may take its time', async () => {
  handler = (received) => void sleep(700).then(() => reply(received, dumped))
  const link = await open({ pingTimeout: 0.2, frameTimeout: 0 })
  assert.ok('value' in (await dump(link)))
  const pings = peer.named('PING').length
  assert.ok(pings >= 3 && pings <= 6, `${pings} pings`)
  await sleep(500)
  assert.ok(peer.named('PING').length <= pings + 1, 'no pings without calls')
  link.connection.close('done')
})

test('a value the wire cannot carry fails its call only', async () => {
  const link = await open()
  const outcome = await call(link.connection, FOP.ACCESS, {
    gfid: NULL_GFID,
    mask: -1,
    xdata: undefined,
  })
  assert.equal('errno' in outcome && outcome.errno, E.INVAL)
  const pending = new Read()
  const creds = { ...ROOT_CREDS, lkOwner: Buffer.alloc(1024) }
  link.connection.auth = AUTH_GLUSTERFS_V3
  link.connection.submit(pending, creds, {})
  assert.deepEqual(await pending.done, { errno: E.TOOBIG })
  assert.ok('value' in (await dump(link)))
  link.connection.close('done')
})

test('calls of one turn leave in one segment, payloads as they are', async () => {
  const link = await open()
  let chunks = 0
  peer.sockets[0]!.on('data', () => chunks++)
  await Promise.all([dump(link), dump(link), dump(link)])
  assert.equal(chunks, 1)
  link.connection.close('done')
})

test('a late reply to a call given up is no reason to disconnect', async () => {
  let held: Received | undefined
  handler = (received) => {
    if (held === undefined) held = received
    else reply(received, dumped)
  }
  const link = await open()
  const pending = read(link, 1)
  while (held === undefined) await sleep(5)
  assert.ok(link.connection.abandon(pending, E.NOTCONN, 'given up'))
  assert.deepEqual(await pending.done, { errno: E.NOTCONN })
  reply(held, readReply(1), Buffer.from('x'))
  assert.ok('value' in (await dump(link)))
  assert.ok(!link.connection.abandon(pending, E.NOTCONN, 'again'))
  link.connection.close('done')
})

test('damaged replies: every call is answered, nothing is thrown', async () => {
  const random = seeded(7)
  const pick = (limit: number): number => Math.floor(random() * limit)
  for (let round = 0; round < 150; round++) {
    handler = (received) => {
      const name = received.procedure.name
      const payload = Buffer.alloc(pick(3) === 0 ? 70_000 : 50, 'x')
      const whole =
        name === 'READ'
          ? replyBytes(received, readReply(payload.length), payload)
          : replyBytes(received, dumped)
      const damaged = Buffer.from(whole)
      for (let i = pick(4); i >= 0; i--) damaged[pick(Math.min(damaged.length, 260))] = pick(256)
      received.socket.write(random() < 0.3 ? damaged.subarray(0, pick(damaged.length)) : damaged)
      // What a bad length made the client wait for never comes.
      received.socket.end()
    }
    const link = await open()
    const calls = [dump(link), read(link, 70_000).done, read(link, 50).done]
    const outcomes = await Promise.all(calls)
    assert.equal(outcomes.length, 3)
    link.connection.close('done')
    await link.ended
  }
})

/** Time stands still until told; timers run in order. */
class ManualClock implements Clock {
  #now = 1000
  #timers: { at: number; fn: () => void }[] = []

  now(): number {
    return this.#now
  }

  realtime(): { sec: number; nsec: number } {
    return { sec: 0, nsec: 0 }
  }

  after(delayMs: number, fn: () => void): Timer {
    const timer = { at: this.#now + delayMs, fn }
    this.#timers.push(timer)
    return {
      clear: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  nextDeadline(): number {
    return Math.min(...this.#timers.map(({ at }) => at))
  }

  random(): number {
    return 0
  }

  advance(ms: number): void {
    const end = this.#now + ms
    while (this.nextDeadline() <= end) {
      this.#now = this.nextDeadline()
      const due = this.#timers.find(({ at }) => at === this.#now)!
      this.#timers = this.#timers.filter((timer) => timer !== due)
      due.fn()
    }
    this.#now = end
  }
}

class PatientRead extends Read {
  override get patient(): boolean {
    return true
  }
}

test('a call without a reply fails after the frame timeout; a waiting lock goes on', async () => {
  const system = clock
  const manual = new ManualClock()
  setClock(manual)
  try {
    handler = () => {}
    const link = await open({ pingTimeout: 0, frameTimeout: 600 })
    const early = read(link, 1)
    const patient = new PatientRead()
    const body = { gfid: NULL_GFID, fd: -2, offset: 0, size: 1, flag: 0, xdata: undefined }
    link.connection.submit(patient, ROOT_CREDS, body)
    manual.advance(300_000)
    const late = read(link, 1)
    manual.advance(311_000)
    assert.deepEqual(await early.done, { errno: E.NOTCONN })
    assert.equal(link.connection.pendingCount, 2)
    manual.advance(300_000)
    assert.deepEqual(await late.done, { errno: E.NOTCONN })
    assert.equal(link.connection.pendingCount, 1)
    link.connection.close('done')
    assert.deepEqual(await patient.done, { errno: E.NOTCONN })
  } finally {
    setClock(system)
  }
})

test('a unix socket that is too long a name, or nobody listens on', async () => {
  for (const path of [`/${'x'.repeat(300)}`, '/nowhere/at/all']) {
    const outcome = await connect(
      { address: { transport: 'unix', path }, family: 'any' },
      {
        socket: DEFAULT_SOCKET,
        stats: new ConnectionStats(),
        limits: { pingTimeout: 0, frameTimeout: 0 },
        callback: () => {},
      },
      1000,
      { cancel: undefined },
    )
    assert.ok('reason' in outcome)
  }
})
