/** Fops on attributes and xattrs. */
import { hostname } from 'node:os'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { FopError, Ok, Rep } from '../../../src/core/fop.ts'
import type { Creds, Frame } from '../../../src/core/frame.ts'
import { type Gfid, NULL_GFID, parseGfid } from '../../../src/core/gfid.ts'
import * as iatt from '../../../src/core/iatt.ts'
import { readEntries } from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { getXattr, listXattr, removeXattr, setXattr, type Target } from '../../../src/sys/xattr.ts'
import {
  GFID_KEY,
  iattOf,
  MDATA_BYTES,
  MDATA_KEY,
  mergeMdata,
  parseMdata,
  setExactTimes,
  stampSelf,
} from './attributes.ts'
import type { Brick } from './brick.ts'
import { storedBytes } from './create.ts'
import { GFID2PATH_PREFIX } from './gfid2path.ts'
import { fail } from './place.ts'
import { VOLUME_ID_KEY } from './prepare.ts'
import { xattrop } from './xattrop.ts'
import { isHiddenXattr, isXattrKey } from './xdata.ts'

const PATHINFO_KEY = 'trusted.glusterfs.pathinfo'
const REAL_FILENAME = 'glusterfs.get_real_filename:'
const SET_MDATA_KEY = 'set-ctime-mdata'
const { UTIME_NOW, UTIME_OMIT } = entry

// --- setattr -------------------------------------------------------------------------------------

/** Owner, then mode (a change of owner clears setuid), then times. */
export function setattr(
  frame: Frame,
  target: Target,
  gfid: Gfid,
  stat: iatt.Iatt,
  valid: number,
): Ok<'setattr'> | FopError {
  const prestat = iattOf(target, gfid)
  if (typeof prestat === 'number') return fail(prestat)
  let rc = setOwner(target, stat, valid)
  if (rc >= 0 && (valid & iatt.SET_ATTR_MODE) !== 0 && !iatt.isLnk(prestat)) {
    const mode = stat.mode & 0o7777
    rc = typeof target === 'number' ? entry.chmodFd(target, mode) : entry.chmodPath(target, mode)
  }
  if (rc >= 0) rc = setTimes(target, stat, valid, frame.creds)
  if (rc < 0) return fail(rc)
  stampSelf(target, frame.creds)
  const poststat = iattOf(target, gfid)
  return typeof poststat === 'number' ? fail(poststat) : { errno: 0, prestat, poststat }
}

function setOwner(target: Target, stat: iatt.Iatt, valid: number): number {
  if ((valid & (iatt.SET_ATTR_UID | iatt.SET_ATTR_GID)) === 0) return 0
  const uid = (valid & iatt.SET_ATTR_UID) !== 0 ? stat.uid : -1
  const gid = (valid & iatt.SET_ATTR_GID) !== 0 ? stat.gid : -1
  return typeof target === 'number'
    ? entry.chownFd(target, uid, gid)
    : entry.chownPath(target, uid, gid)
}

function setTimes(target: Target, stat: iatt.Iatt, valid: number, creds: Creds): number {
  const given = (explicit: number, now: number, sec: number, nsec: number): entry.Time =>
    (valid & now) !== 0 ? [0, UTIME_NOW] : (valid & explicit) !== 0 ? [sec, nsec] : [0, UTIME_OMIT]
  const atime = given(iatt.SET_ATTR_ATIME, iatt.SET_ATTR_ATIME_NOW, stat.atime, stat.atimeNsec)
  const mtime = given(iatt.SET_ATTR_MTIME, iatt.SET_ATTR_MTIME_NOW, stat.mtime, stat.mtimeNsec)
  if (atime[1] === UTIME_OMIT && mtime[1] === UTIME_OMIT) return 0
  const rc =
    typeof target === 'number'
      ? entry.utimesFd(target, atime, mtime)
      : entry.utimesPath(target, atime, mtime)
  if (rc < 0) return rc
  const exact = {
    ...(isExact(atime) ? { atime: stat.atime, atimeNsec: stat.atimeNsec } : {}),
    ...(isExact(mtime) ? { mtime: stat.mtime, mtimeNsec: stat.mtimeNsec } : {}),
  }
  if (isExact(atime) || isExact(mtime)) setExactTimes(target, exact, creds)
  return 0
}

const isExact = (time: entry.Time): boolean => time[1] !== UTIME_OMIT && time[1] !== UTIME_NOW

