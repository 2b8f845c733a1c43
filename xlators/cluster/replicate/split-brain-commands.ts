/**
 * What an administrator does about a split-brain through a mount: see it, look at one copy, take
 * one (getfattr and setfattr of replica.split-brain-*).
 */
import { clock } from '../../../src/core/clock.ts'
import { Dict } from '../../../src/core/dict.ts'
import { E, type Errno } from '../../../src/core/errno.ts'
import type { Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { S_IFDIR } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { has } from '../common/mask.ts'
import { finalizeSplitBrain } from './heal-split-brain.ts'
import type { Replicate } from './index.ts'
import type { InodeState } from './inode-state.ts'
import { refresh } from './refresh.ts'

export const STATUS = 'replica.split-brain-status'
export const CHOICE = 'replica.split-brain-choice'
export const CHOICE_TIMEOUT = 'replica.split-brain-choice-timeout'
export const FINALIZE = 'replica.split-brain-heal-finalize'

const MINUTE_MS = 60_000

type Kinds = { errno: 0; data: boolean; metadata: boolean } | { errno: Errno }

/** Of which kind the split-brain of `inode` is, if any; asked of the bricks now. */
async function kindsOf(afr: Replicate, frame: Frame, inode: Inode): Promise<Kinds> {
  const refused = afr.admit()
  if (refused !== 0) return { errno: refused }
  const { errno } = await refresh(afr, frame, inode, undefined)
  if (errno !== 0) return { errno }
  const state = afr.state(inode)
  const data = state.data === 0 && inode.type !== S_IFDIR
  return { errno: 0, data, metadata: state.metadata === 0 }
}

export async function splitBrainStatus(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
): Promise<Rep<'getxattr'>> {
  const kinds = await kindsOf(afr, frame, inode)
  if (kinds.errno !== 0) return kinds
  const yesNo = (is: boolean) => (is ? 'yes' : 'no')
  const choices = afr.bricks.filter((_brick, index) => !has(afr.arbiterMask, index))
  const text =
    kinds.data || kinds.metadata
      ? `data-split-brain:${yesNo(kinds.data)}    ` +
        `metadata-split-brain:${yesNo(kinds.metadata)}    ` +
        `Choices:${choices.map(({ name }) => name).join(',')}`
      : 'The file is not under data or metadata split-brain'
  return { errno: 0, dict: new Dict().setStr(STATUS, text) }
}

/** Index of the copy that `name` stands for; an arbiter has none. */
function copyOf(afr: Replicate, name: string): number {
  const index = afr.bricks.findIndex((brick) => brick.name === name)
  return index >= 0 && has(afr.arbiterMask, index) ? -1 : index
}

/** Lets this mount read one copy of a file in split-brain, for a while. */
export async function choose(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  name: string,
): Promise<Rep<'setxattr'>> {
  const state = afr.state(inode)
  if (name === 'none') {
    setChoice(afr, inode, state, -1)
    return { errno: 0 }
  }
  const index = copyOf(afr, name)
  if (index < 0) return { errno: E.INVAL }
  const kinds = await kindsOf(afr, frame, inode)
  if (kinds.errno !== 0) return kinds
  if (!kinds.data && !kinds.metadata) return { errno: E.INVAL }
  setChoice(afr, inode, state, index)
  state.choiceEnds = clock.after(afr.choiceMs, () => setChoice(afr, inode, state, -1), true)
  return { errno: 0 }
}

function setChoice(afr: Replicate, inode: Inode, state: InodeState, choice: number): void {
  state.choiceEnds?.clear()
  state.choiceEnds = undefined
  if (state.choice === choice) return
  state.choice = choice
  // The kernel may hold what was read from another copy.
  afr.notifyParents({ type: 'invalidate-inode', inode })
}

/** How long later choices last: minutes, as a number or as text. */
export async function chooseFor(afr: Replicate, dict: Dict): Promise<Rep<'setxattr'>> {
  const minutes = dict.getNumber(CHOICE_TIMEOUT)
  if (minutes === undefined || minutes < 0 || minutes > MINUTES_MAX) return { errno: E.INVAL }
  afr.choiceMs = minutes * MINUTE_MS
  return { errno: 0 }
}

/** Beyond it a timer would end at once. */
const MINUTES_MAX = 35_000

/** The copy `name` is right: the others are healed from it. */
export async function finalize(
  afr: Replicate,
  frame: Frame,
  inode: Inode,
  name: string,
): Promise<Rep<'setxattr'>> {
  const index = copyOf(afr, name)
  if (index < 0) return { errno: E.INVAL }
  const { errno } = await finalizeSplitBrain(afr, frame, inode, index)
  if (errno !== 0) return { errno }
  setChoice(afr, inode, afr.state(inode), -1)
  afr.doubt(inode)
  return { errno: 0 }
}
