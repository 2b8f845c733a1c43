/** Connections outlive a killed process for as long as another one keeps them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'

const module = new URL('../../../src/rpc/last-words.js', import.meta.url).href

/** Connects three times, closes one, has a keeper, says something and is killed. */
const program = `
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { forgetConnection, keepConnection, keepersEnd } from '${module}'
const open = () => new Promise((resolve) => {
  const socket = connect(Number(process.argv[1]), '127.0.0.1', () => {
    socket.pause()
    keepConnection(socket, socket._handle.fd)
    resolve(socket)
  })
})
const sockets = [await open(), await open(), await open()]
const stdio = ['ignore', 'ignore', 'ignore', keepersEnd()]
const keeper = spawn('/bin/sleep', ['60'], { stdio, detached: true })
await new Promise((resolve) => keeper.once('spawn', resolve))
console.log(keeper.pid)
sockets.push(await open())
const [closed] = sockets.splice(1, 1)
closed.destroy()
forgetConnection(closed)
for (const socket of sockets) socket.write('last words')
setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100)
`

test('nothing is reset while the keeper lives; what was closed is closed', async () => {
  const states: string[] = []
  const server = createServer((peer: Socket) => {
    const index = states.push('open') - 1
    // Never read: closing such a connection resets it.
    peer.write('unread')
    peer.on('data', (chunk) => {
      states[index] = String(chunk)
    })
    peer.on('end', () => {
      states[index] = 'ended'
    })
    peer.on('error', (error: NodeJS.ErrnoException) => {
      states[index] = error.code!
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const words = ['--input-type=module', '-e', program, String(port)]
  const child: ChildProcess = spawn(process.execPath, words, {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [pid] = (await once(child.stdout!, 'data')) as [Buffer]
  const [, signal] = (await once(child, 'exit')) as [number, string]
  assert.equal(signal, 'SIGKILL')
  // A reset would have come with the exit.
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.deepEqual(states, ['last words', 'ECONNRESET', 'last words', 'last words'])
  process.kill(Number(String(pid)), 'SIGKILL')
  while (states.some((state) => state === 'last words')) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  assert.deepEqual(states, new Array(4).fill('ECONNRESET'))
  server.close()
})
