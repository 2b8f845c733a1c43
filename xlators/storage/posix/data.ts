/**
 * Fops on file data: open, readv, writev, truncate, fsync, fallocate and their kin. What the page
 * cache can answer is done at once; what may wait for the disk runs on the thread pool. Queued
 * writes of one file run one after the other, so that test and write of an append are one step.
 */
import { createHash } from 'node:crypto'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import {
  type FopError,
  type MaybePromise,
  type Ok,
  type Rep,
  type Req,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Iatt, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/core/iatt.ts'
import { O_APPEND, O_DSYNC, O_TRUNC } from '../../../src/core/open-flags.ts'
import * as data from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { statFd } from '../../../src/sys/stat.ts'
import { CTIME, iattOf, MTIME, stampSelf, stampWith, statTarget } from './attributes.ts'
import { type Brick, OpenFile } from './brick.ts'
import { openFlags, refusal } from './create.ts'
import { fail, fileOf, type Opened, objectOf } from './place.ts'
import { xdataFor } from './xdata.ts'

/**
 * Writes up to this size go into the page cache on the event loop: cheaper than a thread switch.
 */
const WRITE_AT_ONCE_BYTES = 64 * 1024
/** Truncations that free up to this much are done on the event loop. */
const TRUNCATE_AT_ONCE_BYTES = 4 * 1024 * 1024
const ZERO_CHUNK_BYTES = 1024 * 1024
/** Of one read; clients ask for 1 MiB at most, heals for some more. */
const READ_BYTES_MAX = 64 * 1024 * 1024
const RCHECKSUM_BYTES_MAX = 16 * 1024 * 1024
const O_NONBLOCK = 0o4000
const O_WRONLY = 1
const EOPNOTSUPP = -95

export function open(brick: Brick, frame: Frame, req: Req<'open'>): Rep<'open'> {
  const object = objectOf(brick, req.loc)
  if (object.errno !== 0) return object
  const { target, gfid } = object
  if (typeof target === 'number') return { errno: E.ISDIR }
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  const type = stat.mode & S_IFMT
  if (type === S_IFLNK) return { errno: E.LOOP }
  if (type !== S_IFREG) return { errno: E.INVAL }
  const flags = openFlags(req.flags)
  const fd = entry.openAt(AT_FDCWD, target, flags | entry.O_NOFOLLOW | (req.flags & O_TRUNC))
  if (fd < 0) return fail(fd)
  brick.opened(req.fd, new OpenFile(fd, gfid, flags))
  stampSelf(fd, frame.creds)
  if ((req.flags & O_TRUNC) !== 0) stampWith(fd, frame.creds, CTIME | MTIME)
  return { errno: 0, fd: req.fd }
}

export function opendir(brick: Brick, frame: Frame, req: Req<'opendir'>): Rep<'opendir'> {
  const object = objectOf(brick, req.loc)
  if (object.errno !== 0) return object
  const { target, gfid } = object
  if (typeof target !== 'number') return { errno: E.NOTDIR }
  // A description of its own: it has its own position.
  const fd = entry.openAt(target, '.', entry.O_DIRECTORY)
  if (fd < 0) return fail(fd)
  brick.opened(req.fd, new OpenFile(fd, gfid, 0))
  stampSelf(fd, frame.creds)
  return { errno: 0, fd: req.fd }
}

// --- read ----------------------------------------------------------------------------------------

export function readv(brick: Brick, frame: Frame, req: Req<'readv'>): MaybePromise<Rep<'readv'>> {
  if (req.size === 0 || req.size > READ_BYTES_MAX) return { errno: E.INVAL }
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  const before = statFd(file.fd)
  if (typeof before === 'number') return failDone(file, before)
  const size = Math.max(0, Math.min(req.size, before.size - req.offset))
  if (size === 0) return readDone(brick, frame, req, file, Buffer.alloc(0), 0)
  const bytes = Buffer.allocUnsafe(size)
  const cached = data.readCached(file.fd, bytes, req.offset)
  if (cached === size) return readDone(brick, frame, req, file, bytes, size)
  return readRest(brick, frame, req, file, bytes, Math.max(0, cached))
}

async function readRest(
  brick: Brick,
  frame: Frame,
  req: Req<'readv'>,
  file: Opened,
  bytes: Buffer,
  cached: number,
): Promise<Rep<'readv'>> {
  let size = cached
  while (size < bytes.length) {
    const count = await data.read(file.fd, bytes, size, req.offset + size)
    if (count < 0) return failDone(file, count)
    if (count === 0) break
    size += count
  }
  return readDone(brick, frame, req, file, bytes, size)
}

function readDone(
  brick: Brick,
  frame: Frame,
  req: Req<'readv'>,
  file: Opened,
  bytes: Buffer,
  size: number,
): Rep<'readv'> {
  stampSelf(file.fd, frame.creds)
  const stat = iattOf(file.fd, file.gfid)
  if (typeof stat === 'number') return failDone(file, stat)
  const xdata = xdataFor(brick, file.fd, file.gfid, stat, req.xdata)
  file.done()
  const eof = req.offset + size >= stat.size
  return { errno: 0, data: size === 0 ? [] : [bytes.subarray(0, size)], size, stat, eof, xdata }
}

function failDone(file: Opened, result: number): FopError {
  file.done()
  return fail(result)
}

// --- write ---------------------------------------------------------------------------------------

export function writev(
  brick: Brick,
  frame: Frame,
  req: Req<'writev'>,
): MaybePromise<Rep<'writev'>> {
  const refused = refusal(brick, frame.creds, req.xdata)
  if (refused !== undefined) return refused
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  const synced = ((req.flags | file.flags) & O_DSYNC) !== 0
  const before = brick.writes.get(file.gfid)
  if (before === undefined && req.size <= WRITE_AT_ONCE_BYTES && !synced) {
    return writeNow(brick, frame, req, file)
  }
  return queued(brick, file, before, () => writeQueued(brick, frame, req, file, synced))
}

/** Runs `job` after the file's writes before it. */
function queued<T>(
  brick: Brick,
  file: Opened,
  before: Promise<unknown> | undefined,
  job: () => Promise<T>,
): Promise<T> {
  const mine = before === undefined ? job() : before.then(job, job)
  brick.writes.set(file.gfid, mine)
  const finished = (): void => {
    if (brick.writes.get(file.gfid) === mine) brick.writes.delete(file.gfid)
  }
  mine.then(finished, finished)
  return mine
}

function writeNow(brick: Brick, frame: Frame, req: Req<'writev'>, file: Opened): Rep<'writev'> {
  const prestat = iattOf(file.fd, file.gfid)
  if (typeof prestat === 'number') return failDone(file, prestat)
  let written = 0
  while (written < req.size) {
    const rest = written === 0 ? req.data : skipBytes(req.data, written)
    const count = data.writeSync(file.fd, rest, req.offset + written)
    if (count <= 0) {
      if (written === 0 && count < 0) return failDone(file, count)
      break
    }
    written += count
  }
  return writeDone(brick, frame, req, file, prestat, written)
}

async function writeQueued(
  brick: Brick,
  frame: Frame,
  req: Req<'writev'>,
  file: Opened,
  synced: boolean,
): Promise<Rep<'writev'>> {
  const prestat = iattOf(file.fd, file.gfid)
  if (typeof prestat === 'number') return failDone(file, prestat)
  let written = 0
  while (written < req.size) {
    const rest = written === 0 ? req.data : skipBytes(req.data, written)
    const count = await data.write(file.fd, rest, req.offset + written)
    if (count <= 0) {
      if (written === 0 && count < 0) return failDone(file, count)
      break
    }
    written += count
  }
  if (synced) {
    const rc = await data.sync(file.fd, true)
    if (rc < 0) return failDone(file, rc)
  }
  return writeDone(brick, frame, req, file, prestat, written)
}

function writeDone(
  brick: Brick,
  frame: Frame,
  req: Req<'writev'>,
  file: Opened,
  prestat: Iatt,
  size: number,
): Rep<'writev'> {
  stampSelf(file.fd, frame.creds)
  const poststat = iattOf(file.fd, file.gfid)
  if (typeof poststat === 'number') return failDone(file, poststat)
  let xdata = xdataFor(brick, file.fd, file.gfid, poststat, req.xdata)
  if (req.xdata?.has('glusterfs.write-is-append') === true) {
    const isAppend = (file.flags & O_APPEND) !== 0 || req.offset === prestat.size
    xdata ??= new Dict()
    xdata.setUint('glusterfs.write-is-append', isAppend ? 1 : 0)
  }
  file.done()
  return { errno: 0, size, prestat, poststat, xdata }
}

/** The vectors without their first `count` bytes. */
function skipBytes(vectors: readonly Buffer[], count: number): Buffer[] {
  const rest: Buffer[] = []
  let skip = count
  for (const bytes of vectors) {
    if (skip >= bytes.length) skip -= bytes.length
    else {
      rest.push(skip === 0 ? bytes : bytes.subarray(skip))
      skip = 0
    }
  }
  return rest
}

// --- changes of size and allocation --------------------------------------------------------------

/** Prestat, a step, stamp (of `frame`, if given), poststat. */
async function changed(
  brick: Brick,
  frame: Frame | undefined,
  file: Opened,
  xdata: Dict | undefined,
  step: () => MaybePromise<number>,
): Promise<Ok<'ftruncate'> | FopError> {
  const prestat = iattOf(file.fd, file.gfid)
  if (typeof prestat === 'number') return failDone(file, prestat)
  const rc = await step()
  if (rc < 0) return failDone(file, rc)
  if (frame !== undefined) stampSelf(file.fd, frame.creds)
  const poststat = iattOf(file.fd, file.gfid)
  if (typeof poststat === 'number') return failDone(file, poststat)
  const reply = xdataFor(brick, file.fd, file.gfid, poststat, xdata)
  file.done()
  return { errno: 0, prestat, poststat, xdata: reply }
}

/** Opens the regular file of a loc for a change. */
function openForChange(brick: Brick, loc: Req<'truncate'>['loc']): Opened | FopError {
  const object = objectOf(brick, loc)
  if (object.errno !== 0) return object
  const { target, gfid } = object
  if (typeof target === 'number') return { errno: E.ISDIR }
  const stat = statTarget(target)
  if (typeof stat === 'number') return fail(stat)
  if ((stat.mode & S_IFMT) !== S_IFREG) return { errno: E.INVAL }
  const fd = entry.openAt(AT_FDCWD, target, O_WRONLY | entry.O_NOFOLLOW | O_NONBLOCK)
  if (fd < 0) return fail(fd)
  return { errno: 0, fd, gfid, flags: O_WRONLY, done: () => entry.close(fd) }
}

function cut(
  brick: Brick,
  frame: Frame,
  file: Opened,
  offset: number,
  xdata: Dict | undefined,
): Promise<Rep<'ftruncate'>> {
  return queued(brick, file, brick.writes.get(file.gfid), () =>
    changed(brick, frame, file, xdata, () => {
      const stat = statFd(file.fd)
      const freed = typeof stat === 'number' ? 0 : stat.size - offset
      return freed > TRUNCATE_AT_ONCE_BYTES
        ? data.truncateFd(file.fd, offset)
        : data.truncateSync(file.fd, offset)
    }),
  )
}

export function truncate(
  brick: Brick,
  frame: Frame,
  req: Req<'truncate'>,
): MaybePromise<Rep<'truncate'>> {
  const file = openForChange(brick, req.loc)
  return file.errno !== 0 ? file : cut(brick, frame, file, req.offset, req.xdata)
}

export function ftruncate(
  brick: Brick,
  frame: Frame,
  req: Req<'ftruncate'>,
): MaybePromise<Rep<'ftruncate'>> {
  const file = fileOf(brick, req.fd)
  return file.errno !== 0 ? file : cut(brick, frame, file, req.offset, req.xdata)
}

function allocate(
  brick: Brick,
  frame: Frame,
  req: Req<'discard'>,
  step: (fd: number) => Promise<number>,
): MaybePromise<Rep<'discard'>> {
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  return queued(brick, file, brick.writes.get(file.gfid), () =>
    changed(brick, frame, file, req.xdata, () => step(file.fd)),
  )
}

export function fallocate(
  brick: Brick,
  frame: Frame,
  req: Req<'fallocate'>,
): MaybePromise<Rep<'fallocate'>> {
  const refused = refusal(brick, frame.creds, req.xdata)
  if (refused !== undefined) return refused
  return allocate(brick, frame, req, (fd) => data.fallocate(fd, req.mode, req.offset, req.len))
}

export function discard(
  brick: Brick,
  frame: Frame,
  req: Req<'discard'>,
): MaybePromise<Rep<'discard'>> {
  const mode = data.FALLOC_FL_PUNCH_HOLE | data.FALLOC_FL_KEEP_SIZE
  return allocate(brick, frame, req, (fd) => data.fallocate(fd, mode, req.offset, req.len))
}

export function zerofill(
  brick: Brick,
  frame: Frame,
  req: Req<'zerofill'>,
): MaybePromise<Rep<'zerofill'>> {
  const refused = refusal(brick, frame.creds, req.xdata)
  if (refused !== undefined) return refused
  return allocate(brick, frame, req, async (fd) => {
    const rc = await data.fallocate(fd, data.FALLOC_FL_ZERO_RANGE, req.offset, req.len)
    return rc === EOPNOTSUPP ? writeZeros(fd, req.offset, req.len) : rc
  })
}

/** For file systems that cannot zero a range. */
async function writeZeros(fd: number, offset: number, len: number): Promise<number> {
  const zeros = Buffer.alloc(Math.min(len, ZERO_CHUNK_BYTES))
  for (let done = 0; done < len; ) {
    const chunk = zeros.subarray(0, Math.min(zeros.length, len - done))
    const count = await data.write(fd, [chunk], offset + done)
    if (count < 0) return count
    done += count
  }
  return 0
}

export function seek(brick: Brick, req: Req<'seek'>): Rep<'seek'> {
  if (req.what !== SEEK_DATA && req.what !== SEEK_HOLE) return { errno: E.INVAL }
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  const find = req.what === SEEK_DATA ? data.seekData : data.seekHole
  const offset = find(file.fd, req.offset)
  file.done()
  return offset < 0 ? fail(offset) : { errno: 0, offset }
}

export async function fsync(brick: Brick, req: Req<'fsync'>): Promise<Rep<'fsync'>> {
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  // Stock's replicate sends it late, with the time flags of the write or truncate before it.
  return changed(brick, undefined, file, req.xdata, () => data.sync(file.fd, req.datasync))
}

export async function fsyncdir(brick: Brick, req: Req<'fsyncdir'>): Promise<Rep<'fsyncdir'>> {
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  const rc = await data.sync(file.fd, req.datasync)
  file.done()
  return rc < 0 ? fail(rc) : { errno: 0 }
}

export async function copyFileRange(
  brick: Brick,
  frame: Frame,
  req: Req<'copy_file_range'>,
): Promise<Rep<'copy_file_range'>> {
  const refused = refusal(brick, frame.creds, req.xdata)
  if (refused !== undefined) return refused
  const from = fileOf(brick, req.fdIn)
  if (from.errno !== 0) return from
  const to = fileOf(brick, req.fdOut)
  if (to.errno !== 0) {
    from.done()
    return to
  }
  let size = 0
  const rep = await queued(brick, to, brick.writes.get(to.gfid), () =>
    changed(brick, frame, to, req.xdata, async () => {
      size = await data.copyFileRange(from.fd, req.offIn, to.fd, req.offOut, req.size)
      return size
    }),
  )
  const stat = iattOf(from.fd, from.gfid)
  from.done()
  if (rep.errno !== 0) return rep
  return typeof stat === 'number' ? fail(stat) : { ...rep, size, stat }
}

// --- checksums for heal --------------------------------------------------------------------------

const ADLER_MODULUS = 65521
/** Bytes after which the sums must be reduced to stay exact (zlib's NMAX). */
const ADLER_BYTES_MAX = 5552

/** Adler-32 with the start value 0, as the self-heal daemon compares it. */
export function weakChecksum(bytes: Buffer): number {
  let a = 0
  let b = 0
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + ADLER_BYTES_MAX)
    for (; at < end; at++) {
      a += bytes[at]!
      b += a
    }
    a %= ADLER_MODULUS
    b %= ADLER_MODULUS
  }
  return ((b << 16) | a) >>> 0
}

export async function rchecksum(brick: Brick, req: Req<'rchecksum'>): Promise<Rep<'rchecksum'>> {
  if (req.len > RCHECKSUM_BYTES_MAX) return { errno: E.INVAL }
  const file = fileOf(brick, req.fd)
  if (file.errno !== 0) return file
  const buffer = Buffer.allocUnsafe(req.len)
  let size = 0
  while (size < req.len) {
    const count = await data.read(file.fd, buffer, size, req.offset + size)
    if (count < 0) return failDone(file, count)
    if (count === 0) break
    size += count
  }
  file.done()
  const bytes = buffer.subarray(0, size)
  const fips = brick.options['fips-mode-rchecksum']
  const xdata = new Dict()
  if (fips) xdata.setInt('fips-mode-rchecksum', 1)
  if (req.xdata?.has('check-zero-filled') === true) {
    xdata.setUint('buf-has-zeroes', bytes.every((byte) => byte === 0) ? 1 : 0)
  }
  const strong = createHash(fips ? 'sha256' : 'md5')
    .update(bytes)
    .digest()
  const weak = weakChecksum(bytes)
  return { errno: 0, weak, strong, flags: fips ? 1 : 0, xdata: xdata.count > 0 ? xdata : undefined }
}
