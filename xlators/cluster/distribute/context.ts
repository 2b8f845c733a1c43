/** What DHT remembers of inodes and fds. */
import { NEVER } from '../../../src/core/clock.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { Times } from './attributes.ts'
import type { Layout } from './layout.ts'

/** A file being copied by rebalance: changes go to both. Valid while the cached subvol is `from`. */
export interface Migration {
  readonly from: Xlator
  readonly to: Xlator
}

export class DhtInode {
  /** Of a directory. Replaced as a whole, never changed in place. */
  layout: Layout | undefined
  /** Of anything else: the subvolume that has the data. */
  cached: Xlator | undefined
  /** DHT's generation when `cached` was learnt. */
  generation = 0
  /** Of a directory: keeper of its attributes, the hashed subvolume at its creation. */
  mds: Xlator | undefined
  migration: Migration | undefined
  /** Of a directory: where applications' locks on it went. */
  lockSub: Xlator | undefined
  /** Of a directory: its times as last merged from all subvolumes. */
  times: Times | undefined
  /** Of a directory: when `layout` was last seen to be the disk's, monotonic ms. */
  verifiedAt = NEVER
  /** Of a directory: when a name was last looked up in it and absent, monotonic ms. */
  absentAt = NEVER
  /** Of a directory: directories in it that a listing showed and nobody has looked up since. */
  listedDirectories: Set<string> | undefined
  /** Of a directory: a listing showed files that are not where their names hash to. */
  misplaced = false
}

export class DhtFd {
  /** Subvolumes on which the fd was opened. */
  readonly opened = new Set<Xlator>()
  /** A listing's last offset ended its subvolume; where it continues. */
  ended: { off: bigint; next: { child: number; off: bigint } } | undefined
}

export function timesOf(stat: Iatt): Times {
  const { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec } = stat
  return { atime, atimeNsec, mtime, mtimeNsec, ctime, ctimeNsec }
}
