/**
 * What the kernel keeps of a volume with cache invalidation: everything warm costs no request to a
 * brick, another client's change shows at once, and a lost connection ends it all.
 */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { Peer } from '../lib/peer.ts'
import { CACHED, enterSandbox, type Mount, ours, sleep, Volume } from '../lib/sandbox.ts'

const skip = await enterSandbox(import.meta.url)

/** Upcall, notification and the caller's turn; a few ms on a quiet machine. */
const visibleMaxMs = 1000
const files = Array.from({ length: 30 }, (_, i) => `d/f${i}`)

describe('what the kernel keeps with cache invalidation', { skip, timeout: 120_000 }, () => {
  let volume: Volume
  let mount: Mount
  let stock: Mount
  let here: Peer
  let there: Peer

  before(async () => {
    volume = await Volume.create('leased', { bricks: 2, set: CACHED })
    stock = await volume.mount('stock')
    there = new Peer()
    await there.must('mkdir', `${stock.dir}/d`)
    for (const file of files) await there.must('writeFile', `${stock.dir}/${file}`, file, 0)
    mount = await volume.mount(ours)
    here = new Peer()
  })

  after(async () => {
    await Promise.all([here, there].map((peer) => peer.end()))
    for (const one of [mount, stock]) await one.unmount()
  })

  /** FOPs sent to the bricks since it was asked last, by name. */
  function sent(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const brick of [0, 1]) {
      const path = `${mount.dir}/.meta/graphs/active/leased-client-${brick}/profile`
      for (const [, fop, count] of readFileSync(path, 'latin1').matchAll(
        /latency\.(\w+) = .*CNT:(\d+)/g,
      )) {
        counts.set(fop!, (counts.get(fop!) ?? 0) + Number(count))
      }
    }
    return counts
  }

  async function useEverything(): Promise<void> {
    await here.call('names', `${mount.dir}/d`)
    for (const file of files) {
      await here.call('stat', `${mount.dir}/${file}`)
      assert.equal(await here.content(`${mount.dir}/${file}`), file)
    }
  }

  /** The second it takes until `.meta` and the kernel's own timeouts have passed. */
  const timeoutsPass = (): Promise<void> => sleep(1200)

  test('warm stat, open, read and listing send nothing but for the directories', async () => {
    for (let i = 0; i < 2; i++) {
      await useEverything()
      await timeoutsPass()
    }
    sent()
    await timeoutsPass()
    await useEverything()
    await timeoutsPass()
    await useEverything()
    const counts = sent()
    counts.delete('STATFS')
    // the directory, and the root, which is looked up; on two bricks, once a second
    const asked = (counts.get('STAT') ?? 0) + (counts.get('LOOKUP') ?? 0)
    counts.delete('STAT')
    counts.delete('LOOKUP')
    assert.deepEqual([...counts], [])
    assert.ok(asked <= 24, `${asked} STATs and LOOKUPs for ${3 * files.length} calls`)
  })

  test("another client's change shows at once", async () => {
    const waits: number[] = []
    for (const [i, file] of files.slice(0, 10).entries()) {
      const text = `${file} changed`
      const changed = clock.now()
      await there.must('writeFile', `${stock.dir}/${file}`, text, 0)
      let size: unknown
      do {
        const found = await here.call('stat', `${mount.dir}/${file}`)
        size = typeof found === 'object' ? found.size : found
      } while (size !== text.length && clock.now() - changed < visibleMaxMs)
      waits.push(clock.now() - changed)
      assert.equal(size, text.length, `size ${i}`)
      assert.equal(await here.content(`${mount.dir}/${file}`), text)
      await there.must('writeFile', `${stock.dir}/${file}`, file, 0)
      await there.must('truncate', `${stock.dir}/${file}`, file.length)
    }
    console.log(`# seen after ${waits.map((ms) => ms.toFixed(1)).join(' ')} ms`)
  })

  test('what changed while a brick could not tell is seen when it is back', async () => {
    await useEverything()
    await timeoutsPass()
    const [brick] = volume.bricks
    // attributes, pages and a name of a file on the brick that goes away
    const [moded, written, moved] = files.filter((one) => existsSync(`${brick}/${one}`))
    const mode = async (): Promise<unknown> => {
      const found = await here.call('stat', `${mount.dir}/${moded}`)
      return typeof found === 'object' ? Number(found.mode) & 0o777 : found
    }
    assert.equal(await mode(), 0o644)
    await volume.killBrick(0)
    chmodSync(`${brick}/${moded}`, 0o600)
    // the same size
    const text = written!.toUpperCase()
    writeFileSync(`${brick}/${written}`, text)
    renameSync(`${brick}/${moved}`, `${brick}/${moved} away`)
    await volume.startBricks()
    const back = clock.now()
    const seen = async (wanted: unknown, ask: () => Promise<unknown>): Promise<void> => {
      let found = await ask()
      for (; found !== wanted && clock.now() - back < 15_000; found = await ask()) await sleep(50)
      assert.equal(found, wanted)
    }
    await seen(0o600, mode)
    await seen(text, () => here.content(`${mount.dir}/${written}`))
    await seen(-2, () => here.call('stat', `${mount.dir}/${moved}`))
  })

  test('timeouts given on the command line are kept to', async () => {
    const strict = await volume.mount(ours, ['--attribute-timeout=0', '--entry-timeout=0'])
    const path = `${strict.dir}/.meta/graphs/active/leased/profile`
    await here.call('stat', `${strict.dir}/${files[20]!}`)
    readFileSync(path)
    for (let i = 0; i < 5; i++) await here.call('stat', `${strict.dir}/${files[20]!}`)
    const lookups = /latency\.LOOKUP = .*CNT:(\d+)/.exec(readFileSync(path, 'latin1'))?.[1]
    assert.ok(Number(lookups) >= 5, `${lookups} LOOKUPs`)
    await strict.unmount()
  })
})
