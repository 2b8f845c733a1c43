/** The change log on the bricks after each operation, as stock 10.3 leaves it (vectors/afr). */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Dict } from '../../../../src/core/dict.ts'
import type { Req } from '../../../../src/core/fop.ts'
import { newGfid } from '../../../../src/core/gfid.ts'
import { S_IFIFO, SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import { Loc } from '../../../../src/core/loc.ts'
import {
  close,
  letGo,
  mark,
  type ReplicateGraph,
  type ReplicateInput,
  replicateGraph,
} from '../../../lib/replicate-graph.ts'

interface Scenario {
  name: string
  after: { object: string; on_bricks: number[]; xattr_suffix: string; triplet: number[] }[]
}

const vector = <T>(name: string): T =>
  JSON.parse(readFileSync(`test/vectors/afr/${name}.json`, 'utf8')) as T

const { scenarios } = vector<{ scenarios: Scenario[] }>('pending')

type Run = (volume: ReplicateGraph) => Promise<void>

async function append({ mount }: ReplicateGraph, path: string): Promise<void> {
  const fd = await mount.open(path)
  await mount.write(fd, 0, 'changed')
  await mount.fop('flush', { fd })
  fd.release()
}

async function mkfifo({ mount }: ReplicateGraph, path: string): Promise<void> {
  const loc = Loc.ofName(await mount.inode('/dir'), path.slice(5), mount.table.newInode())
  const xdata = new Dict().setGfid('gfid-req', newGfid())
  const rep = await mount.fop('mknod', { loc, mode: S_IFIFO | 0o644, rdev: 0, umask: 0, xdata })
  assert.equal(rep.errno, 0)
}

async function createAndWrite(volume: ReplicateGraph, path: string, parts: number): Promise<void> {
  const fd = await volume.mount.create(path)
  const part = 'x'.repeat(131_072)
  await Promise.all(
    Array.from({ length: parts }, (_, i) => volume.mount.write(fd, i * part.length, part)),
  )
  await close(volume, fd)
}

/** By scenario name: what to do, and where its objects are. */
const runs: Record<string, { run: Run; paths: Record<string, string>; down?: number }> = {
  'r3 create+write 6 bytes+close': {
    run: (volume) => createAndWrite(volume, '/dir/new', 1),
    paths: { file: '/dir/new', 'parent dir': '/dir' },
  },
  'r3 create + 1 MiB sequential write + truncate': {
    run: async (volume) => {
      await createAndWrite(volume, '/dir/new', 8)
      const loc = await volume.mount.loc('/dir/new')
      assert.equal((await volume.mount.fop('truncate', { loc, offset: 9 })).errno, 0)
    },
    paths: { file: '/dir/new', 'parent dir': '/dir' },
  },
  'r3 overwrite existing file': {
    run: (volume) => append(volume, '/dir/old'),
    paths: { file: '/dir/old' },
  },
  'r3 append then chmod existing file': {
    run: async (volume) => {
      await append(volume, '/dir/old')
      await volume.mount.setattr('/dir/old', { mode: 0o600 }, SET_ATTR_MODE)
    },
    paths: { file: '/dir/old' },
  },
  'r3 chmod + setfattr': {
    run: async ({ mount }) => {
      await mount.setattr('/dir/old', { mode: 0o600 }, SET_ATTR_MODE)
      await mount.setxattr('/dir/old', 'user.a', 'b')
    },
    paths: { file: '/dir/old' },
  },
  'r3 mkdir': {
    run: async ({ mount }) => void (await mount.mkdir('/dir/sub')),
    paths: { 'new dir': '/dir/sub', 'parent dir': '/dir' },
  },
  'r3 mkdir then rename a file into it': {
    run: async ({ mount }) => {
      await mount.mkdir('/dir/sub')
      await mount.rename('/dir/old', '/dir/sub/moved')
    },
    paths: { 'new dir': '/dir/sub' },
  },
  'r3 mknod fifo': {
    run: (volume) => mkfifo(volume, '/dir/fifo'),
    paths: { fifo: '/dir/fifo', 'parent dir': '/dir' },
  },
  'r3 symlink': {
    run: ({ mount }) => mount.symlink('x', '/dir/sl'),
    paths: { 'parent dir': '/dir' },
  },
  'r3 link': {
    run: async ({ mount }) => void (await mount.link('/dir/old', '/dir/hard')),
    paths: { 'parent dir': '/dir' },
  },
  'r3 unlink / rmdir': {
    run: ({ mount }) => mount.unlink('/dir/old'),
    paths: { 'parent dir': '/dir' },
  },
  'arbiter 2 ops in dir': {
    run: async (volume) => {
      await createAndWrite(volume, '/dir/n', 1)
      await volume.mount.mkdir('/dir/sub')
    },
    paths: { dir: '/dir' },
    down: 1,
  },
  'arbiter overwrite+chmod': {
    run: async (volume) => {
      await append(volume, '/dir/old')
      await volume.mount.setattr('/dir/old', { mode: 0o600 }, SET_ATTR_MODE)
    },
    paths: { f: '/dir/old' },
    down: 1,
  },
  'arbiter create+write': {
    run: (volume) => createAndWrite(volume, '/dir/n', 1),
    paths: { n: '/dir/n' },
    down: 1,
  },
  'arbiter mkdir': {
    run: async ({ mount }) => void (await mount.mkdir('/dir/sub')),
    paths: { sub: '/dir/sub' },
    down: 1,
  },
}

async function volumeWith(down: number, input: ReplicateInput): Promise<ReplicateGraph> {
  const volume = await replicateGraph(input)
  await volume.mount.mkdir('/dir')
  await volume.mount.writeFile('/dir/old', 'old content')
  await letGo(volume)
  volume.bricks[down]!.up = false
  return volume
}

for (const { name, after } of scenarios) {
  const known = runs[name]
  if (known === undefined) continue
  void test(name, async () => {
    const down = known.down ?? 2
    const options: Record<string, string> = { 'granular-entry-heal': 'on' }
    if (name.startsWith('arbiter')) options['arbiter-count'] = '1'
    const volume = await volumeWith(down, { options })
    await known.run(volume)
    await letGo(volume)
    for (const { object, on_bricks, xattr_suffix, triplet } of after) {
      const path: string | undefined = known.paths[object]
      assert.ok(path !== undefined, `where is '${object}'?`)
      const blamed = Number(xattr_suffix.replace('client-', ''))
      for (const brick of on_bricks) {
        const value = mark(volume.bricks[brick]!, path, blamed)
        assert.deepEqual(value, triplet, `${path} on brick ${brick}`)
        assert.deepEqual(mark(volume.bricks[brick]!, path, 'dirty'), [0, 0, 0])
      }
    }
    for (const { store } of volume.bricks) {
      assert.deepEqual(store.locks.held, [])
      assert.deepEqual(store.locks.waiting, [])
    }
  })
}

interface Addends {
  pre?: Record<string, string>
  post?: Record<string, string>
}

const { addends } = vector<{ addends: Record<string, Addends> }>('wire_addends')

/** Values of the xattrops a brick was sent, in order. */
function sentAddends(volume: ReplicateGraph, brick: number): Record<string, string>[] {
  return volume.bricks[brick]!.requests.filter(({ fop }) => /xattrop$/.test(fop)).map(({ req }) => {
    const { dict } = req as Req<'xattrop'>
    const value = (key: string) => dict.getBytes(key)?.toString('hex') ?? 'absent'
    return {
      dirty: value('trusted.afr.dirty'),
      ...Object.fromEntries(
        [0, 1, 2].map((child) => [`client-${child}`, value(`trusted.afr.V-client-${child}`)]),
      ),
    }
  })
}

function matches(sent: Record<string, string>, expected: Record<string, string>): void {
  const zeros = '0'.repeat(24)
  assert.equal(sent.dirty, expected.dirty)
  for (const key of ['client-0', 'client-1', 'client-2']) {
    assert.equal(sent[key], expected[key] ?? zeros, key)
  }
}

void describe('addends on the wire', () => {
  const runs: Record<string, { down: boolean; run: Run }> = {
    data_allup: { down: false, run: (volume) => append(volume, '/dir/old') },
    data_child2_down: { down: true, run: (volume) => append(volume, '/dir/old') },
    entry_parent_child2_down: { down: true, run: ({ mount }) => mount.unlink('/dir/old') },
    metadata_child2_down: {
      down: true,
      run: async ({ mount }) =>
        void (await mount.setattr('/dir/old', { mode: 0o600 }, SET_ATTR_MODE)),
    },
  }
  for (const [name, { down, run }] of Object.entries(runs)) {
    void test(name, async () => {
      const volume = await volumeWith(2, { options: { 'granular-entry-heal': 'on' } })
      if (!down) volume.bricks[2]!.up = true
      for (const brick of volume.bricks) brick.requests.length = 0
      await run(volume)
      await letGo(volume)
      const { pre, post } = addends[name]!
      const [first, second, ...more] = sentAddends(volume, 0)
      assert.deepEqual(more, [])
      matches(first!, pre!)
      matches(second!, post!)
    })
  }
})
