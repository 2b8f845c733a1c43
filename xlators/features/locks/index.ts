/**
 * features/locks: inodelk, entrylk and POSIX locks of a brick. Locks live in memory, keyed by gfid,
 * client and lock owner; they end with an unlock, a flush (POSIX), clear-locks or their client. As
 * in stock: removals wait for other clients' inode locks, holders are told of contention (inodelk
 * only), range (2^63-2, 0) is a domain of its own. Not kept: mandatory locking, lock revocation,
 * monkey-unlocking (off by default), setactivelk.
 */
import type { Client } from '../../../src/core/client.ts'
import { clock } from '../../../src/core/clock.ts'
import { FdContext } from '../../../src/core/context.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Event } from '../../../src/core/event.ts'
import type { Fd } from '../../../src/core/fd.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_LOCK_NB,
  ENTRYLK_UNLOCK,
  ENTRYLK_WRLCK,
  F_GETLK,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type Flock,
  type Fop,
  type FopName,
  type LockInfo,
  type MaybePromise,
  type Rep,
  type Req,
} from '../../../src/core/fop.ts'
import { type Frame, NO_LK_OWNER, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { decodeLegacy, encodeLegacy, legacyDict, legacyText } from '../../../src/xdr/dict.ts'
import { type ClearRequest, clearLocks, parseClearKey } from './clear.ts'
import { wantsCounts, withCounts } from './counts.ts'
import { type Domain, END_OF_FILE, type NameLock, type RangeLock } from './domain.ts'
import { LockedObject } from './object.ts'
import { type Owner, ownerOf, sameOwner } from './owner.ts'
import { toFlock } from './posix-locks.ts'

const OFF_BY_DEFAULT = 'locks are advisory and end with their client'

export const options = defineOptions({
  'notify-contention': {
    type: 'bool',
    default: 'on',
    description: 'Tell holders of inode locks that others wait.',
  },
  'notify-contention-delay': {
    type: 'time',
    default: '5',
    description: 'How long a holder is not told again.',
  },
  'mandatory-locking': {
    type: 'str',
    default: 'off',
    description: 'Locks bind reads and writes.',
    noEffect: OFF_BY_DEFAULT,
  },
  'enforce-mandatory-lock': {
    type: 'bool',
    default: 'off',
    description: 'Locks bind reads and writes.',
    noEffect: OFF_BY_DEFAULT,
  },
  trace: {
    type: 'bool',
    default: 'off',
    description: 'Log every lock.',
    noEffect: 'the state dump lists locks',
  },
  'monkey-unlocking': {
    type: 'bool',
    default: 'off',
    description: 'Forget unlocks, to test clients.',
    noEffect: OFF_BY_DEFAULT,
  },
  'revocation-secs': {
    type: 'int',
    default: '0',
    description: 'Take locks away after this time.',
    noEffect: OFF_BY_DEFAULT,
  },
})

/** Start of the range that stands for an inode's metadata (AFR, EC, DHT). */
const METADATA_START = (1n << 63n) - 2n

const LOCKINFO_KEY = 'trusted.glusterfs.lockinfo'
const PATHINFO_KEY = 'trusted.glusterfs.pathinfo'
const NONE_CLEARED = 'No locks cleared.'

interface BrickName {
  name: string
  host: string
  path: string
}

type InodelkReq = Omit<Req<'inodelk'>, 'loc'>
type EntrylkReq = Omit<Req<'entrylk'>, 'loc'>

export class Locks extends Xlator<typeof options> {
  readonly #objects = new Map<Gfid, LockedObject>()
  /** Fds that POSIX locks were taken through, numbered: their release drops those. */
  readonly #locked = new FdContext<number>(this as unknown as Xlator)
  readonly #fds = new Map<number, Fd>()
  #lastFd = 0
  /** Clients that left: what of theirs still arrives must not lock any more. */
  readonly #gone = new WeakSet<Client>()

  override notify(event: Event, from: Xlator | undefined): void {
    if (event.type === 'client-disconnected') this.#dropClient(event.client)
    super.notify(event, from)
  }

  // --- locks -------------------------------------------------------------------------------------

  inodelk: Fop<'inodelk'> = (frame, req) => this.#inodelk(frame, req.loc.gfid, req)
  finodelk: Fop<'finodelk'> = (frame, req) => this.#inodelk(frame, req.fd.inode.gfid, req)
  entrylk: Fop<'entrylk'> = (frame, req) => this.#entrylk(frame, req.loc.gfid, req)
  fentrylk: Fop<'fentrylk'> = (frame, req) => this.#entrylk(frame, req.fd.inode.gfid, req)

  #inodelk(frame: Frame, gfid: Gfid, req: InodelkReq): MaybePromise<Rep<'inodelk'>> {
    const owner = ownerOf(frame.creds)
    if (owner.id === '' || gfid === NULL_GFID) return { errno: E.INVAL }
    if (this.#hasLeft(owner)) return { errno: E.AGAIN }
    if (req.cmd === F_GETLK) return { errno: E.OPNOTSUPP }
    if (req.cmd !== F_SETLK && req.cmd !== F_SETLKW) return { errno: E.INVAL }
    const { type, start, len } = req.flock
    if (start < 0n || len < 0n || start >= END_OF_FILE) return { errno: E.INVAL }
    if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return { errno: E.INVAL }
    const isMetadata = start === METADATA_START && len === 0n
    const name = isMetadata ? `${req.volume}:metadata` : req.volume
    const end = len === 0n ? END_OF_FILE : start + len
    const lock: RangeLock = { owner, write: type === F_WRLCK, start, end, notifiedAt: -Infinity }
    if (type === F_UNLCK) return this.#inodeUnlock(frame, gfid, name, lock)
    const object = this.#need(gfid)
    if (object.removals > 0 && owner.pid >= 0 && !holdsAny(object.ranges.get(name), owner)) {
      if (req.cmd === F_SETLK) return { errno: E.AGAIN }
      return object.afterRemoval().then(() => this.#inodelk(frame, gfid, req))
    }
    const domain = object.rangeDomain(name)
    if (domain === undefined) return { errno: E.NOLCK }
    const result = domain.lock(lock, req.cmd === F_SETLKW)
    if (result !== 0) this.#contend(gfid, name, domain, lock)
    return this.#answer(gfid, object, result)
  }

  #inodeUnlock(frame: Frame, gfid: Gfid, name: string, lock: RangeLock): Rep<'inodelk'> {
    const object = this.#objects.get(gfid)
    const found = object?.ranges
      .get(name)
      ?.unlock(
        (held) =>
          sameOwner(held.owner, lock.owner) && held.start === lock.start && held.end === lock.end,
      )
    if (object === undefined || found !== true) {
      frame.xl.log.debug(`unlock of a lock that is not held, domain ${name}`)
      return { errno: E.INVAL }
    }
    object.wakeRemovals()
    this.#tidy(gfid, object)
    return { errno: 0 }
  }

  #entrylk(frame: Frame, gfid: Gfid, req: EntrylkReq): MaybePromise<Rep<'entrylk'>> {
    const owner = ownerOf(frame.creds)
    if (owner.id === '' || gfid === NULL_GFID) return { errno: E.INVAL }
    if (this.#hasLeft(owner)) return { errno: E.AGAIN }
    const name = req.basename === '' ? undefined : req.basename
    const lock: NameLock = {
      owner,
      name,
      write: req.type === ENTRYLK_WRLCK,
      notifiedAt: -Infinity,
    }
    if (req.cmd === ENTRYLK_UNLOCK) {
      const object = this.#objects.get(gfid)
      const found = object?.names
        .get(req.volume)
        ?.unlock(
          (held) => sameOwner(held.owner, owner) && held.name === name && held.write === lock.write,
        )
      if (object === undefined || found !== true) return { errno: E.INVAL }
      this.#tidy(gfid, object)
      return { errno: 0 }
    }
    if (req.cmd !== ENTRYLK_LOCK && req.cmd !== ENTRYLK_LOCK_NB) return { errno: E.INVAL }
    const object = this.#need(gfid)
    const domain = object.nameDomain(req.volume)
    if (domain === undefined) return { errno: E.NOLCK }
    const result = domain.lock(lock, req.cmd === ENTRYLK_LOCK)
    return this.#answer(gfid, object, result)
  }

  lk: Fop<'lk'> = (frame, req) => {
    const gfid = req.fd.inode.gfid
    const { type, start, len, pid } = req.flock
    if (gfid === NULL_GFID || start < 0n || start >= END_OF_FILE) return { errno: E.INVAL }
    if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return { errno: E.INVAL }
    // A negative length means the bytes before the start (fcntl(2)).
    const from = len < 0n ? start + len : start
    const end = len === 0n ? END_OF_FILE : len < 0n ? start : start + len
    if (from < 0n) return { errno: E.INVAL }
    const owner = ownerOf(frame.creds)
    if (this.#hasLeft(owner)) return { errno: E.AGAIN }
    const lock = { owner, fd: req.fd, type, start: from, end, pid }
    const object = this.#need(gfid)
    if (req.cmd === F_GETLK) {
      const conflict = type === F_UNLCK ? undefined : object.posix.conflict(lock)
      this.#tidy(gfid, object)
      const flock: Flock =
        conflict === undefined ? { ...req.flock, type: F_UNLCK } : toFlock(conflict)
      return { errno: 0, flock }
    }
    if (req.cmd !== F_SETLK && req.cmd !== F_SETLKW) {
      this.#tidy(gfid, object)
      return { errno: E.INVAL }
    }
    this.#numberOf(req.fd)
    const result = object.posix.set(lock, req.cmd === F_SETLKW)
    const done = (errno: 0 | Errno): Rep<'lk'> => {
      this.#tidy(gfid, object)
      return errno === 0 ? { errno: 0, flock: req.flock } : { errno }
    }
    return typeof result === 'number' ? done(result) : result.then(done)
  }

  /** Close by an owner drops what it holds on the inode; without owner, what the fd locked. */
  flush: Fop<'flush'> = (frame, req) => {
    const object = this.#objects.get(req.fd.inode.gfid)
    if (object !== undefined) {
      const owner = ownerOf(frame.creds)
      object.posix.clear(
        (lock) => (owner.id === '' ? lock.fd === req.fd : sameOwner(lock.owner, owner)),
        E.AGAIN,
        { granted: true, blocked: true },
      )
      this.#tidy(req.fd.inode.gfid, object)
    }
    return frame.tail(this.child, 'flush', req)
  }

  #numberOf(fd: Fd): number {
    return this.#locked.need(fd, () => {
      this.#fds.set(++this.#lastFd, fd)
      return this.#lastFd
    })
  }

  override release(fd: Fd): void {
    this.#fds.delete(this.#locked.get(fd) ?? 0)
    const object = this.#objects.get(fd.inode.gfid)
    if (object === undefined) return
    object.posix.clear((lock) => lock.fd === fd, E.AGAIN, { granted: true, blocked: true })
    this.#tidy(fd.inode.gfid, object)
  }

  getactivelk: Fop<'getactivelk'> = (_frame, req) => {
    const held = this.#objects.get(req.loc.gfid)?.posix.granted ?? []
    const locks: LockInfo[] = held.map((lock) => ({
      flock: toFlock(lock),
      clientUid: lock.owner.client?.uid ?? '',
      lkFlags: 0,
    }))
    return { errno: 0, locks }
  }

  setactivelk: Fop<'setactivelk'> = () => ({ errno: E.OPNOTSUPP })

  /** Contention is not told to one that holds it for the brick's own work. */
  #contend(gfid: Gfid, domain: string, locks: Domain<RangeLock>, lock: RangeLock): void {
    if (!this.options['notify-contention']) return
    const now = clock.now()
    const quietMs = this.options['notify-contention-delay'] * 1000
    for (const held of locks.conflicts(lock)) {
      if (now - held.notifiedAt < quietMs) continue
      held.notifiedAt = now
      const flock: Flock = {
        type: held.write ? F_WRLCK : F_RDLCK,
        whence: 0,
        start: held.start,
        len: held.end === END_OF_FILE ? 0n : held.end - held.start,
        pid: 0,
        lkOwner: NO_LK_OWNER,
      }
      const pid = held.owner.pid
      held.owner.client?.upcall({ type: 'inodelk-contention', gfid, flock, pid, domain })
    }
  }

  #answer(
    gfid: Gfid,
    object: LockedObject,
    result: 0 | Errno | Promise<0 | Errno>,
  ): MaybePromise<Rep<'inodelk'>> {
    const done = (errno: 0 | Errno): Rep<'inodelk'> => {
      if (errno === 0) return { errno: 0 }
      this.#tidy(gfid, object)
      return { errno }
    }
    return typeof result === 'number' ? done(result) : result.then(done)
  }

  // --- removals ----------------------------------------------------------------------------------

  unlink: Fop<'unlink'> = (frame, req) => this.#removal(frame, req.loc.gfid, 'unlink', req)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#removal(frame, req.loc.gfid, 'rmdir', req)
  rename: Fop<'rename'> = (frame, req) => this.#removal(frame, req.newloc.gfid, 'rename', req)

  /** Waits while another client works on the object under an inode lock. */
  #removal<K extends 'unlink' | 'rmdir' | 'rename'>(
    frame: Frame,
    gfid: Gfid,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    const object = this.#objects.get(gfid)
    if (object === undefined || frame.creds.pid < 0) return this.#forward(frame, fop, req)
    return this.#removeLocked(frame, gfid, object, fop, req)
  }

  async #removeLocked<K extends 'unlink' | 'rmdir' | 'rename'>(
    frame: Frame,
    gfid: Gfid,
    object: LockedObject,
    fop: K,
    req: Req<K>,
  ): Promise<Rep<K>> {
    try {
      await object.enterRemoval(frame.creds.client)
      return await this.#forward(frame, fop, req)
    } finally {
      object.leaveRemoval()
      this.#tidy(gfid, object)
    }
  }

  // --- counts in other fops ----------------------------------------------------------------------

  lookup: Fop<'lookup'> = (frame, req) =>
    wantsCounts(req.xdata) ? this.#countedLookup(frame, req) : frame.tail(this.child, 'lookup', req)

  async #countedLookup(frame: Frame, req: Req<'lookup'>): Promise<Rep<'lookup'>> {
    const rep = await frame.wind(this.child, 'lookup', req)
    if (rep.errno !== 0) return rep
    const { parent, name } = req.loc
    const place =
      parent === undefined || name === undefined
        ? undefined
        : { object: this.#objects.get(parent.gfid), name }
    return { ...rep, xdata: this.#counts(rep.stat.gfid, req.xdata, rep.xdata, place) }
  }

  stat: Fop<'stat'> = (frame, req) => this.#counted(frame, 'stat', req, req.loc.gfid)
  fstat: Fop<'fstat'> = (frame, req) => this.#counted(frame, 'fstat', req, req.fd.inode.gfid)
  readv: Fop<'readv'> = (frame, req) => this.#counted(frame, 'readv', req, req.fd.inode.gfid)
  writev: Fop<'writev'> = (frame, req) => this.#counted(frame, 'writev', req, req.fd.inode.gfid)
  xattrop: Fop<'xattrop'> = (frame, req) => this.#counted(frame, 'xattrop', req, req.loc.gfid)
  fxattrop: Fop<'fxattrop'> = (frame, req) =>
    this.#counted(frame, 'fxattrop', req, req.fd.inode.gfid)
  fsync: Fop<'fsync'> = (frame, req) => this.#counted(frame, 'fsync', req, req.fd.inode.gfid)
  setattr: Fop<'setattr'> = (frame, req) => this.#counted(frame, 'setattr', req, req.loc.gfid)
  open: Fop<'open'> = (frame, req) => this.#counted(frame, 'open', req, req.loc.gfid)

  readdirp: Fop<'readdirp'> = (frame, req) =>
    wantsCounts(req.xdata)
      ? this.#countedReaddirp(frame, req)
      : frame.tail(this.child, 'readdirp', req)

  async #countedReaddirp(frame: Frame, req: Req<'readdirp'>): Promise<Rep<'readdirp'>> {
    const rep = await frame.wind(this.child, 'readdirp', req)
    if (rep.errno !== 0) return rep
    const parent = this.#objects.get(req.fd.inode.gfid)
    for (const entry of rep.entries) {
      if (entry.stat === undefined) continue
      const place = { object: parent, name: entry.name }
      entry.xdata = this.#counts(entry.stat.gfid, req.xdata, entry.xdata, place)
    }
    return rep
  }

  #counted<K extends FopName>(
    frame: Frame,
    fop: K,
    req: Req<K> & { xdata?: Dict | undefined },
    gfid: Gfid,
  ): MaybePromise<Rep<K>> {
    const { xdata } = req
    if (!wantsCounts(xdata)) return this.#forward(frame, fop, req)
    const add = (rep: Rep<K>): Rep<K> =>
      rep.errno === 0 ? { ...rep, xdata: this.#counts(gfid, xdata, rep.xdata) } : rep
    const rep = frame.wind(this.child, fop, req)
    return rep instanceof Promise ? rep.then(add) : add(rep)
  }

  #counts(
    gfid: Gfid,
    req: Dict | undefined,
    xdata: Dict | undefined,
    parent?: { object: LockedObject | undefined; name: string },
  ): Dict | undefined {
    return wantsCounts(req) ? withCounts(req, xdata, this.#objects.get(gfid), parent) : xdata
  }

  // --- clear-locks -------------------------------------------------------------------------------

  getxattr: Fop<'getxattr'> = (frame, req) => {
    const request = req.name === undefined ? undefined : parseClearKey(req.name)
    return request === undefined
      ? frame.tail(this.child, 'getxattr', req)
      : this.#clear(frame, req.loc.gfid, req.name!, request)
  }

  fgetxattr: Fop<'fgetxattr'> = (frame, req) => {
    if (req.name === LOCKINFO_KEY) return this.#lockinfo(frame, req.fd)
    const request = req.name === undefined ? undefined : parseClearKey(req.name)
    return request === undefined
      ? frame.tail(this.child, 'fgetxattr', req)
      : this.#clear(frame, req.fd.inode.gfid, req.name!, request)
  }

  async #clear(
    frame: Frame,
    gfid: Gfid,
    name: string,
    request: ClearRequest | Errno,
  ): Promise<Rep<'getxattr'>> {
    if (typeof request === 'number') return { errno: request }
    const object = this.#objects.get(gfid)
    const cleared = clearLocks(object, request, frame.creds.client)
    if (object !== undefined) this.#tidy(gfid, object)
    const text = cleared ?? NONE_CLEARED
    const brick = cleared === undefined ? undefined : await this.#pathinfo(frame)
    const where = brick === undefined ? '' : `${brick.host}:${brick.path}: `
    return { errno: 0, dict: new Dict().setStr(name, where + text) }
  }

  // --- locks that move to another connection -----------------------------------------------------

  /** What names the fd's locks towards this brick: a dictionary of its name and the fd's number. */
  async #lockinfo(frame: Frame, fd: Fd): Promise<Rep<'fgetxattr'>> {
    const brick = await this.#pathinfo(frame)
    if (brick === undefined) return { errno: E.NODATA }
    const value = encodeLegacy(legacyDict({ [brick.name]: this.#numberOf(fd) }))
    return { errno: 0, dict: new Dict().setBytes(LOCKINFO_KEY, value) }
  }

  /** A client that changed its graph takes over the locks of the fd it had before. */
  fsetxattr: Fop<'fsetxattr'> = (frame, req) => {
    const value = req.dict.getBytes(LOCKINFO_KEY)
    return value === undefined
      ? frame.tail(this.child, 'fsetxattr', req)
      : this.#takeOver(frame, req.fd, value)
  }

  async #takeOver(frame: Frame, fd: Fd, value: Buffer): Promise<Rep<'fsetxattr'>> {
    const brick = await this.#pathinfo(frame)
    if (brick === undefined) return { errno: E.NODATA }
    let number: string | undefined
    try {
      number = legacyText(decodeLegacy(value, 0, LOCKINFO_KEY), brick.name)
    } catch {
      return { errno: E.INVAL }
    }
    // Bricks that have no locks of this file are not in the dictionary.
    const from = number === undefined ? undefined : this.#fds.get(Number(number))
    if (from === undefined || from.inode.gfid !== fd.inode.gfid) return { errno: 0 }
    this.#numberOf(fd)
    this.#objects.get(fd.inode.gfid)?.posix.move(from, fd, frame.creds.client)
    return { errno: 0 }
  }

  /** How the brick calls itself: `<POSIX(/b):host:/b/>`, taken apart. */
  async #pathinfo(frame: Frame): Promise<BrickName | undefined> {
    const loc = Loc.ofInode(this.graph.inodes.root)
    const request = { loc, name: PATHINFO_KEY }
    const rep = await frame.with(ROOT_CREDS).wind(this.child, 'getxattr', request)
    const text = rep.errno === 0 ? rep.dict.getStr(PATHINFO_KEY) : undefined
    const match = /^(<POSIX\((.*)\):([^:]+)):(.*)>$/s.exec(text ?? '')
    return match === null ? undefined : { name: match[1]!, host: match[3]!, path: match[4]! }
  }

  // --- upkeep ------------------------------------------------------------------------------------

  #forward<K extends FopName>(frame: Frame, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    return frame.tail(this.child, fop, req)
  }

  #need(gfid: Gfid): LockedObject {
    let object = this.#objects.get(gfid)
    if (object === undefined) {
      object = new LockedObject()
      this.#objects.set(gfid, object)
    }
    return object
  }

  /** An object without locks is forgotten. */
  #tidy(gfid: Gfid, object: LockedObject): void {
    object.trim()
    if (object.isIdle && this.#objects.get(gfid) === object) this.#objects.delete(gfid)
  }

  #hasLeft(owner: Owner): boolean {
    return owner.client !== undefined && this.#gone.has(owner.client)
  }

  #dropClient(client: Client): void {
    this.#gone.add(client)
    for (const [gfid, object] of [...this.#objects]) {
      object.dropClient(client)
      this.#tidy(gfid, object)
    }
  }

  override dump(sink: DumpSink): void {
    sink.pair('locked_inodes', this.#objects.size)
    for (const [gfid, object] of this.#objects) {
      const id = Buffer.from(gfid, 'latin1').toString('hex')
      sink.pair(`${id}.inodelk-count`, object.inodelkCount())
      sink.pair(`${id}.entrylk-count`, object.entrylkCount())
      sink.pair(`${id}.posixlk-count`, object.posix.count)
    }
  }
}

const holdsAny = (domain: Domain<RangeLock> | undefined, owner: Owner): boolean =>
  domain?.granted.some((held) => sameOwner(held.owner, owner)) === true

export default defineXlator({ type: 'features/locks', class: Locks, options, children: 1 })
