/** features/access-control over a brick: modes, groups, ACLs, sticky directories, the umask. */
import assert from 'node:assert/strict'
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import { type Creds, ROOT_CREDS } from '../../../src/core/frame.ts'
import { newGfid } from '../../../src/core/gfid.ts'
import { Iatt, SET_ATTR_GID, SET_ATTR_MODE, SET_ATTR_UID } from '../../../src/core/iatt.ts'
import { Loc } from '../../../src/core/loc.ts'
import { getXattr, setXattr } from '../../../src/sys/xattr.ts'
import { parseAcl, permits } from '../../../xlators/features/access-control/permission.ts'
import { BrickBench, brickSkip, gfidReq } from '../../lib/brick-bench.ts'

const user = (uid: number, groups: number[] = [], pid = 300): Creds => ({
  ...ROOT_CREDS,
  uid,
  gid: uid,
  groups,
  pid,
})

/** Entries [tag, permissions, id] as linux/posix_acl_xattr.h has them. */
function acl(...entries: [number, number, number][]): Buffer {
  const bytes = Buffer.alloc(4 + 8 * entries.length)
  bytes.writeUInt32LE(2)
  for (const [index, [tag, perm, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * index)
    bytes.writeUInt16LE(perm, 6 + 8 * index)
    bytes.writeUInt32LE(id, 8 + 8 * index)
  }
  return bytes
}

test('the mask limits named users and groups, not the owner', () => {
  const list = parseAcl(
    acl([1, 7, 0], [2, 7, 1000], [4, 7, 0], [8, 6, 50], [0x10, 4, 0], [0x20, 1, 0]),
  )
  const stat = Object.assign(new Iatt(), { uid: 1, gid: 2, mode: 0o100741 })
  assert.ok(permits(user(1), stat, list, 7))
  assert.ok(permits(user(1000), stat, list, 4))
  assert.ok(!permits(user(1000), stat, list, 2))
  assert.ok(permits(user(9, [50]), stat, list, 4))
  assert.ok(!permits(user(9, [50]), stat, list, 1), 'a matching group ends the search')
  assert.ok(permits(user(9), stat, list, 1))
  assert.equal(parseAcl(Buffer.from('nonsense')), undefined)
})

describe('access control', { skip: brickSkip() }, () => {
  let brick: BrickBench
  before(async () => {
    brick = await BrickBench.make([['features/access-control']])
  })
  after(() => brick.destroy())

  const mode = (path: string): string =>
    (lstatSync(join(brick.path, path)).mode & 0o7777).toString(8)

  const mkdirReq = (loc: Loc, more = {}) => ({
    loc,
    mode: 0o755,
    umask: 0,
    xdata: gfidReq(newGfid()),
    ...more,
  })

  test('modes that a stock brick leaves on disk', async () => {
    await brick.mkdir(brick.root, 'm1', newGfid(), { mode: 0o777, umask: 0o22 })
    assert.equal(mode('m1'), '755')
    await brick.mknod(brick.root, 'm2', newGfid(), { mode: 0o100666, umask: 0o27 })
    assert.equal(mode('m2'), '640')
    const dir = await brick.mkdir(brick.root, 'm3')
    const stat = Object.assign(new Iatt(), { gid: 1234, mode: 0o2775 })
    const valid = SET_ATTR_GID | SET_ATTR_MODE
    await brick.ok('setattr', { loc: Loc.ofInode(dir), stat, valid })
    await brick.mkdir(dir, 'sub', newGfid(), { mode: 0o777, umask: 0o22 })
    assert.equal(mode('m3/sub'), '2755')
    const file = await brick.mknod(dir, 'file')
    const found = await brick.ok('stat', { loc: Loc.ofInode(file) })
    assert.equal(found.stat.gid, 1234)
    const xdata = gfidReq(newGfid()).setInt('umask', 0o77).setInt('mode', 0o40750)
    await brick.ok('mkdir', mkdirReq(brick.fresh(brick.root, 'm4'), { xdata }))
    assert.equal(mode('m4'), '700')
  })

  test('errors of a stock brick for those who are not root', async () => {
    const req = () => mkdirReq(brick.fresh(brick.root, `u${newGfid().charCodeAt(0)}x`))
    assert.equal(await brick.errno('mkdir', req(), user(1000)), E.ACCES)
    const made = brick.fresh(brick.root, 'internal')
    const rep = await brick.ok('mkdir', mkdirReq(made), user(1000, [], -6))
    assert.equal(rep.stat.uid, 1000)
    const sticky = await brick.mkdir(brick.root, 'tmp', newGfid(), { mode: 0o1777 })
    const theirs = await brick.mknod(sticky, 'root-file')
    const loc = Loc.ofName(sticky, 'root-file', theirs)
    assert.equal(await brick.errno('unlink', { loc, flags: 0 }, user(1000)), E.ACCES)
    const fd = new Fd(theirs, 2, 1)
    const open = { loc: Loc.ofInode(theirs), fd, flags: 2 }
    assert.equal(await brick.errno('open', open, user(1000)), E.ACCES)
    assert.equal(await brick.errno('open', { ...open, flags: 0 }, user(1000)), 0)
    fd.release()
    const link = await brick.ok(
      'symlink',
      { loc: brick.fresh(sticky, 'mine'), linkpath: 'x', umask: 0, xdata: gfidReq(newGfid()) },
      user(1000),
    )
    assert.deepEqual([link.stat.uid, link.stat.gid], [1000, 1000])
    brick.link(sticky, 'mine', link.stat)
    const mine = { loc: brick.at(sticky, 'mine'), flags: 0 }
    assert.equal(await brick.errno('unlink', mine, user(1000)), 0)
  })

  test('setattr, xattrs and access', async () => {
    const file = await brick.mknod(brick.root, 'f')
    const loc = Loc.ofInode(file)
    const stat = Object.assign(new Iatt(), { uid: 1000, gid: 1000, mode: 0o600 })
    const set = (valid: number, creds: Creds) => brick.errno('setattr', { loc, stat, valid }, creds)
    assert.equal(await set(SET_ATTR_MODE, user(1000)), E.PERM)
    assert.equal(await set(SET_ATTR_UID, user(1000)), E.PERM)
    assert.equal(await set(SET_ATTR_UID, ROOT_CREDS), 0)
    assert.equal(await set(SET_ATTR_MODE, user(1000)), 0)
    assert.equal(await set(SET_ATTR_GID, user(1000)), 0)
    const foreign = { loc, stat: Object.assign(new Iatt(), { gid: 77 }), valid: SET_ATTR_GID }
    assert.equal(await brick.errno('setattr', foreign, user(1000)), E.PERM)
    assert.equal(await brick.errno('setattr', foreign, user(1000, [77])), 0)
    const dict = new Dict().setBytes('user.k', Buffer.from('v'))
    assert.equal(await brick.errno('setxattr', { loc, dict, flags: 0 }, user(1001)), E.ACCES)
    assert.equal(await brick.errno('setxattr', { loc, dict, flags: 0 }, user(1000)), 0)
    assert.equal(await brick.errno('access', { loc, mask: 4 }, user(1001)), E.ACCES)
    assert.equal(await brick.errno('access', { loc, mask: 6 }, user(1000)), 0)
  })

  test('a default ACL is inherited and overrides the umask', async () => {
    const dir = await brick.mkdir(brick.root, 'acl')
    const value = acl(
      [1, 7, 0xffffffff],
      [2, 7, 1000],
      [4, 5, 0xffffffff],
      [0x10, 7, 0xffffffff],
      [0x20, 0, 0xffffffff],
    )
    if (setXattr(join(brick.path, 'acl'), 'system.posix_acl_default', value, 0) < 0) return
    await brick.mkdir(dir, 'sub', newGfid(), { mode: 0o777, umask: 0o77 })
    assert.equal(mode('acl/sub'), '770')
    const inherited = getXattr(join(brick.path, 'acl/sub'), 'system.posix_acl_default')
    assert.deepEqual(inherited, value)
    const sub = brick.graph.inodes.child(dir, 'sub')!
    const req = mkdirReq(brick.fresh(sub, 'by-user'))
    assert.equal(await brick.errno('mkdir', req, user(1001)), E.ACCES)
    assert.equal(await brick.errno('mkdir', req, user(1000)), 0)
  })
})
