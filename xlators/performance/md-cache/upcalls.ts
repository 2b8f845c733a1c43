/** What the bricks tell of others' changes, and how long they do. */
import {
  UP_EXPLICIT_LOOKUP,
  UP_FORGET,
  UP_NLINK,
  UP_RENAME_FLAGS,
  UP_TIMES,
  UP_XATTR,
  UP_XATTR_RM,
  type Upcall,
} from '../../../src/core/event.ts'
import { type Inode, type InodeTable, isDirInode } from '../../../src/core/inode.ts'
import type { Store } from './store.ts'

type CacheInvalidation = Extract<Upcall, { type: 'cache-invalidation' }>

/** features.cache-invalidation-timeout unless set: believed until a brick names its own, ms. */
const REGISTERED_DEFAULT_MS = 60_000

const XATTRS = UP_XATTR | UP_XATTR_RM
/** The name it was seen under may be gone. */
const NAMES = UP_NLINK | UP_RENAME_FLAGS | UP_FORGET | UP_EXPLICIT_LOOKUP

/** For how long after our last access the bricks tell us of changes. */
export class Registration {
  ms = REGISTERED_DEFAULT_MS

  /** An upcall says that it is `seconds`. True when that is news. */
  heard(seconds: number): boolean {
    if (seconds <= 0 || seconds * 1000 === this.ms) return false
    this.ms = seconds * 1000
    return true
  }
}

/**
 * Drops what the upcall makes untrue. Gives the inode if its attributes, content or names changed.
 */
export function applyUpcall(
  upcall: CacheInvalidation,
  store: Store,
  table: InodeTable,
  cachedXattrs: ReadonlySet<string>,
): Inode | undefined {
  const { flags } = upcall
  for (const { gfid } of [upcall.parentStat, upcall.oldParentStat]) {
    const parent = table.byGfid(gfid)
    if (parent !== undefined) store.shared(parent)
  }
  const inode = table.byGfid(upcall.gfid)
  if (inode === undefined) {
    store.stranger(upcall.gfid)
    return undefined
  }
  if ((flags & XATTRS) !== 0) {
    const set = (flags & UP_XATTR) !== 0 ? upcall.xdata : undefined
    if (upcall.xdata === undefined) store.dropXattrs(inode)
    else store.patchXattrs(inode, set, upcall.xdata, cachedXattrs)
  }
  if ((flags & ~XATTRS) === 0) return undefined
  if ((flags & UP_TIMES) !== 0 && isDirInode(inode)) store.shared(inode)
  else store.drop(inode)
  if ((flags & NAMES) !== 0) {
    store.unnamed(inode)
    store.dropXattrs(inode)
  }
  return inode
}
