/**
 * Remote fds: what a brick calls our open files. They end with the connection that opened them;
 * the next one opens them again before the brick is announced as up.
 */
import { FdContext } from '../../../src/core/context.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_SETLK, F_SETLKW, type Flock } from '../../../src/core/fop.ts'
import { type Gfid, NULL_GFID } from '../../../src/core/gfid.ts'
import { isDirInode } from '../../../src/core/inode.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { ANONYMOUS_FD } from '../../../src/xdr/glusterfs-fops.ts'
import { XdrError } from '../../../src/xdr/reader.ts'
import { LockLedger } from './locks.ts'

const O_CREAT = 0o100
const O_EXCL = 0o200
const O_TRUNC = 0o1000

/** Uses of a lost fd after which opening it again is tried once more. */
const LOST_USES_MAX = 1024

/** An fd as one brick knows it. */
export interface RemoteFd {
  /** The brick's number; `undefined` after the connection was lost. */
  number: number | undefined
  readonly gfid: Gfid
  readonly directory: boolean
  /** Linux open flags for opening it again. */
  readonly flags: number
  readonly locks: LockLedger
  /** Fops since it was lost, up to LOST_USES_MAX. */
  lostUses: number
  /** The file was closed. */
  released: boolean
}

export interface RemoteFdEvents {
  /** A lost fd goes on being used. */
  usedLost(): void
  /** The fd was opened once more; the brick may forget what it had before. */
  superseded(remote: RemoteFd): void
}

export class RemoteFds {
  readonly #contexts: FdContext<RemoteFd>
  /** Every fd opened on this brick and not released. */
  readonly #open = new Map<Fd, RemoteFd>()

  readonly #events: RemoteFdEvents

  constructor(xl: Xlator, events: RemoteFdEvents) {
    this.#contexts = new FdContext<RemoteFd>(xl)
    this.#events = events
  }

  get count(): number {
    return this.#open.size
  }

  remotes(): IterableIterator<RemoteFd> {
    return this.#open.values()
  }

  /** The brick opened `fd` as `number`. `gfid` where the inode has none yet (create). */
  opened(fd: Fd, number: number, flags: number, gfid: Gfid = NULL_GFID): void {
    if (number < 0) throw new XdrError('fd', 0, `${number} is no number of an open file`)
    const before = this.#contexts.get(fd)
    if (before?.number !== undefined) this.#events.superseded(before)
    const remote: RemoteFd = {
      number,
      gfid: fd.inode.gfid !== NULL_GFID ? fd.inode.gfid : gfid,
      directory: isDirInode(fd.inode),
      flags: flags & ~(O_CREAT | O_EXCL | O_TRUNC),
      locks: new LockLedger(),
      lostUses: 0,
      released: false,
    }
    this.#contexts.set(fd, remote)
    this.#open.set(fd, remote)
  }

  /**
   * What to send for `fd`: the brick's number; -2 for an fd never opened there (self-heal, a brick
   * that was down at open), and, where the fop allows it, for a lost one without locks. `undefined`
   * is EBADFD: the fd was lost, and going on without it could break what it stood for.
   */
  remote(fd: Fd, anonymousWhenLost: boolean): number | undefined {
    const remote = this.#contexts.get(fd)
    if (remote === undefined) return ANONYMOUS_FD
    if (remote.number !== undefined) return remote.number
    if (++remote.lostUses >= LOST_USES_MAX) {
      remote.lostUses = 0
      this.#events.usedLost()
    }
    if (anonymousWhenLost && !remote.directory && !remote.locks.held) return ANONYMOUS_FD
    return undefined
  }

  /** A lock request of `owner` was granted. */
  locked(fd: Fd, owner: Buffer, cmd: number, flock: Flock): void {
    if (cmd !== F_SETLK && cmd !== F_SETLKW) return
    this.#contexts.get(fd)?.locks.granted(owner, flock)
  }

  flushed(fd: Fd, owner: Buffer): void {
    this.#contexts.get(fd)?.locks.flushed(owner)
  }

  /** The connection is gone, and every remote fd with it. */
  lost(): void {
    for (const remote of this.#open.values()) remote.number = undefined
  }

  /** Lost fds that may be opened again. With strict locks those that held locks may not. */
  toReopen(strictLocks: boolean): RemoteFd[] {
    const reopen: RemoteFd[] = []
    for (const remote of this.#open.values()) {
      if (remote.number === undefined && !(strictLocks && remote.locks.held)) reopen.push(remote)
    }
    return reopen
  }

  /** The file is closed; gives what the brick is to be told of, if anything. */
  released(fd: Fd): RemoteFd | undefined {
    const remote = this.#contexts.get(fd)
    if (remote === undefined) return undefined
    this.#contexts.delete(fd)
    this.#open.delete(fd)
    remote.released = true
    return remote
  }
}
