import { clock, NEVER } from '../../src/core/clock.ts'
import { type FopName, fopNames, type MaybePromise } from '../../src/core/fop.ts'
import { type Gfid, NULL_GFID } from '../../src/core/gfid.ts'
import type { Inode } from '../../src/core/inode.ts'
import { fillDefaultFops, type Xlator } from '../../src/core/xlator.ts'

/** Looks at a reply without making a promise of one that is already there. */
export function look<T, R>(rep: MaybePromise<T>, then: (rep: T) => R): MaybePromise<R> {
  return rep instanceof Promise ? rep.then(then) : then(rep)
}

/**
 * The inode a reply about `inode` concerns: the table's, where a fresh one turned out to be another
 * name of a known file. The mount links a truly new one itself.
 */
export function knownInode(inode: Inode, gfid: Gfid): Inode {
  return inode.gfid !== NULL_GFID ? inode : (inode.table.byGfid(gfid) ?? inode)
}

/** The wall clock's seconds at `at` on the monotonic clock. */
export function wallSeconds(at: number): number {
  return clock.realtime().sec - Math.round((clock.now() - at) / 1000)
}

/** The option `pass-through`: forwards every fop untouched while it is on. */
export class PassThrough {
  readonly #xl: Xlator
  readonly #own = new Map<FopName, unknown>()
  #on = false

  constructor(xl: Xlator) {
    this.#xl = xl
  }

  /** True when the translator's fops came back: what it knew is out of date. */
  set(on: boolean): boolean {
    if (on === this.#on) return false
    this.#on = on
    const table = this.#xl as unknown as Partial<Record<FopName, unknown>>
    for (const fop of fopNames) {
      if (on) {
        this.#own.set(fop, table[fop])
        delete table[fop]
      } else {
        table[fop] = this.#own.get(fop)
      }
    }
    if (on) fillDefaultFops(this.#xl)
    return !on
  }
}

/**
 * Numbers for fops and changes, in order: monotonic milliseconds, made unique by fractions. What a
 * reply showed is as old as its fop's beginning.
 */
export class Stamps {
  #last = NEVER

  next(): number {
    this.#last = Math.max(this.#last + 1e-6, clock.now())
    return this.#last
  }
}
