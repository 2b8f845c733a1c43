/**
 * Dispersed volumes edited by our client and the stock one in turn: equal content through both, with
 * every brick there and with as many missing as may be; after the self-heal daemon is done, every
 * fragment is what the reference encoding gives and the counters are clean.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { Geometry } from '../../xlators/cluster/disperse/codec/geometry.ts'
import { enterSandbox, gluster, type Mount, run, sleep, Volume } from '../lib/sandbox.ts'
import { seeded } from '../lib/seeded.ts'
import * as sys from '../lib/syscalls.ts'

const skip = await enterSandbox(import.meta.url)

const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2', '8+3']
/** Seconds given to locks to end before what is on the bricks counts. */
const SETTLE_POLLS_MAX = 15
const scripts = Number(process.env.DISPERSE_SCRIPTS ?? 2)
const firstSeed = Number(process.env.DISPERSE_SEED ?? 1)
const EDITS = 25
const SIZE_MAX = 300_000

// Both clients must see each other's changes at once, whatever their caches are for.
const UNCACHED = ['--attribute-timeout=0', '--entry-timeout=0', '--direct-io-mode=enable']
const CACHES = ['quick-read', 'io-cache', 'stat-prefetch', 'write-behind', 'open-behind']

/** One file edited at random through one mount after the other, beside a copy in memory. */
class Script {
  content: Buffer = Buffer.alloc(0)
  name: string
  readonly #random: () => number
  readonly #mounts: readonly Mount[]
  #edits = 0

  constructor(seed: number, mounts: readonly Mount[]) {
    this.#random = seeded(seed)
    this.#mounts = mounts
    this.name = `script-${seed}`
    closeSync(openSync(join(mounts[0]!.dir, this.name), 'w'))
  }

  #number(below: number): number {
    return Math.floor(this.#random() * below)
  }

  #bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.#number(256)))
  }

  #write(offset: number, data: Buffer): void {
    const next = Buffer.alloc(Math.max(this.content.length, offset + data.length))
    this.content.copy(next)
    data.copy(next, offset)
    this.content = next
  }

  #resize(size: number): void {
    const next = Buffer.alloc(size)
    this.content.copy(next)
    this.content = next
  }

  edit(): void {
    const mount = this.#mounts[this.#number(this.#mounts.length)]!
    const path = join(mount.dir, this.name)
    const choice = this.#number(10)
    const { size } = { size: this.content.length }
    if (choice < 5) {
      const append = choice === 0
      const fd = sys.must(sys.open(path, append ? sys.O.O_WRONLY | sys.O.O_APPEND : sys.O.O_RDWR))
      for (let i = this.#number(3); i >= 0; i--) {
        const data = this.#bytes(1 + this.#number([10, 600, 5000, 40_000][this.#number(4)]!))
        const offset = append ? this.content.length : this.#number(size + 3000)
        assert.equal(append ? sys.write(fd, data) : sys.pwrite(fd, data, offset), data.length)
        this.#write(offset, data)
      }
      assert.equal(sys.close(fd), 0)
    } else if (choice < 7) {
      const length = size > SIZE_MAX ? 1000 : this.#number(size + 4000)
      assert.equal(sys.truncate(path, length), 0)
      this.#resize(length)
    } else if (choice < 9 && size > 0) {
      const from = this.#number(size)
      // A hole across the end would be stock's own fault (fragments too long to heal).
      const length = Math.min(size - from, 1 + this.#number(12_000))
      const fd = sys.must(sys.open(path, sys.O.O_RDWR))
      const mode = sys.FALLOC.PUNCH_HOLE | sys.FALLOC.KEEP_SIZE
      assert.equal(sys.fallocate(fd, mode, from, length), 0)
      assert.equal(sys.close(fd), 0)
      this.#write(from, Buffer.alloc(length))
    } else {
      const name = `${this.name.split('.')[0]}.${this.#edits}`
      assert.equal(sys.rename(path, join(mount.dir, name)), 0)
      this.name = name
    }
    this.#edits++
  }

  check(what: string): void {
    for (const mount of this.#mounts) {
      const path = join(mount.dir, this.name)
      const where = `${what}, edit ${this.#edits}, ${this.name} through ${mount.kind}`
      assert.equal(statSync(path).size, this.content.length, `${where}: size`)
      assert.ok(readFileSync(path).equals(this.content), `${where}: content`)
    }
  }
}

