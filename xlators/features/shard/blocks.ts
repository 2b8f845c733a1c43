/**
 * Blocks of sharded files beyond the first: `/.shard/<gfid>.N`, files like any other for what is
 * below. Those used last are kept, up to shard-lru-limit; one that was written to is synced before
 * it leaves, because an fsync of its file would not find it any more.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, newGfid } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { ShardFile } from './file.ts'
import { INTERNAL_KEY, REMOVE_DIR, REMOVE_GFID, SHARD_DIR, SHARD_GFID } from './keys.ts'

const O_RDWR = 2
/** Of more blocks than this the directory tells which there are: most of a file may be a hole. */
const TRIED_MAX = 4096
/** Bytes asked of a listing. */
const LISTING_SIZE = 131_072

/** One block and who uses it. */
export interface Block {
  readonly name: string
  readonly number: number
  readonly file: ShardFile
  readonly inode: Inode
  /** Never opened on the bricks: they reach the file by its gfid. */
  readonly fd: Fd
  /** Written to since the last fsync. */
  dirty: boolean
  users: number
  gone: boolean
}

export type Found<T> = { errno: 0; value: T } | { errno: Errno }

export const blockName = (gfid: Gfid, number: number): string => `${gfidText(gfid)}.${number}`

export class Blocks {
  readonly #xl: Xlator
  readonly #known = new Map<string, Block>()
  /** Blocks being looked for or made. */
  readonly #wanted = new Map<string, Promise<Found<Block | undefined>>>()
  #shardDir: Inode | undefined
  #removeDir: Inode | undefined

  constructor(xl: Xlator) {
    this.#xl = xl
  }

  get count(): number {
    return this.#known.size
  }

  // -- directories

  /** The directory of blocks. With `make` it is made, else it may be absent: ENOENT. */
  shardDir(frame: Frame, make: boolean): Promise<Found<Inode>> | Found<Inode> {
    if (this.#shardDir !== undefined) return { errno: 0, value: this.#shardDir }
    return this.#enterShardDir(frame, make)
  }

  async #enterShardDir(frame: Frame, make: boolean): Promise<Found<Inode>> {
    const { root } = this.#xl.graph.inodes
    const found = await this.#directory(frame, root, SHARD_DIR, SHARD_GFID, make)
    if (found.errno === 0) this.#shardDir ??= this.#keep(found.value)
    return found
  }

  async removeDir(frame: Frame, make: boolean): Promise<Found<Inode>> {
    if (this.#removeDir !== undefined) return { errno: 0, value: this.#removeDir }
    const parent = await this.shardDir(frame, make)
    if (parent.errno !== 0) return parent
    const found = await this.#directory(frame, parent.value, REMOVE_DIR, REMOVE_GFID, make)
    if (found.errno === 0) this.#removeDir ??= this.#keep(found.value)
    return found
  }

  async #directory(
    frame: Frame,
    parent: Inode,
    name: string,
    gfid: Gfid,
    make: boolean,
  ): Promise<Found<Inode>> {
    const root = asRoot(frame)
    const looked = await this.#look(root, parent, name, new Dict().setGfid('gfid-req', gfid))
    if (looked.errno !== E.NOENT || !make) return looked
    const { inodes } = this.#xl.graph
    const loc = Loc.ofName(parent, name, inodes.newInode())
    const xdata = new Dict().setGfid('gfid-req', gfid).setInt(INTERNAL_KEY, 1)
    const made = await root.wind(this.#xl.child, 'mkdir', { loc, mode: 0o755, umask: 0, xdata })
    if (made.errno === E.EXIST) return this.#look(root, parent, name)
    if (made.errno !== 0) return made
    return this.#link(loc, made.stat)
  }

  #keep(inode: Inode): Inode {
    inode.table.ref(inode)
    return inode
  }

  // -- blocks

