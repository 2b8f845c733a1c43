/** A volume changes its options, translators and bricks under load: short forms of the soaks. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { changeVolume, connections, graphToggles, LiveVolume, logged } from '../lib/live-changes.ts'
import { enterSandbox, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

async function switches(live: LiveVolume, count: number): Promise<void> {
  for (let done = 0; done < count; done++) {
    const key = graphToggles[Math.floor(done / 2) % graphToggles.length]!
    await live.switchGraph(() => live.volume.set(key, done % 2 === 0 ? 'off' : 'on'))
  }
}

describe('a volume that changes under load', { skip, timeout: 180_000 }, () => {
  test('12 graphs: nothing fails, locks move along, old graphs end', async () => {
    const live = await LiveVolume.start(await Volume.create('switched', { bricks: 2 }))
    const before = await connections(live.mount)
    live.work(1, 4)
    await switches(live, 12)
    await live.rest()
    await live.settled()
    assert.equal(await connections(live.mount), before)
    assert.deepEqual([await live.held('Distribute'), await live.held('Client')], [1, 2])
    await live.end()
    await live.mount.unmount()
    await live.volume.killBricks()
  })

  test('new values, a brick more', async () => {
    const live = await LiveVolume.start(await Volume.create('grown', { bricks: 2 }))
    await changeVolume(live, {
      processes: 1,
      values: 6,
      added: 1,
      whileAdding: 'writer',
      // Gluster's own copier fails now and then on a loaded machine: the soak takes one away.
      removed: 0,
    })
    await live.settled()
    await live.end()
    await live.mount.unmount()
    await live.volume.killBricks()
  })

  // A lock that waits does so on one brick; all have to be told that it does not any more.
  for (const layout of [
    ['disperse', '3', 'redundancy', '1'],
    ['replica', '3'],
  ]) {
    test(`on a volume with ${layout.join(' ')}`, async () => {
      const live = await LiveVolume.start(await Volume.create(layout[0]!, { bricks: 3, layout }))
      live.work(1, 4)
      await switches(live, 2)
      await live.rest()
      await live.settled()
      await live.end()
      await live.mount.unmount()
      await live.volume.killBricks()
    })
  }

  test('a volfile with an error is refused, the graph goes on', async () => {
    const volume = await Volume.create('bad', { bricks: 1 })
    const mount = await volume.mount('ours')
    const volfile = '/var/lib/glusterd/vols/bad/trusted-bad.tcp-fuse.vol'
    const good = readFileSync(volfile, 'latin1')
    const refused = 'the new volfile is refused, the old graph goes on'
    for (const [text, why] of [
      [good.replace('end-volume', 'end-volum'), /syntax error/],
      [good.replace('cluster/distribute', 'cluster/unheard-of'), /unheard-of' is not supported/],
      [good.replace(/(option ping-timeout) \d+/, '$1 soon'), /invalid time "soon"/],
    ] as const) {
      const before = logged(mount, refused)
      writeFileSync(volfile, text)
      process.kill(mount.pid, 'SIGHUP')
      for (let i = 0; i < 100 && logged(mount, refused) === before; i++) await sleep(50)
      assert.match(readFileSync(mount.log, 'latin1'), new RegExp(`${refused}: .*${why.source}`))
      writeFileSync(`${mount.dir}/file`, text)
      assert.equal(readFileSync(`${mount.dir}/file`, 'utf8'), text)
    }
    writeFileSync(volfile, good)
    await mount.unmount()
  })
})
