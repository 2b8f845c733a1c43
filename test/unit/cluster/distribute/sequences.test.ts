import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { newGfid } from '../../../../src/core/gfid.ts'
import { S_IFDIR, SET_ATTR_MODE } from '../../../../src/core/iatt.ts'
import distribute, { type Distribute } from '../../../../xlators/cluster/distribute/index.ts'
import { encodeRange } from '../../../../xlators/cluster/distribute/layout.ts'
import { distributeVolfile, FopFailure, type SimMount, simGraph } from '../../../lib/sim-graph.ts'
import { SimNode } from '../../../lib/sim-store.ts'

const { sequences } = JSON.parse(readFileSync('test/vectors/dht/fop-sequences.json', 'utf8')) as {
  sequences: { op: string; trace: string[] }[]
}

/** Three bricks with /tr, whose thirds of the hash space are theirs in order. */
async function mount(): Promise<SimMount> {
  const volfile = distributeVolfile(3, {}, 'h3a')
  const sim = await simGraph({ volfile, xlators: [distribute] })
  const gfid = newGfid()
  sim.bricks.forEach((brick, i) => {
    const { store } = brick
    const dir = new SimNode(gfid, S_IFDIR | 0o755)
    store.add(store.root, 'tr', dir)
    if (i === 0) dir.xattrs.set('trusted.glusterfs.dht.mds', Buffer.alloc(4))
    const third = Math.floor(2 ** 32 / 3)
    const start = third * i
    const stop = i === 2 ? 0xffffffff : third * (i + 1) - 1
    for (const at of [store.root, dir]) {
      const range = encodeRange({ commitHash: 0, type: 0, start, stop })
      at.xattrs.set('trusted.glusterfs.dht', range)
    }
  })
  await sim.start()
  await sim.lookup('/tr')
  return sim
}

/** A name in /tr that hashes to brick `index`, different for each `prefix`. */
async function name(sim: SimMount, prefix: string, index: number): Promise<string> {
  const dht = sim.graph.top as unknown as Distribute
  const parent = await sim.inode('/tr')
  for (let i = 0; ; i++) {
    const found = dht.hashedSub(parent, `${prefix}${i}`)
    if (found === sim.bricks[index]) return `/tr/${prefix}${i}`
  }
}

/**
 * A step as both traces can show it: brick, fop, and of locks the kind. Reads are left out (stock's
 * kernel and brick add lookups of their own), and so is what has no order: unlocks and linkto owners
 * come when they come.
 */
function step(brick: number, fop: string, rest: string): string | undefined {
  if (/^(lookup|stat|opendir|readdirp|statfs|flush|getxattr)$/.test(fop)) return undefined
  const lock = /^(inode|entry)lk$/.test(fop)
  if (lock && /UNLOCK/.test(rest)) return undefined
  if (fop === 'setattr' && /uid=0/.test(rest)) return undefined
  const domain = lock ? ` ${/dht\.[a-z.]+/.exec(rest)![0]}` : ''
  const type = fop === 'inodelk' ? ` ${/READ|WRITE/.exec(rest)![0]}` : ''
  return `${brick} ${fop}${domain}${type}`
}

function stockSteps(op: string): string[] {
  const { trace } = sequences.find((sequence) => sequence.op === op)!
  const steps: string[] = []
  for (const line of trace) {
    const [, brick, fop, rest] = /^brick(\d) (\w+) (.*)$/.exec(line)!
    const one = step(Number(brick), fop!, rest!)
    if (one !== undefined) steps.push(one)
  }
  return steps
}

/** Runs `job` and gives what the bricks saw of it, in the order they saw it. */
async function ourSteps(sim: SimMount, job: () => Promise<unknown>): Promise<string[]> {
  const steps: string[] = []
  sim.bricks.forEach((brick, index) => {
    brick.gate = (fop, req) => {
      const { flock, cmd, volume, valid } = req as unknown as {
        flock?: { type: number }
        cmd?: number
        volume?: string
        valid?: number
      }
      const unlock = fop === 'inodelk' ? flock!.type === 2 : fop === 'entrylk' && cmd === 1
      const kind = flock?.type === 0 ? 'READ' : 'WRITE'
      const owner = fop === 'setattr' && valid !== SET_ATTR_MODE ? 'uid=0' : ''
      const one = step(index, fop, `${volume} ${unlock ? 'UNLOCK' : kind} ${owner}`)
      if (one !== undefined) steps.push(one)
      return undefined
    }
  })
  await job()
  for (const brick of sim.bricks) brick.gate = undefined
  await sim.settle()
  for (const brick of sim.bricks) assert.deepEqual(brick.store.locks.held, [])
  return steps
}

