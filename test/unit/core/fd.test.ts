import assert from 'node:assert/strict'
import test from 'node:test'
import { Fd } from '../../../src/core/fd.ts'
import { InodeTable } from '../../../src/core/inode.ts'

test('a held fd is released when the last hold is dropped', () => {
  const fd = new Fd(new InodeTable().newInode(), 2, 1).bind()
  fd.hold()
  fd.hold()
  fd.release()
  fd.release()
  assert.equal(fd.released, false)
  fd.drop()
  assert.equal(fd.released, false)
  fd.drop()
  assert.equal(fd.released, true)
  assert.equal(fd.inode.fds.size, 0)
  assert.throws(() => fd.hold())
})
