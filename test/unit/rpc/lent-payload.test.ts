/** Payload in memory that is used again: the connection holds its loan until the bytes are sent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { Loan, lend } from '../../../src/core/loan.ts'
import { type Canceller, connect, type Link } from '../../../src/rpc/connect.ts'
import { ConnectionStats, Pending } from '../../../src/rpc/connection.ts'
import { DEFAULT_SOCKET } from '../../../src/rpc/transport.ts'
import { FOP, type Procedure } from '../../../src/xdr/programs.ts'
import { sleep } from '../../lib/sandbox.ts'
import { reply, ScriptedPeer } from '../../lib/scripted-peer.ts'

/** More than the socket buffers of both ends take. */
const TOO_MUCH = 32 * 2 ** 20

async function until(met: () => boolean, what: string): Promise<void> {
  for (let tries = 0; !met(); tries++) {
    assert.ok(tries < 500, what)
    await sleep(10)
  }
}

class Write extends Pending {
  readonly done: Promise<number>
  #resolve!: (errno: number) => void

  constructor() {
    super(FOP.WRITE as unknown as Procedure)
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  reply(): void {
    this.#resolve(0)
  }

  fail(errno: number): void {
    this.#resolve(errno)
  }
}

async function open(peer: ScriptedPeer): Promise<Link> {
  const canceller: Canceller = { cancel: undefined }
  const link = await connect(
    { address: { transport: 'tcp', host: '127.0.0.1', port: peer.port }, family: 'inet' },
    {
      socket: DEFAULT_SOCKET,
      stats: new ConnectionStats(),
      limits: { pingTimeout: 0, frameTimeout: 0 },
      callback: () => {},
    },
    2000,
    canceller,
  )
  assert.ok('connection' in link)
  return link
}

/** A write of `size` lent bytes, whose loan only the connection holds. */
function write(link: Link, size: number): { call: Write; ended: () => boolean } {
  let ended = false
  const loan = new Loan(() => {
    ended = true
  })
  const payload = Buffer.alloc(size, 'p')
  lend(payload, loan)
  const call = new Write()
  const body = { gfid: NULL_GFID, fd: -2, offset: 0, size, flag: 0, xdata: undefined }
  link.connection.submit(call, ROOT_CREDS, body, [payload])
  loan.drop()
  return { call, ended: () => ended }
}

void test('a loan ends with the last holder, once', () => {
  let count = 0
  const loan = new Loan(() => {
    count++
  })
  loan.hold()
  loan.drop()
  assert.equal(count, 0)
  loan.drop()
  assert.equal(count, 1)
  assert.throws(() => loan.drop())
  assert.throws(() => loan.hold())
})

void test('sent bytes are given back', async () => {
  const peer = await ScriptedPeer.listen((received) => {
    const { size } = received.body as { size: number }
    assert.equal(received.payload.length, size)
    const stat = new Iatt()
    reply(received, { op_ret: size, op_errno: 0, prestat: stat, poststat: stat, xdata: undefined })
  })
  const link = await open(peer)
  const writes = [write(link, 5), write(link, 300_000), write(link, 70_000)]
  for (const { ended } of writes) assert.ok(!ended(), 'held while queued')
  for (const { call } of writes) assert.equal(await call.done, 0)
  for (const { ended } of writes) assert.ok(ended())
  link.connection.close('done')
  await peer.close()
})

void test('bytes of a call given up are held until the socket is gone', async () => {
  const peer = await ScriptedPeer.listen(() => {})
  const link = await open(peer)
  await until(() => peer.sockets.length > 0, 'the peer accepts')
  peer.sockets[0]!.pause()
  const first = write(link, TOO_MUCH)
  const second = write(link, 100_000)
  await new Promise(setImmediate)
  link.connection.abandon(first.call, 110, 'too slow')
  assert.notEqual(await first.call.done, 0)
  await new Promise(setImmediate)
  assert.ok(!first.ended(), 'the socket still sends from it')
  // Queued in this very turn: it never reaches the socket.
  const third = write(link, 1000)
  link.connection.close('enough')
  for (const { call } of [second, third]) assert.notEqual(await call.done, 0)
  await until(() => first.ended() && second.ended() && third.ended(), 'all are given back')
  await peer.close()
})

void test('a call that is never made holds nothing', async () => {
  const peer = await ScriptedPeer.listen(() => {})
  const link = await open(peer)
  link.connection.close('at once')
  const { call, ended } = write(link, 1000)
  assert.notEqual(await call.done, 0)
  assert.ok(ended())
  await peer.close()
})
