/**
 * Coherence with a second client, for each performance translator alone, for none and for all: what
 * a stock mount writes, truncates, renames, chmods, unlinks and creates shows within the documented
 * bound; close-to-open; one's own writes at once.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { Peer } from '../lib/peer.ts'
import { CACHED, enterSandbox, type Mount, ours, sleep, Volume } from '../lib/sandbox.ts'
import { O } from '../lib/syscalls.ts'
import { type Choice, PERFORMANCE, volfileWith } from '../lib/translators.ts'

const skip = await enterSandbox(import.meta.url)

const all = (options: Choice): Choice => ({
  ...Object.fromEntries(PERFORMANCE.map((type) => [type, {}])),
  ...options,
})

const told = { 'md-cache': { 'cache-invalidation': 'on', 'md-cache-timeout': '600' } } as const
const { 'nl-cache': _, ...withoutNl } = all({})

interface Volumes {
  readonly set: Record<string, string>
  /** Whatever another client does shows after so long, ms. */
  readonly visibleMaxMs: number
  readonly choices: Readonly<Record<string, Choice>>
}

/** nl-cache remembers absent names for a minute: only for volumes that tell of new ones. */
const volumes: Readonly<Record<string, Volumes>> = {
  /** A second in the kernel, a second in a translator. */
  plain: {
    set: {},
    visibleMaxMs: 2500,
    choices: {
      none: {},
      ...Object.fromEntries(
        PERFORMANCE.filter((type) => type !== 'nl-cache').map((type) => [type, { [type]: {} }]),
      ),
      all: withoutNl,
    },
  },
  /** Files are told of at once, a directory's listing and times are believed for a second. */
  cached: {
    set: CACHED,
    visibleMaxMs: 1500,
    choices: {
      'md-cache': told,
      'nl-cache': { 'nl-cache': { 'nl-cache-positive-entry': 'on' } },
      'quick-read': { 'quick-read': { 'quick-read-cache-invalidation': 'on' } },
      all: all(told),
    },
  },
}

