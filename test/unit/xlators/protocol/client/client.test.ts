/** protocol/client against a scripted brick: handshake, lost files, what goes onto the wire. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { Dict } from '../../../../../src/core/dict.ts'
import { E } from '../../../../../src/core/errno.ts'
import type { Event } from '../../../../../src/core/event.ts'
import { Fd } from '../../../../../src/core/fd.ts'
import {
  F_SETLK,
  F_WRLCK,
  type Flock,
  type FopName,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../../../src/core/fop.ts'
import { CallPool, type Creds, ROOT_CREDS } from '../../../../../src/core/frame.ts'
import { newGfid } from '../../../../../src/core/gfid.ts'
import { Iatt, S_IFREG } from '../../../../../src/core/iatt.ts'
import { InodeTable } from '../../../../../src/core/inode.ts'
import { Loc } from '../../../../../src/core/loc.ts'
import type { Xlator } from '../../../../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../../../../src/graph/build.ts'
import { parseVolfile } from '../../../../../src/graph/volfile.ts'
import { type LegacyDict, legacyDict, legacyText } from '../../../../../src/xdr/dict.ts'
import { CBK } from '../../../../../src/xdr/programs.ts'
import {
  AUTH_GLUSTERFS_V2,
  AUTH_GLUSTERFS_V3,
  decodeCreds,
} from '../../../../../src/xdr/rpc-auth.ts'
import { registry } from '../../../../../xlators/registry.ts'
import { sleep } from '../../../../lib/sandbox.ts'
import {
  callback,
  type Received,
  refuse,
  reply,
  replyBytes,
  ScriptedPeer,
} from '../../../../lib/scripted-peer.ts'

const stat = (): Iatt => Object.assign(new Iatt(), { mode: S_IFREG | 0o644, gfid: newGfid() })
const done = { op_ret: 0, op_errno: 0, xdata: undefined }

/** Answers of a healthy brick; a test overrides single procedures. */
type Script = Record<string, (call: Received) => void>
let script: Script
let peer: ScriptedPeer
let graph: Graph
let events: Event[]
let nextFd: number

beforeEach(async () => {
  events = []
  nextFd = 5
  script = {
    DUMP: (call) =>
      reply(call, {
        gfs_id: 0,
        op_ret: 0,
        op_errno: 0,
        prog: [{ progname: 'GlusterFS 4.x v1', prognum: 1298437, progver: 400 }],
      }),
    SETVOLUME: (call) => reply(call, entered({ 'volume-id': 'the-volume' })),
    OPEN: (call) => reply(call, { ...done, fd: nextFd++ }),
    OPENDIR: (call) => reply(call, { ...done, fd: nextFd++ }),
    READ: (call) => {
      const rsp = { op_ret: 3, op_errno: 2, stat: stat(), size: 3, xdata: undefined }
      reply(call, rsp, Buffer.from('abc'))
    },
    FSTAT: (call) => reply(call, { ...done, stat: stat() }),
    LK: (call) => reply(call, { ...done, flock: (call.body as { flock: Flock }).flock }),
    FLUSH: (call) => reply(call, done),
    RELEASE: (call) => reply(call, done),
    STAT: (call) => reply(call, { ...done, stat: stat() }),
  }
  peer = await ScriptedPeer.listen((call) => script[call.procedure.name]?.(call))
})
afterEach(async () => {
  await graph.stop()
  await peer.close()
})

const entered = (dict: Record<string, string>) => ({
  op_ret: 0,
  op_errno: 22,
  dict: legacyDict({ ERROR: 'Success', child_up: '1', ...dict }),
})

