import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { newGfid } from '../../../../src/core/gfid.ts'
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../../src/core/iatt.ts'
import distribute from '../../../../xlators/cluster/distribute/index.ts'
import { encodeRange } from '../../../../xlators/cluster/distribute/layout.ts'
import { distributeVolfile, FopFailure, type SimMount, simGraph } from '../../../lib/sim-graph.ts'
import { SimNode } from '../../../lib/sim-store.ts'

type BrickNode = {
  subvol: string
  node: { type: string; mode: string; size: number | null; linkto?: string } | null
}
interface Scenario {
  title: string
  ops: string[]
  volume?: string
  parent_layouts: Record<string, Record<string, [string, string]>>
  state: Record<string, BrickNode[]>
  before?: Record<string, [number, string][] | BrickNode[]>
  result?: string
}
const { scenarios } = JSON.parse(readFileSync('test/vectors/dht/ondisk.json', 'utf8')) as {
  scenarios: Scenario[]
}

const LAYOUT = 'trusted.glusterfs.dht'
const LINKTO = 'trusted.glusterfs.dht.linkto'

/** A volume of five bricks whose directories have the scenario's layouts. */
async function prepare(scenario: Scenario): Promise<SimMount> {
  const vol = scenario.volume ?? 'h3c'
  const options = scenario.title.includes('lookup-optimize off')
    ? { 'lookup-optimize': 'off', 'lookup-unhashed': 'off' }
    : {}
  const sim = await simGraph({
    volfile: distributeVolfile(5, options, vol),
    xlators: [distribute],
  })
  for (const [path, ranges] of Object.entries(scenario.parent_layouts)) {
    const gfid = newGfid()
    sim.bricks.forEach((brick, i) => {
      const [start, stop] = ranges[brick.name]!
      let dir = brick.store.root
      if (path !== '/') {
        dir = new SimNode(gfid, S_IFDIR | 0o755)
        brick.store.add(brick.store.root, path.slice(1), dir)
        if (i === 0) dir.xattrs.set('trusted.glusterfs.dht.mds', Buffer.alloc(4))
      }
      // Hash 1: names missing where they hash to are looked for, as the vectors' mounts did.
      const commitHash = scenario.volume === undefined && !scenario.title.includes('linkto') ? 0 : 1
      const range = { commitHash, type: 0, start: parseInt(start, 16), stop: parseInt(stop, 16) }
      dir.xattrs.set(LAYOUT, encodeRange(range))
    })
  }
  for (const [path, where] of Object.entries(scenario.before ?? {})) place(sim, path, where)
  return sim.start()
}

function place(sim: SimMount, path: string, where: [number, string][] | BrickNode[]): void {
  const gfid = newGfid()
  const list: [number, string][] = where.flatMap((at, i): [number, string][] => {
    if (Array.isArray(at)) return [at]
    return at.node === null ? [] : [[i, at.node.linkto ?? 'DATA']]
  })
  for (const [index, what] of list) {
    const { store } = sim.bricks[index]!
    const parent = store.at(path.slice(0, path.lastIndexOf('/')) || '/')!
    const node = new SimNode(gfid, S_IFREG | (what === 'DATA' ? 0o644 : 0o1000))
    if (what === 'DATA') node.data = Buffer.from('12345')
    else node.xattrs.set(LINKTO, Buffer.from(`${what}\0`))
    store.add(parent, path.slice(path.lastIndexOf('/') + 1), node)
  }
}

const typeNames = new Map([
  [S_IFREG, 'file'],
  [S_IFDIR, 'dir'],
  [S_IFLNK, 'symlink'],
])

/** What every brick has under `path`, in the form of the vectors. */
function stateOf(sim: SimMount, path: string): (string | null)[] {
  return sim.bricks.map((brick) => {
    const node = brick.store.at(path)
    if (node === undefined) return null
    const linkto = node.xattrs.get(LINKTO)?.latin1Slice().replace('\0', '') ?? '-'
    const type = typeNames.get(node.mode & S_IFMT) ?? 'other'
    return `${type} ${(node.mode & 0o7777).toString(8)} ${linkto}`
  })
}

function expectedState(nodes: BrickNode[]): (string | null)[] {
  return nodes.map(({ node }) =>
    node === null ? null : `${node.type} ${node.mode} ${node.linkto ?? '-'}`,
  )
}

