/**
 * A majority of the bricks is gone: nothing can be read or written, nothing is changed on the brick
 * that is left, and work goes on without remounting when a brick is back.
 */
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { UNCACHED, uncached } from '../lib/edit-proof.ts'
import { enterSandbox, ours, run, sleep, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)
/** Clients connect again to a brick that came back. */
const BACK_MAX_MS = 15_000
const set = { ...uncached, 'performance.write-behind': 'off', 'cluster.self-heal-daemon': 'off' }

/** Everything below a brick that a user could see, with contents and xattrs. */
async function brickState(brick: string): Promise<string> {
  const list = `find . -path ./.glusterfs -prune -o -printf '%p %y %m %U %G %n %s %T@\\n' | sort`
  const script = `${list}; sha256sum file; getfattr -d -m . -e hex . file dir`
  return (await run(['bash', '-c', script], { cwd: brick })).stdout
}

/** What each kind of call returns, by name. */
function calls(dir: string, fd: number): Record<string, number | string> {
  const at = (name: string): string => join(dir, name)
  const results = {
    stat: sys.stat(at('file')),
    list: sys.list(dir),
    open: sys.open(at('file'), sys.O.O_RDONLY),
    pread: sys.pread(fd, 10, 0),
    pwrite: sys.pwrite(fd, Buffer.from('lost'), 0),
    ftruncate: sys.ftruncate(fd, 1),
    truncate: sys.truncate(at('file'), 1),
    create: sys.open(at('new'), sys.O.O_CREAT | sys.O.O_WRONLY),
    mkdir: sys.mkdir(at('new-dir')),
    unlink: sys.unlink(at('file')),
    rename: sys.rename(at('file'), at('moved')),
    rmdir: sys.rmdir(at('dir')),
    chmod: sys.chmod(at('file'), 0o600),
    setxattr: sys.setxattr(at('file'), 'user.a', Buffer.from('b')),
    statfs: sys.statfs(dir),
  }
  const names = Object.entries(results).map(([name, result]) => [
    name,
    typeof result === 'number' ? sys.errnoName(result) : 'a result',
  ])
  return Object.fromEntries(names) as Record<string, number | string>
}

for (const [shape, layout, lost, back] of [
  ['replica 3', ['replica', '3'], [0, 2], 2],
  ['arbiter', ['replica', '3', 'arbiter', '1'], [0, 1], 1],
] as const) {
  void describe(`quorum: ${shape}`, { skip, timeout: 120_000 }, () => {
    void test('a majority down: ENOTCONN and nothing written; one back: all works', async () => {
      const name = shape.replaceAll(/\W/g, '')
      const volume = await Volume.create(name, { bricks: 3, layout: [...layout], set })
      const mount = await volume.mount(ours, UNCACHED)
      fs.writeFileSync(join(mount.dir, 'file'), 'content')
      fs.mkdirSync(join(mount.dir, 'dir'))
      const fd = sys.must(sys.open(join(mount.dir, 'file'), sys.O.O_RDWR))
      await sleep(1500)
      for (const brick of lost) await volume.killBrick(brick)
      await sleep(300)
      const left =
        volume.bricks[[0, 1, 2].find((brick) => !(lost as readonly number[]).includes(brick))!]!
      const before = await brickState(left)
      const answers = calls(mount.dir, fd)
      assert.deepEqual(
        answers,
        Object.fromEntries(Object.keys(answers).map((key) => [key, 'ENOTCONN'])),
      )
      assert.equal(await brickState(left), before)

      await volume.restartBrick(back)
      const end = clock.now() + BACK_MAX_MS
      while (typeof sys.stat(join(mount.dir, 'file')) === 'number' && clock.now() < end)
        await sleep(100)
      assert.equal(sys.pwrite(fd, Buffer.from('changed'), 0), 7)
      assert.equal(sys.close(fd), 0)
      assert.equal(fs.readFileSync(join(mount.dir, 'file'), 'latin1'), 'changed')
      fs.renameSync(join(mount.dir, 'file'), join(mount.dir, 'dir/moved'))
      assert.deepEqual(fs.readdirSync(join(mount.dir, 'dir')), ['moved'])
      await mount.unmount()
      for (const brick of volume.bricks.keys()) {
        if (volume.brickPid(brick) !== undefined) await volume.killBrick(brick)
      }
    })
  })
}
