/** Makes a directory a brick of a volume, as glusterd does at `volume create`. */
import { GlusterError } from '../../../src/core/errors.ts'
import { gfidToBytes, parseGfid } from '../../../src/core/gfid.ts'
import { getXattr, setXattr, XATTR_CREATE } from '../../../src/sys/xattr.ts'
import { GFID_KEY } from './attributes.ts'

export const VOLUME_ID_KEY = 'trusted.glusterfs.volume-id'

/**
 * Marks the directory `path` (latin1, absolute, existing) with the volume's id. One that carries
 * this id already is left as it is. Throws GlusterError: the id is no UUID; the directory or one
 * above it belongs to a volume; no trusted.* xattrs here (not root, or the file system has none).
 */
export function prepareBrick(path: string, volumeId: string): void {
  const id = parseGfid(volumeId)
  if (id === undefined) throw new GlusterError('BAD_VALUE', `volume id '${volumeId}' is not a UUID`)
  const present = getXattr(path, VOLUME_ID_KEY)
  if (typeof present !== 'number') {
    if (present.latin1Slice() === id) return
    throw new GlusterError('BAD_VALUE', `${path} is a brick of another volume`)
  }
  for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
    for (const key of [VOLUME_ID_KEY, GFID_KEY]) {
      if (typeof getXattr(at, key) === 'number') continue
      const what = at === path ? path : `${path}: ${at} above it`
      throw new GlusterError('BAD_VALUE', `${what} is or was part of a volume (it has ${key})`)
    }
  }
  const rc = setXattr(path, VOLUME_ID_KEY, gfidToBytes(id), XATTR_CREATE)
  if (rc >= 0) return
  const why = rc === -1 ? 'only root may' : rc === -95 ? 'its file system has none' : `errno ${-rc}`
  throw new GlusterError('BAD_VALUE', `${path}: trusted.* xattrs cannot be set: ${why}`)
}
