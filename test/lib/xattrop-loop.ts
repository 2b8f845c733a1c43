/** A brick process for tests: counts up a pending counter, says so, until it is killed. */
import { writeSync } from 'node:fs'
import { Dict } from '../../src/core/dict.ts'
import { Loc } from '../../src/core/loc.ts'
import { BrickBench } from './brick-bench.ts'

const path = process.argv[2]!
const index = {
  'index-base': `${path}/.glusterfs/indices`,
  'xattrop-pending-watchlist': 'trusted.afr.v-',
}
const brick = await BrickBench.make([['features/index', index]], {}, path)
const { stat } = await brick.lookup(brick.root, 'file')
const inode = brick.link(brick.root, 'file', stat)
const one = Buffer.alloc(12)
one.writeInt32BE(1)
for (let count = 1; ; count++) {
  const dict = new Dict().setBytes('trusted.afr.v-client-1', one)
  await brick.ok('xattrop', { loc: Loc.ofInode(inode), op: 0, dict })
  writeSync(1, `${count}\n`)
}
