/** What is read without the lock right after a lookup found all bricks of one opinion. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Clock, clock, setClock } from '../../../../src/core/clock.ts'
import { E } from '../../../../src/core/errno.ts'
import { Fd } from '../../../../src/core/fd.ts'
import { Loc } from '../../../../src/core/loc.ts'
import { noDisk, simStores } from '../../../lib/disk-store.ts'
import {
  type DisperseGraph,
  disperseGraph,
  letGo,
  newFile,
  readAll,
} from '../../../lib/disperse-graph.ts'
import { vectorBytes } from '../../../lib/ec-vectors.ts'
import { withManualClock } from '../../../lib/manual-clock.ts'
import { settle } from '../../../lib/scripted.ts'

/** Files made now were changed a minute ago: what was changed just now is read under the lock. */
const system = clock
const inAMinute = (): { sec: number; nsec: number } => {
  const { sec, nsec } = system.realtime()
  return { sec: sec + 60, nsec }
}
const later: Clock = {
  now: () => system.now(),
  realtime: inAMinute,
  after: (...timer) => system.after(...timer),
  nextDeadline: () => system.nextDeadline(),
  random: () => system.random(),
}
before(() => setClock(later))
after(() => setClock(system))

const SIZE = 5000
const content = vectorBytes(1, SIZE)
const one = Buffer.from([0, 0, 0, 0, 0, 0, 0, 1])
const MARKED = Buffer.concat([one, one])
const five = Buffer.from([0, 0, 0, 0, 0, 0, 0, 5])
const RAISED = Buffer.concat([five, five])

/** Requests to all bricks together, by fop. */
function takeCounts({ bricks }: DisperseGraph): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const brick of bricks) {
    for (const line of brick.trace.splice(0)) {
      const fop = line.split(' ')[0]!
      counts[fop] = (counts[fop] ?? 0) + 1
    }
  }
  return counts
}

/** A 4+2 volume with a file `f`, nothing locked, nothing counted yet. */
async function prepared(): Promise<DisperseGraph> {
  const volume = await disperseGraph(4, 2)
  await volume.mount.close(await newFile(volume, 'f', content))
  await letGo(volume)
  takeCounts(volume)
  return volume
}

const node = (volume: DisperseGraph, brick: number, path: string) =>
  volume.bricks[brick]!.store.at(path)!

void test('a small file is read and its counters asked for, nothing locked', async () => {
  const volume = await prepared()
  assert.ok((await readAll(volume, 'f')).equals(content))
  assert.deepEqual(takeCounts(volume), { lookup: 9, open: 6, readv: 6, flush: 6 })
})

void test('a part of it that is not the end is read under the lock, as is a large file', async () => {
  const volume = await prepared()
  const fd = await volume.mount.open('f')
  assert.ok(typeof fd !== 'number')
  const part = await volume.mount.read(fd, 100, 1000)
  assert.ok(typeof part !== 'number' && part.equals(content.subarray(100, 1100)))
  assert.equal(takeCounts(volume)['inodelk'], 6)
  const large = vectorBytes(2, 200_000)
  await volume.mount.close(await newFile(volume, 'large', large))
  await letGo(volume)
  takeCounts(volume)
  assert.ok((await readAll(volume, 'large')).equals(large))
  assert.equal(takeCounts(volume)['inodelk'], 6)
})

/** What another client has done when the fragments were on their way. */
const changes: [string, (volume: DisperseGraph, brick: number) => void][] = [
  ['marked the file', (v, brick) => node(v, brick, '/f').xattrs.set('trusted.ec.dirty', MARKED)],
  [
    'raised the version',
    (v, brick) => node(v, brick, '/f').xattrs.set('trusted.ec.version', RAISED),
  ],
]
for (const [what, change] of changes) {
  void test(`a writer that has ${what} meanwhile makes it read again under the lock`, async () => {
    const volume = await prepared()
    const fd = await volume.mount.open('f')
    assert.ok(typeof fd !== 'number')
    takeCounts(volume)
    let reads = 0
    for (const brick of volume.bricks) {
      brick.gate = (fop) => {
        if (fop !== 'readv') return undefined
        reads++
        // On all bricks, as a writer does before its first byte.
        if (reads === 4) for (const i of volume.bricks.keys()) change(volume, i)
        return undefined
      }
    }
    const data = await volume.mount.read(fd, 0, 1 << 20)
    assert.ok(typeof data !== 'number' && data.equals(content))
    const counts = takeCounts(volume)
    assert.equal(counts['readv'], 10)
    assert.ok((counts['inodelk'] ?? 0) >= 6, JSON.stringify(counts))
  })
}

