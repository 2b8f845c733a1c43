import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { newGfid, ROOT_GFID } from '../../../src/core/gfid.ts'
import { Iatt, S_IFDIR, S_IFREG } from '../../../src/core/iatt.ts'
import { type Inode, InodeTable, inodePath } from '../../../src/core/inode.ts'

function stat(type: number, gfid = newGfid()): Iatt {
  const iatt = new Iatt()
  iatt.gfid = gfid
  iatt.mode = type | 0o755
  return iatt
}

/** The object is known under (parent, name), and the kernel has been told of it. */
function enter(table: InodeTable, parent: Inode, name: string, type: number): Inode {
  const inode = table.link(table.newInode(), parent, name, stat(type))!
  table.countLookup(inode)
  return inode
}

describe('inode table', () => {
  test('the root is there from the start and never goes', () => {
    const table = new InodeTable()
    assert.equal(table.byNodeid(1), table.root)
    assert.equal(table.byGfid(ROOT_GFID), table.root)
    table.forget(table.root, 5)
    assert.equal(table.byNodeid(1), table.root)
    assert.equal(inodePath(table.root), '/')
  })

  test('one inode a gfid, whatever names and lookups bring', () => {
    const table = new InodeTable()
    const one = enter(table, table.root, 'a', S_IFREG)
    const again = table.link(table.newInode(), table.root, 'b', stat(S_IFREG, one.gfid))
    assert.equal(again, one)
    assert.deepEqual(
      one.dentries.map(({ name }) => name),
      ['a', 'b'],
    )
    assert.equal(table.findOrNew(one.gfid, S_IFREG), one)
  })

  test('a known gfid with another file type is not believed', () => {
    const table = new InodeTable()
    const file = enter(table, table.root, 'a', S_IFREG)
    assert.equal(table.link(table.newInode(), table.root, 'a', stat(S_IFDIR, file.gfid)), undefined)
  })

  test('a name that means something else now is moved to it', () => {
    const table = new InodeTable()
    const old = enter(table, table.root, 'a', S_IFREG)
    const now = enter(table, table.root, 'a', S_IFREG)
    assert.equal(table.child(table.root, 'a'), now)
    assert.equal(old.dentries.length, 0)
    assert.equal(table.byGfid(old.gfid), old, 'the kernel still knows it')
  })

  test('a directory has one name', () => {
    const table = new InodeTable()
    const dir = enter(table, table.root, 'a', S_IFDIR)
    const other = enter(table, table.root, 'other', S_IFDIR)
    table.link(dir, other, 'moved', stat(S_IFDIR, dir.gfid))
    assert.equal(table.child(table.root, 'a'), undefined)
    assert.equal(inodePath(dir), '/other/moved')
  })

  test('a directory never comes to lie below itself', () => {
    const table = new InodeTable()
    const dir = enter(table, table.root, 'a', S_IFDIR)
    const below = enter(table, dir, 'b', S_IFDIR)
    table.link(dir, below, 'loop', stat(S_IFDIR, dir.gfid))
    assert.equal(table.child(below, 'loop'), undefined)
    assert.match(inodePath(below), /b$/)
  })

  test('rename moves the name', () => {
    const table = new InodeTable()
    const dir = enter(table, table.root, 'd', S_IFDIR)
    const file = enter(table, table.root, 'a', S_IFREG)
    const target = enter(table, dir, 'b', S_IFREG)
    table.rename(table.root, 'a', dir, 'b', file)
    assert.equal(table.child(table.root, 'a'), undefined)
    assert.equal(table.child(dir, 'b'), file)
    assert.equal(target.dentries.length, 0)
    table.rename(dir, 'b', dir, 'b', file)
    assert.equal(table.child(dir, 'b'), file)
  })

  test('an inode goes when the kernel forgot it and nobody uses it', () => {
    const table = new InodeTable()
    const file = enter(table, table.root, 'a', S_IFREG)
    table.countLookup(file)
    const { nodeid } = file
    table.forget(file, 1)
    assert.equal(table.byNodeid(nodeid), file)
    table.ref(file)
    table.forget(file, 1)
    assert.equal(table.byNodeid(nodeid), file, 'a fop is under way')
    table.unref(file)
    assert.equal(table.byNodeid(nodeid), undefined)
    assert.equal(table.byGfid(file.gfid), undefined)
    assert.equal(table.child(table.root, 'a'), undefined)
  })

  test('a directory stays for its children and goes with the last', () => {
    const table = new InodeTable()
    const dir = enter(table, table.root, 'd', S_IFDIR)
    const file = enter(table, dir, 'a', S_IFREG)
    table.forget(dir, 1)
    assert.equal(inodePath(file), '/d/a')
    table.forget(file, 1)
    assert.equal(table.byGfid(dir.gfid), undefined)
    assert.equal(table.size, 1)
  })

  test('an unlinked file the kernel knows keeps its node id', () => {
    const table = new InodeTable()
    const file = enter(table, table.root, 'a', S_IFREG)
    table.unlinkName(table.root, 'a')
    assert.equal(table.byNodeid(file.nodeid), file)
    assert.match(inodePath(file), /^<gfid:[0-9a-f-]{36}>$/)
    table.unlinkName(table.root, 'a')
  })

  test('more forgets than lookups do no harm', () => {
    const table = new InodeTable()
    const file = enter(table, table.root, 'a', S_IFREG)
    table.forget(file, 1000)
    assert.equal(file.nlookup, 0)
  })

  test('thousands come and go without a trace', () => {
    const table = new InodeTable()
    const dir = enter(table, table.root, 'd', S_IFDIR)
    const all = Array.from({ length: 5000 }, (_, i) => enter(table, dir, `f${i}`, S_IFREG))
    assert.equal(table.size, 5002)
    for (const inode of all) table.forget(inode, 1)
    assert.equal(table.size, 2)
    assert.equal(dir.children!.size, 0)
  })
})
