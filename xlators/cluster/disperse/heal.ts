import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { Disperse } from './index.ts'

export type HealResult = { errno: 0 } | { errno: Errno }

export async function healInode(
  _ec: Disperse,
  _frame: Frame,
  _inode: Inode,
  _how: { partial: boolean },
): Promise<HealResult> {
  return { errno: E.OPNOTSUPP }
}

export async function healOnDemand(
  _ec: Disperse,
  _frame: Frame,
  _inode: Inode,
): Promise<Rep<'getxattr'>> {
  return { errno: E.OPNOTSUPP }
}

export async function healInfo(
  _ec: Disperse,
  _frame: Frame,
  _inode: Inode,
): Promise<Rep<'getxattr'>> {
  return { errno: E.OPNOTSUPP }
}
