/** xattrs that are not stored but answered by the translators: where a file is, what ails it. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { healInfo } from './heal.ts'
import { healSplitBrain } from './heal-split-brain.ts'
import type { Replicate } from './index.ts'
import { markNewBrick } from './new-brick.ts'
import { everywhere } from './open.ts'
import {
  CHOICE,
  CHOICE_TIMEOUT,
  choose,
  chooseFor,
  FINALIZE,
  finalize,
  STATUS,
  splitBrainStatus,
} from './split-brain-commands.ts'
import { errorReply, finalErrno } from './transaction.ts'

const NODE_UUID = 'trusted.glusterfs.node-uuid'
const NODE_UUIDS = 'trusted.glusterfs.list-node-uuids'
const NO_UUID = '00000000-0000-0000-0000-000000000000'

type Answer = Promise<Rep<'getxattr'>>

/** The answer for a virtual name, `undefined` for a stored one. */
export function virtualGetxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'getxattr'>,
): Answer | undefined {
  const { name } = req
  if (name === undefined) return undefined
  switch (name) {
    case 'trusted.glusterfs.pathinfo':
    case 'glusterfs.pathinfo':
      return gather(afr, frame, req, name, (texts) => {
        const known = texts.filter((text) => text !== undefined)
        return `(<REPLICATE:${afr.name}> ${known.join(' ')})`
      })
    case NODE_UUIDS:
      return gather(afr, frame, req, NODE_UUID, (texts) =>
        [...texts].map((text) => text ?? NO_UUID).join(' '),
      )
    case NODE_UUID:
      return gather(afr, frame, req, name, (texts) => texts.find((text) => text !== undefined)!)
    case STATUS:
      return splitBrainStatus(afr, frame, req.loc.inode)
    case 'glusterfs.heal-info':
      return healInfo(afr, frame, req.loc)
    case 'glusterfs.heal-sbrain':
      return healSplitBrain(afr, frame, req)
    default:
      break
  }
  if (name.startsWith('glusterfs.clrlk') || name.startsWith('glusterfs.intrlk')) {
    return gather(afr, frame, req, name, (texts) =>
      texts.filter((text) => text !== undefined).join('\n'),
    )
  }
  if (/^trusted\.glusterfs\.quota(\..*)?\.size|\.stime$/.test(name)) return largest(afr, frame, req)
  return undefined
}

/** Commands in the form of xattrs; `undefined` for names that are stored. */
export function virtualSetxattr(
  afr: Replicate,
  frame: Frame,
  req: Req<'setxattr'>,
): Promise<Rep<'setxattr'>> | undefined {
  for (const key of req.dict.entries.keys()) {
    switch (key) {
      case CHOICE:
        return choose(afr, frame, req.loc.inode, req.dict.getStr(key) ?? '')
      case CHOICE_TIMEOUT:
        return chooseFor(afr, req.dict)
      case FINALIZE:
        return finalize(afr, frame, req.loc.inode, req.dict.getStr(key) ?? '')
      case 'trusted.replace-brick':
      case 'trusted.add-brick':
        return markNewBrick(afr, frame, req.dict.getStr(key) ?? '', key)
      default:
        break
    }
  }
  return undefined
}

/** Asks every brick and joins the texts. `asked`: the name each brick knows. */
async function gather(
  afr: Replicate,
  frame: Frame,
  req: Req<'getxattr'>,
  asked: string,
  join: (texts: readonly (string | undefined)[]) => string,
): Answer {
  if (afr.up === 0) return { errno: E.NOTCONN }
  const { replies, good } = await everywhere(afr, frame, 'getxattr', { ...req, name: asked })
  if (good === 0) return errorReply(replies, finalErrno(replies))
  const texts: (string | undefined)[] = new Array(afr.bricks.length)
  let last: Ok<'getxattr'> | undefined
  replies.forEach((reply, brick) => {
    if (reply?.errno !== 0) return
    last = reply
    texts[brick] = reply.dict.getStr(asked)
  })
  return { errno: 0, dict: new Dict().setStr(req.name!, join(texts)), xdata: last?.xdata }
}

/** Values that only grow: the brick that is furthest. */
async function largest(afr: Replicate, frame: Frame, req: Req<'getxattr'>): Answer {
  if (afr.up === 0) return { errno: E.NOTCONN }
  const { replies, good } = await everywhere(afr, frame, 'getxattr', req)
  if (good === 0) return errorReply(replies, finalErrno(replies))
  let best: Ok<'getxattr'> | undefined
  for (const reply of replies) {
    if (reply?.errno !== 0) continue
    const value = reply.dict.getBytes(req.name!)
    const known = best?.dict.getBytes(req.name!)
    if (known === undefined || (value !== undefined && value.compare(known) > 0)) best = reply
  }
  return best!
}
