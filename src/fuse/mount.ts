/** Mounting and unmounting: mount(2) and umount2(2) in this process, no helper programs. */
import { type ChildProcess, spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { E, errnoName, errnoOfError } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { IO_BYTES_MAX } from './device.ts'
import { MNT_DETACH, mount, UMOUNT_NOFOLLOW, umount } from './libc.ts'

export const FS_TYPE = 'fuse.glusterfs'

export interface MountInput {
  /** Absolute. */
  readonly target: string
  /** Shown by mount(8), `server:volume`. */
  readonly source: string
  /** The open /dev/fuse. */
  readonly fd: number
  readonly readOnly: boolean
  /** The kernel checks mode bits; off when translators check ACLs. */
  readonly defaultPermissions: boolean
  /** Further mount options, comma-separated. */
  readonly options: string | undefined
}

/** Words of `-o` that are flags of mount(2): bits to set, bits to clear. */
const FLAG_WORDS: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  ro: [1, 0],
  rw: [0, 1],
  nosuid: [2, 0],
  suid: [0, 2],
  nodev: [4, 0],
  dev: [0, 4],
  noexec: [8, 0],
  exec: [0, 8],
  sync: [16, 0],
  async: [0, 16],
  dirsync: [128, 0],
  noatime: [1024, 0],
  atime: [0, 1024],
  nodiratime: [2048, 0],
  diratime: [0, 2048],
  relatime: [1 << 21, 0],
  norelatime: [0, 1 << 21],
  strictatime: [1 << 24, 0],
  nostrictatime: [0, 1 << 24],
  lazytime: [1 << 25, 0],
  nolazytime: [0, 1 << 25],
}

const AUTO_UNMOUNT = 'auto_unmount'

/** Splits option words into mount(2) flags and data for the FUSE driver. */
export function mountFlags(
  options: string | undefined,
  readOnly: boolean,
): { flags: number; data: string[]; autoUnmount: boolean } {
  let flags = readOnly ? 1 : 0
  const data: string[] = []
  let autoUnmount = false
  for (const word of (options ?? '').split(',')) {
    const known = FLAG_WORDS[word]
    if (known !== undefined) flags = (flags | known[0]) & ~known[1]
    else if (word === AUTO_UNMOUNT) autoUnmount = true
    else if (word !== '') data.push(word)
  }
  if (readOnly) flags |= 1
  return { flags, data, autoUnmount }
}

/** Attaches the device to the directory. Throws GlusterError MOUNT_FAILED. */
export function mountFuse(input: MountInput): void {
  const { flags, data } = mountFlags(input.options, input.readOnly)
  const words = [
    ...(input.defaultPermissions ? ['default_permissions'] : []),
    ...data,
    'allow_other',
    `max_read=${IO_BYTES_MAX}`,
    `fd=${input.fd}`,
    'rootmode=40000',
    `user_id=${process.getuid?.() ?? 0}`,
    `group_id=${process.getgid?.() ?? 0}`,
  ]
  const errno = mount(input.source, input.target, FS_TYPE, flags, words.join(','))
  if (errno === 0) return
  const advice =
    errno === E.PERM
      ? 'mounting needs root (CAP_SYS_ADMIN)'
      : errno === E.NODEV
        ? 'the kernel has no FUSE file system (modprobe fuse)'
        : errno === E.INVAL && data.length > 0
          ? `the kernel does not know one of the options '${data.join(',')}'`
          : 'see the kernel log'
  throw new GlusterError(
    'MOUNT_FAILED',
    `cannot mount ${input.source} on ${input.target} (${errnoName(errno)}): ${advice}`,
    { errno },
  )
}

/**
 * Unmounts lazily: the name is gone at once, the device ends when the last user has left. The
 * kernel may write dirty pages meanwhile, so requests must go on being answered.
 */
export function unmountFuse(target: string): Promise<boolean> {
  return umount(target, MNT_DETACH | UMOUNT_NOFOLLOW)
}

/** A line of /proc/self/mountinfo. `device`: major:minor. */
interface MountLine {
  readonly device: string
  readonly type: string
  readonly source: string
}

/** The topmost mount at `target`. */
export function findMount(target: string): MountLine | undefined {
  let found: MountLine | undefined
  for (const line of fs.readFileSync('/proc/self/mountinfo', 'latin1').split('\n')) {
    const fields = line.split(' ')
    if (unescapeOctal(fields[4] ?? '') !== Buffer.from(target).latin1Slice()) continue
    const at = fields.indexOf('-')
    const source = unescapeOctal(fields[at + 2] ?? '')
    found = { device: fields[2]!, type: fields[at + 1]!, source }
  }
  return found
}

/** Blanks and backslashes of mountinfo are `\040` and so on. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

/** Checks that `target` can be mounted on. Throws GlusterError MOUNT_POINT. */
export async function checkMountPoint(target: string): Promise<void> {
  const refuse = (why: string, errno: number, cause?: unknown): never => {
    throw new GlusterError('MOUNT_POINT', `mount point ${target}: ${why}`, { errno, cause })
  }
  // Before anything that would talk to the mounted file system.
  const present = findMount(target)
  let isDirectory = false
  try {
    isDirectory = (await fs.promises.stat(target)).isDirectory()
  } catch (error) {
    const errno = errnoOfError(error)
    if (errno === E.NOTCONN) {
      refuse(`seems to be a dead old mount; unmount it first (umount -l ${target})`, errno, error)
    }
    refuse(errno === E.NOENT ? 'does not exist' : `cannot be used (${errnoName(errno)})`, errno)
  }
  if (!isDirectory) refuse('is not a directory', E.NOTDIR)
  if (present?.type === FS_TYPE) refuse('a GlusterFS volume is already mounted here', E.BUSY)
}

/**
 * Lets the kernel read ahead as much as one READ may carry; FUSE mounts begin with 128 KiB. Returns
 * why not, when it could not.
 */
export function raiseReadAhead(target: string): string | undefined {
  const found = findMount(target)
  if (found === undefined) return 'the mount is not in /proc/self/mountinfo'
  try {
    fs.writeFileSync(`/sys/class/bdi/${found.device}/read_ahead_kb`, String(IO_BYTES_MAX / 1024))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/**
 * `auto_unmount`: a shell that unmounts when this process is gone, however it ended. It waits for
 * the end of its standard input, which only we hold. Kill it to call it off.
 */
export function startAutoUnmount(target: string): ChildProcess {
  const script = 'trap "" INT TERM HUP; cat >/dev/null; exec umount -i -l -- "$1"'
  const child = spawn('/bin/sh', ['-c', script, 'auto-unmount', target], {
    stdio: ['pipe', 'ignore', 'ignore'],
    cwd: '/',
    detached: true,
  })
  child.unref()
  return child
}
