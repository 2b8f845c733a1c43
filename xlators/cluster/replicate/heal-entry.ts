/**
 * Entry heal: the names of a directory made the same on all bricks. Either one side is right, or,
 * when nobody can say, what any brick has is kept (conservative merge) (afr_selfheal_entry).
 */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import { Fd } from '../../../src/core/fd.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { type Gfid, gfidText, ROOT_GFID } from '../../../src/core/gfid.ts'
import { S_IFDIR } from '../../../src/core/iatt.ts'
import { type Inode, inodePath } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { bricksOf } from '../common/mask.ts'
import { DATA, ENTRY } from './change-log.ts'
import { withGfid } from './heal-change.ts'
import {
  type Copies,
  chooseSource,
  eachBrick,
  findDirection,
  type HealResult,
  healDomain,
  readCopies,
  settle,
  underLock,
} from './heal-common.ts'
import { SET_TIMES } from './heal-data.ts'
import { settleName } from './heal-name.ts'
import type { Replicate } from './index.ts'
import { entryLockee } from './locks.ts'
import { isPrivateName } from './lookup.ts'

const READDIR_SIZE = 131072
const ENTRY_CHANGES = 'glusterfs.xattrop_entry_changes_gfid'

interface Plan {
  copies: Copies
  /** 0: conservative merge. */
  sources: number
  isClean: boolean
  /** The names are not on record: all are compared. */
  full: boolean
}

export function healEntries(afr: Replicate, frame: Frame, dir: Inode): Promise<HealResult> {
  const loc = Loc.ofInode(dir)
  const exclusive = entryLockee(healDomain(afr), loc, undefined)
  const whole = entryLockee(afr.name, loc, undefined)
  return underLock(afr, frame, exclusive, 'leave-to-others', async () => {
    const plan = await underLock(afr, frame, whole, 'wait', () => prepare(afr, frame, dir))
    if (plan.errno !== 0) return plan
    const { isClean, full, sources, copies } = plan as Plan
    if (isClean) return { errno: 0 }
    afr.log.info({ dir: inodePath(dir), sources: bricksOf(sources), full }, 'entry heal begins')
    const healed = await healNames(afr, frame, dir, plan as Plan)
    if (healed.errno !== 0) return healed
    return underLock(afr, frame, whole, 'wait', async () => {
      if (sources !== 0) await restoreTimes(afr, frame, loc, sources, copies)
      const purge =
        afr.options['granular-entry-heal'] && (await isUnchanged(afr, frame, dir, copies))
      const xdata = purge ? new Dict().setInt('glusterfs.xattrop-purge-index', 1) : undefined
      return settle(afr, frame, dir, copies, {
        slots: full ? [ENTRY, DATA] : [ENTRY],
        failed: 0,
        ...(xdata === undefined ? {} : { xdata }),
      })
    })
  })
}

async function prepare(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
): Promise<HealResult & Partial<Plan>> {
  const found = await readCopies(afr, frame, dir)
  if (found.errno !== 0) return found
  const { copies } = found
  const direction = findDirection(afr, copies, ENTRY)
  const { isClean, witness } = direction
  const unsure = witness.some((value) => value !== 0)
  const sources = unsure ? 0 : direction.sources
  // A directory's data slot says that the names were not noted.
  const marked = copies.some(({ xdata }) => afr.changes.blamed(xdata, DATA) !== 0)
  const full = !afr.options['granular-entry-heal'] || marked
  return { errno: 0, copies, sources, full, isClean: isClean && !marked }
}

/**
 * Was nothing put on record since the heal began? Else names may have been noted that it has not
 * seen: taken out of the index with the others, no later heal would look at them.
 */
async function isUnchanged(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  copies: Copies,
): Promise<boolean> {
  const found = await readCopies(afr, frame, dir)
  if (found.errno !== 0) return false
  const { changes } = afr
  return found.copies.every(({ xdata }, brick) => {
    const before = copies[brick]?.xdata
    return (
      changes.unfinished(xdata, ENTRY) === changes.unfinished(before, ENTRY) &&
      String(changes.blames(xdata, ENTRY)) === String(changes.blames(before, ENTRY))
    )
  })
}

async function restoreTimes(
  afr: Replicate,
  frame: Frame,
  loc: Loc,
  sources: number,
  copies: Copies,
): Promise<void> {
  const source = chooseSource(afr, sources)
  const { stat } = copies[source]!
  const sinks = afr.all & ~sources
  await eachBrick(afr, frame, sinks, 'setattr', () => ({ loc, stat, valid: SET_TIMES }))
}

