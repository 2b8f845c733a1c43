/** A brick's connections: messages take their time, and those under way are lost with them. */
import { E } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import type { FopName, Rep, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import { turn } from './seeded.ts'
import type { Disk } from './sim-store.ts'

/** Turns of the event loop that a message takes, now and then and mostly. */
const SLOW_TURNS = 30
const TURNS = 4

export class LossyWire implements Disk {
  readonly #disk: Disk
  readonly #random: () => number
  readonly #cuts = new Map<string, number>()
  /** Requests of one client arrive in order. */
  readonly #last = new Map<string, Promise<void>>()

  constructor(disk: Disk, random: () => number) {
    this.#disk = disk
    this.#random = random
  }

  get top() {
    return this.#disk.top
  }

  get path(): string {
    return this.#disk.path
  }

  async #pause(): Promise<void> {
    const turns = this.#random() < 0.05 ? SLOW_TURNS : TURNS
    for (let left = Math.floor(this.#random() * turns); left > 0; left--) await turn()
  }

  async carryOut(frame: Frame, client: string, fop: FopName, req: Req<FopName>) {
    const cuts = this.#cuts.get(client)
    const before = this.#last.get(client)
    const arrived = (async () => {
      await this.#pause()
      await before
    })()
    this.#last.set(client, arrived)
    await arrived
    const lost = { errno: E.NOTCONN } as Rep<FopName>
    if (this.#cuts.get(client) !== cuts) return lost
    const rep = await this.#disk.carryOut(frame, client, fop, req)
    await this.#pause()
    return this.#cuts.get(client) === cuts ? rep : lost
  }

  disconnected(client: string): void {
    this.#cuts.set(client, (this.#cuts.get(client) ?? 0) + 1)
    this.#disk.disconnected(client)
  }

  isOpen(fd: Fd): boolean {
    return this.#disk.isOpen(fd)
  }
}
