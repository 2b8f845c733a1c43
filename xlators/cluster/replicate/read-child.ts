/** Which brick a read goes to (afr_read_subvol_select_by_policy). */
import { GlusterError } from '../../../src/core/errors.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { S_IFDIR } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { OptionValues } from '../../../src/core/options.ts'
import { superFastHash } from '../common/gfid-hash.ts'
import { bricksOf, has } from '../common/mask.ts'
import type { Replicate } from './index.ts'
import type { options } from './options.ts'

const PATHINFO = 'trusted.glusterfs.pathinfo'

/** What of an object decides where it is read. */
export type Known = Pick<Inode, 'gfid' | 'type'>

export class ReadChild {
  readonly #afr: Replicate
  /** Time for a ping there and back, by brick; absent while unknown. */
  readonly latencyMs: (number | undefined)[] = []
  /** Set by an option. */
  #configured = -1
  /** A brick on this host. */
  #local = -1
  /** The bricks were asked where they are, since the last of them came or went. */
  #asked = false

  constructor(afr: Replicate) {
    this.#afr = afr
  }

  /** Throws GlusterError when an option names no brick. */
  configure(given: OptionValues<typeof options>): void {
    const { bricks, name } = this.#afr
    this.#configured = -1
    const byName = given['read-subvolume']
    if (byName !== undefined) {
      this.#configured = bricks.findIndex((brick) => brick.name === byName)
      if (this.#configured < 0) {
        throw new GlusterError(
          'OPTION_INVALID',
          `volume '${name}': option read-subvolume ${byName}: not one of ` +
            bricks.map((brick) => brick.name).join(', '),
        )
      }
    }
    const index = given['read-subvolume-index']
    if (index >= bricks.length) {
      throw new GlusterError(
        'OPTION_INVALID',
        `volume '${name}': option read-subvolume-index ${index}: there are ${bricks.length} bricks`,
      )
    }
    if (index >= 0) this.#configured = index
    if (!given['choose-local']) this.#local = -1
  }

  /** The brick that gets all reads it can serve; -1 for none. */
  get preferred(): number {
    return this.#configured >= 0 ? this.#configured : this.#local
  }

  bricksChanged(): void {
    this.#asked = false
  }

  /** The brick to read from, of those in `mask`; -1 when it is empty. */
  pick(inode: Known, mask: number, pid: number): number {
    if (mask === 0) return -1
    const { preferred } = this
    if (preferred >= 0 && has(mask, preferred)) return preferred
    const chosen = this.#byMode(inode, mask, pid)
    return chosen >= 0 && has(mask, chosen) ? chosen : 31 - Math.clz32(mask & -mask)
  }

  #byMode(inode: Known, mask: number, pid: number): number {
    const { bricks, options, pendingReads } = this.#afr
    switch (options['read-hash-mode']) {
      case 1:
        return superFastHash(inode.gfid) % bricks.length
      case 2: {
        const seed = inode.type === S_IFDIR ? inode.gfid : withPid(inode.gfid, pid)
        return superFastHash(seed) % bricks.length
      }
      case 3:
        return least(mask, (brick) => pendingReads[brick]!)
      case 4:
        return least(mask, (brick) => this.#latency(brick))
      case 5:
        return least(mask, (brick) => (pendingReads[brick]! + 1) * this.#latency(brick))
      default:
        return -1
    }
  }

  #latency(brick: number): number {
    return this.latencyMs[brick] ?? Number.MAX_SAFE_INTEGER
  }

  /** The root is looked up: asks the bricks, once per change of their set, which are local. */
  findLocal(frame: Frame): void {
    const afr = this.#afr
    if (this.#asked || !afr.options['choose-local']) return
    this.#asked = true
    const loc = Loc.ofInode(afr.graph.inodes.root)
    const here = `:${afr.graph.process.hostname}:`
    afr.background('afr-local', frame.creds, async (own) => {
      let local = -1
      await Promise.all(
        bricksOf(afr.up & ~afr.arbiterMask).map(async (brick) => {
          const rep = await own.wind(afr.bricks[brick]!, 'getxattr', { loc, name: PATHINFO })
          if (rep.errno !== 0 || !(rep.dict.getStr(PATHINFO) ?? '').includes(here)) return
          local = Math.max(local, brick)
        }),
      )
      this.#local = local
    })
  }
}

function least(mask: number, cost: (brick: number) => number): number {
  let best = -1
  let bestCost = Number.POSITIVE_INFINITY
  for (let left = mask; left !== 0; left &= left - 1) {
    const brick = 31 - Math.clz32(left & -left)
    const price = cost(brick)
    if (price < bestCost) {
      best = brick
      bestCost = price
    }
  }
  return best
}

/** The first four bytes, as the host's int, XORed with the process id. */
function withPid(gfid: string, pid: number): string {
  const bytes = Buffer.from(gfid, 'latin1')
  bytes.writeInt32LE(bytes.readInt32LE(0) ^ pid, 0)
  return bytes.latin1Slice()
}
