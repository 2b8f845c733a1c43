/** One directory, two servers: what stock bricks wrote ours serves, and the reverse. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Dict } from '../../src/core/dict.ts'
import { type Gfid, gfidText, newGfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { isDir, isLnk, isReg } from '../../src/core/iatt.ts'
import type { Inode } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import { getXattr, setXattr } from '../../src/sys/xattr.ts'
import { BrickBench, gfidReq } from '../lib/brick-bench.ts'
import { enterSandbox, gluster, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

/** What a user sees of one name. */
interface Seen {
  mode: number
  nlink: number
  uid: number
  gid: number
  content: string
  xattr: string
  mtime: number
}

const XATTR = 'user.note'
/** Paths are latin1 strings, one character per byte. */
const bytes = (path: string): Buffer => Buffer.from(path, 'latin1')
const hex = (bytes: Buffer | number): string =>
  typeof bytes === 'number' ? '' : bytes.toString('hex')

function seenByMount(path: string): Seen {
  const { mode, nlink, uid, gid, mtimeMs } = lstatSync(bytes(path))
  const type = mode & 0o170000
  const content =
    type === 0o100000
      ? readFileSync(bytes(path), 'hex')
      : type === 0o120000
        ? readlinkSync(bytes(path), 'latin1')
        : type === 0o40000
          ? readdirSync(bytes(path), 'latin1').sort().join(' ')
          : ''
  const xattr = type === 0o120000 ? '' : hex(getXattr(path, XATTR))
  return { mode, nlink, uid, gid, content, xattr, mtime: Math.floor(mtimeMs / 1000) }
}

/** The same through our translators. */
async function seenByOurs(brick: BrickBench, inode: Inode): Promise<Seen> {
  const loc = Loc.ofInode(inode)
  const { stat } = await brick.ok('stat', { loc })
  let content = ''
  if (isReg(stat)) {
    const fd = await brick.open(inode, 0)
    content = Buffer.from(
      stat.size === 0 ? '' : await brick.read(fd, stat.size),
      'latin1',
    ).toString('hex')
    fd.release()
  } else if (isLnk(stat)) {
    content = (await brick.ok('readlink', { loc, size: 4096 })).path
  } else if (isDir(stat)) {
    content = (await names(brick, inode)).sort().join(' ')
  }
  const got = isLnk(stat) ? undefined : await brick.run('getxattr', { loc, name: XATTR })
  const xattr = got?.errno === 0 ? hex(got.dict.getBytes(XATTR)!) : ''
  const { mode, nlink, uid, gid, mtime } = stat
  return { mode, nlink: isDir(stat) ? 0 : nlink, uid, gid, content, xattr, mtime }
}

async function names(brick: BrickBench, inode: Inode): Promise<string[]> {
  const fd = await brick.opendir(inode)
  const rep = await brick.ok('readdir', { fd, size: 1 << 20, off: 0n })
  fd.release()
  assert.ok(rep.eof)
  return rep.entries.map((entry) => entry.name).filter((name) => !/^\.\.?$|^\.trashcan$/.test(name))
}

/** Every object by path, and again by gfid alone. */
async function walkOurs(brick: BrickBench, into: Map<string, Seen>, gfids: Map<string, Gfid>) {
  const visit = async (inode: Inode, path: string): Promise<void> => {
    into.set(path, await seenByOurs(brick, inode))
    gfids.set(path, inode.gfid)
    const byGfid = await brick.ok('lookup', { loc: Loc.ofGfid(brick.graph.inodes, inode.gfid) })
    assert.equal(byGfid.stat.gfid, inode.gfid)
    if (!isDir(byGfid.stat)) return
    for (const name of await names(brick, inode)) {
      const { stat } = await brick.lookup(inode, name)
      await visit(brick.link(inode, name, stat), join(path, name))
    }
  }
  await visit(brick.root, '/')
}

function walkMount(dir: string): Map<string, Seen> {
  const seen = new Map<string, Seen>()
  const visit = (path: string): void => {
    const found = seenByMount(join(dir, path))
    if (path === '/') found.content = found.content.replace(/ ?\.trashcan/, '').trim()
    const isDirectory = (found.mode & 0o170000) === 0o40000
    seen.set(path, isDirectory ? { ...found, nlink: 0 } : found)
    if (!isDirectory) return
    for (const name of readdirSync(bytes(join(dir, path)), 'latin1')) {
      if (name !== '.trashcan') visit(join(path, name))
    }
  }
  visit('/')
  return seen
}

