import type { Fd } from './fd.ts'
import type { Inode } from './inode.ts'
import type { Xlator } from './xlator.ts'

/**
 * Per-translator state on inodes and fds. Every translator has a slot number while it lives; its
 * context sits at that index of the object's `contexts`. Slots are reused when a graph is retired,
 * so a retired graph must have dropped its contexts (see `InodeTable.dropContexts`).
 */
const slotOwners: (Xlator | undefined)[] = []

/** Reserves the lowest free slot for `xl`. */
export function takeSlot(xl: Xlator): number {
  let slot = slotOwners.indexOf(undefined)
  if (slot < 0) slot = slotOwners.length
  slotOwners[slot] = xl
  return slot
}

export function freeSlot(slot: number): void {
  slotOwners[slot] = undefined
}

/** The translator a context index belongs to, `undefined` for a retired one. */
export function slotOwner(slot: number): Xlator | undefined {
  return slotOwners[slot]
}

/** A typed view of one translator's context on objects of type `H`. */
class Context<H extends { contexts: unknown[] }, T> {
  readonly #slot: number

  constructor(xl: Xlator) {
    this.#slot = xl.slot
  }

  get(holder: H): T | undefined {
    return holder.contexts[this.#slot] as T | undefined
  }

  set(holder: H, value: T): void {
    const contexts = holder.contexts
    while (contexts.length <= this.#slot) contexts.push(undefined)
    contexts[this.#slot] = value
  }

  delete(holder: H): void {
    if (this.#slot < holder.contexts.length) holder.contexts[this.#slot] = undefined
  }

  /** The context, made by `make` when there is none yet. */
  need(holder: H, make: () => T): T {
    let value = this.get(holder)
    if (value === undefined) {
      value = make()
      this.set(holder, value)
    }
    return value
  }
}

export class InodeContext<T> extends Context<Inode, T> {}
export class FdContext<T> extends Context<Fd, T> {}
