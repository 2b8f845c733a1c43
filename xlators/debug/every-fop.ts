/** What the debugging translators have in common: they stand in the way of every fop. */
import { GlusterError } from '../../src/core/errors.ts'
import {
  type Fop,
  type FopName,
  fopNames,
  type MaybePromise,
  type Rep,
} from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import type { OptionTable } from '../../src/core/options.ts'
import { Xlator } from '../../src/core/xlator.ts'
import { fopLabel } from '../../src/observe/latency.ts'

/** Every fop of it goes through `meet`. */
export abstract class EveryFop<T extends OptionTable> extends Xlator<T> {
  constructor(init: ConstructorParameters<typeof Xlator<T>>[0]) {
    super(init)
    const table = this as unknown as Record<FopName, Fop<FopName>>
    for (const fop of fopNames) {
      table[fop] = (frame, req) => this.meet(frame, fop, () => frame.tail(this.child, fop, req))
    }
  }

  /** `go` hands the fop to the child, once. */
  protected abstract meet(
    frame: Frame,
    fop: FopName,
    go: () => MaybePromise<Rep<FopName>>,
  ): MaybePromise<Rep<FopName>>
}

/** A list of fops as volumes name them (`read,write`); nothing means all. Throws GlusterError. */
export function parseFops(key: string, text: string): ReadonlySet<FopName> {
  const named = text.split(',').flatMap((part) => part.trim() || [])
  if (named.length === 0) return new Set(fopNames)
  return new Set(
    named.map((name) => {
      const fop = fopNames.find((one) => fopLabel(one) === name.toUpperCase())
      if (fop !== undefined) return fop
      throw new GlusterError('OPTION_INVALID', `option ${key} ${text}: '${name}' is no fop`)
    }),
  )
}
