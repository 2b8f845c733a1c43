import { randomFillSync } from 'node:crypto'

/**
 * The 128-bit identity of an inode on every brick. Held as 16 latin1 characters, one per byte, so
 * that it is a Map key without conversion; hexadecimal text appears in logs only.
 */
export type Gfid = string & { readonly __gfid: unique symbol }

/** 15 zero bytes and a one: the root of every volume. */
export const ROOT_GFID = `${'\0'.repeat(15)}\x01` as Gfid
/** All zero: "no gfid". */
export const NULL_GFID = '\0'.repeat(16) as Gfid

/** The gfid in `bytes` at `offset`; 16 bytes must be there. */
export function gfidFromBytes(bytes: Buffer, offset = 0): Gfid {
  return bytes.latin1Slice(offset, offset + 16) as Gfid
}

export function gfidToBytes(gfid: Gfid): Buffer {
  return Buffer.from(gfid, 'latin1')
}

// Random bytes are drawn 4 KiB at a time: one crypto call per 256 new inodes.
const pool = Buffer.allocUnsafeSlow(4096)
let poolUsed = pool.length

/** A fresh random gfid (RFC 4122 version 4, as libuuid makes them). */
export function newGfid(): Gfid {
  if (poolUsed === pool.length) {
    randomFillSync(pool)
    poolUsed = 0
  }
  const at = poolUsed
  poolUsed += 16
  pool[at + 6] = (pool[at + 6]! & 0x0f) | 0x40
  pool[at + 8] = (pool[at + 8]! & 0x3f) | 0x80
  return pool.latin1Slice(at, at + 16) as Gfid
}

/** Canonical text: `00000000-0000-0000-0000-000000000001`. */
export function gfidText(gfid: Gfid): string {
  const hex = Buffer.from(gfid, 'latin1').toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

const canonical = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The gfid of canonical text, `undefined` when `text` is none. */
export function parseGfid(text: string): Gfid | undefined {
  if (!canonical.test(text)) return undefined
  return Buffer.from(text.replaceAll('-', ''), 'hex').latin1Slice() as Gfid
}
