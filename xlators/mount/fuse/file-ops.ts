/** Requests about open files: OPEN, READ, WRITE, FLUSH, RELEASE, FSYNC, FALLOCATE, LSEEK. */
import { clock, type Timer } from '../../../src/core/clock.ts'
import type { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import {
  F_SETLK,
  F_UNLCK,
  FALLOC_FL_KEEP_SIZE,
  type Rep,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { O_ACCMODE, O_TRUNC, O_WRONLY } from '../../../src/core/open-flags.ts'
import * as abi from '../../../src/fuse/abi.ts'
import type { FuseOps } from '../../../src/fuse/opcodes.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import { dropPrivileges } from './attr-ops.ts'
import type { OpenFile } from './files.ts'
import type { FuseBridge } from './index.ts'
import { pageFd } from './pages.ts'
import { brickFlags, isPrivileged, stale } from './rules.ts'

/** fallocate(2) modes as the kernel passes them. */
const PUNCH_HOLE = 2
const ZERO_RANGE = 16
/** One copy_file_range asks a brick for no more, so that it is not busy for long. */
const COPY_BYTES_MAX = 64 * 2 ** 20
/** lseek(2) whence. */
const LSEEK_DATA = 3
const LSEEK_HOLE = 4

const NOTHING: Buffer[] = []

type Ops = Pick<
  FuseOps,
  | 'open'
  | 'read'
  | 'write'
  | 'flush'
  | 'release'
  | 'fsync'
  | 'fallocate'
  | 'lseek'
  | 'copyFileRange'
>

/** FOPEN_* flags of a file just opened; `xdata` is the open's. */
export function openFlagsFor(bridge: FuseBridge, file: OpenFile, xdata: Dict | undefined): number {
  let direct = bridge.directIo || xdata?.has('direct-io-mode') === true
  // All fds of an inode go the same way, or one would read pages another has bypassed.
  for (const fd of file.fd.inode.fds) {
    if (!direct && fd !== file.fd) direct = bridge.files.of(fd)?.directIo === true
  }
  file.directIo = direct
  return direct ? abi.FOPEN_DIRECT_IO : abi.FOPEN_PARALLEL_DIRECT_WRITES
}

/** Acts for the lock owner the kernel names, which mandatory locks are checked against. */
export function asOwner(frame: Frame, lockOwner: Buffer | undefined): Frame {
  return lockOwner === undefined ? frame : frame.with({ lkOwner: lockOwner })
}

/** The open file a request names, held until the request is finished; or the errno. */
export function useFile(
  bridge: FuseBridge,
  request: FuseRequest,
  fh: number,
): OpenFile | typeof E.BADF {
  const file = bridge.files.get(fh)
  if (file === undefined) return E.BADF
  bridge.hold(request, file)
  return file
}

/** The kernel may make a notification wait for a read that a dead brick has to answer. */
const NOTIFIED_WAIT_MS = 100

export class FileOps implements Ops {
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
  }

  open: Ops['open'] = async (request, { flags: asked, openFlags }) => {
    const flags = brickFlags(asked, this.#bridge.writeback)
    const inode = this.#bridge.inodeOf(request)
    if (inode === undefined) return void request.error(E.STALE)
    // Found by a name that is no longer its own, as others' changes tell: ESTALE makes the kernel
    // look the name up.
    if (this.#bridge.invalidator.hasGoneNames(inode)) return void request.error(E.STALE)
    const errno = await this.#bridge.ready(request, inode)
    if (errno !== 0) return void request.error(errno)
    const loc = Loc.ofInode(inode)
    if ((flags & O_TRUNC) !== 0 && (openFlags & abi.OPEN_KILL_SUIDGID) !== 0) {
      const refused = await dropPrivileges(this.#bridge, request, inode, undefined)
      if (refused !== 0) return void request.error(refused)
    }
    this.#bridge.listings.primer.opened(inode)
    const fd = new Fd(inode, flags, request.pid)
    const now = clock.now()
    const seen = this.#bridge.seen.get(inode)
    const began = seen?.openBegan(request.pid, now) ?? now
    inode.openedAt = Math.max(inode.openedAt, began)
    const opening = request.frame.wind(request.top, 'open', { loc, fd, flags })
    // A truncated file has no pages to keep; the kernel knows its size.
    const truncates = (flags & O_TRUNC) !== 0
    // Where there are none, nothing need be known for writing, for attributes can be asked for, nor
    // right after the LOOKUP of the same open(2), which has told them.
    const blind = seen?.pages !== true && ((flags & O_ACCMODE) === O_WRONLY || began < now)
    const asking =
      truncates || blind
        ? undefined
        : request.frame.wind(request.top, 'stat', { loc, atOpen: true })
    const [rep, found] = await Promise.all([opening, asking])
    if (rep.errno !== 0) return void request.error(stale(rep.errno))
    if (found?.errno === E.NOENT || found?.errno === E.STALE) {
      // The open was answered ahead of the bricks (open-behind), but the file is gone. On ESTALE
      // the kernel looks its name up anew.
      fd.release()
      return void request.error(E.STALE)
    }
    const file = this.#bridge.files.add(fd)
    // The kernel knows no more than the LOOKUP of this open told it.
    const fresh = truncates || (blind && began < now)
    const keep = !fresh && mayKeepCache(this.#bridge, inode, found)
    if (!keep && !fresh) await this.#lastNotified(inode)
    const fopen = openFlagsFor(this.#bridge, file, rep.xdata) | (keep ? abi.FOPEN_KEEP_CACHE : 0)
    if (!keep && !file.directIo) this.#bridge.sawPages(inode, false)
    if (!request.opened(file.fh, fopen)) this.#bridge.files.close(file)
  }

  /**
   * A notification that reaches the kernel after the open makes it ignore the answer to the
   * GETATTR of the first read, which then ends at the old size.
   */
  readonly #lastNotified = async (inode: Inode): Promise<void> => {
    const pending = this.#bridge.invalidator.settled(inode)
    if (pending === undefined) return
    let timer: Timer | undefined
    const late = new Promise<void>((resolve) => {
      timer = clock.after(NOTIFIED_WAIT_MS, resolve)
    })
    await Promise.race([pending, late])
    timer?.clear()
  }

  read: Ops['read'] = async (request, input) => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const { offset, size, flags } = input
    if (offset > Number.MAX_SAFE_INTEGER - size) return void request.data(NOTHING, 0)
    const frame = asOwner(request.frame, input.lockOwner)
    const { fd } = file
    if (!file.directIo) this.#bridge.sawPages(fd.inode, true)
    const rep = await frame.wind(request.top, 'readv', { fd, size, offset, flags, borrows: true })
    if (rep.errno !== 0) return void request.error(rep.errno)
    if (rep.size > size) request.error(E.IO)
    else request.data(rep.data, rep.size)
    // The kernel has copied it.
    rep.loan?.drop()
  }

  write: Ops['write'] = async (request, input) => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const { offset, size, flags } = input
    if (offset > Number.MAX_SAFE_INTEGER - size) return void request.error(E.FBIG)
    // Before anything asynchronous: the message's buffer is read into again after that.
    const data = [request.device.take(abi.WRITE_DATA_AT, size)]
    const isPage = (input.writeFlags & abi.WRITE_CACHE) !== 0
    const fd = isPage ? await pageFd(this.#bridge, request, file) : file.fd
    if (fd === undefined) return void request.error(E.IO)
    if (!file.directIo) this.#bridge.sawPages(fd.inode, true)
    const kill = (input.writeFlags & abi.WRITE_KILL_SUIDGID) !== 0
    if (kill && this.#bridge.mayBePrivileged(fd.inode)) {
      const errno = await dropPrivileges(this.#bridge, request, fd.inode, fd)
      if (errno !== 0) return void request.error(errno)
    }
    const frame = asOwner(request.frame, input.lockOwner)
    const rep = await frame.wind(request.top, 'writev', { fd, data, size, offset, flags })
    if (rep.errno !== 0) return void request.error(rep.errno)
    if (kill && isPrivileged(rep.poststat.mode)) {
      // Another client made it privileged while we did not look.
      this.#bridge.sawMode(fd.inode, rep.poststat.mode)
      await dropPrivileges(this.#bridge, request, fd.inode, fd)
    }
    request.count(Math.min(rep.size, size))
  }

  flush: Ops['flush'] = async (request, { fh, lockOwner }) => {
    const file = useFile(this.#bridge, request, fh)
    if (file === E.BADF) return void request.error(E.BADF)
    // With the owner the bricks let go of its fcntl locks before close(2) returns.
    const frame = request.frame.with({ lkOwner: lockOwner })
    const rep = await frame.wind(request.top, 'flush', { fd: file.fd })
    if (rep.errno !== 0) return void request.error(rep.errno)
    request.ok()
  }

  release: Ops['release'] = async (request, input) => {
    const file = this.#bridge.files.get(input.fh)
    if (file === undefined) return void request.ok()
    if ((input.releaseFlags & abi.RELEASE_FLOCK_UNLOCK) !== 0) {
      this.#bridge.hold(request, file)
      const frame = request.frame.with({ lkOwner: input.lockOwner })
      const { lockOwner: lkOwner } = input
      const flock = { type: F_UNLCK, whence: 0, start: 0n, len: 0n, pid: request.pid, lkOwner }
      await frame.wind(request.top, 'lk', { fd: file.fd, cmd: F_SETLK, flock })
    }
    request.ok()
    this.#bridge.files.close(file)
  }

  fsync: Ops['fsync'] = async (request, { fh, datasync }) => {
    const file = useFile(this.#bridge, request, fh)
    if (file === E.BADF) return void request.error(E.BADF)
    const rep = await request.frame.wind(request.top, 'fsync', { fd: file.fd, datasync })
    if (rep.errno !== 0) return void request.error(rep.errno)
    request.ok()
  }

  fallocate: Ops['fallocate'] = async (request, input) => {
    const file = useFile(this.#bridge, request, input.fh)
    if (file === E.BADF) return void request.error(E.BADF)
    if (input.offset + input.length > Number.MAX_SAFE_INTEGER) return void request.error(E.FBIG)
    const errno = await allocate(request, file.fd, input)
    if (errno !== 0) return void request.error(errno)
    request.ok()
  }

  lseek: Ops['lseek'] = async (request, { fh, offset, whence }) => {
    const file = useFile(this.#bridge, request, fh)
    if (file === E.BADF) return void request.error(E.BADF)
    if (whence !== LSEEK_DATA && whence !== LSEEK_HOLE) return void request.error(E.INVAL)
    if (offset > Number.MAX_SAFE_INTEGER) return void request.error(E.NXIO)
    const what = whence === LSEEK_DATA ? SEEK_DATA : SEEK_HOLE
    const rep = await request.frame.wind(request.top, 'seek', { fd: file.fd, offset, what })
    if (rep.errno !== 0) return void request.error(rep.errno)
    request.offset(rep.offset)
  }

  /** Copies on the brick; where it cannot, EXDEV makes the kernel read and write. */
  copyFileRange: Ops['copyFileRange'] = async (request, input) => {
    const from = useFile(this.#bridge, request, input.fhIn)
    const to = useFile(this.#bridge, request, input.fhOut)
    if (from === E.BADF || to === E.BADF) return void request.error(E.BADF)
    if (from.home !== to.home) return void request.error(E.XDEV)
    const { offIn, offOut } = input
    if (Math.max(offIn, offOut) + input.length > Number.MAX_SAFE_INTEGER) {
      return void request.error(E.XDEV)
    }
    if (this.#bridge.mayBePrivileged(to.fd.inode)) {
      const errno = await dropPrivileges(this.#bridge, request, to.fd.inode, to.fd)
      if (errno !== 0) return void request.error(errno)
    }
    const rep = await request.frame.wind(request.top, 'copy_file_range', {
      fdIn: from.fd,
      offIn,
      fdOut: to.fd,
      offOut,
      size: Math.min(input.length, COPY_BYTES_MAX),
      flags: 0,
    })
    if (rep.errno !== 0) return void request.error(copyErrno(rep.errno))
    request.count(rep.size)
  }
}

/** Errors that say "not like this" let the kernel copy by itself; others are the caller's. */
function copyErrno(errno: Errno): Errno {
  const unable = errno === E.OPNOTSUPP || errno === E.NOSYS || errno === E.INVAL
  return unable ? E.XDEV : errno
}

/**
 * The file as it is now, asked together with the open, against what the kernel was told: the same,
 * and the kernel may keep its pages; another, and it must drop its attributes too, or it would read
 * no further than the old size.
 */
function mayKeepCache(bridge: FuseBridge, inode: Inode, now: Rep<'stat'> | undefined): boolean {
  if (now?.errno === 0 && bridge.seen.get(inode)?.matches(now.stat) === true) {
    const allowed = bridge.options['fopen-keep-cache'] ?? true
    return allowed && (bridge.initFlags & abi.FUSE_AUTO_INVAL_DATA) !== 0
  }
  if (inode.nodeid !== 0) bridge.device.notifyNow(abi.invalInode(inode.nodeid, false))
  // The kernel holds nothing older than this once it has the answer.
  if (now?.errno === 0) bridge.observe(inode, now.stat)
  return false
}

/** fallocate(2) by its mode; 0 or the errno. */
async function allocate(
  request: FuseRequest,
  fd: Fd,
  { mode, offset, length }: abi.FallocateIn,
): Promise<0 | Errno> {
  const { frame, top } = request
  switch (mode) {
    case 0:
    case FALLOC_FL_KEEP_SIZE:
      return (await frame.wind(top, 'fallocate', { fd, mode, offset, len: length })).errno
    case PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
      return (await frame.wind(top, 'discard', { fd, offset, len: length })).errno
    case ZERO_RANGE:
      return (await frame.wind(top, 'zerofill', { fd, offset, len: length })).errno
    case ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
      return zeroWithin(request, fd, offset, length)
    default:
      return E.OPNOTSUPP
  }
}

/** Zeroes what lies within the file (zerofill would extend it) and reserves the rest. */
async function zeroWithin(
  { frame, top }: FuseRequest,
  fd: Fd,
  offset: number,
  length: number,
): Promise<0 | Errno> {
  const now = await frame.wind(top, 'fstat', { fd })
  if (now.errno !== 0) return now.errno
  const end = Math.min(offset + length, now.stat.size)
  if (end > offset) {
    const rep = await frame.wind(top, 'zerofill', { fd, offset, len: end - offset })
    if (rep.errno !== 0) return rep.errno
  }
  const beyond = Math.max(offset, end)
  if (beyond >= offset + length) return 0
  const len = offset + length - beyond
  const mode = FALLOC_FL_KEEP_SIZE
  return (await frame.wind(top, 'fallocate', { fd, mode, offset: beyond, len })).errno
}
