/** Data heals while bricks and other clients come and go. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { E } from '../../../../src/core/errno.ts'
import { F_UNLCK } from '../../../../src/core/fop.ts'
import { ROOT_CREDS } from '../../../../src/core/frame.ts'
import type { Xlator } from '../../../../src/core/xlator.ts'
import { healCreds } from '../../../../xlators/cluster/common/heal-queue.ts'
import { healData } from '../../../../xlators/cluster/replicate/heal-data.ts'
import { noDisk } from '../../../lib/disk-store.ts'
import { letGo, mark, type ReplicateGraph, replicateGraph } from '../../../lib/replicate-graph.ts'

/** Blocks of a heal with the smallest window, and one more byte. */
const SIZE = 2 * 128 * 1024 + 1

interface Damaged {
  ours: ReplicateGraph
  /** Another client on the same bricks. */
  theirs: ReplicateGraph
  heal: () => Promise<number>
}

/** `/file` is all `b` on bricks 0 and 2, which blame brick 1, where it is all `a`. */
async function damaged(): Promise<Damaged> {
  const ours = await replicateGraph({ options: { 'data-self-heal-window-size': '1' } })
  const stores = ours.bricks.map(({ store }) => store)
  const theirs = await replicateGraph({ stores, client: 'client-1' })
  await ours.mount.writeFile('/file', 'a'.repeat(SIZE))
  await letGo(ours)
  await writeWithout(theirs, 1, 'b'.repeat(SIZE))
  const { inode } = await ours.mount.loc('/file')
  const { afr, mount } = ours
  const heal = async (): Promise<number> => {
    let errno = -1
    await mount.graph.pool.background(
      afr as unknown as Xlator,
      'heal',
      ROOT_CREDS,
      async (frame) => {
        ;({ errno } = await healData(afr, frame.with(healCreds()), inode))
      },
    )
    return errno
  }
  return { ours, theirs, heal }
}

async function writeWithout(volume: ReplicateGraph, brick: number, text: string): Promise<void> {
  volume.bricks[brick]!.up = false
  const fd = await volume.mount.open('/file')
  const data = Buffer.from(text)
  const req = { fd, data: [data], size: data.length, offset: 0, flags: 0 }
  assert.equal((await volume.mount.fop('writev', req)).errno, 0)
  await letGo(volume)
  fd.release()
  volume.bricks[brick]!.up = true
  await volume.mount.settle()
}

/** Runs `job` once, when the heal has unlocked its first block and waits for brick 0 to say so. */
function betweenBlocks({ bricks }: ReplicateGraph, job: () => Promise<void>): void {
  const brick = bricks[0]!
  let isCopying = false
  brick.gate = (fop, req) => {
    isCopying ||= fop === 'readv'
    if (!isCopying || fop !== 'inodelk' || req.volume !== 'V-replicate-0') return
    if ((req as { flock?: { type: number } }).flock?.type !== F_UNLCK) return
    brick.gate = undefined
    return job()
  }
}

const last = ({ bricks }: ReplicateGraph, brick: number): string | undefined =>
  bricks[brick]!.store.at('/file')?.data.toString().slice(-5)

void describe('a data heal', () => {
  void test('makes the bricks equal', async () => {
    const { ours, heal } = await damaged()
    assert.deepEqual(
      [0, 1, 2].map((brick) => last(ours, brick)),
      ['bbbbb', 'aaaaa', 'bbbbb'],
    )
    assert.equal(await heal(), 0)
    assert.deepEqual(
      [0, 1, 2].map((brick) => last(ours, brick)),
      ['bbbbb', 'bbbbb', 'bbbbb'],
    )
    assert.deepEqual(mark(ours.bricks[2]!, '/file', 1), [0, 0, 0])
  })

  void test('ends when its source missed a write of another client', { skip: noDisk }, async () => {
    const { ours, theirs, heal } = await damaged()
    let isWritten = false
    betweenBlocks(ours, async () => {
      await writeWithout(theirs, 0, 'c'.repeat(SIZE))
      isWritten = true
    })
    assert.equal(await heal(), E.AGAIN)
    assert.ok(isWritten)
    assert.deepEqual(
      [0, 1, 2].map((brick) => last(ours, brick)),
      ['bbbbb', 'ccccc', 'ccccc'],
    )
    assert.ok(mark(ours.bricks[2]!, '/file', 0)[0]! > 0)
    assert.ok(mark(ours.bricks[2]!, '/file', 1)[0]! > 0)
    // The next one finds the copy that is right.
    assert.equal(await heal(), 0)
    assert.deepEqual(
      [0, 1, 2].map((brick) => last(ours, brick)),
      ['ccccc', 'ccccc', 'ccccc'],
    )
    assert.deepEqual(mark(ours.bricks[2]!, '/file', 0), [0, 0, 0])
    assert.deepEqual(mark(ours.bricks[2]!, '/file', 1), [0, 0, 0])
  })

  void test('ends when a brick was away: what it had not synced may be lost', {
    skip: noDisk,
  }, async () => {
    const { ours, heal } = await damaged()
    betweenBlocks(ours, async () => {
      ours.bricks[1]!.up = false
      ours.bricks[1]!.up = true
      await ours.mount.settle()
    })
    assert.equal(await heal(), E.AGAIN)
    assert.ok(mark(ours.bricks[2]!, '/file', 1)[0]! > 0)
    assert.equal(await heal(), 0)
    assert.equal(last(ours, 1), 'bbbbb')
  })
})
