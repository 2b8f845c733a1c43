/**
 * cluster/nufa (non-uniform file access): distribute, but a new file's data goes to a subvolume on
 * this machine, with a linkto where its name hashes. That is the first one with a brick that
 * `local-volume-name` names or whose remote-host is this machine; without one it is distribute
 * (nufa_init). When it is full, or its layout is gone, files go where distribute puts them.
 *
 * Names are looked up as in distribute, by their linkto. Stock asks the local subvolume first and
 * searches everywhere for what is not there: that costs more for the files of other machines.
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { clock } from '../../../src/core/clock.ts'
import type { Event } from '../../../src/core/event.ts'
import type { MaybePromise } from '../../../src/core/fop.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, type Xlator } from '../../../src/core/xlator.ts'
import { leavesBelow } from '../../../src/graph/dir-offset.ts'
import { Distribute, options as distributeOptions } from '../distribute/index.ts'

/** A name server that does not answer must not hold up the first file for longer, ms. */
const LOOKUP_MAX_MS = 5000

/** The same keys and values as distribute's; this one has an effect. */
const options = defineOptions({
  ...distributeOptions,
  'local-volume-name': {
    type: 'str',
    description: 'Subvolume, or a translator below it, that takes new files.',
  },
})

export class Nufa extends Distribute {
  /** Where new files go; `undefined`: as in distribute. */
  #local: Xlator | undefined
  /** The search for it, while it runs. */
  #finding: Promise<void> | undefined

  override notify(event: Event, from: Xlator | undefined): void {
    if (event.type === 'parent-up') {
      this.#finding = this.#find().finally(() => {
        this.#finding = undefined
      })
    }
    super.notify(event, from)
  }

  override place(hashed: Xlator, parent: Inode): MaybePromise<Xlator> {
    return this.#finding === undefined
      ? this.#placed(hashed, parent)
      : this.#finding.then(() => this.#placed(hashed, parent))
  }

  #placed(hashed: Xlator, parent: Inode): MaybePromise<Xlator> {
    const local = this.#local
    if (local === undefined || this.isDecommissioned(local)) return super.place(hashed, parent)
    return super.place(local, parent)
  }

  async #find(): Promise<void> {
    const wanted = this.options['local-volume-name']
    this.#local = wanted === undefined ? await this.#onThisMachine() : this.#named(wanted)
    const { log } = this
    if (this.#local !== undefined) log.info({ subvolume: this.#local.name }, 'new files go there')
    else log.warn({ wanted }, 'no subvolume is on this machine: files go where their names hash')
  }

  #named(name: string): Xlator | undefined {
    return this.children.find((child) => hasBelow(child, name))
  }

  async #onThisMachine(): Promise<Xlator | undefined> {
    const hosts = new Map<string, Promise<boolean>>()
    const isOurs = (host: string): Promise<boolean> => {
      const known = hosts.get(host) ?? isThisMachine(host)
      hosts.set(host, known)
      return known
    }
    for (const child of this.children) {
      for (const leaf of leavesBelow(child)) {
        const host = leaf.givenOptions.get('remote-host')
        if (host !== undefined && (await isOurs(host))) return child
      }
    }
    return undefined
  }
}

function hasBelow(xl: Xlator, name: string): boolean {
  return xl.name === name || xl.children.some((child) => hasBelow(child, name))
}

/** Whether a host's name or address is one of this machine's (gf_is_local_addr). */
async function isThisMachine(host: string): Promise<boolean> {
  const own = new Set(
    Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
  )
  for (const address of isIP(host) === 0 ? await addressesOf(host) : [host]) {
    if (own.has(address) || address === '::1' || address.startsWith('127.')) return true
  }
  return false
}

/** None when nobody knows the name, or nobody says so in time. */
async function addressesOf(host: string): Promise<string[]> {
  const found = lookup(host, { all: true }).then(
    (all) => all.map(({ address }) => address),
    () => [],
  )
  return Promise.race([found, after(LOOKUP_MAX_MS)])
}

function after(delayMs: number): Promise<string[]> {
  return new Promise((resolve) => {
    clock.after(delayMs, () => resolve([]), true)
  })
}

export default defineXlator({
  type: 'cluster/nufa',
  class: Nufa,
  options: options as unknown as typeof distributeOptions,
  children: { min: 1, max: 65536 },
})
