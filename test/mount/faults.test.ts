/** Bricks that die and come back, a management server that stops, a volume that grows: under load. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { after, afterEach, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { type LoadResult, startLoad } from '../lib/load.ts'
import { givenOptions } from '../lib/option-sets.ts'
import { Peer } from '../lib/peer.ts'
import { enterSandbox, gluster, type Mount, ours, run, sh, sleep, Volume } from '../lib/sandbox.ts'
import { O } from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const [ENOENT, ENOTCONN] = [-2, -107]
/** The promise of the mount issue: everything works again this long after a brick is back. */
const recoveryMaxMs = 5000
/** A call on a dead brick answers, and a call on a live one is delayed, no longer than this. */
const delayMaxMs = 2000

/** Names in the volume's root, one for each brick: [name on brick 0, name on brick 1]. */
async function namesByBrick(volume: Volume, mount: Mount, tag: string): Promise<string[]> {
  await sh(`cd '${mount.dir}'; for i in $(seq 12); do echo content >${tag}$i; done`)
  return Promise.all(
    volume.bricks.map(async (brick) => {
      const found = await sh(`cd '${brick}'; find . -maxdepth 1 -name '${tag}*' -size +0 | head -1`)
      assert.notEqual(found.stdout, '', `no file on ${brick}`)
      return found.stdout.trim().slice(2)
    }),
  )
}

async function timed<T>(call: Promise<T>): Promise<{ result: T; ms: number }> {
  const began = clock.now()
  const result = await call
  return { result, ms: clock.now() - began }
}

function noProblems(result: LoadResult): void {
  assert.deepEqual(result.problems, [])
  assert.ok(result.operations > 10, `only ${result.operations} operations`)
}

describe('a brick dies and returns', { skip, timeout: 180_000 }, () => {
  let volume: Volume
  let mount: Mount
  let peers: Peer[]
  const at = (name: string): string => `${mount.dir}/${name}`

  before(async () => {
    volume = await Volume.create('vf', { bricks: 2, set: givenOptions() })
    mount = await volume.mount(ours)
  })

  afterEach(async () => {
    await Promise.all(peers.map((peer) => peer.end()))
    // also when the test did not come so far
    await volume.startBricks()
    const names = `cd '${mount.dir}' && for i in $(seq 12); do echo >back-$i || exit 1; done`
    for (let i = 0; i < 60 && (await sh(names, { mayFail: true })).status !== 0; i++) {
      await sleep(100)
    }
  })

  after(() => mount.unmount())

  for (const round of [1, 2, 3]) {
    test(`the other brick goes on, the dead one fails at once, round ${round}`, async () => {
      peers = [new Peer(), new Peer()]
      const [dead, live] = peers as [Peer, Peer]
      const victim = round % 2
      const names = await namesByBrick(volume, mount, `r${round}-`)
      const [deadName, liveName] = [names[victim]!, names[1 - victim]!]
      const deadFd = await dead.open(at(deadName), O.O_RDWR)
      const liveFd = await live.open(at(liveName), O.O_RDWR)
      assert.equal(await dead.call('pwrite', deadFd, { bytes: 'before' }, 0), 6)

      let slowest = 0
      const results = new Set<unknown>()
      let running = true
      const load = (async () => {
        while (running) {
          const { result, ms } = await timed(live.call('pwrite', liveFd, { bytes: 'alive' }, 0))
          slowest = Math.max(slowest, ms)
          results.add(result)
          results.add(typeof (await live.call('stat', at(liveName))))
          await sleep(5)
        }
      })()

      await sleep(300)
      await volume.killBrick(victim)
      await sleep(300)
      // write-behind may accept one more write; the error then comes with the next call
      const write = await timed(dead.call('pwrite', deadFd, { bytes: 'never' }, 0))
      const sync = await timed(dead.call('fsync', deadFd))
      assert.ok([write.result, sync.result].includes(ENOTCONN), `${write.result}, ${sync.result}`)
      assert.ok(write.ms + sync.ms < delayMaxMs, `took ${write.ms} and ${sync.ms} ms`)
      // no page cache may answer for the brick: read what was never read
      const read = await timed(dead.call('pread', deadFd, 10, 1 << 20))
      assert.ok(read.ms < delayMaxMs, `read took ${read.ms} ms`)
      await sleep(1100)
      const stat = await timed(dead.call('stat', at(deadName)))
      assert.ok(stat.result === ENOTCONN || stat.result === ENOENT, `stat: ${String(stat.result)}`)
      assert.ok(stat.ms < delayMaxMs, `stat took ${stat.ms} ms`)
      const chmod = await dead.call('fchmod', deadFd, 0o640)
      assert.equal(chmod, ENOTCONN)
      const listing = await run(['ls', '-f', mount.dir], { mayFail: true, timeoutMs: 10_000 })
      assert.ok(listing.stdout.includes(liveName), 'the live brick is not listed')

      await volume.startBricks()
      const back = clock.now()
      let works = false
      while (!works && clock.now() - back < recoveryMaxMs) {
        const count = await dead.call('pwrite', deadFd, { bytes: 'after!' }, 0)
        works = count === 6 && (await dead.call('fsync', deadFd)) === 0
        if (!works) await sleep(50)
      }
      assert.ok(works, `the open file does not work ${recoveryMaxMs} ms after the return`)
      assert.equal(await dead.content(at(deadName)), 'after!t\n')
      assert.equal(await dead.call('fchmod', deadFd, 0o644), 0)
      running = false
      await load
      assert.deepEqual([...results].sort(), [5, 'object'])
      assert.ok(slowest < delayMaxMs, `a write on the live brick took ${slowest} ms`)
      assert.equal(await dead.call('close', deadFd), 0)
      assert.equal(await live.call('close', liveFd), 0)
      const all = await sh(`cat '${mount.dir}'/r${round}-* | wc -l`)
      assert.equal(all.stdout, '12\n')
      assert.ok(mount.alive())
    })
  }

  test('record locks work again when their brick is back', async () => {
    peers = [new Peer(), new Peer()]
    const [one, two] = peers as [Peer, Peer]
    const names = await namesByBrick(volume, mount, 'lock-')
    const fd = await one.open(at(names[0]!), O.O_RDWR)
    const other = await two.open(at(names[0]!), O.O_RDWR)
    assert.equal(await one.call('setlk', fd, 'write', 0, 10), 0)
    await volume.killBrick(0)
    await volume.startBricks()
    const back = clock.now()
    let locked: unknown
    do {
      await sleep(50)
      // the brick forgot the lock: it must be possible to take it again
      locked = await one.call('setlk', fd, 'write', 0, 10)
    } while (locked !== 0 && clock.now() - back < recoveryMaxMs)
    assert.equal(locked, 0)
    assert.equal(await one.call('pwrite', fd, { bytes: 'x' }, 0), 1)
    assert.equal(await two.call('setlk', other, 'write', 5, 10), -11)
  })

  test('glusterd stops and starts: the mount does not notice', async () => {
    peers = [new Peer()]
    const load = startLoad(at('glusterd'), 7, 5)
    await sleep(500)
    const pid = Number((await run(['pgrep', '-x', 'glusterd'])).stdout.trim().split('\n')[0])
    process.kill(pid, 'SIGKILL')
    while (existsSync(`/proc/${pid}`) && !zombie(pid)) await sleep(20)
    await sleep(2500)
    await run(['glusterd', '-l', '/var/log/glusterfs/glusterd.log'])
    noProblems(await load)
    assert.ok(mount.alive())
    for (let i = 0; i < 50; i++) {
      if ((await run(['gluster', 'volume', 'list'], { mayFail: true })).status === 0) break
      await sleep(100)
    }
    noProblems(await startLoad(at('glusterd-back'), 8, 1))
  })
})

