import type { Iatt } from './iatt.ts'
import type { Inode } from './inode.ts'

/**
 * How long answers stay true without being asked for again, because the bricks tell of others'
 * changes. Offered by a translator (`Xlator.freshness`), used by the mount for what the kernel keeps.
 * Milliseconds from now; 0: nobody would tell, the mount's own timeouts apply.
 */
export interface Freshness {
  /** Of `stat`, just answered for the inode. */
  attributes(inode: Inode, stat: Iatt): number
  /** Of the name, just answered to be the inode's. */
  name(parent: Inode, name: string, inode: Inode): number
  /**
   * Attributes and name as a listing or lookup showed them, if they may still be believed, and when
   * that began, monotonic ms. The inode's translators may not have seen a lookup of it.
   */
  listed(parent: Inode, name: string, inode: Inode): { stat: Iatt; at: number } | undefined
  /** Anything is known about it at all. */
  readonly on: boolean
}
