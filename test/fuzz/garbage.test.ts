/**
 * Garbage from peers and from volfiles: every fop is answered with a reply or an errno, every
 * volfile gives a graph or a GlusterError; nothing throws, hangs or grows.
 *
 * FUZZ_SEED=n repeats a run; the seed is printed when something fails.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { type Clock, clock, setClock, type Timer } from '../../src/core/clock.ts'
import { Dict } from '../../src/core/dict.ts'
import { GlusterError } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { Fd } from '../../src/core/fd.ts'
import type { FopName, MaybePromise, Rep, Req } from '../../src/core/fop.ts'
import { CallPool, ROOT_CREDS } from '../../src/core/frame.ts'
import { newGfid } from '../../src/core/gfid.ts'
import { S_IFDIR, S_IFREG } from '../../src/core/iatt.ts'
import { InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { legacyDict } from '../../src/xdr/dict.ts'
import { registry } from '../../xlators/registry.ts'
import { sleep } from '../lib/sandbox.ts'
import { type Received, reply, ScriptedPeer } from '../lib/scripted-peer.ts'
import { seeded } from '../lib/seeded.ts'
import { goldenRecords } from '../wire/vectors.ts'

const SEED = Number(process.env.FUZZ_SEED ?? 20_261_122)
const FOP_CASES = 6000
const VOLFILE_CASES = 4000
/** How much memory the whole run may add. */
const GROWTH_BYTES_MAX = 200 * 2 ** 20

/** Time runs a hundred times faster, so that back-off and timeouts do not make the test wait. */
class FastClock implements Clock {
  readonly #base = clock
  now = (): number => this.#base.now() * 100
  realtime = (): { sec: number; nsec: number } => this.#base.realtime()
  after = (delayMs: number, fn: () => void, unref?: boolean): Timer =>
    this.#base.after(delayMs / 100, fn, unref)
  nextDeadline = (): number => this.#base.nextDeadline() * 100
  random = (): number => 0.5
}

const random = seeded(SEED)
const pick = (below: number): number => Math.floor(random() * below)
const oneOf = <T>(items: readonly T[]): T => items[pick(items.length)]!

/** Golden replies by procedure name, whole records. */
function goldenReplies(): Map<string, Buffer[]> {
  const replies = new Map<string, Buffer[]>()
  for (const { name, direction, hex } of goldenRecords()) {
    if (direction !== 'reply' || !name.startsWith('fop-')) continue
    const procedure = name.slice(4, name.indexOf('/')).replaceAll('-', '_').toUpperCase()
    replies.set(procedure, [...(replies.get(procedure) ?? []), Buffer.from(hex, 'hex')])
  }
  return replies
}

const NASTY = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 65537, 0x01000000]

function mutate(record: Buffer): Buffer {
  const out = Buffer.from(record)
  for (let changes = 1 + pick(4); changes > 0; changes--) {
    const at = 8 + pick(Math.max(1, out.length - 12))
    if (random() < 0.5) out[at] = pick(256)
    else if (at + 4 <= out.length) out.writeUInt32BE(oneOf(NASTY), at & ~3)
  }
  return out
}

/** What a broken brick sends instead of, or as, the answer to `call`. */
function garble(call: Received, golden: readonly Buffer[]): void {
  const { socket } = call
  const record = Buffer.from(oneOf(golden))
  record.writeUInt32BE(call.xid, 4)
  const kind = random()
  if (kind < 0.4) socket.write(record)
  else if (kind < 0.9) socket.write(mutate(record))
  else if (kind < 0.92) endAfter(socket, record.subarray(0, pick(record.length)))
  else if (kind < 0.94) {
    record.writeUInt32BE(oneOf(NASTY), 0)
    endAfter(socket, record)
  } else if (kind < 0.96) {
    record.writeUInt32BE((call.xid + 1 + pick(1000)) >>> 0, 4)
    endAfter(socket, record)
  } else if (kind < 0.98) {
    endAfter(socket, Buffer.from(Array.from({ length: pick(300) }, () => pick(256))))
  } else socket.destroy()
}

/** The rest of what a bad length promised never comes. */
function endAfter(socket: Socket, bytes: Buffer): void {
  socket.write(bytes)
  socket.end()
}

const DUMPED = {
  gfs_id: 0,
  op_ret: 0,
  op_errno: 0,
  prog: [{ progname: 'GlusterFS 4.x v1', prognum: 1298437, progver: 400 }],
}

