/** What the wire costs per message: attributes, a lookup, the fronts of a write and of a read. */

import { clock } from '../../src/core/clock.ts'
import { Dict } from '../../src/core/dict.ts'
import { ROOT_CREDS } from '../../src/core/frame.ts'
import { newGfid } from '../../src/core/gfid.ts'
import { Iatt } from '../../src/core/iatt.ts'
import { ANONYMOUS_FD } from '../../src/xdr/glusterfs-fops.ts'
import { gfx_common_2iatt_rsp, gfx_read_rsp, gfx_readdirp_rsp } from '../../src/xdr/glusterfs4.ts'
import { gfx_iattx } from '../../src/xdr/iatt.ts'
import { FOP } from '../../src/xdr/programs.ts'
import { decodeReadReply } from '../../src/xdr/read-reply.ts'
import { Reader } from '../../src/xdr/reader.ts'
import { AUTH_GLUSTERFS_V3 } from '../../src/xdr/rpc-auth.ts'
import { beginReply, decodeHeader, encodeCall, endRecord } from '../../src/xdr/rpc-msg.ts'
import type { Codec } from '../../src/xdr/schema.ts'
import { Writer } from '../../src/xdr/writer.ts'

export interface Result {
  name: string
  unit: string
  value: number
}

const ROUNDS = 7
const ROUND_MS = 25

/** Best of some rounds, ns per call. */
function nsPerCall(fn: () => unknown): number {
  let sink: unknown
  let calls = 64
  const run = (): number => {
    const begin = clock.now()
    for (let i = 0; i < calls; i++) sink = fn()
    return clock.now() - begin
  }
  while (run() < ROUND_MS) calls *= 2
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) best = Math.min(best, run())
  if (sink === fn) throw new Error('unreachable: keeps the result in use')
  return Math.round((best * 1e6) / calls)
}

function sampleStat(): Iatt {
  const stat = new Iatt()
  Object.assign(stat, { gfid: newGfid(), flags: 0x17ff, inoHi: 0xb10ec631, inoLo: 0x22a4ea5f })
  Object.assign(stat, { devLo: 65024, size: 10_000_000_000, blocks: 19_531_250, nlink: 1 })
  Object.assign(stat, { atime: 1795355701, mtime: 1795355701, ctime: 1795355702, mode: 0o100644 })
  Object.assign(stat, { atimeNsec: 983464259, mtimeNsec: 983464259, ctimeNsec: 3, blksize: 4096 })
  return stat
}

/** A reply's record without its mark. */
function replyOf<T>(codec: Codec<T>, body: T): Buffer {
  const w = new Writer()
  beginReply(w, 7, 'SUCCESS')
  codec.encode(w, body)
  endRecord(w, 0)
  return Buffer.from(w.take().subarray(4))
}

/** What distribute and its children ask for in a lookup. */
function lookupXdata(): Dict {
  return new Dict()
    .setUint('trusted.glusterfs.dht', 16)
    .setUint('trusted.glusterfs.dht.mds', 4)
    .setUint('trusted.glusterfs.dht.linkto', 256)
    .setInt('security.capability', 0)
    .setInt('security.ima', 0)
    .setInt('system.posix_acl_access', 0)
    .setInt('system.posix_acl_default', 0)
    .setUint('glusterfs.open-fd-count', 0)
}

export function benchXdr(): Result[] {
  const stat = sampleStat()
  const w = new Writer()
  const r = new Reader(Buffer.alloc(0))
  const results: Result[] = []
  const add = (name: string, fn: () => unknown): void => {
    results.push({ name: `xdr: ${name}`, unit: 'ns', value: nsPerCall(fn) })
  }

  gfx_iattx.encode(w, stat)
  const iatt = Buffer.from(w.take())
  add('iatt decode', () => gfx_iattx.decode(r.reset(iatt)))
  add('iatt encode', () => gfx_iattx.encode(w.reset(), stat))

  const creds = { ...ROOT_CREDS, uid: 1000, gid: 1000, pid: 4500, groups: [4, 24, 27, 1000] }
  const gfid = newGfid()
  const lookup = { gfid, pargfid: gfid, flags: 0, bname: 'a-file-name.txt', xdata: lookupXdata() }
  add('lookup call encode, 8 keys', () =>
    encodeCall(w.reset(), 7, FOP.LOOKUP, AUTH_GLUSTERFS_V3, creds, lookup),
  )

  const found = { op_ret: 0, op_errno: 0, xdata: undefined, prestat: stat, poststat: stat }
  const lookupReply = replyOf(gfx_common_2iatt_rsp, found)
  add('lookup reply decode', () => {
    decodeHeader(r.reset(lookupReply))
    return gfx_common_2iatt_rsp.decode(r)
  })
  const xattrs = new Dict().setBytes('trusted.glusterfs.dht', Buffer.alloc(16)).setInt('x', 1)
  const lookupReplyXdata = replyOf(gfx_common_2iatt_rsp, { ...found, xdata: xattrs })
  add('lookup reply decode, 2 keys', () => {
    decodeHeader(r.reset(lookupReplyXdata))
    return gfx_common_2iatt_rsp.decode(r)
  })

  const fd = ANONYMOUS_FD
  const write = { gfid, fd, offset: 1 << 20, size: 131072, flag: 0o100002, xdata: undefined }
  add('write call encode, without payload', () =>
    encodeCall(w.reset(), 7, FOP.WRITE, AUTH_GLUSTERFS_V3, creds, write, write.size),
  )

  const read = { op_ret: 131072, op_errno: 0, stat, size: 131072, xdata: undefined }
  const readReply = replyOf(gfx_read_rsp, read)
  add('read reply decode, without payload', () => {
    decodeHeader(r.reset(readReply))
    return decodeReadReply(r)
  })

  const entry = { name: 'a-file-name.txt', inoHi: 1, inoLo: 2, off: 12345678901n, type: 8, stat }
  const reply = Array.from({ length: 100 }, () => entry)
  const readdirp = replyOf(gfx_readdirp_rsp, { op_ret: 100, op_errno: 0, xdata: undefined, reply })
  add('readdirp reply decode, 100 entries', () => {
    decodeHeader(r.reset(readdirp))
    return gfx_readdirp_rsp.decode(r)
  })
  return results
}
