/** Bytes for several sockets in one system call. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { type Sending, sendTogether } from '../../../src/rpc/send-batch.ts'

let server: Server
const peers: Socket[] = []
const arrived = new Map<number, Buffer[]>()

before(async () => {
  server = createServer((peer) => {
    peers.push(peer)
    peer.pause()
    const port = peer.remotePort!
    arrived.set(port, [])
    peer.on('data', (chunk) => arrived.get(port)!.push(chunk))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
})

after(() => server.close())

async function open(): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(socket, 'connect')
  return socket
}

const fdOf = (socket: Socket): number =>
  (socket as unknown as { _handle: { fd: number } })._handle.fd

function sending(socket: Socket, ...buffers: Buffer[]): Sending {
  const size = buffers.reduce((sum, { length }) => sum + length, 0)
  return { fd: fdOf(socket), buffers, size, taken: 0 }
}

async function received(socket: Socket, size: number): Promise<Buffer> {
  for (;;) {
    const all = Buffer.concat(arrived.get(socket.localPort!) ?? [])
    if (all.length >= size) return all
    for (const peer of peers) peer.resume()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('every socket gets its own buffers, in order', async () => {
  const sockets = await Promise.all([open(), open(), open()])
  const all = sockets.map((socket, i) =>
    sending(socket, Buffer.from(`head ${i},`), Buffer.from(`body ${i}`)),
  )
  sendTogether(all)
  for (const [i, socket] of sockets.entries()) {
    assert.equal(all[i]!.taken, all[i]!.size)
    assert.equal(String(await received(socket, all[i]!.size)), `head ${i},body ${i}`)
    socket.destroy()
  }
})

test('a full socket takes a part, then nothing; the others are not concerned', async () => {
  const [full, free] = [await open(), await open()]
  for (const peer of peers) peer.pause()
  const much = Buffer.alloc(64 * 2 ** 20, 1)
  const [first, other] = [sending(full, much), sending(free, Buffer.from('a'))]
  sendTogether([first, other])
  assert.ok(first.taken > 0 && first.taken < first.size, `${first.taken} bytes taken`)
  assert.equal(other.taken, 1)
  const again = [sending(full, much), sending(free, Buffer.from('b'))]
  sendTogether(again)
  assert.deepEqual(
    again.map(({ taken }) => taken),
    [0, 1],
  )
  assert.equal(String(await received(free, 2)), 'ab')
  full.destroy()
  free.destroy()
})

test('one socket alone: one buffer is sent, several are left to the caller', async () => {
  const socket = await open()
  const one = sending(socket, Buffer.from('one'))
  sendTogether([one])
  assert.equal(one.taken, 3)
  assert.equal(String(await received(socket, 3)), 'one')
  const several = sending(socket, Buffer.from('a'), Buffer.from('b'))
  const bad: Sending = { fd: 1 << 20, buffers: [Buffer.from('x')], size: 1, taken: 0 }
  sendTogether([several])
  sendTogether([bad])
  sendTogether([])
  assert.deepEqual([several.taken, bad.taken], [0, 0])
  socket.destroy()
})

test('a descriptor that is none takes nothing, nor do those after it', async () => {
  const socket = await open()
  const bad: Sending = { fd: 1 << 20, buffers: [Buffer.from('x')], size: 1, taken: 0 }
  const good = sending(socket, Buffer.from('y'))
  sendTogether([bad, good])
  assert.deepEqual([bad.taken, good.taken], [0, 0])
  socket.destroy()
})
