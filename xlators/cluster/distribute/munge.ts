/**
 * Name munging: programs that write to a temporary name and rename it (rsync's `.name.XXXXXX`)
 * would move every file to another subvolume; hashing the part a regular expression picks out keeps
 * the temporary and the final name together.
 */
import { hashName } from './hash.ts'
import { PosixRegex } from './posix-regex.ts'

/** What the option means when the volfile does not have it. */
export const DEFAULT_RSYNC_REGEX = '^\\.(.+)\\.[^.]+$'

/** Value of either option that switches it off. */
const NONE = 'none'

type Munge = (name: string) => string | undefined

/** The default expression without an engine: it is asked about every name. */
export function mungeRsync(name: string): string | undefined {
  if (name.charCodeAt(0) !== 0x2e) return undefined
  const last = name.lastIndexOf('.')
  if (last < 2 || last === name.length - 1) return undefined
  return name.slice(1, last)
}

function mungeWith(expression: string | undefined): Munge | undefined {
  if (expression === undefined || expression.toLowerCase() === NONE) return undefined
  if (expression === DEFAULT_RSYNC_REGEX) return mungeRsync
  const regex = PosixRegex.parse(expression)
  return regex === undefined ? undefined : (name) => regex.search(name)?.group
}

/** Munges and hashes names by the volume's two options. */
export class NameHasher {
  readonly #extra: Munge | undefined
  readonly #rsync: Munge | undefined

  /** An expression that cannot be parsed counts as absent; see `isValidRegex`. */
  constructor(rsync: string | undefined, extra: string | undefined) {
    this.#rsync = mungeWith(rsync)
    this.#extra = mungeWith(extra)
  }

  munge(name: string): string {
    return this.#extra?.(name) ?? this.#rsync?.(name) ?? name
  }

  hash(name: string): number {
    return hashName(this.munge(name))
  }
}

/** Whether an option value is `none` or an expression that can be used. */
export function isValidRegex(expression: string): boolean {
  return expression.toLowerCase() === NONE || PosixRegex.parse(expression) !== undefined
}
