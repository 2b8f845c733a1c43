/** glusterfs-fops.x and friends: numbers that mean something on the wire only. */

/** GF_O_*: open flags on the wire, octal. Linux's of x86-64 but for O_SYNC. */
export const GF_O_ACCMODE = 0o3
export const GF_O_RDONLY = 0o0
export const GF_O_WRONLY = 0o1
export const GF_O_RDWR = 0o2
export const GF_O_FMODE_EXEC = 0o40
export const GF_O_CREAT = 0o100
export const GF_O_EXCL = 0o200
export const GF_O_NOCTTY = 0o400
export const GF_O_TRUNC = 0o1000
export const GF_O_APPEND = 0o2000
export const GF_O_NONBLOCK = 0o4000
export const GF_O_SYNC = 0o10000
export const GF_O_ASYNC = 0o20000
export const GF_O_DIRECT = 0o40000
export const GF_O_LARGEFILE = 0o100000
export const GF_O_DIRECTORY = 0o200000
export const GF_O_NOFOLLOW = 0o400000
export const GF_O_NOATIME = 0o1000000
export const GF_O_CLOEXEC = 0o2000000

/** Linux O_SYNC is O_DSYNC and one bit more; the wire has O_DSYNC's bit for both. */
const LINUX_O_SYNC = 0o4010000
const LINUX_O_DSYNC = 0o10000

const SAME_BITS =
  GF_O_ACCMODE |
  GF_O_FMODE_EXEC |
  GF_O_CREAT |
  GF_O_EXCL |
  GF_O_NOCTTY |
  GF_O_TRUNC |
  GF_O_APPEND |
  GF_O_NONBLOCK |
  GF_O_ASYNC |
  GF_O_DIRECT |
  GF_O_LARGEFILE |
  GF_O_DIRECTORY |
  GF_O_NOFOLLOW |
  GF_O_NOATIME |
  GF_O_CLOEXEC

/** Linux open flags as OPEN, CREATE and PUT carry them (gf_flags_from_flags). */
export function gfFlagsFromFlags(flags: number): number {
  return (flags & SAME_BITS) | (flags & LINUX_O_DSYNC ? GF_O_SYNC : 0)
}

/** The way back (gf_flags_to_flags). */
export function gfFlagsToFlags(flags: number): number {
  return (flags & SAME_BITS) | (flags & GF_O_SYNC ? LINUX_O_SYNC : 0)
}

/** gf_lk_cmds_t beyond the three of core/fop.ts. */
export const GF_LK_RESLK_LCK = 3
export const GF_LK_RESLK_LCKW = 4
export const GF_LK_RESLK_UNLCK = 5
export const GF_LK_GETLK_FD = 6

/** ipc operations (gf_ipc_target_t). */
export const GF_IPC_TARGET_CHANGELOG = 0
export const GF_IPC_TARGET_CTR = 1
export const GF_IPC_TARGET_UPCALL = 2

/** lease commands and types. */
export const GF_GET_LEASE = 1
export const GF_SET_LEASE = 2
export const GF_UNLK_LEASE = 3
export const GF_LEASE_NONE = 0
export const GF_LEASE_RD = 1
export const GF_LEASE_RW = 2

/** Upcall events (gf_upcall_event_t). */
export const GF_UPCALL_CACHE_INVALIDATION = 1
export const GF_UPCALL_RECALL_LEASE = 2
export const GF_UPCALL_INODELK_CONTENTION = 3
export const GF_UPCALL_ENTRYLK_CONTENTION = 4

/** The fd number that stands for "by gfid, without open". Never -1: it can kill a brick. */
export const ANONYMOUS_FD = -2
