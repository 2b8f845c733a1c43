/** A brick's translators on a temporary directory, driven as protocol/server drives them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '../../src/core/client.ts'
import { Dict } from '../../src/core/dict.ts'
import type { Upcall } from '../../src/core/event.ts'
import { Fd } from '../../src/core/fd.ts'
import type { FopName, MaybePromise, Ok, Rep, Req } from '../../src/core/fop.ts'
import { CallPool, type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { type Gfid, newGfid, parseGfid } from '../../src/core/gfid.ts'
import type { Iatt } from '../../src/core/iatt.ts'
import { type Inode, InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { setXattr } from '../../src/sys/xattr.ts'
import { registry } from '../../xlators/registry.ts'
import { testProcess } from './scripted.ts'

const O_RDWR = 2

/** Why bricks cannot be tested here, or false. trusted.* needs root and a real file system. */
export function brickSkip(base = tmpdir()): string | false {
  const dir = mkdtempSync(join(base, 'glusterfs-ts-probe-'))
  try {
    const rc = setXattr(dir, 'trusted.glusterfs-ts.probe', Buffer.from('1'), 0)
    if (rc >= 0) return false
    return rc === -1 ? 'needs root (trusted.* xattrs)' : `${base} takes no trusted.* xattrs`
  } finally {
    rmSync(dir, { recursive: true })
  }
}

export class TestClient implements Client {
  readonly uid: string
  readonly upcalls: Upcall[] = []

  constructor(uid: string) {
    this.uid = uid
  }

  upcall(upcall: Upcall): void {
    this.upcalls.push(upcall)
  }
}

/** One layer above storage/posix: type and options. */
export type Layer = readonly [type: string, options?: Readonly<Record<string, string>>]

export class BrickBench {
  readonly path: string
  readonly graph: Graph
  creds: Creds = ROOT_CREDS

  constructor(path: string, graph: Graph) {
    this.path = path
    this.graph = graph
  }

  static async make(
    layers: readonly Layer[] = [],
    options: Readonly<Record<string, string>> = {},
    path = mkdtempSync(join(tmpdir(), 'glusterfs-ts-brick-')),
  ): Promise<BrickBench> {
    const volumes = [['storage/posix', { directory: path, reserve: '0', ...options }] as Layer]
    volumes.push(...layers)
    const text = volumes.map(([type, given], index) => {
      const lines = Object.entries(given ?? {}).map(([key, value]) => `option ${key} ${value}\n`)
      const below = index === 0 ? '' : `subvolumes v${index - 1}\n`
      return `volume v${index}\ntype ${type}\n${lines.join('')}${below}end-volume\n`
    })
    const graph = await buildGraph({
      volfile: parseVolfile(text.join(''), 'test'),
      load: async (type) => (await registry[type]?.())?.default,
      id: 0,
      volfileId: 'test',
      pool: new CallPool(),
      inodes: new InodeTable(),
      process: testProcess,
    })
    graph.start()
    return new BrickBench(path, graph)
  }

  /** Stops the brick; its directory stays. */
  stop(): void {
    void this.graph.stop()
  }

  destroy(): void {
    this.stop()
    rmSync(this.path, { recursive: true, force: true })
  }

  get root(): Inode {
    return this.graph.inodes.root
  }

  find(type: string): Xlator {
    const xl = this.graph.xlators.find((one) => one.type === type)
    assert.ok(xl !== undefined)
    return xl
  }

  run<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): MaybePromise<Rep<K>> {
    const frame = this.graph.pool.begin(this.graph.top, fop, creds)
    const rep = frame.wind(this.graph.top, fop, req)
    if (rep instanceof Promise) return rep.finally(() => frame.stack.end())
    frame.stack.end()
    return rep
  }

  async ok<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): Promise<Ok<K>> {
    const rep = await this.run(fop, req, creds)
    assert.equal(rep.errno, 0, `${fop} failed with errno ${rep.errno}`)
    return rep as Ok<K>
  }

  async errno<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): Promise<number> {
    return (await this.run(fop, req, creds)).errno
  }

  /** A loc for a name that may or may not be known. */
  at(parent: Inode, name: string): Loc {
    const known = this.graph.inodes.child(parent, name)
    return Loc.ofName(parent, name, known ?? this.graph.inodes.newInode())
  }

  /** A loc for a name about to be made. */
  fresh(parent: Inode, name: string): Loc {
    return Loc.ofName(parent, name, this.graph.inodes.newInode())
  }

  link(parent: Inode | undefined, name: string | undefined, stat: Iatt): Inode {
    const inode = this.graph.inodes.link(this.graph.inodes.newInode(), parent, name, stat)
    assert.ok(inode !== undefined)
    this.graph.inodes.ref(inode)
    return inode
  }

  async lookup(parent: Inode, name: string, xdata?: Dict): Promise<Ok<'lookup'>> {
    return this.ok('lookup', { loc: this.fresh(parent, name), xdata })
  }

  async mkdir(parent: Inode, name: string, gfid = newGfid(), more?: Partial<Req<'mkdir'>>) {
    const rep = await this.ok('mkdir', {
      loc: this.fresh(parent, name),
      mode: 0o755,
      umask: 0,
      xdata: gfidReq(gfid),
      ...more,
    })
    return this.link(parent, name, rep.stat)
  }

  /** A regular file, closed. */
  async mknod(parent: Inode, name: string, gfid = newGfid(), more?: Partial<Req<'mknod'>>) {
    const rep = await this.ok('mknod', {
      loc: this.fresh(parent, name),
      mode: 0o100644,
      rdev: 0,
      umask: 0,
      xdata: gfidReq(gfid),
      ...more,
    })
    return this.link(parent, name, rep.stat)
  }

  async create(parent: Inode, name: string, flags = O_RDWR, gfid = newGfid()): Promise<Fd> {
    const loc = this.fresh(parent, name)
    loc.inode.gfid = gfid
    const fd = new Fd(loc.inode, flags, 1)
    const req = { loc, fd, flags, mode: 0o644, umask: 0, xdata: gfidReq(gfid) }
    const rep = await this.ok('create', req)
    const inode = this.graph.inodes.link(loc.inode, parent, name, rep.stat)
    assert.ok(inode !== undefined)
    this.graph.inodes.ref(inode)
    if (inode === loc.inode) return fd.bind()
    fd.release()
    return this.open(inode, flags)
  }

  async open(inode: Inode, flags = O_RDWR, creds = this.creds): Promise<Fd> {
    const fd = new Fd(inode, flags, 1)
    await this.ok('open', { loc: Loc.ofInode(inode), fd, flags }, creds)
    return fd.bind()
  }

  async opendir(inode: Inode): Promise<Fd> {
    const fd = new Fd(inode, 0, 1)
    await this.ok('opendir', { loc: Loc.ofInode(inode), fd })
    return fd.bind()
  }

  async write(fd: Fd, text: string | Buffer, offset = 0, xdata?: Dict): Promise<Ok<'writev'>> {
    const bytes = Buffer.from(text)
    return this.ok('writev', { fd, data: [bytes], size: bytes.length, offset, flags: 0, xdata })
  }

  async read(fd: Fd, size = 65536, offset = 0): Promise<string> {
    const rep = await this.ok('readv', { fd, size, offset, flags: 0 })
    return Buffer.concat(rep.data).toString('latin1')
  }
}

export const gfidReq = (gfid: Gfid): Dict => new Dict().setGfid('gfid-req', gfid)

/** Of canonical text. */
export function gfid(text: string): Gfid {
  const parsed = parseGfid(text)
  assert.ok(parsed !== undefined)
  return parsed
}