async function start(options: Record<string, string> = {}, leaves = 1): Promise<void> {
  const lines = Object.entries(options).map(([key, value]) => `option ${key} ${value}\n`)
  const volume = (i: number): string =>
    `volume c${i}\ntype protocol/client\noption remote-host 127.0.0.1\noption remote-port ` +
    `${peer.port}\noption remote-subvolume /b${i}\n${lines.join('')}end-volume\n`
  const names = Array.from({ length: leaves }, (_, i) => `c${i}`)
  const top =
    leaves > 1 ? `volume d\ntype debug/fan\nsubvolumes ${names.join(' ')}\nend-volume` : ''
  const text = names.map((_, i) => volume(i)).join('') + top
  const { defineXlator, Xlator: Base } = await import('../../../../../src/core/xlator.ts')
  class Fan extends Base {}
  const fan = defineXlator({
    type: 'debug/fan',
    class: Fan,
    options: {},
    children: { min: 1, max: 9 },
  })
  graph = await buildGraph({
    volfile: parseVolfile(text, 'test'),
    load: async (type) => (type === 'debug/fan' ? fan : (await registry[type]!()).default),
    id: 3,
    volfileId: 'vol',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: {
      uuid: 'the-uuid',
      hostname: 'here',
      processName: 'fuse',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
  const above = { notify: (event: Event) => event.type !== 'child-ping' && events.push(event) }
  for (const xl of graph.xlators) {
    if (xl.type === 'protocol/client') xl.parents.splice(0, 9, above as unknown as Xlator)
  }
  for (const xl of graph.xlators) {
    if (xl.type === 'protocol/client') xl.notify({ type: 'parent-up' }, undefined)
  }
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (what()) return
    await sleep(10)
  }
  assert.fail(`never: ${what}`)
}

const up = () => until(() => events.at(-1)?.type === 'child-up')
const types = (): string[] => events.map(({ type }) => type)

function call<K extends FopName>(fop: K, req: Req<K>, creds: Creds = ROOT_CREDS) {
  const xl = graph.find('c0')!
  return graph.pool.begin(xl, 'test', creds).wind(xl, fop, req) as MaybePromise<Rep<K>>
}

function file(): { fd: Fd; loc: Loc } {
  const inode = graph.inodes.findOrNew(newGfid(), S_IFREG)
  return { fd: new Fd(inode, 0o101002, 9).bind(), loc: Loc.ofInode(inode) }
}

async function opened(flags = 0o1102): Promise<Fd> {
  const { fd, loc } = file()
  assert.equal((await call('open', { loc, fd, flags })).errno, 0)
  return fd
}

const read = (fd: Fd) => call('readv', { fd, size: 100, offset: 0, flags: 0 })
const bodies = <T>(name: string): T[] => peer.named(name).map(({ body }) => body as T)

/** Cuts the connection and waits until the brick is back. */
async function reconnect(): Promise<void> {
  const before = peer.sockets.length
  peer.sockets.at(-1)!.destroy()
  await until(() => peer.sockets.length > before)
  await up()
}

test('a brick is greeted with the options and a name that changes with each connection', async () => {
  await start({ 'ping-timeout': '7', username: 'user', password: 'secret' })
  await up()
  assert.deepEqual(types(), ['child-connecting', 'child-up'])
  await reconnect()
  assert.deepEqual(types(), ['child-connecting', 'child-up', 'child-down', 'child-up'])
  const [first, second] = bodies<{ dict: LegacyDict }>('SETVOLUME').map(({ dict }) => dict)
  const name = `CTX_ID:the-uuid-GRAPH_ID:3-PID:${process.pid}-HOST:here-PC_NAME:c0-RECON_NO:-`
  const expected: Record<string, string> = {
    'remote-subvolume': '/b0',
    'ping-timeout': '7',
    username: 'user',
    password: 'secret',
    'fops-version': '1298437',
    opversion: '100000',
    'process-name': 'fuse',
    'volfile-key': 'vol',
    'transport-type': 'socket',
    'process-uuid': `${name}0`,
  }
  for (const [key, value] of Object.entries(expected)) assert.equal(legacyText(first, key), value)
  assert.equal(legacyText(first, 'volume-id'), undefined)
  assert.equal(legacyText(second, 'volume-id'), 'the-volume')
  assert.equal(legacyText(second, 'process-uuid'), `${name}1`)
  assert.equal(peer.named('DUMP')[0]!.flavor, AUTH_GLUSTERFS_V2)
  assert.equal(peer.named('SETVOLUME')[0]!.flavor, AUTH_GLUSTERFS_V3)
})

test('files are opened again, without truncating, before the brick is announced', async () => {
  await start()
  await up()
  const fd = await opened()
  let held: Received | undefined
  script.OPEN = (received) => {
    held = received
  }
  events.length = 0
  peer.sockets.at(-1)!.destroy()
  await until(() => held !== undefined)
  await sleep(50)
  assert.deepEqual(types(), ['child-down'])
  assert.equal((await read(fd)).errno, E.NOTCONN)
  reply(held!, { ...done, fd: 41 })
  await up()
  assert.equal((await read(fd)).errno, 0)
  const flags = bodies<{ flags: number }>('OPEN').map((body) => body.flags)
  assert.deepEqual(flags, [0o1102, 0o2])
  assert.equal(bodies<{ fd: number }>('READ').at(-1)!.fd, 41)
  fd.release()
  await until(() => peer.named('RELEASE').length === 1)
  assert.deepEqual(bodies<{ fd: number; xdata: Dict }>('RELEASE')[0]!.xdata, new Dict())
})

test('a file closed while it is opened again is closed on the brick', async () => {
  await start()
  await up()
  const fd = await opened()
  let held: Received | undefined
  script.OPEN = (received) => {
    held = received
  }
  peer.sockets.at(-1)!.destroy()
  await until(() => held !== undefined)
  fd.release()
  reply(held!, { ...done, fd: 42 })
  await until(() => peer.named('RELEASE').length === 1)
  assert.equal(bodies<{ fd: number }>('RELEASE')[0]!.fd, 42)
})

test('a lost file: data goes by gfid, the rest is EBADFD; never fd -1', async () => {
  await start()
  await up()
  const fd = await opened()
  script.OPEN = (received) => reply(received, { op_ret: -1, op_errno: 2, xdata: undefined, fd: 0 })
  await reconnect()
  assert.equal((await read(fd)).errno, 0)
  assert.equal((await call('fstat', { fd })).errno, E.BADFD)
  assert.equal((await call('flush', { fd })).errno, E.BADFD)
  assert.equal(bodies<{ fd: number }>('READ').at(-1)!.fd, -2)
  // One that this brick never opened works by gfid altogether.
  assert.equal((await call('fstat', { fd: file().fd })).errno, 0)
  assert.equal(bodies<{ fd: number }>('FSTAT').at(-1)!.fd, -2)
  fd.release()
  await sleep(30)
  assert.equal(peer.named('RELEASE').length, 0)
})

for (const strict of ['off', 'on']) {
  test(`locks are lost with the connection (strict-locks ${strict})`, async () => {
    await start({ 'strict-locks': strict })
    await up()
    const fd = await opened()
    const flock = { type: F_WRLCK, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(8) }
    const creds = { ...ROOT_CREDS, lkOwner: Buffer.from('lk-owner') }
    assert.equal((await call('lk', { fd, cmd: F_SETLK, flock }, creds)).errno, 0)
    script.OPEN = (received) =>
      reply(received, { op_ret: -1, op_errno: 116, xdata: undefined, fd: 0 })
    await reconnect()
    // It stood for a lock: going on by gfid would be as if the lock were still held.
    assert.equal((await read(fd)).errno, E.BADFD)
    assert.equal(peer.named('OPEN').length, strict === 'on' ? 1 : 2)
  })
}

test('credentials: groups, lock owner, or the pid instead', async () => {
  await start({ 'send-gids': 'off' })
  await up()
  const { loc } = file()
  const creds = { ...ROOT_CREDS, uid: 5, gid: 6, pid: 0x0102, groups: [7, 8] }
  await call('stat', { loc }, creds)
  await call('stat', { loc }, { ...creds, lkOwner: Buffer.from('owner'), timeFlags: 3, timeSec: 9 })
  const [first, second] = peer.named('STAT').map(({ flavor, cred }) => decodeCreds(flavor, cred)!)
  assert.deepEqual(first!.groups, [6])
  assert.deepEqual([first!.uid, first!.gid, first!.pid], [5, 6, 0x0102])
  assert.deepEqual(first!.lkOwner, Buffer.from([2, 1, 0, 0]))
  assert.deepEqual(second!.lkOwner, Buffer.from('owner'))
  assert.deepEqual([second!.timeFlags, second!.timeSec], [3, 9])
})

test('filter-O_DIRECT keeps O_DIRECT from the brick; O_SYNC has one bit there', async () => {
  await start({ 'filter-O_DIRECT': 'enable' })
  await up()
  await opened(0o4050002)
  assert.equal(bodies<{ flags: number }>('OPEN')[0]!.flags, 0o10002)
})

test('a reply that makes no sense is EIO, and the brick is met anew', async () => {
  await start()
  await up()
  const fd = await opened()
  const short = { op_ret: 100, op_errno: 0, stat: stat(), size: 100, xdata: undefined }
  const nonsense: Script = {
    READ: (received) => reply(received, short, Buffer.from('abc')),
    FSTAT: (received) => {
      const bytes = replyBytes(received, { ...done, stat: stat() })
      received.socket.write(Buffer.concat([bytes.subarray(0, bytes.length - 8)]))
      received.socket.end()
    },
  }
  script = { ...script, READ: nonsense.READ! }
  assert.equal((await read(fd)).errno, E.IO)
  await until(() => types().at(-1) === 'child-down')
  await up()
  script = { ...script, FSTAT: nonsense.FSTAT! }
  assert.equal((await call('fstat', { fd })).errno, E.NOTCONN)
})

test('the brick says more than was asked for: EIO', async () => {
  await start()
  await up()
  const fd = await opened()
  const data = Buffer.alloc(101)
  const rsp = { op_ret: 101, op_errno: 0, stat: stat(), size: 101, xdata: undefined }
  script.READ = (received) => reply(received, rsp, data)
  assert.equal((await read(fd)).errno, E.IO)
})

test('SETVOLUME refused: tried again, down is told once', async () => {
  let refusals = 3
  const healthy = script.SETVOLUME!
  script.SETVOLUME = (received) => {
    if (refusals-- > 0) {
      const dict = legacyDict({ ERROR: 'Brick not found' })
      reply(received, { op_ret: -1, op_errno: 2, dict })
    } else healthy(received)
  }
  await start()
  await up()
  assert.deepEqual(types(), ['child-connecting', 'child-down', 'child-up'])
})

test('a brick of another volume in the old place is not used', async () => {
  await start()
  await up()
  script.SETVOLUME = (received) => reply(received, entered({ 'volume-id': 'another' }))
  peer.sockets.at(-1)!.destroy()
  await until(() => peer.named('SETVOLUME').length >= 3)
  assert.equal(types().at(-1), 'child-down')
})

test('who hears that a call failed has heard that the brick is down', async () => {
  await start()
  await up()
  script.STAT = ({ socket }) => socket.destroy()
  const rep = await call('stat', file())
  assert.deepEqual([rep.errno, types().at(-1)], [E.NOTCONN, 'child-down'])
})

test('calls refused at the RPC level are ENOTCONN', async () => {
  await start()
  await up()
  script.STAT = (received) => refuse(received, 'GARBAGE_ARGS')
  assert.equal((await call('stat', file())).errno, E.NOTCONN)
  assert.deepEqual(types(), ['child-connecting', 'child-up'])
})

test("the brick's storage fails and recovers: down and up without a disconnect", async () => {
  script.SETVOLUME = (received) => reply(received, entered({ child_up: '0' }))
  await start()
  await until(() => peer.named('SETVOLUME').length === 1)
  await sleep(30)
  assert.deepEqual(types(), ['child-connecting'])
  const [socket] = peer.sockets
  callback(socket!, CBK.CHILD_UP, {})
  await up()
  callback(socket!, CBK.CHILD_DOWN, {}, 2)
  callback(socket!, CBK.CHILD_UP, {}, 3)
  await until(() => events.length === 4)
  assert.deepEqual(types(), ['child-connecting', 'child-up', 'child-down', 'child-up'])
  assert.equal(peer.sockets.length, 1)
})

test('directory offsets say which leaf they come from', async () => {
  const sent: bigint[] = []
  script.READDIR = (received) => {
    sent.push((received.body as { offset: bigint }).offset)
    const dirent = { name: 'x', inoHi: 0, inoLo: 1, off: 1000n, type: 8 }
    reply(received, { ...done, op_ret: 1, reply: [dirent] })
  }
  await start({}, 3)
  await until(() => types().filter((type) => type === 'child-up').length === 3)
  const { fd } = file()
  const c1 = graph.find('c1')!
  const frame = graph.pool.begin(c1, 'test', ROOT_CREDS)
  const rep = await frame.wind(c1, 'readdir', { fd, size: 4096, off: 3001n })
  assert.ok(rep.errno === 0)
  assert.deepEqual(sent, [1000n])
  assert.equal(rep.entries[0]!.off, 3001n)
  assert.equal(rep.eof, false)
})
