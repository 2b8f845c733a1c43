import { GlusterError } from '../../src/core/errors.ts'
import { globToRegExp } from '../../src/graph/build.ts'

/** Weight of names no pattern covers. */
const WEIGHT_DEFAULT = 1

/** The option `priority` of quick-read and io-cache: `pattern:weight,…`; the first match counts. */
export class Priorities {
  readonly #rules: { pattern: RegExp; weight: number }[] = []

  /** Throws GlusterError OPTION_INVALID. */
  constructor(text: string) {
    for (const part of text.split(',')) {
      if (part.trim() === '') continue
      const match = /^(.+):(\d+)$/.exec(part.trim())
      if (match === null) {
        throw new GlusterError(
          'OPTION_INVALID',
          `option priority ${text}: '${part}' is not of the form pattern:weight`,
        )
      }
      this.#rules.push({ pattern: globToRegExp(match[1]!), weight: Number(match[2]) })
    }
  }

  /** 0 = never cached; higher is evicted later. */
  weight(name: string): number {
    for (const { pattern, weight } of this.#rules) if (pattern.test(name)) return weight
    return WEIGHT_DEFAULT
  }
}
