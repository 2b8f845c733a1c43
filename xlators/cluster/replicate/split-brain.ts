/** Objects of which no copy is good: telling the administrator, and the configured way out. */

import type { Iatt } from '../../../src/core/iatt.ts'
import { isReg, S_IFDIR, timeLater } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { CopyReply } from './change-log.ts'
import type { Replicate } from './index.ts'

/** No copy of `inode` is good. Takes the favorite one if the policy finds it, else logs it. */
export function noteSplitBrain(
  afr: Replicate,
  inode: Inode,
  path: string,
  replies: readonly (CopyReply | undefined)[],
): void {
  const state = afr.state(inode)
  if (inode.type === S_IFDIR && state.metadata !== 0) return
  state.favorite = favoriteCopy(afr.options['favorite-child-policy'], replies, afr.arbiterMask)
  if (state.favorite >= 0) return
  const kinds = []
  if (state.data === 0) kinds.push(inode.type === S_IFDIR ? 'entries' : 'data')
  if (state.metadata === 0) kinds.push('metadata')
  const volume = afr.graph.volfileId
  const present = replies.filter((reply) => reply?.errno === 0).length
  if (present < afr.bricks.length) {
    const what = kinds.join(' and ')
    afr.tell(path, `'${path}' has no good copy on the bricks that are up (${what})`)
    return
  }
  afr.tell(
    path,
    `'${path}' is in split-brain (${kinds.join(' and ')}): every copy is blamed by another. ` +
      `See 'gluster volume heal ${volume} info split-brain'; resolve it with 'gluster volume ` +
      `heal ${volume} split-brain bigger-file|latest-mtime ${path}' or '… split-brain ` +
      `source-brick HOST:BRICK ${path}'`,
  )
}

/** The brick the policy takes, -1 for none. Every brick must have answered. */
export function favoriteCopy(
  policy: string,
  replies: readonly (CopyReply | undefined)[],
  arbiterMask: number,
): number {
  const copies: { brick: number; stat: Iatt }[] = []
  for (const [brick, reply] of replies.entries()) {
    if (reply?.errno !== 0) return -1
    if ((arbiterMask & (1 << brick)) === 0) copies.push({ brick, stat: reply.stat })
  }
  switch (policy) {
    case 'size':
      return copies.every(({ stat }) => isReg(stat)) ? largest(copies) : -1
    case 'mtime':
      return latest(copies, ({ mtime, mtimeNsec }) => [mtime, mtimeNsec])
    case 'ctime':
      return latest(copies, ({ ctime, ctimeNsec }) => [ctime, ctimeNsec])
    case 'majority':
      return majority(copies, replies.length)
    default:
      return -1
  }
}

type Copy = { brick: number; stat: Iatt }

function largest(copies: readonly Copy[]): number {
  const most = Math.max(...copies.map(({ stat }) => stat.size))
  const found = copies.filter(({ stat }) => stat.size === most)
  return found.length === 1 ? found[0]!.brick : -1
}

function latest(copies: readonly Copy[], timeOf: (stat: Iatt) => [number, number]): number {
  let best: Copy | undefined
  for (const copy of copies) {
    if (best === undefined || timeLater(...timeOf(copy.stat), ...timeOf(best.stat))) best = copy
  }
  return best?.brick ?? -1
}

function majority(copies: readonly Copy[], childCount: number): number {
  for (const { brick, stat } of copies) {
    const same = copies.filter(
      (other) =>
        other.stat.size === stat.size &&
        other.stat.mtime === stat.mtime &&
        other.stat.mtimeNsec === stat.mtimeNsec,
    )
    if (2 * same.length > childCount) return brick
  }
  return -1
}
