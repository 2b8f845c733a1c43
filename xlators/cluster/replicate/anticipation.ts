/**
 * Who creates files mostly writes to them at once. After some files that were, a new file is locked
 * and marked dirty while its creator still gets to know that it is there: its first write then
 * waits for neither. When a file is closed without a write both are taken back, and the next ones
 * are waited with.
 */
import type { Fd } from '../../../src/core/fd.ts'
import { ROOT_CREDS } from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { O_ACCMODE } from '../../../src/core/open-flags.ts'
import { DATA } from './change-log.ts'
import type { FdState, Replicate } from './index.ts'
import { WHOLE } from './inode-lock.ts'

/** So many new files in a row that were written make it likely for the next. */
const WRITTEN_MIN = 4

export class Anticipation {
  readonly #afr: Replicate
  /** New files written since the last that was not. */
  #written = 0

  constructor(afr: Replicate) {
    this.#afr = afr
  }

  /** `fd` was opened by making the file `gfid`, on all bricks. */
  created(fd: Fd, gfid: Gfid, state: FdState): void {
    const afr = this.#afr
    if ((fd.flags & O_ACCMODE) === 0) return
    state.isNew = true
    if (this.#written < WRITTEN_MIN || !afr.options['eager-lock'] || afr.delayMs === 0) return
    fd.hold()
    // When the creator has its answer, and the inode its gfid.
    process.nextTick(() => {
      if (fd.inode.gfid !== gfid || !state.isNew || fd.closing) fd.drop()
      else this.#prepare(fd, state)
    })
  }

  #prepare(fd: Fd, state: FdState): void {
    const afr = this.#afr
    const lock = afr.lockOf(fd.inode, fd.inode.gfid, DATA, WHOLE)
    afr.background('afr-anticipate', ROOT_CREDS, async (frame) => {
      try {
        await lock.prepare(frame, fd, () => !state.isFlushed)
      } finally {
        fd.drop()
      }
    })
  }

  wrote(state: FdState): void {
    state.isNew = false
    this.#written++
  }

  /** A new file is closed, and there was no write. */
  unwritten(): void {
    this.#written = 0
  }
}
