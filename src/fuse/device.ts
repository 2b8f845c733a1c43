/**
 * /dev/fuse: takes requests off it, writes replies and notifications to it.
 *
 * Node offers no readiness events for a character device, and reading it on the thread pool costs
 * two thread hand-overs a request. So libuv is made to read it itself: a net.Socket is opened on
 * one end of a pipe and, before libuv has registered the descriptor with epoll, dup3(2) puts
 * /dev/fuse in its place. From then on every request is one epoll wake-up and one read(2) straight
 * into our buffer, sockets and timers get their turn in between, and an idle mount costs nothing.
 *
 * Measured on 2 CPUs, one caller, stat(2) = LOOKUP + GETATTR, us a call: this 24; the thread pool
 * 127; draining with read(2) in a setImmediate loop that blocks in an own epoll set 127.
 */
import * as fs from 'node:fs'
import { Socket, type SocketConstructorOpts } from 'node:net'
import { assert } from '../core/assert.ts'
import { busyPoll } from '../core/busy-poll.ts'
import { allocateData } from '../core/data-memory.ts'
import { type Errno, errnoOfError } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { type AttrStyle, OUT_HEADER_BYTES } from './abi.ts'
import { duplicate, pipe, writeFd } from './libc.ts'
import type { FuseRecorder } from './recorder.ts'

/** Largest READ and WRITE, bytes: 256 pages, the kernel's limit (fs.fuse.max_pages_limit). */
export const IO_BYTES_MAX = 1048576
/** Largest request: a WRITE with its headers; SETXATTR (64 KiB) and BATCH_FORGET fit as well. */
const MESSAGE_BYTES_MAX = IO_BYTES_MAX + 4096
/**
 * Requests are read into a slab of this many largest requests; WRITE data stays in it. Translators
 * that keep data copy it out of a slab of more than three (performance/buffers.ts).
 */
const SLAB_MESSAGES = 2
export const SLAB_BYTES = SLAB_MESSAGES * MESSAGE_BYTES_MAX
/** WRITE data up to this size is copied, so that a few bytes do not hold a slab in memory. */
const COPY_BYTES_MAX = 32768
/** Replies up to this size are joined and written from one buffer, which is cheaper than writev. */
const SCRATCH_BYTES = 16384
/** iovecs of one writev(2) (UIO_MAXIOV is 1024, one is the header). */
const VECTORS_MAX = 1000

export type OnMessage = (message: Buffer, end: number) => void

export class FuseDevice {
  readonly style: AttrStyle
  /** Takes a copy of every message. */
  recorder: FuseRecorder | undefined
  /** Fixed-size replies are built here, behind room for the header, and sent at once. */
  readonly scratch = Buffer.alloc(SCRATCH_BYTES)
  readonly #header: Buffer
  /** Resolves when the kernel has let go of the mount (unmounted or aborted) or we closed it. */
  readonly closed: Promise<void>
  #resolveClosed!: () => void
  #fd = -1
  #socket: Socket | undefined
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #slabUsed = 0
  #window: Buffer
  /** Bytes of the current message that were given away. */
  #taken = 0
  #notifying = 0
  #isClosed = false

