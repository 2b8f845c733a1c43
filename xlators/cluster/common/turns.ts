/**
 * Whose turn it is at one inode: fops that exclude each other run one after another in the order
 * they came, others at once. A newcomer waits behind whatever it conflicts with.
 */

interface Waiter<Use> {
  readonly use: Use
  readonly run: () => void
}

export class Turns<Use> {
  readonly #running = new Set<Use>()
  readonly #waiting: Waiter<Use>[] = []
  readonly #conflict: (a: Use, b: Use) => boolean
  readonly #isClosed: () => boolean

  /** `isClosed`: nobody may start for now; `startWaiting` is called when that is over. */
  constructor(conflict: (a: Use, b: Use) => boolean, isClosed: () => boolean) {
    this.#conflict = conflict
    this.#isClosed = isClosed
  }

  /** Uses under way. */
  get running(): number {
    return this.#running.size
  }

  get busy(): boolean {
    return this.#running.size > 0 || this.#waiting.length > 0
  }

  /** It runs from now on; or a promise of that. An `end` must follow. */
  begin(use: Use): Promise<void> | undefined {
    if (this.#mayStart(use, this.#waiting.length)) {
      this.#running.add(use)
      return undefined
    }
    return new Promise((run) => {
      this.#waiting.push({ use, run })
    })
  }

  end(use: Use): void {
    this.#running.delete(use)
    this.startWaiting()
  }

  startWaiting(): void {
    for (let i = 0; i < this.#waiting.length; ) {
      const { use, run } = this.#waiting[i]!
      if (!this.#mayStart(use, i)) {
        i++
        continue
      }
      this.#waiting.splice(i, 1)
      this.#running.add(use)
      run()
    }
  }

  /** No conflict with uses under way or with the first `ahead` waiting ones. */
  #mayStart(use: Use, ahead: number): boolean {
    if (this.#isClosed()) return false
    for (const other of this.#running) if (this.#conflict(use, other)) return false
    for (let i = 0; i < ahead; i++) {
      if (this.#conflict(use, this.#waiting[i]!.use)) return false
    }
    return true
  }
}
