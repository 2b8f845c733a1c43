/** cluster/disperse over simulated bricks, with a small mount on top. */
import assert from 'node:assert/strict'
import type { Event } from '../../src/core/event.ts'
import type { Fd } from '../../src/core/fd.ts'
import { CallPool } from '../../src/core/frame.ts'
import { InodeTable } from '../../src/core/inode.ts'
import { defineOptions } from '../../src/core/options.ts'
import { defineXlator, Xlator } from '../../src/core/xlator.ts'
import { buildGraph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import disperseDefinition, { type Disperse } from '../../xlators/cluster/disperse/index.ts'
import { makeStore } from './disk-store.ts'
import { MiniMount } from './mini-mount.ts'
import { Bench, settle, testProcess } from './scripted.ts'
import simBrick, { type SimBrick } from './sim-brick.ts'
import type { SimStore } from './sim-store.ts'

const noOptions = defineOptions({})

class Above extends Xlator<typeof noOptions> {
  readonly events: Event[] = []
  override notify(event: Event, from: Xlator | undefined): void {
    if (from === undefined) super.notify(event, from)
    else this.events.push(event)
  }
}

const above = defineXlator({ type: 'test/above', class: Above, options: noOptions, children: 1 })

export interface DisperseGraph {
  bench: Bench
  mount: MiniMount
  disperse: Disperse
  bricks: SimBrick[]
}

/** `stores`: bricks that another client of the same volume already made. */
export async function disperseGraph(
  dataCount: number,
  redundancy: number,
  given: Record<string, string> = {},
  stores?: readonly SimStore[],
  client = 'client-0',
): Promise<DisperseGraph> {
  const names = Array.from({ length: dataCount + redundancy }, (_, index) => `brick-${index}`)
  const options = Object.entries({ redundancy: String(redundancy), ...given })
  const text = [
    ...names.map((name) => `volume ${name}\ntype protocol/client\noption x y\nend-volume`),
    'volume xl\ntype cluster/disperse',
    ...options.map(([key, value]) => `option ${key} ${value}`),
    `subvolumes ${names.join(' ')}\nend-volume`,
    'volume top\ntype test/above\nsubvolumes xl\nend-volume\n',
  ].join('\n')
  const known = new Map([
    ['protocol/client', simBrick],
    ['cluster/disperse', disperseDefinition],
    ['test/above', above],
  ])
  const graph = await buildGraph({
    volfile: parseVolfile(text, 'test'),
    load: async (type) => known.get(type),
    id: 0,
    volfileId: 'vol',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: testProcess,
  })
  const bricks = names.map((name) => graph.find(name) as unknown as SimBrick)
  for (const [index, brick] of bricks.entries()) {
    brick.client = client
    brick.store = stores?.[index] ?? (await makeStore('vol'))
  }
  graph.start()
  const bench = new Bench(graph, disperseDefinition)
  const disperse = graph.find('xl') as unknown as Disperse
  assert.ok(disperse.isUp)
  return { bench, mount: new MiniMount(bench), disperse, bricks }
}

/** Ends all eager locks as if their time were over. */
export async function letGo({ disperse }: DisperseGraph): Promise<void> {
  disperse.releaseLocks()
  for (let i = 0; disperse.lockCount > 0; i++) {
    assert.ok(i < 1000, 'locks are not released')
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

export async function newFile(volume: DisperseGraph, name: string, content?: Buffer): Promise<Fd> {
  const fd = await volume.mount.create(name)
  assert.ok(typeof fd !== 'number', `create: ${String(fd)}`)
  if (content !== undefined) assert.equal(await volume.mount.write(fd, 0, content), 0)
  return fd
}

export async function readAll(volume: DisperseGraph, name: string): Promise<Buffer> {
  const fd = await volume.mount.open(name)
  assert.ok(typeof fd !== 'number', `open: ${String(fd)}`)
  const data = await volume.mount.read(fd, 0, 1 << 20)
  assert.ok(typeof data !== 'number', `read: ${String(data)}`)
  await volume.mount.close(fd)
  return data
}

/** One of trusted.ec.* of a path on a brick, in hex. */
export const xattr = (volume: DisperseGraph, brick: number, path: string, name: string) =>
  volume.bricks[brick]!.store.at(path)?.xattrs.get(`trusted.ec.${name}`)?.toString('hex')

/** Waits until no heal is running or waiting. */
export async function healsDone({ disperse }: DisperseGraph): Promise<void> {
  for (let i = 0; i < 200; i++) {
    await settle()
    if (disperse.heals.running === 0 && disperse.heals.waiting === 0) return
  }
  assert.fail('heals do not end')
}

/** Every brick's file is what the reference encoding gives, clean and of one version. */
export function checkFragments(volume: DisperseGraph, path: string, content: Buffer): void {
  const { geometry } = volume.disperse
  const data = Buffer.alloc(geometry.up(content.length))
  content.copy(data)
  const all = volume.bricks.map((_, brick) => brick)
  const fragments = new Codec(geometry).encode([data], data.length, all)
  for (const brick of all) {
    const node = volume.bricks[brick]!.store.at(path)
    assert.ok(node !== undefined, `brick ${brick} has no ${path}`)
    assert.ok(node.data.equals(fragments[brick]!), `fragment of brick ${brick}`)
    assert.match(xattr(volume, brick, path, 'dirty') ?? '', /^0*$/, `dirty on brick ${brick}`)
    for (const name of ['version', 'size']) {
      assert.equal(xattr(volume, brick, path, name), xattr(volume, 0, path, name), name)
    }
  }
}
