/** Socket options Node has no method for, set through setsockopt(2). */
import type { Socket } from 'node:net'
import koffi from 'koffi'

const SOL_TCP = 6
const TCP_KEEPINTVL = 5
const TCP_KEEPCNT = 6
const TCP_USER_TIMEOUT = 18

type SetSockOpt = (fd: number, level: number, name: number, value: number[], size: number) => number
let setsockopt: SetSockOpt | undefined

function setInt(fd: number, name: number, value: number): boolean {
  setsockopt ??= koffi
    .load('libc.so.6')
    .func('int setsockopt(int fd, int level, int name, const int *value, uint32_t size)')
  return setsockopt!(fd, SOL_TCP, name, [value], 4) === 0
}

/** Seconds between keepalive probes and how many may be lost; `userTimeoutMs` 0 = the kernel's. */
export interface TcpTimeouts {
  readonly keepaliveInterval: number
  readonly keepaliveCount: number
  readonly userTimeoutMs: number
}

/** False when the kernel refused one, or the socket has no descriptor (TLS wrappers). */
export function setTcpTimeouts(socket: Socket, timeouts: TcpTimeouts): boolean {
  const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd
  if (fd === undefined || fd < 0) return false
  let ok = setInt(fd, TCP_KEEPINTVL, timeouts.keepaliveInterval)
  ok = setInt(fd, TCP_KEEPCNT, timeouts.keepaliveCount) && ok
  if (timeouts.userTimeoutMs > 0) ok = setInt(fd, TCP_USER_TIMEOUT, timeouts.userTimeoutMs) && ok
  return ok
}
