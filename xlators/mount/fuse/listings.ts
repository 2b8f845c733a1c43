/** Directory listings that the kernel keeps. */
import { clock } from '../../../src/core/clock.ts'
import type { Errno } from '../../../src/core/errno.ts'
import type { MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { FOPEN_CACHE_DIR, FOPEN_KEEP_CACHE } from '../../../src/fuse/abi.ts'
import type { FuseRequest } from '../../../src/fuse/request.ts'
import type { OpenFile } from './files.ts'
import type { FuseBridge } from './index.ts'
import { Primer } from './primer.ts'
import { stale } from './rules.ts'
import { Seen } from './seen.ts'

/**
 * A listing is read anew after so long, ms. Of most changes the bricks tell and the directory's
 * mtime, which is asked for each second, shows the others; except when clocks of clients differ.
 */
const LISTING_MS = 30_000

export class Listings {
  readonly primer: Primer
  readonly #bridge: FuseBridge

  constructor(bridge: FuseBridge) {
    this.#bridge = bridge
    this.primer = new Primer(bridge)
  }

  /** Names of the directory changed. */
  drop(directory: Inode): void {
    const seen = this.#bridge.seen.get(directory)
    if (seen !== undefined) seen.listing = undefined
  }

  /**
   * FOPEN_* flags for a directory that is opened, given its attributes as they were a second ago at
   * most. With FOPEN_KEEP_CACHE the kernel need not ask for the entries.
   */
  flags(directory: Inode, now: Rep<'stat'>): number {
    const { generation } = this.#bridge.kernelCache
    if (now.errno !== 0) return 0
    const seen = this.#bridge.seen.need(directory, () => new Seen())
    const known = seen.listing
    if (
      known !== undefined &&
      known.generation === generation &&
      clock.now() - known.at < LISTING_MS &&
      isUnchanged(known.stat, now.stat)
    ) {
      return FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE
    }
    seen.listing = { stat: now.stat, at: clock.now(), generation }
    return FOPEN_CACHE_DIR
  }
}

function isUnchanged(a: Iatt, b: Iatt): boolean {
  return (
    a.mtime === b.mtime &&
    a.mtimeNsec === b.mtimeNsec &&
    a.ctime === b.ctime &&
    a.ctimeNsec === b.ctimeNsec &&
    a.nlink === b.nlink
  )
}

/** Opens on the bricks a directory whose OPENDIR was answered without; 0 or the errno. */
export function openLate(request: FuseRequest, file: OpenFile): MaybePromise<0 | Errno> {
  if (!file.unopened) return 0
  file.opening ??= open(request, file)
  return file.opening
}

async function open(request: FuseRequest, file: OpenFile): Promise<0 | Errno> {
  const { fd } = file
  const rep = await request.frame.wind(request.top, 'opendir', { loc: Loc.ofInode(fd.inode), fd })
  file.opening = undefined
  if (rep.errno !== 0) return stale(rep.errno)
  file.unopened = false
  return 0
}
