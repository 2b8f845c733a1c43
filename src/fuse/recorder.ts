/**
 * `--dump-fuse`: every message from and to the kernel, in stock's format. A record is `R` (read
 * from the device) or `W`, u32 3, and three parts that begin with their length, itself included: the
 * time (u32 16, seconds u64, nanoseconds u32), a signature (u32 12, `GLUSTER\xf5`) and the message.
 * Little-endian.
 */
import { closeSync, constants, openSync, writevSync } from 'node:fs'
import { clock } from '../core/clock.ts'
import { errnoOfError } from '../core/errno.ts'
import { GlusterError } from '../core/errors.ts'
import { logFor } from '../observe/log.ts'

const HEAD_BYTES = 1 + 4 + 16 + 12
const SIGNATURE = Buffer.from('GLUSTER\xf5', 'latin1')

export class FuseRecorder {
  readonly #path: string
  readonly #head = Buffer.alloc(HEAD_BYTES)
  #fd: number

  /** Throws GlusterError BAD_VALUE. */
  constructor(path: string) {
    this.#path = path
    try {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOCTTY } = constants
      this.#fd = openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY, 0o600)
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException
      throw new GlusterError('BAD_VALUE', `dump-fuse: cannot open ${path}: ${code}`, {
        cause,
        errno: errnoOfError(cause),
      })
    }
    this.#head.writeUInt32LE(3, 1)
    this.#head.writeUInt32LE(16, 5)
    this.#head.writeUInt32LE(12, 21)
    SIGNATURE.copy(this.#head, 25)
  }

  /** Written before the message is acted upon: its buffer is used again afterwards. */
  record(direction: 'R' | 'W', parts: readonly Buffer[]): void {
    if (this.#fd < 0) return
    const { sec, nsec } = clock.realtime()
    this.#head.write(direction, 0, 'latin1')
    this.#head.writeUInt32LE(sec, 9)
    this.#head.writeUInt32LE(nsec, 17)
    try {
      writevSync(this.#fd, [this.#head, ...parts])
    } catch (error) {
      logFor('fuse').error({ err: error }, `${this.#path}: recording ends here`)
      this.close()
    }
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}
