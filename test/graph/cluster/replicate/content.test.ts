/** The content that a lookup brings along comes from one brick. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import type { Inode } from '../../../../src/core/inode.ts'
import { Loc } from '../../../../src/core/loc.ts'
import { simStores } from '../../../lib/disk-store.ts'
import { letGo, type ReplicateGraph, replicateGraph } from '../../../lib/replicate-graph.ts'

const CONTENT = 'glusterfs.content'
const FILES = Array.from({ length: 24 }, (_, index) => `/f${index}`)
const FAR = { 'choose-local': 'off' }
const ARBITER = { ...FAR, 'arbiter-count': '1' }

/** A volume with files that were not looked up before. */
async function fresh(options: Record<string, string> = FAR): Promise<ReplicateGraph> {
  const stores = simStores(3)
  const maker = await replicateGraph({ stores, client: 'maker', options })
  for (const path of FILES) await maker.mount.writeFile(path, `content of ${path}`)
  await letGo(maker)
  const volume = await replicateGraph({ stores, options })
  await volume.mount.lookup('/')
  return volume
}

/** What a lookup tells of the content, and the bricks that were asked for it. */
async function look(
  { mount, bricks }: ReplicateGraph,
  path: string,
  known?: Inode,
): Promise<{ content: string | undefined; asked: number[] }> {
  for (const { requests } of bricks) requests.splice(0)
  const { inodes } = mount.graph
  const loc = Loc.ofName(inodes.root, path.slice(1), known ?? inodes.newInode())
  const rep = await mount.fop('lookup', { loc, xdata: new Dict().setUint(CONTENT, 4096) })
  assert.equal(rep.errno, 0)
  const asked = bricks.flatMap(({ requests }, index) => {
    const lookups = requests.filter(({ fop }) => fop === 'lookup')
    const wanted = lookups.filter(({ req }) => (req as { xdata: Dict }).xdata.has(CONTENT))
    return wanted.map(() => index)
  })
  const content = rep.errno === 0 ? rep.xdata?.getBytes(CONTENT)?.toString() : undefined
  return { content, asked }
}

void describe('the content of a small file', () => {
  void test('is asked for on one brick, on each in turn, whoever the file will be read from', async () => {
    const volume = await fresh()
    const tellers = new Set<number>()
    for (const path of FILES) {
      const { content, asked } = await look(volume, path)
      assert.equal(content, `content of ${path}`)
      assert.equal(asked.length, 1)
      tellers.add(asked[0]!)
    }
    assert.equal(tellers.size, 3)
  })

  void test('of a known file comes from the brick it is read from', async () => {
    const volume = await fresh()
    for (const path of FILES) {
      const inode = await volume.mount.inode(path)
      const { content, asked } = await look(volume, path, inode)
      assert.equal(content, `content of ${path}`)
      assert.deepEqual(asked, [volume.afr.readBrick(inode, 0b111, 0)])
    }
  })

  void test('comes from a brick on this host, if there is one', async () => {
    const volume = await fresh({})
    for (const path of FILES) {
      const { content, asked } = await look(volume, path)
      assert.equal(content, `content of ${path}`)
      assert.deepEqual(asked, [volume.afr.reads.preferred])
    }
  })

  void test('is not asked of an arbiter', async () => {
    const volume = await fresh(ARBITER)
    for (const path of FILES) {
      const { content, asked } = await look(volume, path)
      assert.equal(content, `content of ${path}`)
      assert.ok(asked.length === 1 && asked[0] !== 2, `asked of ${asked}`)
    }
  })

  void test('is not believed of a brick that others blame', async () => {
    const volume = await fresh()
    for (const path of FILES) {
      const stale = volume.bricks[1]!.store.at(path)!
      stale.data = Buffer.from(stale.data.toString().replace('content', 'CONTENT'))
      const blame = Buffer.alloc(12)
      blame.writeInt32BE(1, 0)
      for (const index of [0, 2]) {
        volume.bricks[index]!.store.at(path)!.xattrs.set('trusted.afr.V-client-1', blame)
      }
      const { content } = await look(volume, path)
      assert.equal(content, undefined, 'who reads it asks a good brick')
    }
  })

  void test('is asked for on all bricks where their copies have times of their own', async () => {
    const volume = await fresh()
    for (const path of FILES) {
      for (const [index, { store }] of volume.bricks.entries()) {
        store.at(path)!.mtime = { sec: 1_700_000_000, nsec: index }
      }
    }
    let missing = 0
    let last: number[] = []
    for (const path of FILES) {
      const { content, asked } = await look(volume, path)
      if (content === undefined) missing++
      else assert.equal(content, `content of ${path}`)
      last = asked
    }
    assert.ok(missing <= 1, `${missing} without content`)
    assert.deepEqual(last, [0, 1, 2])
  })

  void test('is not told while a change reaches one brick before the other', async () => {
    const volume = await fresh()
    for (const path of FILES) {
      for (const [index, { store }] of volume.bricks.entries()) {
        const node = store.at(path)!
        node.mtime = { sec: 1_700_000_000, nsec: index }
        store.locks.held.push({
          kind: 'inodelk',
          domain: 'V-replicate-0',
          object: node.gfid,
          name: '',
          write: true,
          start: 0n,
          end: -1n,
          owner: 'writer',
        })
      }
    }
    for (const path of FILES) assert.equal((await look(volume, path)).asked.length, 1)
  })
})
