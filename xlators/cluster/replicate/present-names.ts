/**
 * The names of a directory, while this mount keeps all of them locked: nobody else can make one.
 * Every brick is asked once for those it has. A name that none of them has, and that no change
 * under the lock was about, needs no lookup before it is created.
 */
import { Fd } from '../../../src/core/fd.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'

/** What one reply may take, bytes; some 500 names as bricks count. More are not asked for. */
const LISTING_SIZE = 131_072

/** Bytes of the longest name on Linux; bricks answer ENAMETOOLONG to a longer one. */
const NAME_MAX = 255

export type Listed = 'all' | 'too-many' | 'failed'

export class PresentNames {
  readonly #names = new Set(['.', '..'])
  #isComplete = false

  /** A change of these begins. */
  add(names: readonly string[]): void {
    for (const name of names) this.#names.add(name)
  }

  /** Certainly; false as well while nothing is known. */
  isAbsent(name: string): boolean {
    return this.#isComplete && name.length <= NAME_MAX && !this.#names.has(name)
  }

  /** Asks all `bricks`. Changes since the lock was granted must have been `add`ed before. */
  async ask(frame: Frame, bricks: readonly Xlator[], directory: Inode): Promise<Listed> {
    const answers = await Promise.all(bricks.map((brick) => this.#askOne(frame, brick, directory)))
    for (const answer of answers) if (answer !== 'all') return answer
    this.#isComplete = true
    return 'all'
  }

  async #askOne(frame: Frame, brick: Xlator, directory: Inode): Promise<Listed> {
    const fd = new Fd(directory, 0, 0)
    try {
      const opened = await frame.wind(brick, 'opendir', { loc: Loc.ofInode(directory), fd })
      if (opened.errno !== 0) return 'failed'
      const rep = await frame.wind(brick, 'readdir', { fd, size: LISTING_SIZE, off: 0n })
      if (rep.errno !== 0) return 'failed'
      for (const { name } of rep.entries) this.#names.add(name)
      return rep.eof ? 'all' : 'too-many'
    } finally {
      fd.release()
    }
  }
}
