/** Clients of a brick: who they are, what they hold. */
import type { Client } from '../../../src/core/client.ts'
import { E } from '../../../src/core/errno.ts'
import type { Upcall } from '../../../src/core/event.ts'
import { Fd } from '../../../src/core/fd.ts'
import { type Gfid, gfidText, NULL_GFID } from '../../../src/core/gfid.ts'
import type { InodeTable } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { ServerConnection } from '../../../src/server/listener.ts'
import type { LegacyDict } from '../../../src/xdr/dict.ts'
import { ANONYMOUS_FD } from '../../../src/xdr/glusterfs-fops.ts'
import { CBK } from '../../../src/xdr/programs.ts'
import { type Callee, Refusal } from './fops.ts'

/** Open files and directories of one client. */
const FDS_MAX = 65_536
const O_RDWR = 2
const CACHE_INVALIDATION = 1

/**
 * One identity (spec 12 E): the process-uuid and the credential of SETVOLUME. Connections that
 * show the same share it. It ends with the last of them.
 */
export class BrickClient implements Client, Callee {
  readonly uid: string
  readonly connections = new Set<ServerConnection>()
  readonly #inodes: InodeTable
  /** By number; a free number is `undefined`. */
  readonly #fds: (Fd | undefined)[] = []
  #open = 0
  /** No free number is below. */
  #lowestFree = 0

  constructor(uid: string, inodes: InodeTable) {
    this.uid = uid
    this.#inodes = inodes
  }

  get openFds(): number {
    return this.#open
  }

  upcall(upcall: Upcall): void {
    const [connection] = this.connections
    if (connection === undefined) return
    switch (upcall.type) {
      case 'cache-invalidation':
        connection.callback(CBK.CACHE_INVALIDATION, {
          gfid: gfidText(upcall.gfid),
          event_type: CACHE_INVALIDATION,
          flags: upcall.flags,
          expire_time_attr: upcall.expireTimeAttr,
          stat: upcall.stat,
          parent_stat: upcall.parentStat,
          oldparent_stat: upcall.oldParentStat,
          xdata: legacyOf(upcall),
        })
        break
      case 'inodelk-contention': {
        const { gfid, flock, pid, domain } = upcall
        const body = { gfid, flock, pid: pid >>> 0, domain, xdata: undefined }
        connection.callback(CBK.INODELK_CONTENTION, body)
        break
      }
      case 'entrylk-contention': {
        const { gfid, lockType: type, pid, name, domain } = upcall
        const body = { gfid, type, pid: pid >>> 0, name, domain, xdata: undefined }
        connection.callback(CBK.ENTRYLK_CONTENTION, body)
        break
      }
      case 'recall-lease': {
        const { gfid, leaseType: lease_type, leaseId: tid } = upcall
        connection.callback(CBK.RECALL_LEASE, { gfid, lease_type, tid, xdata: undefined })
        break
      }
    }
  }

  // --- what its calls name -----------------------------------------------------------------------

  fd(number: number, gfid: Gfid): Fd {
    if (number === ANONYMOUS_FD) return this.newFd(gfid, 0, O_RDWR)
    const fd = this.#fds[number]
    if (fd === undefined) throw new Refusal(E.BADF)
    return fd
  }

  loc(gfid: Gfid): Loc {
    if (gfid === NULL_GFID) throw new Refusal(E.INVAL)
    return Loc.ofInode(this.#inodes.findOrNew(gfid, 0))
  }

  entry(pargfid: Gfid, name: string): Loc {
    if (pargfid === NULL_GFID || name === '') throw new Refusal(E.INVAL)
    return Loc.ofName(this.#inodes.findOrNew(pargfid, 0), name, this.#inodes.newInode())
  }

  newFd(gfid: Gfid, type: number, flags: number): Fd {
    if (this.#open >= FDS_MAX) throw new Refusal(E.MFILE)
    // Not linked into a table: nothing on a brick is kept by inode, and so no client can fill it.
    const inode = this.#inodes.newInode()
    inode.gfid = gfid
    inode.type = type
    return new Fd(inode, flags, 0)
  }

  opened(fd: Fd): number {
    let number = this.#lowestFree
    while (this.#fds[number] !== undefined) number++
    this.#fds[number] = fd
    this.#lowestFree = number + 1
    this.#open++
    return number
  }

  /** RELEASE. False for a number that is not open. */
  release(number: number): boolean {
    const fd = this.#fds[number]
    if (fd === undefined) return false
    this.#fds[number] = undefined
    this.#lowestFree = Math.min(this.#lowestFree, number)
    this.#open--
    fd.release()
    return true
  }

  /** Takes all fds away; the caller flushes and releases them. */
  takeFds(): Fd[] {
    this.#open = 0
    this.#lowestFree = 0
    return this.#fds.splice(0).filter((fd) => fd !== undefined)
  }
}

function legacyOf(upcall: Upcall & { type: 'cache-invalidation' }): LegacyDict | undefined {
  if (upcall.xdata === undefined) return undefined
  const legacy: LegacyDict = new Map()
  for (const key of upcall.xdata.entries.keys()) {
    const bytes = upcall.xdata.getBytes(key)
    if (bytes !== undefined) legacy.set(key, bytes)
  }
  return legacy
}
