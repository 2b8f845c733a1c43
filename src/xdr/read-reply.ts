/**
 * The front of a READ reply, for a connection that wants the payload in a buffer of its own: it
 * needs to know where the body ends before the record is complete.
 */
import { gfx_read_rsp } from './glusterfs4.ts'
import { GFX_IATTX_SIZE } from './iatt.ts'
import type { Reader } from './reader.ts'
import { XdrError } from './reader.ts'
import type * as xdr from './schema.ts'

/** op_ret, op_errno, stat, size and the head of xdata. */
export const READ_REPLY_SIZE_MIN = 4 + 4 + GFX_IATTX_SIZE + 4 + 12
/** Bytes of a READ reply's xdata we take ahead of its payload. */
const READ_XDATA_SIZE_MAX = 1024 * 1024

export interface ReadReply {
  rsp: xdr.Infer<typeof gfx_read_rsp>
  /** Where the payload begins in the reader's buffer; `rsp.size` bytes, to the record's end. */
  payloadStart: number
}

/**
 * Bytes of the body before the payload, `undefined` while fewer than READ_REPLY_SIZE_MIN are
 * there. The reader, behind the RPC header, does not move.
 */
export function readReplyBodySize(r: Reader): number | undefined {
  if (r.remaining < READ_REPLY_SIZE_MIN) return undefined
  const at = r.position + READ_REPLY_SIZE_MIN - 12
  const size = r.buffer.readUInt32BE(at)
  if (size > READ_XDATA_SIZE_MAX) throw new XdrError('xdata', at, `${size} bytes`)
  return READ_REPLY_SIZE_MIN + ((size + 3) & ~3)
}

/**
 * The body of a READ reply from its first bytes, `undefined` while there are too few (the reader
 * then stays). Throws XdrError on bad bytes.
 */
export function decodeReadReply(r: Reader): ReadReply | undefined {
  const size = readReplyBodySize(r)
  if (size === undefined || r.remaining < size) return undefined
  const rsp = gfx_read_rsp.decode(r)
  return { rsp, payloadStart: r.position }
}
