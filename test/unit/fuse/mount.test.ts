import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findMount, mountFlags } from '../../../src/fuse/mount.ts'

describe('mount options', () => {
  test('words become flags, the rest goes to the driver', () => {
    assert.deepEqual(mountFlags('nosuid,nodev,noatime,context="x"', false), {
      flags: 2 | 4 | 1024,
      data: ['context="x"'],
      autoUnmount: false,
    })
  })

  test('a later word wins over an earlier one, read-only over all', () => {
    assert.equal(mountFlags('nosuid,suid', false).flags, 0)
    assert.equal(mountFlags('rw', true).flags, 1)
  })

  test('auto_unmount is ours', () => {
    assert.deepEqual(mountFlags('auto_unmount', false), { flags: 0, data: [], autoUnmount: true })
    assert.deepEqual(mountFlags(undefined, false), { flags: 0, data: [], autoUnmount: false })
  })

  test('mounts are found', () => {
    assert.match(findMount('/proc')?.device ?? '', /^\d+:\d+$/)
    assert.equal(findMount('/proc')?.type, 'proc')
    assert.equal(findMount('/nothing/here'), undefined)
  })
})
