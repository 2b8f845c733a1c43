/**
 * ONC RPC messages (RFC 5531) and their record marks: what stands before every body.
 *
 *     mark | xid | CALL | 2 | prog | vers | proc | cred | verf | body
 *     mark | xid | REPLY | ACCEPTED | verf | accept_stat | body
 *
 * The mark is a u32: the last-fragment bit and the length.
 */
import type { Errno } from '../core/errno.ts'
import type { Creds } from '../core/frame.ts'
import type { Procedure } from './programs.ts'
import { type Reader, XdrError } from './reader.ts'
import { type AuthFlavor, encodeAuth } from './rpc-auth.ts'
import type { Writer } from './writer.ts'

export const RECORD_MARK_SIZE = 4
/** Set in the mark of a record's last fragment. We send one fragment per record only. */
export const LAST_FRAGMENT = 0x80000000
/** Longest fragment a mark can announce. */
export const FRAGMENT_SIZE_MAX = 0x7fffffff

export const CALL = 0
export const REPLY = 1
export const RPC_VERSION = 2

/** Bytes of a credential or verifier (RFC 5531 s.8.2). */
const AUTH_SIZE_MAX = 400

const MSG_ACCEPTED = 0
const MSG_DENIED = 1
const RPC_MISMATCH = 0
const AUTH_ERROR = 1

const acceptStats = [
  'SUCCESS',
  'PROG_UNAVAIL',
  'PROG_MISMATCH',
  'PROC_UNAVAIL',
  'GARBAGE_ARGS',
  'SYSTEM_ERR',
] as const

/** How the RPC layer answered; all but SUCCESS mean that there is no result. */
export type ReplyStat = (typeof acceptStats)[number] | 'RPC_MISMATCH' | 'AUTH_ERROR'

export interface CallHeader {
  type: typeof CALL
  xid: number
  rpcvers: number
  prog: number
  vers: number
  proc: number
  /** Credential: flavor and body, see decodeCreds. */
  flavor: number
  cred: Buffer
}

export interface ReplyHeader {
  type: typeof REPLY
  xid: number
  stat: ReplyStat
  /** Mismatches: lowest and highest version served. AUTH_ERROR: the auth_stat. Else empty. */
  detail: readonly number[]
}

const NO_DETAIL: readonly number[] = []

/**
 * Writes a whole call but for the payload of WRITE and PUT, of which the record mark tells
 * `payloadSize` bytes; they must follow directly, without padding.
 *
 * The errno when the credential cannot be sent; throws XdrError when a value of `body` cannot.
 * Nothing is written then.
 */
export function encodeCall<Q>(
  w: Writer,
  xid: number,
  procedure: Procedure<Q, unknown>,
  flavor: AuthFlavor,
  creds: Creds,
  body: NoInfer<Q>,
  payloadSize = 0,
): 0 | Errno {
  const start = w.position
  try {
    beginCall(w, xid, procedure)
    const errno = encodeAuth(w, flavor, creds)
    if (errno !== 0) {
      w.reset(start)
      return errno
    }
    procedure.request.encode(w, body)
    endRecord(w, start, payloadSize)
    return 0
  } catch (error) {
    w.reset(start)
    throw error
  }
}

/** Mark (to be filled by endRecord) and call header up to the procedure. */
export function beginCall(
  w: Writer,
  xid: number,
  procedure: Pick<Procedure, 'program' | 'number'>,
): void {
  w.u32(0)
  w.u32(xid, 'xid')
  w.u32(CALL)
  w.u32(RPC_VERSION)
  w.u32(procedure.program.number)
  w.u32(procedure.program.version)
  w.u32(procedure.number)
}

/** Mark (to be filled by endRecord) and reply header; a result may follow SUCCESS only. */
export function beginReply(w: Writer, xid: number, stat: ReplyStat, detail = NO_DETAIL): void {
  w.u32(0)
  w.u32(xid, 'xid')
  w.u32(REPLY)
  if (stat === 'RPC_MISMATCH' || stat === 'AUTH_ERROR') {
    w.u32(MSG_DENIED)
    w.u32(stat === 'AUTH_ERROR' ? AUTH_ERROR : RPC_MISMATCH)
  } else {
    w.u32(MSG_ACCEPTED)
    w.u32(0)
    w.u32(0)
    w.u32(acceptStats.indexOf(stat))
  }
  for (const value of detail) w.u32(value, 'detail')
}

/** Fills the mark of the record that begins at `start` and ends here plus `payloadSize`. */
export function endRecord(w: Writer, start: number, payloadSize = 0): void {
  const size = w.position - start - RECORD_MARK_SIZE + payloadSize
  if (size > FRAGMENT_SIZE_MAX) throw w.refuse('record', `${size} bytes`)
  w.patchU32(start, LAST_FRAGMENT + size)
}

/** The header of a record (without mark); the body begins where the reader then is. */
export function decodeHeader(r: Reader): CallHeader | ReplyHeader {
  const xid = r.u32('xid')
  const type = r.u32('msg_type')
  if (type === REPLY) return decodeReply(r, xid)
  if (type === CALL) return decodeCall(r, xid)
  throw new XdrError('msg_type', r.position - 4, `${type}, neither call nor reply`)
}

function decodeCall(r: Reader, xid: number): CallHeader {
  const rpcvers = r.u32('rpcvers')
  const prog = r.u32('prog')
  const vers = r.u32('vers')
  const proc = r.u32('proc')
  const flavor = r.u32('cred flavor')
  const cred = r.opaque(AUTH_SIZE_MAX, 'cred')
  skipVerifier(r)
  return { type: CALL, xid, rpcvers, prog, vers, proc, flavor, cred }
}

function decodeReply(r: Reader, xid: number): ReplyHeader {
  const replyStat = r.u32('reply_stat')
  if (replyStat === MSG_ACCEPTED) {
    skipVerifier(r)
    const stat = acceptStats[r.u32('accept_stat')]
    if (stat === undefined) throw new XdrError('accept_stat', r.position - 4, 'unknown value')
    const detail = stat === 'PROG_MISMATCH' ? [r.u32('low'), r.u32('high')] : NO_DETAIL
    return { type: REPLY, xid, stat, detail }
  }
  if (replyStat !== MSG_DENIED) {
    throw new XdrError('reply_stat', r.position - 4, `${replyStat}, neither accepted nor denied`)
  }
  const reject = r.u32('reject_stat')
  if (reject === RPC_MISMATCH) {
    return { type: REPLY, xid, stat: 'RPC_MISMATCH', detail: [r.u32('low'), r.u32('high')] }
  }
  if (reject === AUTH_ERROR) {
    return { type: REPLY, xid, stat: 'AUTH_ERROR', detail: [r.u32('auth_stat')] }
  }
  throw new XdrError('reject_stat', r.position - 4, `unknown value ${reject}`)
}

/** Servers send none; its content means nothing to us. */
function skipVerifier(r: Reader): void {
  r.u32('verf flavor')
  const length = r.u32('verf')
  if (length > AUTH_SIZE_MAX) throw new XdrError('verf', r.position - 4, `${length} bytes`)
  r.advance((length + 3) & ~3, 'verf')
}
