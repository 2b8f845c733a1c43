/** One bottomless file `sink`; every fop answers at once. Measures what is above it. */
import { E } from '../../src/core/errno.ts'
import type { Fop } from '../../src/core/fop.ts'
import { type Gfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFREG } from '../../src/core/iatt.ts'
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator, type XlatorDefinition } from '../../src/core/xlator.ts'

const SIZE = 2 ** 40
const GFID = '0123456789abcdef' as Gfid

const options = defineOptions({})

export class SinkBrick extends Xlator<typeof options> {
  readonly #root = new Iatt()
  readonly #file = new Iatt()
  readonly #data = Buffer.alloc(1 << 20, 'x')

  override init(): void {
    Object.assign(this.#root, { gfid: ROOT_GFID, mode: S_IFDIR | 0o755, nlink: 2, ctime: 1 })
    Object.assign(this.#file, { gfid: GFID, mode: S_IFREG | 0o666, nlink: 1, ctime: 1, size: SIZE })
  }

  override notify(event: { type: string }): void {
    if (event.type === 'parent-up') this.notifyParents({ type: 'child-up' })
  }

  lookup: Fop<'lookup'> = (_frame, { loc }) => {
    const stat = loc.name === undefined ? this.#root : this.#file
    if (loc.name !== undefined && loc.name !== 'sink') return { errno: E.NOENT }
    return { errno: 0, stat, postparent: this.#root }
  }

  open: Fop<'open'> = (_frame, { fd }) => ({ errno: 0, fd })
  stat: Fop<'stat'> = () => ({ errno: 0, stat: this.#file })
  fstat: Fop<'fstat'> = () => ({ errno: 0, stat: this.#file })
  flush: Fop<'flush'> = () => ({ errno: 0 })
  getxattr: Fop<'getxattr'> = () => ({ errno: E.NODATA })

  readv: Fop<'readv'> = (_frame, { size }) => {
    const data = [this.#data.subarray(0, size)]
    return { errno: 0, data, size, stat: this.#file, eof: false }
  }

  writev: Fop<'writev'> = (_frame, { size }) => ({
    errno: 0,
    size,
    prestat: this.#file,
    poststat: this.#file,
  })

  truncate: Fop<'truncate'> = () => ({ errno: 0, prestat: this.#file, poststat: this.#file })
  ftruncate: Fop<'ftruncate'> = () => ({ errno: 0, prestat: this.#file, poststat: this.#file })

  statfs: Fop<'statfs'> = () => ({
    errno: 0,
    statfs: {
      bsize: 4096,
      frsize: 4096,
      blocks: 1e9,
      bfree: 1e9,
      bavail: 1e9,
      files: 1e6,
      ffree: 1e6,
      favail: 1e6,
      fsid: 0n,
      flag: 0,
      namemax: 255,
    },
  })
}

export const sinkBrick: XlatorDefinition = defineXlator({
  type: 'protocol/client',
  class: SinkBrick,
  options,
  children: 0,
})
