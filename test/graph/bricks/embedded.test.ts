/** Cluster translators directly on bricks of our own, in one process: no wire, no server. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../../src/core/clock.ts'
import { Fd } from '../../../src/core/fd.ts'
import { CallPool, type Creds, ROOT_CREDS } from '../../../src/core/frame.ts'
import { gfidText, newGfid } from '../../../src/core/gfid.ts'
import { type Inode, InodeTable } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { buildGraph } from '../../../src/graph/build.ts'
import { parseVolfile } from '../../../src/graph/volfile.ts'
import { getXattr } from '../../../src/sys/xattr.ts'
import { registry } from '../../../xlators/registry.ts'
import { BrickBench, brickSkip, gfidReq } from '../../lib/brick-bench.ts'
import { testProcess } from '../../lib/scripted.ts'

function brickText(name: string, path: string): string {
  return `
volume ${name}-posix
  type storage/posix
  option directory ${path}
  option reserve 0
end-volume
volume ${name}-access
  type features/access-control
  subvolumes ${name}-posix
end-volume
volume ${name}-locks
  type features/locks
  subvolumes ${name}-access
end-volume
volume ${name}
  type features/index
  option index-base ${path}/.glusterfs/indices
  option xattrop64-watchlist trusted.ec.dirty
  subvolumes ${name}-locks
end-volume
`
}

/** A client graph whose leaves are whole bricks. */
async function embedded(top: string, paths: readonly string[]): Promise<BrickBench> {
  const bricks = paths.map((path, index) => brickText(`b${index}`, path)).join('')
  const names = paths.map((_, index) => `b${index}`).join(' ')
  const graph = await buildGraph({
    volfile: parseVolfile(`${bricks}volume top\n${top}\nsubvolumes ${names}\nend-volume\n`, 'test'),
    load: async (type) => (await registry[type]?.())?.default,
    id: 0,
    volfileId: 'test',
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: testProcess,
  })
  graph.start()
  const bench = new BrickBench(paths[0]!, graph)
  bench.creds = { ...ROOT_CREDS, pid: 42, lkOwner: Buffer.from('testtest') } satisfies Creds
  return bench
}

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, () => resolve()))

describe('disperse 2+1 on bricks of our own', { skip: brickSkip() }, () => {
  let volume: BrickBench
  let base: string
  let paths: string[]
  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'glusterfs-ts-embedded-'))
    paths = [0, 1, 2].map(() => mkdtempSync(join(base, 'brick-')))
    volume = await embedded('type cluster/disperse\noption redundancy 1', paths)
    await sleep(100)
  })
  after(() => {
    volume.stop()
    rmSync(base, { recursive: true, force: true })
  })

  const indexed = (path: string): string[] =>
    readdirSync(join(path, '.glusterfs/indices/xattrop')).filter((name) => !/^xattrop/.test(name))

  async function quiet(): Promise<void> {
    for (let i = 0; i < 100 && paths.some((path) => indexed(path).length > 0); i++) await sleep(50)
  }

  test('what is written is read; fragments, versions and indices agree', async () => {
    await volume.ok('lookup', { loc: Loc.ofInode(volume.root) })
    const dir = await volume.mkdir(volume.root, 'dir')
    const gfid = newGfid()
    const loc = volume.fresh(dir, 'file')
    const fd = new Fd(loc.inode, 2, 42)
    const made = await volume.ok('create', {
      loc,
      fd,
      flags: 0o102,
      mode: 0o644,
      umask: 0,
      xdata: gfidReq(gfid),
    })
    const file: Inode = volume.graph.inodes.link(loc.inode, dir, 'file', made.stat)!
    volume.graph.inodes.ref(file)
    fd.bind()
    const content = randomBytes(300_001)
    await volume.write(fd, content)
    await volume.write(fd, 'patched', 1234)
    content.write('patched', 1234)
    const rep = await volume.ok('readv', { fd, size: 400_000, offset: 0, flags: 0 })
    assert.ok(Buffer.concat(rep.data).equals(content))
    assert.equal(rep.stat.size, content.length)
    await volume.ok('flush', { fd })
    fd.release()
    await quiet()
    const versions = paths.map((path) =>
      String(getXattr(join(path, 'dir/file'), 'trusted.ec.version')),
    )
    assert.equal(new Set(versions).size, 1)
    for (const path of paths) {
      assert.equal(statSync(join(path, 'dir/file')).size, 150_016)
      const dirty = getXattr(join(path, 'dir/file'), 'trusted.ec.dirty')
      assert.ok(typeof dirty === 'number' || dirty.every((byte) => byte === 0))
      assert.deepEqual(indexed(path), [], path)
    }
  })

  test('an index entry of a brick that died before its mark was made goes with a heal', async () => {
    const dir = volume.graph.inodes.child(volume.root, 'dir')!
    const index = join(paths[0]!, '.glusterfs/indices/xattrop')
    writeFileSync(join(index, gfidText(dir.gfid)), '')
    assert.equal(indexed(paths[0]!).length, 1)
    const loc = Loc.ofName(volume.root, 'dir', dir)
    await volume.ok('getxattr', { loc, name: 'trusted.ec.heal' })
    assert.deepEqual(indexed(paths[0]!), [])
  })

  test('names', async () => {
    const dir = volume.graph.inodes.child(volume.root, 'dir')!
    const file = volume.graph.inodes.child(dir, 'file')!
    const newloc = volume.fresh(volume.root, 'renamed')
    await volume.ok('rename', { oldloc: Loc.ofName(dir, 'file', file), newloc })
    volume.graph.inodes.rename(dir, 'file', volume.root, 'renamed', file)
    const fd = await volume.opendir(volume.root)
    const rep = await volume.ok('readdirp', { fd, size: 65_536, off: 0n })
    const names = rep.entries.map(({ name }) => name).filter((name) => !/^\.\.?$/.test(name))
    assert.deepEqual(names.sort(), ['dir', 'renamed'])
    fd.release()
    const unlink = { loc: Loc.ofName(volume.root, 'renamed', file), flags: 0 }
    await volume.ok('unlink', unlink)
    const rmdir = { loc: Loc.ofName(volume.root, 'dir', dir), flags: 0 }
    await volume.ok('rmdir', rmdir)
    await quiet()
    for (const path of paths) {
      assert.deepEqual(readdirSync(path), ['.glusterfs'])
      assert.deepEqual(indexed(path), [], path)
    }
  })
})