/** What another client makes of `content`, whose clock is so wrong that no time tells. */
const changedBy: [string, (data: Buffer) => void][] = [
  ['all of it', (data) => vectorBytes(2, SIZE).copy(data)],
  [
    'a byte',
    (data) => {
      data[1000]! ^= 1
    },
  ],
]
for (const [what, change] of changedBy) {
  for (const before of [1, 2, 3, 4, 5]) {
    void test(`${what} is changed when ${before} of 6 fragments are read: nothing torn`, async () => {
      const volume = await disperseGraph(4, 2, {}, simStores(6))
      await volume.mount.close(await newFile(volume, 'f', content))
      await letGo(volume)
      const fd = await volume.mount.open('f')
      assert.ok(typeof fd !== 'number')
      const now = Buffer.alloc(volume.disperse.geometry.up(SIZE))
      content.copy(now)
      change(now)
      const all = [...volume.bricks.keys()]
      const fragments = volume.disperse.codec.encode([now], now.length, all)
      let reads = 0
      let open = (): void => {}
      const gate = new Promise<void>((resolve) => {
        open = resolve
      })
      for (const brick of volume.bricks) {
        brick.gate = (fop) => (fop === 'readv' && ++reads > before ? gate : undefined)
      }
      const reading = volume.mount.read(fd, 0, 1 << 20)
      await settle()
      for (const brick of all) node(volume, brick, '/f').data = fragments[brick]!
      open()
      const data = await reading
      assert.ok(typeof data !== 'number' && data.equals(now.subarray(0, SIZE)))
    })
  }
}

void test('fragments of another time than the lookup, or too short, are not used', {
  skip: noDisk,
}, async () => {
  const spoils: ((file: ReturnType<typeof node>) => void)[] = [
    (file) => {
      file.data = Buffer.from(file.data)
    },
    (file) => {
      file.data = file.data.subarray(0, 512)
    },
  ]
  for (const spoil of spoils) {
    const volume = await prepared()
    await readAll(volume, 'f')
    const asked = volume.bricks.findIndex((brick) => brick.trace.join().includes('readv'))
    const fd = await volume.mount.open('f')
    assert.ok(typeof fd !== 'number')
    // Beyond the kernel's grain of file times.
    await sleep(20)
    spoil(node(volume, asked, '/f'))
    takeCounts(volume)
    await volume.mount.read(fd, 0, 1 << 20)
    assert.notEqual(takeCounts(volume)['inodelk'], undefined)
  }
})

void test('marked, differing, missing or old: read under the lock', async () => {
  const cases: [string, (volume: DisperseGraph) => void][] = [
    ['marked', (v) => changes[0]![1](v, 2)],
    ['one of another version', (v) => changes[1]![1](v, 3)],
    [
      'a brick down',
      (v) => {
        v.bricks[5]!.up = false
      },
    ],
  ]
  for (const [what, spoil] of cases) {
    const volume = await prepared()
    spoil(volume)
    assert.ok((await readAll(volume, 'f')).equals(content))
    assert.notEqual(takeCounts(volume)['inodelk'], undefined, what)
  }
})

void test('a second after the lookup, or after a brick came or went, the lock decides', () =>
  withManualClock(async (manual) => {
    manual.realtime = inAMinute
    for (const spoil of [
      () => manual.pass(1000),
      (v: DisperseGraph) => {
        v.bricks[0]!.up = false
        v.bricks[0]!.up = true
      },
    ]) {
      const volume = await prepared()
      manual.pass(1)
      const fd = await volume.mount.open('f')
      assert.ok(typeof fd !== 'number')
      manual.pass(1)
      spoil(volume)
      takeCounts(volume)
      const data = await volume.mount.read(fd, 0, 1 << 20)
      assert.ok(typeof data !== 'number' && data.equals(content))
      assert.notEqual(takeCounts(volume)['inodelk'], undefined)
    }
  }))

void test('a file changed within half a minute is read under the lock', {
  skip: noDisk,
}, async () => {
  const volume = await prepared()
  setClock(system)
  assert.ok((await readAll(volume, 'f')).equals(content))
  setClock(later)
  assert.notEqual(takeCounts(volume)['inodelk'], undefined)
})