  constructor(style: AttrStyle) {
    this.style = style
    this.#header = this.scratch.subarray(0, OUT_HEADER_BYTES)
    this.#window = this.#slab.subarray(0, MESSAGE_BYTES_MAX)
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve
    })
  }

  /** The descriptor to mount with. */
  get fd(): number {
    return this.#fd
  }

  /** Opens the device. Throws GlusterError FUSE_DEVICE. */
  open(path = '/dev/fuse'): void {
    try {
      this.#fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
    } catch (error) {
      const errno = errnoOfError(error)
      const code = (error as { code?: string }).code
      const advice =
        code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV'
          ? 'load the kernel module (modprobe fuse), or give the container the device'
          : 'mounting needs root'
      throw new GlusterError('FUSE_DEVICE', `cannot open ${path} (${code}): ${advice}`, {
        cause: error,
        errno,
      })
    }
  }

  /** Begins to read requests; the device must be mounted (before, it has none and read fails). */
  start(onMessage: OnMessage): void {
    const ends = pipe()
    if (ends === undefined) throw new GlusterError('FUSE_DEVICE', 'no pipe: out of descriptors')
    const onread = {
      buffer: () => this.#window,
      callback: (length: number) => {
        this.recorder?.record('R', [this.#window.subarray(0, length)])
        busyPoll.arrived()
        onMessage(this.#window, length)
        if (this.#taken > 0) this.#advance()
        return true
      },
    }
    // `onread` is documented for new net.Socket too; its type declarations only know connect().
    const how: SocketConstructorOpts & { onread: typeof onread } = {
      fd: ends.read,
      readable: true,
      writable: false,
      onread,
    }
    const socket = new Socket(how)
    // ENODEV and ECONNABORTED are how the kernel says good-bye.
    socket.on('error', () => {})
    socket.on('close', () => this.close())
    const replaced = duplicate(this.#fd, ends.read)
    fs.closeSync(ends.write)
    assert(replaced, 'dup3 onto an open descriptor failed')
    this.#socket = socket
  }

  /** Leaves further requests in the kernel. */
  pause(): void {
    this.#socket?.pause()
  }

  resume(): void {
    this.#socket?.resume()
  }

  /**
   * The part of the current message at `at`, to keep. Only while the message is being handled;
   * large parts are given away without a copy and the next message is read elsewhere.
   */
  take(at: number, size: number): Buffer {
    if (size <= COPY_BYTES_MAX) return Buffer.from(this.#window.subarray(at, at + size))
    this.#taken = at + size
    return this.#window.subarray(at, at + size)
  }

  #advance(): void {
    this.#slabUsed += (this.#taken + 63) & ~63
    this.#taken = 0
    if (this.#slabUsed + MESSAGE_BYTES_MAX > this.#slab.length) {
      this.#slab = allocateData(SLAB_BYTES)
      this.#slabUsed = 0
    }
    this.#window = this.#slab.subarray(this.#slabUsed, this.#slabUsed + MESSAGE_BYTES_MAX)
  }

  /**
   * Sends the `bodyBytes` built in `scratch` behind the header. False: the kernel did not take the
   * reply, because the caller was interrupted meanwhile or the mount is gone.
   */
  reply(unique: number, bodyBytes: number): boolean {
    this.#putHeader(unique, 0, bodyBytes)
    return this.#writeScratch(OUT_HEADER_BYTES + bodyBytes)
  }

  replyError(unique: number, errno: Errno): boolean {
    this.#putHeader(unique, -errno, 0)
    return this.#writeScratch(OUT_HEADER_BYTES)
  }

  /** Sends `size` bytes of data, all there is in `data`. */
  replyData(unique: number, data: readonly Buffer[], size: number): boolean {
    this.#putHeader(unique, 0, size)
    if (OUT_HEADER_BYTES + size <= SCRATCH_BYTES) {
      let at = OUT_HEADER_BYTES
      for (const part of data) at += part.copy(this.scratch, at)
      return this.#writeScratch(at)
    }
    if (this.#isClosed) return false
    const body = data.length > VECTORS_MAX ? [Buffer.concat(data as Buffer[])] : data
    this.recorder?.record('W', [this.#header, ...body])
    try {
      fs.writevSync(this.#fd, [this.#header, ...body])
      return true
    } catch (error) {
      return notTaken(error)
    }
  }

  #putHeader(unique: number, error: number, bodyBytes: number): void {
    const { scratch } = this
    scratch.writeUInt32LE(OUT_HEADER_BYTES + bodyBytes, 0)
    scratch.writeInt32LE(error, 4)
    scratch.writeUInt32LE(unique >>> 0, 8)
    scratch.writeUInt32LE(Math.floor(unique / 0x100000000), 12)
  }

  #writeScratch(size: number): boolean {
    if (this.#isClosed) return false
    this.recorder?.record('W', [this.scratch.subarray(0, size)])
    if (writeFd(this.#fd, this.scratch, size) === size) return true
    // Again the slow way, for the reason.
    try {
      fs.writeSync(this.#fd, this.scratch, 0, size)
      return true
    } catch (error) {
      return notTaken(error)
    }
  }

  /**
   * Sends a notification that waits for nothing in the kernel: attributes only. It is done before
   * the reply that follows.
   */
  notifyNow(message: Buffer): void {
    if (this.#isClosed) return
    this.recorder?.record('W', [message])
    writeFd(this.#fd, message, message.length)
  }

  /**
   * Sends a notification from a pool thread, because the kernel may make it wait for locks held by
   * requests that are still to be answered here. Resolves to 0 or what the kernel said: ENOENT when
   * it did not know the object.
   */
  notify(message: Buffer): Promise<0 | Errno> {
    if (this.#isClosed) return Promise.resolve(0)
    this.recorder?.record('W', [message])
    this.#notifying++
    return new Promise((resolve) => {
      fs.write(this.#fd, message, 0, message.length, null, (error) => {
        this.#notifying--
        if (this.#isClosed) this.#closeFd()
        resolve(error === null ? 0 : errnoOfError(error))
      })
    })
  }

  /** Lets go of the device; a mount that still stands becomes unusable. Idempotent. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket?.destroy()
    this.recorder?.close()
    this.#closeFd()
    this.#resolveClosed()
  }

  /** A notification under way keeps the descriptor's number from being used for another file. */
  #closeFd(): void {
    if (this.#notifying > 0 || this.#fd < 0) return
    fs.closeSync(this.#fd)
    this.#fd = -1
  }
}

/** ENOENT: the request is no longer there. ENODEV: nor is the mount. Anything else is a bug. */
function notTaken(error: unknown): false {
  const code = (error as { code?: string }).code
  assert(code === 'ENOENT' || code === 'ENODEV' || code === 'EPERM', `reply refused: ${code}`)
  return false
}
