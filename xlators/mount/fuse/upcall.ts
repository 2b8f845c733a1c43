import {
  UP_FORGET,
  UP_MODE,
  UP_NLINK,
  UP_OWN,
  UP_PARENT_TIMES,
  UP_PERM,
  UP_RENAME_FLAGS,
  UP_SIZE,
  UP_TIMES,
  type Upcall,
} from '../../../src/core/event.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { FuseBridge } from './index.ts'

type CacheInvalidation = Extract<Upcall, { type: 'cache-invalidation' }>

/** The file's content may be another one. */
const CONTENT = UP_SIZE | UP_TIMES | UP_FORGET
const ATTRIBUTES = UP_NLINK | UP_MODE | UP_OWN | UP_PERM
/** A name of it may be gone. */
const NAMES = UP_NLINK | UP_RENAME_FLAGS | UP_FORGET

/**
 * The kernel has been told of this state, or of a later one. Telling it again would do harm: it
 * then ignores the answer to a GETATTR under way, and the read(2) that waits sees the old size.
 */
function isOldNews(bridge: FuseBridge, inode: Inode, { flags, stat }: CacheInvalidation): boolean {
  return (flags & NAMES) === 0 && bridge.seen.get(inode)?.covers(stat) === true
}

/** Another client changed something: the kernel forgets what it holds of it. */
export function invalidateOnUpcall(bridge: FuseBridge, upcall: Upcall): void {
  if (upcall.type !== 'cache-invalidation') return
  const { table, invalidator } = bridge
  const { flags } = upcall
  const inode = table.byGfid(upcall.gfid)
  if (inode !== undefined) bridge.listings.drop(inode)
  if (inode !== undefined && !isOldNews(bridge, inode, upcall)) {
    if ((flags & NAMES) !== 0) {
      invalidator.goneNames(inode)
      // It may be gone: what is done to it next begins with a lookup.
      inode.lookedUpGraph = -1
    }
    // The kernel writes dirty pages back before it drops a page, so no byte of ours is lost.
    if ((flags & CONTENT) !== 0) invalidator.inode(inode, true)
    else if ((flags & ATTRIBUTES) !== 0) invalidator.inode(inode, false)
  }
  if ((flags & (UP_PARENT_TIMES | UP_RENAME_FLAGS)) === 0) return
  for (const stat of [upcall.parentStat, upcall.oldParentStat]) {
    const parent = table.byGfid(stat.gfid)
    if (parent === undefined) continue
    bridge.listings.drop(parent)
    invalidator.inode(parent, true)
  }
}
