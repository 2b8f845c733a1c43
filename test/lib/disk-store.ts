/**
 * A brick of ours, in this process and on a temporary directory, where tests of cluster translators
 * have a simulated one: the same scripting (`up`, `fail`, `gate`), real translators below.
 * SIM_BRICKS=1 takes simulated ones, as a machine does where bricks cannot be.
 */
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Client } from '../../src/core/client.ts'
import { E } from '../../src/core/errno.ts'
import type { Fd } from '../../src/core/fd.ts'
import type { FopName, Req } from '../../src/core/fop.ts'
import type { Frame } from '../../src/core/frame.ts'
import type { Loc } from '../../src/core/loc.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { getXattr, listXattr, removeXattr, setXattr } from '../../src/sys/xattr.ts'
import { BrickBench, brickSkip, type Layer, TestClient } from './brick-bench.ts'
import { type Disk, fops, SimNode, SimStore } from './sim-store.ts'

/** Why bricks are simulated here; false when they are not. */
export const noDisk = process.env.SIM_BRICKS === undefined ? brickSkip() : 'SIM_BRICKS is set'
/** In memory where that takes trusted.* xattrs: a brick has 256 directories to begin with. */
const base = fs.existsSync('/dev/shm') && brickSkip('/dev/shm') === false ? '/dev/shm' : tmpdir()

const benches: BrickBench[] = []
process.on('exit', () => {
  for (const { path } of benches) fs.rmSync(path, { recursive: true, force: true })
})

/** A store that is a brick's directory; a simulated one where bricks cannot be. */
export async function makeStore(vol: string, arbiter = false): Promise<SimStore> {
  if (noDisk !== false) return new SimStore()
  const path = fs.mkdtempSync(join(base, 'glusterfs-ts-brick-'))
  const layers: Layer[] = [
    ...(arbiter ? [['features/arbiter'] as Layer] : []),
    ['features/locks'],
    [
      'features/index',
      {
        'index-base': `${path}/.glusterfs/indices`,
        'xattrop64-watchlist': 'trusted.ec.dirty',
        'xattrop-dirty-watchlist': 'trusted.afr.dirty',
        'xattrop-pending-watchlist': `trusted.afr.${vol}-`,
      },
    ],
  ]
  const bench = await BrickBench.make(layers, {}, path)
  benches.push(bench)
  return new DiskStore(bench)
}

/** Stores for what only simulated bricks can be told to do: entries planted, times chosen. */
export const simStores = (count: number): SimStore[] =>
  Array.from({ length: count }, () => new SimStore())

class BenchDisk implements Disk {
  readonly bench: BrickBench
  readonly top: Xlator
  readonly #clients = new Map<string, Client>()
  readonly #opened = new WeakSet<Fd>()

  constructor(bench: BrickBench) {
    this.bench = bench
    this.top = bench.graph.top
  }

  get path(): string {
    return this.bench.path
  }

  #client(name: string): Client {
    const known = this.#clients.get(name) ?? new TestClient(name)
    this.#clients.set(name, known)
    return known
  }

  disconnected(name: string): void {
    const client = this.#clients.get(name)
    if (client === undefined) return
    this.#clients.delete(name)
    this.top.notify({ type: 'client-disconnected', client }, undefined)
  }

  isOpen(fd: Fd): boolean {
    return this.#opened.has(fd)
  }

  /** What protocol/server makes of it: a gfid that is gone is ESTALE, where no name was asked. */
  async carryOut(frame: Frame, client: string, fop: FopName, req: Req<FopName>) {
    // A lock may be waited for.
    const counts = !fop.endsWith('lk')
    if (counts) fops.underWay++
    try {
      const rep = await frame.with({ client: this.#client(client) }).wind(this.top, fop, req)
      const { loc, fd } = req as { loc?: Loc; fd?: Fd }
      if (rep.errno === 0 && /^(open|create|opendir)$/.test(fop)) this.#opened.add(fd!)
      const isByGfid = loc !== undefined && loc.name === undefined
      if (rep.errno !== E.NOENT || !isByGfid || fop === 'lookup') return rep
      return { ...rep, errno: E.STALE }
    } finally {
      if (counts) fops.underWay--
    }
  }
}

class DiskStore extends SimStore {
  readonly #bench: BrickBench

  constructor(bench: BrickBench) {
    super(new BenchDisk(bench))
    this.#bench = bench
    Object.defineProperty(this, 'locks', { get: () => this.#locks() })
  }

  override at(path: string): SimNode | undefined {
    const full = join(this.#bench.path, path)
    const stat = fs.lstatSync(full, { throwIfNoEntry: false })
    return stat === undefined ? undefined : diskNode(full, stat)
  }

  /** One entry for each lock that is held or waited for. */
  #locks() {
    let locks = 0
    const pair = (key: string, value: unknown): void => {
      if (/(inodelk|entrylk|posixlk)-count$/.test(key)) locks += Number(value)
    }
    this.#bench.find('features/locks').dump?.({ pair } as never)
    return { held: Array.from({ length: locks }, () => 'a lock'), waiting: [] }
  }
}

const latin1 = (value: Buffer | number): string =>
  typeof value === 'number' ? '' : value.latin1Slice()

/** Its data and xattrs are those of the file. */
function diskNode(path: string, stat: fs.Stats): SimNode {
  const node = new SimNode(latin1(getXattr(path, 'trusted.gfid')) as never, stat.mode)
  node.uid = stat.uid
  node.gid = stat.gid
  Object.defineProperty(node, 'data', {
    get: () => (stat.isFile() ? fs.readFileSync(path) : Buffer.alloc(0)),
    set: (data: Buffer) => fs.writeFileSync(path, data),
  })
  Object.defineProperty(node, 'xattrs', { value: new DiskXattrs(path) })
  return node
}

class DiskXattrs extends Map<string, Buffer> {
  readonly #path: string

  constructor(path: string) {
    super()
    this.#path = path
  }

  override get(key: string): Buffer | undefined {
    const value = getXattr(this.#path, key)
    return typeof value === 'number' ? undefined : value
  }

  override has(key: string): boolean {
    return this.get(key) !== undefined
  }

  override set(key: string, value: Buffer): this {
    setXattr(this.#path, key, value, 0)
    return this
  }

  override delete(key: string): boolean {
    return removeXattr(this.#path, key) >= 0
  }

  override get size(): number {
    return [...this.keys()].length
  }

  override *[Symbol.iterator](): MapIterator<[string, Buffer]> {
    for (const key of this.keys()) yield [key, this.get(key)!]
  }

  override keys(): MapIterator<string> {
    const names = listXattr(this.#path)
    return (typeof names === 'number' ? [] : names).values() as MapIterator<string>
  }
}
