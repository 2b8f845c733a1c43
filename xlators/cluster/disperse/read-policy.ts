/** Which brick reads start from. */
import type { Gfid } from '../../../src/core/gfid.ts'

/**
 * SuperFastHash of the gfid (SuperFastHash in hashfn.c), modulo the number of bricks: every client
 * reads a file from the same bricks, which keeps their caches apart.
 */
export function firstOfGfid(gfid: Gfid, brickCount: number): number {
  let hash = gfid.length
  for (let at = 0; at < gfid.length; at += 4) {
    hash = (hash + word(gfid, at)) | 0
    hash = (hash << 16) ^ ((word(gfid, at + 2) << 11) ^ hash)
    hash = (hash + (hash >>> 11)) | 0
  }
  hash ^= hash << 3
  hash = (hash + (hash >>> 5)) | 0
  hash ^= hash << 4
  hash = (hash + (hash >>> 17)) | 0
  hash ^= hash << 25
  hash = (hash + (hash >>> 6)) | 0
  return (hash >>> 0) % brickCount
}

function word(bytes: string, at: number): number {
  return bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8)
}
