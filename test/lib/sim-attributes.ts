/** setattr of a simulated brick. */
import { E } from '../../src/core/errno.ts'
import type { Rep } from '../../src/core/fop.ts'
import {
  type Iatt,
  S_IFMT,
  SET_ATTR_ATIME,
  SET_ATTR_ATIME_NOW,
  SET_ATTR_GID,
  SET_ATTR_MODE,
  SET_ATTR_MTIME,
  SET_ATTR_MTIME_NOW,
  SET_ATTR_UID,
} from '../../src/core/iatt.ts'
import type { SimNode, SimStore } from './sim-store.ts'

export function setattr(
  store: SimStore,
  node: SimNode | undefined,
  stat: Iatt,
  valid: number,
): Rep<'setattr'> {
  if (node === undefined) return { errno: E.STALE }
  const prestat = node.iatt()
  if ((valid & SET_ATTR_MODE) !== 0) {
    node.mode = (node.mode & S_IFMT) | (stat.mode & 0o7777)
  }
  if ((valid & SET_ATTR_UID) !== 0) node.uid = stat.uid
  if ((valid & SET_ATTR_GID) !== 0) node.gid = stat.gid
  if ((valid & SET_ATTR_ATIME) !== 0) node.atime = { sec: stat.atime, nsec: stat.atimeNsec }
  if ((valid & SET_ATTR_MTIME) !== 0) node.mtime = { sec: stat.mtime, nsec: stat.mtimeNsec }
  if ((valid & SET_ATTR_ATIME_NOW) !== 0) node.atime = store.now()
  if ((valid & SET_ATTR_MTIME_NOW) !== 0) node.mtime = store.now()
  node.ctime = store.now()
  return { errno: 0, prestat, poststat: node.iatt() }
}
