/**
 * Heals an embedded dispersed or replicated volume: what the bricks' indices name is healed by a
 * client of this process, again and again until they are empty or nothing moves any more.
 */
import { randomUUID } from 'node:crypto'
import { lstatSync, readdirSync, rmSync } from 'node:fs'
import { hostname } from 'node:os'
import { healCreds } from '../../xlators/cluster/common/heal-queue.ts'
import { NOTHING } from '../../xlators/cluster/replicate/change-log.ts'
import { healInode } from '../../xlators/cluster/replicate/heal.ts'
import { dropUnnamed } from '../../xlators/cluster/replicate/heal-aside.ts'
import { healOneName } from '../../xlators/cluster/replicate/heal-name.ts'
import { Replicate } from '../../xlators/cluster/replicate/index.ts'
import { registry } from '../../xlators/registry.ts'
import { clock } from '../core/clock.ts'
import { GlusterError } from '../core/errors.ts'
import { XATTROP_ADD_ARRAY } from '../core/fop.ts'
import { CallPool, type Frame } from '../core/frame.ts'
import { parseGfid } from '../core/gfid.ts'
import { S_IFDIR } from '../core/iatt.ts'
import { type Inode, InodeTable } from '../core/inode.ts'
import { Loc } from '../core/loc.ts'
import type { Xlator } from '../core/xlator.ts'
import { buildGraph, type Graph } from '../graph/build.ts'
import { parseVolfile } from '../graph/volfile.ts'
import { getXattr, listXattr } from '../sys/xattr.ts'
import { clientVolfile } from './volfiles.ts'
import { setWidth, type Volume } from './volume.ts'

const CONNECT_MAX_MS = 10_000
/** Rounds without progress before it is given up. */
const IDLE_ROUNDS_MAX = 3
const ROUND_PAUSE_MS = 500
const ROUND_MAX_MS = 600_000
const QUIET_POLL_MS = 20
const HEAL_KEY = 'trusted.ec.heal'

const sleep = (ms: number): Promise<void> => new Promise((done) => void clock.after(ms, done))

/** Gfids (text) that the indices of the volume's bricks name, by set of bricks. */
export const pendingHeals = (volume: Volume): Set<string>[] =>
  setsOf(volume).map((bricks) => new Set(bricks.flatMap(pendingOfBrick)))

const indicesOf = (brick: string): string[] =>
  ['xattrop', 'dirty'].map((name) => `${brick}/.glusterfs/indices/${name}`)

/** Gfids (text) that the brick's indices name. */
export function pendingOfBrick(brick: string): string[] {
  const names = indicesOf(brick).flatMap((index) => {
    try {
      return readdirSync(index)
    } catch {
      // Never written to: nothing to heal.
      return []
    }
  })
  return [...new Set(names)].filter((name) => parseGfid(name) !== undefined)
}

/**
 * Drops index entries of objects that no brick of the set has any more: removed while their last
 * change was not yet marked as complete. The stock self-heal daemon does the same with them.
 */
export function dropGone(bricks: readonly string[]): void {
  for (const gfid of new Set(bricks.flatMap(pendingOfBrick))) {
    if (bricks.some((brick) => hasHandle(brick, gfid))) continue
    for (const index of bricks.flatMap(indicesOf)) rmSync(`${index}/${gfid}`, { force: true })
  }
}

/** The bricks of each dispersed or replicated set. */
function setsOf(volume: Volume): string[][] {
  const { bricks } = volume
  const width = setWidth(volume)
  const sets: string[][] = []
  for (let at = 0; at < bricks.length; at += width) sets.push(bricks.slice(at, at + width))
  return sets
}

const handleOf = (brick: string, gfid: string): string =>
  `${brick}/.glusterfs/${gfid.slice(0, 2)}/${gfid.slice(2, 4)}/${gfid}`

function hasHandle(brick: string, gfid: string): boolean {
  try {
    lstatSync(handleOf(brick, gfid))
    return true
  } catch (error) {
    // A disk that does not answer proves nothing.
    return (error as NodeJS.ErrnoException).code !== 'ENOENT'
  }
}

const count = (sets: readonly Set<string>[]): number =>
  sets.reduce((sum, { size }) => sum + size, 0)

/**
 * Heals; `progress` hears how many objects are left. Returns that number at the end. Throws
 * GlusterError when the bricks cannot be reached.
 */
export async function healVolume(
  volume: Volume,
  host: string,
  port: number,
  progress: (left: number) => void,
): Promise<number> {
  if (setWidth(volume) === 1) return 0
  const graph = await connect(volume, host, port)
  try {
    for (const bricks of setsOf(volume)) dropGone(bricks)
    let left = count(pendingHeals(volume))
    for (let idle = 0; left > 0 && idle < IDLE_ROUNDS_MAX; ) {
      progress(left)
      for (const [set, gfids] of pendingHeals(volume).entries()) {
        const kind = volume.disperse === undefined ? 'replicate' : 'disperse'
        const xl = graph.find(`${volume.name}-${kind}-${set}`)
        const bricks = setsOf(volume)[set]!
        for (const gfid of gfids) if (xl !== undefined) await healObject(graph, xl, bricks, gfid)
      }
      await quiet(graph)
      await tidy(graph)
      await sleep(ROUND_PAUSE_MS)
      for (const bricks of setsOf(volume)) dropGone(bricks)
      const now = count(pendingHeals(volume))
      idle = now < left ? 0 : idle + 1
      left = now
    }
    return left
  } finally {
    await graph.stop()
  }
}