describe('renames leave on the bricks what stock leaves', () => {
  for (const scenario of scenarios.filter(({ title }) => /^rename: /.test(title))) {
    test(scenario.title, async () => {
      const sim = await prepare(scenario)
      const [, from, to] = /^rename (\S+) -> (\S+)$/.exec(scenario.ops[0]!)!
      await sim.rename(from!, to!)
      await sim.settle()
      for (const [path, nodes] of Object.entries(scenario.state)) {
        assert.deepEqual(stateOf(sim, path), expectedState(nodes), path)
      }
      assert.equal(await sim.readFile(to!), '12345')
      for (const brick of sim.bricks) assert.deepEqual(brick.store.locks.held, [])
    })
  }
})

describe('lookups repair linktos as stock does', () => {
  const repairs = scenarios.filter(
    ({ title, ops }) => title.includes('linkto') && ops.some((op) => op.startsWith('stat')),
  )
  for (const scenario of repairs) {
    test(scenario.title, async () => {
      const sim = await prepare(scenario)
      const [path, before] = Object.entries(scenario.before!)[0]!
      if (scenario.title.includes('gfid different')) {
        sim.bricks[1]!.store.byGfid.delete(sim.bricks[1]!.store.at(path)!.gfid)
        sim.bricks[1]!.store.at(path)!.gfid = newGfid()
      }
      assert.ok(before.length > 0)
      const expected = scenario.ops.at(-1)!.split('-> ')[1] ?? 'ok'
      let result = 'ok'
      try {
        await sim.lookup(path)
      } catch (error) {
        assert.ok(error instanceof FopFailure)
        result = { 2: 'No such file or directory', 116: 'Stale file handle' }[error.errno as 2]
      }
      assert.equal(result, expected)
      await sim.settle()
      for (const [at, nodes] of Object.entries(scenario.state)) {
        assert.deepEqual(stateOf(sim, at), expectedState(nodes), at)
      }
    })
  }
})

test('create with name@dht:subvol goes there, a linkto to where it hashes', async () => {
  const scenario = scenarios.find(({ title }) => title.includes('filter'))!
  const sim = await prepare(scenario)
  const fd = await sim.create('/ondisk/forced9@h3c-dht:h3c-client-3', 0o640)
  fd.release()
  for (const [path, nodes] of Object.entries(scenario.state)) {
    assert.deepEqual(stateOf(sim, path), expectedState(nodes), path)
  }
})

test('a hard link whose name hashes elsewhere', async () => {
  const scenario = scenarios.find(({ title }) => title.includes('hashes to other brick'))!
  const sim = await prepare(scenario)
  await sim.writeFile('/ondisk/hl18', 'x')
  await sim.link('/ondisk/hl18', '/ondisk/hlother2')
  await sim.settle()
  for (const [path, nodes] of Object.entries(scenario.state)) {
    assert.deepEqual(stateOf(sim, path), expectedState(nodes), path)
  }
})

test('directories: range, mds and rename', async () => {
  const scenario = scenarios.find(({ title }) => title.includes('rename dir to name'))!
  const sim = await prepare(scenario)
  await sim.mkdir('/ondisk/dir7')
  const copies = sim.bricks.map((brick) => brick.store.at('/ondisk/dir7')!)
  const mds = copies.findIndex((copy) => copy.xattrs.has('trusted.glusterfs.dht.mds'))
  assert.equal(mds, 2)
  const ranges = copies.map((copy) => copy.xattrs.get(LAYOUT)!.toString('hex'))
  await sim.rename('/ondisk/dir7', '/ondisk/dirdst9')
  for (const [path, nodes] of Object.entries(scenario.state)) {
    assert.deepEqual(stateOf(sim, path), expectedState(nodes), path)
  }
  const moved = sim.bricks.map((brick) => brick.store.at('/ondisk/dirdst9')!)
  assert.deepEqual(
    moved.map((copy) => copy.xattrs.get(LAYOUT)!.toString('hex')),
    ranges,
  )
  assert.ok(moved[2]!.xattrs.has('trusted.glusterfs.dht.mds'))
  const node = scenario.state['/ondisk/dirdst9']!.map(
    ({ node }) => (node as unknown as { xattrs: Record<string, string> }).xattrs[LAYOUT],
  )
  assert.deepEqual(
    ranges.map((range) => `0x${range}`),
    node,
  )
})
