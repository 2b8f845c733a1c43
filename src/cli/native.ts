/** The few libc calls the command needs that Node does not offer. */
import { createRequire } from 'node:module'
import type { LibraryHandle } from 'koffi'

interface Calls {
  prctl(option: number, arg2: number, arg3: Buffer, arg4: number, arg5: number): number
  sbrk(increment: number): bigint | number | null
  lockf(fd: number, command: number, length: number): number
  dup2(from: number, to: number): number
  getxattr(path: string, name: string, value: null, size: number): number
  malloc_trim(pad: number): number
  sched_yield(): number
  /** Of the user of that name; `undefined` when there is none. */
  uidOf(name: string): number | undefined
}

/** Of `pw_uid` in struct passwd, behind two pointers. */
const PW_UID_AT = 16

let calls: Calls | undefined

/** Loaded on first use: the parent of a daemon, `--help` and the mount helper never need it. */
function libc(): Calls {
  if (calls === undefined) {
    const koffi = createRequire(import.meta.url)('koffi') as {
      load(name: string | null): LibraryHandle
      decode(pointer: unknown, offset: number, type: string): number
    }
    const library = koffi.load(null)
    const getpwnam = library.func('void *getpwnam(const char *)')
    calls = {
      prctl: library.func('int prctl(int, unsigned long, void *, unsigned long, unsigned long)'),
      sbrk: library.func('uintptr_t sbrk(intptr_t)'),
      lockf: library.func('int lockf(int, int, long)'),
      dup2: library.func('int dup2(int, int)'),
      getxattr: library.func('long getxattr(const char *, const char *, void *, size_t)'),
      sched_yield: library.func('int sched_yield(void)'),
      // Of glibc alone.
      malloc_trim: optional(() => library.func('int malloc_trim(size_t)')),
      uidOf(name) {
        const entry: unknown = getpwnam(name)
        return entry === null ? undefined : koffi.decode(entry, PW_UID_AT, 'uint')
      },
    }
  }
  return calls
}

function optional(bind: () => (pad: number) => number): (pad: number) => number {
  try {
    return bind()
  } catch {
    return () => 0
  }
}

/** Gives the free memory of the C heap back to the system (malloc_trim(3)). */
export function trimMalloc(): void {
  libc().malloc_trim(0)
}

/** Lets another process that waits for this processor run first (sched_yield(2)). */
export function yieldProcessor(): void {
  libc().sched_yield()
}

const F_TLOCK = 2

/** Locks an open file from its position on (lockf F_TLOCK); false when another process has it. */
export function tryLock(fd: number): boolean {
  return libc().lockf(fd, F_TLOCK, 0) === 0
}

/** Makes `to` another name of the open file `from`. */
export function duplicateFd(from: number, to: number): void {
  libc().dup2(from, to)
}

/** Does the file have the extended attribute (and may we know)? */
export function hasXattr(path: string, name: string): boolean {
  return libc().getxattr(path, name, null, 0) >= 0
}

/** The uid of a user in the system's databases. */
export function userId(name: string): number | undefined {
  return libc().uidOf(name)
}

/** Addresses of this process's memory map, as in proc_pid_stat(5). */
export interface MemoryMap {
  startCode: bigint
  endCode: bigint
  startData: bigint
  endData: bigint
  startBrk: bigint
  startStack: bigint
  argStart: bigint
  argEnd: bigint
  envStart: bigint
  envEnd: bigint
}

const PR_SET_MM = 35
const PR_SET_MM_MAP = 14

/**
 * Sets the memory map the kernel has on record (prctl(2), PR_SET_MM_MAP: the one form that needs
 * no capability). False when the kernel refuses; nothing is changed then.
 */
export function setMemoryMap(map: MemoryMap): boolean {
  // struct prctl_mm_map of linux/prctl.h: 11 addresses, auxv pointer, auxv size, exe fd.
  const raw = Buffer.alloc(104)
  const addresses = [
    map.startCode,
    map.endCode,
    map.startData,
    map.endData,
    map.startBrk,
    BigInt(libc().sbrk(0) ?? 0),
    map.startStack,
    map.argStart,
    map.argEnd,
    map.envStart,
    map.envEnd,
  ]
  for (const [index, address] of addresses.entries()) raw.writeBigUInt64LE(address, index * 8)
  raw.writeInt32LE(-1, 100)
  return libc().prctl(PR_SET_MM, PR_SET_MM_MAP, raw, raw.length, 0) === 0
}
