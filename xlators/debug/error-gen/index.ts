/**
 * debug/error-gen: makes fops fail, to try out applications.
 *
 * Unlike stock's the errno is EIO unless told, not one of those the fop may have.
 */

import { clock } from '../../../src/core/clock.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { FopName, MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator } from '../../../src/core/xlator.ts'
import type { DumpSink } from '../../../src/observe/dump.ts'
import { EveryFop, parseFops } from '../every-fop.ts'

/** Errnos that can be chosen. */
const ERRORS = {
  ENOENT: E.NOENT,
  ENOTDIR: E.NOTDIR,
  ENAMETOOLONG: E.NAMETOOLONG,
  EACCES: E.ACCES,
  EBADF: E.BADF,
  EFAULT: E.FAULT,
  ENOMEM: E.NOMEM,
  EINVAL: E.INVAL,
  EIO: E.IO,
  EEXIST: E.EXIST,
  ENOSPC: E.NOSPC,
  EPERM: E.PERM,
  EROFS: E.ROFS,
  EBUSY: E.BUSY,
  EISDIR: E.ISDIR,
  ENOTEMPTY: E.NOTEMPTY,
  EMLINK: E.MLINK,
  ENODEV: E.NODEV,
  EXDEV: E.XDEV,
  EMFILE: E.MFILE,
  ENFILE: E.NFILE,
  ENOSYS: E.NOSYS,
  EINTR: E.INTR,
  EFBIG: E.FBIG,
  EAGAIN: E.AGAIN,
} as const satisfies Record<string, Errno>

export const options = defineOptions({
  failure: { type: 'percent', default: '0', description: 'How many of the fops fail, percent.' },
  'error-no': {
    type: 'str',
    default: 'EIO',
    values: Object.keys(ERRORS),
    description: 'With which errno.',
  },
  enable: {
    type: 'str',
    default: '',
    alias: ['error-fops'],
    description: 'Which fops may fail, comma-separated; nothing means all.',
  },
  'random-failure': {
    type: 'bool',
    default: 'off',
    description: 'At random intervals.',
    noEffect: 'which fops fail is always random',
  },
})

export class ErrorGen extends EveryFop<typeof options> {
  #fops: ReadonlySet<FopName> = new Set()
  #failed = 0

  override init(): void {
    this.#fops = parseFops('enable', this.options.enable)
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    this.#fops = parseFops('enable', values.enable)
    super.reconfigure(values)
  }

  override dump(sink: DumpSink): void {
    sink.section(`xlator.debug.error-gen.${this.name}.priv`)
    sink.pair('failure', this.options.failure)
    sink.pair('error_no', this.options['error-no'])
    sink.pair('failed', this.#failed)
  }

  protected override meet(
    _frame: Frame,
    fop: FopName,
    go: () => MaybePromise<Rep<FopName>>,
  ): MaybePromise<Rep<FopName>> {
    if (!this.#fops.has(fop) || clock.random() * 100 >= this.options.failure) return go()
    this.#failed++
    return { errno: ERRORS[this.options['error-no'] as keyof typeof ERRORS] }
  }
}

export default defineXlator({ type: 'debug/error-gen', class: ErrorGen, options, children: 1 })
