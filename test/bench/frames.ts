/**
 * What a fop costs on its way through 13 translators and back, without any work in them: CPU
 * time and memory of winding and replying. The leaf answers asynchronously, as a brick does.
 */
import { clock } from '../../src/core/clock.ts'
import type { Fop, Rep } from '../../src/core/fop.ts'
import { CallPool, type Frame, measure, ROOT_CREDS } from '../../src/core/frame.ts'
import { InodeTable } from '../../src/core/inode.ts'
import { Loc } from '../../src/core/loc.ts'
import { fillDefaultFops, type GraphContext, Xlator } from '../../src/core/xlator.ts'
import type { Result } from './xdr.ts'

const LAYERS = 13
const IN_FLIGHT = 64
const ROUNDS = 9
const FOPS_PER_CALLER = 300
const FOPS_BETWEEN_COLLECTIONS = 10

class Layer extends Xlator {}

const awaits: Fop<'access'> = async (frame, req) => {
  const rep = await frame.wind(frame.xl.child, 'access', req)
  return rep
}

const atOnce: Fop<'access'> = () => ({ errno: 0 })

/** Answers in the next microtask. */
const later: Fop<'access'> = () => Promise.resolve<Rep<'access'>>({ errno: 0 })

interface Shape {
  name: string
  leaf: Fop<'access'>
  /** Which layers look at the reply. */
  awaiting: (index: number) => boolean
  latency?: boolean
}

const shapes: Shape[] = [
  { name: '12 tail, reply at once', leaf: atOnce, awaiting: () => false },
  { name: '12 tail', leaf: later, awaiting: () => false },
  { name: '4 await wind, 8 tail', leaf: later, awaiting: (index) => index % 3 === 0 },
  { name: '12 await wind', leaf: later, awaiting: () => true },
  { name: '12 tail, measuring latency', leaf: later, awaiting: () => false, latency: true },
]

function stackOf(shape: Shape, pool: CallPool, inodes: InodeTable): Xlator {
  const graph: GraphContext = {
    id: 0,
    volfileId: 'bench',
    pool,
    inodes,
    xlators: [],
    process: {
      uuid: '',
      hostname: '',
      processName: '',
      subdirMount: undefined,
      secureMgmt: false,
    },
  }
  let below: Xlator | undefined
  for (let index = LAYERS - 1; index >= 0; index--) {
    const name = `layer-${index}`
    const xl = new Layer({ name, type: 'bench/x', options: {}, givenOptions: new Map(), graph })
    if (below === undefined) xl.access = shape.leaf
    else {
      xl.children.push(below)
      if (shape.awaiting(index)) xl.access = awaits
    }
    fillDefaultFops(xl)
    below = xl
  }
  return below!
}

/** One request after the other, `IN_FLIGHT` of these at a time. */
async function drive(top: Xlator, pool: CallPool, count: number, loc: Loc): Promise<void> {
  for (let i = 0; i < count; i++) {
    const frame: Frame = pool.begin(top, 'ACCESS', ROOT_CREDS)
    const rep = await frame.wind(top, 'access', { loc, mask: 4 })
    frame.stack.end()
    if (rep.errno !== 0) throw new Error('the bench leaf does not fail')
  }
}

async function measureShape(shape: Shape): Promise<Result[]> {
  const pool = new CallPool()
  const inodes = new InodeTable()
  const loc = Loc.ofInode(inodes.root)
  const top = stackOf(shape, pool, inodes)
  const run = async (each: number): Promise<void> => {
    await Promise.all(Array.from({ length: IN_FLIGHT }, () => drive(top, pool, each, loc)))
  }
  measure.latency = shape.latency === true
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const begin = clock.now()
    await run(FOPS_PER_CALLER)
    best = Math.min(best, (clock.now() - begin) / (FOPS_PER_CALLER * IN_FLIGHT))
  }
  // Few enough for no collection in between, most of the time; the median tells.
  const grown: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.memoryUsage().heapUsed
    await run(FOPS_BETWEEN_COLLECTIONS)
    grown.push((process.memoryUsage().heapUsed - before) / (FOPS_BETWEEN_COLLECTIONS * IN_FLIGHT))
  }
  measure.latency = false
  grown.sort((a, b) => a - b)
  const name = `frames: ${shape.name}`
  return [
    { name, unit: 'us', value: best * 1000 },
    { name, unit: 'bytes', value: grown[ROUNDS >> 1]! },
  ]
}

/** Best of some rounds, per fop. */
export async function benchFrames(): Promise<Result[]> {
  const results: Result[] = []
  // The first one would pay for compiling what all use.
  await measureShape(shapes[1]!)
  for (const shape of shapes) results.push(...(await measureShape(shape)))
  return results
}