async function counters(path: string): Promise<Record<string, string>> {
  const names = ['-h', '--absolute-names', '-d', '-m', 'trusted.ec', '-e', 'hex', path]
  const { stdout } = await run(['getfattr', ...names])
  return Object.fromEntries(
    [...stdout.matchAll(/^trusted\.ec\.(\w+)=0x(\w+)$/gm)].map(([, name, value]) => [
      name!,
      value!,
    ]),
  )
}

/** Until nothing is left to heal; the daemon crawls when told. */
async function healed(volume: Volume): Promise<void> {
  for (let i = 0; i < 12; i++) {
    await gluster('volume', 'heal', volume.name).catch(() => {})
    await sleep(3000)
    const info = await gluster('volume', 'heal', volume.name, 'info')
    if (!/entries: [1-9-]/.test(info)) return
  }
  assert.fail('the volume does not heal')
}

for (const shape of shapes) {
  const [data, redundancy] = shape.split('+').map(Number)
  const geometry = new Geometry(data!, redundancy!)
  void describe(`disperse ${shape}`, { skip, timeout: 600_000 }, () => {
    let volume: Volume
    const mounts: Mount[] = []
    let edited: Script[] = []

    before(async () => {
      const layout = ['disperse-data', String(data), 'redundancy', String(redundancy)]
      const set = Object.fromEntries(CACHES.map((name) => [`performance.${name}`, 'off']))
      const name = `d${data}p${redundancy}`
      volume = await Volume.create(name, { bricks: geometry.brickCount, layout, set })
      mounts.push(await volume.mount('ours', UNCACHED), await volume.mount('stock', UNCACHED))
      edited = Array.from({ length: scripts }, (_, i) => new Script(firstSeed + i, mounts))
    })

    after(async () => {
      for (const mount of mounts) await mount.unmount()
      await volume.destroy()
    })

    function editAll(what: string): void {
      for (let i = 0; i < EDITS; i++) {
        for (const script of edited) {
          script.edit()
          script.check(what)
        }
      }
    }

    /** Eager locks end a second after the last fop, later on a busy machine, and clear the marks. */
    async function settled(bricks: number[]): Promise<void> {
      for (let i = 0; i < SETTLE_POLLS_MAX; i++) {
        await sleep(1000)
        const marks = await Promise.all(
          edited.flatMap(({ name }) =>
            bricks.map(async (brick) => (await counters(join(volume.bricks[brick]!, name))).dirty),
          ),
        )
        if (i > 0 && marks.every((dirty) => /^0*$/.test(dirty ?? ''))) return
      }
    }

    async function checkBricks(): Promise<void> {
      const all = volume.bricks.map((_, brick) => brick)
      await settled(all)
      for (const { name, content } of edited) {
        const padded = Buffer.alloc(geometry.up(content.length))
        content.copy(padded)
        const fragments = new Codec(geometry).encode([padded], padded.length, all)
        const first = await counters(join(volume.bricks[0]!, name))
        assert.equal(Number(`0x${first.size}`), content.length, `${name}: size`)
        for (const brick of all) {
          const path = join(volume.bricks[brick]!, name)
          assert.ok(readFileSync(path).equals(fragments[brick]!), `fragment ${path}`)
          const { dirty, ...rest } = await counters(path)
          assert.match(dirty ?? '', /^0*$/, `dirty of ${path}`)
          const { dirty: _, ...expected } = first
          assert.deepEqual(rest, expected, path)
        }
      }
    }

    void test('edits by both clients, all bricks there', async () => {
      editAll('healthy')
      await checkBricks()
    })

    void test('edits with R bricks killed, then healed', async () => {
      const random = seeded(firstSeed)
      const bricks = volume.bricks.map((_, brick) => brick)
      const lost = bricks.sort(() => random() - 0.5).slice(0, redundancy)
      for (const brick of lost) await volume.killBrick(brick)
      await sleep(500)
      for (const script of edited) script.check(`without bricks ${lost}`)
      editAll(`without bricks ${lost}`)
      await volume.startBricks()
      await sleep(3000)
      editAll('bricks back, not healed')
      await healed(volume)
      await checkBricks()
    })

    void test('every choice of K bricks decodes the same', async () => {
      // The other bricks' fragments were wrong or missing before the heal.
      const { brickCount } = geometry
      const lost = Array.from({ length: redundancy! }, (_, i) => brickCount - 1 - 2 * i)
      for (const brick of lost) await volume.killBrick(brick)
      await sleep(500)
      for (const script of edited) script.check(`without bricks ${lost}`)
      await volume.startBricks()
      await sleep(3000)
    })
  })
}
