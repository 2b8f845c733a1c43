/** The same fops to a stock brick over the wire and to our brick's translators, answers compared. */
import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { Dict, type DictValue } from '../../src/core/dict.ts'
import { Fd } from '../../src/core/fd.ts'
import type { FopName, MaybePromise, Rep, Req } from '../../src/core/fop.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { type Gfid, gfidText } from '../../src/core/gfid.ts'
import { IATT_INO, Iatt } from '../../src/core/iatt.ts'
import type { Inode, InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import { getXattr, listXattr } from '../../src/sys/xattr.ts'

type Call = <K extends FopName>(fop: K, req: Req<K>, creds?: Creds) => MaybePromise<Rep<K>>

/** One of the two bricks. Inodes are known by gfid, fds by a name the script gives. */
export class Side {
  readonly name: string
  readonly inodes: InodeTable
  readonly fds = new Map<string, Fd>()
  readonly #call: Call

  constructor(name: string, inodes: InodeTable, call: Call) {
    this.name = name
    this.inodes = inodes
    this.#call = call
  }

  inode(gfid: Gfid): Inode {
    return this.inodes.byGfid(gfid) ?? assert.fail(`${this.name}: ${gfidText(gfid)} is unknown`)
  }

  loc(gfid: Gfid): Loc {
    return Loc.ofGfid(this.inodes, gfid)
  }

  entry(parent: Gfid, name: string, gfid?: Gfid): Loc {
    const inode = gfid === undefined ? undefined : this.inodes.byGfid(gfid)
    return Loc.ofName(this.inode(parent), name, inode ?? this.inodes.newInode())
  }

  fd(name: string): Fd {
    return this.fds.get(name) ?? assert.fail(`${this.name}: no fd ${name}`)
  }

  /** An anonymous fd. */
  anonymous(gfid: Gfid): Fd {
    return new Fd(this.inode(gfid), 2, 1)
  }

  async call<K extends FopName>(fop: K, req: Req<K>, creds = ROOT_CREDS): Promise<Rep<K>> {
    const rep = await this.#call(fop, req, creds)
    if (rep.errno === 0 && 'stat' in rep && rep.stat instanceof Iatt) {
      const known = this.inodes.link(this.inodes.newInode(), undefined, undefined, rep.stat)
      if (known !== undefined) this.inodes.ref(known)
    }
    return rep
  }

  async open(name: string, gfid: Gfid, flags = 2, creds = ROOT_CREDS): Promise<Rep<'open'>> {
    const fd = new Fd(this.inode(gfid), flags, 1)
    const rep = await this.call('open', { loc: this.loc(gfid), fd, flags }, creds)
    if (rep.errno === 0) this.fds.set(name, fd.bind())
    return rep
  }

  async opendir(name: string, gfid: Gfid): Promise<Rep<'opendir'>> {
    const fd = new Fd(this.inode(gfid), 0, 1)
    const rep = await this.call('opendir', { loc: this.loc(gfid), fd })
    if (rep.errno === 0) this.fds.set(name, fd.bind())
    return rep
  }

  async create(
    name: string,
    parent: Gfid,
    basename: string,
    gfid: Gfid,
    flags = 2,
    xdata = new Dict(),
    creds = ROOT_CREDS,
  ): Promise<Rep<'create'>> {
    const inode = this.inodes.findOrNew(gfid, 0o100000)
    const fd = new Fd(inode, flags, 1)
    const loc = Loc.ofName(this.inode(parent), basename, inode)
    xdata.setGfid('gfid-req', gfid)
    const req = { loc, fd, flags: flags | 0o100, mode: 0o644, umask: 0, xdata }
    const rep = await this.call('create', req, creds)
    if (rep.errno === 0) this.fds.set(name, fd.bind())
    return rep
  }

  close(name: string): void {
    this.fd(name).release()
    this.fds.delete(name)
  }
}

const IATT_FIELDS = [
  'flags',
  'inoHi',
  'inoLo',
  'rdev',
  'size',
  'blksize',
  'mode',
  'nlink',
  'uid',
  'gid',
] as const
const TIMES = ['atime', 'atimeNsec', 'mtime', 'mtimeNsec', 'ctime', 'ctimeNsec'] as const

export interface Compare {
  /** Times come from the credential, so that they are equal. */
  times?: boolean
  /** Keys of xdata that need not agree. */
  ignore?: readonly string[]
  /** The value of a dict is not compared, its presence is. */
  values?: boolean
}

/** An answer as plain data of what must agree on any brick. */
export function normal(value: unknown, compare: Compare): unknown {
  if (value instanceof Iatt) return normalIatt(value, compare)
  if (value instanceof Dict) return normalDict(value, compare)
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (value instanceof Fd || value === undefined) return undefined
  if (Array.isArray(value)) return value.map((one) => normal(one, compare))
  if (typeof value !== 'object' || value === null) return value
  const plain: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    if (key === 'data') plain[key] = Buffer.concat(item as Buffer[]).toString('hex')
    else if (key !== 'inode') {
      const part = normal(item, compare)
      if (part !== undefined) plain[key] = part
    }
  }
  return plain
}

function normalIatt(stat: Iatt, compare: Compare): unknown {
  const plain: Record<string, unknown> = { gfid: gfidText(stat.gfid) }
  for (const field of IATT_FIELDS) plain[field] = stat[field]
  // A number of the file system's own.
  if ((stat.flags & IATT_INO) === 0) plain.inoHi = plain.inoLo = 0
  if (compare.times === true) for (const field of TIMES) plain[field] = stat[field]
  return plain
}

function normalDict(dict: Dict, compare: Compare): unknown {
  const plain: Record<string, unknown> = {}
  for (const key of [...dict.entries.keys()].sort()) {
    if (compare.ignore?.includes(key) === true) continue
    plain[key] = compare.values === false ? true : normalValue(dict.entries.get(key)!, compare)
  }
  return Object.keys(plain).length === 0 ? undefined : plain
}

function normalValue(value: DictValue, compare: Compare): unknown {
  switch (value.type) {
    case 'iatt':
      return normalIatt(value.value, compare)
    case 'ptr':
    case 'strOld':
      return value.value.toString('hex')
    case 'int':
    case 'uint':
      return String(value.value)
    default:
      return value.value
  }
}

/** Every file below `dir` with type, mode, owner, links, content and all xattrs. */
export function treeOf(dir: string, ignore: RegExp): Map<string, Record<string, unknown>> {
  const tree = new Map<string, Record<string, unknown>>()
  const walk = (path: string, name: string): void => {
    if (ignore.test(name)) return
    const full = Buffer.from(path, 'latin1')
    const stat = lstatSync(full)
    const xattrs: Record<string, string> = {}
    const keys = listXattr(path)
    for (const key of typeof keys === 'number' ? [] : keys.sort()) {
      const value = getXattr(path, key)
      xattrs[key] = typeof value === 'number' ? 'none' : value.toString('hex')
    }
    const { mode, uid, gid } = stat
    const entry: Record<string, unknown> = { mode: mode.toString(8), uid, gid, xattrs }
    if (!stat.isDirectory()) entry.nlink = stat.nlink
    if (stat.isSymbolicLink()) entry.target = readlinkSync(full, 'latin1')
    if (stat.isFile()) entry.content = readFileSync(full, 'latin1')
    tree.set(name, entry)
    if (!stat.isDirectory()) return
    for (const child of readdirSync(full, 'latin1').sort())
      walk(join(path, child), join(name, child))
  }
  walk(dir, '/')
  return tree
}
