/**
 * Embedded volumes: our client, and the stock one where it is installed, on our bricks. Runs
 * without GlusterFS; needs root and /dev/fuse.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { digest, Embedded, embeddedSkip, eventually, stockClient } from '../lib/embedded.ts'
import { KillRounds } from '../lib/kill-rounds.ts'
import { startLoad } from '../lib/load.ts'
import { projectRoot, run, sleep } from '../lib/sandbox.ts'

const skip = embeddedSkip()

/** What programs do to files; leaves `dir` empty. */
function useFiles(dir: string): void {
  const at = (name: string): string => join(dir, name)
  const bytes = randomBytes(3_000_001)
  fs.mkdirSync(at('d'))
  fs.writeFileSync(at('d/f'), bytes)
  assert.equal(digest(fs.readFileSync(at('d/f'))), digest(bytes))
  fs.linkSync(at('d/f'), at('d/hard'))
  assert.equal(fs.statSync(at('d/f')).nlink, 2)
  fs.symlinkSync('f', at('d/soft'))
  assert.equal(fs.readlinkSync(at('d/soft')), 'f')
  assert.deepEqual(fs.readdirSync(at('d')).sort(), ['f', 'hard', 'soft'])
  fs.chmodSync(at('d/f'), 0o640)
  fs.chownSync(at('d/f'), 1234, 4321)
  fs.utimesSync(at('d/f'), 1000, 2000)
  const stat = fs.statSync(at('d/hard'))
  assert.deepEqual([stat.mode & 0o7777, stat.uid, stat.gid, stat.mtimeMs], [0o640, 1234, 4321, 2e6])
  fs.appendFileSync(at('d/f'), 'end')
  assert.equal(fs.statSync(at('d/f')).size, bytes.length + 3)
  fs.truncateSync(at('d/f'), 1_000_003)
  assert.equal(digest(fs.readFileSync(at('d/f'))), digest(bytes.subarray(0, 1_000_003)))
  const fd = fs.openSync(at('d/f'), 'r+')
  fs.writeSync(fd, 'middle', 500_001)
  fs.fsyncSync(fd)
  fs.unlinkSync(at('d/f'))
  fs.unlinkSync(at('d/hard'))
  const read = Buffer.alloc(6)
  fs.readSync(fd, read, 0, 6, 500_001)
  assert.equal(read.toString(), 'middle', 'an unlinked file can be read while it is open')
  fs.closeSync(fd)
  fs.writeFileSync(at('a'), 'a')
  fs.writeFileSync(at('b'), 'b')
  fs.renameSync(at('a'), at('b'))
  assert.equal(fs.readFileSync(at('b'), 'utf8'), 'a')
  fs.renameSync(at('d'), at('e'))
  assert.throws(() => fs.rmdirSync(at('e')), { code: 'ENOTEMPTY' })
  assert.throws(() => fs.mkdirSync(at('e')), { code: 'EEXIST' })
  assert.throws(() => fs.readFileSync(at('d/soft')), { code: 'ENOENT' })
  fs.rmSync(at('e'), { recursive: true })
  fs.unlinkSync(at('b'))
  assert.deepEqual(fs.readdirSync(dir), [])
}

