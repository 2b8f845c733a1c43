/** xattrs that are not stored but answered by the translators: where a file is, what ails it. */
import { Dict } from '../../../src/core/dict.ts'
import { E } from '../../../src/core/errno.ts'
import type { Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { bricksOf } from '../common/mask.ts'
import { healInfo, healOnDemand } from './heal.ts'
import type { Disperse } from './index.ts'
import { XATTR_HEAL } from './xattrs.ts'

const NODE_UUID = 'trusted.glusterfs.node-uuid'
const NODE_UUIDS = 'trusted.glusterfs.list-node-uuids'
const PATHINFO = 'trusted.glusterfs.pathinfo'
/** The same for users who may not read trusted names. */
const USER_PATHINFO = 'glusterfs.pathinfo'
const HEAL_INFO = 'glusterfs.heal-info'
const CLEAR_LOCKS = 'glusterfs.clrlk'
const NO_UUID = '00000000-0000-0000-0000-000000000000'

/** The answer for a virtual name, `undefined` for a stored one. */
export function virtualXattr(
  ec: Disperse,
  frame: Frame,
  req: Req<'getxattr'>,
): Promise<Rep<'getxattr'>> | undefined {
  const { name } = req
  if (name === undefined) return undefined
  if (name === XATTR_HEAL) return healOnDemand(ec, frame, req.loc)
  if (name === HEAL_INFO) return healInfo(ec, frame, req.loc.inode)
  if (name === NODE_UUID || name === NODE_UUIDS || name === PATHINFO) {
    return gather(ec, frame, req, name, name)
  }
  if (name === USER_PATHINFO) return gather(ec, frame, req, name, PATHINFO)
  if (name.startsWith(CLEAR_LOCKS)) return gather(ec, frame, req, name, CLEAR_LOCKS)
  return undefined
}

/** Asks every brick and puts the texts together as the name demands. */
async function gather(
  ec: Disperse,
  frame: Frame,
  req: Req<'getxattr'>,
  name: string,
  kind: string,
): Promise<Rep<'getxattr'>> {
  if (!ec.isUp) return { errno: E.NOTCONN }
  const bricks = bricksOf(ec.up)
  // For a list every brick says only its own.
  const asked = kind === NODE_UUIDS ? NODE_UUID : name
  const replies = await frame.windAll(
    bricks.map((brick) => ec.children[brick]!),
    'getxattr',
    () => ({ ...req, name: asked }),
  )
  const texts = new Array<string | undefined>(ec.children.length)
  let last: Ok<'getxattr'> | undefined
  replies.forEach((reply, index) => {
    if (reply.errno !== 0) return
    last = reply
    texts[bricks[index]!] = reply.dict.getStr(asked)
  })
  if (last === undefined) return replies[0]!
  const known = texts.filter((text) => text !== undefined)
  const text = {
    [NODE_UUID]: () => known[0] ?? '',
    [NODE_UUIDS]: () => [...texts].map((one) => one ?? NO_UUID).join(' '),
    [PATHINFO]: () => `(<EC:${ec.name}> ${known.map((one) => `${one} `).join('')})`,
    [CLEAR_LOCKS]: () => known.join('\n'),
  }[kind]!()
  return { errno: 0, dict: new Dict().setStr(name, text), xdata: last.xdata }
}
