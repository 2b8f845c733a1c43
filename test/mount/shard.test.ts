/** features.shard: files made, changed and removed here are those a stock mount makes. */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { describe, test } from 'node:test'
import { E } from '../../src/core/errno.ts'
import { enterSandbox, type Mount, run, sleep, Volume } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'
import * as sys from '../lib/syscalls.ts'
import { O } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const BLOCK = 4 << 20
const SET = { 'features.shard': 'on', 'features.shard-block-size': '4MB' }

/** Writes, truncations and reads over several blocks; what the file must then be. */
function edit(path: string, seed: number): Buffer {
  const random = seeded(seed)
  const below = (count: number): number => Math.floor(random() * count)
  let model = Buffer.alloc(0)
  const resize = (size: number): void => {
    const next = Buffer.alloc(size)
    model.copy(next)
    model = next
  }
  const fd = sys.must(sys.open(path, O.O_RDWR | O.O_CREAT, 0o644)) as number
  for (let i = 0; i < 40; i++) {
    const kind = below(10)
    const offset = below(3 * BLOCK)
    if (kind < 6) {
      const data = Buffer.alloc(1 + below(200_000), 1 + i)
      assert.equal(sys.pwrite(fd, data, offset), data.length)
      if (offset + data.length > model.length) resize(offset + data.length)
      data.copy(model, offset)
    } else if (kind < 8) {
      const size = kind === 6 ? offset : offset - (offset % BLOCK)
      assert.equal(sys.ftruncate(fd, size), 0)
      resize(size)
    } else {
      const read = sys.pread(fd, 100_000, offset) as Buffer
      assert.ok(read.equals(model.subarray(offset, offset + 100_000)), `read at ${offset}`)
    }
  }
  sys.must(sys.close(fd))
  return model
}

function same(path: string, model: Buffer): void {
  assert.equal(statSync(path).size, model.length, path)
  assert.ok(readFileSync(path).equals(model), path)
}

/** Changes without chance; both clients must leave the same on the bricks. */
function script(path: string): void {
  const fd = sys.must(sys.open(path, O.O_RDWR | O.O_CREAT, 0o644)) as number
  for (let i = 0; i < 5; i++) sys.must(sys.pwrite(fd, Buffer.alloc(131_072, 7), i * 3_000_000))
  sys.must(sys.ftruncate(fd, 7_000_000))
  sys.must(sys.pwrite(fd, Buffer.alloc(5000, 8), 9_500_001))
  sys.must(sys.ftruncate(fd, 31_000_000))
  sys.must(sys.close(fd))
}

/** The file on the bricks: xattrs of the feature, and its blocks with their sizes and modes. */
async function onBricks({ bricks }: Volume, name: string): Promise<string[]> {
  const found: string[] = []
  for (const brick of bricks) {
    const path = `${brick}/${name}`
    if (!existsSync(path) || (statSync(path).mode & 0o1000) !== 0) continue
    const xattrs = await run([
      'getfattr',
      '-d',
      '-m',
      'trusted.(gfid$|glusterfs.shard)',
      '-e',
      'hex',
      path,
    ])
    const gfid = /trusted.gfid=0x(\w+)/.exec(xattrs.stdout)![1]!
    found.push(
      ...xattrs.stdout.split('\n').filter((line) => line.startsWith('trusted.glusterfs.shard')),
    )
    for (const other of bricks) {
      for (const block of blocksOf(other)) {
        if (block.replaceAll('-', '').split('.')[0] !== gfid) continue
        const stat = statSync(`${other}/.shard/${block}`)
        found.push(`${block.split('.')[1]} ${stat.size} ${stat.mode} ${stat.blocks}`)
      }
    }
  }
  return [...new Set(found)].sort()
}

function blocksOf(brick: string): string[] {
  if (!existsSync(`${brick}/.shard`)) return []
  return readdirSync(`${brick}/.shard`).filter((name) => name !== '.remove_me')
}

/** Until the bricks have that many blocks; a few seconds at most. */
async function blocksLeft(volume: Volume, count: number): Promise<void> {
  const left = (): number => new Set(volume.bricks.flatMap(blocksOf)).size
  for (let i = 0; i < 100 && left() !== count; i++) await sleep(100)
  assert.equal(left(), count)
}

