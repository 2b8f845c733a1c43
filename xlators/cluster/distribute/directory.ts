/** Fops on a directory as a whole: on all subvolumes, its keeper (mds) first where one counts. */
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { mergeIatt } from './attributes.ts'
import { timesOf } from './context.ts'
import { learn } from './discover.ts'
import type { Distribute } from './index.ts'
import { anyOk, worstError } from './subvolumes.ts'

/** Makes sure the directory's layout is known. Answers 0 or the errno of the lookup. */
export async function learnDirectory(
  dht: Distribute,
  frame: Frame,
  inode: Inode,
): Promise<Errno | 0> {
  if (dht.inodes.get(inode)?.layout !== undefined) return 0
  const rep = await learn(dht, frame, inode)
  if (rep.errno !== 0) return rep.errno
  return dht.inodes.get(inode)?.layout === undefined ? E.NOTDIR : 0
}

export async function statDirectory<K extends 'stat' | 'fstat'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
): Promise<Rep<K>> {
  const replies = await frame.windAll(dht.children, fop, () => req)
  let merged: Iatt | undefined
  for (const rep of replies) {
    if (rep.errno === 0) merged = mergeIatt(merged, (rep as Ok<'stat'>).stat)
  }
  if (merged === undefined) return worstError<K>(replies)
  dht.inodeState(inode).times = timesOf(merged)
  return { errno: 0, stat: merged } as Rep<K>
}

/**
 * setattr on a directory: the mds subvolume first, its word is the answer; the others follow and
 * are healed by a later lookup if they miss it. Root and fsetattr: everywhere, any success counts.
 */
export async function setattrDirectory<K extends 'setattr' | 'fsetattr'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
  inode: Inode,
): Promise<Rep<K>> {
  const errno = await learnDirectory(dht, frame, inode)
  if (errno !== 0) return { errno }
  if (inode.isRoot || fop === 'fsetattr') {
    const replies = await frame.windAll(dht.children, fop, () => req)
    return anyOk<K>(replies) === undefined
      ? worstError<K>(replies)
      : mergePrePost(dht, inode, replies)
  }
  const mds = dht.inodes.get(inode)?.mds
  if (mds === undefined) return { errno: E.INVAL }
  const first = await frame.wind(mds, fop, req)
  if (first.errno !== 0) return first
  const others = dht.children.filter((sub) => sub !== mds)
  const replies = await frame.windAll(others, fop, () => req)
  return mergePrePost(dht, inode, [...replies, first])
}

function mergePrePost<K extends 'setattr' | 'fsetattr'>(
  dht: Distribute,
  inode: Inode,
  replies: readonly Rep<K>[],
): Rep<K> {
  let prestat: Iatt | undefined
  let poststat: Iatt | undefined
  for (const rep of replies) {
    if (rep.errno !== 0) continue
    const ok = rep as Ok<'setattr'>
    prestat = mergeIatt(prestat, ok.prestat)
    // Times a caller sets may lie in the past: here the last word counts, not the latest time.
    const times = timesOf(ok.poststat)
    poststat = Object.assign(mergeIatt(poststat, ok.poststat), times)
  }
  if (poststat !== undefined) dht.inodeState(inode).times = timesOf(poststat)
  return { errno: 0, prestat, poststat } as Rep<K>
}

/** access: asked of one subvolume; where the directory is missing or unreachable, of the next. */
export async function accessDirectory(
  dht: Distribute,
  frame: Frame,
  req: Req<'access'>,
): Promise<Rep<'access'>> {
  let rep: Rep<'access'> = { errno: E.NOTCONN }
  for (const sub of dht.children) {
    rep = await frame.wind(sub, 'access', req)
    const { errno } = rep
    if (errno !== E.NOTCONN && errno !== E.NOENT && errno !== E.STALE) return rep
  }
  return rep
}

/** Sends a fop everywhere; any success is a success. */
export async function everywhere<K extends 'fsyncdir' | 'ipc'>(
  dht: Distribute,
  frame: Frame,
  fop: K,
  req: Req<K>,
): Promise<Rep<K>> {
  const replies = await frame.windAll(dht.children, fop, () => req)
  return anyOk<K>(replies) ?? worstError<K>(replies)
}
