/** Requests and jobs under way: for the state dump, and as JSON for `.meta/frames`. */
import { clock } from '../core/clock.ts'
import type { CallPool, Frame, Stack } from '../core/frame.ts'
import type { DumpSink } from './dump.ts'
import { stampText } from './log-format.ts'
import { brickOf, busyBricks, pathsOf, waitingFrames } from './pending.ts'

/** Calls listed one by one; beyond that only the count tells of them. */
export const STACKS_SHOWN_MAX = 2048

const seconds = (ms: number): string => (ms / 1000).toFixed(9)

/** When a frame was made, monotonic ms; its stack's beginning where frames take no time stamps. */
const began = (frame: Frame): number => (frame.begin !== 0 ? frame.begin : frame.stack.begin)

const nameOf = (frame: Frame): string => `${frame.xl.name}.${frame.fop ?? frame.stack.type}`

/** Sections `global.callpool`, `.stack.N` and `.stack.N.frame.M`, newest frame first. */
export function dumpCallPool(sink: DumpSink, pool: CallPool): void {
  sink.section('global.callpool')
  sink.pair('callpool_address', '0x0')
  sink.pair('callpool.cnt', pool.count)
  sink.pair('callpool.total', pool.total)
  for (const [brick, calls] of busyBricks(pool)) sink.pair(`waiting-for.${brick}`, calls)
  let number = 0
  for (const stack of pool.stacks()) {
    if (++number > STACKS_SHOWN_MAX) break
    dumpStack(sink, stack, number)
  }
}

/** The credentials are the first frame's; a frame may act for somebody else further down. */
function dumpStack(sink: DumpSink, stack: Stack, number: number): void {
  const frames = stack.frames()
  const creds = frames[0]?.creds
  const now = clock.now()
  sink.section(`global.callpool.stack.${number}`)
  sink.pair('callstack-creation-time', wallTime(stack.begin, now))
  sink.pair('stack', `0x${stack.unique.toString(16)}`)
  sink.pair('uid', creds?.uid ?? 0)
  sink.pair('gid', creds?.gid ?? 0)
  sink.pair('pid', creds?.pid ?? 0)
  sink.pair('unique', stack.unique)
  sink.pair('lk-owner', creds?.lkOwner.toString('hex') ?? '')
  sink.pair('ctime', seconds(stack.begin))
  sink.pair('age', seconds(now - stack.begin))
  for (const path of pathsOf(stack)) sink.pair('path', path)
  for (const frame of waitingFrames(frames)) {
    sink.pair('waits-in', nameOf(frame))
    const brick = brickOf(frame.xl)
    if (brick !== undefined) sink.pair('waits-for-brick', brick)
  }
  sink.pair('op', stack.type)
  sink.pair('type', 1)
  sink.pair('cnt', frames.length)
  for (const [index, frame] of frames.reverse().entries()) {
    sink.section(`global.callpool.stack.${number}.frame.${index + 1}`)
    dumpFrame(sink, frame, frames.length - index, now)
  }
}

function dumpFrame(sink: DumpSink, frame: Frame, id: number, now: number): void {
  const { parent } = frame
  sink.pair('frame-creation-time', wallTime(began(frame), now))
  sink.pair('timings', `${seconds(began(frame))} -> ${seconds(frame.end)}`)
  sink.pair('frame', `0x${id.toString(16)}`)
  sink.pair('ref_count', frame.complete ? 0 : 1)
  sink.pair('translator', frame.xl.name)
  sink.pair('complete', frame.complete)
  if (parent !== undefined) {
    sink.pair('parent', parent.xl.name)
    sink.pair('wind_from', nameOf(parent))
    sink.pair('wind_to', nameOf(frame))
    if (frame.complete) sink.pair('unwind_from', nameOf(frame))
    sink.pair('unwind_to', nameOf(parent))
  }
  if (frame.local !== undefined) sink.pair('local', String(frame.local))
}

/** Wall clock time of a monotonic one. */
function wallTime(at: number, now: number): string {
  const { sec, nsec } = clock.realtime()
  const micros = sec * 1e6 + Math.floor(nsec / 1000) - Math.round((now - at) * 1000)
  return stampText(Math.floor(micros / 1e6), Math.max(0, micros % 1e6), false)
}

/**
 * `.meta/frames`: stock's keys, its tabs, and what a request waits for. Everybody may read it:
 * `withPaths` is for whoever may know the names of others' files.
 */
export function framesJson(pool: CallPool, withPaths: boolean): string {
  const stacks: string[] = []
  for (const stack of pool.stacks()) {
    if (stacks.length === STACKS_SHOWN_MAX) break
    stacks.push(stackJson(stack, stacks.length + 1, withPaths))
  }
  const bricks = JSON.stringify(Object.fromEntries(busyBricks(pool)))
  const ends = `\t"Bricks": ${bricks},\n\t"Call_Count": ${pool.count}\n}`
  return `{ \n\t"Stack": [\n${stacks.join(',\n')}\n\t],\n${ends}`
}

function stackJson(stack: Stack, number: number, withPaths: boolean): string {
  const oldestFirst = stack.frames()
  const creds = oldestFirst[0]?.creds
  const waiting = waitingFrames(oldestFirst)
  const frames = oldestFirst
    .toReversed()
    .map(
      (frame, index) => `\t\t   {\n${members(frameMembers(frame, index + 1), '\t\t\t')}\n\t\t   }`,
    )
  const bricks = waiting.flatMap((frame) => brickOf(frame.xl) ?? [])
  const body = [
    `\t\t"Number": ${number}`,
    `\t\t"Frame": [\n${frames.join(',\n')}\n\t\t]`,
    members(
      {
        Unique: stack.unique,
        Type: stack.type,
        UID: creds?.uid ?? 0,
        GID: creds?.gid ?? 0,
        PID: creds?.pid ?? 0,
        LK_owner: creds?.lkOwner.toString('hex') ?? '',
        Age: Number(seconds(clock.now() - stack.begin)),
        Path: withPaths ? pathsOf(stack) : [],
        Waits_in: waiting.map((frame) => frame.xl.name),
        Waits_for_brick: bricks,
      },
      '\t\t',
    ),
  ]
  return `\t   {\n${body.join(',\n')}\n\t   }`
}

function frameMembers(frame: Frame, number: number): Record<string, unknown> {
  const { parent } = frame
  const links =
    parent === undefined
      ? {}
      : {
          Parent: parent.xl.name,
          Wind_from: nameOf(parent),
          Wind_to: nameOf(frame),
          Unwind_to: nameOf(parent),
        }
  return {
    Number: number,
    Xlator: frame.xl.name,
    Creation_time: Number(seconds(began(frame))),
    ...links,
    Complete: frame.complete ? 1 : 0,
  }
}

function members(fields: Record<string, unknown>, indent: string): string {
  return Object.entries(fields)
    .map(([key, value]) => `${indent}"${key}": ${JSON.stringify(value)}`)
    .join(',\n')
}
