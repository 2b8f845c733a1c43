/**
 * Two clients at one file of a dispersed volume at once: nothing appended is lost, nothing
 * overwritten is torn, and the lock changes hands in well under 100 ms. What one closed the other
 * reads after an open, whatever it has cached.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { clock } from '../../src/core/clock.ts'
import { DisperseVolume, parseShape } from '../lib/disperse-volume.ts'
import { UNCACHED, uncached } from '../lib/edit-proof.ts'
import { Peer } from '../lib/peer.ts'
import { type ClientKind, enterSandbox, type Mount, ours } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const shape = process.env.DISPERSE_SHAPE ?? '4+2'
/** How much longer than in npm test; `npm run soak -- disperse-clients` takes 10. */
const scale = Number(process.env.DISPERSE_SCALE ?? 1)
const appends = 60 * scale
/** Not a divisor of a stripe: neighbours share stripes. */
const RECORD = 333
const RECORDS = 60
/** Edits of which each is read by the other mounts at once. */
const EDITS = 100 * scale
const ROUNDS = 2 * scale
/** Times the lock changes hands while it is measured. */
const TURNS = 30 * scale
/** Goal for the lock's way to the other client, and what one slow turn on a busy machine may take. */
const HANDOVER_MAX_MS = 100
const SLOWEST_MAX_MS = 2000

for (const other of ['stock', 'ours'] satisfies ClientKind[]) {
  void describe(`ours and ${other} at one file`, { skip, timeout: 300_000 * scale }, () => {
    let target: DisperseVolume
    const mounts: Mount[] = []
    const peers: Peer[] = []

    before(async () => {
      const set = { ...uncached, 'performance.write-behind': 'off' }
      target = await DisperseVolume.create(`two${other}`, parseShape(shape), set)
      for (const kind of [ours, other]) {
        mounts.push(await target.volume.mount(kind, UNCACHED))
        peers.push(new Peer())
      }
    })

    after(async () => {
      for (const peer of peers) await peer.end()
      for (const mount of mounts) await mount.unmount()
      await target.volume.destroy()
    })

    const at = (client: number, name: string): string => join(mounts[client]!.dir, name)

    /** Both clients see `content`, and the bricks hold it. */
    async function check(name: string, content: Buffer): Promise<void> {
      for (const client of mounts.keys()) {
        assert.ok(readFileSync(at(client, name)).equals(content), mounts[client]!.kind)
      }
      await target.settled([name])
      await target.checkFiles([{ name, content }])
    }

    void test('appends: none is lost, none is torn', async (t) => {
      closeSync(openSync(at(0, 'log'), 'w'))
      const began = clock.now()
      const done = await Promise.all(
        peers.map(async (peer, client) => {
          const fd = await peer.open(at(client, 'log'), sys.O.O_WRONLY | sys.O.O_APPEND)
          const result = await peer.call('append', fd, `client ${client}`, appends)
          await peer.call('close', fd)
          return result
        }),
      )
      t.diagnostic(`${2 * appends} appends in ${Math.round(clock.now() - began)} ms`)
      assert.deepEqual(done, [0, 0])
      const content = readFileSync(at(0, 'log'))
      const lines = content.toString('latin1').split('\n').slice(0, -1)
      for (const client of [0, 1]) {
        const mine = lines.filter((line) => line.startsWith(`client ${client} `))
        const numbers = Array.from({ length: appends }, (_, i) => String(i).padStart(6, '0'))
        const expected = numbers.map((number) => `client ${client} ${number}`)
        assert.deepEqual(mine, expected)
      }
      assert.equal(lines.length, 2 * appends)
      await check('log', content)
    })

    void test('overwriting neighbours: every record is whole', async () => {
      writeFileSync(at(1, 'table'), Buffer.alloc(RECORD * RECORDS))
      const last = Buffer.alloc(RECORD * RECORDS)
      const done = await Promise.all(
        peers.map(async (peer, client) => {
          const fd = await peer.open(at(client, 'table'), sys.O.O_RDWR)
          for (let round = 0; round < ROUNDS; round++) {
            for (let i = client; i < RECORDS; i += 2) {
              const record = Buffer.alloc(RECORD, 65 + ((round * 31 + i) % 58))
              const bytes = record.toString('latin1')
              const count = await peer.call('pwrite', fd, { bytes }, i * RECORD)
              if (count !== RECORD) return count
              record.copy(last, i * RECORD)
            }
          }
          return peer.call('close', fd)
        }),
      )
      assert.deepEqual(done, [0, 0])
      await check('table', last)
    })

    void test('the lock changes hands at once', async (t) => {
      writeFileSync(at(0, 'turns'), '')
      const fds = [0, 1].map((client) => sys.must(sys.open(at(client, 'turns'), sys.O.O_RDWR)))
      const times: number[][] = [[], []]
      for (let turn = 0; turn < TURNS; turn++) {
        const client = turn % 2
        const began = clock.now()
        assert.equal(sys.pwrite(fds[client]!, Buffer.alloc(100, turn), turn * 100), 100)
        times[client]!.push(clock.now() - began)
      }
      for (const fd of fds) sys.close(fd)
      for (const [client, taken] of times.entries()) {
        taken.sort((a, b) => a - b)
        const [median, slowest] = [taken[taken.length >> 1]!, taken.at(-1)!]
        const from = mounts[1 - client]!.kind
        t.diagnostic(
          `${from} to ${mounts[client]!.kind}: median ${median.toFixed(1)} ms, ` +
            `slowest ${slowest.toFixed(1)} ms`,
        )
        assert.ok(median < HANDOVER_MAX_MS, `lock from ${from}: ${median} ms`)
        assert.ok(slowest < SLOWEST_MAX_MS, `lock from ${from}: ${slowest} ms at worst`)
      }
    })
  })
}

