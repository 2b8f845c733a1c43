/** What a request that is not answered yet waits for, in words. */
import type { Fd } from '../core/fd.ts'
import type { CallPool, Frame, Stack } from '../core/frame.ts'
import { inodePath } from '../core/inode.ts'
import { Loc } from '../core/loc.ts'
import type { Xlator } from '../core/xlator.ts'

/** Paths that are shown of a request; rename has two. */
const TARGET_KEYS = ['loc', 'oldloc', 'newloc', 'fd', 'fdIn', 'fdOut'] as const

/** The files a request is about, as paths from the volume's root; empty when it names none. */
export function pathsOf(stack: Stack): string[] {
  const asked = stack.asked as Partial<Record<(typeof TARGET_KEYS)[number], unknown>> | undefined
  if (asked === undefined || asked === null) return []
  const paths = new Set<string>()
  for (const key of TARGET_KEYS) {
    const target = asked[key]
    if (target instanceof Loc) paths.add(target.path)
    else if (target !== undefined) paths.add(inodePath((target as Fd).inode))
  }
  return [...paths]
}

/** Frames nobody below which is still to answer: where a request stands. */
export function waitingFrames(frames: readonly Frame[]): Frame[] {
  const open = frames.filter((frame) => !frame.complete)
  const above = new Set(open.map((frame) => frame.parent))
  return open.filter((frame) => !above.has(frame))
}

/** `node01:/bricks/b0` for a translator that speaks to a brick. */
export function brickOf(xl: Xlator): string | undefined {
  const host = xl.givenOptions.get('remote-host')
  const brick = xl.givenOptions.get('remote-subvolume')
  return host === undefined || brick === undefined ? undefined : `${host}:${brick}`
}

/** Calls under way at each brick: what those wait for that queue in a translator. */
export function busyBricks(pool: CallPool): Map<string, number> {
  const calls = new Map<string, number>()
  for (const stack of pool.stacks()) {
    for (const frame of waitingFrames(stack.frames())) {
      const brick = brickOf(frame.xl)
      if (brick !== undefined) calls.set(brick, (calls.get(brick) ?? 0) + 1)
    }
  }
  return calls
}
