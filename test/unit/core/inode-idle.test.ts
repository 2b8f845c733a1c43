/** What the kernel knows of the inode table, and what it can be asked to forget. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Fd } from '../../../src/core/fd.ts'
import { Iatt, S_IFREG } from '../../../src/core/iatt.ts'
import { type Inode, InodeTable } from '../../../src/core/inode.ts'
import { testGfid } from '../../lib/scripted.ts'

function tableOf(count: number): { table: InodeTable; inodes: Inode[] } {
  const table = new InodeTable()
  const inodes: Inode[] = []
  for (let i = 0; i < count; i++) {
    const stat = Object.assign(new Iatt(), { gfid: testGfid(), mode: S_IFREG })
    const inode = table.link(table.newInode(), table.root, `f${i}`, stat)!
    table.countLookup(inode)
    inodes.push(inode)
  }
  return { table, inodes }
}

describe('inodes the kernel knows', () => {
  test('lookups are counted exactly; the last FORGET frees the inode and its node id for ever', () => {
    const { table, inodes } = tableOf(1)
    const inode = inodes[0]!
    const { gfid, nodeid } = inode
    table.countLookup(inode)
    table.forget(inode, 1)
    assert.equal(table.byNodeid(nodeid), inode)
    table.forget(inode, 1)
    assert.equal(table.byNodeid(nodeid), undefined)
    assert.equal(table.byGfid(gfid), undefined)
    assert.equal(table.knownToKernel, 1)
    table.countLookup(inode)
    assert.notEqual(inode.nodeid, nodeid)
  })

  test('victims are those not named lately, never used or open ones, nor the root', () => {
    const { table, inodes } = tableOf(10)
    const open = inodes[0]!
    new Fd(open, 0, 1).bind()
    table.ref(inodes[1]!)
    table.byNodeid(inodes[2]!.nodeid)
    assert.deepEqual(table.idleVictims(3), inodes.slice(3, 6))
    // The next search goes on where the last one stopped, and gives a second chance once.
    assert.deepEqual(table.idleVictims(5), [...inodes.slice(6, 10), inodes[2]])
  })

  test('a search ends when nothing is idle', () => {
    const { table, inodes } = tableOf(3)
    for (const inode of inodes) table.ref(inode)
    assert.deepEqual(table.idleVictims(5), [])
  })
})
