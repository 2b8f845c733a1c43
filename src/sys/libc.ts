/**
 * How this project calls the C library. A call costs 0.2-0.4 us above the system call itself and
 * blocks the thread. Results are numbers: negative = errno with its sign turned, as the kernel has
 * it. Paths, names and xattr keys are latin1 strings, one character per byte, without NUL bytes
 * (callers check; a NUL would cut the string).
 */
import koffi from 'koffi'
import { E, type Errno, toErrno } from '../core/errno.ts'

const library = koffi.load(null)

export type Call = (...args: unknown[]) => number

/** The C function, sign-turned errno instead of -1. */
export function bind(declaration: string): Call {
  const f = library.func(declaration)
  return (...args) => {
    const result = Number(f(...args))
    return result === -1 ? -koffi.errno() : result
  }
}

/**
 * The C function on a thread of the pool. The errno stays behind on that thread, so a call that
 * failed is repeated here to learn it: only for calls that fail at once and may be repeated.
 */
export function bindAsync(declaration: string): (...args: unknown[]) => Promise<number> {
  const f = library.func(declaration)
  return (...args) =>
    new Promise((resolve, reject) => {
      f.async(...args, (error: unknown, result: number | bigint) => {
        if (error !== null && error !== undefined) reject(error as Error)
        else if (Number(result) !== -1) resolve(Number(result))
        else {
          const again = Number(f(...args))
          resolve(again === -1 ? -koffi.errno() : again)
        }
      })
    })
}

export const AT_FDCWD = -100
const PATH_BYTES_MAX = 4096
const KEY_BYTES_MAX = 1024

/** Memory for one C string argument, written anew for each call. */
class StringArgument {
  readonly #bytes: Buffer

  constructor(bytesMax: number) {
    this.#bytes = Buffer.alloc(bytesMax)
  }

  /**
   * The string with its NUL, valid until the next `of`. One with a NUL inside, or too long for the
   * kernel, names nothing: the empty string goes in its place, which no call takes for a name.
   */
  of(text: string): Buffer {
    const bytes = this.#bytes
    const length = text.length < bytes.length && !text.includes('\0') ? text.length : 0
    bytes.latin1Write(text, 0, length)
    bytes[length] = 0
    return bytes
  }
}

export const path = new StringArgument(PATH_BYTES_MAX)
export const path2 = new StringArgument(PATH_BYTES_MAX)
export const key = new StringArgument(KEY_BYTES_MAX)

/** The positive errno of a failed call. */
export const errnoOf = (result: number): Errno => toErrno(-result)

/** The errno of an exception thrown by Node's fs (its `errno` is the sign-turned number). */
export function errnoOfThrown(error: unknown): Errno {
  const errno = (error as { errno?: unknown } | null)?.errno
  return typeof errno === 'number' && errno < 0 ? toErrno(-errno) : E.IO
}

export const addressOf = (bytes: Buffer): bigint => BigInt(koffi.address(bytes) as bigint)
