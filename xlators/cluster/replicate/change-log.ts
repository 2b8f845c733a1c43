/**
 * The change log in xattrs: on every brick, on the object itself, `trusted.afr.<brick>` counts what
 * that brick missed and `trusted.afr.dirty` what was begun and not finished. Values are three
 * big-endian int32: data, metadata, entries. Only zero or not matters; a missing xattr is zeros.
 */
import { Dict } from '../../../src/core/dict.ts'
import type { Rep } from '../../../src/core/fop.ts'
import { isDir } from '../../../src/core/iatt.ts'
import { bit, has } from '../common/mask.ts'

export const DATA = 0
export const METADATA = 1
export const ENTRY = 2
export type Slot = typeof DATA | typeof METADATA | typeof ENTRY

/** Bytes of one xattr. */
const VALUE_SIZE = 12

/** The bricks reply with the count of inode locks held and waited for. */
export const INODELK_COUNT = 'glusterfs.inodelk-count'
/** Asks for that count in a domain. */
export const INODELK_DOMAIN = 'glusterfs.inodelk-dom-count'
/** Whether the brick has anything to heal for others: 0 or 1, on failed lookups too. */
export const LINK_COUNT = 'link-count'
export const BAD_INODE = 'glusterfs.bad-inode'

/** What is added to one xattr. Never written to. */
export type Addend = Buffer

export function addend(data: number, metadata: number, entry: number): Addend {
  const value = Buffer.alloc(VALUE_SIZE)
  value.writeInt32BE(data, 0)
  value.writeInt32BE(metadata, 4)
  value.writeInt32BE(entry, 8)
  return value
}

export const NOTHING: Addend = addend(0, 0, 0)
export const PLUS_ONE: readonly Addend[] = [addend(1, 0, 0), addend(0, 1, 0), addend(0, 0, 1)]
export const MINUS_ONE: readonly Addend[] = [addend(-1, 0, 0), addend(0, -1, 0), addend(0, 0, -1)]

/** A copy of an object as one brick told of it. */
export type CopyReply = Rep<'lookup'> | Rep<'fstat'>

/** Masks of bricks whose copy may be read; a brick that is blamed is in neither. */
export interface Verdict {
  data: number
  metadata: number
  /** Bricks that are blamed, connected or not: there is something to heal. */
  blamed: number
}

export class ChangeLog {
  /** By brick. */
  readonly pending: readonly string[]
  readonly dirty: string
  readonly #domain: string
  readonly #arbiterMask: number

  constructor(pending: readonly string[], dirty: string, domain: string, arbiterMask: number) {
    this.pending = pending
    this.dirty = dirty
    this.#domain = domain
    this.#arbiterMask = arbiterMask
  }

  /** Is `key` one of ours, hidden from users? */
  static owns(key: string): boolean {
    return key.startsWith('trusted.afr.') || key.startsWith('trusted.glusterfs.afr.')
  }

  /** Adds what a lookup asks for. */
  request(xdata: Dict): Dict {
    for (const key of this.pending) xdata.setUint(key, VALUE_SIZE)
    xdata.setUint(this.dirty, VALUE_SIZE)
    xdata.setInt('list-xattr', 1)
    return xdata.setStr(LINK_COUNT, 'glusterfs.xattrop_index_count')
  }

  /** The same for a refresh of what is known already. */
  requestRefresh(): Dict {
    return this.request(new Dict()).setStr(INODELK_DOMAIN, this.#domain)
  }

  /** Whom the xattrs in `dict`, of one brick, blame in `slot`. */
  blamed(dict: Dict | undefined, slot: Slot): number {
    if (dict === undefined) return 0
    let mask = 0
    for (let brick = 0; brick < this.pending.length; brick++) {
      if (nonZero(dict.getBytes(this.pending[brick]!), slot)) mask |= bit(brick)
    }
    return mask
  }

  /** Whether the brick whose xattrs these are has a change under way. */
  isDirty(dict: Dict | undefined, slot: Slot): boolean {
    return nonZero(dict?.getBytes(this.dirty), slot)
  }

  /** How often the brick whose xattrs these are blames each brick in `slot`, by brick. */
  blames(dict: Dict | undefined, slot: Slot): number[] {
    return this.pending.map((key) => counter(dict?.getBytes(key), slot))
  }

  /** How many changes that brick began and did not finish. */
  unfinished(dict: Dict | undefined, slot: Slot): number {
    return counter(dict?.getBytes(this.dirty), slot)
  }

  /** The dictionary of an xattrop: the same addend for each brick in `bricks`, zeros for others. */
  xattrop(bricks: number, pending: Addend, dirty: Addend): Dict {
    const dict = new Dict().setBytes(this.dirty, dirty)
    this.pending.forEach((key, brick) => {
      dict.setBytes(key, has(bricks, brick) ? pending : NOTHING)
    })
    return dict
  }

  /** What the replies of all bricks say of each other (afr_replies_interpret). */
  judge(replies: readonly (CopyReply | undefined)[]): Verdict {
    let present = 0
    let dataBlamed = 0
    let metadataBlamed = 0
    let locked = false
    let directory = false
    for (let brick = 0; brick < replies.length; brick++) {
      const reply = replies[brick]
      if (reply?.errno !== 0 || reply.xdata?.has(BAD_INODE)) continue
      present |= bit(brick)
      directory = isDir(reply.stat)
      dataBlamed |= this.blamed(reply.xdata, directory ? ENTRY : DATA)
      metadataBlamed |= this.blamed(reply.xdata, METADATA)
      if ((reply.xdata?.getNumber(INODELK_COUNT) ?? 0) > 0) locked = true
    }
    // Nobody writes: a shorter copy lacks something.
    if (!directory && !locked) dataBlamed |= this.#shorter(replies, present & ~dataBlamed)
    const data = present & ~dataBlamed & ~this.#arbiterMask
    const metadata = present & ~metadataBlamed & ~this.#arbiterMask
    return { data, metadata, blamed: dataBlamed | metadataBlamed }
  }

  #shorter(replies: readonly (CopyReply | undefined)[], mask: number): number {
    const candidates = mask & ~this.#arbiterMask
    let longest = 0
    replies.forEach((reply, brick) => {
      if (reply?.errno === 0 && has(candidates, brick)) longest = Math.max(longest, reply.stat.size)
    })
    let shorter = 0
    replies.forEach((reply, brick) => {
      if (reply?.errno === 0 && has(candidates, brick) && reply.stat.size < longest) {
        shorter |= bit(brick)
      }
    })
    return shorter
  }
}

const nonZero = (value: Buffer | undefined, slot: Slot): boolean => counter(value, slot) !== 0

/** A value too short for the slot is a brick's mistake and counts as zeros. */
function counter(value: Buffer | undefined, slot: Slot): number {
  return value !== undefined && value.length >= 4 * slot + 4 ? value.readInt32BE(4 * slot) : 0
}
