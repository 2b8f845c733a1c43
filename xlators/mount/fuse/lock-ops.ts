/** GETLK, SETLK, SETLKW and INTERRUPT. flock(2) is a POSIX lock on the whole file, as in stock. */
import { E, errnoName } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import { F_GETLK, F_SETLK, F_SETLKW, F_UNLCK, type Flock } from '../../../src/core/fop.ts'
import { type LkIn, OFFSET_MAX } from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import { useFile } from './file-ops.ts'
import type { FuseBridge } from './index.ts'

type Ops = Pick<FuseOps, 'getlk' | 'setlk' | 'setlkw' | 'interrupt'>

/** A SETLKW that waits on the bricks. */
interface Blocked {
  readonly request: FuseRequest
  readonly fd: Fd
  readonly flock: Flock
  /** The caller has been told EINTR; should the lock be granted all the same, it is given back. */
  interrupted: boolean
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
    const { fd } = file
    const flock = flockOf(input)
    const frame = request.frame.with({ lkOwner: input.lockOwner })
    if (cmd !== F_SETLKW || flock.type === F_UNLCK) {
      const rep = await frame.wind(request.top, 'lk', { fd, cmd, flock })
      if (rep.errno !== 0) return void request.error(rep.errno)
      if (flock.type !== F_UNLCK) file.hasLocks = true
      request.ok()
      return
    }
    const waiting: Blocked = { request, fd, flock, interrupted: false }
    this.#blocked.set(request.unique, waiting)
    const rep = await frame.wind(request.top, 'lk', { fd, cmd, flock })
    this.#blocked.delete(request.unique)
    if (rep.errno === 0) file.hasLocks = true
    if (!waiting.interrupted) {
      if (rep.errno !== 0) request.error(rep.errno)
      else if (!request.ok()) waiting.interrupted = true
    }
    if (waiting.interrupted && rep.errno === 0) {
      // Granted while the caller was being told EINTR: nobody would ever unlock it.
      const unlock = { ...flock, type: F_UNLCK }
      const undo = await frame.wind(request.top, 'lk', { fd, cmd: F_SETLK, flock: unlock })
      if (undo.errno !== 0) {
        this.#bridge.log.error(
          { errno: errnoName(undo.errno) },
          'an interrupted lock could not be undone',
        )
      }
    }
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
    const { fd, flock } = waiting
    const name = `glusterfs.intrlk.tposix.kblocked.${flock.whence},${flock.start}-${flock.len}`
    const frame = request.frame.with({ ...waiting.request.frame.creds, lkOwner: flock.lkOwner })
    const rep = await frame.wind(waiting.request.top, 'fgetxattr', { fd, name })
    if (rep.errno !== 0) {
      this.#bridge.log.info({ errno: errnoName(rep.errno) }, 'a waiting lock could not be given up')
      return
    }
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
