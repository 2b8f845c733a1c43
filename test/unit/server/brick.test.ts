/** A brick in this process, asked over TCP: who is let in, what strange requests get. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { type Creds, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID, newGfid, ROOT_GFID } from '../../../src/core/gfid.ts'
import { startLog } from '../../../src/observe/log.ts'
import { type RunningBrick, reconfigureBrick, startBrick } from '../../../src/server/brick.ts'
import { brickVolfile } from '../../../src/server/volfiles.ts'
import { VolumeStore } from '../../../src/server/volume.ts'
import { legacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { DUMP, FOP, HANDSHAKE, PORTMAP, type Procedure } from '../../../src/xdr/programs.ts'
import { Reader } from '../../../src/xdr/reader.ts'
import { AUTH_GLUSTERFS_V3 } from '../../../src/xdr/rpc-auth.ts'
import { decodeHeader, encodeCall, REPLY } from '../../../src/xdr/rpc-msg.ts'
import { Writer } from '../../../src/xdr/writer.ts'
import { brickSkip } from '../../lib/brick-bench.ts'
import { seeded } from '../../lib/seeded.ts'

const skip = brickSkip()
const creds: Creds = { ...ROOT_CREDS, lkOwner: Buffer.from('owner'), pid: 77 }

/** Mark, header, credential and verifier of our calls, bytes. */
const HEADER_BYTES = 88

