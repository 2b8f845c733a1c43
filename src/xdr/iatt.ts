/** Attributes on the wire: gfx_iattx of the 4.x programs, gf_iatt of older ones and callbacks. */
import { Iatt } from '../core/iatt.ts'
import * as xdr from './schema.ts'

/** 148 bytes, straight to and from an Iatt. */
export const gfx_iattx = xdr.record(
  'gfx_iattx',
  {
    gfid: xdr.gfid,
    flags: xdr.u64n,
    ino: xdr.halves('inoHi', 'inoLo'),
    dev: xdr.halves('devHi', 'devLo'),
    rdev: xdr.u64n,
    size: xdr.u64near,
    blocks: xdr.u64near,
    attributes: xdr.u64n,
    attributes_mask: xdr.as('attributesMask', xdr.u64n),
    atime: xdr.i64,
    mtime: xdr.i64,
    ctime: xdr.i64,
    btime: xdr.i64,
    atime_nsec: xdr.as('atimeNsec', xdr.u32),
    mtime_nsec: xdr.as('mtimeNsec', xdr.u32),
    ctime_nsec: xdr.as('ctimeNsec', xdr.u32),
    btime_nsec: xdr.as('btimeNsec', xdr.u32),
    nlink: xdr.u32,
    uid: xdr.u32,
    gid: xdr.u32,
    blksize: xdr.u32,
    mode: xdr.u32,
  },
  Iatt,
)

/** Bytes of a gfx_iattx. */
export const GFX_IATTX_SIZE = 148

/** 100 bytes; `flags` (which fields are valid) does not travel and stays 0. */
export const gf_iatt = xdr.record(
  'gf_iatt',
  {
    gfid: xdr.gfid,
    ino: xdr.halves('inoHi', 'inoLo'),
    dev: xdr.halves('devHi', 'devLo'),
    mode: xdr.u32,
    nlink: xdr.u32,
    uid: xdr.u32,
    gid: xdr.u32,
    rdev: xdr.u64n,
    size: xdr.u64near,
    blksize: xdr.u32,
    blocks: xdr.u64near,
    atime: xdr.u32,
    atime_nsec: xdr.as('atimeNsec', xdr.u32),
    mtime: xdr.u32,
    mtime_nsec: xdr.as('mtimeNsec', xdr.u32),
    ctime: xdr.u32,
    ctime_nsec: xdr.as('ctimeNsec', xdr.u32),
  },
  Iatt,
)
