/** features/arbiter: names and counters, no data. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { E } from '../../../src/core/errno.ts'
import { Loc } from '../../../src/core/loc.ts'
import { BrickBench, brickSkip } from '../../lib/brick-bench.ts'

test('data fops succeed and leave nothing', { skip: brickSkip() }, async () => {
  const brick = await BrickBench.make([['features/arbiter']])
  const fd = await brick.create(brick.root, 'file')
  const rep = await brick.write(fd, 'x'.repeat(1000))
  assert.deepEqual([rep.size, rep.poststat.size], [1000, 0])
  for (const fop of ['discard', 'zerofill'] as const) {
    await brick.ok(fop, { fd, offset: 0, len: 100 })
  }
  await brick.ok('fallocate', { fd, mode: 0, offset: 0, len: 4096 })
  await brick.ok('ftruncate', { fd, offset: 5000 })
  await brick.ok('truncate', { loc: Loc.ofInode(fd.inode), offset: 5000 })
  assert.equal(await brick.errno('readv', { fd, size: 1, offset: 0, flags: 0 }), E.NOSYS)
  assert.equal(await brick.errno('seek', { fd, offset: 0, what: 0 }), E.NOSYS)
  assert.equal(statSync(join(brick.path, 'file')).size, 0)
  fd.release()
  brick.destroy()
})
