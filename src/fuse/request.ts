import { assert } from '../core/assert.ts'
import { E, type Errno } from '../core/errno.ts'
import type { Frame } from '../core/frame.ts'
import type { Gfid } from '../core/gfid.ts'
import type { Iatt } from '../core/iatt.ts'
import type { Xlator } from '../core/xlator.ts'
import * as abi from './abi.ts'
import { OUT_HEADER_BYTES, u64 } from './abi.ts'
import type { FuseDevice } from './device.ts'

/** Where a fixed-size reply's body begins in the device's scratch buffer. */
const AT = OUT_HEADER_BYTES

/** A graph that serves requests, and how many of them are under way on it. */
export interface Serving {
  readonly graph: { readonly top: Xlator }
  requests: number
}

/**
 * A request of the kernel on its way through the file system. It is answered exactly once; every
 * answering method says whether the kernel took the answer (`false`: the caller is gone, what the
 * answer handed out must be taken back).
 */
export class FuseRequest {
  readonly device: FuseDevice
  readonly opcode: number
  /** Exact: the kernel counts them up from 2. */
  readonly unique: number
  readonly nodeid: number
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly frame: Frame
  /** INIT comes before there is one. */
  serving: Serving | undefined
  answered = false
  /** Called when the handler is through; lets go of what it held. */
  cleanup: (() => void) | undefined

  constructor(device: FuseDevice, message: Buffer, frame: Frame, serving: Serving | undefined) {
    this.device = device
    this.opcode = message.readUInt32LE(4)
    this.unique = u64(message, 8)
    this.nodeid = u64(message, 16)
    this.uid = message.readUInt32LE(24)
    this.gid = message.readUInt32LE(28)
    this.pid = message.readUInt32LE(32)
    this.frame = frame
    this.serving = serving
  }

  /** Top of the graph the request is served by: the one it began on, unless it was moved. */
  get top(): Xlator {
    assert(this.serving !== undefined, 'a request needs a graph and there is none')
    return this.serving.graph.top
  }

  #send(bodyBytes: number): boolean {
    this.answered = true
    return this.device.reply(this.unique, bodyBytes)
  }

  ok(): boolean {
    return this.#send(0)
  }

  /**
   * ENOSYS would make the kernel never ask again, so what a brick answers with it becomes
   * EOPNOTSUPP: "not on this object".
   */
  error(errno: Errno): boolean {
    this.answered = true
    return this.device.replyError(this.unique, errno === E.NOSYS ? E.OPNOTSUPP : errno)
  }

  entry(entry: abi.EntryOut): boolean {
    abi.putEntry(this.device.scratch, AT, entry, this.device.style)
    return this.#send(abi.ENTRY_OUT_BYTES)
  }

  negativeEntry(valid: abi.Validity): boolean {
    abi.putNegativeEntry(this.device.scratch, AT, valid)
    return this.#send(abi.ENTRY_OUT_BYTES)
  }

  created(entry: abi.EntryOut, fh: number, openFlags: number): boolean {
    abi.putEntry(this.device.scratch, AT, entry, this.device.style)
    abi.putOpen(this.device.scratch, AT + abi.ENTRY_OUT_BYTES, fh, openFlags)
    return this.#send(abi.ENTRY_OUT_BYTES + abi.OPEN_OUT_BYTES)
  }

  attr(gfid: Gfid, stat: Iatt, valid: abi.Validity): boolean {
    abi.putAttrOut(this.device.scratch, AT, gfid, stat, valid, this.device.style)
    return this.#send(abi.ATTR_OUT_BYTES)
  }

  opened(fh: number, openFlags: number): boolean {
    abi.putOpen(this.device.scratch, AT, fh, openFlags)
    return this.#send(abi.OPEN_OUT_BYTES)
  }

  count(count: number): boolean {
    abi.putCount(this.device.scratch, AT, count)
    return this.#send(8)
  }

  offset(offset: number): boolean {
    abi.putOffset(this.device.scratch, AT, offset)
    return this.#send(8)
  }

  statfs(statfs: abi.StatfsOut): boolean {
    abi.putStatfs(this.device.scratch, AT, statfs)
    return this.#send(abi.STATFS_OUT_BYTES)
  }

  lock(lock: { start: bigint; end: bigint; type: number; pid: number }): boolean {
    abi.putLock(this.device.scratch, AT, lock)
    return this.#send(abi.LOCK_OUT_BYTES)
  }

  init(init: abi.InitOut): boolean {
    abi.putInit(this.device.scratch, AT, init)
    return this.#send(abi.INIT_OUT_BYTES)
  }

  /** File data, directory records, a link text, an xattr: `size` bytes in all of `data`. */
  data(data: readonly Buffer[], size: number): boolean {
    this.answered = true
    return this.device.replyData(this.unique, data, size)
  }
}