for (const [kind, bricks, layout] of [
  ['distributed', 2, []],
  ['replicated', 3, ['replica', '3']],
] as const) {
  describe(`features.shard, ${kind}`, { skip, timeout: 60_000 }, () => {
    let volume: Volume
    let mount: Mount
    let stock: Mount

    test('what ours writes a stock mount reads, and the reverse', async () => {
      volume = await Volume.create(`shard${bricks}`, { bricks, layout: [...layout], set: SET })
      mount = await volume.mount('ours')
      stock = await volume.mount('stock')
      const model = edit(`${mount.dir}/ours`, bricks)
      same(`${stock.dir}/ours`, model)
      same(`${mount.dir}/ours`, model)
      const data = Buffer.concat([1, 2, 3].map((byte) => Buffer.alloc(BLOCK - 1000, byte)))
      writeFileSync(`${stock.dir}/stock`, data)
      same(`${mount.dir}/stock`, data)
    })

    test('the bricks look as after a stock mount', async () => {
      script(`${mount.dir}/same-ours`)
      script(`${stock.dir}/same-stock`)
      const made = await onBricks(volume, 'same-ours')
      assert.ok(made.length > 3, made.join())
      assert.deepEqual(made, await onBricks(volume, 'same-stock'))
    })

    test('blocks and their xattrs are hidden', () => {
      for (const { dir } of [mount, stock]) {
        assert.ok(!readdirSync(dir).includes('.shard'))
        const at = `${dir}/.shard`
        assert.equal(sys.stat(at), -E.PERM)
        assert.equal(sys.mkdir(at), -E.PERM)
        assert.equal(sys.rmdir(at), -E.PERM)
        assert.equal(sys.rename(`${dir}/ours`, at), -E.PERM)
        const key = 'trusted.glusterfs.shard.file-size'
        assert.equal(sys.getxattr(`${dir}/ours`, key), -E.NODATA)
        assert.equal(sys.setxattr(`${dir}/ours`, key, Buffer.alloc(32)), -E.PERM)
        assert.equal(sys.removexattr(`${dir}/ours`, key), -E.PERM)
      }
    })

    test('blocks go with the last name of a file', async () => {
      const { dir } = mount
      for (const name of readdirSync(dir)) unlinkSync(`${dir}/${name}`)
      await blocksLeft(volume, 0)
      const data = Buffer.alloc(2 * BLOCK + 5, 9)
      writeFileSync(`${dir}/a`, data)
      linkSync(`${dir}/a`, `${dir}/b`)
      unlinkSync(`${dir}/a`)
      same(`${stock.dir}/b`, data)
      await blocksLeft(volume, 2)
      writeFileSync(`${dir}/c`, 'small')
      renameSync(`${dir}/c`, `${dir}/b`)
      assert.equal(readFileSync(`${dir}/b`, 'latin1'), 'small')
      await blocksLeft(volume, 0)
      writeFileSync(`${dir}/d`, data)
      writeFileSync(`${dir}/d`, 'cut at open')
      await blocksLeft(volume, 0)
      same(`${stock.dir}/d`, Buffer.from('cut at open'))
    })

    test('of two mounts that append none overwrites the other', async () => {
      const other = await volume.mount('ours')
      const line = (tag: string, i: number) => `${tag}${i}`.padEnd(299_999, '.')
      for (let i = 0; i < 6; i++) {
        appendFileSync(`${mount.dir}/log`, `${line('a', i)}\n`)
        appendFileSync(`${other.dir}/log`, `${line('b', i)}\n`)
      }
      const log = readFileSync(`${mount.dir}/log`, 'latin1').split('\n')
      assert.equal(log.length, 13)
      for (const tag of ['a', 'b']) {
        for (let i = 0; i < 6; i++) assert.ok(log.includes(line(tag, i)), `${tag}${i}`)
      }
      for (const one of [mount, stock, other]) await one.unmount()
      await volume.killBricks()
    })
  })
}
