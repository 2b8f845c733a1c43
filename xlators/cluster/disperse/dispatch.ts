/**
 * Sends one fop to bricks and finds the answer most of them agree on (ec_dispatch, ec_combine).
 */
import { E } from '../../../src/core/errno.ts'
import type { FopError, FopName, Ok, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { bit, count, ringFrom } from '../common/mask.ts'
import { mergeReplies, type Strict, sameReply } from './combine.ts'

export interface Call<K extends FopName> {
  fop: K
  /** Bricks that may be asked. */
  targets: number
  /**
   * `all` of them; `some`: as many as `minimum`, others when answers disagree; `one`: the first
   * that does not fail for a reason of its own.
   */
  spread: 'all' | 'some' | 'one'
  /** Brick to begin with. */
  first: number
  /** Equal answers needed. */
  minimum: number
  /** Bricks under repair: asked, but their answers are no vote. */
  healing?: number
  strict: Strict
  req: (brick: number) => Req<K>
  /** Changes an answer before it is compared. */
  onReply?: (brick: number, reply: Rep<K>) => Rep<K>
  /** A brick that has been asked already, and what it said. */
  asked?: { readonly brick: number; readonly rep: Rep<K> } | undefined
}

export interface Answer<K extends FopName> {
  /** What the largest group says; EIO when it is too small. */
  rep: Rep<K>
  /** The bricks of that group; 0 when it is too small. */
  good: number
  /** Bricks that were asked. */
  sent: number
  /** By brick. */
  replies: (Rep<K> | undefined)[]
}

interface Group<K extends FopName> {
  mask: number
  replies: Rep<K>[]
}

/** Errors that say something of the brick, not of the file: another one is asked instead. */
const OTHER_BRICK = new Set<number>([E.NOTCONN, E.STALE, E.NOENT, E.BADFD, E.IO])

export async function dispatch<K extends FopName>(
  bricks: readonly Xlator[],
  dataCount: number,
  frame: Frame,
  call: Call<K>,
): Promise<Answer<K>> {
  const ring = ringFrom(call.targets, call.first)
  const replies: (Rep<K> | undefined)[] = new Array(bricks.length)
  if (ring.length < call.minimum) return { rep: { errno: E.IO }, good: 0, sent: 0, replies }
  const groups: Group<K>[] = []
  const initial = { all: ring.length, some: call.minimum, one: 1 }[call.spread]
  let asked = 0
  let sent = 0
  let batchSize = initial
  for (;;) {
    const batch = ring.slice(asked, asked + batchSize)
    asked += batch.length
    let mask = 0
    for (const brick of batch) if (brick !== call.asked?.brick) mask |= bit(brick)
    const answers = await frame.windMask(bricks, mask, call.fop, call.req)
    for (const brick of batch) {
      sent |= bit(brick)
      const answer = answers[brick] ?? call.asked!.rep
      const reply = call.onReply?.(brick, answer) ?? answer
      replies[brick] = reply
      addToGroup(groups, brick, reply, call)
    }
    const best = largest(groups, call.healing ?? 0)
    const enough = count(best.mask & ~(call.healing ?? 0)) >= call.minimum
    const settled = call.spread === 'one' ? !OTHER_BRICK.has(best.replies[0]!.errno) : enough
    if (settled || asked === ring.length) {
      if (!enough) return { rep: { errno: E.IO }, good: 0, sent, replies }
      return { rep: answerOf(best, call.fop, dataCount), good: best.mask, sent, replies }
    }
    batchSize = 1
  }
}

function addToGroup<K extends FopName>(
  groups: Group<K>[],
  brick: number,
  reply: Rep<K>,
  call: Call<K>,
): void {
  const group = groups.find(({ replies: [first] }) =>
    first!.errno === 0 && reply.errno === 0
      ? sameReply(call.fop, first as Ok<K>, reply as Ok<K>, call.strict)
      : first!.errno === reply.errno,
  )
  if (group === undefined) {
    groups.push({ mask: bit(brick), replies: [reply] })
  } else {
    group.mask |= bit(brick)
    group.replies.push(reply)
  }
}

/** Most votes; with equal votes the one that succeeded, then the first. */
function largest<K extends FopName>(groups: readonly Group<K>[], healing: number): Group<K> {
  const votes = (group: Group<K>) => count(group.mask & ~healing)
  let best = groups[0]!
  for (const group of groups) {
    const more = votes(group) - votes(best)
    if (more > 0 || (more === 0 && best.replies[0]!.errno !== 0 && group.replies[0]!.errno === 0)) {
      best = group
    }
  }
  return best
}

function answerOf<K extends FopName>(group: Group<K>, fop: K, dataCount: number): Rep<K> {
  const first = group.replies[0]!
  if (first.errno !== 0) return first as FopError
  return mergeReplies(fop, group.replies as Ok<K>[], dataCount)
}
