/** What this mount knows of the copies of one object (the inode context of AFR). */

import type { Timer } from '../../../src/core/clock.ts'
import type { DirectoryLock } from './directory-lock.ts'

export class InodeState {
  /** The set of connected bricks the masks below were learned with; -1 for never. */
  generation = -1
  /** Bricks whose content (a directory's entries) may be read. */
  data = 0
  /** Bricks whose attributes and xattrs may be read. */
  metadata = 0
  /** Bricks that missed changes of this mount which are not on record yet, by kind of change. */
  readonly missed: [data: number, metadata: number] = [0, 0]
  /** How often something suggested that copies differ; what was learned before is void. */
  doubts = 0
  /** `doubts` when what is known was asked for. */
  #asked = 0
  /** The refresh under way. */
  refreshing: { generation: number; doubts: number; done: Promise<{ errno: number }> } | undefined
  /** The copy an administrator looks at in a split-brain; -1 for none. */
  choice = -1
  choiceEnds: Timer | undefined
  /** The copy that favorite-child-policy takes in a split-brain; -1 for none. */
  favorite = -1
  /** Of a directory in which this mount changed names. */
  names: DirectoryLock | undefined

  /** Bricks good for both content and attributes. */
  get readable(): number {
    return this.data & this.metadata
  }

  /** Bricks not to be read, though no other blames them yet. */
  get unrecorded(): number {
    return this.missed[0] | this.missed[1]
  }

  isFresh(generation: number): boolean {
    return this.generation === generation && this.#asked === this.doubts
  }

  learned(generation: number, doubts: number, data: number, metadata: number): void {
    // An answer that was long under way does not replace a newer one.
    if (doubts < this.#asked || generation < this.generation) return
    this.generation = generation
    this.#asked = doubts
    this.data = data
    this.metadata = metadata
    this.favorite = -1
  }
}
