/** Socket options Node has no method for, set through setsockopt(2). */
import type { Socket } from 'node:net'
import koffi from 'koffi'

const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_SNDBUFFORCE = 32
const SOL_TCP = 6
const TCP_KEEPINTVL = 5
const TCP_KEEPCNT = 6
const TCP_USER_TIMEOUT = 18

type SetSockOpt = (fd: number, level: number, name: number, value: number[], size: number) => number
let setsockopt: SetSockOpt | undefined

function setInt(fd: number, level: number, name: number, value: number): boolean {
  setsockopt ??= koffi
    .load('libc.so.6')
    .func('int setsockopt(int fd, int level, int name, const int *value, uint32_t size)')
  return setsockopt!(fd, level, name, [value], 4) === 0
}

/**
 * What the kernel may hold of bytes to be sent, which it counts twice. Its own choice, on a new
 * Ethernet connection, has room for no more than one large write: of further ones only parts would
 * be on their way should this process be killed. No more is used than is sent.
 */
const ROOM_BYTES = 2 * 2 ** 20

export interface SocketTuning {
  /** Seconds between keepalive probes. */
  readonly keepaliveInterval: number
  /** Probes that may be lost. */
  readonly keepaliveCount: number
  /** How long sent data may stay unacknowledged; 0 = as the kernel does. */
  readonly userTimeoutMs: number
  /** Of the send and the receive buffer; 0 = ROOM_BYTES for sending, else as the kernel does. */
  readonly windowBytes: number
}

/** False when the kernel refused one, or the socket has no descriptor. */
export function tuneSocket(socket: Socket, tuning: SocketTuning): boolean {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
  if (fd === undefined || fd < 0) return false
  let ok = setInt(fd, SOL_TCP, TCP_KEEPINTVL, tuning.keepaliveInterval)
  ok = setInt(fd, SOL_TCP, TCP_KEEPCNT, tuning.keepaliveCount) && ok
  const { userTimeoutMs, windowBytes } = tuning
  if (userTimeoutMs > 0) ok = setInt(fd, SOL_TCP, TCP_USER_TIMEOUT, userTimeoutMs) && ok
  if (windowBytes === 0) {
    // Without the privilege the kernel's choice stays.
    setInt(fd, SOL_SOCKET, SO_SNDBUFFORCE, ROOM_BYTES)
    return ok
  }
  ok = setInt(fd, SOL_SOCKET, SO_SNDBUF, windowBytes) && ok
  return setInt(fd, SOL_SOCKET, SO_RCVBUF, windowBytes) && ok
}