const realClock = clock
const peers: ScriptedPeer[] = []
const events: Event[] = []
/** Released after each batch, so that a reconnect has little to open again. */
const opened: Fd[] = []
let graph: Graph

before(async () => {
  setClock(new FastClock())
  const replies = goldenReplies()
  for (let i = 0; i < 2; i++) {
    peers.push(
      await ScriptedPeer.listen((call) => {
        const { name } = call.procedure
        if (name === 'DUMP') reply(call, DUMPED)
        else if (name === 'SETVOLUME') {
          reply(call, { op_ret: 0, op_errno: 0, dict: legacyDict({ ERROR: 'Success' }) })
        } else garble(call, replies.get(name) ?? replies.get('ACCESS')!)
      }),
    )
  }
  graph = await build(
    peers
      .map(
        (peer, i) =>
          `volume c${i}\ntype protocol/client\noption remote-host 127.0.0.1\n` +
          `option remote-port ${peer.port}\noption remote-subvolume /b${i}\nend-volume\n`,
      )
      .join('') +
      'volume d\ntype cluster/distribute\nsubvolumes c0 c1\nend-volume\n' +
      'volume u\ntype features/utime\nsubvolumes d\nend-volume\n',
  )
  graph.top.parents.push({ notify: (event: Event) => events.push(event) } as unknown as Xlator)
  graph.start()
})

after(async () => {
  await graph.stop()
  for (const peer of peers) await peer.close()
  setClock(realClock)
})