describe('a 4+2 volume on our bricks', { skip, timeout: 120_000 }, () => {
  let volume: Embedded
  before(async () => {
    volume = new Embedded(6)
    await volume.start(['--disperse', '4+2'])
    await volume.mount()
  })
  after(() => volume.end())

  test('files are what was made of them', () => useFiles(volume.mountPoint))

  test('two bricks killed, written on, brought back, healed, two others killed', async () => {
    const at = (name: string): string => join(volume.mountPoint, name)
    const before = randomBytes(1_500_000)
    const later = randomBytes(700_000)
    fs.writeFileSync(at('old'), before)
    await volume.kill(2)
    await volume.kill(5)
    assert.equal(digest(fs.readFileSync(at('old'))), digest(before))
    fs.mkdirSync(at('new'))
    fs.writeFileSync(at('new/file'), later)
    fs.appendFileSync(at('old'), later)
    await volume.gluster('start', 'vol', 'force')
    await volume.gluster('heal', 'vol')
    assert.match((await volume.gluster('heal', 'vol', 'info')).stdout, /entries: 0$/m)
    await volume.kill(1)
    await volume.kill(6)
    // Until the mount has found the bricks that are back (it asks every 3 s), too few answer.
    await eventually('enough bricks answer', () => fs.existsSync(at('new/file')))
    assert.equal(digest(fs.readFileSync(at('new/file'))), digest(later))
    assert.equal(digest(fs.readFileSync(at('old'))), digest(Buffer.concat([before, later])))
  })

  test('bricks and mount survive the management server, and the next one finds them', async () => {
    await volume.gluster('start', 'vol', 'force')
    const pids = async (): Promise<unknown[]> =>
      Promise.all(volume.bricks.map((_, i) => volume.pid(i + 1)))
    const before = await pids()
    await volume.killServer()
    const at = join(volume.mountPoint, 'meanwhile')
    fs.writeFileSync(at, 'no server')
    assert.match((await volume.fails('status', 'vol')).stderr, /no management server runs/)
    process.kill(Number(before[0]), 'SIGKILL')
    await volume.gluster('start', 'vol', 'force')
    const after = await pids()
    assert.deepEqual(after.slice(1), before.slice(1))
    assert.ok(after[0] !== before[0] && after[0] !== undefined, 'the one that died is started')
    assert.equal(fs.readFileSync(at, 'utf8'), 'no server')
    await volume.kill(2)
    await volume.gluster('start', 'vol', 'force')
    assert.notEqual(await volume.pid(2), before[1])
  })

  test('one directory, one brick process', async () => {
    const other = await volume.fails('-d', `${volume.directory}/other`, 'serve')
    assert.notEqual(other.status, 0, 'the port is taken')
    const args = ['vol-0.vol', 'second.log', 'second.json'].map((name) =>
      join(volume.directory, name === 'vol-0.vol' ? 'volumes' : 'logs', name),
    )
    const brick = join(projectRoot, 'dist/src/server/brick.js')
    const second = await run([process.execPath, brick, ...args], { mayFail: true })
    assert.equal(second.status, 1)
    assert.match(fs.readFileSync(args[1]!, 'latin1'), /b1 is in use: another process serves it/)
  })

  test('says why it refuses', async () => {
    assert.match((await volume.fails('start', 'vol')).stderr, /is started already/)
    assert.match((await volume.fails('destroy', 'vol')).stderr, /stop it first/)
    assert.match((await volume.fails('status', 'nothing')).stderr, /does not exist/)
    const again = await volume.fails('create', 'vol2', volume.bricks[0]!)
    assert.match(again.stderr, /in use: it is a brick of another volume/)
  })
})

describe('what is killed comes back whole', { skip, timeout: 200_000 }, () => {
  test('two bricks during a write load: all is read and written meanwhile, and healed', async () => {
    const volume = new Embedded(6)
    try {
      await volume.start(['disperse', '6'])
      await volume.mount()
      const load = startLoad(join(volume.mountPoint, 'load'), 5, 6, 'writer')
      await sleep(1000)
      await volume.kill(2)
      await volume.kill(5)
      await sleep(1000)
      await volume.gluster('start', 'vol', 'force')
      const { problems, files } = await load
      assert.deepEqual(problems, [])
      await volume.gluster('heal', 'vol')
      assert.doesNotMatch((await volume.gluster('heal', 'vol', 'info')).stdout, /entries: [1-9]/)
      await volume.kill(1)
      await volume.kill(6)
      await eventually('bricks 2 and 5 answer', () => fs.existsSync(`${volume.mountPoint}/load`))
      for (const [name, sum] of Object.entries(files)) {
        assert.equal(digest(fs.readFileSync(join(volume.mountPoint, 'load', name))), sum, name)
      }
    } finally {
      await volume.end()
    }
  })

  test('everything, twice: what was fsynced is there', async () => {
    const volume = new Embedded(6)
    try {
      await volume.start(['disperse', '6', 'redundancy', '2'])
      const shape = { disperse: { data: 4, redundancy: 2 } }
      // One step at a time; npm run soak -- embedded-kill does many.
      const { files } = await new KillRounds(volume, 3, shape, 1).run(2)
      assert.ok(files > 0)
    } finally {
      await volume.end()
    }
  })
})

