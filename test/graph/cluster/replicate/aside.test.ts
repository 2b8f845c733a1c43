/** What heals put aside and nobody names any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Frame } from '../../../../src/core/frame.ts'
import { healCreds } from '../../../../xlators/cluster/common/heal-queue.ts'
import { healInode } from '../../../../xlators/cluster/replicate/heal.ts'
import { dropUnnamed } from '../../../../xlators/cluster/replicate/heal-aside.ts'
import { type ReplicateGraph, replicateGraph } from '../../../lib/replicate-graph.ts'

const VOLUME_ID = '3b241101-e2bb-4255-8caf-4136c566a962'
const ASIDE = `/.glusterfs-anonymous-inode-${VOLUME_ID}`

function asHealer(
  { mount, afr }: ReplicateGraph,
  job: (frame: Frame) => Promise<unknown>,
): Promise<void> {
  return mount.graph.pool.background(afr.self, 'heal', healCreds(), async (frame) => {
    await job(frame)
  })
}

void test('what was put aside goes when the other bricks have removed it, not before', async () => {
  const options = {
    'use-anonymous-inode': 'yes',
    'volume-id': VOLUME_ID,
    'entry-self-heal': 'on',
    'data-self-heal': 'on',
    'metadata-self-heal': 'on',
  }
  const volume = await replicateGraph({ options })
  const { mount, afr, bricks } = volume
  await mount.mkdir('/d')
  await mount.mkdir('/e')
  await mount.writeFile('/d/f', 'f')
  bricks[0]!.up = false
  const { gfid } = await mount.rename('/d/f', '/e/f')
  bricks[0]!.up = true
  const { inode } = await mount.loc('/d')
  const [hex] = [Buffer.from(gfid, 'latin1').toString('hex')]
  const text = hex!.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  const isAside = (): boolean => bricks[0]!.store.at(`${ASIDE}/${text}`) !== undefined
  await asHealer(volume, (frame) => healInode(afr, frame, inode))
  assert.ok(isAside(), 'it waits for its other name')
  await asHealer(volume, (frame) => dropUnnamed(afr, frame))
  assert.ok(isAside(), 'which the others have')
  await mount.unlink('/e/f')
  bricks[2]!.up = false
  await asHealer(volume, (frame) => dropUnnamed(afr, frame))
  assert.ok(isAside(), 'a brick that is away may have a name for it')
  bricks[2]!.up = true
  await asHealer(volume, (frame) => dropUnnamed(afr, frame))
  assert.ok(!isAside(), 'nobody has one')
})