/** A tree of every kind of object, deeper than symlinks can be followed. */
function plant(dir: string): void {
  mkdirSync(join(dir, 'a/b/c'), { recursive: true })
  writeFileSync(join(dir, 'a/file'), 'text')
  setXattr(join(dir, 'a/file'), XATTR, Buffer.from('hello'), 0)
  linkSync(join(dir, 'a/file'), join(dir, 'a/b/hard'))
  symlinkSync('../file', join(dir, 'a/b/link'))
  writeFileSync(join(dir, 'a/b/c/random'), randomBytes(300_000))
  writeFileSync(join(dir, 'sparse'), 'x')
  truncateSync(join(dir, 'sparse'), 5_000_000)
  execFileSync('mkfifo', ['-m', '640', join(dir, 'fifo')])
  execFileSync('mknod', ['-m', '600', join(dir, 'device'), 'c', '1', '3'])
  const name = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe, 0x41])])
  const fd = openSync(name, 'w')
  writeSync(fd, 'not UTF-8')
  closeSync(fd)
  renameSync(join(dir, 'a/b'), join(dir, 'moved'))
  mkdirSync(join(dir, 'deep'))
  mkdirSync(join(dir, 'deep', ...Array.from({ length: 60 }, (_, i) => `d${i}`)), {
    recursive: true,
  })
}

describe('one directory, two servers', { skip }, () => {
  test('stock writes, we read and write, stock reads', async () => {
    const volume = await Volume.create('swap', { bricks: 1 })
    let mount = await volume.mount('stock')
    plant(mount.dir)
    const before = walkMount(mount.dir)
    assert.ok(before.size > 70)
    await mount.unmount()
    await gluster('volume', 'stop', 'swap')

    const volumeId = gfidText(
      hexGfid(hex(getXattr(volume.bricks[0]!, 'trusted.glusterfs.volume-id'))),
    )
    const brick = await BrickBench.make([], { 'volume-id': volumeId }, volume.bricks[0]!)
    const gfids = new Map<string, Gfid>()
    const ours = new Map<string, Seen>()
    await walkOurs(brick, ours, gfids)
    assert.deepEqual(sorted(ours), sorted(before))

    await writeMore(brick)
    const after = new Map<string, Seen>()
    await walkOurs(brick, after, gfids)
    brick.stop()

    await gluster('volume', 'start', 'swap')
    mount = await volume.mount('stock')
    assert.deepEqual(sorted(walkMount(mount.dir)), sorted(after))
    for (const [path, gfid] of gfids) {
      if (path !== '/' && !existsSync(bytes(join(mount.dir, path)))) continue
      if (after.get(path) === undefined || isSymlink(after.get(path)!)) continue
      const found = getXattr(join(mount.dir, path), 'glusterfs.gfid.string')
      const text = typeof found === 'number' ? '' : found.latin1Slice().replace(/\0$/, '')
      assert.equal(text, gfidText(gfid), path)
    }
    writeFileSync(join(mount.dir, 'ours/new'), 'by stock again')
    await mount.unmount()
    await volume.killBricks()
  })

  test('a brick of another volume is refused', async () => {
    const volume = await Volume.create('other', { bricks: 1 })
    await volume.killBricks()
    const wrong = gfidText(newGfid())
    const options = { 'volume-id': wrong }
    await assert.rejects(BrickBench.make([], options, volume.bricks[0]!), /another volume/)
  })
})

const isSymlink = (seen: Seen): boolean => (seen.mode & 0o170000) === 0o120000
const hexGfid = (text: string): Gfid => Buffer.from(text, 'hex').latin1Slice() as Gfid

function sorted(seen: ReadonlyMap<string, Seen>): unknown {
  const plain: Record<string, Seen> = {}
  for (const [path, value] of [...seen].sort(([a], [b]) => (a < b ? -1 : 1))) {
    plain[path] = value
  }
  return plain
}

/** Changes of every kind by our translators. */
async function writeMore(brick: BrickBench): Promise<void> {
  const root = brick.root
  const ours = await brick.mkdir(root, 'ours', newGfid(), {
    xdata: gfidReq(newGfid()).setBytes(
      'trusted.glusterfs.dht',
      Buffer.from('000000000000000000000000ffffffff', 'hex'),
    ),
  })
  const fd = await brick.create(ours, 'new')
  await brick.write(fd, randomBytes(200_000))
  await brick.write(fd, 'tail', 200_000)
  const dict = new Dict().setBytes(XATTR, Buffer.from('by us'))
  await brick.ok('fsetxattr', { fd, dict, flags: 0 })
  fd.release()
  const a = brick.graph.inodes.child(root, 'a')!
  const moved = brick.graph.inodes.child(root, 'moved')!
  const file = brick.graph.inodes.child(a, 'file')!
  await brick.ok('link', { oldloc: Loc.ofInode(file), newloc: brick.fresh(ours, 'third') })
  const rename = async (from: Inode, name: string, to: Inode, newName: string): Promise<void> => {
    const inode = brick.graph.inodes.child(from, name)!
    const oldloc = Loc.ofName(from, name, inode)
    await brick.ok('rename', { oldloc, newloc: brick.fresh(to, newName) })
    brick.graph.inodes.rename(from, name, to, newName, inode)
  }
  await rename(root, 'moved', ours, 'moved again')
  await rename(root, 'sparse', ours, 'sparse')
  const unlink = { loc: brick.at(moved, 'hard'), flags: 0 }
  await brick.ok('unlink', unlink)
  brick.graph.inodes.unlinkName(moved, 'hard')
  assert.equal(brick.root.gfid, ROOT_GFID)
}
