/** A graph of one protocol/client, with the test above it: fops go straight to a real brick. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Dict } from '../../src/core/dict.ts'
import type { Event, Upcall } from '../../src/core/event.ts'
import { Fd } from '../../src/core/fd.ts'
import type { FopName, MaybePromise, Ok, Rep, Req } from '../../src/core/fop.ts'
import { CallPool, ROOT_CREDS } from '../../src/core/frame.ts'
import { newGfid } from '../../src/core/gfid.ts'
import { isDir } from '../../src/core/iatt.ts'
import { type Inode, InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { ManagementConnection } from '../../src/rpc/volfile-server.ts'
import { registry } from '../../xlators/registry.ts'
import { sleep } from './sandbox.ts'

export const gfidReq = (): Dict => new Dict().setGfid('gfid-req', newGfid())

export interface ConnectOptions {
  /** Number of the graph: part of the identity on the brick. */
  graphId?: number
  /** Options beside those of the volfile. */
  options?: Record<string, string>
  subdirMount?: string
  /** The first event waited for; child-up unless told. */
  until?: Event['type']
}

export class Brick {
  readonly graph: Graph
  readonly client: Xlator
  readonly events: Event[] = []

  constructor(graph: Graph) {
    this.graph = graph
    this.client = graph.top
    const above = { notify: (event: Event) => this.events.push(event) }
    this.client.parents.push(above as unknown as Xlator)
  }

  static async connect(volume: string, given: ConnectOptions = {}): Promise<Brick> {
    const management = new ManagementConnection({
      servers: [{ transport: 'tcp', host: 'node01', port: 24007 }],
      volfileId: volume,
    })
    const { text, source } = await management.start()
    management.close()
    const first = parseVolfile(text, source).volumes[0]!
    for (const [key, value] of Object.entries(given.options ?? {})) first.options.set(key, value)
    const brick = new Brick(
      await buildGraph({
        volfile: { source, volumes: [first] },
        load: async (type) => (await registry[type]?.())?.default,
        id: given.graphId ?? 0,
        volfileId: volume,
        pool: new CallPool(),
        inodes: new InodeTable(),
        process: {
          uuid: randomUUID(),
          hostname: 'node01',
          processName: 'fuse',
          subdirMount: given.subdirMount,
          secureMgmt: false,
        },
      }),
    )
    brick.graph.start()
    await brick.event(given.until ?? 'child-up')
    return brick
  }

  get root(): Inode {
    return this.graph.inodes.root
  }

  /** The first event of `type`, waited for; events up to it are forgotten. */
  async event<T extends Event['type']>(type: T, ms = 10_000): Promise<Event & { type: T }> {
    for (let waited = 0; waited < ms; waited += 10) {
      const at = this.events.findIndex((event) => event.type === type)
      if (at >= 0) return this.events.splice(0, at + 1).at(-1) as Event & { type: T }
      await sleep(10)
    }
    throw new Error(`no ${type} within ${ms} ms`)
  }

  async upcall<T extends Upcall['type']>(type: T): Promise<Upcall & { type: T }> {
    for (;;) {
      const { upcall } = await this.event('upcall')
      if (upcall.type === type) return upcall as Upcall & { type: T }
    }
  }

  call<K extends FopName>(fop: K, req: Req<K>, creds = ROOT_CREDS): MaybePromise<Rep<K>> {
    const frame = this.graph.pool.begin(this.client, 'test', creds)
    return frame.wind(this.client, fop, req)
  }

  /** The reply of a fop that must succeed. */
  async ok<K extends FopName>(fop: K, req: Req<K>, creds = ROOT_CREDS): Promise<Ok<K>> {
    const rep = await this.call(fop, req, creds)
    assert.equal(rep.errno, 0, fop)
    return rep as Ok<K>
  }

  async fails<K extends FopName>(errno: number, fop: K, req: Req<K>, creds = ROOT_CREDS) {
    assert.equal((await this.call(fop, req, creds)).errno, errno, fop)
  }

  async create(name: string, flags = 0o2): Promise<Fd> {
    const inode = this.graph.inodes.newInode()
    const fd = new Fd(inode, flags, 1)
    const rep = await this.ok('create', {
      loc: Loc.ofName(this.root, name, inode),
      flags: flags | 0o100,
      mode: 0o100644,
      umask: 0,
      fd,
      xdata: gfidReq(),
    })
    this.graph.inodes.link(inode, this.root, name, rep.stat)
    return fd.bind()
  }

  async mkdir(name: string): Promise<Inode> {
    const inode = this.graph.inodes.newInode()
    const loc = Loc.ofName(this.root, name, inode)
    const { stat } = await this.ok('mkdir', { loc, mode: 0o40755, umask: 0, xdata: gfidReq() })
    assert.ok(isDir(stat))
    return this.graph.inodes.link(inode, this.root, name, stat)!
  }

  write(fd: Fd, text: string, offset = 0): MaybePromise<Rep<'writev'>> {
    const data = Buffer.from(text)
    return this.call('writev', { fd, data: [data], size: data.length, offset, flags: 2 })
  }

  async read(fd: Fd, size = 4096, offset = 0): Promise<string> {
    const rep = await this.ok('readv', { fd, size, offset, flags: 2 })
    return Buffer.concat(rep.data).toString()
  }
}
