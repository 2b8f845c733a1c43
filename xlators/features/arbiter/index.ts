/**
 * features/arbiter: a brick that keeps names, attributes and counters but no data, so that two
 * copies and it can tell which copy is right. Directly above storage/posix. Changes of data succeed
 * without touching anything; reading is refused.
 */
import { E } from '../../../src/core/errno.ts'
import type { Fd } from '../../../src/core/fd.ts'
import type { Fop, FopError } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { Iatt } from '../../../src/core/iatt.ts'
import type { Loc } from '../../../src/core/loc.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({})

interface Unchanged {
  errno: 0
  prestat: Iatt
  poststat: Iatt
}

export class Arbiter extends Xlator<typeof options> {
  truncate: Fop<'truncate'> = (frame, req) => this.#unchanged(frame, req.loc)
  readv: Fop<'readv'> = () => ({ errno: E.NOSYS })

  writev: Fop<'writev'> = async (frame, req) => {
    const rep = await this.#unchangedFd(frame, req.fd)
    return rep.errno !== 0 ? rep : { ...rep, size: req.size }
  }

  ftruncate: Fop<'ftruncate'> = (frame, req) => this.#unchangedFd(frame, req.fd)
  fallocate: Fop<'fallocate'> = (frame, req) => this.#unchangedFd(frame, req.fd)
  discard: Fop<'discard'> = (frame, req) => this.#unchangedFd(frame, req.fd)
  zerofill: Fop<'zerofill'> = (frame, req) => this.#unchangedFd(frame, req.fd)
  seek: Fop<'seek'> = () => ({ errno: E.NOSYS })

  copy_file_range: Fop<'copy_file_range'> = async (frame, req) => {
    const rep = await this.#unchangedFd(frame, req.fdOut)
    return rep.errno !== 0 ? rep : { ...rep, size: req.size, stat: new Iatt() }
  }

  async #unchanged(frame: Frame, loc: Loc): Promise<Unchanged | FopError> {
    const rep = await frame.wind(this.child, 'stat', { loc })
    return rep.errno !== 0 ? rep : { errno: 0, prestat: rep.stat, poststat: rep.stat }
  }

  async #unchangedFd(frame: Frame, fd: Fd): Promise<Unchanged | FopError> {
    const rep = await frame.wind(this.child, 'fstat', { fd })
    return rep.errno !== 0 ? rep : { errno: 0, prestat: rep.stat, poststat: rep.stat }
  }
}

export default defineXlator({ type: 'features/arbiter', class: Arbiter, options, children: 1 })
