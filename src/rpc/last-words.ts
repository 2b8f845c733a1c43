/**
 * What this process has sent is to reach the bricks even if it is killed. A connection that dies
 * with answers unread is reset by the kernel, and a brick that sees the reset drops the requests it
 * has received but not read, each brick others. So every connection's descriptor also travels in a
 * message on a pair of UNIX sockets that is never received; a second process that has the pair's
 * end (src/cli/watchdog.ts) keeps the connections open for as long as it lives.
 */
import koffi from 'koffi'
import { addressOf, bind } from '../sys/libc.ts'

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_CMSG_CLOEXEC = 0x40000000
/** Descriptors in one message; SCM_MAX_FD is 253. */
const DESCRIPTORS_MAX = 250

// struct msghdr and cmsghdr of 64-bit Linux.
const MESSAGE_BYTES = 56
const CONTROL_HEAD_BYTES = 16

type Pass = (socket: number, message: Buffer, flags: number) => number

class Keeper {
  /** The end for the other process. */
  readonly end: number
  readonly #own: number
  readonly #control = Buffer.alloc(CONTROL_HEAD_BYTES + 4 * DESCRIPTORS_MAX)
  readonly #message = Buffer.alloc(MESSAGE_BYTES)
  readonly #byte = Buffer.alloc(1)
  readonly #vector = Buffer.alloc(16)
  readonly #send: Pass = bind('long sendmsg(int socket, const uint8_t *message, int flags)')
  readonly #receive: Pass = bind('long recvmsg(int socket, uint8_t *message, int flags)')
  readonly #close: (fd: number) => number = bind('int close(int fd)')

  private constructor(own: number, end: number) {
    this.#own = own
    this.end = end
    this.#vector.writeBigUInt64LE(addressOf(this.#byte))
    this.#vector.writeBigUInt64LE(1n, 8)
    this.#message.writeBigUInt64LE(addressOf(this.#vector), 16)
    this.#message.writeBigUInt64LE(1n, 24)
    this.#message.writeBigUInt64LE(addressOf(this.#control), 32)
  }

  static create(): Keeper | undefined {
    const pair = [-1, -1]
    const library = koffi.load(null)
    const socketpair = library.func('int socketpair(int, int, int, _Out_ int *)')
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC
    if (socketpair(AF_UNIX, type, 0, pair) !== 0) return undefined
    return new Keeper(pair[0]!, pair[1]!)
  }

  /** Keeps these and no others. */
  keep(fds: readonly number[]): void {
    while (this.#takeBack());
    for (let i = 0; i < fds.length; i += DESCRIPTORS_MAX) {
      const some = fds.slice(i, i + DESCRIPTORS_MAX)
      this.#head(some.length)
      for (const [index, fd] of some.entries()) {
        this.#control.writeInt32LE(fd, CONTROL_HEAD_BYTES + 4 * index)
      }
      // Without it the connections end with this process, as anybody's do.
      this.#send(this.#own, this.#message, 0)
    }
  }

  #head(count: number): void {
    const length = BigInt(CONTROL_HEAD_BYTES + 4 * count)
    this.#control.writeBigUInt64LE(length)
    this.#control.writeInt32LE(SOL_SOCKET, 8)
    this.#control.writeInt32LE(SCM_RIGHTS, 12)
    this.#message.writeBigUInt64LE(length, 40)
  }

  #takeBack(): boolean {
    this.#message.writeBigUInt64LE(BigInt(this.#control.length), 40)
    this.#control.writeBigUInt64LE(0n)
    if (this.#receive(this.end, this.#message, MSG_CMSG_CLOEXEC) < 0) return false
    // The message's own length counts padding, too.
    const length = Number(this.#control.readBigUInt64LE())
    for (let at = CONTROL_HEAD_BYTES; at + 4 <= length; at += 4) {
      this.#close(this.#control.readInt32LE(at))
    }
    return true
  }
}

/** By owner: a number is given to another connection as soon as the first one fails. */
const open = new Map<object, number>()
let keeper: Keeper | undefined

/** The descriptor of `owner`'s connection, from when it is open until `forgetConnection`. */
export function keepConnection(owner: object, fd: number): void {
  open.set(owner, fd)
  keeper?.keep([...open.values()])
}

export function forgetConnection(owner: object): void {
  if (open.delete(owner)) keeper?.keep([...open.values()])
}

/**
 * The descriptor that a child process is to have: while it does, this process's connections
 * outlive it. Undefined when the kernel refuses.
 */
export function keepersEnd(): number | undefined {
  keeper ??= Keeper.create()
  keeper?.keep([...open.values()])
  return keeper?.end
}
