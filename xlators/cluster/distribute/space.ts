/** Free space of the subvolumes: weights for layouts, and which ones are too full for new files. */
import { clock, NEVER } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import type { Ok, Rep, Req, Statfs } from '../../../src/core/fop.ts'
import { CLIENT_PID_NO_ROOT_SQUASH, type Frame, ROOT_CREDS } from '../../../src/core/frame.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { chunksOf } from './compute-layout.ts'
import type { Distribute } from './index.ts'
import { IGNORE_DEEM_STATFS, QUOTA_DEEM_STATFS } from './keys.ts'
import type { Layout } from './layout.ts'
import { worstError } from './subvolumes.ts'

/** The cache is asked anew at most this often. */
const REFRESH_MS = 1000

export interface SubvolSpace {
  chunks: number
  /** Whole percent of blocks available to users. */
  availPercent: number
  availBytes: number
  /** Whole percent of inodes; 100 where the file system does not count them. */
  inodePercent: number
}

export function spaceOf(statfs: Statfs): SubvolSpace {
  const { blocks, bavail, frsize, bsize, files, ffree } = statfs
  return {
    chunks: chunksOf(blocks, bsize),
    availPercent: blocks === 0 ? 0 : Math.floor((bavail * 100) / blocks),
    availBytes: bavail * (frsize || bsize),
    inodePercent: files === 0 ? 100 : Math.floor((ffree * 100) / files),
  }
}

export class SpaceCache {
  readonly #dht: Distribute
  readonly known = new Map<Xlator, SubvolSpace>()
  /** When `known` was filled last, seconds since 1970; 0 = not yet. */
  fetchedAt = 0
  #lastRefresh = NEVER
  #refreshing: Promise<void> | undefined

  constructor(dht: Distribute) {
    this.#dht = dht
  }

  chunks(sub: Xlator): number {
    return this.known.get(sub)?.chunks ?? 0
  }

  /** Below a limit: new files and ranges go elsewhere. An unknown subvolume is not. */
  isFilled(sub: Xlator): boolean {
    const space = this.known.get(sub)
    return space !== undefined && !this.#hasSpace(space)
  }

  #hasSpace(space: SubvolSpace): boolean {
    const { options } = this.#dht
    const limit = options['min-free-disk']
    const enough =
      'percent' in limit ? space.availPercent >= limit.percent : space.availBytes >= limit.bytes
    return enough && space.inodePercent >= options['min-free-inodes']
  }

  /** Free space in the unit of the limit. */
  #free(space: SubvolSpace): number {
    return 'percent' in this.#dht.options['min-free-disk'] ? space.availPercent : space.availBytes
  }

  /** Where a file goes instead of its full hashed subvolume (dht_free_disk_available_subvol). */
  substitute(parent: Layout, hashed: Xlator): Xlator {
    const candidates = parent.entries.filter(
      ({ sub, err }) => err === 0 && !this.#dht.isDecommissioned(sub) && this.known.has(sub),
    )
    let best: Xlator | undefined
    let bestFree = 0
    let bestInodes = 0
    for (const { sub } of candidates) {
      const space = this.known.get(sub)!
      if (!this.#hasSpace(space)) continue
      if (space.inodePercent > bestInodes || this.#free(space) > bestFree) {
        best = sub
        bestFree = this.#free(space)
        bestInodes = space.inodePercent
      }
    }
    if (best !== undefined) return best
    for (const { sub } of candidates) {
      const space = this.known.get(sub)!
      if (space.inodePercent > 0 && this.#free(space) > bestFree) {
        best = sub
        bestFree = this.#free(space)
      }
    }
    return best ?? hashed
  }

  /** Asks again in the background if the answers are old. */
  refreshSoon(): void {
    if (this.#refreshing !== undefined || clock.now() - this.#lastRefresh < REFRESH_MS) return
    this.refresh()
  }

  refresh(): void {
    const dht = this.#dht
    this.#lastRefresh = clock.now()
    const creds = { ...ROOT_CREDS, pid: CLIENT_PID_NO_ROOT_SQUASH }
    const job = dht.graph.pool.background(dht, 'dht statfs', creds, async (frame) => {
      const loc = Loc.ofInode(dht.graph.inodes.root)
      const xdata = new Dict().setInt(IGNORE_DEEM_STATFS, 1)
      const replies = await frame.windAll(dht.children, 'statfs', () => ({ loc, xdata }))
      replies.forEach((rep, i) => {
        if (rep.errno === 0) this.known.set(dht.children[i]!, spaceOf(rep.statfs))
      })
      this.fetchedAt = clock.realtime().sec
    })
    const done = job.then(() => {
      if (this.#refreshing === done) this.#refreshing = undefined
    })
    this.#refreshing = done
  }

  /** The sizes are known, as far as they can be: before the first layouts are computed. */
  async ready(): Promise<void> {
    if (this.#refreshing === undefined && this.known.size === 0) this.refresh()
    if (this.known.size < this.#dht.children.length) await this.#refreshing
  }
}

/** statfs of the volume: the subvolumes' counters in the largest block size, added up. */
export async function statfs(
  dht: Distribute,
  frame: Frame,
  req: Req<'statfs'>,
): Promise<Rep<'statfs'>> {
  const isDirectory = dht.inodes.get(req.loc.inode)?.layout !== undefined
  const loc = isDirectory ? req.loc : Loc.ofInode(dht.graph.inodes.root)
  const replies = await frame.windAll(dht.children, 'statfs', () => ({ loc, xdata: req.xdata }))
  const good = replies.filter((rep): rep is Ok<'statfs'> => rep.errno === 0)
  if (good.length === 0) return worstError<'statfs'>(replies)
  const deemed = good.filter((rep) => rep.xdata?.getNumber(QUOTA_DEEM_STATFS) === 1)
  if (deemed.length === 0)
    return good.reduce((sum, rep) => ({ ...rep, statfs: addSpace(sum, rep) }))
  const used = ({ statfs: { blocks, bfree } }: Ok<'statfs'>): number => blocks - bfree
  return deemed.reduce((largest, rep) => (used(rep) > used(largest) ? rep : largest))
}

function addSpace({ statfs: a }: Ok<'statfs'>, { statfs: b }: Ok<'statfs'>): Statfs {
  const bsize = Math.max(a.bsize, b.bsize)
  const frsize = Math.max(a.frsize, b.frsize)
  const scaled = (count: number, from: number): number =>
    from === frsize ? count : Math.trunc(count * (from / frsize))
  const sum = (key: 'blocks' | 'bfree' | 'bavail'): number =>
    scaled(a[key], a.frsize) + scaled(b[key], b.frsize)
  return {
    ...b,
    bsize,
    frsize,
    blocks: sum('blocks'),
    bfree: sum('bfree'),
    bavail: sum('bavail'),
    files: a.files + b.files,
    ffree: a.ffree + b.ffree,
    favail: a.favail + b.favail,
  }
}
