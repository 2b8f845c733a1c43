import assert from 'node:assert/strict'
import { test } from 'node:test'
import nufa, { type Nufa } from '../../../xlators/cluster/nufa/index.ts'
import { distributeVolfile, type SimMount, simGraph } from '../../lib/sim-graph.ts'

const NAMES = Array.from({ length: 24 }, (_, i) => `/dir/file-${i}`)
const ELSEWHERE = '192.0.2.1'

/** Three bricks on `hosts`. */
async function mount(
  hosts: readonly string[],
  options: Record<string, string> = {},
): Promise<SimMount> {
  let brick = 0
  const volfile = distributeVolfile(3, options)
    .replace('cluster/distribute', 'cluster/nufa')
    .replaceAll(
      'option remote-subvolume',
      (key) => `option remote-host ${hosts[brick++]}\n    ${key}`,
    )
  const sim = await (await simGraph({ volfile, xlators: [nufa] })).start()
  await sim.mkdir('/dir')
  return sim
}

const sizes = (sim: SimMount, name: string) =>
  sim.bricks
    .map(({ store }) => store.at(name))
    .map((node) => node && (node.mode & 0o7777) !== 0o1000)

/** Brick by brick: how many files with data, and how many linktos. */
function census(sim: SimMount): { files: number[]; linktos: number[] } {
  const files = [0, 0, 0]
  const linktos = [0, 0, 0]
  for (const name of NAMES) {
    for (const [brick, isFile] of sizes(sim, name).entries()) {
      if (isFile === true) files[brick]!++
      if (isFile === false) linktos[brick]!++
    }
  }
  return { files, linktos }
}

async function makeAll(sim: SimMount): Promise<void> {
  for (const name of NAMES) await sim.create(name)
}

test('new files go to the brick on this machine, their names where they hash', async () => {
  const sim = await mount([ELSEWHERE, '127.0.0.1', 'localhost'])
  await makeAll(sim)
  const { files, linktos } = census(sim)
  assert.deepEqual(files, [0, NAMES.length, 0])
  assert.equal(linktos[1], 0)
  assert.ok(linktos[0]! > 0 && linktos[2]! > 0, `${linktos}`)
  // By whoever does not know where they are.
  const other = await simGraph({
    volfile: distributeVolfile(3).replace('cluster/distribute', 'cluster/nufa'),
    xlators: [nufa],
    stores: new Map(sim.bricks.map(({ name, store }) => [name, store])),
    client: 'client-1',
  })
  await other.start()
  for (const name of NAMES) assert.equal((await other.stat(name)).nlink, 1)
})

test('local-volume-name says which brick it is', async () => {
  const sim = await mount(['127.0.0.1', ELSEWHERE, ELSEWHERE], {
    'local-volume-name': 'vol-client-2',
  })
  await makeAll(sim)
  assert.deepEqual(census(sim).files, [0, 0, NAMES.length])
})

test('no brick on this machine, or a full one: files go where distribute puts them', async () => {
  const hashed = await mount([ELSEWHERE, ELSEWHERE, ELSEWHERE])
  await makeAll(hashed)
  assert.deepEqual(census(hashed).linktos, [0, 0, 0])
  const full = await mount(['127.0.0.1', ELSEWHERE, ELSEWHERE])
  full.bricks[0]!.store.bavail = 1
  ;(full.graph.top as unknown as Nufa).space.refresh()
  await full.settle()
  await makeAll(full)
  assert.equal(census(full).files[0], 0)
})
