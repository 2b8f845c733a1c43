/**
 * What the mount does with a graph, as far as tests of translators need it: resolves names, links
 * inodes, opens and releases fds. Names are in the root directory.
 */
import { Dict } from '../../src/core/dict.ts'
import { Fd } from '../../src/core/fd.ts'
import type { DirEntry, Rep } from '../../src/core/fop.ts'
import { newGfid } from '../../src/core/gfid.ts'
import type { Iatt } from '../../src/core/iatt.ts'
import type { Inode } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import type { Bench } from './scripted.ts'

export class MiniMount {
  readonly bench: Bench

  constructor(bench: Bench) {
    this.bench = bench
  }

  get #table() {
    return this.bench.graph.inodes
  }

  loc(name: string): Loc {
    const root = this.#table.root
    return Loc.ofName(root, name, this.#table.child(root, name) ?? this.#table.newInode())
  }

  async lookup(name: string): Promise<Rep<'lookup'>> {
    const loc = this.loc(name)
    const rep = await this.bench.run('lookup', { loc })
    if (rep.errno === 0) this.#link(loc, rep.stat)
    else this.#table.unlinkName(this.#table.root, name)
    return rep
  }

  #link(loc: Loc, stat: Iatt): Inode {
    const inode = this.#table.link(loc.inode, loc.parent, loc.name, stat)
    if (inode === undefined) throw new Error('an inode changed its type')
    this.#table.countLookup(inode)
    return inode
  }

  /** The fd, or the errno. */
  async create(name: string, flags = 0o102): Promise<Fd | number> {
    const loc = this.loc(name)
    const fd = new Fd(loc.inode, flags, 1)
    const xdata = new Dict().setGfid('gfid-req', newGfid())
    const req = { loc, flags, mode: 0o100644, umask: 0, fd, xdata }
    const rep = await this.bench.run('create', req)
    if (rep.errno !== 0) return rep.errno
    this.#link(loc, rep.stat)
    return fd.bind()
  }

  async open(name: string, flags = 2): Promise<Fd | number> {
    const found = await this.lookup(name)
    if (found.errno !== 0) return found.errno
    const loc = this.loc(name)
    const fd = new Fd(loc.inode, flags, 1)
    const rep = await this.bench.run('open', { loc, fd, flags })
    return rep.errno !== 0 ? rep.errno : fd.bind()
  }

  async read(fd: Fd, offset: number, size: number): Promise<Buffer | number> {
    const rep = await this.bench.run('readv', { fd, offset, size, flags: fd.flags })
    return rep.errno !== 0 ? rep.errno : Buffer.concat(rep.data)
  }

  async write(fd: Fd, offset: number, data: Buffer): Promise<number> {
    const req = { fd, offset, data: [data], size: data.length, flags: fd.flags }
    return (await this.bench.run('writev', req)).errno
  }

  async close(fd: Fd): Promise<number> {
    const rep = await this.bench.run('flush', { fd })
    fd.release()
    return rep.errno
  }

  async unlink(name: string): Promise<number> {
    const rep = await this.bench.run('unlink', { loc: this.loc(name), flags: 0 })
    if (rep.errno === 0) this.#table.unlinkName(this.#table.root, name)
    return rep.errno
  }

  async rename(from: string, to: string): Promise<number> {
    const [oldloc, newloc] = [this.loc(from), this.loc(to)]
    const rep = await this.bench.run('rename', { oldloc, newloc })
    const root = this.#table.root
    if (rep.errno === 0) this.#table.rename(root, from, root, to, oldloc.inode)
    return rep.errno
  }

  /** All entries, in requests of `size` bytes. */
  async list(size: number): Promise<DirEntry[]> {
    const root = this.#table.root
    const fd = new Fd(root, 0, 1)
    const opened = await this.bench.run('opendir', { loc: Loc.ofInode(root), fd })
    if (opened.errno !== 0) throw new Error(`opendir: ${opened.errno}`)
    fd.bind()
    const all: DirEntry[] = []
    for (let off = 0n; ; ) {
      const rep = await this.bench.run('readdirp', { fd, size, off })
      if (rep.errno !== 0) throw new Error(`readdirp: ${rep.errno}`)
      if (rep.entries.length === 0) break
      all.push(...rep.entries)
      off = rep.entries.at(-1)!.off
    }
    fd.release()
    return all.filter((entry) => entry.name !== '.' && entry.name !== '..')
  }
}
