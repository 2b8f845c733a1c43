/**
 * `trusted.gfid2path.<hash>`: on every non-directory, one xattr per name, from which the path of a
 * file can be found by its gfid. Value `<canonical pargfid>/<basename>`, hash XXH64 (seed 0) of it.
 */
import xxhash from 'xxhash-wasm'
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'

const hasher = await xxhash()

export const GFID2PATH_PREFIX = 'trusted.gfid2path.'

export function gfid2path(pargfid: Gfid, name: string): { key: string; value: Buffer } {
  const value = Buffer.from(`${gfidText(pargfid)}/${name}`, 'latin1')
  const hash = hasher.h64Raw(value).toString(16).padStart(16, '0')
  return { key: GFID2PATH_PREFIX + hash, value }
}