/** Equal, where neighbouring steps of one kind on different bricks went out together. */
function assertSameSteps(ours: string[], stock: string[]): void {
  const ordered = (steps: string[]): string[] => {
    const groups: string[][] = []
    for (const one of steps) {
      const last = groups.at(-1)
      const kind = one.slice(2)
      const parallel = !kind.includes('lk ') && last?.[0]?.slice(2) === kind
      if (parallel) last!.push(one)
      else groups.push([one])
    }
    return groups.flatMap((group) => group.sort())
  }
  assert.deepEqual(ordered(ours), ordered(stock))
}

test('mkdir', async () => {
  const sim = await mount()
  const path = await name(sim, 'md', 1)
  assertSameSteps(await ourSteps(sim, () => sim.mkdir(path)), stockSteps('mkdir (hashed brick1)'))
})

test('create', async () => {
  const sim = await mount()
  const path = await name(sim, 'f', 0)
  assertSameSteps(await ourSteps(sim, () => sim.create(path)), stockSteps('create (hashed brick0)'))
})

test('renames and links of one file, one after the other', async () => {
  const sim = await mount()
  const names = [
    await name(sim, 'f', 0),
    await name(sim, 'g', 1),
    await name(sim, 'h', 2),
    await name(sim, 'i', 0),
  ] as const
  await sim.writeFile(names[0], 'x')
  const moves = [
    'rename file, src hashed=cached=brick0, dst hashed=brick1',
    'rename file, src hashed=brick1 cached=brick0, dst hashed=brick2',
    'rename file, src hashed=brick2 cached=brick0, dst hashed=brick0',
  ]
  for (const [i, op] of moves.entries()) {
    const steps = await ourSteps(sim, () => sim.rename(names[i]!, names[i + 1]!))
    // Which of the two left-over names goes first decides nothing: the data has its new name.
    const stock = stockSteps(op)
    const tail = (list: string[]): string[] => list.filter((one) => one.endsWith('unlink')).sort()
    assert.deepEqual(tail(steps), tail(stock), op)
    const head = (list: string[]): string[] => list.filter((one) => !one.endsWith('unlink'))
    assertSameSteps(head(steps), head(stock))
  }
  const linked = await name(sim, 'lnk', 2)
  assertSameSteps(
    await ourSteps(sim, () => sim.link(names[3], linked)),
    stockSteps('link, cached=brick0, new name hashed=brick2'),
  )
  assertSameSteps(
    await ourSteps(sim, () => sim.unlink(linked)),
    stockSteps('unlink of linked name (hashed=brick2 cached=brick0)'),
  )
})

test('directories: rename, setxattr, chmod, rmdir', async () => {
  const sim = await mount()
  const [from, to] = [await name(sim, 'md', 1), await name(sim, 'rd', 2)]
  await sim.mkdir(from)
  assertSameSteps(
    await ourSteps(sim, () => sim.rename(from, to)),
    stockSteps('rename dir hashed brick1 -> hashed brick2'),
  )
  assertSameSteps(
    await ourSteps(sim, () => sim.setxattr(to, 'user.x', 'y')),
    stockSteps('setxattr user.x on dir'),
  )
  assertSameSteps(
    await ourSteps(sim, () => sim.setattr(to, { mode: 0o700 }, SET_ATTR_MODE)),
    stockSteps('chmod dir'),
  )
  assertSameSteps(await ourSteps(sim, () => sim.rmdir(to)), stockSteps('rmdir (hashed brick2)'))
})

test('a missing name costs one lookup, and a look at the layout that placed it', async () => {
  const sim = await mount()
  const path = await name(sim, 'nope', 1)
  for (const brick of sim.bricks) brick.trace.length = 0
  await assert.rejects(sim.lookup(path), FopFailure)
  assert.deepEqual(sim.bricks[0]!.trace, [])
  assert.deepEqual(sim.bricks[1]!.trace, [`lookup ${path}`, 'lookup /tr', 'lookup '])
  assert.deepEqual(sim.bricks[2]!.trace, [])
})
