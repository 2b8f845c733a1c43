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
  /** Anything is known about it at all. */
  readonly on: boolean
}