/** What heals put aside, and nobody has a name for any more, goes. */
export async function tidy(graph: Graph): Promise<void> {
  for (const xl of graph.xlators) {
    if (!(xl instanceof Replicate)) continue
    await graph.pool.background(xl.self, 'heal', healCreds(), (frame) => dropUnnamed(xl, frame))
  }
}

/** Until what was begun in the background is done. */
async function quiet(graph: Graph): Promise<void> {
  for (let waited = 0; graph.pool.count > 0 && waited < ROUND_MAX_MS; waited += QUIET_POLL_MS) {
    await sleep(QUIET_POLL_MS)
  }
}

/**
 * Heals the object of gfid `text` as far as `xl` can, a dispersed or replicated set of `graph` whose
 * bricks are the directories `bricks`. One that some of them lack is healed by its names first.
 */
export async function healObject(
  graph: Graph,
  xl: Xlator,
  bricks: readonly string[],
  text: string,
): Promise<void> {
  const gfid = parseGfid(text)
  if (gfid === undefined) return
  await graph.pool.background(xl, 'heal', healCreds(), async (frame) => {
    if (bricks.some((brick) => !hasHandle(brick, text))) {
      for (const place of new Set(bricks.flatMap((brick) => namesOf(brick, text)))) {
        await healPlace(graph, xl, frame, place)
      }
    }
    const found = await frame.wind(xl, 'lookup', { loc: Loc.ofGfid(graph.inodes, gfid) })
    // Gone, or not to be read yet: the index entry tells in the next round.
    if (found.errno !== 0) return
    const inode = graph.inodes.link(graph.inodes.newInode(), undefined, undefined, found.stat)
    if (inode === undefined) return
    if (xl instanceof Replicate) {
      await healInode(xl, frame, inode)
      await purgeStaleIndex(xl, frame, inode)
    } else await frame.wind(xl, 'getxattr', { loc: Loc.ofInode(inode), name: HEAL_KEY })
  })
}

const GFID_TO_PATH = 'trusted.gfid2path.'
/** Names of one object that are healed at a time. */
const NAMES_MAX = 16

/** Where the brick has an object that is no directory: `<gfid of the parent>/<name>`. */
function namesOf(brick: string, gfid: string): string[] {
  const handle = handleOf(brick, gfid)
  const keys = listXattr(handle)
  if (typeof keys === 'number') return []
  const values = keys
    .filter((key) => key.startsWith(GFID_TO_PATH))
    .slice(0, NAMES_MAX)
    .map((key) => getXattr(handle, key))
  return values.flatMap((value) => (typeof value === 'number' ? [] : [value.latin1Slice()]))
}

async function healPlace(graph: Graph, xl: Xlator, frame: Frame, place: string): Promise<void> {
  const at = place.indexOf('/')
  const gfid = parseGfid(place.slice(0, at))
  const name = place.slice(at + 1)
  if (gfid === undefined || name === '') return
  const parent = graph.inodes.findOrNew(gfid, S_IFDIR)
  if (xl instanceof Replicate) await healOneName(xl, frame, parent, name, {})
  else {
    const loc = Loc.ofName(parent, name, graph.inodes.newInode())
    await frame.wind(xl, 'getxattr', { loc, name: HEAL_KEY })
  }
}

/**
 * A brick that died between noting a change in its index and marking the object has an index entry
 * that no heal takes away: asked to add nothing to marks that are zero, it does
 * (afr_shd_zero_xattrop).
 */
async function purgeStaleIndex(xl: Replicate, frame: Frame, inode: Inode): Promise<void> {
  const dict = xl.changes.xattrop(0, NOTHING, NOTHING)
  for (const brick of xl.bricks) {
    await frame.wind(brick, 'xattrop', { loc: Loc.ofInode(inode), op: XATTROP_ADD_ARRAY, dict })
  }
}

async function connect(volume: Volume, host: string, port: number): Promise<Graph> {
  const source = `${volume.name} (heal)`
  const all = parseVolfile(clientVolfile(volume, host, port), source)
  const wanted = ['client', 'disperse', 'replicate', 'distribute']
  for (const { type, options } of all.volumes) {
    if (type !== 'cluster/replicate') continue
    for (const part of ['data', 'metadata', 'entry']) options.set(`${part}-self-heal`, 'on')
  }
  const graph = await buildGraph({
    volfile: {
      ...all,
      volumes: all.volumes.filter(({ type }) => wanted.includes(type.split('/')[1] ?? '')),
    },
    load: async (type) => (await registry[type]?.())?.default,
    id: 0,
    volfileId: volume.name,
    pool: new CallPool(),
    inodes: new InodeTable(),
    process: {
      uuid: randomUUID(),
      hostname: hostname(),
      processName: 'glustershd',
      subdirMount: undefined,
      secureMgmt: false,
    },
  })
  const up = new Promise<void>((resolve, reject) => {
    const timer = clock.after(CONNECT_MAX_MS, () => {
      reject(new GlusterError('NO_BRICK_UP', `no brick of volume '${volume.name}' answers`))
    })
    const above = {
      notify: ({ type }: { type: string }) => {
        if (type !== 'child-up') return
        timer.clear()
        resolve()
      },
    }
    graph.top.parents.push(above as unknown as Xlator)
  })
  graph.start()
  try {
    await up
    return graph
  } catch (error) {
    await graph.stop()
    throw error
  }
}