// --- setxattr, removexattr -----------------------------------------------------------------------

/** Attributes before and after ride along: clients keep their caches with them. */
function withStats(
  frame: Frame,
  target: Target,
  gfid: Gfid,
  change: () => FopError | undefined,
): Rep<'setxattr'> {
  const prestat = iattOf(target, gfid)
  if (typeof prestat === 'number') return fail(prestat)
  const error = change()
  if (error !== undefined) return error
  stampSelf(target, frame.creds)
  const poststat = iattOf(target, gfid)
  if (typeof poststat === 'number') return fail(poststat)
  const xdata = new Dict()
  xdata.setIatt('virt-gf-prestat', prestat).setIatt('virt-gf-poststat', poststat)
  xdata.setIatt('dht-get-iatt-in-xattr', poststat)
  return { errno: 0, xdata }
}

export function setXattrs(
  frame: Frame,
  target: Target,
  gfid: Gfid,
  dict: Dict,
  flags: number,
): Rep<'setxattr'> {
  return withStats(frame, target, gfid, () => {
    for (const [key, value] of dict.entries) {
      if (key === SET_MDATA_KEY && value.type === 'mdata') {
        const rc = mergeMdata(target, value.value)
        if (rc < 0) return fail(rc)
        continue
      }
      const bytes = storedBytes(value)
      const error = bytes === undefined ? { errno: E.INVAL } : setOne(target, key, bytes, flags)
      if (error !== undefined) return error
    }
    return undefined
  })
}

function setOne(target: Target, key: string, bytes: Buffer, flags: number): FopError | undefined {
  if (key === GFID_KEY || key === VOLUME_ID_KEY) return undefined
  if (key.startsWith(GFID2PATH_PREFIX)) return { errno: E.OPNOTSUPP }
  if (key === PATHINFO_KEY) return { errno: E.ACCES }
  if (key === MDATA_KEY) {
    if (bytes.length !== MDATA_BYTES) return { errno: E.INVAL }
    const rc = mergeMdata(target, parseMdata(bytes))
    return rc < 0 ? fail(rc) : undefined
  }
  const rc = setXattr(target, key, bytes, flags)
  return rc < 0 ? fail(rc) : undefined
}

/** An empty name means the keys of xdata, those that are there. */
export function removeXattrs(
  frame: Frame,
  target: Target,
  gfid: Gfid,
  name: string,
  xdata: Dict | undefined,
): Rep<'removexattr'> {
  return withStats(frame, target, gfid, () => {
    if (name !== '') return removeOne(target, name)
    for (const key of xdata?.entries.keys() ?? []) {
      const error = isXattrKey(key) ? removeOne(target, key) : undefined
      if (error !== undefined && error.errno !== E.NODATA) return error
    }
    return undefined
  })
}

function removeOne(target: Target, name: string): FopError | undefined {
  if (name === GFID_KEY || name === VOLUME_ID_KEY) return undefined
  if (name.startsWith(GFID2PATH_PREFIX)) return { errno: E.NODATA }
  const rc = removeXattr(target, name)
  return rc < 0 ? fail(rc) : undefined
}

// --- getxattr ------------------------------------------------------------------------------------

export function getXattrs(
  brick: Brick,
  frame: Frame,
  target: Target,
  gfid: Gfid,
  name: string | undefined,
): Rep<'getxattr'> {
  const dict = new Dict()
  if (name === undefined || name === '') {
    const names = listXattr(target)
    if (typeof names === 'number') return fail(names)
    for (const key of names) {
      if (isHiddenXattr(key) || (key === MDATA_KEY && frame.creds.pid >= 0)) continue
      const value = getXattr(target, key)
      if (typeof value !== 'number') dict.setBytes(key, value)
    }
    return { errno: 0, dict }
  }
  const virtual = virtualXattr(brick, target, gfid, name, dict)
  if (virtual !== undefined) return virtual
  if (name.startsWith(GFID2PATH_PREFIX)) return { errno: E.NODATA }
  if (name === MDATA_KEY && frame.creds.pid >= 0) return { errno: E.NODATA }
  const value = getXattr(target, name)
  if (typeof value === 'number') return fail(value)
  return { errno: 0, dict: dict.setBytes(name, value) }
}

