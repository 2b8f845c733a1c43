/** Our brick against a stock brick: file data, counters and their index, locks. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Dict } from '../../src/core/dict.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { type Gfid, newGfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { enterSandbox } from '../lib/sandbox.ts'
import { gfidName, stamped, Twins } from '../lib/twin-bricks.ts'

const skip = await enterSandbox(import.meta.url)

describe('twin bricks: data, counters, locks', { skip }, () => {
  let twins: Twins
  const dir = newGfid()
  const file = newGfid()
  before(async () => {
    twins = await Twins.start('twin')
  })
  after(() => twins?.stop())

  const both: Twins['both'] = (...words) => twins.both(...words)

  test('data', async () => {
    await twins.mkdir(ROOT_GFID, 'dir', dir, 0, false)
    await twins.mknod(dir, 'file', file)

    await both('open', 0, (side) => side.open('f', file))
    const write = async (text: string, offset: number, xdata?: Dict) => {
      const data = [Buffer.from(text)]
      const creds = stamped(3)
      return both(
        `write at ${offset}`,
        0,
        (side) =>
          side.call(
            'writev',
            { fd: side.fd('f'), data, size: text.length, offset, flags: 2, xdata },
            creds,
          ),
        { times: true },
      )
    }
    await write('hello', 0, new Dict().setInt('glusterfs.write-is-append', 1))
    await write('world', 5, new Dict().setInt('glusterfs.write-is-append', 1))
    await write('x'.repeat(200_000), 1_000_000)
    const read = (offset: number, size: number) =>
      both(`read at ${offset}`, 0, (side) =>
        side.call('readv', { fd: side.fd('f'), size, offset, flags: 2 }),
      )
    await read(0, 10)
    await read(999_990, 20)
    await read(1_199_990, 20)
    await read(2_000_000, 20)
    await both('read without an fd', 0, (side) =>
      side.call('readv', { fd: side.anonymous(file), size: 3, offset: 3, flags: 2 }),
    )
    for (const what of [0, 1]) {
      for (const offset of [0, 5000, 1_100_000]) {
        await both(`seek ${what} from ${offset}`, 0, (side) =>
          side.call('seek', { fd: side.fd('f'), offset, what }),
        )
      }
      await both('seek past the end', 6, (side) =>
        side.call('seek', { fd: side.fd('f'), offset: 3_000_000, what }),
      )
    }
    for (const flag of [true, false]) {
      await both('rchecksum', 0, (side) =>
        side.call('rchecksum', {
          fd: side.fd('f'),
          offset: flag ? 0 : 500_000,
          len: 131_072,
          xdata: new Dict().setInt('check-zero-filled', 1),
        }),
      )
    }
    const range = async (fop: 'discard' | 'zerofill', offset: number, len: number) => {
      const creds = stamped(fop === 'zerofill' ? 6 : 0)
      await both(fop, 0, (side) => side.call(fop, { fd: side.fd('f'), offset, len }, creds), {
        times: fop === 'zerofill',
      })
    }
    await range('discard', 1_000_000, 100_000)
    await range('zerofill', 1_190_000, 20_000)
    const creds = stamped(6)
    for (const mode of [0, 1]) {
      await both('fallocate', 0, (side) =>
        side.call('fallocate', { fd: side.fd('f'), mode, offset: 2_000_000, len: 4096 }, creds),
      )
    }
    const cut = stamped(3)
    await both(
      'ftruncate',
      0,
      (side) => side.call('ftruncate', { fd: side.fd('f'), offset: 70_000 }, cut),
      { times: true },
    )
    await both('truncate', 0, (side) =>
      side.call('truncate', { loc: side.loc(file), offset: 80_000 }, cut),
    )
    await both('fsync', 0, (side) => side.call('fsync', { fd: side.fd('f'), datasync: false }))
    await both('flush', 0, (side) => side.call('flush', { fd: side.fd('f') }))
    const content = new Dict().setUint('glusterfs.content', 100_000).setInt('get-size', 0)
    await both('content in a lookup', 0, (side) =>
      side.call('lookup', { loc: side.entry(dir, 'file'), xdata: content }),
    )
  })

  test('counters and their index', async () => {
    const key = 'trusted.afr.twin-client-1'
    const add = (pending: number, what: string) =>
      both(what, 0, (side) => {
        const value = Buffer.alloc(12)
        value.writeInt32BE(pending)
        return side.call('xattrop', {
          loc: side.loc(file),
          op: 0,
          dict: new Dict().setBytes(key, value),
          xdata: new Dict().setInt('trusted.gfid', 0).setInt('glusterfs.open-fd-count', 0),
        })
      })
    const pending = (what: string) =>
      both(what, 0, (side) =>
        side.call('lookup', {
          loc: side.loc(ROOT_GFID),
          xdata: new Dict().setStr('link-count', 'glusterfs.xattrop_index_count'),
        }),
      )
    await pending('nothing pending')
    await add(1, 'pending')
    await pending('one pending')
    const listed = await indexEntries('glusterfs.xattrop_index_gfid')
    assert.deepEqual(listed, [[gfidName(file)], [gfidName(file)]])
    await add(-1, 'healed')
    await pending('none pending again')
    assert.deepEqual(await indexEntries('glusterfs.xattrop_index_gfid'), [[], []])
    await both('count', 0, (side) =>
      side.call('getxattr', { loc: side.loc(ROOT_GFID), name: 'glusterfs.xattrop_index_count' }),
    )
  })

  /** An index of both bricks, read as the self-heal daemon reads it. */
  async function indexEntries(name: string): Promise<string[][]> {
    const lists: string[][] = []
    for (const side of twins.sides) {
      const rep = await side.call('getxattr', { loc: side.loc(ROOT_GFID), name })
      assert.ok(rep.errno === 0)
      const gfid = rep.dict.getBytes(name)!.latin1Slice() as Gfid
      const found = await side.call('lookup', { loc: side.loc(gfid) })
      assert.ok(found.errno === 0)
      assert.equal(found.stat.mode & 0o170000, 0o40000)
      assert.equal((await side.opendir('index', gfid)).errno, 0)
      const list = await side.call('readdir', { fd: side.fd('index'), size: 131_072, off: 0n })
      assert.ok(list.errno === 0)
      lists.push(list.entries.map((entry) => entry.name).filter((one) => !/^\.\.?$/.test(one)))
      side.close('index')
    }
    return lists
  }

  test('locks', async () => {
    const owner = (id: string): Creds => ({ ...ROOT_CREDS, lkOwner: Buffer.from(id) })
    const inodelk = (
      what: string,
      errno: number,
      id: string,
      cmd: number,
      type: number,
      len = 0n,
    ) =>
      both(what, errno, (side) =>
        side.call(
          'inodelk',
          {
            loc: side.loc(file),
            volume: 'v',
            cmd,
            flock: { type, whence: 0, start: 0n, len, pid: 1, lkOwner: Buffer.from(id) },
            xdata: new Dict().setStr('glusterfs.inodelk-dom-count', 'v'),
          },
          owner(id),
        ),
      )
    await inodelk('inodelk', 0, 'a', 1, 1)
    await inodelk('refused', 11, 'b', 1, 0)
    await inodelk('unlock of another range', 22, 'a', 1, 2, 5n)
    await inodelk('getlk', 95, 'a', 0, 1)
    await inodelk('nested', 0, 'a', 1, 1, 10n)
    await both(
      'clear',
      0,
      (side) => side.call('getxattr', { loc: side.loc(file), name: 'glusterfs.clrlk.tinode.kall' }),
      { values: false },
    )
    await inodelk('free again', 0, 'b', 1, 1)
    await inodelk('unlock', 0, 'b', 1, 2)
    const lk = (what: string, errno: number, id: string, cmd: number, type: number) =>
      both(what, errno, (side) =>
        side.call(
          'lk',
          {
            fd: side.fd('f'),
            cmd,
            flock: { type, whence: 0, start: 5n, len: 10n, pid: 77, lkOwner: Buffer.from(id) },
          },
          owner(id),
        ),
      )
    await lk('lk', 0, 'a', 1, 1)
    await lk('lk refused', 11, 'b', 1, 0)
    await lk('getlk', 0, 'b', 0, 1)
    await lk('getlk of the holder', 0, 'a', 0, 1)
    await both('getactivelk', 0, async (side) => {
      const rep = await side.call('getactivelk', { loc: side.loc(file) })
      if (rep.errno !== 0) return rep
      return { errno: 0 as const, count: rep.locks.length }
    })
    await lk('unlock', 0, 'a', 1, 2)
  })

  test('statfs', async () => {
    await both('statfs', 0, async (side) => {
      const rep = await side.call('statfs', { loc: side.loc(ROOT_GFID) })
      if (rep.errno !== 0) return rep
      const { bsize, frsize, blocks, namemax, files, flag } = rep.statfs
      return { errno: 0 as const, bsize, frsize, blocks, namemax, files, flag }
    })
  })
})
