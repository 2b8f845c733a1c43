/** Our brick against a stock brick: entries, attributes, xattrs, and what is left on disk. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../src/core/dict.ts'
import { type Gfid, newGfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { Iatt } from '../../src/core/iatt.ts'
import { getXattr } from '../../src/sys/xattr.ts'
import { enterSandbox } from '../lib/sandbox.ts'
import { type Compare, normal, treeOf } from '../lib/twin.ts'
import { CREATES, gfidName, gfidReq, RELINKS, stamped, Twins, user } from '../lib/twin-bricks.ts'

const skip = await enterSandbox(import.meta.url)

describe('twin bricks: entries and attributes', { skip }, () => {
  let twins: Twins
  const dir = newGfid()
  const file = newGfid()
  before(async () => {
    twins = await Twins.start('twin')
  })
  after(() => twins?.stop())

  const both: Twins['both'] = (...words) => twins.both(...words)

  test('lookup of the root, with everything a client asks for', async () => {
    const xdata = () =>
      new Dict()
        .setInt('trusted.glusterfs.dht', 0)
        .setStr('link-count', 'glusterfs.xattrop_index_count')
        .setInt('glusterfs.inodelk-count', 0)
        .setInt('glusterfs.entrylk-count', 0)
        .setInt('glusterfs.open-fd-count', 0)
        .setInt('list-xattr', 1)
    await both(
      'root',
      0,
      (side) => side.call('lookup', { loc: side.loc(ROOT_GFID), xdata: xdata() }),
      { ignore: ['trusted.glusterfs.mdata'] },
    )
  })

  test('entries', async () => {
    // The roots were made at different times.
    await twins.mkdir(ROOT_GFID, 'first', newGfid(), 0, false)
    await twins.mkdir(ROOT_GFID, 'dir', dir)
    await twins.mkdir(ROOT_GFID, 'dir', newGfid(), 17)
    await twins.mknod(dir, 'file', file)
    await twins.mknod(dir, 'file', newGfid(), 0o100644, 17)
    await twins.mknod(dir, 'fifo', newGfid(), 0o010600)
    const planted = gfidReq(newGfid())
      .setBytes('trusted.glusterfs.dht', Buffer.alloc(16, 1))
      .setBytes('user.planted', Buffer.from('x'))
    const creds = stamped(CREATES)
    await both('mkdir with xattrs', 0, (side) =>
      side.call(
        'mkdir',
        { loc: side.entry(dir, 'planted'), mode: 0o700, umask: 0, xdata: planted },
        creds,
      ),
    )
    const linkGfid = newGfid()
    const symlink = stamped(CREATES)
    await both(
      'symlink',
      0,
      (side) =>
        side.call(
          'symlink',
          {
            loc: side.entry(dir, 'symlink'),
            linkpath: '../elsewhere',
            umask: 0,
            xdata: gfidReq(linkGfid),
          },
          symlink,
        ),
      { times: true },
    )
    await both('readlink', 0, (side) =>
      side.call('readlink', { loc: side.loc(linkGfid), size: 4096 }),
    )
    const hard = stamped(RELINKS)
    await both(
      'link',
      0,
      (side) =>
        side.call('link', { oldloc: side.loc(file), newloc: side.entry(dir, 'hard') }, hard),
      { times: true },
    )
    await both('lookup', 0, (side) => side.call('lookup', { loc: side.entry(dir, 'hard') }), {
      times: true,
    })
    await both('nameless lookup', 0, (side) => side.call('lookup', { loc: side.loc(file) }), {
      times: true,
    })
  })

  test('errors', async () => {
    const lookup = (errno: number, parent: Gfid, name: string) =>
      both(`lookup ${name}`, errno, (side) =>
        side.call('lookup', { loc: side.entry(parent, name) }),
      )
    await lookup(2, dir, 'missing')
    await lookup(1, ROOT_GFID, '.glusterfs')
    const unknown = newGfid()
    await both('nameless unknown', 2, (side) => side.call('lookup', { loc: side.loc(unknown) }))
    await both('mkdir without gfid-req', 22, (side) =>
      side.call('mkdir', { loc: side.entry(dir, 'x'), mode: 0o755, umask: 0 }),
    )
    await both('rmdir of a full directory', 39, (side) =>
      side.call('rmdir', { loc: side.entry(ROOT_GFID, 'dir', dir), flags: 0 }),
    )
    await both('opendir of a file', 20, (side) => side.opendir('x', file))
    await both('read of nothing', 22, (side) =>
      side.call('readv', { fd: side.anonymous(file), size: 0, offset: 0, flags: 0 }),
    )
    await both('user may not write', 13, (side) => side.open('no', file, 2, user(1000)))
    await both('user may not make', 13, (side) =>
      side.call(
        'mkdir',
        { loc: side.entry(dir, 'u'), mode: 0o755, umask: 0, xdata: gfidReq(newGfid()) },
        user(1000),
      ),
    )
    const key = new Dict().setInt('unlink-only-if-dht-linkto-file', 1)
    await both('not a linkto file', 16, (side) =>
      side.call('unlink', { loc: side.entry(dir, 'hard', file), flags: 0, xdata: key }),
    )
  })

  test('attributes', async () => {
    await both('open', 0, (side) => side.open('f', file))

    const set = async (what: string, valid: number, change: Partial<Iatt>, timeFlags: number) => {
      const stat = Object.assign(new Iatt(), change)
      const creds = stamped(timeFlags)
      await both(
        what,
        0,
        (side) => side.call('setattr', { loc: side.loc(file), stat, valid }, creds),
        { times: true },
      )
      await both(
        `${what} by fd`,
        0,
        (side) => side.call('fsetattr', { fd: side.fd('f'), stat, valid }, creds),
        { times: true },
      )
    }
    await set('chmod', 1, { mode: 0o4755 }, 1)
    await set('chown', 6, { uid: 1000, gid: 1001 }, 1)
    await set('utimes', 0x30, { atime: 1000, atimeNsec: 7, mtime: 2000, mtimeNsec: 9 }, 0)
    await set('utimes back', 0x30, { atime: 500, atimeNsec: 7, mtime: 600, mtimeNsec: 9 }, 0)
    await both('access', 0, (side) => side.call('access', { loc: side.loc(file), mask: 4 }))
  })

  test('xattrs', async () => {
    const set = (key: string, value: string, flags: number, errno: number) =>
      both(`setxattr ${key} ${flags}`, errno, (side) =>
        side.call('setxattr', {
          loc: side.loc(file),
          dict: new Dict().setBytes(key, Buffer.from(value)),
          flags,
        }),
      )
    await set('user.a', 'one', 1, 0)
    await set('user.a', 'two', 1, 17)
    await set('user.a', 'three', 2, 0)
    await set('user.b', '', 2, 61)
    await set('trusted.mine', 'bytes', 0, 0)
    await set('trusted.gfid', '0123456789abcdef', 0, 0)
    await set('trusted.gfid2path.0123456789abcdef', 'x', 0, 95)
    await set('nonsense', 'x', 0, 95)
    const get = (name: string | undefined, errno: number, compare: Compare = {}) =>
      both(
        `getxattr ${name}`,
        errno,
        (side) => side.call('getxattr', { loc: side.loc(file), name }),
        compare,
      )
    await get('user.a', 0)
    await get('user.none', 61)
    await get(undefined, 0)
    await get('trusted.gfid', 0)
    await get('trusted.glusterfs.mdata', 61)
    await both('gfidtopath', 0, async (side) => {
      const name = 'glusterfs.gfidtopath'
      const rep = await side.call('getxattr', { loc: side.loc(file), name })
      if (rep.errno !== 0) return rep
      return { errno: 0 as const, paths: rep.dict.getStr(name)?.split(':').sort() }
    })
    await get('trusted.glusterfs.pathinfo', 0, { values: false })
    await get('glusterfs.get_real_filename:x', 20)
    const real = (name: string, errno: number) =>
      both(`real name of ${name}`, errno, (side) =>
        side.call('getxattr', { loc: side.loc(dir), name: `glusterfs.get_real_filename:${name}` }),
      )
    await real('FILE', 0)
    await real('nobody', 61)
    const creds = stamped(1)
    await both(
      'removexattr',
      0,
      (side) => side.call('removexattr', { loc: side.loc(file), name: 'user.a' }, creds),
      { times: true },
    )
    await both('removexattr of none', 61, (side) =>
      side.call('removexattr', { loc: side.loc(file), name: 'user.a' }),
    )
    for (const key of ['trusted.gfid', 'trusted.glusterfs.volume-id', 'nonsense', 'user.*']) {
      await both(`${key} in a lookup`, 0, (side) =>
        side.call('lookup', { loc: side.loc(file), xdata: new Dict().setInt(key, 0) }),
      )
    }
    const asked = new Dict()
      .setInt('trusted.*', 0)
      .setInt('user.none', 0)
      .setInt('trusted.glusterfs.mdata', 0)
    await both('xattrs in a lookup', 0, (side) =>
      side.call('lookup', { loc: side.entry(dir, 'file'), xdata: asked }),
    )
  })

  test('directories: every entry with its attributes', async () => {
    const many = newGfid()
    await twins.mkdir(ROOT_GFID, 'many', many)
    for (let i = 0; i < 60; i++) await twins.mknod(many, `entry-${i}`, newGfid())
    const lists: unknown[] = []
    for (const side of twins.sides) {
      assert.equal((await side.opendir('many', many)).errno, 0)
      const entries = new Map<string, unknown>()
      for (let off = 0n, rounds = 0; rounds < 100; rounds++) {
        const xdata = new Dict().setInt('trusted.glusterfs.mdata', 0)
        const rep = await side.call('readdirp', { fd: side.fd('many'), size: 3000, off, xdata })
        assert.ok(rep.errno === 0)
        assert.ok(rep.entries.length > 0 || rep.eof)
        for (const { name, stat, xdata: extra, type } of rep.entries) {
          assert.ok(!entries.has(name), `${name} comes twice`)
          const timed = name !== '..'
          entries.set(name, normal({ stat, extra, type }, { times: timed }))
        }
        off = rep.entries.at(-1)?.off ?? off
        if (rep.eof) break
      }
      assert.equal(entries.size, 62)
      lists.push(new Map([...entries].sort(([a], [b]) => (a < b ? -1 : 1))))
      side.close('many')
    }
    assert.deepEqual(lists[1], lists[0])
  })

  test('renames and removals', async () => {
    const sub = newGfid()
    await twins.mkdir(dir, 'sub', sub)
    const victim = newGfid()
    await twins.mknod(sub, 'victim', victim)
    const rename = async (errno: number, from: [Gfid, string, Gfid], to: [Gfid, string, Gfid?]) => {
      const creds = stamped(RELINKS)
      await both(
        `rename ${from[1]} to ${to[1]}`,
        errno,
        (side) =>
          side.call('rename', { oldloc: side.entry(...from), newloc: side.entry(...to) }, creds),
        { times: true },
      )
    }
    await rename(0, [dir, 'file', file], [sub, 'victim', victim])
    await rename(0, [dir, 'hard', file], [sub, 'victim', file])
    await both('lookup of the old name', 0, (side) =>
      side.call('lookup', { loc: side.entry(dir, 'hard') }),
    )
    // The stock brick has dropped the gfid2path of the name that stays; ours has not.
    const again = stamped(RELINKS)
    await both(
      'unlink of the old name',
      0,
      (side) => side.call('unlink', { loc: side.entry(dir, 'hard', file), flags: 0 }, again),
      { times: true, ignore: ['get-link-count'] },
    )
    const deep = newGfid()
    await twins.mkdir(sub, 'deep', deep)
    await twins.mknod(deep, 'leaf', newGfid())
    await rename(0, [dir, 'sub', sub], [ROOT_GFID, 'moved'])
    await rename(22, [ROOT_GFID, 'moved', sub], [deep, 'loop'])
    await rename(39, [ROOT_GFID, 'moved', sub], [ROOT_GFID, 'many'])
    await both('lookup below a moved directory', 0, (side) =>
      side.call('lookup', { loc: side.entry(deep, 'leaf') }),
    )
    const open = newGfid()
    const made = stamped(CREATES)
    await both('create', 0, (side) => side.create('gone', sub, 'open', open, 2, new Dict(), made), {
      times: true,
      ignore: ['gfid-req'],
    })
    const creds = stamped(RELINKS)
    const unlink = new Dict().setInt('get-link-count', 1)
    await both(
      'unlink of an open file',
      0,
      (side) =>
        side.call('unlink', { loc: side.entry(sub, 'open', open), flags: 0, xdata: unlink }, creds),
      { times: true },
    )
    await both('lookup of it', 2, (side) => side.call('lookup', { loc: side.loc(open) }))
    await both('lookup of it, unlinked', 0, (side) =>
      side.call('lookup', {
        loc: side.loc(open),
        xdata: new Dict().setInt('unlinked-lookup', 1),
      }),
    )
    const data = [Buffer.from('still here')]
    await both('write to it', 0, (side) =>
      side.call('writev', { fd: side.fd('gone'), data, size: 10, offset: 0, flags: 2 }),
    )
    await both('its attributes', 0, (side) => side.call('fstat', { fd: side.fd('gone') }))
    for (const side of twins.sides) side.close('gone')
    const spare = newGfid()
    await twins.mkdir(ROOT_GFID, 'spare', spare)
    await both('rmdir', 0, (side) =>
      side.call('rmdir', { loc: side.entry(ROOT_GFID, 'spare', spare), flags: 0 }, creds),
    )
    await both('stat of what is gone', 2, (side) => side.call('lookup', { loc: side.loc(spare) }))
  })

  test('the same on disk', () => {
    for (const side of twins.sides) for (const name of [...side.fds.keys()]) side.close(name)
    const ignore =
      /^\/\.glusterfs\/(health_check|indices|changelogs|unlink\/.|[0-9a-f]{2}$)|^\/\.trashcan/
    const [theirs, ours] = [twins.volume.bricks[0]!, twins.ours.path].map((path) =>
      treeOf(path, ignore),
    )
    const handles = (tree: Map<string, unknown>): string[] =>
      [...tree.keys()].filter((path) => path.startsWith('/.glusterfs'))
    assert.deepEqual(handles(ours!), handles(theirs!))
    assert.deepEqual(strip(ours!), strip(theirs!))
    for (const path of [twins.volume.bricks[0]!, twins.ours.path]) {
      for (const gfid of [file, dir]) {
        const name = gfidName(gfid)
        const handle = `${path}/.glusterfs/${name.slice(0, 2)}/${name.slice(2, 4)}/${name}`
        const found = getXattr(handle, 'trusted.gfid')
        if (gfid === file) assert.equal(String(found), String(Buffer.from(file, 'latin1')))
      }
    }
  })

  /** Without the root's volume-id, which ours was not given. */
  function strip(tree: Map<string, Record<string, unknown>>): unknown {
    const plain = Object.fromEntries(tree)
    for (const [path, entry] of Object.entries(plain)) {
      const xattrs = entry.xattrs as Record<string, string>
      delete xattrs['trusted.glusterfs.volume-id']
      if (path === '/') delete xattrs['trusted.glusterfs.mdata']
    }
    return plain
  }
})