/** Each name once: those of the wrong bricks first, so that what is to go makes room. */
async function healNames(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  plan: Plan,
): Promise<HealResult> {
  const done = new Set<string>()
  const order = [...bricksOf(afr.all & ~plan.sources), ...bricksOf(plan.sources).slice(0, 1)]
  let worst: HealResult = { errno: 0 }
  for (const brick of order) {
    const healed = plan.full
      ? await crawl(afr, frame, dir, brick, (name) => once(name))
      : await crawlChanges(afr, frame, dir, brick, (name) => once(name))
    if (healed.errno !== 0) return healed
  }
  return worst

  async function once(name: string): Promise<HealResult> {
    if (done.has(name)) return { errno: 0 }
    done.add(name)
    const healed = await healLocked(afr, frame, dir, name, plan.sources)
    // One name that cannot be healed does not keep the others from it.
    if (healed.errno === E.IO) worst = healed
    return healed.errno === E.IO ? { errno: 0 } : healed
  }
}

/**
 * The directory may have changed since: who is right is asked again for each name. EAGAIN: a change
 * was begun meanwhile whose client is gone, else it would hold its lock. What its user was told may
 * be true of a brick this heal takes for wrong; the next heal keeps what any brick has.
 */
function healLocked(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  name: string,
  sources: number,
): Promise<HealResult> {
  const whole = entryLockee(afr.name, Loc.ofInode(dir), undefined)
  return underLock(afr, frame, whole, 'wait', async () => {
    const found = await readCopies(afr, frame, dir)
    if (found.errno !== 0) return found
    const now = findDirection(afr, found.copies, ENTRY)
    if (sources !== 0 && now.witness.some((value) => value !== 0)) return { errno: E.AGAIN }
    return settleName(afr, frame, { dir, name, sources: sources & now.sources, isClean: false })
  })
}

type Visit = (name: string) => Promise<HealResult>

async function crawl(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  brick: number,
  visit: Visit,
): Promise<HealResult> {
  const child = afr.bricks[brick]!
  const fd = new Fd(dir, 0, 0)
  const opened = await frame.wind(child, 'opendir', { loc: Loc.ofInode(dir), fd })
  if (opened.errno !== 0) return opened
  try {
    for (let off = 0n; ; ) {
      const rep = await frame.wind(child, 'readdir', { fd, size: READDIR_SIZE, off })
      if (rep.errno !== 0) return rep
      for (const { name } of rep.entries) {
        if (name === '.' || name === '..' || isOfBrick(dir, name)) continue
        const healed = await visit(name)
        if (healed.errno !== 0) return healed
      }
      if (rep.eof || rep.entries.length === 0) return { errno: 0 }
      off = rep.entries.at(-1)!.off
    }
  } finally {
    fd.release()
  }
}

const isOfBrick = (dir: Inode, name: string): boolean =>
  dir.gfid === ROOT_GFID && (name === '.glusterfs' || isPrivateName(name, 0))

/** The names that this brick noted as changed while another was away. */
async function crawlChanges(
  afr: Replicate,
  frame: Frame,
  dir: Inode,
  brick: number,
  visit: Visit,
): Promise<HealResult> {
  const child = afr.bricks[brick]!
  const root = Loc.ofInode(afr.graph.inodes.root)
  const base = await frame.wind(child, 'getxattr', { loc: root, name: ENTRY_CHANGES })
  if (base.errno !== 0) return base
  const gfid = base.dict.getGfid(ENTRY_CHANGES)
  if (gfid === undefined) return { errno: E.IO }
  const index = await lookupIndex(afr, frame, brick, gfid, gfidText(dir.gfid))
  if (index.errno === E.NOENT || index.errno === E.STALE) return { errno: 0 }
  if (index.errno !== 0) return index
  const names: string[] = []
  const listed = await crawl(afr, frame, index.inode, brick, async (name) => {
    names.push(name)
    return { errno: 0 }
  })
  if (listed.errno !== 0) return listed
  for (const name of names) {
    const healed = await visit(name)
    if (healed.errno !== 0) return healed
  }
  return { errno: 0 }
}

async function lookupIndex(
  afr: Replicate,
  frame: Frame,
  brick: number,
  base: Gfid,
  name: string,
): Promise<{ errno: 0; inode: Inode } | { errno: Exclude<HealResult['errno'], 0> }> {
  const { inodes } = afr.graph
  const parent = withGfid(afr, inodes.newInode(), base)
  const loc = Loc.ofName(parent, name, inodes.newInode())
  const reply = await frame.wind(afr.bricks[brick]!, 'lookup', { loc })
  if (reply.errno !== 0) return { errno: reply.errno }
  const inode = withGfid(afr, inodes.newInode(), reply.stat.gfid)
  inode.type = S_IFDIR
  return { errno: 0, inode }
}
