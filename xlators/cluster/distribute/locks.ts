/**
 * Locks DHT takes on the bricks for its transactions. All are addressed by gfid alone, cover the
 * whole range, block, and are taken one after another; every transaction has a lock owner of its
 * own, so that two of one process exclude each other.
 */
import { E, type Errno } from '../../../src/core/errno.ts'
import {
  ENTRYLK_LOCK,
  ENTRYLK_UNLOCK,
  ENTRYLK_WRLCK,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  type FopError,
  type Req,
} from '../../../src/core/fop.ts'
import { type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'

/** Layouts: writers change one, readers place names by it. */
export const LAYOUT_DOMAIN = 'dht.layout.heal'
/** Names: the object under a name is made, moved or removed. */
export const ENTRY_DOMAIN = 'dht.entry.sync'
/** A file's data may not change its subvolume. */
export const MIGRATE_DOMAIN = 'dht.file.migrate'

let nextOwner = 1

/** 8 bytes no other transaction of this process uses; clients are told apart by the brick. */
function newLkOwner(): Buffer {
  const owner = Buffer.alloc(8)
  owner.writeUInt32LE(nextOwner & 0xffff_ffff, 0)
  owner.writeUInt32LE(0x64687400, 4)
  nextOwner = nextOwner === 0xffff_ffff ? 1 : nextOwner + 1
  return owner
}

/** The object by gfid alone. */
export function gfidLoc(inode: Inode): Loc {
  return Loc.ofInode(inode)
}

/**
 * The object a reply has just described, by gfid, before it is linked. What is below keeps state
 * on the inode, so it must be the one that stays: the table's, or the fresh one, which gets its
 * identity now.
 */
export function freshLoc(inode: Inode, gfid: Gfid, type: number): Loc {
  if (inode.gfid === gfid) return Loc.ofInode(inode)
  const known = inode.table.byGfid(gfid)
  if (known !== undefined) return Loc.ofInode(known)
  if (inode.gfid !== NULL_GFID) return Loc.ofInode(inode.table.findOrNew(gfid, type))
  inode.gfid = gfid
  inode.type = type
  return Loc.ofInode(inode)
}

type Held =
  | { kind: 'inodelk'; sub: Xlator; loc: Loc; domain: string }
  | { kind: 'entrylk'; sub: Xlator; loc: Loc; basename: string }

const OK = { errno: 0 } as const
type Result = typeof OK | FopError

/** The locks of one transaction. */
export class LockSet {
  readonly #frame: Frame
  readonly #held: Held[] = []

  constructor(frame: Frame) {
    this.#frame = frame.with({ lkOwner: newLkOwner() })
  }

  /** `tolerated` errnos of the brick mean: carry on without this lock. */
  async inodelk(
    sub: Xlator,
    loc: Loc,
    domain: string,
    type: typeof F_RDLCK | typeof F_WRLCK,
    tolerated: readonly Errno[] = [],
  ): Promise<Result> {
    const req = inodelkReq(loc, domain, F_SETLKW, type)
    const rep = await this.#frame.wind(sub, 'inodelk', req)
    if (rep.errno !== 0) return tolerated.includes(rep.errno) ? OK : { errno: rep.errno }
    this.#held.push({ kind: 'inodelk', sub, loc, domain })
    return OK
  }

  /** Write locks on the same object of several subvolumes, in the order all clients use. */
  async inodelkAll(subs: readonly Xlator[], loc: Loc, domain: string): Promise<Result> {
    for (const sub of byName(subs)) {
      const rep = await this.inodelk(sub, loc, domain, F_WRLCK)
      if (rep.errno !== 0) return rep
    }
    return OK
  }

  /** Keeps others from making, moving or removing `name` (dht_protect_namespace). */
  async guardName(sub: Xlator, parent: Inode, name: string): Promise<Result> {
    const loc = gfidLoc(parent)
    const shared = await this.inodelk(sub, loc, LAYOUT_DOMAIN, F_RDLCK)
    if (shared.errno !== 0) return shared
    const req = {
      loc,
      volume: ENTRY_DOMAIN,
      basename: name,
      cmd: ENTRYLK_LOCK,
      type: ENTRYLK_WRLCK,
    }
    const rep = await this.#frame.wind(sub, 'entrylk', req)
    if (rep.errno !== 0) return { errno: rep.errno }
    this.#held.push({ kind: 'entrylk', sub, loc, basename: name })
    return OK
  }

  /** Read lock on a parent's layout while a name is placed again; a lost parent is tolerated. */
  lockParentLayout(sub: Xlator, parent: Inode): Promise<Result> {
    return this.inodelk(sub, gfidLoc(parent), LAYOUT_DOMAIN, F_RDLCK, [E.NOENT, E.STALE])
  }

  /**
   * Gives all locks back, newest first. Nobody waits for it: the requests leave now, in order, and
   * a brick that cannot be reached has dropped the locks with the connection.
   */
  release(): void {
    const held = this.#held.splice(0).reverse()
    if (held.length === 0) return
    const { xl, creds, stack } = this.#frame
    void stack.pool.background(xl, 'dht unlock', creds, async (frame) => {
      await Promise.all(held.map((lock) => unlock(frame, lock)))
    })
  }
}

async function unlock(frame: Frame, lock: Held): Promise<void> {
  const rep =
    lock.kind === 'inodelk'
      ? await frame.wind(lock.sub, 'inodelk', inodelkReq(lock.loc, lock.domain, F_SETLK, F_UNLCK))
      : await frame.wind(lock.sub, 'entrylk', {
          loc: lock.loc,
          volume: ENTRY_DOMAIN,
          basename: lock.basename,
          cmd: ENTRYLK_UNLOCK,
          type: ENTRYLK_WRLCK,
        })
  if (rep.errno !== 0 && rep.errno !== E.NOTCONN) {
    frame.xl.log.warn({ sub: lock.sub.name, errno: rep.errno }, `${lock.kind}: unlock failed`)
  }
}

function inodelkReq(loc: Loc, volume: string, cmd: number, type: number): Req<'inodelk'> {
  const flock = { type, whence: 0, start: 0n, len: 0n, pid: 0, lkOwner: ROOT_CREDS.lkOwner }
  return { loc, volume, cmd, flock }
}

/** Order of subvolumes in which locks are taken: bytewise by name. */
export function byName(subs: readonly Xlator[]): Xlator[] {
  return [...subs].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}
