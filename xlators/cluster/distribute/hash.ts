/**
 * The hash that places names on subvolumes (gf_dm_hashfn): a Davies-Meyer construction over the
 * TEA block cipher, 32-bit arithmetic throughout. Every client and the rebalance process must agree
 * on it bit for bit.
 */

const DELTA = 0x9e3779b9
const PARTIAL_ROUNDS = 6
const FULL_ROUNDS = 10

// The state of a hash under way; hashing never yields, so one is enough.
let h0 = 0
let h1 = 0

/** Ciphers the state with key k0..k3 and adds the result to it. */
function mix(k0: number, k1: number, k2: number, k3: number, rounds: number): void {
  let a = h0
  let b = h1
  let sum = 0
  for (let round = 0; round < rounds; round++) {
    sum = (sum + DELTA) | 0
    a = (a + (((b << 4) + k0) ^ (b + sum) ^ ((b >>> 5) + k1))) | 0
    b = (b + (((a << 4) + k2) ^ (a + sum) ^ ((a >>> 5) + k3))) | 0
  }
  h0 = (h0 + a) | 0
  h1 = (h1 + b) | 0
}

/** Little-endian word of four name bytes. */
function word(name: string, at: number): number {
  return (
    name.charCodeAt(at) |
    (name.charCodeAt(at + 1) << 8) |
    (name.charCodeAt(at + 2) << 16) |
    (name.charCodeAt(at + 3) << 24)
  )
}

/** Hash of the raw bytes of `name` (latin1), unsigned 32 bits. */
export function hashName(name: string): number {
  const length = name.length
  // Not cut to a byte: paths of directories are hashed too, and may be longer.
  const padHalf = length | (length << 8)
  const pad = padHalf | (padHalf << 16)
  h0 = 0x9464a485 | 0
  h1 = 0x542e1a94
  let at = 0
  for (; length - at >= 16; at += 16) {
    mix(word(name, at), word(name, at + 4), word(name, at + 8), word(name, at + 12), PARTIAL_ROUNDS)
  }
  const key = [pad, pad, pad, pad]
  let words = 0
  for (; length - at >= 4; at += 4) key[words++] = word(name, at)
  let tail = pad
  for (; at < length; at++) {
    // Bytes are signed char on x86: one from 0x80 up wipes the bytes before it.
    const byte = (name.charCodeAt(at) << 24) >> 24
    tail = (tail << 8) | byte
  }
  key[words] = tail
  mix(key[0]!, key[1]!, key[2]!, key[3]!, FULL_ROUNDS)
  return (h0 ^ h1) >>> 0
}
