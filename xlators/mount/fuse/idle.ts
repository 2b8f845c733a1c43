import type { FuseBridge } from './index.ts'

/** Victims told to the kernel in one go; its FORGETs, or the next entry reply, continue. */
const BATCH = 64

/**
 * `lru-limit`: when the kernel knows more idle inodes than that, it is asked to drop the names of
 * those used longest ago; its FORGETs then free them here.
 */
export function giveBackIdleInodes(bridge: FuseBridge): void {
  const limit = bridge.options['lru-limit']
  const { table, invalidator } = bridge
  if (limit === 0 || table.knownToKernel <= limit) return
  const waitingMax = bridge.options['invalidate-limit']
  if (waitingMax > 0 && invalidator.waiting >= waitingMax) return
  for (const inode of table.idleVictims(Math.min(BATCH, table.knownToKernel - limit))) {
    invalidator.names(inode)
  }
}
