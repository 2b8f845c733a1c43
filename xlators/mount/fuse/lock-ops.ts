/** GETLK, SETLK, SETLKW and INTERRUPT. flock(2) is a POSIX lock on the whole file, as in stock. */
import { E, type Errno, errnoName } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_GETLK, F_SETLK, F_SETLKW, F_UNLCK, type Flock } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { type LkIn, OFFSET_MAX } from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest, Serving } from '../../../src/fuse/request.ts'
import { useFile } from './file-ops.ts'
import type { OpenFile } from './files.ts'
import type { FuseBridge } from './index.ts'
import { openLate } from './listings.ts'

type Ops = Pick<FuseOps, 'getlk' | 'setlk' | 'setlkw' | 'interrupt'>

/** A SETLKW that waits on the bricks. */
interface Blocked {
  readonly request: FuseRequest
  readonly fd: Fd
  readonly flock: Flock
  /** The caller has been told EINTR; should the lock be granted all the same, it is given back. */
  interrupted: boolean
  /** The bricks were asked to let go of it, because another graph takes over. */
  leaving: boolean
}

export class LockOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  /** By the kernel's number of the request. */
  readonly #blocked = new Map<number, Blocked>()

  readonly #setlk = async (request: FuseRequest, input: LkIn, cmd: number): Promise<void> => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const unopened = await openLate(request, file)
    if (unopened !== 0) return void request.error(unopened)
    const { fd } = file
    const flock = flockOf(input)
    const frame = request.frame.with({ lkOwner: input.lockOwner })
    const waiting: Blocked = { request, fd, flock, interrupted: false, leaving: false }
    const waits = cmd === F_SETLKW && flock.type !== F_UNLCK
    if (waits) this.#blocked.set(request.unique, waiting)
    const errno = await this.#lock(frame, file, cmd, waiting)
    this.#blocked.delete(request.unique)
    if (errno === 0 && flock.type !== F_UNLCK) file.hasLocks = true
    if (!waiting.interrupted) {
      if (errno !== 0) request.error(errno)
      else if (!request.ok() && waits) waiting.interrupted = true
    }
    // Granted while the caller was being told EINTR: nobody would ever unlock it.
    if (waiting.interrupted && errno === 0) await this.#unlock(frame, request.top, fd, flock)
  }

  /**
   * Asks for the lock, and asks the next graph when another one takes over meanwhile: a lock that
   * the old graph's connections get too late ends with them. 0 or the errno.
   */
  readonly #lock = async (
    frame: Frame,
    file: OpenFile,
    cmd: number,
    waiting: Blocked,
  ): Promise<0 | Errno> => {
    const { request, fd, flock } = waiting
    for (;;) {
      const { top } = request
      waiting.leaving = false
      const rep = await frame.wind(top, 'lk', { fd, cmd, flock })
      const left = waiting.leaving && (rep.errno === E.INTR || rep.errno === E.AGAIN)
      if (waiting.interrupted || (rep.errno !== 0 && !left)) return rep.errno
      if (!left && this.#bridge.isServed(request, file)) return 0
      await this.#bridge.moveOn(request, file)
      // Had it moved along with the file already, asking for it once more does no harm.
      if (!left) await this.#unlock(frame, top, fd, flock)
      if (waiting.interrupted) return E.INTR
      // The answered frames would hold the old graph for as long as the lock is waited for.
      frame.stack.compact()
    }
  }

  readonly #unlock = async (frame: Frame, top: Xlator, fd: Fd, flock: Flock): Promise<void> => {
    const unlock = { ...flock, type: F_UNLCK }
    const undo = await frame.wind(top, 'lk', { fd, cmd: F_SETLK, flock: unlock })
    if (undo.errno === 0) return
    this.#bridge.log.error(
      { errno: errnoName(undo.errno) },
      'a lock nobody holds any more could not be undone',
    )
  }

  /** Asks the bricks to let go of a waiting lock; its own reply tells whether they did. */
  readonly #giveUp = async ({ request, fd, flock }: Blocked, frame: Frame): Promise<0 | Errno> => {
    const name = `glusterfs.intrlk.tposix.kblocked.${flock.whence},${flock.start}-${flock.len}`
    const asOwner = frame.with({ ...request.frame.creds, lkOwner: flock.lkOwner })
    const rep = await asOwner.wind(request.top, 'fgetxattr', { fd, name })
    if (rep.errno !== 0) {
      this.#bridge.log.info({ errno: errnoName(rep.errno) }, 'a waiting lock could not be given up')
    }
    return rep.errno
  }

  /** Another graph takes over from `serving`: what waits there for a lock will wait on the new. */
  leave = async (serving: Serving, frame: Frame): Promise<void> => {
    const leaving = [...this.#blocked.values()].filter(({ request }) => request.serving === serving)
    await Promise.all(
      leaving.map((waiting) => {
        waiting.leaving = true
        return this.#giveUp(waiting, frame)
      }),
    )
  }

  getlk: Ops['getlk'] = async (request, input) => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const frame = request.frame.with({ lkOwner: input.lockOwner })
    const flock = flockOf(input)
    const rep = await frame.wind(request.top, 'lk', { fd: file.fd, cmd: F_GETLK, flock })
    if (rep.errno !== 0) return void request.error(rep.errno)
    const { type, start, len, pid } = rep.flock
    if (type === F_UNLCK) request.lock({ start: 0n, end: 0n, type, pid: 0 })
    else request.lock({ start, end: len === 0n ? OFFSET_MAX : start + len - 1n, type, pid })
  }

  setlk: Ops['setlk'] = (request, input) => {
    return this.#setlk(request, input, F_SETLK)
  }

  setlkw: Ops['setlkw'] = (request, input) => {
    return this.#setlk(request, input, F_SETLKW)
  }

  /**
   * A caller got a signal. Only a waiting lock is given up: the bricks are asked to let go of it,
   * and then the caller is answered at once. One reader sees requests in order, so an unknown
   * number is one answered in the meantime.
   */
  interrupt: Ops['interrupt'] = async (request, unique) => {
    const waiting = this.#blocked.get(unique)
    if (waiting === undefined || waiting.interrupted) return
    const between = waiting.request.serving === undefined
    if (!between && (await this.#giveUp(waiting, request.frame)) !== 0) return
    if (this.#blocked.get(unique) !== waiting) return
    waiting.interrupted = true
    waiting.request.error(E.INTR)
  }
}

function flockOf(input: LkIn): Flock {
  const { type, start, end, pid, lockOwner: lkOwner } = input
  const len = end >= OFFSET_MAX ? 0n : end - start + 1n
  return { type, whence: 0, start, len, pid, lkOwner }
}