function zombie(pid: number): boolean {
  return readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')
}

describe('the volume grows', { skip, timeout: 180_000 }, () => {
  test('add-brick and rebalance under load lose, double and fail nothing', async (t) => {
    const volume = await Volume.create('vg', { bricks: 2, set: givenOptions() })
    const mount = await volume.mount(ours)
    const stock = await volume.mount('stock')
    await sh(`mkdir '${mount.dir}/still' && cd '${mount.dir}/still'
      for i in $(seq 300); do echo "file $i" >f$i; done
      for i in $(seq 20); do head -c 2000000 /dev/urandom >large$i; done; sha256sum f* large* >/run/sums`)
    const reading = (async () => {
      for (let i = 0; i < 6; i++) {
        await sh(`cd '${mount.dir}/still' && sha256sum --quiet -c /run/sums`)
        const counts = await sh(`ls '${mount.dir}/still' | tee /run/names | wc -l
          sort -u /run/names | wc -l`)
        // a file that moves from brick to brick while both are listed can show twice or not
        if (counts.stdout !== '320\n320\n') t.diagnostic(`listed and different: ${counts.stdout}`)
        await sleep(500)
      }
    })()
    const writing = [
      startLoad(`${mount.dir}/one`, 1, 14, 'writer'),
      startLoad(`${mount.dir}/two`, 2, 14, 'writer'),
    ]
    await sleep(1000)
    await volume.addBrick()
    await gluster('volume', 'rebalance', volume.name, 'start')
    const [results] = await Promise.all([Promise.all(writing), reading])
    for (const result of results) noProblems(result)
    await rebalanced(volume)
    for (const [i, result] of results.entries()) {
      const sums = Object.entries(result.files).map(([name, sum]) => `${sum}  ${name}\n`)
      for (const { dir } of [mount, stock]) {
        await sh(
          `cd '${dir}/${['one', 'two'][i]}' && sha256sum --quiet -c -
          [ "$(find . -type f | wc -l)" = ${sums.length} ]`,
          { input: sums.join('') },
        )
      }
    }
    await sh(`cd '${mount.dir}/still' && sha256sum --quiet -c /run/sums`)
    assert.equal((await sh(`ls '${mount.dir}/still' | sort -u | wc -l`)).stdout, '320\n')
    assert.equal((await sh(`ls '${mount.dir}/still' | wc -l`)).stdout, '320\n')
    const moved = await sh(`find '${volume.bricks[2]}/still' -type f -size +0 | wc -l`)
    assert.ok(Number(moved.stdout) > 50, `only ${moved.stdout.trim()} files moved to the new brick`)
    assert.ok(mount.alive())
    await stock.unmount()
    await mount.unmount()
  })
})

async function rebalanced(volume: Volume): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const status = await gluster('volume', 'rebalance', volume.name, 'status')
    if (status.includes('completed')) return
    assert.ok(!status.includes('failed '), status)
    await sleep(300)
  }
  assert.fail('the rebalance does not end')
}
