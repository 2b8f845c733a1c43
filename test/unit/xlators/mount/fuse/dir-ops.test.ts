import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fd } from '../../../../../src/core/fd.ts'
import type { DirEntry } from '../../../../../src/core/fop.ts'
import { InodeTable } from '../../../../../src/core/inode.ts'
import type { FuseRequest } from '../../../../../src/fuse/request.ts'
import { DirOps } from '../../../../../xlators/mount/fuse/dir-ops.ts'
import { OpenFiles } from '../../../../../xlators/mount/fuse/files.ts'
import type { FuseBridge } from '../../../../../xlators/mount/fuse/index.ts'

/** A directory of so many names, all in one reply unless the kernel's buffer is small. */
function directory(names: string[]) {
  const table = new InodeTable()
  const files = new OpenFiles(table)
  const file = files.add(new Fd(table.root, 0, 1))
  const options = { 'use-readdirp': true, 'lru-limit': 0 }
  const device = { style: { ino32: false } }
  const bridge = { files, table, options, device, hold: () => {} } as unknown as FuseBridge
  const ops = new DirOps(bridge)
  let asked = 0
  const wind = (_xl: unknown, _fop: string, req: { off: bigint }) => {
    asked++
    const from = Number(req.off)
    const entries = names
      .slice(from)
      .map(
        (name, i): DirEntry => ({ name, inoHi: 0, inoLo: 1, off: BigInt(from + i + 1), type: 8 }),
      )
    return { errno: 0, entries, eof: true }
  }
  const top = { type: 'test', children: [], graph: { xlators: [] } }
  /** The size of the answer and how often the bricks were asked. */
  const read = async (cookie: bigint, size = 4096): Promise<[number, number]> => {
    asked = 0
    let used = -1
    const request = {
      frame: { wind },
      top,
      data: (_data: Buffer[], bytes: number) => {
        used = bytes
        return true
      },
    } as unknown as FuseRequest
    await ops.readdir(request, { fh: file.fh, cookie, size })
    return [used, asked]
  }
  return { names, read }
}

/** struct fuse_dirent with a short name. */
const RECORD = 32

test('the end of a listing, once the bricks have said so, costs no request', async () => {
  const { read, names } = directory(['a', 'b', 'c'])
  assert.deepEqual(await read(0n), [3 * RECORD, 1])
  assert.deepEqual(await read(3n), [0, 0])
  // It stays ended, though a name has come; from anywhere else the bricks are asked.
  names.push('d')
  assert.deepEqual(await read(3n), [0, 0])
  assert.deepEqual(await read(2n), [2 * RECORD, 1])
  assert.deepEqual(await read(4n), [0, 0])
  assert.deepEqual(await read(0n), [4 * RECORD, 1])
  assert.deepEqual(await read(4n), [0, 0])
})

test('entries that did not fit come before the end', async () => {
  const { read } = directory(['a', 'b', 'c'])
  assert.deepEqual(await read(0n, 2 * RECORD), [2 * RECORD, 1])
  assert.deepEqual(await read(2n, 2 * RECORD), [RECORD, 0])
  assert.deepEqual(await read(3n, 2 * RECORD), [0, 0])
})

test('an empty answer is no cookie to remember', async () => {
  const { read, names } = directory([])
  assert.deepEqual(await read(0n), [0, 1])
  names.push('a')
  assert.deepEqual(await read(0n), [RECORD, 1])
})
