/** Nameless lookups: the object is asked for by gfid on every subvolume (dht_discover). */
import { E } from '../../../src/core/errno.ts'
import type { MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { isDir, S_IFDIR } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import { isLinkto } from './attributes.ts'
import { conditionOf, finishDirectory, viewOf } from './directory-lookup.ts'
import type { Distribute } from './index.ts'
import { ANCESTRY_PATH } from './keys.ts'
import { needsHeal } from './layout.ts'
import { freshLoc, gfidLoc } from './locks.ts'
import { foundFile, type LookupCall, lookup, lookupXdata } from './lookup.ts'
import { asRoot, worstError } from './subvolumes.ts'

/** Names in a path that is walked to heal a directory. */
const PATH_DEPTH_MAX = 1024

export async function discover(call: LookupCall): Promise<Rep<'lookup'>> {
  let replies = await askAll(call)
  // Both ends of a migration that completed between two of the replies look like linktos.
  if (Array.isArray(replies) && onlyLinktos(replies)) replies = await askAll(call)
  if (!Array.isArray(replies)) return replies
  const directories = replies.some((rep) => rep.errno === 0 && isDir(rep.stat))
  if (!directories) return notFound(replies)
  const { dht } = call
  const { layout } = viewOf(dht, replies)
  const { anomalies, unreachable } = conditionOf(layout, replies)
  if (!unreachable && needsHeal(anomalies) && !call.loc.inode.isRoot) {
    await healByPath(call, replies)
    const again = await askAll(call)
    if (!Array.isArray(again)) return again
    if (!again.some((rep) => rep.errno === 0 && isDir(rep.stat))) return notFound(again)
    return rememberNameless(call, again)
  }
  return rememberNameless(call, replies)
}

/** Healing needs a name: here what was found is only merged and remembered. */
function rememberNameless(
  call: LookupCall,
  replies: readonly Rep<'lookup'>[],
): MaybePromise<Rep<'lookup'>> {
  const { dht, loc } = call
  const isRoot = loc.inode.isRoot
  if (isRoot) return finishDirectory(call, replies, dht.inodes.get(loc.inode)?.layout)
  const view = viewOf(dht, replies, dht.inodes.get(loc.inode)?.layout)
  dht.rememberDirectory(loc.inode, view.stat, view.layout, view.mds)
  const { stat, postparent, xdata } = view
  return { errno: 0, stat, postparent, xdata }
}

function onlyLinktos(replies: readonly Rep<'lookup'>[]): boolean {
  const found = replies.filter((rep) => rep.errno === 0)
  return found.length > 0 && !found.some((rep) => rep.errno === 0 && isDir(rep.stat))
}

/** Only linktos, or nothing. A subvolume that is down might have it. */
function notFound(replies: readonly Rep<'lookup'>[]): Rep<'lookup'> {
  if (replies.some((rep) => rep.errno === 0)) return { errno: E.NOENT }
  return worstError<'lookup'>(replies)
}

/** All replies, or the file as soon as one subvolume has its data. */
function askAll(call: LookupCall): Promise<Rep<'lookup'> | Rep<'lookup'>[]> {
  const { dht, frame, loc, xdata } = call
  return new Promise((resolve, reject) => {
    const pending = dht.children.map(async (sub) => {
      const rep = await frame.wind(sub, 'lookup', { loc, xdata })
      const isFile = rep.errno === 0 && !isDir(rep.stat)
      if (isFile && !isLinkto(rep.stat, rep.xdata, dht.keys)) resolve(foundFile(call, sub, rep))
      return rep
    })
    Promise.all(pending).then(resolve, reject)
  })
}

/**
 * Walks from the root to the directory by name, so that each step heals what it meets. The path
 * comes from a subvolume that has the directory.
 */
async function healByPath(call: LookupCall, replies: readonly Rep<'lookup'>[]): Promise<void> {
  const { dht, loc } = call
  const good = replies.findIndex((rep) => rep.errno === 0)
  const frame = asRoot(call.frame)
  const rep = await frame.wind(dht.children[good]!, 'getxattr', { loc, name: ANCESTRY_PATH })
  const path = rep.errno === 0 ? rep.dict.getStr(ANCESTRY_PATH) : undefined
  if (path === undefined || !path.startsWith('/')) return
  const names = path.split('/').filter((name) => name !== '')
  if (names.length > PATH_DEPTH_MAX) return
  const { table } = loc.inode
  let parent = table.root
  for (const name of names) {
    const inode = table.child(parent, name) ?? table.newInode()
    const found = await lookup(dht, frame, { loc: new Loc(inode, parent, name) })
    if (found.errno !== 0 || !isDir(found.stat)) return
    parent = freshLoc(inode, found.stat.gfid, S_IFDIR).inode
  }
}

/**
 * Makes sure DHT knows an inode it is asked to work on: the bridge may hold one that no lookup of
 * this graph has seen. Answers the errno of the lookup it took.
 */
export async function learn(dht: Distribute, frame: Frame, inode: Inode): Promise<Rep<'access'>> {
  const rep = await discover({
    dht,
    frame: asRoot(frame),
    loc: gfidLoc(inode),
    xdata: lookupXdata(dht, undefined, inode.isRoot),
    gfidReq: undefined,
    hashed: undefined,
    guarded: false,
  })
  return rep.errno === 0 ? { errno: 0 } : { errno: rep.errno }
}
