/** Files that stay open while bricks of a replicated volume go and come back. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { UNCACHED, uncached } from '../lib/edit-proof.ts'
import { enterSandbox, type Mount, ours, sleep, Volume } from '../lib/sandbox.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)
const set = {
  ...uncached,
  'performance.write-behind': 'off',
  'performance.open-behind': 'off',
  'cluster.self-heal-daemon': 'off',
}
const BACK_MAX_MS = 20_000
const { O_RDWR, O_CREAT, O_APPEND } = sys.O

void describe('open files of a replicated volume', { skip, timeout: 180_000 }, () => {
  let volume: Volume
  let mount: Mount

  before(async () => {
    volume = await Volume.create('open', { bricks: 3, layout: ['replica', '3'], set })
    mount = await volume.mount(ours, UNCACHED)
  })
  after(async () => {
    await mount.unmount()
    await volume.killBricks()
  })

  const at = (name: string): string => join(mount.dir, name)
  const onBrick = (brick: number, name: string): string =>
    readFileSync(join(volume.bricks[brick]!, name), 'latin1')
  const open = (name: string, flags: number): number =>
    sys.must(sys.open(at(name), flags | O_CREAT), name) as number
  const write = (fd: number, text: string): void =>
    assert.equal(sys.write(fd, Buffer.from(text)), text.length)

  /** Flags of the brick's own descriptors of a file, under whichever of its names. */
  function descriptors(brick: number, name: string): number[] {
    const pid = volume.brickPid(brick)
    if (pid === undefined) return []
    const { ino } = statSync(join(volume.bricks[brick]!, name))
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        if (statSync(`/proc/${pid}/fd/${fd}`).ino !== ino) return []
        const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1')
        return [Number.parseInt(/^flags:\s+(\d+)/m.exec(info)![1]!, 8)]
      } catch {
        return [] // closed meanwhile
      }
    })
  }

  async function until(what: string, test: () => boolean): Promise<void> {
    const end = clock.now() + BACK_MAX_MS
    while (!test()) {
      assert.ok(clock.now() < end, what)
      await sleep(50)
    }
  }

  test('are opened again on a brick that returns, and written there', async () => {
    const plain = open('plain', O_RDWR)
    const log = open('log', O_RDWR | O_APPEND)
    write(plain, 'before')
    write(log, 'one ')
    await sleep(1500)
    for (const brick of [0, 1, 2]) {
      await volume.killBrick(brick)
      await volume.restartBrick(brick)
      await until(`brick ${brick} opens what was open`, () =>
        ['plain', 'log'].every((name) => descriptors(brick, name).length === 1),
      )
    }
    for (const brick of [0, 1, 2]) assert.ok(descriptors(brick, 'log')[0]! & O_APPEND)
    assert.equal(sys.pwrite(plain, Buffer.from('after!'), 0), 6)
    write(log, 'two')
    for (const fd of [plain, log]) assert.equal(sys.close(fd), 0)
    for (const brick of [0, 1, 2]) {
      assert.equal(onBrick(brick, 'plain'), 'after!')
      assert.equal(onBrick(brick, 'log'), 'one two')
      await until(`brick ${brick} closes it`, () => descriptors(brick, 'plain').length === 0)
    }
  })

  test('opened without a brick are opened there later, and closed', async () => {
    sys.close(open('late', O_RDWR))
    await volume.killBrick(1)
    await sleep(300)
    const fd = open('late', O_RDWR | O_APPEND)
    await volume.restartBrick(1)
    await until('brick 1 has the file open', () => {
      write(fd, '.')
      return descriptors(1, 'late').length === 1
    })
    assert.ok(descriptors(1, 'late')[0]! & O_APPEND)
    write(fd, 'end')
    assert.equal(sys.close(fd), 0)
    assert.equal(onBrick(1, 'late').slice(-3), 'end')
    await until('brick 1 closes it', () => descriptors(1, 'late').length === 0)
  })

  test('unlinked before, while and after a brick was away: written and read', async () => {
    const names = ['before', 'while', 'later']
    const fds = names.map((name) => open(name, O_RDWR))
    for (const fd of fds) write(fd, 'old')
    assert.equal(sys.unlink(at('before')), 0)
    await sleep(1500)
    await volume.killBrick(2)
    await sleep(300)
    assert.equal(sys.unlink(at('while')), 0)
    await volume.restartBrick(2)
    await until('brick 2 is back', () => descriptors(2, 'later').length === 1)
    assert.equal(sys.unlink(at('later')), 0)
    for (const [index, fd] of fds.entries()) {
      const name = names[index]!
      for (let round = 0; round < 3; round++) {
        assert.equal(sys.pwrite(fd, Buffer.from('new'), 1), 3, name)
        assert.equal(sys.fsync(fd), 0, name)
        assert.equal(String(sys.pread(fd, 10, 0)), 'onew', name)
        const stat = sys.must(sys.fstat(fd), name)
        assert.equal((stat as sys.Stat).size, 4, name)
      }
      assert.equal(sys.close(fd), 0, name)
    }
  })

  test('with a lock, and a brick comes and goes: written, and others are kept out', async () => {
    const other = await volume.mount(ours, UNCACHED)
    const fd = open('locked', O_RDWR)
    assert.equal(sys.setlk(fd, 'write'), 0)
    const theirs = sys.must(sys.open(join(other.dir, 'locked'), O_RDWR)) as number
    const look = (text: string): void => {
      assert.equal(sys.pwrite(fd, Buffer.from(text), 0), text.length, text)
      assert.equal(sys.errnoName(sys.setlk(theirs, 'write')), 'EAGAIN', text)
    }
    look('all there')
    await volume.killBrick(0)
    await sleep(300)
    look('one is away')
    await volume.restartBrick(0)
    await until('brick 0 has the file open', () => descriptors(0, 'locked').length > 0)
    look('it is back')
    assert.equal(sys.setlk(fd, 'unlock'), 0)
    assert.equal(sys.setlk(theirs, 'write'), 0)
    for (const one of [fd, theirs]) assert.equal(sys.close(one), 0)
    await other.unmount()
  })
})