for (const [name, { set, visibleMaxMs, choices }] of Object.entries(volumes)) {
  describe(`each translator beside a stock mount, ${name}`, { skip, timeout: 180_000 }, () => {
    const mounts = new Map<string, Mount>()
    let stock: Mount
    let here: Peer
    let there: Peer

    before(async () => {
      const volume = await Volume.create(name, { bricks: 2, set })
      stock = await volume.mount('stock')
      for (const [which, choice] of Object.entries(choices)) {
        mounts.set(
          which,
          await volume.mount(ours, [], { volfile: volfileWith(volume, which, choice) }),
        )
      }
      here = new Peer()
      there = new Peer()
    })

    after(async () => {
      await Promise.all([here, there].map((peer) => peer.end()))
      for (const mount of [stock, ...mounts.values()]) await mount.unmount()
    })

    /** Asks every mount until all answer as wanted; gives the longest wait. */
    async function seen(
      what: string,
      wanted: unknown,
      ask: (dir: string, which: string) => Promise<unknown>,
    ): Promise<void> {
      const begin = clock.now()
      const missing = new Set(mounts.keys())
      const last = new Map<string, unknown>()
      for (;;) {
        for (const which of missing) {
          const answer = await ask(mounts.get(which)!.dir, which)
          last.set(which, answer)
          if (answer === wanted) missing.delete(which)
        }
        if (missing.size === 0) return
        const waited = clock.now() - begin
        const shown = [...missing].map((which) => `${which}: ${String(last.get(which))}`).join(', ')
        assert.ok(waited < visibleMaxMs, `${what} after ${Math.round(waited)} ms: ${shown}`)
        await sleep(20)
      }
    }

    test("the other client's changes show", async () => {
      const dir = `${stock.dir}/d`
      const names = ['written', 'overwritten', 'truncated', 'renamed', 'replaced', 'mode', 'gone']
      await there.must('mkdir', dir)
      for (const file of names) await there.must('writeFile', `${dir}/${file}`, 'old text', 0)
      await there.must('writeFile', `${stock.dir}/other`, 'new text', 0)
      const fds = new Map<string, number>()
      for (const [which, mount] of mounts) {
        // everything is in every cache, and one file is open
        assert.equal(await here.call('stat', `${mount.dir}/d/new`), -2)
        await here.call('names', `${mount.dir}/d`)
        for (const file of names) {
          await here.call('stat', `${mount.dir}/d/${file}`)
          assert.equal(await here.content(`${mount.dir}/d/${file}`), 'old text')
        }
        fds.set(which, await here.open(`${mount.dir}/d/overwritten`, O.O_RDONLY))
      }
      const size = async (path: string): Promise<unknown> => {
        const found = await here.call('stat', path)
        return typeof found === 'object' ? found.size : found
      }
      await there.must('writeFile', `${dir}/written`, 'new, longer text', 0)
      await there.must('writeFile', `${dir}/overwritten`, 'new text', 0)
      await there.must('truncate', `${dir}/truncated`, 3)
      await there.must('rename', `${dir}/renamed`, `${dir}/moved`)
      await there.must('rename', `${stock.dir}/other`, `${dir}/replaced`)
      await there.must('chmod', `${dir}/mode`, 0o600)
      await there.must('unlink', `${dir}/gone`)
      await there.must('writeFile', `${dir}/new`, 'new', 0)
      await Promise.all([
        seen('size of what was written', 16, (at) => size(`${at}/d/written`)),
        seen('bytes of what was written', 'new, longer text', (at) =>
          here.content(`${at}/d/written`),
        ),
        seen('bytes through an open fd', 'new text', (_at, which) =>
          here.call('pread', fds.get(which)!, 100, 0),
        ),
        seen('truncate', 3, (at) => size(`${at}/d/truncated`)),
        seen('old name', -2, (at) => here.call('stat', `${at}/d/renamed`)),
        seen('new name', 'old text', (at) => here.content(`${at}/d/moved`)),
        seen('replaced file', 'new text', (at) => here.content(`${at}/d/replaced`)),
        seen('mode', 0o600, async (at) => {
          const found = await here.call('stat', `${at}/d/mode`)
          return typeof found === 'object' ? Number(found.mode) & 0o7777 : found
        }),
        seen('unlink', -2, (at) => here.call('stat', `${at}/d/gone`)),
        seen('new file', 'new', (at) => here.content(`${at}/d/new`)),
        seen('listing', '. .. mode moved new overwritten replaced truncated written', (at) =>
          here.call('names', `${at}/d`),
        ),
      ])
      for (const fd of fds.values()) await here.call('close', fd)
    })

    test('close to open', async () => {
      for (let i = 0; i < 8; i++) {
        const text = `version ${String(i).padStart(4, '0')} ${'y'.repeat(i % 4 === 0 ? i : 0)}`
        assert.equal(await there.call('writeFile', `${stock.dir}/shared`, text, O.O_TRUNC), 0)
        for (const [which, { dir }] of mounts) {
          assert.equal(await here.content(`${dir}/shared`), text, `${which}, version ${i}`)
        }
      }
    })

    test('O_DIRECT reads ask the bricks, whatever is cached', async () => {
      const path = `${stock.dir}/direct`
      const text = (i: number): string => String.fromCharCode(65 + i).repeat(4096)
      await there.must('writeFile', path, text(0), 0)
      const fds = new Map<string, number>()
      for (const [which, { dir }] of mounts) {
        assert.equal(await here.content(`${dir}/direct`), text(0))
        fds.set(which, await here.open(`${dir}/direct`, O.O_RDONLY | O.O_DIRECT))
      }
      for (let i = 1; i < 4; i++) {
        await there.must('writeFile', path, text(i), O.O_SYNC)
        for (const [which, fd] of fds) {
          assert.equal(await here.call('pread', fd, 4096, 0), text(i), `${which} ${i}`)
        }
      }
      for (const fd of fds.values()) await here.call('close', fd)
    })

    test('one sees what one has written, by any fd and name', async () => {
      for (const [which, { dir }] of mounts) {
        const path = `${dir}/own ${which}`
        const a = await here.open(path, O.O_RDWR | O.O_CREAT)
        const b = await here.open(path, O.O_RDWR)
        for (let i = 0; i < 12; i++) {
          const [writer, reader] = i % 2 === 0 ? [a, b] : [b, a]
          const bytes = String.fromCharCode(65 + i).repeat(3000)
          assert.equal(await here.call('pwrite', writer, { bytes }, i * 2500), 3000)
          assert.equal(await here.call('pread', reader, 3000, i * 2500), bytes, `${which} ${i}`)
          const found = (await here.call('stat', path)) as { size: number }
          assert.equal(found.size, i * 2500 + 3000, `${which} ${i}`)
        }
        assert.equal(await here.call('ftruncate', a, 100), 0)
        assert.equal(await here.call('pread', b, 3000, 50), 'A'.repeat(50))
        await here.must('rename', path, `${path}.x`)
        assert.equal(await here.content(`${path}.x`), 'A'.repeat(100))
        await here.call('close', a)
        await here.call('close', b)
        // and so does everybody else, now that it is closed
        assert.equal(await there.content(`${stock.dir}/own ${which}.x`), 'A'.repeat(100))
      }
    })
  })
}
