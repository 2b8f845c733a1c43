/** cluster/replicate over simulated bricks, used by paths. */
import assert from 'node:assert/strict'
import type { Fd } from '../../src/core/fd.ts'
import replicateDefinition, { type Replicate } from '../../xlators/cluster/replicate/index.ts'
import { makeStore } from './disk-store.ts'
import type { SimBrick } from './sim-brick.ts'
import { type SimMount, simGraph } from './sim-graph.ts'
import { fops, type SimStore } from './sim-store.ts'

export interface ReplicateGraph {
  mount: SimMount
  afr: Replicate
  bricks: SimBrick[]
}

export interface ReplicateInput {
  bricks?: number
  options?: Record<string, string>
  /** Bricks that another client of the volume uses too. */
  stores?: readonly SimStore[]
  client?: string
}

export async function replicateGraph(input: ReplicateInput = {}): Promise<ReplicateGraph> {
  const names = Array.from({ length: input.bricks ?? 3 }, (_, index) => `V-client-${index}`)
  const options = Object.entries(input.options ?? {})
  const volfile = [
    ...names.map((name) => `volume ${name}\ntype protocol/client\noption x y\nend-volume`),
    'volume V-replicate-0\ntype cluster/replicate',
    ...options.map(([key, value]) => `option ${key} ${value}`),
    `subvolumes ${names.join(' ')}\nend-volume\n`,
  ].join('\n')
  const stores = new Map<string, SimStore>()
  const isArbiter = input.options?.['arbiter-count'] === '1'
  for (const [i, name] of names.entries()) {
    stores.set(name, input.stores?.[i] ?? (await makeStore('V', isArbiter && i === 2)))
  }
  const client = input.client ?? 'client-0'
  const mount = await simGraph({ volfile, xlators: [replicateDefinition], stores, client })
  const { bricks } = mount
  if (input.options?.['arbiter-count'] === '1') bricks[2]!.arbiter = true
  await mount.start()
  await mount.settle()
  const afr = mount.graph.find('V-replicate-0') as unknown as Replicate
  takeCounts({ bricks })
  return { mount, afr, bricks }
}

/** Requests to each brick since the last call, by fop, lookups left out. */
export function takeCounts({ bricks }: { bricks: readonly SimBrick[] }): Record<string, number>[] {
  return bricks.map((brick) => {
    brick.requests.splice(0)
    const counts: Record<string, number> = {}
    for (const line of brick.trace.splice(0)) {
      const fop = line.split(' ')[0]!
      if (fop !== 'lookup') counts[fop] = (counts[fop] ?? 0) + 1
    }
    return counts
  })
}

/** Ends all kept locks as if their time were over. */
export async function letGo({ afr, mount }: ReplicateGraph): Promise<void> {
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
  await turn()
  for (let i = 0; afr.lockCount > 0; i++) {
    assert.ok(i < 1000, 'locks are not released')
    afr.releaseLocks()
    await turn()
    // The disk takes its time.
    if (fops.underWay > 0) i = 0
  }
  await mount.settle()
}

/** Nobody holds a lock or waits for one. */
export function noLocks({ bricks }: ReplicateGraph): void {
  for (const { store } of bricks) {
    assert.deepEqual(store.locks.held, [])
    assert.deepEqual(store.locks.waiting, [])
  }
}

export async function close({ mount }: ReplicateGraph, fd: Fd): Promise<void> {
  const rep = await mount.fop('flush', { fd })
  assert.equal(rep.errno, 0)
  fd.release()
}

/** `trusted.afr.V-client-<blamed>` of `path` on a brick; `dirty` for the mark. */
export function mark(brick: SimBrick, path: string, blamed: number | 'dirty'): number[] {
  const node = brick.store.at(path)
  assert.ok(node !== undefined, `${path} is not on ${brick.name}`)
  const key = blamed === 'dirty' ? 'trusted.afr.dirty' : `trusted.afr.V-client-${blamed}`
  const value = node.xattrs.get(key) ?? Buffer.alloc(12)
  return [value.readInt32BE(0), value.readInt32BE(4), value.readInt32BE(8)]
}
