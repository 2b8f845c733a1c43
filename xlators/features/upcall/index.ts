/**
 * features/upcall: tells clients what others changed. A client that touches an inode is registered
 * on it for `cache-invalidation-timeout` seconds from its last access; a change by another client
 * within that time is sent to it with what is new. Entries end after twice the timeout.
 */
import type { Client } from '../../../src/core/client.ts'
import { clock, type Timer } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import {
  type Event,
  UP_FORGET,
  UP_MODE,
  UP_NLINK,
  UP_OWN,
  UP_PARENT_TIMES,
  UP_PERM,
  UP_RENAME_FLAGS,
  UP_SIZE,
  UP_TIMES,
  UP_XATTR,
  UP_XATTR_RM,
} from '../../../src/core/event.ts'
import type { Fop, FopName, MaybePromise, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'
import { globToRegExp } from '../../../src/graph/build.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'

export const options = defineOptions({
  'cache-invalidation': {
    type: 'bool',
    default: 'off',
    description: 'Tell clients what other clients changed.',
  },
  'cache-invalidation-timeout': {
    type: 'time',
    default: '60',
    description: 'How long after its last access a client is told.',
  },
})

/** Registrations (inode and client); beyond it the oldest inode is forgotten with a FORGET. */
const INODES_MAX = 200_000
/** Xattr patterns clients may announce. */
const PATTERNS_MAX = 1024
const IPC_UPCALL = 2
const SWEEP_MS = 30_000
const PERMISSIONS = 0o7777

const WRITTEN = UP_SIZE | UP_TIMES
const ATTRIBUTES = UP_MODE | UP_OWN | UP_SIZE | UP_TIMES | UP_PERM
const RELINKED = UP_NLINK | UP_TIMES | UP_PARENT_TIMES

type WritingFop =
  | 'truncate'
  | 'writev'
  | 'ftruncate'
  | 'fallocate'
  | 'discard'
  | 'zerofill'
  | 'copy_file_range'

/** What an event carries besides its flags. */
interface Change {
  stat?: Iatt | undefined
  parentStat?: Iatt | undefined
  oldParentStat?: Iatt | undefined
  xdata?: Dict | undefined
}

export class Upcall extends Xlator<typeof options> {
  /** Last access by client, in ms; inodes in order of their first registration. */
  readonly #clients = new Map<Gfid, Map<Client, number>>()
  /** Xattr names that clients cache, exact or globs. */
  readonly #patterns = new Map<string, RegExp>()
  #sweeper: Timer | undefined

  override init(): void {
    this.#scheduleSweep()
  }

  override fini(): void {
    this.#sweeper?.clear()
  }

  override notify(event: Event, from: Xlator | undefined): void {
    if (event.type === 'client-disconnected') {
      for (const [gfid, clients] of this.#clients) {
        if (clients.delete(event.client) && clients.size === 0) this.#clients.delete(gfid)
      }
    }
    super.notify(event, from)
  }

  // --- fops that only read -----------------------------------------------------------------------

  lookup: Fop<'lookup'> = (frame, req) =>
    this.#then(frame, 'lookup', req, (rep) => this.#access(frame, rep.stat.gfid))
  stat: Fop<'stat'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'stat', req)
  readlink: Fop<'readlink'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'readlink', req)
  open: Fop<'open'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'open', req)
  readv: Fop<'readv'> = (frame, req) => this.#reads(frame, req.fd.inode.gfid, 'readv', req)
  getxattr: Fop<'getxattr'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'getxattr', req)
  opendir: Fop<'opendir'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'opendir', req)
  access: Fop<'access'> = (frame, req) => this.#reads(frame, req.loc.gfid, 'access', req)
  fstat: Fop<'fstat'> = (frame, req) => this.#reads(frame, req.fd.inode.gfid, 'fstat', req)
  lk: Fop<'lk'> = (frame, req) => this.#reads(frame, req.fd.inode.gfid, 'lk', req)
  readdir: Fop<'readdir'> = (frame, req) => this.#reads(frame, req.fd.inode.gfid, 'readdir', req)
  fgetxattr: Fop<'fgetxattr'> = (frame, req) =>
    this.#reads(frame, req.fd.inode.gfid, 'fgetxattr', req)
  seek: Fop<'seek'> = (frame, req) => this.#reads(frame, req.fd.inode.gfid, 'seek', req)

  readdirp: Fop<'readdirp'> = (frame, req) =>
    this.#then(frame, 'readdirp', req, (rep) => {
      this.#access(frame, req.fd.inode.gfid)
      for (const entry of rep.entries) {
        if (entry.stat !== undefined) this.#access(frame, entry.stat.gfid)
      }
    })

  // --- fops that change --------------------------------------------------------------------------

  mknod: Fop<'mknod'> = (frame, req) => this.#makes(frame, req.loc.pargfid, 'mknod', req)
  mkdir: Fop<'mkdir'> = (frame, req) => this.#makes(frame, req.loc.pargfid, 'mkdir', req)
  symlink: Fop<'symlink'> = (frame, req) => this.#makes(frame, req.loc.pargfid, 'symlink', req)
  create: Fop<'create'> = (frame, req) => this.#makes(frame, req.loc.pargfid, 'create', req)

  unlink: Fop<'unlink'> = (frame, req) => this.#removes(frame, req.loc.gfid, 'unlink', req)
  rmdir: Fop<'rmdir'> = (frame, req) => this.#removes(frame, req.loc.gfid, 'rmdir', req)

  link: Fop<'link'> = (frame, req) =>
    this.#then(frame, 'link', req, (rep) => {
      const change = { stat: rep.stat, parentStat: rep.postparent }
      this.#changed(frame, rep.stat.gfid, RELINKED, change)
    })

  rename: Fop<'rename'> = (frame, req) =>
    this.#then(frame, 'rename', req, (rep) => {
      const gfid = req.oldloc.gfid
      this.#changed(frame, gfid, UP_RENAME_FLAGS | UP_PARENT_TIMES, {
        stat: rep.stat,
        parentStat: rep.postnewparent,
        oldParentStat: rep.postoldparent,
      })
    })

  truncate: Fop<'truncate'> = (frame, req) => this.#writes(frame, req.loc.gfid, 'truncate', req)
  writev: Fop<'writev'> = (frame, req) => this.#writes(frame, req.fd.inode.gfid, 'writev', req)
  ftruncate: Fop<'ftruncate'> = (frame, req) =>
    this.#writes(frame, req.fd.inode.gfid, 'ftruncate', req)
  fallocate: Fop<'fallocate'> = (frame, req) =>
    this.#writes(frame, req.fd.inode.gfid, 'fallocate', req)
  discard: Fop<'discard'> = (frame, req) => this.#writes(frame, req.fd.inode.gfid, 'discard', req)
  zerofill: Fop<'zerofill'> = (frame, req) =>
    this.#writes(frame, req.fd.inode.gfid, 'zerofill', req)
  copy_file_range: Fop<'copy_file_range'> = (frame, req) =>
    this.#writes(frame, req.fdOut.inode.gfid, 'copy_file_range', req)

  setattr: Fop<'setattr'> = (frame, req) => this.#sets(frame, req.loc.gfid, 'setattr', req)
  fsetattr: Fop<'fsetattr'> = (frame, req) => this.#sets(frame, req.fd.inode.gfid, 'fsetattr', req)

  setxattr: Fop<'setxattr'> = (frame, req) =>
    this.#then(frame, 'setxattr', req, () => this.#xattrs(frame, req.loc.gfid, UP_XATTR, req.dict))
  fsetxattr: Fop<'fsetxattr'> = (frame, req) =>
    this.#then(frame, 'fsetxattr', req, () =>
      this.#xattrs(frame, req.fd.inode.gfid, UP_XATTR, req.dict),
    )
  removexattr: Fop<'removexattr'> = (frame, req) =>
    this.#then(frame, 'removexattr', req, () =>
      this.#xattrs(frame, req.loc.gfid, UP_XATTR_RM, removed(req)),
    )
  fremovexattr: Fop<'fremovexattr'> = (frame, req) =>
    this.#then(frame, 'fremovexattr', req, () =>
      this.#xattrs(frame, req.fd.inode.gfid, UP_XATTR_RM, removed(req)),
    )
  xattrop: Fop<'xattrop'> = (frame, req) =>
    this.#then(frame, 'xattrop', req, (rep) =>
      this.#xattrs(frame, req.loc.gfid, UP_XATTR, withoutZeros(rep.dict)),
    )
  fxattrop: Fop<'fxattrop'> = (frame, req) =>
    this.#then(frame, 'fxattrop', req, (rep) =>
      this.#xattrs(frame, req.fd.inode.gfid, UP_XATTR, withoutZeros(rep.dict)),
    )

  /** Clients announce the xattrs they cache. */
  ipc: Fop<'ipc'> = (frame, req) => {
    if (req.op !== IPC_UPCALL || !this.options['cache-invalidation']) {
      return frame.tail(this.child, 'ipc', req)
    }
    for (const key of req.xdata?.entries.keys() ?? []) {
      if (this.#patterns.size < PATTERNS_MAX) this.#patterns.set(key, globToRegExp(key))
    }
    return { errno: 0 }
  }

  // --- kinds of fops -----------------------------------------------------------------------------

  /** Winds and looks at a success; a plain tail while the feature is off. */
  #then<K extends FopName>(
    frame: Frame,
    fop: K,
    req: Req<K>,
    look: (rep: Ok<K>) => void,
  ): MaybePromise<Rep<K>> {
    if (!this.options['cache-invalidation']) return frame.tail(this.child, fop, req)
    const seen = (rep: Rep<K>): Rep<K> => {
      if (rep.errno === 0) look(rep as Ok<K>)
      return rep
    }
    const rep = frame.wind(this.child, fop, req)
    return rep instanceof Promise ? rep.then(seen) : seen(rep)
  }

  #reads<K extends FopName>(frame: Frame, gfid: Gfid, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    return this.#then(frame, fop, req, () => this.#access(frame, gfid))
  }

  #writes<K extends WritingFop>(
    frame: Frame,
    gfid: Gfid,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    return this.#then(frame, fop, req, (rep) =>
      this.#changed(frame, gfid, WRITTEN, { stat: rep.poststat }),
    )
  }

  #sets<K extends 'setattr' | 'fsetattr'>(
    frame: Frame,
    gfid: Gfid,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    return this.#then(frame, fop, req, (rep) => {
      // A chmod may have changed the access ACL, which clients cache as an xattr.
      const modeChanged = ((rep.prestat.mode ^ rep.poststat.mode) & PERMISSIONS) !== 0
      const flags = modeChanged ? ATTRIBUTES | UP_XATTR : ATTRIBUTES
      this.#changed(frame, gfid, flags, { stat: rep.poststat })
    })
  }

  #makes<K extends 'mknod' | 'mkdir' | 'symlink' | 'create'>(
    frame: Frame,
    pargfid: Gfid,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    return this.#then(frame, fop, req, (rep) => {
      this.#access(frame, rep.stat.gfid)
      this.#changed(frame, pargfid, UP_TIMES, { stat: rep.postparent })
    })
  }

  #removes<K extends 'unlink' | 'rmdir'>(
    frame: Frame,
    gfid: Gfid,
    fop: K,
    req: Req<K>,
  ): MaybePromise<Rep<K>> {
    return this.#then(frame, fop, req, (rep) => {
      this.#changed(frame, gfid, RELINKED, { parentStat: rep.postparent })
      void this.#forgetIfGone(frame, gfid)
    })
  }

  /** With its last name an inode ends: everyone is told, the one who did it too. */
  async #forgetIfGone(frame: Frame, gfid: Gfid): Promise<void> {
    if (!this.#clients.has(gfid)) return
    await this.graph.pool.background(
      this as unknown as Xlator,
      'upcall-forget',
      frame.creds,
      async (job) => {
        const loc = Loc.ofGfid(this.graph.inodes, gfid)
        const rep = await job.wind(this.child, 'lookup', { loc })
        if (rep.errno !== 0) this.#forget(gfid)
      },
    )
  }

  #forget(gfid: Gfid): void {
    const clients = this.#clients.get(gfid)
    this.#clients.delete(gfid)
    for (const client of clients?.keys() ?? []) this.#send(client, gfid, UP_FORGET, {})
  }

  // --- registrations -----------------------------------------------------------------------------

  #access(frame: Frame, gfid: Gfid): void {
    const client = frame.creds.client
    if (client === undefined || gfid === NULL_GFID) return
    let clients = this.#clients.get(gfid)
    if (clients === undefined) {
      clients = new Map()
      this.#clients.set(gfid, clients)
      if (this.#clients.size > INODES_MAX) this.#forget(this.#clients.keys().next().value!)
    }
    clients.set(client, clock.now())
  }

  /** `frame`'s client changed the inode: tells the others, registers it. */
  #changed(frame: Frame, gfid: Gfid, flags: number, change: Change): void {
    const now = clock.now()
    const timeoutMs = this.options['cache-invalidation-timeout'] * 1000
    for (const [client, accessed] of this.#clients.get(gfid) ?? []) {
      if (client === frame.creds.client || now - accessed >= timeoutMs) continue
      this.#send(client, gfid, flags, change)
    }
    this.#access(frame, gfid)
  }

  /** Only xattrs that some client announced are news. */
  #xattrs(frame: Frame, gfid: Gfid, flag: number, dict: Dict): void {
    const xdata = new Dict()
    for (const [key, value] of dict.entries) {
      for (const pattern of this.#patterns.values()) {
        if (!pattern.test(key)) continue
        xdata.set(key, value)
        break
      }
    }
    if (xdata.count === 0) this.#access(frame, gfid)
    else this.#changed(frame, gfid, flag, { xdata })
  }

  #send(client: Client, gfid: Gfid, flags: number, change: Change): void {
    client.upcall({
      type: 'cache-invalidation',
      gfid,
      flags,
      expireTimeAttr: this.options['cache-invalidation-timeout'],
      stat: change.stat ?? new Iatt(),
      parentStat: change.parentStat ?? new Iatt(),
      oldParentStat: change.oldParentStat ?? new Iatt(),
      xdata: change.xdata,
    })
  }

  /** Old registrations end, so that the table is as large as what is in use. */
  #scheduleSweep(): void {
    this.#sweeper = clock.after(
      SWEEP_MS,
      () => {
        const oldest = clock.now() - 2 * this.options['cache-invalidation-timeout'] * 1000
        for (const [gfid, clients] of this.#clients) {
          for (const [client, accessed] of clients) if (accessed < oldest) clients.delete(client)
          if (clients.size === 0) this.#clients.delete(gfid)
        }
        this.#scheduleSweep()
      },
      true,
    )
  }

  override dump(sink: DumpSink): void {
    sink.pair('registered_inodes', this.#clients.size)
    sink.pair('registered_xattrs', this.#patterns.size)
  }
}

function removed(req: { name: string; xdata?: Dict | undefined }): Dict {
  return req.name === '' ? (req.xdata ?? new Dict()) : new Dict().setStr(req.name, '')
}

/** Counters of pending heals that are (again) zero mean nothing to a cache. */
function withoutZeros(dict: Dict): Dict {
  const rest = new Dict()
  for (const [key, value] of dict.entries) {
    const isZero = value.type === 'ptr' && value.value.every((byte) => byte === 0)
    if (!isZero || !key.startsWith('trusted.afr.')) rest.set(key, value)
  }
  return rest
}

export default defineXlator({ type: 'features/upcall', class: Upcall, options, children: 1 })
