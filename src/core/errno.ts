/**
 * Errno numbers as they travel on the wire and to the kernel: Linux x86-64 values 1..131
 * (asm-generic/errno.h). GlusterFS sends them unchanged between Linux peers.
 */
export const E = {
  PERM: 1,
  NOENT: 2,
  SRCH: 3,
  INTR: 4,
  IO: 5,
  NXIO: 6,
  TOOBIG: 7,
  NOEXEC: 8,
  BADF: 9,
  CHILD: 10,
  AGAIN: 11,
  NOMEM: 12,
  ACCES: 13,
  FAULT: 14,
  NOTBLK: 15,
  BUSY: 16,
  EXIST: 17,
  XDEV: 18,
  NODEV: 19,
  NOTDIR: 20,
  ISDIR: 21,
  INVAL: 22,
  NFILE: 23,
  MFILE: 24,
  NOTTY: 25,
  TXTBSY: 26,
  FBIG: 27,
  NOSPC: 28,
  SPIPE: 29,
  ROFS: 30,
  MLINK: 31,
  PIPE: 32,
  DOM: 33,
  RANGE: 34,
  DEADLK: 35,
  NAMETOOLONG: 36,
  NOLCK: 37,
  NOSYS: 38,
  NOTEMPTY: 39,
  LOOP: 40,
  NOMSG: 42,
  NODATA: 61,
  TIME: 62,
  REMOTE: 66,
  PROTO: 71,
  BADMSG: 74,
  OVERFLOW: 75,
  BADFD: 77,
  ILSEQ: 84,
  USERS: 87,
  NOTSOCK: 88,
  MSGSIZE: 90,
  PROTONOSUPPORT: 93,
  OPNOTSUPP: 95,
  ADDRINUSE: 98,
  ADDRNOTAVAIL: 99,
  NETDOWN: 100,
  NETUNREACH: 101,
  CONNABORTED: 103,
  CONNRESET: 104,
  NOBUFS: 105,
  NOTCONN: 107,
  TIMEDOUT: 110,
  CONNREFUSED: 111,
  HOSTDOWN: 112,
  HOSTUNREACH: 113,
  ALREADY: 114,
  INPROGRESS: 115,
  STALE: 116,
  DQUOT: 122,
  CANCELED: 125,
} as const

/** A non-zero errno. Numbers outside the table (a newer peer) keep their value and this type. */
export type Errno = (typeof E)[keyof typeof E]

const names = new Map<number, string>(
  Object.entries(E).map(([name, value]) => [value, name === 'TOOBIG' ? 'E2BIG' : `E${name}`]),
)

/** `ENOENT` for 2; `errno 523` for a number that has no name here. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`
}

/**
 * The errno of an error reply read off the wire. A peer that reports failure with 0 or with a
 * number no kernel accepts (FUSE takes 1..511) is answered for with EIO.
 */
export function toErrno(value: number): Errno {
  return (value > 0 && value < 512 ? value : E.IO) as Errno
}

/** The errno named by a Node system error (`err.code`), EIO when it has none. */
export function errnoOfError(error: unknown): Errno {
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code !== 'string' || !code.startsWith('E')) return E.IO
  const name = code === 'E2BIG' ? 'TOOBIG' : code.slice(1)
  return (E as Record<string, Errno>)[name] ?? E.IO
}
