import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createServer as createTlsServer } from 'node:tls'
import koffi from 'koffi'
import type { RecordReader } from '../../../src/rpc/record.ts'
import { readTlsFiles } from '../../../src/rpc/tls.ts'
import { DEFAULT_SOCKET, type SocketSettings, Transport } from '../../../src/rpc/transport.ts'

const getsockopt = koffi
  .load('libc.so.6')
  .func('int getsockopt(int, int, int, _Out_ int *, _Inout_ uint32_t *)')

/** Level and name of socket(7) and tcp(7) options. */
const OPTIONS = {
  keepalive: [1, 9],
  sendBuffer: [1, 7],
  receiveBuffer: [1, 8],
  noDelay: [6, 1],
  keepaliveTime: [6, 4],
  keepaliveInterval: [6, 5],
  keepaliveCount: [6, 6],
  userTimeout: [6, 18],
} as const

function socketFds(): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')
      } catch {
        return false
      }
    })
}

function optionOf(fd: number, name: keyof typeof OPTIONS): number {
  const value = [0]
  getsockopt(fd, ...OPTIONS[name], value, [4])
  return value[0]!
}

interface Connected {
  options: Record<string, number>
  from: string
}

/** Connects with the settings; tells what the kernel has of them, and the server of us. */
async function connected(given: Partial<SocketSettings>): Promise<Connected> {
  const peers: Socket[] = []
  const { tls } = given
  const took = (peer: Socket): void => void peers.push(peer)
  const server =
    tls === undefined ? createServer(took) : createTlsServer({ cert: tls.cert, key: tls.key }, took)
  await new Promise<void>((done) => server.listen(0, '0.0.0.0', done))
  try {
    return await connectedTo(server, peers, given)
  } finally {
    for (const peer of peers) peer.destroy()
    server.close()
  }
}

async function connectedTo(
  server: Server,
  peers: Socket[],
  given: Partial<SocketSettings>,
): Promise<Connected> {
  const before = socketFds()
  const reader = { window: () => Buffer.alloc(64), received() {}, stop() {} }
  const { port } = server.address() as AddressInfo
  let transport!: Transport
  await new Promise<void>((done, fail) => {
    transport = new Transport(
      { transport: 'tcp', host: '127.0.0.1', port },
      { ...DEFAULT_SOCKET, ...given },
      reader as unknown as RecordReader,
      { connected: done, closed: (reason) => fail(new Error(reason)) },
    )
  })
  // Ours was opened before the server's end of it.
  const fd = socketFds().find((each) => !before.includes(each))!
  while (peers.length === 0) await new Promise((turn) => setImmediate(turn))
  const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[]
  const options = Object.fromEntries(names.map((name) => [name, optionOf(fd, name)]))
  const from = peers[0]!.remoteAddress!
  transport.close('done')
  return { options, from }
}

test('the settings of a socket reach the kernel', async () => {
  const plain = await connected({})
  const { sendBuffer, receiveBuffer, ...others } = plain.options
  assert.deepEqual(others, {
    keepalive: 1,
    noDelay: 1,
    keepaliveTime: 20,
    keepaliveInterval: 2,
    keepaliveCount: 9,
    userTimeout: 42_000,
  })
  assert.equal(plain.from, '127.0.0.1')

  const changed = await connected({
    keepaliveTime: 11,
    keepaliveInterval: 7,
    keepaliveCount: 5,
    userTimeoutMs: 9000,
    noDelay: false,
    windowBytes: 50_000,
    sourceAddress: '127.0.0.7',
  })
  assert.notEqual(sendBuffer, 100_000)
  assert.notEqual(receiveBuffer, 100_000)
  assert.deepEqual(changed.options, {
    keepalive: 1,
    // The kernel gives twice what is asked for, for its own use.
    sendBuffer: 100_000,
    receiveBuffer: 100_000,
    noDelay: 0,
    keepaliveTime: 11,
    keepaliveInterval: 7,
    keepaliveCount: 5,
    userTimeout: 9000,
  })
  assert.equal(changed.from, '127.0.0.7')
  assert.equal((await connected({ keepalive: false })).options.keepalive, 0)
})

test('an address that is not ours is told', async () => {
  await assert.rejects(connected({ sourceAddress: '192.0.2.1' }), /EADDRNOTAVAIL.*192\.0\.2\.1/)
})

test('with TLS, too', { skip: !existsSync('/usr/bin/openssl') }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'transport-'))
  try {
    const words = 'req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 9 -subj /CN=me'
    execFileSync('/usr/bin/openssl', words.split(' '), { cwd: directory, stdio: 'ignore' })
    const [cert, key] = [join(directory, 'cert'), join(directory, 'key')]
    const tls = readTlsFiles({ cert, key, ca: cert, depth: 1 }, 'test')
    const { options } = await connected({ tls, keepaliveTime: 11, userTimeoutMs: 9000 })
    assert.deepEqual(
      [options.keepalive, options.noDelay, options.keepaliveTime, options.userTimeout],
      [1, 1, 11, 9000],
    )
  } finally {
    rmSync(directory, { recursive: true })
  }
})
