/**
 * Healing an object in split-brain from the copy that an administrator chose, through a mount
 * (afr_selfheal_split_brain_finalize) or as glfs-heal asks.
 */
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { S_IFDIR } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { healCreds } from '../common/heal-queue.ts'
import { splitBrainOf } from './heal.ts'
import { type Decision, type HealResult, readCopies } from './heal-common.ts'
import { healData } from './heal-data.ts'
import { healMetadata } from './heal-metadata.ts'
import { healOneName } from './heal-name.ts'
import type { Replicate } from './index.ts'

type SplitBrain = { data: boolean; metadata: boolean }

async function inspect(
  afr: Replicate,
  own: Frame,
  inode: Inode,
): Promise<({ errno: 0 } & SplitBrain) | { errno: Errno }> {
  const found = await readCopies(afr, own, inode)
  if (found.errno !== 0) return found
  return { errno: 0, ...splitBrainOf(afr, inode, found.copies) }
}

/** `setfattr -n replica.split-brain-heal-finalize`: the copy on `brick` is right. */
export async function finalizeSplitBrain(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  brick: number,
): Promise<HealResult> {
  const own = frame.with(healCreds())
  const found = await inspect(afr, own, inode)
  if (found.errno !== 0) return found
  // As in stock, which asks for the mount's own heals to be on.
  const mayData = !found.data || afr.options['data-self-heal']
  const mayMetadata = !found.metadata || afr.options['metadata-self-heal']
  if (!mayData || !mayMetadata) return { errno: E.IO }
  return resolve(afr, own, inode, found, { by: 'source', brick })
}

async function resolve(
  afr: Replicate,
  own: Frame,
  inode: Inode,
  { data, metadata }: SplitBrain,
  decision: Decision,
): Promise<HealResult> {
  if (data) {
    const healed = await healData(afr, own, inode, decision)
    if (healed.errno !== 0) return healed
  }
  return metadata ? healMetadata(afr, own, inode, decision) : { errno: 0 }
}

const HEAL_OP_BIGGER_FILE = 10
const HEAL_OP_SOURCE = 11
const HEAL_OP_LATEST_MTIME = 14
const MESSAGE = 'sh-fail-msg'
const GFID_MESSAGE = 'gfid-heal-msg'

/** `gluster volume heal VOL split-brain …`: the decision comes with the request. */
export async function healSplitBrain(
  afr: Replicate,
  frame: Frame,
  req: Req<'getxattr'>,
): Promise<Rep<'getxattr'>> {
  const decision = decisionOf(afr, req.xdata)
  if (decision === undefined) return told(MESSAGE, 'Unknown heal command')
  const own = frame.with(healCreds())
  const { inode, parent, name } = req.loc
  if (parent !== undefined && name !== undefined) {
    const { errno } = await healOneName(afr, own, parent, name, { decision })
    if (errno !== 0) return told(GFID_MESSAGE, 'Different objects of this name could not be healed')
  }
  if (inode.type === S_IFDIR && decision.by !== 'latest-mtime' && decision.by !== 'source') {
    return told(MESSAGE, 'A directory has no size to decide by')
  }
  const found = await inspect(afr, own, inode)
  if (found.errno !== 0) return found
  if (!found.data && !found.metadata) return told(MESSAGE, 'File not in split-brain')
  const { errno } = await resolve(afr, own, inode, found, decision)
  if (errno === 0) return { errno: 0, dict: new Dict().setStr('heal-info', 'no-heal') }
  return told(MESSAGE, decision.by === 'bigger-file' ? 'No bigger file' : 'Heal failed')
}

const told = (key: string, message: string): Rep<'getxattr'> => ({
  errno: 0,
  dict: new Dict().setStr(key, message),
})

function decisionOf(afr: Replicate, xdata: Dict | undefined): Decision | undefined {
  switch (xdata?.getNumber('heal-op')) {
    case HEAL_OP_BIGGER_FILE:
      return { by: 'bigger-file' }
    case HEAL_OP_LATEST_MTIME:
      return { by: 'latest-mtime' }
    case HEAL_OP_SOURCE: {
      const name = xdata.getStr('child-name')
      const brick = afr.bricks.findIndex((one) => one.name === name)
      return brick < 0 ? undefined : { by: 'source', brick }
    }
    default:
      return undefined
  }
}
