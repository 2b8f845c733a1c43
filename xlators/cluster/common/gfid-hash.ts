/** Which brick reads start from, by gfid. */
import type { Gfid } from '../../../src/core/gfid.ts'

/** SuperFastHash (hashfn.c) of latin1 bytes; their number is a multiple of four. */
export function superFastHash(bytes: string): number {
  let hash = bytes.length
  for (let at = 0; at < bytes.length; at += 4) {
    hash = (hash + word(bytes, at)) | 0
    hash = (hash << 16) ^ ((word(bytes, at + 2) << 11) ^ hash)
    hash = (hash + (hash >>> 11)) | 0
  }
  hash ^= hash << 3
  hash = (hash + (hash >>> 5)) | 0
  hash ^= hash << 4
  hash = (hash + (hash >>> 17)) | 0
  hash ^= hash << 25
  hash = (hash + (hash >>> 6)) | 0
  return hash >>> 0
}

/**
 * Hash of the gfid modulo the number of bricks: every client reads a file from the same bricks,
 * which keeps their caches apart.
 */
export function firstOfGfid(gfid: Gfid, brickCount: number): number {
  return superFastHash(gfid) % brickCount
}

function word(bytes: string, at: number): number {
  return bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8)
}
