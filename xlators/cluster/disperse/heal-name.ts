import { E } from '../../../src/core/errno.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Inode } from '../../../src/core/inode.ts'
import type { HealResult } from './heal.ts'
import type { Disperse } from './index.ts'

export async function healName(
  _ec: Disperse,
  _frame: Frame,
  _parent: Inode,
  _name: string,
): Promise<HealResult> {
  return { errno: E.OPNOTSUPP }
}
