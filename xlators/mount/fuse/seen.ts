import type { Iatt } from '../../../src/core/iatt.ts'

/** The attributes of an inode as the kernel was last told them. */
export class Seen {
  mode = 0
  #size = -1
  #mtime = 0
  #mtimeNsec = 0
  #ctime = 0
  #ctimeNsec = 0

  set(stat: Iatt): void {
    this.mode = stat.mode
    this.#size = stat.size
    this.#mtime = stat.mtime
    this.#mtimeNsec = stat.mtimeNsec
    this.#ctime = stat.ctime
    this.#ctimeNsec = stat.ctimeNsec
  }

  /** What the kernel caches of the file is still true. */
  matches(stat: Iatt): boolean {
    return (
      stat.size === this.#size &&
      stat.mtimeNsec === this.#mtimeNsec &&
      stat.ctimeNsec === this.#ctimeNsec &&
      stat.mtime === this.#mtime &&
      stat.ctime === this.#ctime
    )
  }

  /** The same state, or one from before it: bricks never let a file's ctime go back. */
  covers(stat: Iatt): boolean {
    const older =
      stat.ctime < this.#ctime || (stat.ctime === this.#ctime && stat.ctimeNsec < this.#ctimeNsec)
    return this.#size >= 0 && stat.ctime > 0 && (older || this.matches(stat))
  }

  /** The kernel did not take what it was told. */
  clear(): void {
    this.#size = -1
  }
}
