/** Graphs over simulated bricks, and a small bridge that uses one by paths as the FUSE side would. */
import { Dict } from '../../src/core/dict.ts'
import { E, type Errno, errnoName } from '../../src/core/errno.ts'
import { Fd } from '../../src/core/fd.ts'
import type { DirEntry, FopName, Ok, Rep, Req } from '../../src/core/fop.ts'
import { CallPool, type Creds, type Frame, ROOT_CREDS } from '../../src/core/frame.ts'
import { newGfid } from '../../src/core/gfid.ts'
import { Iatt, S_IFREG } from '../../src/core/iatt.ts'
import { type Inode, InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import type { Xlator, XlatorDefinition } from '../../src/core/xlator.ts'
import { buildGraph, type Graph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import simBrick, { SimBrick } from './sim-brick.ts'
import { fops, type SimStore } from './sim-store.ts'

const CREATE_FLAGS = 0o100 | 0o2

/** An error as a mount's user sees it. */
export class FopFailure extends Error {
  readonly errno: Errno
  constructor(fop: string, path: string, errno: Errno) {
    super(`${fop} ${path}: ${errnoName(errno)}`)
    this.errno = errno
  }
}

export interface SimGraphInput {
  /** Volfile text; its protocol/client volumes become simulated bricks. */
  volfile: string
  /** Definitions by type, besides protocol/client. */
  xlators: XlatorDefinition[]
  /** Stores by brick volume name, to share them between clients; others are made. */
  stores?: Map<string, SimStore>
  /** Tells clients apart on shared stores. */
  client?: string
}

export async function simGraph(input: SimGraphInput): Promise<SimMount> {
  const types = new Map(input.xlators.map((definition) => [definition.type, definition]))
  types.set('protocol/client', simBrick)
  const inodes = new InodeTable()
  const graph = await buildGraph({
    volfile: parseVolfile(input.volfile, 'test'),
    load: async (type) => types.get(type),
    id: 0,
    volfileId: 'sim',
    pool: new CallPool(),
    inodes,
    process: {
      uuid: '00000000-0000-4000-8000-000000000000',
      hostname: 'sim',
      processName: 'test',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
  const bricks = graph.xlators.filter((xl): xl is SimBrick & Xlator => xl instanceof SimBrick)
  for (const brick of bricks) {
    const store = input.stores?.get(brick.name)
    if (store !== undefined) brick.store = store
    if (input.client !== undefined) brick.client = input.client
  }
  return new SimMount(graph, bricks)
}

/** Volfile of a distribute volume `vol-dht` over `vol-client-0` … */
export function distributeVolfile(
  bricks: number,
  options: Record<string, string> = {},
  vol = 'vol',
): string {
  const names = Array.from({ length: bricks }, (_, i) => `${vol}-client-${i}`)
  const leaves = names.map(
    (name) =>
      `volume ${name}\n    type protocol/client\n    option remote-subvolume /b\nend-volume\n`,
  )
  const lines = Object.entries(options).map(([key, value]) => `    option ${key} ${value}\n`)
  return `${leaves.join('\n')}
volume ${vol}-dht
    type cluster/distribute
${lines.join('')}    subvolumes ${names.join(' ')}
end-volume
`
}

export class SimMount {
  readonly graph: Graph
  readonly bricks: (SimBrick & Xlator)[]
  creds: Creds = { ...ROOT_CREDS, pid: 1000 }
  /** Events the top translator sent up. */
  readonly events: string[] = []

  constructor(graph: Graph, bricks: (SimBrick & Xlator)[]) {
    this.graph = graph
    this.bricks = bricks
    const { events } = this
    const listener = { notify: (event: { type: string }) => events.push(event.type) }
    graph.top.parents.push(listener as unknown as Xlator)
  }

  get table(): InodeTable {
    return this.graph.inodes
  }

  /** Brings everything up and looks the root up, as a mount does. */
  async start(): Promise<this> {
    this.graph.start()
    const xdata = new Dict().setGfid('gfid-req', this.table.root.gfid)
    const rep = await this.fop('lookup', { loc: Loc.ofInode(this.table.root), xdata })
    if (rep.errno !== 0) throw new FopFailure('lookup', '/', rep.errno)
    return this
  }

  /** One fop from the top, as a request of its own. */
  async fop<K extends FopName>(fop: K, req: Req<K>, creds = this.creds): Promise<Rep<K>> {
    const { top, pool } = this.graph
    const frame: Frame = pool.begin(top, fop, creds)
    try {
      return await frame.wind(top, fop, req)
    } finally {
      frame.stack.end()
    }
  }

  /** Waits for background work that needs no timers. */
  async settle(): Promise<void> {
    for (let i = 0; i < 200 && this.graph.pool.count > 0; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      if (fops.underWay > 0) i = 0
    }
  }

  async #ok<K extends FopName>(fop: K, path: string, req: Req<K>): Promise<Ok<K>> {
    const rep = await this.fop(fop, req)
    if (rep.errno !== 0) throw new FopFailure(fop, path, rep.errno)
    return rep
  }

  async #parent(path: string): Promise<{ parent: Inode; name: string }> {
    const at = path.lastIndexOf('/')
    const parent = await this.inode(path.slice(0, at) || '/')
    return { parent, name: path.slice(at + 1) }
  }

  #gfidReq(): Dict {
    return new Dict().setGfid('gfid-req', newGfid())
  }

  /** Enters a name as the kernel knows it: it stays until forgotten. */
  #enter(inode: Inode, parent: Inode | undefined, name: string | undefined, stat: Iatt): void {
    const linked = this.table.link(inode, parent, name, stat)
    if (linked !== undefined) this.table.countLookup(linked)
  }

  /**
   * lookup of every component; the last reply. Known names are revalidated, stale ones retried. When
   * a directory on the way is gone they are all looked up again, as the kernel does.
   */
  async lookup(path: string): Promise<Ok<'lookup'>> {
    try {
      return await this.#lookup(path)
    } catch (error) {
      const isStale = error instanceof FopFailure && error.errno === E.STALE
      if (!isStale || !this.#forgetDirectories(path)) throw error
      return this.#lookup(path)
    }
  }

  /** False: none of them was known. */
  #forgetDirectories(path: string): boolean {
    const known: [Inode, string][] = []
    let dir: Inode | undefined = this.table.root
    for (const name of path.split('/').slice(1, -1)) {
      known.push([dir, name])
      dir = this.table.child(dir, name)
      if (dir === undefined) return false
    }
    for (const [parent, name] of known) this.table.unlinkName(parent, name)
    return known.length > 0
  }

  async #lookup(path: string): Promise<Ok<'lookup'>> {
    if (path === '/') return this.#ok('lookup', path, { loc: Loc.ofInode(this.table.root) })
    const { parent, name } = await this.#parent(path)
    const known = this.table.child(parent, name)
    if (known !== undefined) {
      const rep = await this.fop('lookup', { loc: Loc.ofName(parent, name, known) })
      if (rep.errno === 0) return rep
      this.table.unlinkName(parent, name)
    }
    const inode = this.table.newInode()
    const req = { loc: Loc.ofName(parent, name, inode), xdata: this.#gfidReq() }
    const rep = await this.#ok('lookup', path, req)
    this.#enter(inode, parent, name, rep.stat)
    return rep
  }

  async inode(path: string): Promise<Inode> {
    if (path === '/') return this.table.root
    const { parent, name } = await this.#parent(path)
    const known = this.table.child(parent, name)
    if (known !== undefined) return known
    await this.lookup(path)
    return this.table.child(parent, name)!
  }

  async loc(path: string): Promise<Loc> {
    if (path === '/') return Loc.ofInode(this.table.root)
    const { parent, name } = await this.#parent(path)
    return Loc.ofName(parent, name, await this.inode(path))
  }

  async #newLoc(path: string): Promise<Loc> {
    const { parent, name } = await this.#parent(path)
    return Loc.ofName(parent, name, this.table.newInode())
  }

  async stat(path: string): Promise<Iatt> {
    return (await this.#ok('stat', path, { loc: Loc.ofInode(await this.inode(path)) })).stat
  }

  async mkdir(path: string, mode = 0o755): Promise<Iatt> {
    const loc = await this.#newLoc(path)
    const rep = await this.#ok('mkdir', path, { loc, mode, umask: 0, xdata: this.#gfidReq() })
    this.#enter(loc.inode, loc.parent, loc.name, rep.stat)
    return rep.stat
  }

  async create(path: string, mode = 0o644, flags = CREATE_FLAGS): Promise<Fd> {
    const loc = await this.#newLoc(path)
    const fd = new Fd(loc.inode, flags, this.creds.pid)
    const made = { loc, flags, mode: S_IFREG | mode, umask: 0, fd }
    const rep = await this.#ok('create', path, { ...made, xdata: this.#gfidReq() })
    this.#enter(loc.inode, loc.parent, loc.name!.replace(/@[^@]*:[^:]*$/, ''), rep.stat)
    return fd.bind()
  }

  async writeFile(path: string, text: string): Promise<void> {
    const fd = await this.create(path)
    await this.write(fd, 0, text)
    fd.release()
  }

  async write(fd: Fd, offset: number, text: string): Promise<Ok<'writev'>> {
    const data = Buffer.from(text, 'latin1')
    return this.#ok('writev', 'fd', { fd, data: [data], size: data.length, offset, flags: 0 })
  }

  async read(fd: Fd, offset = 0, size = 65536): Promise<string> {
    const rep = await this.#ok('readv', 'fd', { fd, offset, size, flags: 0 })
    return Buffer.concat(rep.data).latin1Slice()
  }

  async open(path: string, flags = 2): Promise<Fd> {
    const loc = await this.loc(path)
    const fd = new Fd(loc.inode, flags, this.creds.pid)
    await this.#ok('open', path, { loc, fd, flags })
    return fd.bind()
  }

  async readFile(path: string): Promise<string> {
    const fd = await this.open(path, 0)
    const text = await this.read(fd)
    fd.release()
    return text
  }

  async symlink(target: string, path: string): Promise<void> {
    const loc = await this.#newLoc(path)
    const req = { loc, linkpath: target, umask: 0, xdata: this.#gfidReq() }
    const rep = await this.#ok('symlink', path, req)
    this.#enter(loc.inode, loc.parent, loc.name, rep.stat)
  }

  async link(path: string, newPath: string): Promise<Iatt> {
    const oldloc = await this.loc(path)
    const { parent, name } = await this.#parent(newPath)
    const newloc = Loc.ofName(parent, name, oldloc.inode)
    const rep = await this.#ok('link', newPath, { oldloc, newloc })
    this.#enter(oldloc.inode, parent, name, rep.stat)
    return rep.stat
  }

  async unlink(path: string): Promise<void> {
    const loc = await this.loc(path)
    await this.#ok('unlink', path, { loc, flags: 0 })
    this.table.unlinkName(loc.parent!, loc.name!)
  }

  async rmdir(path: string): Promise<void> {
    const loc = await this.loc(path)
    await this.#ok('rmdir', path, { loc, flags: 0 })
    this.table.unlinkName(loc.parent!, loc.name!)
  }

  async rename(from: string, to: string): Promise<Iatt> {
    const oldloc = await this.loc(from)
    const exists = await this.exists(to)
    const newloc = exists ? await this.loc(to) : await this.#newLoc(to)
    const rep = await this.#ok('rename', `${from} ${to}`, { oldloc, newloc })
    this.table.rename(oldloc.parent!, oldloc.name!, newloc.parent!, newloc.name!, oldloc.inode)
    return rep.stat
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.lookup(path)
      return true
    } catch (error) {
      if (error instanceof FopFailure && error.errno === E.NOENT) return false
      throw error
    }
  }

  async setattr(path: string, change: Partial<Iatt>, valid: number): Promise<Iatt> {
    const stat = Object.assign(new Iatt(), change)
    const loc = await this.loc(path)
    return (await this.#ok('setattr', path, { loc, stat, valid })).poststat
  }

  async setxattr(path: string, key: string, value: string): Promise<void> {
    const dict = new Dict().setBytes(key, Buffer.from(value, 'latin1'))
    await this.#ok('setxattr', path, { loc: await this.loc(path), dict, flags: 0 })
  }

  async getxattr(path: string, name?: string): Promise<Dict> {
    return (await this.#ok('getxattr', path, { loc: await this.loc(path), name })).dict
  }

  /** Every entry, read in batches of about `size` bytes. */
  async readdir(path: string, size = 4096, fop: 'readdir' | 'readdirp' = 'readdirp') {
    const loc = await this.loc(path)
    const fd = new Fd(loc.inode, 0, this.creds.pid)
    await this.#ok('opendir', path, { loc, fd })
    const entries: DirEntry[] = []
    let off = 0n
    for (;;) {
      const rep: Ok<'readdirp'> = await this.#ok(fop, path, { fd, size, off })
      entries.push(...rep.entries)
      if (rep.eof || rep.entries.length === 0) break
      off = rep.entries.at(-1)!.off
    }
    fd.release()
    return entries
  }
}
