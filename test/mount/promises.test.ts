/**
 * What the mount has answered: written data that was synced is on the bricks when our client dies,
 * and an answered write that fails all the same is reported by the fd that wrote it.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { Peer } from '../lib/peer.ts'
import {
  enterSandbox,
  gluster,
  type Mount,
  ours,
  run,
  sleep,
  space,
  stopProcess,
  Volume,
} from '../lib/sandbox.ts'
import { O } from '../lib/syscalls.ts'
import { PERFORMANCE, volfileWith } from '../lib/translators.ts'

const skip = await enterSandbox(import.meta.url)

const ENOSPC = -28
const EDQUOT = -122
const MIB = 1 << 20
const HOW = ['fsync', 'fdatasync', 'O_SYNC', 'O_DSYNC', 'O_DIRECT', 'close'] as const

const everything = Object.fromEntries(
  PERFORMANCE.filter((type) => type !== 'nl-cache').map((type) => [type, {}]),
)

/** The file as the bricks hold it. */
function onBricks(volume: Volume, name: string): string | undefined {
  const path = volume.bricks
    .map((brick) => `${brick}/${name}`)
    .find((one) => {
      return existsSync(one) && (statSync(one).mode & 0o1000) === 0
    })
  return path === undefined ? undefined : readFileSync(path, 'latin1')
}

describe('what was answered holds', { skip, timeout: 180_000 }, () => {
  let volume: Volume
  let volfile: string
  const peers: Peer[] = []
  const mounts: Mount[] = []

  const peer = (): Peer => {
    peers.push(new Peer())
    return peers.at(-1)!
  }
  const mount = async (of = volume, path = volfile): Promise<Mount> => {
    mounts.push(await of.mount(ours, [], { volfile: path }))
    return mounts.at(-1)!
  }

  before(async () => {
    volume = await Volume.create('kept', { bricks: 2 })
    volfile = volfileWith(volume, 'all', everything)
  })

  after(async () => {
    await Promise.all(peers.map((one) => one.end()))
    for (const one of mounts) {
      if (one.alive()) await one.unmount()
      else await run(['umount', '-l', one.dir], { mayFail: true })
    }
  })

  test('synced data is on the bricks when our client is killed', async () => {
    const bytes = 'A'.repeat(1000)
    const die = async (how: (typeof HOW)[number]): Promise<void> => {
      const { dir, pid } = await mount()
      const writer = peer()
      const flags = how === 'O_SYNC' ? O.O_SYNC : how === 'O_DSYNC' ? O.O_DSYNC : 0
      const direct = how === 'O_DIRECT'
      const fd = await writer.open(
        `${dir}/${how}`,
        O.O_CREAT | O.O_WRONLY | flags | (direct ? O.O_DIRECT | O.O_SYNC : 0),
      )
      const count = direct ? 1 : 20
      for (let i = 0; i < count; i++) {
        const size = direct ? 4096 : 1000
        const text = direct ? 'A'.repeat(4096) : bytes
        const call = direct ? 'pwriteAligned' : 'pwrite'
        assert.equal(await writer.call(call, fd, { bytes: text }, i * size), size, `${how} ${i}`)
      }
      if (how === 'fsync' || how === 'fdatasync') assert.equal(await writer.call(how, fd), 0)
      if (how === 'close') assert.equal(await writer.call('close', fd), 0)
      process.kill(pid, 'SIGKILL')
      // close() promises no more than that the data was written, which the bricks may still do
      if (how === 'close') await sleep(200)
      const size = direct ? 4096 : 20_000
      assert.equal(onBricks(volume, how), 'A'.repeat(size), how)
    }
    await Promise.all(HOW.map(die))
  })

  /** Writes MiB after MiB until something fails; the call and its errno. */
  async function fill(dir: string, name: string, mibs: number): Promise<[string, unknown][]> {
    const writer = peer()
    const fd = await writer.open(`${dir}/${name}`, O.O_CREAT | O.O_WRONLY)
    const answers: [string, unknown][] = []
    const bytes = 'x'.repeat(MIB / 4)
    for (let i = 0; i < mibs * 4; i++) {
      const written = await writer.call('pwrite', fd, { bytes }, (i * MIB) / 4)
      if (typeof written === 'number' && written < 0) {
        answers.push(['write', written])
        break
      }
    }
    answers.push(['fsync', await writer.call('fsync', fd)])
    answers.push(['close', await writer.call('close', fd)])
    return answers
  }

  const failed = (answers: [string, unknown][], errno: number): boolean =>
    answers.some(([, answer]) => answer === errno)

  test('a full brick is reported', async () => {
    const brick = space('bricks/full-0')
    mkdirSync(brick, { recursive: true })
    await run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'full', brick])
    const full = await Volume.create('full', { bricks: 1 })
    const { dir } = await mount(full, volfileWith(full, 'all', everything))
    const answers = await fill(dir, 'big', 40)
    assert.ok(failed(answers, ENOSPC), JSON.stringify(answers))
    // what is there is what was written, and there is room again
    const writer = peer()
    assert.equal(await writer.call('unlink', `${dir}/big`), 0)
    assert.deepEqual(await fill(dir, 'small', 2), [
      ['fsync', 0],
      ['close', 0],
    ])
  })

  test('a directory quota is reported', async () => {
    await gluster('volume', 'quota', 'kept', 'enable')
    const writer = peer()
    const { dir } = await mount()
    await writer.must('mkdir', `${dir}/limited`)
    await gluster('volume', 'quota', 'kept', 'hard-timeout', '0')
    await gluster('volume', 'quota', 'kept', 'soft-timeout', '0')
    await gluster('volume', 'quota', 'kept', 'limit-usage', '/limited', '4MB')
    const answers = await fill(`${dir}/limited`, 'big', 24)
    assert.ok(failed(answers, EDQUOT), JSON.stringify(answers))
  })

  test('a brick that dies before the data is there is reported, and then forgotten', async () => {
    const { dir } = await mount()
    const writer = peer()
    const fd = await writer.open(`${dir}/lost`, O.O_CREAT | O.O_WRONLY)
    assert.equal(await writer.call('pwrite', fd, { bytes: 'first' }, 0), 5)
    assert.equal(await writer.call('fsync', fd), 0)
    const at = volume.bricks.findIndex((brick) => existsSync(`${brick}/lost`))
    const pid = volume.brickPid(at)!
    await stopProcess(pid)
    // answered while the brick sleeps
    assert.equal(await writer.call('pwrite', fd, { bytes: 'second' }, 5), 6)
    await volume.killBrick(at)
    const synced = await writer.call('fsync', fd)
    assert.ok(typeof synced === 'number' && synced < 0, `fsync: ${String(synced)}`)
    await volume.startBricks()
    // with the brick the fd comes back, and the failure is history
    let again: unknown
    for (let i = 0; i < 100 && again !== 0; i++) {
      await sleep(100)
      await writer.call('pwrite', fd, { bytes: 'third' }, 0)
      again = await writer.call('fsync', fd)
    }
    assert.equal(again, 0)
    assert.equal(await writer.call('fsync', fd), 0)
    assert.equal(await writer.call('close', fd), 0)
    assert.equal(onBricks(volume, 'lost')?.slice(0, 5), 'third')
  })
})
