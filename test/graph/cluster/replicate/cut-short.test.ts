/** Changes that were cut short with their client, on bricks that have nothing on record of them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bricksOf } from '../../../../xlators/cluster/common/mask.ts'
import { letGo, type ReplicateGraph, replicateGraph } from '../../../lib/replicate-graph.ts'

/** `f` and `g` hold their names. */
async function made(options: Record<string, string> = {}): Promise<ReplicateGraph> {
  const volume = await replicateGraph({ options })
  for (const name of ['f', 'g']) await volume.mount.writeFile(`/${name}`, name)
  await letGo(volume)
  return volume
}

async function renameOn(volume: ReplicateGraph, mask: number): Promise<void> {
  const { afr, mount, bricks } = volume
  const [oldloc, newloc] = [await mount.loc('/f'), await mount.loc('/g')]
  await mount.graph.pool.background(afr.self, 'test', mount.creds, async (frame) => {
    for (const brick of bricksOf(mask)) {
      const rep = await frame.wind(bricks[brick]!, 'rename', { oldloc, newloc })
      assert.equal(rep.errno, 0)
    }
  })
}

const another = ({ bricks }: ReplicateGraph, options: Record<string, string> = {}) =>
  replicateGraph({ stores: bricks.map(({ store }) => store), client: 'client-1', options })

for (const [did, content] of [
  [0b001, 'g'],
  [0b011, 'f'],
] as const) {
  void test(`a rename over a file that bricks ${bricksOf(did)} did: most are believed`, async () => {
    const volume = await made()
    await renameOn(volume, did)
    const { mount } = await another(volume)
    assert.equal(await mount.readFile('/g'), content)
    await mount.settle()
    const gfids = new Set(volume.bricks.map(({ store }) => store.at('/g')?.gfid))
    assert.equal(gfids.size, 1)
  })
}

void test('an unlink that only the arbiter did not: the file has no content any more', async () => {
  const options = { 'arbiter-count': '1' }
  const volume = await made(options)
  const { afr, mount, bricks } = volume
  const loc = await mount.loc('/f')
  await mount.graph.pool.background(afr.self, 'test', mount.creds, async (frame) => {
    for (const brick of bricks.slice(0, 2)) {
      assert.equal((await frame.wind(brick, 'unlink', { loc, flags: 0 })).errno, 0)
    }
  })
  const other = await another(volume, options)
  assert.equal(await other.mount.exists('/f'), false)
  assert.equal(bricks[2]!.store.at('/f'), undefined)
})
