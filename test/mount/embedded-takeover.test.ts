/**
 * The same bricks served by our servers and by stock's in turn: what either wrote, with attributes,
 * xattrs and gfids, is what the other shows; on every kind of volume.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Shape } from '../../src/server/volume.ts'
import { Embedded } from '../lib/embedded.ts'
import {
  enterSandbox,
  gluster,
  type Mount,
  projectRoot,
  run,
  space,
  Volume,
} from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'
import type { Value } from './matrix/case.ts'
import { walk } from './matrix/tree.ts'

const skip = await enterSandbox(import.meta.url)

/** Cases of the matrix that leave something of every kind behind. */
const cases = [
  ['rename', 'holes', 'xattr-sizes', 'acls', 'edits', 'times'],
  ['rename-links', 'setgid', 'symlinks', 'special', 'owners', 'allocation'],
]
const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix(what: string, ...args: string[]): Promise<Record<string, Value>> {
  const result = await run([process.execPath, program, what, ...args], { timeoutMs: 120_000 })
  return JSON.parse(result.stdout) as Record<string, Value>
}

/** All a user sees, and every gfid. */
async function seen({ dir }: Mount): Promise<Record<string, Value>> {
  const tree = await matrix('tree', dir)
  walk(dir, (path) => {
    const node = tree[path]
    if (typeof node !== 'object' || node === null || Array.isArray(node)) return
    // Blocks are the file system's affair, and change with the next write-back.
    delete node.blocks
    if (node.type === 'symlink') return
    const gfid = sys.getxattr({ link: `${dir}${path}` }, 'glusterfs.gfid.string')
    node.gfid = typeof gfid === 'number' ? gfid : gfid.latin1Slice().replace(/\0$/, '')
  })
  delete tree['/.trashcan']
  delete tree['/.trashcan/internal_op']
  return tree
}

/** EMBEDDED_SHAPES=all runs every one (`npm run soak -- embedded-takeover`). */
const wanted = process.env.EMBEDDED_SHAPES?.split(',') ?? ['dispersed']
const shapes: [name: string, bricks: number, layout: string[], shape: Shape][] = [
  ['distributed', 2, [], {}],
  ['dispersed', 6, ['disperse', '6', 'redundancy', '2'], { disperse: { data: 4, redundancy: 2 } }],
  ['replicated', 3, ['replica', '3'], { replica: { count: 3, arbiter: 0 } }],
  ['arbiter', 3, ['replica', '3', 'arbiter', '1'], { replica: { count: 3, arbiter: 1 } }],
]

describe('our servers, stock servers, and back', { skip, timeout: 1_200_000 }, () => {
  for (const [name, bricks, layout, shape] of shapes) {
    test(name, {
      skip: !wanted.includes(name) && wanted[0] !== 'all' && 'see npm run soak',
    }, async () => {
      const volume = await Volume.create('vol', { bricks, layout })
      await gluster('volume', 'stop', 'vol')
      const info = await gluster('volume', 'info', 'vol')
      const id = /Volume ID: (\S+)/.exec(info)![1]!

      const withOurs = async <T>(use: (mount: Mount) => Promise<T>): Promise<T> => {
        const embedded = new Embedded(0, space('embedded'))
        await embedded.serve(id, volume.bricks, shape)
        const mount = await embedded.mountMore('ours')
        const result = await use(mount)
        await mount.unmount()
        await embedded.end()
        return result
      }
      const withStock = async <T>(use: (mount: Mount) => Promise<T>): Promise<T> => {
        await gluster('volume', 'start', 'vol')
        const mount = await volume.mount('stock')
        const result = await use(mount)
        await mount.unmount()
        await gluster('volume', 'stop', 'vol')
        return result
      }

      const written = await withOurs(async (mount) => {
        await matrix('matrix', mount.dir, ...cases[0]!)
        return seen(mount)
      })
      assert.ok(Object.keys(written).length > 10, Object.keys(written).join())
      const changed = await withStock(async (mount) => {
        assert.deepEqual(await seen(mount), written, 'stock shows what was written through ours')
        await matrix('matrix', mount.dir, ...cases[1]!)
        return seen(mount)
      })
      assert.ok(Object.keys(changed).length > Object.keys(written).length + 5)
      await withOurs(async (mount) => {
        assert.deepEqual(await seen(mount), changed, 'ours shows what was written through stock')
        for (const path of Object.keys(changed)) assert.ok(path.startsWith('/'))
        await run(['rm', '-rf', ...cases[0]!.map((one) => join(mount.dir, one))])
      })
      await withStock(async (mount) => {
        const left = await seen(mount)
        const kept = Object.entries(changed).filter(([path]) =>
          cases[1]!.includes(path.split('/')[1]!),
        )
        assert.deepEqual(Object.keys(left).sort(), kept.map(([path]) => path).sort())
      })
      await gluster('volume', 'delete', 'vol')
      await run(['rm', '-rf', ...volume.bricks])
    })
  }
})