/** Names that are questions to the brick. `undefined` for those that are xattrs. */
function virtualXattr(
  brick: Brick,
  target: Target,
  gfid: Gfid,
  name: string,
  dict: Dict,
): Rep<'getxattr'> | undefined {
  const text = (value: string): Rep<'getxattr'> => ({ errno: 0, dict: dict.setStr(name, value) })
  switch (name) {
    case GFID_KEY:
      return { errno: 0, dict }
    case PATHINFO_KEY:
    case 'glusterfs.pathinfo':
      return text(pathinfo(brick, target, gfid))
    case 'trusted.glusterfs.node-uuid': {
      const uuid = brick.options['glusterd-uuid']
      return uuid === undefined ? { errno: E.NODATA } : text(uuid)
    }
    case 'glusterfs.gfidtopath':
    case 'glusterfs.ancestry.path': {
      const paths = pathsOf(brick, target)
      if (paths.length === 0) return { errno: E.NODATA }
      return { errno: 0, dict: dict.setBytes(name, Buffer.from(paths.join(':'), 'latin1')) }
    }
    case 'glusterfs.open-fd-count':
      return { errno: 0, dict: dict.setUint(name, brick.openCount(gfid)) }
  }
  if (name.startsWith(REAL_FILENAME)) {
    const found = realName(target, name.slice(REAL_FILENAME.length))
    return typeof found === 'number' ? fail(found) : text(found)
  }
  return undefined
}

function pathinfo(brick: Brick, target: Target, gfid: Gfid): string {
  const { hostname: given, 'glusterd-uuid': uuid, 'node-uuid-pathinfo': byUuid } = brick.options
  const host = byUuid && uuid !== undefined ? uuid : (given ?? hostname())
  const path = pathsOf(brick, target)[0]
  const backend = path === undefined ? brick.handle(gfid) : brick.path + (path === '/' ? '/' : path)
  return `<POSIX(${brick.path}):${host}:${backend}>`
}

/** Paths below the brick's root, `/a/b`: of a directory by its descriptor, of a file by gfid2path. */
export function pathsOf(brick: Brick, target: Target): string[] {
  if (typeof target === 'number') {
    const path = directoryPath(brick, target)
    return path === undefined ? [] : [path]
  }
  const names = listXattr(target)
  if (typeof names === 'number') return []
  const paths: string[] = []
  for (const key of names) {
    if (!key.startsWith(GFID2PATH_PREFIX)) continue
    const value = getXattr(target, key)
    if (typeof value === 'number') continue
    const pargfid = parseGfid(value.latin1Slice(0, 36)) ?? NULL_GFID
    const parentFd = pargfid === NULL_GFID ? -1 : brick.dir(pargfid)
    const parent = parentFd < 0 ? undefined : directoryPath(brick, parentFd)
    if (parent === undefined) continue
    paths.push(`${parent === '/' ? '' : parent}/${value.latin1Slice(37)}`)
  }
  return paths
}

function directoryPath(brick: Brick, fd: number): string | undefined {
  const path = entry.readlinkAt(AT_FDCWD, `/proc/self/fd/${fd}`)
  const root = entry.readlinkAt(AT_FDCWD, `/proc/self/fd/${brick.rootFd}`)
  if (typeof path === 'number' || typeof root === 'number' || !path.startsWith(root))
    return undefined
  return path.length === root.length ? '/' : path.slice(root.length)
}

/** The name in the directory that differs from `wanted` in case only. */
function realName(target: Target, wanted: string): string | number {
  if (typeof target !== 'number') return -E.NOTDIR
  const fd = entry.openAt(target, '.', entry.O_DIRECTORY)
  if (fd < 0) return fd
  const lower = wanted.toLowerCase()
  try {
    for (;;) {
      const batch = readEntries(fd)
      if (typeof batch === 'number') return batch
      if (batch.length === 0) return -E.NODATA
      const found = batch.find((one) => one.name.toLowerCase() === lower)
      if (found !== undefined) return found.name
    }
  } finally {
    entry.close(fd)
  }
}

// --- xattrop -------------------------------------------------------------------------------------

/** Keys that are the brick's own are not counters of a client. */
export function xattropOn(
  target: Target,
  op: number,
  dict: Dict,
): { errno: 0; dict: Dict } | FopError {
  for (const key of dict.entries.keys()) {
    if (key === GFID_KEY || key === VOLUME_ID_KEY || key.startsWith(GFID2PATH_PREFIX)) {
      return { errno: E.PERM }
    }
  }
  return xattrop(target, op, dict)
}
