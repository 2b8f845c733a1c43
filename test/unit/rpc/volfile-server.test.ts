import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { GlusterError } from '../../../src/core/errors.ts'
import { type FetchedVolfile, ManagementConnection } from '../../../src/rpc/volfile-server.ts'
import { type LegacyDict, legacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { CBK } from '../../../src/xdr/programs.ts'
import { sleep } from '../../lib/sandbox.ts'
import { callback, type Handler, reply, ScriptedPeer } from '../../lib/scripted-peer.ts'

let peer: ScriptedPeer
let handler: Handler
let text = 'volume a\nend-volume\n'
const spec = (given: string, xdata?: LegacyDict) => ({
  op_ret: given.length,
  op_errno: 0,
  spec: given,
  xdata,
})

beforeEach(async () => {
  text = 'volume a\nend-volume\n'
  handler = (received) => reply(received, spec(text))
  peer = await ScriptedPeer.listen((received, self) => handler(received, self))
})
afterEach(() => peer.close())

const at = (port: number, host = '127.0.0.1') => ({ transport: 'tcp' as const, host, port })

/** A port nobody listens on. */
async function closedPort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 1
}

async function failure(connection: ManagementConnection): Promise<GlusterError> {
  const error: unknown = await connection.start().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof GlusterError)
  return error
}

test('the first volfile comes from the first server that answers', async () => {
  const connection = new ManagementConnection({
    servers: [at(await closedPort()), at(peer.port, 'localhost')],
    volfileId: '/vol',
    addressFamily: 'inet',
  })
  const fetched = await connection.start()
  assert.deepEqual(fetched, { text, source: `localhost:${peer.port}:/vol` })
  const { body } = peer.calls[0]!
  const { flags, key, xdata } = body as { flags: number; key: string; xdata: LegacyDict }
  assert.equal(flags, 1)
  assert.equal(key, '/vol')
  assert.equal(legacyText(xdata, 'min-op-version'), '1')
  assert.equal(legacyText(xdata, 'max-op-version'), '100000')
  assert.equal(peer.named('PING').length, 0)
  connection.close()
})

test('no server: each one and its reason are named', async () => {
  const port = await closedPort()
  const error = await failure(
    new ManagementConnection({
      servers: [at(port), at(24007, 'nobody.invalid'), { transport: 'unix', path: '/nowhere' }],
      volfileId: 'vol',
    }),
  )
  assert.equal(error.code, 'SERVER_UNREACHABLE')
  assert.match(error.message, new RegExp(`127.0.0.1:${port}: connection refused`))
  assert.match(error.message, /nobody\.invalid:24007: the name nobody\.invalid cannot be resolved/)
  assert.match(error.message, /\/nowhere: the socket does not exist/)
})

test('a volume the server does not know', async () => {
  handler = (received) => reply(received, { op_ret: -1, op_errno: 2, spec: '', xdata: undefined })
  const second = await closedPort()
  const error = await failure(
    new ManagementConnection({ servers: [at(peer.port), at(second)], volfileId: 'vol' }),
  )
  assert.equal(error.code, 'VOLUME_UNKNOWN')
  assert.equal(error.errno, 2)
  assert.match(error.message, /volume 'vol': the server does not know it/)
})

test('a positive result without a volfile is a refusal as well', async () => {
  handler = (received) => reply(received, { op_ret: 316, op_errno: 22, spec: '', xdata: undefined })
  const error = await failure(
    new ManagementConnection({ servers: [at(peer.port)], volfileId: 'v'.repeat(255) }),
  )
  assert.equal(error.code, 'VOLUME_UNKNOWN')
  assert.equal(error.errno, 22)
})

test('a server that says nothing, or nonsense', async () => {
  handler = () => {}
  const silent = await failure(
    new ManagementConnection({ servers: [at(peer.port)], volfileId: 'vol', timeoutMs: 100 }),
  )
  assert.equal(silent.code, 'SERVER_PROTOCOL')
  assert.match(silent.message, /no answer within 0\.1 seconds/)

  handler = ({ socket }) => void socket.write('SSH-2.0-OpenSSH_9.2p1\r\n')
  const nonsense = await failure(
    new ManagementConnection({ servers: [at(peer.port)], volfileId: 'vol', timeoutMs: 1000 }),
  )
  assert.equal(nonsense.code, 'SERVER_PROTOCOL')
  assert.match(nonsense.message, /protocol error/)
})

test('changes are told once; statedump requests are passed on', async () => {
  const told: FetchedVolfile[] = []
  let dumps = 0
  const connection = new ManagementConnection({
    servers: [at(peer.port)],
    volfileId: 'vol',
    onVolfile: (changed, source) => told.push({ text: changed, source }),
    onStatedump: () => dumps++,
  })
  await connection.start()
  const [socket] = peer.sockets
  const fetches = (): number => peer.named('GETSPEC').length
  callback(socket!, CBK.FETCHSPEC, {})
  while (fetches() < 2) await sleep(5)
  text = 'volume b\nend-volume\n'
  callback(socket!, CBK.FETCHSPEC, {})
  // glusterd tells every client of the volume: this one is meant for another process
  callback(socket!, CBK.STATEDUMP, { pid: process.pid + 1 })
  callback(socket!, CBK.STATEDUMP, { pid: process.pid })
  while (told.length === 0) await sleep(5)
  connection.refetch()
  while (fetches() < 4) await sleep(5)
  await sleep(20)
  assert.deepEqual(told, [{ text, source: `127.0.0.1:${peer.port}:vol` }])
  assert.equal(dumps, 1)
  connection.close()
})

test('a change right behind the first volfile is not missed', async () => {
  const told: string[] = []
  let first = true
  handler = (received) => {
    if (!first) return reply(received, spec('volume later\n'))
    first = false
    // Both arrive together: the notice is read before the volfile has been looked at.
    received.socket.cork()
    reply(received, spec(text))
    callback(received.socket, CBK.FETCHSPEC, {})
    received.socket.uncork()
  }
  const connection = new ManagementConnection({
    servers: [at(peer.port)],
    volfileId: 'vol',
    onVolfile: (changed) => told.push(changed),
  })
  assert.equal((await connection.start()).text, text)
  for (let i = 0; i < 100 && told.length === 0; i++) await sleep(10)
  assert.deepEqual(told, ['volume later\n'])
  connection.close()
})

test('a lost server is found again, at an address it has told of', async () => {
  const other = await ScriptedPeer.listen((received) => reply(received, spec('volume c\n')))
  handler = (received) => {
    const peers = legacyDict({ 'cluster.brick-vol-servers': `127.0.0.1:${other.port} [::1:9 x:y` })
    reply(received, spec(text, peers))
  }
  const told: string[] = []
  const connection = new ManagementConnection({
    servers: [at(peer.port)],
    volfileId: 'vol',
    onVolfile: (changed) => told.push(changed),
  })
  await connection.start()
  peer.sockets[0]!.destroy()
  for (let i = 0; i < 100 && told.length === 0; i++) await sleep(50)
  assert.deepEqual(told, ['volume c\n'])
  connection.close()
  await other.close()
})