describe('a distributed volume on our bricks', { skip, timeout: 120_000 }, () => {
  let volume: Embedded
  before(async () => {
    volume = new Embedded(2)
    await volume.start([])
  })
  after(() => volume.end())

  const stockSkip = fs.existsSync(stockClient) ? false : 'the stock client is not installed'
  for (const kind of ['ours', 'stock'] as const) {
    const options = { skip: kind === 'stock' && stockSkip }
    test(`${kind} client: files, and options changed under it`, options, async () => {
      const mount = await volume.mountMore(kind)
      useFiles(mount.dir)
      const active = join(mount.dir, '.meta/graphs/active')
      const timeout = join(active, 'vol-md-cache/options/md-cache-timeout')
      await volume.gluster('set', 'vol', 'performance.md-cache-timeout', '3')
      await volume.gluster('set', 'vol', 'performance.md-cache-timeout', '7')
      // Stock's .meta does not show options that were changed later.
      await eventually('it has the new value', () =>
        kind === 'stock' ? true : /^7/.test(fs.readFileSync(timeout, 'latin1')),
      )
      await volume.gluster('set', 'vol', 'performance.read-ahead', 'on')
      await eventually('it has a new graph', () => fs.existsSync(join(active, 'vol-read-ahead')))
      fs.writeFileSync(join(mount.dir, 'file'), 'through the new graph')
      fs.unlinkSync(join(mount.dir, 'file'))
      await volume.gluster('reset', 'vol', 'performance.read-ahead')
      await volume.gluster('reset', 'vol', 'performance.md-cache-timeout')
      await mount.unmount()
    })
  }

  test('wrong options are refused in the words of gluster', async () => {
    const set = async (...words: string[]): Promise<string> =>
      (await volume.fails('set', 'vol', ...words)).stderr
    assert.match(
      await set('performance.writ-behind', 'off'),
      /option : performance.writ-behind does not exist\nDid you mean performance.write-behind\?/,
    )
    assert.match(await set('network.ping-timeout', 'x'), /volume set: failed: .*ping-timeout/)
    assert.match(await set('performance.io-cache', 'x'), /'x' is not a valid boolean value/)
  })
})

describe('replicated volumes on our bricks', { skip, timeout: 120_000 }, () => {
  for (const shape of ['replica 3', 'replica 3 arbiter 1']) {
    test(`${shape}: files, also without one brick, which is healed`, async () => {
      const volume = new Embedded(3)
      try {
        await volume.start(shape.split(' '))
        await volume.mount()
        useFiles(volume.mountPoint)
        const at = (name: string): string => join(volume.mountPoint, name)
        const [old, later] = [randomBytes(400_000), randomBytes(300_000)]
        fs.writeFileSync(at('old'), old)
        await volume.kill(1)
        fs.mkdirSync(at('used'))
        useFiles(at('used'))
        fs.mkdirSync(at('new'))
        fs.writeFileSync(at('new/file'), later)
        fs.appendFileSync(at('old'), later)
        await volume.gluster('start', 'vol', 'force')
        await volume.gluster('heal', 'vol')
        assert.doesNotMatch((await volume.gluster('heal', 'vol', 'info')).stdout, /entries: [1-9]/)
        const whole = fs.readFileSync(join(volume.bricks[0]!, 'old'))
        assert.equal(digest(whole), digest(Buffer.concat([old, later])))
        assert.equal(digest(fs.readFileSync(join(volume.bricks[0]!, 'new/file'))), digest(later))
      } finally {
        await volume.end()
      }
    })
  }
})
