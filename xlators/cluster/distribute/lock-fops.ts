/** Locks of applications and of translators above: on the object's cached subvolume. */
import { E, type Errno } from '../../../src/core/errno.ts'
import { ENTRYLK_UNLOCK, F_UNLCK, type Rep, type Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { learnDirectory } from './directory.ts'
import { cachedSub, isDirectory } from './file.ts'
import type { Distribute } from './index.ts'

type LockFop = 'inodelk' | 'finodelk' | 'entrylk' | 'fentrylk'

/** A directory's locks stay where the first one went until it is given back. */
export async function lockFop<K extends LockFop>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
): Promise<Rep<K>> {
  const sub = await lockSub(dht, frame, inode)
  if (typeof sub === 'number') return { errno: sub }
  const rep = await frame.wind(sub, fop, req)
  if (!isDirectory(dht, inode) || rep.errno !== 0) return rep
  dht.inodeState(inode).lockSub = isUnlock(req) ? undefined : sub
  return rep
}

async function lockSub(dht: Distribute, frame: Frame, inode: Inode): Promise<Xlator | Errno> {
  if (!isDirectory(dht, inode)) return cachedSub(dht, frame, inode)
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return errno
  const state = dht.inodes.get(inode)
  return state?.lockSub ?? state?.layout?.entries[0]?.sub ?? E.INVAL
}

function isUnlock(req: object): boolean {
  const { flock, cmd } = req as { flock?: { type: number }; cmd: number }
  return flock === undefined ? cmd === ENTRYLK_UNLOCK : flock.type === F_UNLCK
}