  /**
   * The block, held until `release`; `undefined` where it is absent and `make` was not asked for.
   * `fresh`: it is likely not there.
   */
  async get(
    frame: Frame,
    base: Inode,
    file: ShardFile,
    number: number,
    make: boolean,
    fresh = false,
  ): Promise<Found<Block | undefined>> {
    const name = blockName(base.gfid, number)
    for (;;) {
      const known = this.#known.get(name)
      if (known !== undefined) return { errno: 0, value: this.#use(known) }
      let looking = this.#wanted.get(name)
      const mine = looking === undefined
      if (looking === undefined) {
        looking = this.#resolve(frame, base, file, number, make, fresh)
        this.#wanted.set(name, looking)
        void looking.finally(() => this.#wanted.delete(name))
      }
      const found = await looking
      if (found.errno !== 0) return found
      // Who waited for another's look that makes nothing asks again.
      if (found.value === undefined && make && !mine) continue
      if (found.value === undefined) return found
      if (!found.value.gone) return { errno: 0, value: this.#use(found.value) }
    }
  }

  release(block: Block): void {
    block.users--
    if (block.gone && block.users === 0) this.#unref(block)
  }

  /** It was removed, or another file has its name now. */
  drop(block: Block): void {
    if (block.gone) return
    block.gone = true
    this.#known.delete(block.name)
    block.file.known.delete(block.number)
    if (block.users === 0) this.#unref(block)
  }

  /** The file is forgotten, and its blocks are. */
  forget(file: ShardFile): void {
    for (const block of [...file.known.values()]) this.drop(block)
  }

  /** Every block that needs an fsync. */
  dirty(): Block[] {
    return [...this.#known.values()].filter((block) => block.dirty)
  }

  fini(): void {
    for (const block of [...this.#known.values()]) this.drop(block)
    for (const inode of [this.#removeDir, this.#shardDir]) inode?.table.unref(inode)
    this.#removeDir = undefined
    this.#shardDir = undefined
  }

  /** Which of the blocks `first` to `last` to look for: those there are, and maybe others. */
  async candidates(
    frame: Frame,
    gfid: Gfid,
    first: number,
    last: number,
  ): Promise<Found<Iterable<number>>> {
    if (last - first < TRIED_MAX) return { errno: 0, value: numbers(first, last) }
    const root = asRoot(frame)
    const dir = await this.shardDir(root, false)
    if (dir.errno !== 0) return dir.errno === E.NOENT ? { errno: 0, value: [] } : dir
    const prefix = `${gfidText(gfid)}.`
    const listed: number[] = []
    const errno = await this.list(root, dir.value, (name) => {
      const number = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : Number.NaN
      if (number >= first && number <= last) listed.push(number)
    })
    return errno === 0 ? { errno: 0, value: listed } : { errno }
  }

  /** Tells every name in one of the directories. */
  async list(frame: Frame, dir: Inode, each: (name: string) => void): Promise<Errno | 0> {
    const { child } = this.#xl
    const fd = new Fd(dir, 0, 0)
    const opened = await frame.wind(child, 'opendir', { loc: Loc.ofInode(dir), fd })
    if (opened.errno !== 0) return opened.errno
    try {
      for (let off = 0n; ; ) {
        const rep = await frame.wind(child, 'readdir', { fd, size: LISTING_SIZE, off })
        if (rep.errno !== 0) return rep.errno
        for (const { name } of rep.entries) if (name !== '.' && name !== '..') each(name)
        const last = rep.entries.at(-1)
        if (last === undefined || rep.eof) return 0
        off = last.off
      }
    } finally {
      fd.release()
    }
  }

  /** Removes the block from the bricks; ENOENT is as good. Returns how many blocks it used. */
  async remove(frame: Frame, gfid: Gfid, number: number): Promise<Found<number>> {
    const root = asRoot(frame)
    const name = blockName(gfid, number)
    const known = this.#known.get(name)
    const dir = await this.shardDir(frame, false)
    if (dir.errno !== 0) return dir.errno === E.NOENT ? { errno: 0, value: 0 } : dir
    const { inodes } = this.#xl.graph
    const inode = inodes.child(dir.value, name) ?? inodes.newInode()
    const loc = Loc.ofName(dir.value, name, inode)
    const looked = await root.wind(this.#xl.child, 'lookup', { loc })
    if (known !== undefined) this.drop(known)
    if (looked.errno === E.NOENT) return { errno: 0, value: 0 }
    if (looked.errno !== 0) return looked
    const linked = this.#link(loc, looked.stat)
    if (linked.errno !== 0) return linked
    inodes.ref(linked.value)
    const target = Loc.ofName(dir.value, name, linked.value)
    const rep = await root.wind(this.#xl.child, 'unlink', { loc: target, flags: 0 })
    if (rep.errno === 0 || rep.errno === E.NOENT) inodes.unlinkName(dir.value, name)
    inodes.unref(linked.value)
    if (rep.errno === E.NOENT) return { errno: 0, value: 0 }
    return rep.errno === 0 ? { errno: 0, value: looked.stat.blocks } : rep
  }

  async #resolve(
    frame: Frame,
    base: Inode,
    file: ShardFile,
    number: number,
    make: boolean,
    fresh: boolean,
  ): Promise<Found<Block | undefined>> {
    const dir = await this.shardDir(frame, make)
    if (dir.errno !== 0) return !make && dir.errno === E.NOENT ? ABSENT : dir
    const root = asRoot(frame)
    const name = blockName(base.gfid, number)
    let found: Found<Inode> = { errno: E.NOENT }
    if (!fresh || !make) found = await this.#look(root, dir.value, name)
    if (found.errno === E.NOENT && make) {
      const loc = Loc.ofName(dir.value, name, this.#xl.graph.inodes.newInode())
      const xdata = new Dict().setGfid('gfid-req', newGfid())
      const { mode } = file.stat
      const req = { loc, mode, rdev: 0, umask: 0, xdata }
      const made = await root.wind(this.#xl.child, 'mknod', req)
      if (made.errno === 0) found = this.#link(loc, made.stat)
      else if (made.errno !== E.EXIST) return made
      else found = await this.#look(root, dir.value, name)
    }
    if (found.errno === E.NOENT && !make) return ABSENT
    if (found.errno !== 0) return found
    return { errno: 0, value: this.#remember(found.value, name, number, file) }
  }

  async #look(frame: Frame, parent: Inode, name: string, xdata?: Dict): Promise<Found<Inode>> {
    const { inodes } = this.#xl.graph
    const known = inodes.child(parent, name)
    const loc = Loc.ofName(parent, name, known ?? inodes.newInode())
    let rep = await frame.wind(this.#xl.child, 'lookup', { loc, xdata })
    if (known !== undefined && (rep.errno === E.STALE || rep.errno === E.NOENT)) {
      inodes.unlinkName(parent, name)
      const again = Loc.ofName(parent, name, inodes.newInode())
      rep = await frame.wind(this.#xl.child, 'lookup', { loc: again, xdata })
      return rep.errno === 0 ? this.#link(again, rep.stat) : rep
    }
    return rep.errno === 0 ? this.#link(loc, rep.stat) : rep
  }

  #link(loc: Loc, stat: Iatt): Found<Inode> {
    const { inodes, id } = this.#xl.graph
    const inode = inodes.link(loc.inode, loc.parent, loc.name, stat)
    if (inode === undefined || (stat.mode & S_IFMT) !== inode.type) return { errno: E.IO }
    inode.lookedUpGraph = id
    return { errno: 0, value: inode }
  }

  #remember(inode: Inode, name: string, number: number, file: ShardFile): Block {
    const fd = new Fd(inode, O_RDWR, 0)
    const block = { name, number, file, inode, fd, dirty: false, users: 0, gone: false }
    inode.table.ref(inode)
    this.#known.set(name, block)
    file.known.set(number, block)
    this.#shrink()
    return block
  }

  /** Also makes it the one used last. */
  #use(block: Block): Block {
    block.users++
    this.#known.delete(block.name)
    this.#known.set(block.name, block)
    return block
  }

  #shrink(): void {
    const limit = (this.#xl.options as { 'shard-lru-limit': number })['shard-lru-limit']
    if (this.#known.size <= limit) return
    for (const block of this.#known.values()) {
      if (block.users > 0) continue
      // Not yet used by who asked for it: the newest stays.
      if (this.#known.size <= limit) return
      if (block.dirty) this.#syncLeaving(block)
      else this.drop(block)
    }
  }

  #syncLeaving(block: Block): void {
    const { file } = block
    block.users++
    this.drop(block)
    const { graph } = this.#xl
    let errno: Errno | 0 = 0
    const done = graph.pool
      .background(this.#xl, 'fsync of a block', ROOT_CREDS, async (frame) => {
        const rep = await frame.wind(this.#xl.child, 'fsync', { fd: block.fd, datasync: false })
        errno = rep.errno
      })
      .then(() => {
        this.release(block)
        if (errno === 0) file.leaving.delete(done)
        return errno
      })
    file.leaving.add(done)
  }

  #unref(block: Block): void {
    block.fd.release()
    block.inode.table.unref(block.inode)
  }
}

function* numbers(first: number, last: number): Generator<number> {
  for (let number = first; number <= last; number++) yield number
}

const ABSENT: Found<undefined> = { errno: 0, value: undefined }

/** Blocks are root's, whoever owns the file. */
export function asRoot(frame: Frame): Frame {
  return frame.with({ uid: 0, gid: 0, groups: [] })
}