void test('what this client wrote is read with its own lock', async () => {
  const volume = await prepared()
  assert.equal((await volume.mount.lookup('f')).errno, 0)
  const fd = await volume.mount.open('f')
  assert.ok(typeof fd !== 'number')
  const change = vectorBytes(3, SIZE)
  assert.equal(await volume.mount.write(fd, 0, change), 0)
  const data = await volume.mount.read(fd, 0, 1 << 20)
  assert.ok(typeof data !== 'number' && data.equals(change))
  await volume.mount.close(fd)
  await letGo(volume)
  assert.ok((await readAll(volume, 'f')).equals(change))
})

const seeRoot = async (volume: DisperseGraph) => {
  const loc = Loc.ofInode(volume.bench.graph.inodes.root)
  assert.equal((await volume.bench.run('lookup', { loc })).errno, 0)
}

void test('a listing opens and asks one brick', async () => {
  const volume = await prepared()
  await seeRoot(volume)
  takeCounts(volume)
  const names = (await volume.mount.list(1 << 16)).map(({ name }) => name)
  assert.deepEqual(names, ['f'])
  assert.deepEqual(takeCounts(volume), { opendir: 1, readdirp: 2 })
})

void test('when that brick falls behind before the listing begins, another one is asked', () =>
  withManualClock(async (manual) => {
    const volume = await prepared()
    manual.pass(1)
    await seeRoot(volume)
    const { root } = volume.bench.graph.inodes
    const { fd, first } = await openedOnOne(volume)
    manual.pass(1000)
    const { store } = volume.bricks[first]!
    store.remove(store.at('/')!, 'f')
    store.at('/')!.xattrs.set('trusted.ec.version', RAISED)
    const rep = await volume.bench.ok('readdirp', { fd, size: 1 << 16, off: 0n })
    assert.ok(rep.entries.some(({ name }) => name === 'f'))
    fd.release()
    assert.equal(root.fds.size, 0)
  }))

async function openedOnOne(volume: DisperseGraph): Promise<{ fd: Fd; first: number }> {
  const { root } = volume.bench.graph.inodes
  const fd = new Fd(root, 0, 1)
  await volume.bench.ok('opendir', { loc: Loc.ofInode(root), fd })
  fd.bind()
  const opened = [...volume.bricks.keys()].filter((brick) => volume.bricks[brick]!.isOpen(fd))
  assert.equal(opened.length, 1)
  return { fd, first: opened[0]! }
}

void test('while names are made in a directory one brick says what is not there', async () => {
  const volume = await prepared()
  for (let i = 0; i < 4; i++) await newFile(volume, `new-${i}`)
  assert.equal((await volume.mount.lookup('absent')).errno, E.NOENT)
  takeCounts(volume)
  assert.equal((await volume.mount.lookup('absent')).errno, E.NOENT)
  assert.deepEqual(takeCounts(volume), { lookup: 1 })
  assert.equal((await volume.mount.lookup('f')).errno, 0)
  await letGo(volume)
  takeCounts(volume)
  assert.equal((await volume.mount.lookup('absent')).errno, E.NOENT)
  assert.deepEqual(takeCounts(volume), { lookup: 6 })
})

void test('a brick that is behind is not asked what is there', async () => {
  const volume = await prepared()
  const { root } = volume.bench.graph.inodes
  const behind = await brickAsked(volume)
  await newFile(volume, 'other')
  await letGo(volume)
  const { store } = volume.bricks[behind]!
  store.remove(store.at('/')!, 'other')
  store.at('/')!.xattrs.set('trusted.ec.version', RAISED)
  volume.bench.graph.inodes.unlinkName(root, 'other')
  for (let i = 0; i < 4; i++) await newFile(volume, `new-${i}`)
  assert.equal((await volume.mount.lookup('other')).errno, 0)
})

/** The brick that answers for names in a directory this client has locked. */
async function brickAsked(volume: DisperseGraph): Promise<number> {
  for (let i = 0; i < 4; i++) await newFile(volume, `early-${i}`)
  await volume.mount.lookup('absent')
  takeCounts(volume)
  await volume.mount.lookup('absent')
  const asked = volume.bricks.findIndex((brick) => brick.trace.length > 0)
  await letGo(volume)
  return asked
}
