/** aux-gfid-mount: objects by their gfid below `.gfid`, and what geo-replication does there. */
import assert from 'node:assert/strict'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { describe, test } from 'node:test'
import { E } from '../../src/core/errno.ts'
import { enterSandbox, type Mount, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'
import { S } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

/** The same script on a stock mount gave these results, but for those marked. */
describe('--aux-gfid-mount', { skip, timeout: 60_000 }, () => {
  let volume: Volume
  let mount: Mount
  const at = (path: string): string => `${mount.dir}/${path}`
  const gfid = (path: string): string => {
    const text = sys.getxattr(at(path), 'glusterfs.gfid.string')
    return typeof text === 'number' ? assert.fail(path) : text.latin1Slice(0, 36)
  }
  const errno = (result: unknown, expected: number): void => assert.equal(result, -expected)

  test('an object is found by its gfid', async () => {
    volume = await Volume.create('gfids', { bricks: 2 })
    mount = await volume.mount('ours', ['--aux-gfid-mount'])
    mkdirSync(at('dir/sub'), { recursive: true })
    writeFileSync(at('dir/file'), 'content')
    assert.ok(!readdirSync(mount.dir).includes('.gfid'))
    assert.equal(statSync(at('.gfid')).ino, 13)
    errno(sys.list(at('.gfid')), E.OPNOTSUPP)
    const [file, dir] = [gfid('dir/file'), gfid('dir')]
    assert.equal(readFileSync(at(`.gfid/${file}`), 'utf8'), 'content')
    assert.equal(statSync(at(`.gfid/${file}`)).ino, statSync(at('dir/file')).ino)
    assert.ok(statSync(at(`.gfid/${dir}`)).isDirectory())
    assert.notEqual(statSync(at(`.gfid/${dir}`)).ino, statSync(at('dir')).ino)
    errno(sys.list(at(`.gfid/${dir}`)), E.OPNOTSUPP)
    assert.equal(readFileSync(at(`.gfid/${dir}/file`), 'utf8'), 'content')
    for (const name of ['x', `${file}x`, '12345678-1234-1234-1234-123456789012']) {
      errno(sys.stat(at(`.gfid/${name}`)), E.NOENT)
    }
    const root = '00000000-0000-0000-0000-000000000001'
    assert.equal(readFileSync(at(`.gfid/${root}/dir/file`), 'utf8'), 'content')
  })

  test('changes through it reach the object; in .gfid itself there are none', () => {
    const [file, dir] = [at(`.gfid/${gfid('dir/file')}`), at(`.gfid/${gfid('dir')}`)]
    writeFileSync(file, 'changed')
    assert.equal(readFileSync(at('dir/file'), 'utf8'), 'changed')
    assert.equal(sys.chmod(dir, 0o711), 0)
    assert.equal(sys.setxattr(dir, 'user.a', Buffer.from('b')), 0)
    assert.deepEqual(sys.getxattr(at('dir'), 'user.a'), Buffer.from('b'))
    for (const result of [
      sys.open(at('.gfid/new'), 0o101),
      sys.mkdir(at('.gfid/new')),
      sys.unlink(file),
      sys.rmdir(dir),
      sys.rename(file, at('moved')),
      sys.rename(at('dir'), at('.gfid/moved')),
      sys.symlink('x', at('.gfid/link')),
      sys.mknod(at('.gfid/node'), S.REG),
      // stock: EOPNOTSUPP
      sys.rmdir(at('.gfid')),
    ]) {
      errno(result, E.PERM)
    }
    assert.equal(sys.link(file, at('linked')), 0)
    assert.equal(sys.mkdir(at('dir/.gfid')), 0, 'elsewhere it is a name like any other')
    assert.equal(sys.rename(`${dir}/file`, `${dir}/file2`), 0)
    // stock: ESTALE, because the directory itself is known
    writeFileSync(`${dir}/made`, 'made')
    assert.deepEqual(readdirSync(at('dir')).sort(), ['.gfid', 'file2', 'made', 'sub'])
  })

  test('entries with given gfids', () => {
    const dir = at(`.gfid/${gfid('dir')}`)
    const word = (value: number): Buffer => {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32BE(value)
      return bytes
    }
    const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1')
    const given = (n: number): string => `aaaaaaaa-1111-2222-3333-${String(n).padStart(12, '0')}`
    const make = (path: string, ...parts: Buffer[]): number =>
      sys.setxattr(path, 'glusterfs.gfid.newfile', Buffer.concat(parts))
    const head = (n: number, mode: number, name: string, uid = 0): Buffer[] => [
      ...[word(uid), word(uid), text(given(n)), word(mode), text(name)],
    ]
    const rest = [word(0o640), word(0), word(0o022)]
    sys.chmod(at('dir'), 0o777)
    assert.equal(make(dir, ...head(1, S.REG | 0o644, 'file3', 33), ...rest), 0)
    const made = statSync(at('dir/file3'))
    assert.deepEqual([made.mode & 0o7777, made.uid, made.gid], [0o640, 33, 33])
    assert.equal(gfid('dir/file3'), given(1))
    const directory = [word(0o755), word(0o022)]
    assert.equal(make(dir, ...head(2, 0o040755, 'dir3'), ...directory), 0)
    assert.equal(gfid('dir/dir3'), given(2))
    assert.equal(make(dir, ...head(3, 0o120777, 'link3'), text('target')), 0)
    assert.equal(readlinkSync(at('dir/link3')), 'target')
    errno(make(at('dir/file3'), ...head(4, S.REG, 'x'), ...rest), E.PERM)
    // stock: ENOMEM or EIO
    errno(make(dir, Buffer.from('abc')), E.INVAL)
    errno(make(dir, ...head(5, S.REG, ''), ...rest), E.INVAL)
    errno(make(dir, ...head(6, S.REG, '../x'), ...rest), E.INVAL)
    const heal = (name: string): number =>
      sys.setxattr(dir, 'glusterfs.gfid.heal', Buffer.concat([text(given(1)), text(name)]))
    assert.equal(heal('file3'), 0)
    errno(heal('none'), E.STALE)
  })

  test('it goes on with the next graph', async () => {
    const name = at(`.gfid/${gfid('dir')}/file2`)
    await volume.set('performance.quick-read', 'off')
    for (let i = 0; i < 20; i++) assert.equal(readFileSync(name, 'utf8'), 'changed')
    await mount.unmount()
  })
})