void describe('close to open with all caches', { skip, timeout: 300_000 * scale }, () => {
  let target: DisperseVolume
  const mounts: Mount[] = []

  before(async () => {
    // Else stock's close returns before what was written is there.
    const set = { 'performance.flush-behind': 'off' }
    target = await DisperseVolume.create('cached', parseShape(shape), set)
    for (const kind of [ours, 'stock', ours] as const) mounts.push(await target.volume.mount(kind))
  })

  after(async () => {
    for (const mount of mounts) await mount.unmount()
    await target.volume.destroy()
  })

  void test('what any mount closed is what ours read', () => {
    const random = seeded(7)
    const pick = (below: number): number => Math.floor(random() * below)
    const contents = new Map(['a', 'b', 'c'].map((name) => [name, Buffer.alloc(20_000)]))
    for (const [name, content] of contents) writeFileSync(join(mounts[1]!.dir, name), content)
    for (let edit = 0; edit < EDITS; edit++) {
      const name = ['a', 'b', 'c'][pick(3)]!
      const content = contents.get(name)!
      const offset = pick(4) === 0 ? content.length : pick(content.length)
      const data = Buffer.alloc(1 + pick(3000), edit)
      const after = Buffer.alloc(Math.max(content.length, offset + data.length))
      content.copy(after)
      data.copy(after, offset)
      contents.set(name, after)
      const writer = mounts[pick(3)]!
      const flags = [sys.O.O_WRONLY, sys.O.O_RDWR][pick(2)]!
      const fd = sys.must(sys.open(join(writer.dir, name), flags))
      assert.equal(sys.pwrite(fd, data, offset), data.length)
      assert.equal(sys.close(fd), 0)
      for (const reader of [mounts[0]!, mounts[2]!]) {
        const what = `edit ${edit} of ${name} at ${offset} by ${writer.kind}`
        assert.ok(readFileSync(join(reader.dir, name)).equals(after), what)
      }
    }
  })
})
