import type { Client } from './client.ts'
import type { Dict } from './dict.ts'
import type { Errno } from './errno.ts'
import type { Flock } from './fop.ts'
import type { Gfid } from './gfid.ts'
import type { Iatt } from './iatt.ts'
import type { Inode } from './inode.ts'

/** Events from the bricks towards the mount (GF_EVENT_*). Parents hear them from a child. */
export type UpEvent =
  | { type: 'child-up' }
  | { type: 'child-down' }
  | { type: 'child-connecting' }
  /** A brick answered a ping: what it takes there and back. */
  | { type: 'child-ping'; latencyMs: number }
  | { type: 'some-descendent-up' }
  | { type: 'some-descendent-down' }
  /** A brick refused this client; `reason` is its text. */
  | { type: 'auth-failed'; reason: string; errno: Errno }
  | { type: 'upcall'; upcall: Upcall }
  /**
   * What is cached of the inode is not true any more: translators and the mount drop it. With
   * `stat` somebody else changed it, and the kernel may have been told of that state already.
   */
  | { type: 'invalidate-inode'; inode: Inode; stat?: Iatt }
  /** Changes may have gone untold: what `Xlator.freshness` promised holds no longer. */
  | { type: 'upcalls-lost' }

/** Events from the mount towards the bricks. */
export type DownEvent =
  | { type: 'parent-up' }
  | { type: 'parent-down' }
  /** On a brick: the last connection of a client is gone; its locks and registrations end. */
  | { type: 'client-disconnected'; client: Client }

export type Event = UpEvent | DownEvent

/** What a brick tells about changes made by others. */
export type Upcall =
  | {
      type: 'cache-invalidation'
      gfid: Gfid
      /** UP_* bits. */
      flags: number
      /** Seconds the brick keeps this client registered since its last access. */
      expireTimeAttr: number
      stat: Iatt
      parentStat: Iatt
      oldParentStat: Iatt
      xdata: Dict | undefined
    }
  | { type: 'inodelk-contention'; gfid: Gfid; flock: Flock; pid: number; domain: string }
  | {
      type: 'entrylk-contention'
      gfid: Gfid
      lockType: number
      pid: number
      name: string
      domain: string
    }
  | { type: 'recall-lease'; gfid: Gfid; leaseType: number; leaseId: Buffer }

/** Flags of a cache invalidation (UP_*, upcall-utils). */
export const UP_NLINK = 0x1
export const UP_MODE = 0x2
export const UP_OWN = 0x4
export const UP_SIZE = 0x8
export const UP_TIMES = 0x10
export const UP_ATIME = 0x20
export const UP_PERM = 0x40
export const UP_RENAME_FLAGS = 0x80
export const UP_FORGET = 0x100
export const UP_PARENT_TIMES = 0x200
export const UP_XATTR = 0x400
export const UP_XATTR_RM = 0x800
export const UP_EXPLICIT_LOOKUP = 0x1000
export const UP_INVAL_ATTR = 0x2000

/** A brick came or went: what others changed meanwhile may have gone untold. */
export function connectionsChanged({ type }: Event): boolean {
  return (
    type === 'child-up' ||
    type === 'child-down' ||
    type === 'some-descendent-up' ||
    type === 'some-descendent-down'
  )
}

export function isDownEvent(event: Event): event is DownEvent {
  switch (event.type) {
    case 'parent-up':
    case 'parent-down':
    case 'client-disconnected':
      return true
    default:
      return false
  }
}
