/**
 * The storage of a simulated brick: an in-memory POSIX file system whose objects are known by gfid,
 * with xattrs, open counts and directory cookies. Several SimBricks (clients) may share one store.
 */
import type { Fd } from '../../src/core/fd.ts'
import type { FopName, Rep, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import { type Gfid, gfidText, NULL_GFID, ROOT_GFID } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFMT, S_IFREG, setInoFromGfid } from '../../src/core/iatt.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { SimLocks } from './sim-locks.ts'

export interface SimEntry {
  readonly node: SimNode
  /** Directory cookie after this entry; grows, never reused. */
  readonly cookie: bigint
}

export class SimNode {
  gfid: Gfid
  mode: number
  uid = 0
  gid = 0
  rdev = 0
  nlink = 1
  data: Buffer = Buffer.alloc(0)
  linkpath = ''
  openCount = 0
  atime = { sec: 0, nsec: 0 }
  mtime = { sec: 0, nsec: 0 }
  ctime = { sec: 0, nsec: 0 }
  readonly xattrs = new Map<string, Buffer>()
  readonly children = new Map<string, SimEntry>()
  /** The directory's own parent. */
  parent: SimNode | undefined
  nextCookie = 3n

  constructor(gfid: Gfid, mode: number) {
    this.gfid = gfid
    this.mode = mode
  }

  get isDir(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }

  get isReg(): boolean {
    return (this.mode & S_IFMT) === S_IFREG
  }

  iatt(): Iatt {
    const stat = new Iatt()
    stat.gfid = this.gfid
    stat.flags = 0x17ff
    setInoFromGfid(stat)
    stat.mode = this.mode
    stat.uid = this.uid
    stat.gid = this.gid
    stat.rdev = this.rdev
    stat.nlink = this.isDir
      ? 2 + [...this.children.values()].filter((e) => e.node.isDir).length
      : this.nlink
    stat.size = this.isDir ? 4096 : this.data.length
    stat.blocks = Math.ceil(stat.size / 512)
    stat.blksize = 4096
    stat.atime = this.atime.sec
    stat.atimeNsec = this.atime.nsec
    stat.mtime = this.mtime.sec
    stat.mtimeNsec = this.mtime.nsec
    stat.ctime = this.ctime.sec
    stat.ctimeNsec = this.ctime.nsec
    return stat
  }
}

/** Fops that real bricks have begun and not answered: `settle` waits for them. */
export const fops = { underWay: 0 }

/** A real brick in a simulated one's place (disk-store.ts). */
export interface Disk {
  /** Its uppermost translator. */
  readonly top: Xlator
  /** Its directory. */
  readonly path: string
  /** A fop of the client of that name. */
  carryOut(frame: Frame, client: string, fop: FopName, req: Req<FopName>): Promise<Rep<FopName>>
  disconnected(client: string): void
  isOpen(fd: Fd): boolean
}

export class SimStore {
  readonly disk: Disk | undefined
  readonly root: SimNode
  readonly byGfid = new Map<Gfid, SimNode>()
  readonly locks = new SimLocks()
  /** statfs: totals in 4 KiB blocks. */
  blocks = 1_000_000
  bavail = 900_000
  files = 1_000_000
  ffree = 900_000
  #ticks = 0

  constructor(disk?: Disk) {
    this.disk = disk
    this.root = new SimNode(ROOT_GFID, S_IFDIR | 0o755)
    this.byGfid.set(ROOT_GFID, this.root)
  }

  /** A time stamp later than every one before. */
  now(): { sec: number; nsec: number } {
    this.#ticks++
    return { sec: 1_700_000_000 + this.#ticks, nsec: 0 }
  }

  add(parent: SimNode, name: string, node: SimNode): void {
    parent.children.set(name, { node, cookie: parent.nextCookie++ })
    if (node.isDir) node.parent = parent
    this.byGfid.set(node.gfid, node)
    parent.mtime = parent.ctime = this.now()
  }

  remove(parent: SimNode, name: string): void {
    const entry = parent.children.get(name)
    if (entry === undefined) return
    parent.children.delete(name)
    parent.mtime = parent.ctime = this.now()
    entry.node.nlink--
    entry.node.ctime = this.now()
    const gone = entry.node.isDir || entry.node.nlink === 0
    if (gone && this.byGfid.get(entry.node.gfid) === entry.node) {
      this.byGfid.delete(entry.node.gfid)
    }
  }

  /** The object at `/a/b`, for set-up and assertions. */
  at(path: string): SimNode | undefined {
    let node: SimNode | undefined = this.root
    for (const name of path.split('/').filter((part) => part !== '')) {
      node = node?.children.get(name)?.node
    }
    return node
  }

  /** Where an object is, for traces. */
  pathOf(node: SimNode): string {
    if (node === this.root) return '/'
    const search = (dir: SimNode, prefix: string): string | undefined => {
      for (const [name, entry] of dir.children) {
        if (entry.node === node) return `${prefix}/${name}`
        const below = entry.node.isDir ? search(entry.node, `${prefix}/${name}`) : undefined
        if (below !== undefined) return below
      }
      return undefined
    }
    return search(this.root, '') ?? `<gfid:${gfidText(node.gfid)}>`
  }

  /** Every path with mode, size and xattrs, for comparing whole bricks. */
  snapshot(): Record<string, string> {
    const all: Record<string, string> = {}
    const walk = (dir: SimNode, prefix: string): void => {
      for (const [name, { node }] of [...dir.children].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const xattrs = [...node.xattrs].map(([key, value]) => `${key}=${value.toString('hex')}`)
        const size = node.isDir ? '' : ` ${node.data.length}`
        all[`${prefix}/${name}`] = `${node.mode.toString(8)}${size} ${xattrs.sort().join(' ')}`
        if (node.isDir) walk(node, `${prefix}/${name}`)
      }
    }
    walk(this.root, '')
    return all
  }

  resolve(gfid: Gfid): SimNode | undefined {
    return gfid === NULL_GFID ? undefined : this.byGfid.get(gfid)
  }
}
