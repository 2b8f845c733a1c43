/** The C functions Node has no call for, through koffi. A call costs 0.2 us. */
import koffi from 'koffi'
import { type Errno, toErrno } from '../core/errno.ts'

interface Libc {
  mount(source: string, target: string, type: string, flags: number, data: string): number
  umount2(target: string, flags: number): number
  pipe2(fds: number[], flags: number): number
  dup3(oldfd: number, newfd: number, flags: number): number
  write(fd: number, bytes: Buffer, count: number): number
}

const O_CLOEXEC = 0o2000000

/** Symbols of the C library this process already runs on, whichever it is. */
const library = koffi.load(null)

const functions = {
  mount: library.func('int mount(const char *, const char *, const char *, ulong, const char *)'),
  umount2: library.func('int umount2(const char *, int)'),
  pipe2: library.func('int pipe2(_Out_ int *, int)'),
  dup3: library.func('int dup3(int, int, int)'),
  write: library.func('long write(int, const void *, size_t)'),
}

const libc = functions as unknown as Libc

/** write(2); -1 for any error. */
export const writeFd: Libc['write'] = libc.write

/** mount(2). Returns 0 or the errno. */
export function mount(
  source: string,
  target: string,
  type: string,
  flags: number,
  data: string,
): 0 | Errno {
  return libc.mount(source, target, type, flags, data) === 0 ? 0 : toErrno(koffi.errno())
}

export const MNT_DETACH = 2
export const UMOUNT_NOFOLLOW = 8

/**
 * umount2(2) on a pool thread: it may wait for requests that this thread has to answer. Resolves
 * to whether it worked; the errno is not known across threads.
 */
export function umount(target: string, flags: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    functions.umount2.async(target, flags, (error: unknown, result: number) => {
      if (error !== null && error !== undefined) reject(error as Error)
      else resolve(result === 0)
    })
  })
}

/** A non-blocking, close-on-exec pipe. */
export function pipe(): { read: number; write: number } | undefined {
  const fds = [-1, -1]
  if (libc.pipe2(fds, O_CLOEXEC) !== 0) return undefined
  return { read: fds[0]!, write: fds[1]! }
}

/** dup3(2): `newfd` becomes another name of `oldfd`'s file, close-on-exec. */
export function duplicate(oldfd: number, newfd: number): boolean {
  return libc.dup3(oldfd, newfd, O_CLOEXEC) === newfd
}

const getpwuid = library.func('void *getpwuid(uint)')
const getgrouplist = library.func(
  'int getgrouplist(const char *, uint, _Out_ uint *, _Inout_ int *)',
)

/** NGROUPS_MAX. */
const GROUPS_MAX = 65536

/** The groups of user `uid` in the system's databases; none for an unknown user. */
export function userGroups(uid: number, gid: number): number[] {
  const entry: unknown = getpwuid(uid)
  if (entry === null) return []
  // The first field of struct passwd is the name.
  const name = koffi.decode(entry, 'char *') as string
  for (let size = 64; size <= GROUPS_MAX; size *= 4) {
    const groups = new Array<number>(size).fill(0)
    const count = [size]
    if (getgrouplist(name, gid, groups, count) >= 0) return groups.slice(0, count[0])
  }
  return []
}