function build(text: string): Promise<Graph> {
  return buildGraph({
    volfile: parseVolfile(text, 'fuzz'),
    load: async (type) => (await registry[type]?.())?.default,
    id: 0,
    volfileId: 'fuzz',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: {
      uuid: 'fuzz',
      hostname: 'here',
      processName: 'fuse',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
}

function wind<K extends FopName>(fop: K, req: Req<K>): MaybePromise<Rep<K>> {
  const frame = graph.pool.begin(graph.top, fop, ROOT_CREDS)
  const rep = frame.wind(graph.top, fop, req)
  if (!(rep instanceof Promise)) {
    frame.stack.end()
    return rep
  }
  return rep.finally(() => frame.stack.end())
}

/** One random fop on objects that never existed. */
function anyFop(): MaybePromise<{ errno: number }> {
  const { root } = graph.inodes
  const inode = graph.inodes.newInode()
  const name = `n${pick(50)}`
  const loc = Loc.ofName(root, name, inode)
  const file = graph.inodes.findOrNew(newGfid(), S_IFREG)
  const dir = graph.inodes.findOrNew(newGfid(), S_IFDIR)
  const fd = new Fd(oneOf([file, dir]), 2, 1)
  const rootFd = new Fd(root, 0, 1)
  const xdata = new Dict().setGfid('gfid-req', newGfid())
  opened.push(fd, rootFd)
  const known = Loc.ofInode(oneOf([file, dir, root]))
  const readdir = { fd: rootFd, size: 4096, off: 0n }
  const fops: (() => MaybePromise<{ errno: number }>)[] = [
    () => wind('lookup', { loc }),
    () => wind('lookup', { loc: Loc.ofInode(root) }),
    () => wind('lookup', { loc: Loc.ofGfid(graph.inodes, newGfid()) }),
    () => wind('stat', { loc: known }),
    () => wind('mkdir', { loc, mode: 0o755, umask: 0, xdata }),
    () => wind('mknod', { loc, mode: S_IFREG | 0o644, rdev: 0, umask: 0, xdata }),
    () => wind('create', { loc, flags: 2, mode: 0o644, umask: 0, fd, xdata }),
    () => wind('symlink', { loc, linkpath: 'x', umask: 0, xdata }),
    () => wind('unlink', { loc, flags: 0 }),
    () => wind('rmdir', { loc, flags: 0 }),
    () => wind('rename', { oldloc: Loc.ofName(root, 'a', file), newloc: loc }),
    () => wind('link', { oldloc: Loc.ofInode(file), newloc: loc }),
    () => wind('open', { loc: Loc.ofInode(file), fd, flags: 2 }),
    () => wind('opendir', { loc: Loc.ofInode(root), fd: rootFd }),
    () => wind('readdir', readdir),
    () => wind('readdirp', readdir),
    () => wind('readv', { fd, size: oneOf([100, 131072]), offset: pick(100), flags: 0 }),
    () => wind('writev', { fd, data: [Buffer.alloc(100)], size: 100, offset: 0, flags: 0 }),
    () => wind('fsync', { fd, datasync: false }),
    () => wind('statfs', { loc: Loc.ofInode(root) }),
    () => wind('getxattr', { loc: known, name: oneOf([undefined, 'user.x']) }),
    () => wind('setxattr', { loc: known, dict: new Dict().setStr('user.x', 'y'), flags: 0 }),
    () => wind('readlink', { loc: known, size: 4096 }),
    () => wind('seek', { fd, offset: 0, what: 0 }),
  ]
  return oneOf(fops)()
}

/** As the state dump tells it. */
function connected(xl: Xlator): boolean {
  let up = false
  xl.dump?.({
    section: () => {},
    pair: (key, value) => {
      if (key === 'connected') up = value === 1
    },
  })
  return up
}

/** Dropped connections come back by themselves; without them a fop would meet no garbage. */
async function bothUp(): Promise<void> {
  const clients = graph.xlators.filter((xl) => xl.type === 'protocol/client')
  for (let waitedMs = 0; !clients.every(connected); waitedMs++) {
    assert.ok(waitedMs < 30_000, `seed ${SEED}: the bricks do not come back`)
    await sleep(1)
  }
}

async function bounded<T>(promise: MaybePromise<T>, what: string): Promise<T> {
  let timer: Timer | undefined
  const late = new Promise<never>((_, reject) => {
    timer = realClock.after(30_000, () => reject(new Error(`${what}: no answer in 30 s`)))
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    timer?.clear()
  }
}

test(`${FOP_CASES} fops against bricks that answer garbage (seed ${SEED})`, async () => {
  const base = process.memoryUsage().rss
  for (let at = 0; at < FOP_CASES; at += 16) {
    await bothUp()
    const batch = Array.from({ length: 16 }, () => anyFop())
    const replies = await bounded(Promise.all(batch), `batch at ${at}, seed ${SEED}`)
    for (const fd of opened.splice(0)) fd.release()
    for (const rep of replies) {
      assert.ok(Number.isInteger(rep.errno) && rep.errno >= 0 && rep.errno < 4096, `${rep.errno}`)
    }
  }
  const answered = peers.reduce((sum, peer) => sum + peer.calls.length, 0)
  assert.ok(answered > FOP_CASES, `only ${answered} calls reached the bricks`)
  const grown = process.memoryUsage().rss - base
  assert.ok(grown < GROWTH_BYTES_MAX, `memory grew by ${grown >> 20} MiB`)
})

const volfiles = readdirSync('volfiles')
  .filter((name) => name.endsWith('.vol'))
  .map((name) => readFileSync(`volfiles/${name}`, 'latin1'))

/** A real volfile with lines, words or bytes changed; now and then nothing but noise. */
function anyVolfile(): string {
  if (random() < 0.1) return String.fromCharCode(...Array.from({ length: 400 }, () => pick(256)))
  const lines = oneOf(volfiles).split('\n')
  for (let changes = 1 + pick(4); changes > 0; changes--) {
    const at = pick(lines.length)
    const line = lines[at] ?? ''
    const kind = pick(6)
    if (kind === 0) lines.splice(at, 1)
    else if (kind === 1) lines.splice(at, 0, oneOf(lines))
    else if (kind === 2)
      lines[at] = line.replace(/\S+$/, oneOf(['""', '-1', '99999999999999', '#']))
    else if (kind === 3) lines[at] = line.slice(0, pick(line.length + 1))
    else if (kind === 4) lines[at] = line.replace(/\S+/, oneOf(['volume', 'option', 'type', '`']))
    else lines[at] = `${line}${String.fromCharCode(pick(256))}`
  }
  return lines.join('\n')
}

test(`${VOLFILE_CASES} damaged volfiles (seed ${SEED})`, async () => {
  let built = 0
  let refused = 0
  for (let at = 0; at < VOLFILE_CASES; at++) {
    const text = anyVolfile()
    try {
      const graphOfIt = await build(text)
      await graphOfIt.stop()
      built++
    } catch (error) {
      assert.ok(error instanceof GlusterError, `seed ${SEED}, case ${at}: ${error}\n${text}`)
      assert.match(error.message, /\S{3}/)
      refused++
    }
  }
  assert.ok(built > 0 && refused > 0, `${built} built, ${refused} refused`)
})
