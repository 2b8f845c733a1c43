import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import { S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { Loc } from '../../../src/core/loc.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import type { Log } from '../../../src/observe/log.ts'
import { stale } from './rules.ts'

/** Shows a known inode to the translators of the graph below `top`. 0 or the errno to answer. */
export async function lookupInode(
  log: Log,
  frame: Frame,
  top: Xlator,
  inode: Inode,
): Promise<0 | Errno> {
  const named = await lookupByName(frame, top, inode)
  const loc = new Loc(inode, undefined, undefined, inode.gfid)
  const rep = named ?? (await frame.wind(top, 'lookup', { loc }))
  if (rep.errno !== 0) return stale(rep.errno)
  if (rep.stat.gfid !== inode.gfid || (rep.stat.mode & S_IFMT) !== inode.type) {
    log.error(`lookup of ${gfidText(inode.gfid)} found another object`)
    return E.IO
  }
  inode.lookedUpGraph = top.graph.id
  return 0
}

/** By a name it was seen under fewer bricks need to be asked; `undefined`: it is gone from there. */
async function lookupByName(
  frame: Frame,
  top: Xlator,
  inode: Inode,
): Promise<Rep<'lookup'> | undefined> {
  const dentry = inode.dentries[0]
  if (dentry === undefined || dentry.parent.lookedUpGraph !== top.graph.id) return undefined
  const loc = Loc.ofName(dentry.parent, dentry.name, inode)
  const rep = await frame.wind(top, 'lookup', { loc })
  return rep.errno === 0 && rep.stat.gfid === inode.gfid ? rep : undefined
}