/** Speaks RPC, one call at a time. */
class Client {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #xid = 1

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('error', () => undefined)
    this.socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.socket.emit('more')
    })
    this.socket.on('close', () => this.socket.emit('more'))
  }

  bytes<Q>(procedure: Procedure<Q>, body: Q): Buffer {
    const w = new Writer()
    assert.equal(encodeCall(w, this.#xid++, procedure, AUTH_GLUSTERFS_V3, creds, body), 0)
    return w.take()
  }

  /** The result, or how the call was refused. */
  async call<Q, P>(procedure: Procedure<Q, P>, body: Q): Promise<P> {
    this.socket.write(this.bytes(procedure as Procedure<Q>, body))
    const reader = new Reader(await this.#record())
    const header = decodeHeader(reader)
    assert.ok(header.type === REPLY)
    if (header.stat !== 'SUCCESS') throw new Error(header.stat)
    return procedure.reply.decode(reader)
  }

  async #record(): Promise<Buffer> {
    for (;;) {
      const size = this.#received.length < 4 ? -1 : this.#received.readUInt32BE(0) & 0x7fffffff
      if (size >= 0 && this.#received.length >= 4 + size) {
        const record = this.#received.subarray(4, 4 + size)
        this.#received = this.#received.subarray(4 + size)
        return record
      }
      if (this.socket.destroyed) throw new Error('closed')
      await once(this.socket, 'more')
    }
  }

  setVolume(change: Record<string, string>, path: string) {
    const dict = legacyDict({
      'remote-subvolume': path,
      'process-uuid': `uuid-${this.socket.localPort}`,
      'fops-version': '1298437',
      ...change,
    })
    return this.call(HANDSHAKE.SETVOLUME, { dict })
  }
}

describe('a brick over TCP', { skip, timeout: 60_000 }, () => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'glusterfs-ts-server-'))
  const path = join(directory, 'brick')
  const clients: Client[] = []
  let brick: RunningBrick
  let volfile: string
  const client = (): Client => {
    const made = new Client(brick.port)
    clients.push(made)
    return made
  }
  const member = async (): Promise<Client> => {
    const made = client()
    await once(made.socket, 'connect')
    assert.equal((await made.setVolume({}, path)).op_ret, 0)
    return made
  }

  before(async () => {
    fs.writeFileSync(join(directory, 'secret'), 'secret')
    const volume = new VolumeStore(directory).create('vol', {}, [path])
    volfile = brickVolfile(volume, path, '127.0.0.1').replace(
      'type protocol/server\n',
      `type protocol/server\n    option auth.login.${path}.allow bob\n` +
        '    option auth.login.bob.password right\n',
    )
    brick = await startBrick(volfile, 'test')
  })
  after(async () => {
    for (const { socket } of clients) socket.destroy()
    await brick.graph.stop()
    fs.rmSync(directory, { recursive: true })
  })

  test('lets in whom it should', async () => {
    const one = client()
    await once(one.socket, 'connect')
    const { prog } = await one.call(DUMP.DUMP, { gfs_id: 0 })
    assert.deepEqual(
      prog.map(({ prognum, progver }) => [prognum, progver]),
      [
        [1298437, 400],
        [14398633, 2],
        [123451501, 1],
      ],
    )
    await assert.rejects(one.call(PORTMAP.PORTBYBRICK, { brick: path }), /PROG_UNAVAIL/)
    const early = one.call(FOP.STAT, { gfid: ROOT_GFID, xdata: undefined })
    await assert.rejects(early, /GARBAGE_ARGS/)
    const refused = async (change: Record<string, string>, errno: number, why: RegExp) => {
      const rsp = await one.setVolume(change, path)
      assert.deepEqual([rsp.op_ret, rsp.op_errno], [-1, errno])
      assert.match(legacyText(rsp.dict, 'ERROR') ?? '', why)
    }
    await refused({ 'remote-subvolume': '/other' }, E.NOENT, /Brick not found/)
    await refused({ 'fops-version': '7' }, E.INVAL, /version mismatch/)
    await refused({ 'volume-id': 'another' }, E.INVAL, /Volume-ID different/)
    await refused({ username: 'bob', password: 'wrong' }, E.ACCES, /Authentication failed/)
    await refused({ 'subdir-mount': '/x' }, E.NOENT, /subdirectory/)
    assert.equal((await one.setVolume({ username: 'bob', password: 'right' }, path)).op_ret, 0)
    assert.equal((await one.call(FOP.STAT, { gfid: ROOT_GFID, xdata: undefined })).op_ret, 0)
  })

  test('auth options of a changed volfile decide about the next client, unnoted', async () => {
    const one = client()
    await once(one.socket, 'connect')
    const lines: string[] = []
    startLog({ write: (text) => void lines.push(text) }, 'INFO', {
      json: false,
      localtime: false,
      repeatWindowMs: 0,
    })
    const withRule = (rule: string): string =>
      volfile.replace('type protocol/server\n', `type protocol/server\n    option ${rule}\n`)
    const rsp = async (rule: string): Promise<number> => {
      await reconfigureBrick(brick, withRule(rule), 'test')
      return (await one.setVolume({}, path)).op_errno
    }
    try {
      assert.equal(await rsp(`auth.addr.${path}.reject 10.0.0.0/8,127.0.0.*`), E.ACCES)
      assert.equal(await rsp(`auth.addr.${path}.reject 10.0.0.0/8`), 0)
      assert.deepEqual(
        lines.filter((line) => line.includes('not recognized')),
        [],
      )
    } finally {
      await reconfigureBrick(brick, volfile, 'test')
    }
  })

  const create = (at: Client, bname: string, gfid: Gfid) =>
    at.call(FOP.CREATE, {
      pargfid: ROOT_GFID,
      flags: 2,
      mode: 0o100644,
      umask: 0,
      bname,
      xdata: new Dict().setGfid('gfid-req', gfid),
    })

  test('numbers fds from the lowest free one, per client', async () => {
    const [one, two] = [await member(), await member()]
    const gfid = newGfid()
    const open = (at: Client) => at.call(FOP.OPEN, { gfid, flags: 2, xdata: undefined })
    assert.equal((await create(one, 'fds', gfid)).fd, 0)
    assert.equal((await open(one)).fd, 1)
    assert.equal((await open(two)).fd, 0)
    await one.call(FOP.RELEASE, { gfid, fd: 0, xdata: undefined })
    assert.equal((await open(one)).fd, 0)
    const stat = (fd: number) => one.call(FOP.FSTAT, { gfid, fd, xdata: undefined })
    assert.equal((await stat(7)).op_errno, E.BADF)
    assert.equal((await stat(-2)).op_ret, 0)
  })

  test('a client that goes leaves its locks', async () => {
    const [one, two] = [await member(), await member()]
    const flock = { type: 1, whence: 0, start: 0n, len: 0n, pid: 1, lkOwner: Buffer.alloc(0) }
    const lock = (at: Client, cmd: number) =>
      at.call(FOP.INODELK, { gfid: ROOT_GFID, cmd, type: 1, flock, volume: 'd', xdata: undefined })
    assert.equal((await lock(one, 1)).op_ret, 0)
    assert.equal((await lock(two, 1)).op_errno, E.AGAIN)
    const waiting = lock(two, 2)
    one.socket.destroy()
    assert.equal((await waiting).op_ret, 0)
  })

  test('names lead nowhere but into the directory', async () => {
    const one = await member()
    const lookup = async (pargfid: Gfid, bname: string, gfid = NULL_GFID) =>
      (await one.call(FOP.LOOKUP, { gfid, pargfid, flags: 0, bname, xdata: undefined })).op_errno
    assert.equal(await lookup(ROOT_GFID, '..'), E.INVAL)
    assert.equal(await lookup(ROOT_GFID, '../secret'), E.PERM)
    assert.equal(await lookup(ROOT_GFID, `${directory}/secret`), E.PERM)
    assert.equal(await lookup(ROOT_GFID, 'a\0b'), E.INVAL)
    assert.equal(await lookup(ROOT_GFID, 'x'.repeat(256)), E.NAMETOOLONG)
    assert.equal(await lookup(ROOT_GFID, '.glusterfs'), E.PERM)
    assert.equal(await lookup(newGfid(), 'x'), E.STALE)
    assert.equal(await lookup(NULL_GFID, '', newGfid()), E.NOENT)
    assert.equal(await lookup(NULL_GFID, 'x'), E.INVAL)
    const up = await create(one, '../made', newGfid())
    assert.equal(up.op_errno, E.PERM)
  })

  test('2,000 damaged calls: answers or a closed connection, never the end', async () => {
    const before = fs.readdirSync(directory).sort()
    const seed = 4711
    const chance = seeded(seed)
    const random = (below: number): number => Math.floor(chance() * below)
    let answered = 0
    let at = await member()
    for (let round = 0; round < 2000; round++) {
      if (at.socket.destroyed) {
        answered += at.socket.bytesRead
        at = await member()
      }
      const gfid = random(2) === 0 ? ROOT_GFID : newGfid()
      const xdata = new Dict().setGfid('gfid-req', newGfid())
      const calls = [
        () => at.bytes(FOP.LOOKUP, { gfid, pargfid: ROOT_GFID, flags: 0, bname: 'f', xdata }),
        () => at.bytes(FOP.WRITE, { gfid, fd: -2, offset: 0, size: 8, flag: 0, xdata }),
        () => at.bytes(FOP.SETXATTR, { gfid, flags: 0, dict: xdata, xdata }),
        () => at.bytes(FOP.READ, { gfid, fd: 0, offset: 9, size: 99, flag: 0, xdata }),
        () =>
          at.bytes(FOP.RENAME, {
            oldgfid: gfid,
            newgfid: gfid,
            oldbname: 'f',
            newbname: 'g',
            xdata,
          }),
        () => at.bytes(HANDSHAKE.SETVOLUME, { dict: legacyDict({ x: 'y' }) }),
      ]
      const bytes = Buffer.from(calls[random(calls.length)]!())
      for (let i = random(4); i >= 0; i--) {
        // Mostly in the arguments: a damaged mark or header ends the connection.
        const from = random(20) === 0 ? 0 : HEADER_BYTES
        bytes[from + random(bytes.length - from)] = random(256)
      }
      await new Promise<void>((sent) => at.socket.write(bytes, () => sent()))
      if (round % 50 < 49 && !at.socket.destroyed) continue
      // What was sent is read before the end is.
      at.socket.end()
      if (!at.socket.destroyed) await once(at.socket, 'close')
    }
    assert.ok(answered > 20_000, `answers of ${answered} bytes, seed ${seed}`)
    const sane = await member()
    assert.equal((await sane.call(DUMP.PING, {})).op_ret, 0, `seed ${seed}`)
    assert.equal((await sane.call(FOP.STAT, { gfid: ROOT_GFID, xdata: undefined })).op_ret, 0)
    assert.deepEqual(fs.readdirSync(directory).sort(), before)
    assert.equal(fs.readFileSync(join(directory, 'secret'), 'utf8'), 'secret')
  })
})
